"""transformers: a tiny model of each kind, made from its configuration: forward, loss, training steps, generation, saving and loading."""

import torch
import transformers as tf


def _train(model, inputs, steps=2):
    """The loss before each of a few AdamW steps, and the gradient's norm."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses, norms = [], []
    for _ in range(steps):
        loss = model(**inputs).loss
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
        optimizer.step()
        losses.append(loss.item())
    return {"losses": losses, "norms": norms}


def _reload(model, inputs, field="logits"):
    """The largest difference of the outputs of the model and of its saved and loaded self: 0."""
    model.eval()
    model.save_pretrained("saved")
    again = type(model).from_pretrained("saved").eval()
    with torch.no_grad():
        return (getattr(model(**inputs), field) - getattr(again(**inputs), field)).abs().max()


_small = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40)


def bert_classifies():
    model = tf.BertForSequenceClassification(tf.BertConfig(vocab_size=99, num_labels=3, **_small))
    inputs = dict(input_ids=torch.randint(0, 99, (4, 7)), attention_mask=torch.tensor([[1] * 7, [1] * 5 + [0] * 2] * 2))
    trained = _train(model, dict(inputs, labels=torch.tensor([0, 1, 2, 1])))
    return {**trained, "logits": model.eval()(**inputs).logits, "reload": _reload(model, inputs)}


def bert_masked():
    model = tf.BertForMaskedLM(tf.BertConfig(vocab_size=99, attn_implementation="eager", **_small))
    ids = torch.randint(0, 99, (4, 7))
    out = model.eval()(ids, output_attentions=True, output_hidden_states=True)
    return {
        **_train(model, dict(input_ids=ids, labels=ids)),
        "attention": out.attentions[1],
        "hidden": out.hidden_states[-1],
    }


def _gpt2():
    return tf.GPT2LMHeadModel(
        tf.GPT2Config(
            vocab_size=99,
            n_positions=64,
            n_embd=32,
            n_layer=2,
            n_head=4,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )
    )


def gpt2():
    model = _gpt2()
    ids = torch.randint(3, 99, (3, 9))
    return {**_train(model, dict(input_ids=ids, labels=ids)), "reload": _reload(model, dict(input_ids=ids))}


def gpt2_generates():
    model = _gpt2().eval()
    ids = torch.randint(3, 99, (2, 5))
    mask = torch.ones_like(ids)
    greedy = model.generate(ids, attention_mask=mask, max_new_tokens=8, do_sample=False)
    torch.manual_seed(3)
    sampled = model.generate(
        ids, attention_mask=mask, max_new_tokens=8, do_sample=True, top_k=20, top_p=0.9, temperature=0.8
    )
    beam = model.generate(ids, attention_mask=mask, max_new_tokens=8, num_beams=3, num_return_sequences=2, no_repeat_ngram_size=2,
                          output_scores=True, return_dict_in_generate=True)  # fmt: skip
    return {"greedy": greedy, "sampled": sampled, "beam": beam.sequences, "scores": beam.sequences_scores}


def _llama():
    return tf.LlamaForCausalLM(
        tf.LlamaConfig(
            vocab_size=99,
            num_key_value_heads=2,
            max_position_embeddings=64,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
            **_small,
        )
    )


def llama():
    model = _llama()
    ids = torch.randint(3, 99, (3, 9))
    model.gradient_checkpointing_enable()
    return {**_train(model, dict(input_ids=ids, labels=ids)), "reload": _reload(model, dict(input_ids=ids))}


def llama_generates():
    model = _llama().eval()
    ids = torch.randint(3, 99, (2, 5))
    mask = torch.tensor([[1] * 5, [0, 0, 1, 1, 1]])
    greedy = model.generate(ids, attention_mask=mask, max_new_tokens=8, do_sample=False)
    torch.manual_seed(3)
    sampled = model.generate(
        ids, attention_mask=mask, max_new_tokens=8, do_sample=True, repetition_penalty=1.2, min_p=0.05
    )
    static = model.generate(ids, attention_mask=mask, max_new_tokens=6, do_sample=False, cache_implementation="static")
    return {"greedy": greedy, "sampled": sampled, "static": static}


def llama_half():
    model = _llama().to(torch.bfloat16).eval()
    ids = torch.randint(3, 99, (2, 5))
    half = model(ids).logits
    exact = model.float()(ids).logits
    return {"logits": exact, "half": half.dtype, "far": bool((half.float() - exact).abs().max() > 0.02)}


def mixtral():
    model = tf.MixtralForCausalLM(
        tf.MixtralConfig(
            vocab_size=99, num_key_value_heads=2, num_local_experts=4, max_position_embeddings=64, **_small
        )
    )
    ids = torch.randint(3, 99, (2, 6))
    return _train(model, dict(input_ids=ids, labels=ids))


def qwen2_generates():
    model = tf.Qwen2ForCausalLM(
        tf.Qwen2Config(
            vocab_size=99,
            num_key_value_heads=2,
            max_position_embeddings=64,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
            **_small,
        )
    )
    ids = torch.randint(3, 99, (2, 5))
    trained = _train(model, dict(input_ids=ids, labels=ids))
    return {**trained, "greedy": model.eval().generate(ids, max_new_tokens=6, do_sample=False)}


def t5():
    model = tf.T5ForConditionalGeneration(
        tf.T5Config(vocab_size=99, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4, decoder_start_token_id=0)
    )
    inputs = dict(input_ids=torch.randint(2, 99, (3, 7)), labels=torch.randint(2, 99, (3, 5)))
    trained = _train(model, inputs)
    beams = model.eval().generate(inputs["input_ids"], max_new_tokens=6, num_beams=2)
    return {**trained, "beams": beams, "reload": _reload(model, inputs)}


def bart():
    model = tf.BartForConditionalGeneration(tf.BartConfig(vocab_size=99, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
                                                          encoder_ffn_dim=37, decoder_ffn_dim=37, max_position_embeddings=40))  # fmt: skip
    inputs = dict(input_ids=torch.randint(4, 99, (3, 7)), labels=torch.randint(4, 99, (3, 5)))
    return {
        **_train(model, inputs),
        "greedy": model.eval().generate(inputs["input_ids"], max_new_tokens=6, num_beams=1),
    }


def vit():
    model = tf.ViTForImageClassification(tf.ViTConfig(image_size=16, patch_size=4, num_labels=5, **_small))
    inputs = dict(pixel_values=torch.randn(3, 3, 16, 16), labels=torch.tensor([0, 4, 2]))
    return {**_train(model, inputs), "reload": _reload(model, inputs)}


def convnext():
    model = tf.ConvNextForImageClassification(
        tf.ConvNextConfig(image_size=32, hidden_sizes=[8, 16], depths=[1, 2], num_stages=2, num_labels=5)
    )
    inputs = dict(pixel_values=torch.randn(2, 3, 32, 32), labels=torch.tensor([0, 4]))
    return {**_train(model, inputs), "reload": _reload(model, inputs)}


def clip():
    model = tf.CLIPModel(
        tf.CLIPConfig(
            text_config=dict(vocab_size=99, max_position_embeddings=20, **_small),
            vision_config=dict(image_size=16, patch_size=4, **_small),
            projection_dim=16,
        )
    )
    out = model(input_ids=torch.randint(3, 99, (3, 7)), pixel_values=torch.randn(3, 3, 16, 16), return_loss=True)
    out.loss.backward()
    return {"loss": out.loss, "logits": out.logits_per_image, "grad": model.logit_scale.grad}


def wav2vec2():
    model = tf.Wav2Vec2ForCTC(tf.Wav2Vec2Config(vocab_size=32, conv_dim=(8, 8), conv_stride=(4, 4), conv_kernel=(8, 4), num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
                                                mask_time_prob=0.0, layerdrop=0.0, ctc_loss_reduction="mean", **_small))  # fmt: skip
    inputs = dict(input_values=torch.randn(2, 640), labels=torch.randint(1, 32, (2, 4)))
    return {**_train(model, inputs), "reload": _reload(model, inputs)}


def whisper():
    model = tf.WhisperForConditionalGeneration(tf.WhisperConfig(vocab_size=99, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=37,
                                                                decoder_ffn_dim=37, num_mel_bins=16, max_source_positions=30, max_target_positions=20, decoder_start_token_id=1,
                                                                bos_token_id=1, eos_token_id=2, pad_token_id=0, suppress_tokens=None, begin_suppress_tokens=None))  # fmt: skip
    inputs = dict(input_features=torch.randn(2, 16, 60), labels=torch.randint(3, 99, (2, 5)))
    trained = _train(model, inputs)
    out = model.eval().generate(inputs["input_features"], max_new_tokens=5)
    return {**trained, "out": out}


def mamba():
    model = tf.MambaForCausalLM(tf.MambaConfig(vocab_size=99, hidden_size=16, state_size=4, num_hidden_layers=2))
    ids = torch.randint(3, 99, (2, 6))
    return _train(model, dict(input_ids=ids, labels=ids))


def pipeline():
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {w: i for i, w in enumerate(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "a", "good", "bad", "film"])}
    core = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = tf.PreTrainedTokenizerFast(tokenizer_object=core, unk_token="[UNK]", pad_token="[PAD]")
    model = tf.BertForSequenceClassification(tf.BertConfig(vocab_size=8, num_labels=2, **_small)).eval()
    classify = tf.pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    return {"scores": [x["score"] for x in classify(["a good film", "a bad bad film"], batch_size=2)]}
