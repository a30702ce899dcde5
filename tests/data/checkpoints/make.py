"""Writes the checkpoints beside this file with real PyTorch: `python tests/data/checkpoints/make.py`."""

import pathlib
from collections import OrderedDict

import torch

HERE = pathlib.Path(__file__).parent


def contents():
    """One of everything that a checkpoint may hold."""
    whole = torch.arange(20.0).reshape(4, 5)
    return {
        "whole": whole,
        "view": whole[1:3, ::2],
        "turned": whole.t(),
        "parameter": torch.nn.Parameter(torch.full((2, 2), 0.5, dtype=torch.float64)),
        "half": torch.tensor([1.5, -2.0], dtype=torch.float16),
        "bfloat16": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "complex": torch.tensor([1 + 2j, 3 - 4j]),
        "conjugate": torch.tensor([1 + 2j, 3 - 4j]).conj(),
        "bool": torch.tensor([True, False]),
        "int8": torch.tensor([-1, 2], dtype=torch.int8),
        "scalar": torch.tensor(7),
        "empty": torch.empty(0, 3),
        "size": whole.shape,
        "dtype": torch.bfloat16,
        "device": torch.device("cpu"),
        "layout": torch.strided,
        "plain": [1, 2.5, "three", None, True, (4, {5: "six"}), {7, 8}, 2**70, -3],
        "ordered": OrderedDict(b=1, a=torch.ones(2)),
    }


if __name__ == "__main__":
    everything = contents()
    torch.save(everything, HERE / "legacy.pt", _use_new_zipfile_serialization=False)
    everything["uint16"] = torch.tensor([1, 65535], dtype=torch.uint16)
    everything["float8"] = torch.tensor([1.5, -2.0]).to(torch.float8_e4m3fn)
    everything["meta"] = torch.empty(2, 3, device="meta")
    torch.save(everything, HERE / "everything.pt")
    torch.manual_seed(0)
    torch.save(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1)), HERE / "module.pt")
