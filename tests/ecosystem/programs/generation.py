"""transformers' generation: ways to choose the next token, caches, watermarks, assistants; sharded files; kinds of attention and of positions."""

import torch
import transformers as tf


def _model(seed=0, **more):
    torch.manual_seed(seed)
    sizes = dict(vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=64,
                 max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=0, initializer_range=0.5)  # fmt: skip
    return tf.LlamaForCausalLM(tf.LlamaConfig(**{**sizes, **more})).eval()


def _prompt(rows=2, length=6):
    return torch.randint(3, 60, (rows, length), generator=torch.Generator().manual_seed(2))


def _written(model, ids, **how):
    torch.manual_seed(5)
    return model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, **how)


_STRATEGIES = {
    "typical": dict(do_sample=True, typical_p=0.7),
    "minimum": dict(do_sample=True, min_p=0.05, temperature=0.8),
    "cutoffs": dict(do_sample=True, epsilon_cutoff=3e-3, eta_cutoff=3e-3),
    "beams": dict(num_beams=4, num_return_sequences=3, length_penalty=0.6, early_stopping=True),
    "drawn beams": dict(num_beams=3, do_sample=True),
    "penalties": dict(repetition_penalty=1.4, no_repeat_ngram_size=2, bad_words_ids=[[5], [7, 8]]),
    "biases": dict(sequence_bias={(5,): 3.0, (6, 7): -2.0}, exponential_decay_length_penalty=(2, 1.5)),
    "guidance": dict(guidance_scale=1.5),
    "no cache": dict(use_cache=False),
    "static cache": dict(cache_implementation="static", disable_compile=True),
    "compiled": dict(cache_implementation="static"),
    "watermark": dict(do_sample=True, watermarking_config=tf.WatermarkingConfig(bias=2.5, seeding_scheme="selfhash")),
}


def strategies():
    model = _model()
    return {name: _written(model, _prompt(), **how) for name, how in _STRATEGIES.items()}


def assisted():
    model, assistant = _model(), _model(1, num_hidden_layers=1)
    return {
        "greedy": _written(model, _prompt(1), assistant_model=assistant),
        "drawn": _written(model, _prompt(1), assistant_model=assistant, do_sample=True),
        "looked up": _written(model, _prompt(1), prompt_lookup_num_tokens=3),
    }


def scores():
    model = _model()
    out = _written(model, _prompt(), num_beams=3, return_dict_in_generate=True, output_scores=True)
    steps = model.compute_transition_scores(out.sequences, out.scores, out.beam_indices)
    return {"sequences": out.sequences_scores, "beams": out.beam_indices, "steps": steps}


def attention():
    results = {}
    for kind in ("eager", "sdpa"):
        model, mask = _model(attn_implementation=kind), torch.ones_like(_prompt())
        mask[0, :2] = 0
        out = model(_prompt(), attention_mask=mask, labels=_prompt())
        out.loss.backward()
        results[kind] = [out.loss, model.model.layers[0].self_attn.q_proj.weight.grad]
    for kind in ("linear", "dynamic"):
        rope = {"rope_type": kind, "rope_theta": 1e4, "factor": 2.0}
        results[kind] = _model(rope_parameters=rope)(_prompt(1, 40)).logits[0, -1]
    return results


def files():
    model = _model()
    out = model(_prompt()).logits
    model.save_pretrained("sharded", max_shard_size="20KB")
    again = tf.AutoModelForCausalLM.from_pretrained("sharded", device_map="cpu")
    other = tf.AutoModelForSequenceClassification.from_pretrained("sharded", num_labels=3)
    return {
        "same": torch.equal(again(_prompt()).logits, out),
        "head": list(other.score.weight.shape),
        "half": str(tf.AutoModelForCausalLM.from_pretrained("sharded", dtype=torch.bfloat16).dtype),
    }
