"""tensordict: dictionaries of tensors with a batch shape, modules over them, and memory-mapped files."""

import torch
from tensordict import TensorDict, tensorclass
from tensordict.nn import TensorDictModule, TensorDictSequential


def dictionaries():
    d = TensorDict({"a": torch.arange(6.0).view(3, 2), "b": {"c": torch.ones(3, 4)}}, batch_size=[3])
    e = torch.stack([d, d + 1], 0)
    f = e.view(-1)[1:4].apply(lambda x: x * 2)
    return {"shape": list(e.shape), "a": f["a"], "c": f["b", "c"], "keys": sorted(map(str, d.keys(True))), "cat": torch.cat([d, d])["a"], "text": repr(d), "split": [x["a"] for x in d.split(2)],
            "mean": d.mean()["a"] if hasattr(d.mean(), "keys") else d.mean()}  # fmt: skip


def modules():
    net = TensorDictSequential(
        TensorDictModule(torch.nn.Linear(3, 4), ["x"], ["h"]),
        TensorDictModule(lambda h: (h.tanh(), h.sum(-1)), ["h"], ["y", "z"]),
    )
    d = net(TensorDict({"x": torch.randn(5, 3)}, [5]))
    d["z"].sum().backward()
    p = TensorDict.from_module(net)
    with (p * 2).to_module(net):
        e = net(TensorDict({"x": torch.ones(5, 3)}, [5]))
    return {"y": d["y"], "grad": net[0].module.weight.grad, "doubled": e["y"]}


def files():
    d = TensorDict({"a": torch.randn(3, 2), "n": {"b": torch.arange(3)}}, [3])
    d.memmap("saved")
    e = TensorDict.load_memmap("saved")
    return {"a": (e["a"] - d["a"]).abs().max(), "b": e["n", "b"]}


@tensorclass
class _Point:
    x: torch.Tensor
    y: torch.Tensor


def classes():
    p = _Point(torch.ones(4, 2), torch.zeros(4), batch_size=[4])
    return {"x": p[1:3].x, "stacked": list(torch.stack([p, p]).shape)}
