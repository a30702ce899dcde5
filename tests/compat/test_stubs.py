"""What type checkers see: the stub names what is there, and a typed program passes."""

import ast
import pathlib
import subprocess
import sys

import pytest

import flambeau

ROOT = pathlib.Path(__file__).parents[2]

PROGRAM = """
import flambeau as torch
import flambeau.nn.functional as F
from flambeau import Tensor, nn
from flambeau.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x)).sum(dim=1)


def train(net: Net, x: Tensor) -> float:
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for (batch,) in DataLoader(TensorDataset(x), batch_size=2):
        optimizer.zero_grad()
        loss = (net(batch) - 1).pow(2).mean()
        loss.backward()
        optimizer.step()
    k: float = loss.item()
    return k


def shapes(x: Tensor, n: int) -> Tensor:
    values, indices = torch.max(x, dim=1)
    joined = torch.cat([x, x], dim=0).sum() + x.topk(3).values.mean()
    z = torch.zeros(2, 3, dtype=torch.float32, device="cpu") + torch.arange(3)
    y = x.permute(1, 0).reshape(-1, n).contiguous().float().int().bool()
    with torch.no_grad():
        d = x.clone().fill_(0.5).add_(1).mul_(x)
        e = x.roll(1, 0) + x.roll((1, 2), (0, 1)) + x.amax(1, keepdim=True) + torch.std(x, 0) + torch.max_pool2d(x, 2)
    good: bool = torch.allclose(x, x) and bool((x == x).all())
    m: int = x.shape[0] + len(x) + x.dim() + x.size(0)
    f = F.cross_entropy(F.conv2d(x, x, stride=2, padding="same"), y, reduction="sum") + F.pad(x, (1, 1), "constant", 0.0)
    f = F.dropout(F.max_pool2d(f, (2, 2)), 0.5, training=False) + F.scaled_dot_product_attention(x, x, x, is_causal=True)
    q, r = torch.linalg.qr(f)
    f = torch.linalg.norm(q, dim=(0, 1)) + torch.fft.rfft(r, n=3).real + torch.special.xlogy(f, 2.0)
    return F.relu(joined) * 2 - 1 / z + d @ x.T + x[0, :, None] + values.softmax(-1) + y + m + good + e


F.relu(2)
torch.linalg.inv()
wrong = torch.ones(2).no_such_method()
"""


def test_the_stub_names_what_is_there():
    tree = ast.parse((ROOT / "flambeau" / "__init__.pyi").read_text())
    named = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")}
    assert {"relu", "randn", "einsum", "where"} <= named | {
        a.asname for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names
    }
    assert [name for name in sorted(named) if not hasattr(flambeau, name)] == []
    (tensor,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Tensor")
    methods = {node.name for node in tensor.body if isinstance(node, ast.FunctionDef)}
    assert {"view", "relu_", "topk", "__matmul__"} <= methods
    assert [name for name in sorted(methods) if not hasattr(flambeau.Tensor, name)] == []
    assert (ROOT / "flambeau" / "py.typed").exists()


@pytest.mark.slow
def test_a_typed_program(tmp_path, request):
    pytest.importorskip("mypy")
    kept = getattr(
        request.config, "cache", None
    )  # the first run reads the whole package; -p no:cacheprovider keeps nothing
    cache = kept.mkdir("typed_program") if kept else tmp_path / "cache"
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file=",
        "--follow-imports=silent",
        "--cache-dir",
        str(cache),
        "program.py",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={"MYPYPATH": str(ROOT), "PATH": ""}
    )
    lines = [line.partition(": error: ")[2] for line in done.stdout.splitlines() if line.startswith("program.py")]
    assert lines == [
        'Argument 1 to "relu" has incompatible type "int"; expected "Tensor"  [arg-type]',
        'Missing positional argument "A" in call to "inv"  [call-arg]',
        '"Tensor" has no attribute "no_such_method"  [attr-defined]',
    ]


@pytest.mark.parametrize("name", ["linalg", "fft", "special", "nn.functional"])
def test_namespaces_have_stubs(name):
    """Every function of the namespace, with types, and under the names of its parameters."""
    space = getattr(flambeau, name) if "." not in name else flambeau.nn.functional
    path = ROOT / "flambeau" / name.replace(".", "/")
    tree = ast.parse((path / "__init__.pyi" if path.is_dir() else path.with_suffix(".pyi")).read_text())
    made = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name != "__getattr__"}
    assert [n for n in made if not hasattr(space, n)] == []
    assert len(made) > 15
    loose = [n for n, node in made.items() if node.args.vararg is not None and node.args.kwarg is not None]
    assert loose == []
