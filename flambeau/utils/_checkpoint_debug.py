"""`checkpoint(debug=True)`: both runs of a part are logged, operator by operator, and told apart when they differ."""

import traceback

import flambeau
from flambeau.utils._python_dispatch import TorchDispatchMode
from flambeau.utils._pytree import tree_leaves

_RULE = "+" + "~" * 78 + "+"
_LINE = "+" + "-" * 78 + "+"
_SHORT = {
    "float32": "f32", "float64": "f64", "float16": "f16", "bfloat16": "bf16", "complex64": "c64", "complex128": "c128",
    "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64", "bool": "b8", "uint8": "u8",
}  # fmt: skip

_REPORT = """ An error happened while unpacking tensors; dumping logs of latest computation
because you passed `debug=True` to `torch.utils.checkpoint.checkpoint()`.
Scroll all the way down for guidance on how to navigate these logs.

{rule}
|        1. Stack traces of the operators that ran in the original forward     |
{line}

{first_traces}

{rule}
|        2. Stack traces of the operators that ran during recomputation        |
{line}

{second_traces}

{rule}
|       3. Log of operators in the original forward and recomputation          |
{line}
(Sections 1 and 2 show where each of these was called. "detach" calls may differ: the mechanism itself makes them.)

Operations executed during the original forward:

{first}

Operations executed during recomputation:

{second}

{line}
 ERROR: Detected non-determinism while running activation checkpointing

 The part saved other tensors when it ran again than it had the first time, so it did not do the same. Compare the two
 logs in section 3; the first line that differs is the place, and its stack trace in section 1 or 2 says who called it.

 1. Stack traces of the operators that ran in the original forward
 2. Stack traces of the operators that ran during recomputation
 3. Log of operators in the original forward and recomputation
 4. Error message                                             <--- You are here
{line}
"""


class Log(TorchDispatchMode):
    """The operators that run inside, with where they were called from. Tensors are numbered as they appear."""

    def __init__(self):
        super().__init__()
        self.clear()

    def clear(self):
        """Forgets everything."""
        self.numbers, self.kept, self.lines, self.traces = {}, [], [], []

    def number(self, tensor):
        """`$n`; the tensor is kept, for another might get its id."""
        if id(tensor) not in self.numbers:
            self.numbers[id(tensor)] = len(self.numbers)
            self.kept.append(tensor)
        return f"${self.numbers[id(tensor)]}"

    def spoken(self, x):
        """An argument."""
        if isinstance(x, flambeau.Tensor):
            return self.number(x)
        if isinstance(x, (list, tuple)):
            return "[" + ", ".join(self.spoken(y) for y in x) + "]"
        return str(x)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Runs the operator and notes it."""
        kwargs = kwargs or {}
        given = ", ".join([self.spoken(x) for x in args] + [f"{k}={self.spoken(v)}" for k, v in kwargs.items()])
        out = func(*args, **kwargs)
        made = ", ".join(
            f"{self.number(t)}: {_SHORT.get(str(t.dtype)[6:], str(t.dtype)[6:])}[{', '.join(map(str, t.shape))}]"
            for t in tree_leaves(out)
            if isinstance(t, flambeau.Tensor)
        )
        self.lines.append(f"{made or '$_'} = torch._ops.{func}({given})")
        calls = reversed(traceback.extract_stack()[:-1])
        self.traces.append("\n".join(f"{call.filename}:{call.lineno}:{call.name}" for call in calls))
        return out


def report(first: Log, second: Log) -> str:
    """What the two runs did, and how to find the difference."""

    def traces(log, which):
        n = len(log.lines)
        return "\n\n".join(
            f"{line}   ({i} of {n} in {which})\n\n{trace}\n"
            for i, (line, trace) in enumerate(zip(log.lines, log.traces, strict=True), 1)
        )

    return _REPORT.format(
        rule=_RULE,
        line=_LINE,
        first_traces=traces(first, "original"),
        second_traces=traces(second, "recompute"),
        first="\n".join(first.lines),
        second="\n".join(second.lines),
    )
