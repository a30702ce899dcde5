"""Programs of TorchScript, written once for either library: `functions(torch)` and `modules(torch)`."""

import linecache
import math
import typing

FUNCTIONS = """def f1(x: Tensor, n: int = 3) -> Tensor:
    for i in range(n):
        if i == 2:
            continue
        if x.sum() > 100:
            return x
        x = x + i
    else_ = x * 2
    return else_

def f2(xs: List[int]) -> int:
    total = 0
    for x in xs:
        if x < 0:
            break
        total += x
    return total

def f3(x: Optional[Tensor], y: Tensor) -> Tensor:
    if x is None:
        return y
    return x + y

def f4(x: Tensor) -> Tuple[Tensor, List[int]]:
    a, b = x.shape[0], x.size(1)
    l = [i * i for i in range(a)]
    l.append(b)
    return x[:, 1:].reshape(-1), l

def f5(d: Dict[str, int], k: str) -> str:
    if k in d and d[k] > 2 or len(d) == 0:
        return f"{k}={d[k]}"
    return k.upper() + "!"

def f6(x: Tensor) -> Tensor:
    i = 0
    while True:
        i += 1
        if i > 5:
            break
        for j in range(i):
            if j == 3:
                break
            x = x + j * 0.5
    return x

def f7(x: Tensor, idx: Tensor) -> Tensor:
    y = x.clone()
    y[0] = 5
    y[:, 1] += 2
    y[idx] = 0.25
    return torch.cat([y, x[None, ..., 0].expand(2, -1).t()], dim=1)

def f8(a: int, b: float) -> float:
    assert a > 0, "a must be positive"
    c = a // 2 + a % 3 - int(b) ** 2
    return max(float(c), b) if c < 10 else math.sqrt(b)

def f9(x: Union[int, str]) -> str:
    if isinstance(x, int):
        return str(x + 1)
    else:
        return x + "s"

def f10(xs: List[Tensor]) -> Tensor:
    out = torch.zeros(3, dtype=torch.float64)
    for i, (a, b) in enumerate(zip(xs, xs[1:])):
        out = out + a * b * i
    return out

def f11(x: Tensor) -> Tensor:
    def_ = helper(x, scale=2.0)
    return F.relu(def_) + F.softmax(x, dim=-1)

def helper(x: Tensor, scale: float = 1.0) -> Tensor:
    return x * scale - 1

def f12(n: int) -> List[List[int]]:
    out: List[List[int]] = []
    for i in range(1, n, 2):
        row: List[int] = []
        for j in range(i, 0, -1):
            row.append(i * j)
        out.append(row)
    return out

def f13(x: Tensor) -> Tensor:
    with torch.no_grad():
        y = x * 2
    return y + x

def f14(x: Tensor, flag: bool):
    if flag:
        a = x.sum()
        b = 1
    else:
        a = x.mean()
        b = 2
    return a * b, x.dtype == torch.float32, x.device

def f15(x: int) -> int:
    if x > 3:
        raise ValueError("too big {}".format(x))
    return x

def f16(t: Tuple[int, Tensor, str]) -> Tensor:
    n, x, s = t
    if s == "a":
        x = -x
    return x ** n

def f17(x: Tensor) -> Tensor:
    y = x.view(-1)
    s = 0.0
    for v in y:
        s += float(v)
    return torch.tensor([s, 1.0])
"""

ARGUMENTS = {
    "f1": lambda t, a: [(a(3),), (a(3), 50)], "f2": lambda t, a: [([1, 2, -1, 4],), ([3],)],
    "f3": lambda t, a: [(None, a(2)), (a(2), a(2))], "f4": lambda t, a: [(a(3, 4),)],
    "f5": lambda t, a: [({"a": 3}, "a"), ({"a": 1}, "a")], "f6": lambda t, a: [(a(2),)],
    "f7": lambda t, a: [(a(3, 3), t.tensor([1]))], "f8": lambda t, a: [(5, 2.5), (40, 9.0)], "f9": lambda t, a: [(1,), ("q",)],
    "f10": lambda t, a: [([a(3), a(3) + 1, a(3)],)], "f11": lambda t, a: [(a(2, 3),)], "f12": lambda t, a: [(6,)],
    "f13": lambda t, a: [(a(2),)], "f14": lambda t, a: [(a(3), True), (a(3), False)], "f15": lambda t, a: [(2,)],
    "f16": lambda t, a: [((2, a(2), "a"),)], "f17": lambda t, a: [(a(2, 2),)],
}  # fmt: skip

MODULES = """class Control(nn.Module):
    scale: Final[int]
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(3,4); self.b = nn.Sequential(nn.Linear(4,4), nn.ReLU(), nn.Dropout(0.1))
        self.ls = nn.ModuleList([nn.Linear(4,4), nn.LayerNorm(4)])
        self.scale = 3
        self.register_buffer('buf', torch.ones(4))
        self.names = ["a","b"]; self.d = {"k": 1.5}
    @torch.jit.export
    def helper(self, x: Tensor, n: Optional[int]=None) -> List[Tensor]:
        out: List[Tensor] = []
        for i in range(x.size(0)):
            if n is not None and i >= n:
                break
            out.append(x[i, ..., None] * self.scale)
        return out
    def forward(self, x, flag: bool=False):
        y = F.relu(self.a(x)) + self.buf
        y = self.b(y)
        for l in self.ls:
            y = l(y)
        if flag:
            return y, "s"
        if y.sum() > 5:
            z = y.view(-1, 2)[:, 0]
        else:
            z = torch.cat([y, y], dim=0).amax(1)
        while z.sum() < 10:
            z = z + 1.5
            if z.size(0) > 3: continue
            z = z * 2
        assert z.dim() == 1, f"bad {z.dim()}"
        return z, f"{self.scale} {len(self.helper(x, 2))}"
class Conv(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv2d(3, 8, 3, padding=1); self.bn = nn.BatchNorm2d(8); self.c2 = nn.Conv2d(8, 8, 3, stride=2, groups=2)
        self.fc = nn.Linear(8*9, 5); self.pool = nn.MaxPool2d(2)
    def forward(self, x):
        x = F.relu(self.bn(self.c1(x)))
        x = self.pool(x)
        x = F.gelu(self.c2(x))
        x = F.adaptive_avg_pool2d(x, (3, 3))
        return F.log_softmax(self.fc(torch.flatten(x, 1)), dim=1)
class Lstm(nn.Module):
    def __init__(self):
        super().__init__(); self.e = nn.Embedding(10, 6); self.l = nn.LSTM(6, 8, 2, batch_first=True, bidirectional=True); self.o = nn.Linear(16, 3)
    def forward(self, x):
        y, (h, c) = self.l(self.e(x))
        return self.o(y[:, -1]), h, c
class Block(nn.Module):
    def __init__(self, d=16, h=2):
        super().__init__(); self.h = h; self.qkv = nn.Linear(d, 3*d); self.o = nn.Linear(d, d); self.n1 = nn.LayerNorm(d); self.n2 = nn.LayerNorm(d)
        self.m = nn.Sequential(nn.Linear(d, 4*d), nn.GELU(), nn.Linear(4*d, d)); self.register_buffer("mask", torch.tril(torch.ones(8, 8)).bool())
    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.qkv(self.n1(x)).chunk(3, dim=-1)
        q = q.view(b, t, self.h, d // self.h).transpose(1, 2); k = k.view(b, t, self.h, d // self.h).transpose(1, 2); v = v.view(b, t, self.h, d // self.h).transpose(1, 2)
        a = (q @ k.transpose(-2, -1)) / math.sqrt(d // self.h)
        a = a.masked_fill(~self.mask[:t, :t], float("-inf")).softmax(-1)
        x = x + self.o((a @ v).transpose(1, 2).reshape(b, t, d))
        return x + self.m(self.n2(x))
class Dicts(nn.Module):
    def __init__(self):
        super().__init__(); self.heads = nn.ModuleDict({"x": nn.Linear(4, 2), "y": nn.Linear(4, 3)}); self.count = 0; self.t = torch.ones(2)
    def forward(self, x: Tensor, extra: Optional[Dict[str, Tensor]] = None) -> Dict[str, Tensor]:
        out: Dict[str, Tensor] = {}
        for name, h in self.heads.items():
            out[name] = torch.tanh(h(x))
        if extra is not None:
            for k, v in extra.items():
                out[k] = v * 2
        self.count += 1
        out["n"] = torch.tensor([self.count, len(out)], dtype=torch.float64)
        return out
class TEnc(nn.Module):
    def __init__(self):
        super().__init__(); self.t = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    def forward(self, x): return self.t(x)
"""

INPUTS = {
    "Mlp": lambda t: (t.arange(8.0).reshape(2, 4) / 8,), "Conv": lambda t: (t.arange(1536.0).reshape(2, 3, 16, 16).sin(),),
    "Lstm": lambda t: (t.arange(10).reshape(2, 5),), "Block": lambda t: (t.arange(192.0).reshape(2, 6, 16).sin(),),
    "Control": lambda t: (t.arange(6.0).reshape(2, 3),), "Dicts": lambda t: (t.arange(8.0).reshape(2, 4),),
    "TEnc": lambda t: (t.arange(160.0).reshape(2, 5, 16).cos(),),
}  # fmt: skip


def _load(text, name, torch):
    scope = {
        "torch": torch,
        "Tensor": torch.Tensor,
        "nn": torch.nn,
        "F": torch.nn.functional,
        "math": math,
        **vars(typing),
    }
    scope["__name__"] = "jit_programs"
    file = f"<{name} {torch.__name__}>"
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)
    exec(compile(text, file, "exec"), scope)
    return scope


def functions(torch):
    return _load(FUNCTIONS, "functions", torch)


def modules(torch):
    scope = _load(MODULES, "modules", torch)
    made = {n: scope[n] for n in INPUTS if n != "Mlp"}
    made["Mlp"] = lambda: torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    return made
