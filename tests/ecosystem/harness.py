"""Runs the functions of one program with fixed seeds and writes what they give back as JSON: the same text under PyTorch and flambeau.

`flambeau run harness.py PROGRAM.py OUT.json [FUNCTION ...]`, or with `python` where PyTorch is installed. Each public
function of the program is a case; it runs in an empty folder and gives back a dict of tensors, numbers and texts.
"""

import importlib.util
import json
import os
import random
import sys
import tempfile
import time
import traceback
import warnings


def plain(value):
    """What JSON can hold of a result: of a large tensor its shape, two sums and its first elements."""
    import numpy
    import torch

    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        if value.is_sparse:
            value = value.to_dense()
        if value.dtype in (torch.bfloat16, torch.float16):
            value = value.float()
        value = value.resolve_conj().numpy()
    if isinstance(value, (numpy.ndarray, numpy.generic)):
        array = numpy.asarray(value)
        if array.dtype.kind == "c":
            array = numpy.stack([array.real, array.imag], -1)
        flat = array.astype(numpy.float64).reshape(-1)
        if flat.size <= 32:
            return flat.tolist() if array.ndim else float(flat[0])
        return {
            "shape": list(array.shape),
            "sum": float(flat.sum()),
            "magnitude": float(abs(flat).sum()),
            "first": flat[:24].tolist(),
        }
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        return float(value)
    return str(value)


def main(path, out, *wanted):
    """Runs the cases of the program at `path` and writes {case: {"result" or "error", "seconds"}}."""
    warnings.simplefilter("ignore")
    started = time.perf_counter()
    spec = importlib.util.spec_from_file_location("program_" + os.path.basename(path)[:-3], path)
    program = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = program
    spec.loader.exec_module(program)
    import numpy
    import torch

    results = {"(import)": {"seconds": round(time.perf_counter() - started, 2)}}
    cases = [n for n, f in vars(program).items() if getattr(f, "__module__", "") == spec.name and n[0] != "_"]
    cases = [n for n in cases if type(getattr(program, n)).__name__ == "function" and (not wanted or n in wanted)]
    for name in cases:
        random.seed(0)
        numpy.random.seed(0)
        torch.manual_seed(0)
        started = time.perf_counter()
        home = os.getcwd()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                results[name] = {"result": plain(getattr(program, name)())}
            except Exception as error:
                traceback.print_exc()
                results[name] = {"error": f"{type(error).__name__}: {error}"}
            finally:
                os.chdir(home)
        results[name]["seconds"] = round(time.perf_counter() - started, 2)
    with open(out, "w") as file:
        json.dump(results, file, indent=1)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main(*map(str, sys.argv[1:]))
