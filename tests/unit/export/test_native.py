"""Models as object files: linked with a C program by the system's compiler, and run without Python."""

import shutil
import subprocess

import pytest

import flambeau as torch
from flambeau import nn
from flambeau._eager import large

if not large.available():
    pytest.skip("no kernels can be generated here", allow_module_level=True)

from flambeau._backends.cpu.engine import TARGETS
from flambeau.export.native import emit

COMPILER = shutil.which("cc") or shutil.which("gcc")
MODELS = {
    "mlp": lambda: (nn.Sequential(nn.Linear(10, 64), nn.GELU(), nn.LayerNorm(64), nn.Linear(64, 5), nn.Softmax(1)), (7, 10)),
    "convnet": lambda: (
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU(),
            nn.Flatten(), nn.Linear(8 * 36, 10)),
        (2, 3, 16, 16)),
}  # fmt: skip


def program(x, out, name):
    """A C program that prints what the model gives for x."""
    values = ", ".join(f"{v!r}f" for v in x.reshape(-1).tolist())
    return f"""#include <stdio.h>
#include "{name}.h"
static const float x[] = {{{values}}};
static float out[{out.numel()}];
int main(void) {{
    int status = {name}(x, out);
    for (int i = 0; i < {out.numel()}; i++) printf("%.9g\\n", out[i]);
    return status;
}}
"""


@pytest.mark.skipif(COMPILER is None, reason="no C compiler")
@pytest.mark.parametrize("name", MODELS)
def test_a_c_program_gives_the_same_numbers(name, tmp_path):
    torch.manual_seed(0)
    model, shape = MODELS[name]()
    model.eval()
    x = torch.randn(*shape)
    with torch.no_grad():
        want = model(x)
    emit(model, [x], tmp_path / f"{name}.o", name=name)
    (tmp_path / "main.c").write_text(program(x, want, name))
    subprocess.run([COMPILER, "main.c", f"{name}.o", "-o", "main", "-lm"], cwd=tmp_path, check=True)
    done = subprocess.run([str(tmp_path / "main")], capture_output=True, text=True, check=True)
    got = torch.tensor([float(v) for v in done.stdout.split()]).reshape(want.shape)
    assert torch.allclose(got, want, rtol=1e-5, atol=1e-6)


MAGIC = {"linux": b"\x7fELF", "macos": b"\xcf\xfa\xed\xfe", "windows": b"\x64\x86", "wasm": b"\x00asm"}


@pytest.mark.parametrize("target", ["linux-arm", "macos-arm", "windows", "wasm", "linux-sse2"])
@pytest.mark.parametrize("name", MODELS)
def test_objects_for_other_machines(name, target, tmp_path):
    model, shape = MODELS[name]()
    emit(
        model.eval(),
        [torch.randn(*shape)],
        tmp_path / "model.o",
        TARGETS[target].triple if target != "linux-sse2" else target,
    )
    assert (tmp_path / "model.o").read_bytes().startswith(MAGIC[target.partition("-")[0]])
    assert "int model(const float *in0, float *out0);" in (tmp_path / "model.h").read_text()


def test_this_process_goes_on_as_before(tmp_path):
    x = torch.randn(200, 100)
    before = torch.softmax(x @ x.t(), 1)
    emit(nn.Linear(100, 3), [x], tmp_path / "model.o", "wasm")
    assert torch.equal(torch.softmax(x @ x.t(), 1), before)


def test_what_has_no_native_code_is_said(tmp_path):
    with pytest.raises(NotImplementedError, match="has no native code"):
        emit(lambda x: torch.linalg.inv(x) + 1, [torch.eye(3)], tmp_path / "model.o")


def test_results_are_arrays_of_their_own(tmp_path):
    emit(lambda x: (x * 2).flatten()[2:7], [torch.randn(3, 4)], tmp_path / "model.o")
    assert "out0: float [5] = 5" in (tmp_path / "model.h").read_text()
