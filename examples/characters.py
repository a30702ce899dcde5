"""Learns the Zen of Python letter by letter with a small transformer, each training step compiled to one program, and recites it."""

import argparse
import codecs
import contextlib
import io
import time

import torch
from torch import nn, optim
from torch.nn import functional as F

with contextlib.redirect_stdout(io.StringIO()):
    import this

TEXT = codecs.decode(this.s, "rot13")
LETTERS = sorted(set(TEXT))
CODES = torch.tensor([LETTERS.index(c) for c in TEXT])
LENGTH = 64


class Block(nn.Module):
    """Attention to what came before, then a layer for each letter; both add to what goes through."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        n, t, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(n, t, c))
        return x + self.mlp(self.norm2(x))


class Writer(nn.Module):
    """Letters to the logits of the letters that follow."""

    def __init__(self, width=64, heads=4, depth=2):
        super().__init__()
        self.letters, self.places = nn.Embedding(len(LETTERS), width), nn.Embedding(LENGTH, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.read = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(LETTERS)))

    def forward(self, codes):
        return self.read(self.blocks(self.letters(codes) + self.places(torch.arange(codes.shape[1]))))


def train(steps, compiled):
    torch.manual_seed(0)
    model = Writer()
    optimizer = optim.AdamW(model.parameters(), lr=3e-3)

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        loss.backward()
        optimizer.step()
        return loss

    step = torch.compile(step) if compiled else step
    losses = []
    for i in range(steps):
        windows = CODES.unfold(0, LENGTH + 1, 1)[torch.randint(len(CODES) - LENGTH, (16,))]
        losses.append(step(windows[:, :-1], windows[:, 1:]).item())
        if i % 50 == 49:
            print(f"step {i + 1}: loss {losses[-1]:.3f}")
    return model, losses


@torch.no_grad()
def recite(model, start, count):
    """The most likely letters after `start`."""
    codes = [LETTERS.index(c) for c in start]
    for _ in range(count):
        codes.append(model(torch.tensor([codes[-LENGTH:]]))[0, -1].argmax().item())
    return "".join(LETTERS[c] for c in codes)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--eager", action="store_true", help="do not compile")
    options = parser.parse_args()
    started = time.perf_counter()
    model, losses = train(options.steps, not options.eager)
    print(f"{options.steps} steps in {time.perf_counter() - started:.1f} s\n")
    print(recite(model, "Beautiful is ", 150))
