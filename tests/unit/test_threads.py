"""Threads that all use the library for the first time."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys, threading, traceback
import flambeau as torch
sys.setswitchinterval(1e-6)
failed, start = [], threading.Barrier(8)

def work():
    start.wait()
    try:
        x = torch.ones(3, 3, requires_grad=True)
        ((x @ x).sum() + torch.nn.functional.softmax(x, 0).sum() + x[0].exp().sum()).backward()
        torch.optim.SGD([x], lr=0.1).step()
        torch.nn.Linear(2, 3)(torch.ones(1, 2)), torch.ops.aten.add.Tensor(x, x), torch.ones(300, 300).exp()
    except BaseException:
        failed.append(traceback.format_exc())

threads = [threading.Thread(target=work) for _ in range(8)]
[t.start() for t in threads], [t.join() for t in threads]
print(len(failed), *failed)
"""


def test_first_use_from_many_threads():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout == "0\n", done.stdout + done.stderr
