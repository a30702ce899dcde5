"""trl: a small language model tuned on texts, packed ones and completions, on preferences, and as a judge."""

import tokenizers
import transformers as tf
from datasets import Dataset
from datasets.table import InMemoryTable
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

_sizes = dict(vocab_size=30, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=64,
              max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0)  # fmt: skip
_texts = ["a b c d e", "f g h i", "k l m n o p", "a c e g", "z y x", "b b a a", "q r s", "t u v w"]
_settings = dict(output_dir="out", per_device_train_batch_size=2, num_train_epochs=1, logging_steps=1, report_to=[], save_strategy="no", learning_rate=1e-2,
                 use_cpu=True, disable_tqdm=True, bf16=False, gradient_checkpointing=False)  # fmt: skip


def _tokenizer():
    words = ["[PAD]", "[BOS]", "[EOS]", "[UNK]", *"abcdefghijklmnopqrstuvwxyz"]
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    core.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", bos_token="[BOS]", eos_token="[EOS]", unk_token="[UNK]"
    )


def _model(kind=tf.LlamaForCausalLM, **more):
    tf.set_seed(0)
    return kind(tf.LlamaConfig(**_sizes, **more))


def _data(**columns):
    return Dataset(InMemoryTable.from_pydict(columns), fingerprint="-".join(columns))


def _trained(trainer):
    trainer.train()
    timed = ("runtime", "per_second", "flos")
    return [{k: v for k, v in x.items() if not any(t in k for t in timed)} for x in trainer.state.log_history]


def _tuned(data, **more):
    return _trained(
        SFTTrainer(_model(), args=SFTConfig(**{**_settings, **more}), train_dataset=data, processing_class=_tokenizer())
    )


def texts():
    packed = _tuned(_data(text=_texts), packing=True, max_length=8, gradient_checkpointing=True)
    return {"plain": _tuned(_data(text=_texts)), "packed": packed}


def completions():
    return _tuned(_data(prompt=_texts, completion=[t[::-1] for t in _texts]), completion_only_loss=True)


def preferences():
    data = _data(
        prompt=["a b", "c d e", "f", "g h"], chosen=["c d", "f g", "h i", "j k l"], rejected=["z", "y x", "w v u", "t"]
    )
    return {
        loss: _trained(
            DPOTrainer(
                _model(),
                _model(),
                args=DPOConfig(**_settings, loss_type=loss),
                train_dataset=data,
                processing_class=_tokenizer(),
            )
        )
        for loss in ("sigmoid", "ipo")
    }


def judge():
    model = _model(tf.LlamaForSequenceClassification, num_labels=1)
    data = _data(chosen=_texts[:4], rejected=_texts[4:])
    return _trained(
        RewardTrainer(model, args=RewardConfig(**_settings), train_dataset=data, processing_class=_tokenizer())
    )
