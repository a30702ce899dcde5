"""Trains a small convolutional network on real handwritten digits, saves it, and loads it in a fresh process.

Run it with `make demo`, or under PyTorch itself by changing the one import below. It needs scikit-learn (for the
digits: 1797 pictures of 8x8 pixels), tqdm and matplotlib. It writes `model.pt` and `digits.png`.
"""

import argparse
import subprocess
import sys
import time

import numpy as np
from sklearn.datasets import load_digits
from tqdm import tqdm

import flambeau as torch
from flambeau import nn, optim
from flambeau.nn import functional as F
from flambeau.utils.data import DataLoader, TensorDataset

HELD_OUT = 360


class Net(nn.Module):
    """Two convolutions, a pool, another convolution, two linear layers."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),  # 8x8 -> 4x4
            nn.Conv2d(32, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        )
        self.classify = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.25), nn.Linear(64 * 4 * 4, 128), nn.ReLU(), nn.Linear(128, 10)
        )

    def forward(self, x):
        return self.classify(self.features(x))


def load():
    """Training and held-out pictures and labels, always the same split."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.images))
    pictures = torch.from_numpy(digits.images[order].astype("float32")).unsqueeze(1) / 16
    labels = torch.from_numpy(digits.target[order].astype("int64"))
    return pictures[:-HELD_OUT], labels[:-HELD_OUT], pictures[-HELD_OUT:], labels[-HELD_OUT:]


def shift(x):
    """The batch, moved by up to one pixel: a fresh variation of every picture in every epoch."""
    dy, dx = torch.randint(0, 3, (2,)).tolist()
    return F.pad(x, (1, 1, 1, 1))[:, :, dy : dy + 8, dx : dx + 8]


def accuracy(model, pictures, labels):
    model.eval()
    with torch.no_grad():
        return (model(pictures).argmax(dim=1) == labels).float().mean().item()


def train(epochs, seed):
    """Train with Adam and a one-cycle learning rate; returns the model and the loss of every step."""
    torch.manual_seed(seed)
    pictures, labels, held_pictures, held_labels = load()
    loader = DataLoader(TensorDataset(pictures, labels), batch_size=64, shuffle=True)
    model = Net()
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=epochs * len(loader))
    losses = []
    with tqdm(total=epochs * len(loader), unit="step", mininterval=0.2) as bar:
        for epoch in range(epochs):
            model.train()
            for x, y in loader:
                loss = F.cross_entropy(model(shift(x)), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
                bar.update()
            held = accuracy(model, held_pictures, held_labels)
            bar.set_postfix(epoch=epoch + 1, loss=f"{np.mean(losses[-len(loader) :]):.4f}", accuracy=f"{held:.2%}")
    return model, losses


def draw(model, losses, path):
    """The loss curve, and some held-out digits with what the network says; its mistakes, if any, come first."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    _, _, pictures, labels = load()
    model.eval()
    with torch.no_grad():
        probability, answer = F.softmax(model(pictures), dim=1).max(dim=1)
    order = np.argsort((answer == labels).numpy(), kind="stable")[:24]
    figure = plt.figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.25])
    axes = left.subplots()
    axes.plot(losses, color="#c9d6e8", linewidth=1, label="each step")
    smooth = np.convolve(losses, np.ones(23) / 23, "valid")
    axes.plot(np.arange(len(smooth)) + 22, smooth, color="#1f5aa6", label="mean of 23 steps")
    axes.set(yscale="log", xlabel="step", ylabel="cross-entropy", title="Training loss")
    axes.legend(frameon=False)
    right.suptitle(f"Held-out digits: {(answer == labels).float().mean().item():.2%} right")
    for cell, i in zip(right.subplots(4, 6).flat, order):
        cell.imshow(pictures[i, 0].numpy(), cmap="gray_r")
        right_answer = answer[i].item() == labels[i].item()
        text = f"{answer[i].item()}  {probability[i].item():.0%}"
        cell.set_title(
            text if right_answer else f"{text} (is {labels[i].item()})",
            fontsize=8,
            color="black" if right_answer else "crimson",
        )
        cell.axis("off")
    figure.savefig(path, dpi=110)


def check(path):
    """Load the saved model and print its accuracy: run in a fresh process, which has nothing but the file."""
    model = Net()
    model.load_state_dict(torch.load(path))
    _, _, pictures, labels = load()
    print(f"{accuracy(model, pictures, labels):.4%}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="model.pt", help="where the trained model is written")
    parser.add_argument("--picture", default="digits.png", help="where the picture is written")
    parser.add_argument("--least", type=float, default=0.98, help="fail below this accuracy")
    parser.add_argument("--check", action="store_true", help="only load the model and print its accuracy")
    options = parser.parse_args()
    if options.check:
        check(options.model)
        return
    started = time.perf_counter()
    model, losses = train(options.epochs, options.seed)
    _, _, pictures, labels = load()
    ours = f"{accuracy(model, pictures, labels):.4%}"
    print(f"trained in {time.perf_counter() - started:.1f} s; accuracy on {HELD_OUT} held-out digits: {ours}")
    torch.save(model.state_dict(), options.model)
    command = [sys.executable, __file__, "--check", "--model", options.model]
    fresh = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    print(f"saved to {options.model}; loaded in a fresh process: {fresh}")
    draw(model, losses, options.picture)
    print(f"drew {options.picture}")
    if fresh != ours:
        sys.exit("the loaded model is not the one that was saved")
    if accuracy(model, pictures, labels) < options.least:
        sys.exit(f"that is less than {options.least:.0%}")


if __name__ == "__main__":
    main()
