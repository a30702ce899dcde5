"""peft: adapters over a small transformer: LoRA and others trained, saved, loaded and merged."""

import torch
import transformers as tf
from peft import IA3Config, LoraConfig, PeftModel, PrefixTuningConfig, PromptTuningConfig, get_peft_model


def _base():
    torch.manual_seed(0)
    return tf.GPT2LMHeadModel(
        tf.GPT2Config(vocab_size=50, n_positions=32, n_embd=16, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=2)
    )


def _train(model, ids):
    optimizer, losses = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2), []
    for _ in range(3):
        loss = model(input_ids=ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def lora():
    ids = torch.randint(3, 50, (2, 6))
    model = get_peft_model(
        _base(),
        LoraConfig(
            r=4, lora_alpha=8, target_modules=["c_attn"], lora_dropout=0.1, task_type="CAUSAL_LM", fan_in_fan_out=True
        ),
    )
    losses = _train(model, ids)
    model.save_pretrained("adapter")
    again = PeftModel.from_pretrained(_base(), "adapter").eval()
    model.eval()
    merged = model.merge_and_unload()
    return {
        "losses": losses,
        "trained": sum(p.numel() for p in again.parameters() if p.requires_grad),
        "difference": (again(ids).logits - merged(ids).logits).abs().max() < 1e-4,
        "out": merged(ids).logits,
    }


def others():
    ids = torch.randint(3, 50, (2, 6))
    configs = {"ia3": IA3Config(task_type="CAUSAL_LM", target_modules=["c_attn"], feedforward_modules=[]), "prompt": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
               "prefix": PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)}  # fmt: skip
    return {name: _train(get_peft_model(_base(), c), ids) for name, c in configs.items()}
