"""torchtune: language models of six families, adapters, generation with and without caches, losses, a vision encoder, packed masks."""

import torch
from torchtune import data, generation, training
from torchtune.models import clip, gemma, llama2, llama3_1, mistral, phi3, qwen2
from torchtune.modules import attention_utils, loss, peft
from torchtune.rlhf.loss import DPOLoss, RSOLoss

SMALL = {"vocab_size": 50, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "embed_dim": 16, "max_seq_len": 32}
WIDE = {**SMALL, "intermediate_dim": 32}


def _loss(model, tokens):
    out = model(tokens)
    return torch.nn.functional.cross_entropy(out.flatten(0, 1), tokens.flatten())


def families():
    made = {
        "llama2": lambda: llama2.llama2(**SMALL),
        "llama3": lambda: llama3_1.llama3_1(**WIDE),
        "qwen2": lambda: qwen2.qwen2(**WIDE),
        "mistral": lambda: mistral.mistral(**WIDE),
        "phi3": lambda: phi3.phi3(**WIDE),
        "gemma": lambda: gemma.gemma(**{**WIDE, "head_dim": 8, "num_kv_heads": 1}),
    }
    results = {}
    for name, make in made.items():
        torch.manual_seed(0)
        model = make()
        value = _loss(model, torch.randint(0, 50, (2, 10)))
        value.backward()
        results[name] = [value, *(p.grad.norm() for p in model.parameters())]
    return results


def adapters():
    model = llama2.lora_llama2(
        lora_attn_modules=["q_proj", "v_proj"], apply_lora_to_mlp=True, lora_rank=4, lora_alpha=8, **SMALL
    )
    peft.set_trainable_params(model, peft.get_adapter_params(model))
    step = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-2)
    tokens, losses = torch.randint(0, 50, (2, 10)), []
    for _ in range(3):
        losses.append(_loss(model, tokens))
        step.zero_grad()
        losses[-1].backward()
        step.step()
    merged = peft.get_merged_lora_ckpt({k: v.clone() for k, v in model.state_dict().items()}, 4, 8)
    return {"losses": losses, "merged": merged["layers.0.attn.q_proj.weight"], "count": len(merged)}


def generated():
    model, results = llama2.llama2(**SMALL).eval(), {}
    for cached in (False, True):
        torch.manual_seed(3)
        if cached:
            model.setup_caches(2, torch.float32)
        prompt = torch.randint(0, 50, (2, 6))
        tokens, logits = generation.generate(model, prompt, max_generated_tokens=8, temperature=0.8, top_k=20)
        results[f"cached {cached}"] = [tokens, logits]
    return results


def losses():
    logits, labels = [torch.randn(2, 4, 9, requires_grad=True) for _ in range(2)], torch.randint(0, 9, (2, 8))
    labels[0, 0] = -100
    chunked = loss.CEWithChunkedOutputLoss(2)(logits, labels)
    chunked.backward()
    return {
        "chunked": chunked,
        "gradient": logits[0].grad,
        "kl": loss.ForwardKLLoss()(torch.randn(2, 8, 9), torch.randn(2, 8, 9), labels),
        "dpo": DPOLoss()(*(torch.randn(4) for _ in range(4))),
        "rso": RSOLoss()(*(torch.randn(4) for _ in range(4))),
    }


def images():
    model = clip.clip_vision_encoder(
        tile_size=32, patch_size=8, embed_dim=16, num_layers=2, num_heads=2, max_num_tiles=4
    )
    return {"out": model(torch.randn(1, 2, 4, 3, 32, 32), torch.tensor([[[2, 2], [1, 3]]]))}


def parts():
    step = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], 1.0)
    schedule, rates = training.get_cosine_schedule_with_warmup(step, 2, 10), []
    for _ in range(5):
        step.step()
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
    mask = attention_utils.create_block_causal_mask([torch.tensor([3, 2]), torch.tensor([1, 4])])
    batch = data.padded_collate_sft([{"tokens": [1, 2, 3], "labels": [4, 5, 6]}, {"tokens": [7], "labels": [8]}])
    return {"rates": rates, "mask": mask, **batch}
