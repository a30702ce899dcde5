"""safetensors: tensors of every dtype to files and back, models, parts of files, shared tensors."""

import torch
from safetensors import safe_open
from safetensors.torch import load, load_file, load_model, save, save_file, save_model
from torch import nn


def files():
    kinds = [
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.bool,
        torch.float8_e4m3fn,
        torch.float8_e5m2,
    ]
    tensors = {str(d): (torch.arange(12).view(3, 4) % 5).to(d) for d in kinds} | {
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(2.5),
    }
    save_file(tensors, "all.safetensors", metadata={"format": "pt"})
    again = load_file("all.safetensors")
    with safe_open("all.safetensors", framework="pt") as file:
        keys, part, meta = sorted(file.keys()), file.get_slice("torch.float32")[1:, :2], file.metadata()
    same = {k: bool(again[k].dtype is v.dtype and (again[k].float() == v.float()).all()) for k, v in tensors.items()}
    size = len(save({"x": torch.ones(3)}))
    return {
        "same": same,
        "keys": keys,
        "part": part,
        "meta": meta,
        "size": size,
        "bytes": load(save({"x": torch.randn(3)}))["x"],
    }


def models():
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 3))
    net.tied = net[0]
    save_model(net, "model.safetensors")
    torch.manual_seed(7)
    other = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 3))
    other.tied = other[0]
    missing, unexpected = load_model(other, "model.safetensors")
    x = torch.randn(2, 3)
    try:
        save_file(net.state_dict(), "shared.safetensors")
    except RuntimeError as error:
        text = str(error)[:60]
    return {"difference": (net(x) - other(x)).abs().max(), "missing": list(missing), "text": text}
