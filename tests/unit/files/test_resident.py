"""Memory that the system counts while large files are written and read: hardly any for writing, the tensors themselves for reading."""

import pathlib
import subprocess
import sys

import pytest

PROGRAM = r"""
import re, sys
import flambeau as torch

step, kind, path = sys.argv[1:]


def resident(what):
    with open("/proc/self/status") as f:
        return int(re.search(what + r":\s+(\d+)", f.read())[1]) * 1024


def start():
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")  # the highest so far is what it is now
    return resident("VmRSS")


if step == "write":
    data = {f"w{i}": torch.full((4_000_000,), i, dtype=torch.float32) for i in range(3)}
    data |= {"half": torch.ones(6_000_000, dtype=torch.float16), "turned": torch.ones(2000, 1000).t(), "part": data["w1"][5:]}
    torch.save({"small": torch.ones(2)}, path)  # what is needed once is there
    before = start()
    torch.save(data, path, _use_new_zipfile_serialization=kind != "legacy")
else:
    small = path + ".small"
    torch.save({"small": torch.ones(2)}, small)
    torch.load(small, weights_only=True)
    before = start()
    if kind == "object":
        with open(path, "rb") as f:
            data = torch.load(f, weights_only=True)
    else:
        data = torch.load(path, weights_only=True, mmap=kind == "mmap")
print(resident("VmHWM") - before)
"""
SIZE = 3 * 4_000_000 * 4 + 6_000_000 * 2 + 2_000_000 * 4


@pytest.mark.skipif(not pathlib.Path("/proc/self/clear_refs").exists(), reason="Linux tells what is resident")
@pytest.mark.parametrize("kind", ["zip", "legacy", "object", "mmap"])
def test_files_are_streamed(tmp_path, kind):
    def grown(step):
        command = [sys.executable, "-c", PROGRAM, step, kind, str(tmp_path / "big.pt")]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert grown("write") < 0.1 * SIZE
    assert grown("read") < (0.1 if kind == "mmap" else 1.1) * SIZE
