"""Weights are read by an unpickler that lets in what is on a list, as programs that share models do (spandrel, ComfyUI, web UIs)."""

import collections
import pickle
import tempfile
import types

import torch

ALLOWED = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch", "FloatStorage"),
    ("torch", "LongStorage"),
}


class Restricted(pickle.Unpickler):
    def find_class(self, module, name):
        asked.append(f"{module}.{name}")
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"Global '{module}.{name}' is forbidden")
        return super().find_class(module, name)


class Further(Restricted):
    pass


def restricted(kind):
    return types.SimpleNamespace(Unpickler=kind, __name__="pickle", load=lambda *a, **k: kind(*a, **k).load())


torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
for new in (True, False):
    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        torch.save(net.state_dict(), file.name, _use_new_zipfile_serialization=new)
        for kind in (Restricted, Further):
            asked = []
            state = torch.load(file.name, pickle_module=restricted(kind))
            print(
                sorted(set(asked) - {"torch.FloatStorage", "torch.LongStorage"}), list(state), state["0.weight"].sum()
            )
    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        torch.save({"net": net, "counts": collections.Counter("abc")}, file.name, _use_new_zipfile_serialization=new)
        try:
            torch.load(file.name, pickle_module=restricted(Restricted))
        except pickle.UnpicklingError as error:
            print(error)

try:
    torch.linalg.cholesky(-torch.eye(2))
except torch.linalg.LinAlgError as error:
    print(type(error).__name__, isinstance(error, RuntimeError), pickle.loads(pickle.dumps(error)))
