"""ignite: a trainer and an evaluator with handlers, metrics, checkpoints and schedules."""

import torch
from ignite.contrib.handlers import ProgressBar  # noqa: F401
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import Checkpoint, DiskSaver, EarlyStopping, LRScheduler, global_step_from_engine
from ignite.metrics import Accuracy, ConfusionMatrix, Loss, RunningAverage
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def run():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer, loss_of = torch.optim.SGD(net.parameters(), lr=0.1), nn.CrossEntropyLoss()
    x = torch.randn(30, 4)
    loader = DataLoader(TensorDataset(x, x[:, :3].argmax(1)), batch_size=10, shuffle=True)
    trainer = create_supervised_trainer(net, optimizer, loss_of)
    evaluator = create_supervised_evaluator(
        net, metrics={"right": Accuracy(), "loss": Loss(loss_of), "table": ConfusionMatrix(3)}
    )
    RunningAverage(output_transform=lambda out: out).attach(trainer, "average")
    losses, seen = [], []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output))
    trainer.add_event_handler(Events.ITERATION_STARTED, LRScheduler(torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.9)))
    saver = Checkpoint(
        {"net": net, "optimizer": optimizer},
        DiskSaver("saved", require_empty=False),
        n_saved=1,
        score_function=lambda e: e.state.metrics["right"],
        global_step_transform=global_step_from_engine(trainer),
    )

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine):
        seen.append(dict(evaluator.run(loader).metrics))

    evaluator.add_event_handler(Events.COMPLETED, saver)
    evaluator.add_event_handler(Events.COMPLETED, EarlyStopping(3, lambda e: e.state.metrics["right"], trainer))
    trainer.run(loader, max_epochs=3)
    return {
        "losses": losses,
        "seen": seen,
        "average": trainer.state.metrics["average"],
        "rate": optimizer.param_groups[0]["lr"],
    }
