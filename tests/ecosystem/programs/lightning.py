"""lightning: a Trainer's fit, validation, test and prediction on the CPU, with checkpoints, early stopping and logging."""

import lightning as L
import torch
from lightning.fabric import Fabric
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(L.LightningModule):
    def __init__(self, width=16, rate=0.05):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, 3))
        self.seen = []

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        self.seen.append(loss.item())
        return loss

    def validation_step(self, batch, batch_idx):
        out = self(batch[0])
        self.log_dict(
            {
                "val_loss": nn.functional.cross_entropy(out, batch[1]),
                "right": (out.argmax(1) == batch[1]).float().mean(),
            }
        )

    test_step = validation_step

    def predict_step(self, batch, batch_idx):
        return self(batch[0]).argmax(1)

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {
                "scheduler": torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0),
                "monitor": "val_loss",
            },
        }


def _loader(shuffle=False):
    g = torch.Generator().manual_seed(5)
    x = torch.randn(48, 6, generator=g)
    return DataLoader(TensorDataset(x, (x.sum(1) > 0).long() + (x[:, 0] > 1).long()), batch_size=16, shuffle=shuffle)


class _Count(Callback):
    def __init__(self):
        self.calls = []

    def on_train_epoch_end(self, trainer, module):
        self.calls.append(trainer.current_epoch)


def fit():
    L.seed_everything(3)
    net, count = Net(), _Count()
    checkpoint = ModelCheckpoint(dirpath="saved", monitor="val_loss", save_top_k=1)
    trainer = L.Trainer(max_epochs=4, accelerator="cpu", logger=CSVLogger("logs"), callbacks=[checkpoint, EarlyStopping("val_loss", patience=2), count],
                        enable_progress_bar=False, enable_model_summary=True, gradient_clip_val=1.0, log_every_n_steps=1)  # fmt: skip
    trainer.fit(net, _loader(True), _loader())
    tested = trainer.test(net, _loader(), verbose=False)[0]
    predicted = torch.cat(trainer.predict(net, _loader()))
    again = Net.load_from_checkpoint(checkpoint.best_model_path)
    return {"losses": net.seen, "tested": tested, "predicted": predicted, "best": checkpoint.best_model_score, "again": again.net[0].weight, "epochs": count.calls,
            "width": again.hparams.width}  # fmt: skip


def resumed():
    L.seed_everything(3)
    quiet = dict(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer = L.Trainer(max_epochs=1, **quiet, default_root_dir=".")
    net = Net()
    trainer.fit(net, _loader(), _loader())
    trainer.save_checkpoint("one.ckpt")
    again = Net()
    trainer = L.Trainer(max_epochs=3, accumulate_grad_batches=2, precision="bf16-mixed", **quiet)
    trainer.fit(again, _loader(), _loader(), ckpt_path="one.ckpt")
    return {"steps": trainer.global_step, "loss": [round(x, 1) for x in again.seen], "first": net.seen}


def manual():
    class Manual(Net):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            optimizer = self.optimizers()
            loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            self.seen.append(loss.item())

    L.seed_everything(4)
    net = Manual()
    L.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        barebones=False,
        profiler="simple",
    ).fit(net, _loader(), _loader())
    return {"losses": net.seen}


def fabric():
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    fabric.seed_everything(2)
    net = nn.Linear(6, 3)
    net, optimizer = fabric.setup(net, torch.optim.SGD(net.parameters(), lr=0.1))
    losses = []
    for x, y in fabric.setup_dataloaders(_loader()):
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        fabric.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    fabric.save("fabric.ckpt", {"net": net, "optimizer": optimizer, "step": 3})
    state = {"net": net, "optimizer": optimizer, "step": 0}
    fabric.load("fabric.ckpt", state)
    return {"losses": losses, "step": state["step"]}
