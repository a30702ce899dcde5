"""transformers, compiled: a tiny model of each kind trains through `torch.compile(fullgraph=True)`, and takes another batch."""

import torch
import transformers as tf

_small = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40, vocab_size=99)
_both = dict(
    d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
    encoder_ffn_dim=40, decoder_ffn_dim=40, vocab_size=99, dropout=0.0,
)  # fmt: skip


def _compiled(model, **inputs):
    """Losses and norms of gradients of two steps, and the logits of one sample more."""
    model.eval()  # without dropout
    run = torch.compile(model, fullgraph=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses, norms = [], []
    for _ in range(2):
        loss = run(**inputs).loss
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        more = run(**{k: torch.cat([v, v[:1]]) for k, v in inputs.items()})
    return {"losses": losses, "norms": norms, "logits": more.logits}


def _tokens():
    ids = torch.randint(3, 99, (2, 12))
    return dict(input_ids=ids, labels=ids)


def bert():
    return _compiled(tf.BertForMaskedLM(tf.BertConfig(**_small)), **_tokens())


def gpt2():
    config = tf.GPT2Config(
        n_embd=32, n_layer=2, n_head=4, vocab_size=99, n_positions=64, bos_token_id=1, eos_token_id=2
    )
    return _compiled(tf.GPT2LMHeadModel(config), **_tokens())


def llama():
    return _compiled(tf.LlamaForCausalLM(tf.LlamaConfig(**_small, num_key_value_heads=2)), **_tokens())


def t5():
    config = tf.T5Config(
        d_model=32, d_kv=8, d_ff=40, num_layers=2, num_heads=4, vocab_size=99, decoder_start_token_id=0
    )
    return _compiled(tf.T5ForConditionalGeneration(config), **_tokens())


def bart():
    return _compiled(tf.BartForConditionalGeneration(tf.BartConfig(**_both, max_position_embeddings=64)), **_tokens())


def deberta():
    config = tf.DebertaV2Config(**_small, relative_attention=True, position_buckets=8, pos_att_type=["p2c", "c2p"])
    return _compiled(tf.DebertaV2ForMaskedLM(config), **_tokens())


def mamba():
    return _compiled(
        tf.MambaForCausalLM(tf.MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=99, state_size=8)),
        **_tokens(),
    )


def vit():
    config = tf.ViTConfig(**{k: v for k, v in _small.items() if k != "vocab_size"}, image_size=32, patch_size=8)
    return _compiled(
        tf.ViTForImageClassification(config), pixel_values=torch.randn(2, 3, 32, 32), labels=torch.tensor([0, 1])
    )


def whisper():
    config = tf.WhisperConfig(
        **_both, num_mel_bins=16, max_source_positions=20, max_target_positions=32, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    model = tf.WhisperForConditionalGeneration(config)
    return _compiled(model, input_features=torch.randn(2, 16, 40), labels=torch.randint(3, 99, (2, 12)))
