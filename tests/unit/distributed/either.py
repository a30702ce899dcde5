"""One rank of a program of `programs.py`: either.py LIBRARY PROGRAM RANK SIZE FOLDER writes what it gave to FOLDER/RANK. Not a test."""

import importlib
import pathlib
import pickle
import sys


def plain(torch, value):
    """Tensors as (dtype, shape, numbers), the rest as it is."""
    if isinstance(value, torch.Tensor):
        wide = value.detach()
        wide = wide.float() if wide.dtype in (torch.bfloat16, torch.float16) else wide
        return str(value.dtype), list(value.shape), wide.tolist()
    if isinstance(value, dict):
        return {k: plain(torch, v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(torch, v) for v in value]
    return value


def main(library, program, rank, size, folder):
    sys.path.insert(0, str(pathlib.Path(__file__).parents[3]))
    torch = importlib.import_module(library)
    dist = importlib.import_module(f"{library}.distributed")
    programs = importlib.import_module("programs")
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=int(rank), world_size=int(size))
    result = plain(torch, getattr(programs, program)(torch, dist, int(rank), int(size)))
    pathlib.Path(folder, rank).write_bytes(pickle.dumps(result))
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
