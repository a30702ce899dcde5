"""Attention without the square, tags in sequences, ensembles, networks looked into."""

import torch
from linformer import Linformer
from nystrom_attention import Nystromformer
from performer_pytorch import PerformerLM
from reformer_pytorch import ReformerLM
from sparsemax import Sparsemax
from torchcrf import CRF


def _trained(net, call, steps=3, rate=1e-3):
    optimizer, losses = torch.optim.Adam(net.parameters(), rate), []
    for _ in range(steps):
        loss = call()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses


def language():
    tokens = torch.randint(0, 50, (2, 32))
    performer = PerformerLM(num_tokens=50, max_seq_len=32, dim=32, depth=1, heads=2, causal=False, nb_features=16)
    reformer = ReformerLM(
        num_tokens=50, dim=32, depth=1, heads=2, max_seq_len=32, bucket_size=8, n_hashes=2, causal=True
    )
    entropy = lambda net: torch.nn.functional.cross_entropy(net(tokens).flatten(0, 1), tokens.flatten())
    return {
        "performer": _trained(performer, lambda: entropy(performer)),
        "reformer": _trained(reformer, lambda: entropy(reformer)),
    }


def sequences():
    x = torch.randn(2, 32, 16)
    lin, nys = (
        Linformer(dim=16, seq_len=32, depth=2, heads=2, k=8),
        Nystromformer(dim=16, dim_head=8, heads=2, depth=1, num_landmarks=8),
    )
    return {
        "linformer": _trained(lin, lambda: lin(x).pow(2).mean()),
        "nystrom": _trained(nys, lambda: nys(x).pow(2).mean()),
        "out": [lin(x), nys(x)],
    }


def tags():
    crf = CRF(4, batch_first=True)
    scores, labels, mask = (
        torch.randn(3, 6, 4, requires_grad=True),
        torch.randint(4, (3, 6)),
        torch.arange(6) < torch.tensor([[6], [4], [2]]),
    )
    losses = _trained(crf, lambda: -crf(scores, labels, mask, reduction="mean"), rate=0.1)
    x = torch.randn(3, 5, requires_grad=True)
    sparse = Sparsemax(dim=-1)(x)
    return {
        "losses": losses,
        "decoded": crf.decode(scores, mask),
        "sparse": sparse,
        "grad": torch.autograd.grad((sparse * torch.arange(5.0)).sum(), x),
    }
