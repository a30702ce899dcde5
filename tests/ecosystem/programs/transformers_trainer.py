"""transformers' Trainer, which stands on accelerate: epochs, evaluation, checkpoints, going on from one."""

import accelerate  # noqa: F401
import torch
import transformers as tf

_small = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40)


class _Rows(torch.utils.data.Dataset):
    def __init__(self, n=24):
        self.ids = torch.randint(3, 99, (n, 6))

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, i):
        return {"input_ids": self.ids[i], "labels": int(self.ids[i].sum()) % 2}


def trainer():
    model = tf.BertForSequenceClassification(tf.BertConfig(vocab_size=99, num_labels=2, **_small))
    arguments = tf.TrainingArguments(output_dir="out", num_train_epochs=2, per_device_train_batch_size=8, report_to=[], logging_steps=1, save_strategy="epoch", eval_strategy="epoch",
                                     learning_rate=1e-3, use_cpu=True, lr_scheduler_type="cosine", warmup_steps=2, disable_tqdm=True)  # fmt: skip
    rows = _Rows()
    trainer = tf.Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        eval_dataset=rows,
        compute_metrics=lambda p: {"right": (p.predictions.argmax(-1) == p.label_ids).mean()},
    )
    result = trainer.train()
    log = [x["loss"] for x in trainer.state.log_history if "loss" in x]
    evaluated = trainer.evaluate()
    again = trainer.train(resume_from_checkpoint=True)
    return {
        "loss": result.training_loss,
        "log": log,
        "eval": evaluated["eval_loss"],
        "right": evaluated["eval_right"],
        "steps": again.global_step,
    }
