"""The views once more, as copies: `permute_copy`, `unfold_copy` and their like."""

from __future__ import annotations

from typing import Any

from flambeau._operators import part, view
from flambeau._operators.op import Op, composite
from flambeau._tensor import Tensor

COPIED = {
    "alias": view.alias, "as_strided": part.as_strided, "diagonal": part.diagonal, "expand": view.expand, "permute": view.permute,
    "select.int": part.select, "slice.Tensor": part.slice_, "split.Tensor": part.split, "split_with_sizes": part.split_with_sizes,
    "squeeze": view.squeeze, "t": view.t, "transpose.int": view.transpose, "unbind.int": part.unbind, "unfold": part.unfold,
    "unsqueeze": view.unsqueeze, "view_as_complex": view.view_as_complex, "view_as_real": view.view_as_real, "view": view.view,
}  # fmt: skip


def _in_order(x: Tensor) -> Tensor:
    return x.clone() if x.is_contiguous() else x.contiguous()


def _reshaped(input: Tensor, size: Any = None, **dtype: Any) -> Tensor:
    """What `view_copy` copies: it need not be a view."""
    return (
        input.view(**dtype)
        if size is None
        else input.view(size)
        if not isinstance(size, (int, tuple, list))
        else input.reshape(size)
    )


def _copying(name: str, source: Op) -> Op:
    base, dot, overload = name.partition(".")
    body, first = source.body, 0 if source.kind == "composite" else 1
    code = body.__code__
    names = code.co_varnames[first : code.co_argcount]
    keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    scope: dict[str, Any] = {"source": _reshaped if base == "view" else source, "in_order": _in_order}
    defaults = body.__defaults__ or ()
    start = len(names) - len(defaults)
    head = [n if i < start else f"{n}={defaults[i - start]!r}" for i, n in enumerate(names)]
    if keywords:
        head += ["*", *(f"{n}={(body.__kwdefaults__ or {})[n]!r}" for n in keywords)]
    given = ", ".join([*names, *(f"{n}={n}" for n in keywords)])
    exec(
        f"def copying({', '.join(head)}):\n    r = source({given})\n"
        "    return tuple(map(in_order, r)) if isinstance(r, (tuple, list)) else in_order(r)",
        scope,
    )
    made = scope["copying"]
    made.__annotations__ = {n: a for n, a in body.__annotations__.items() if n != "k"}
    made.__doc__ = f"A copy of what `{base}` views."
    made.__annotations__["return"] = "T" if source.notes.get("return") == "T" else "tuple[T, ...]"
    schema = source.schemas.get(name, "").partition(") -> ")[0]
    schema += ")" if schema and not schema.endswith(")") else ""
    for alias in ("(a -> *)", "(a)"):
        schema = schema.replace(alias, "")
    return composite(f"{base}_copy{dot}{overload}{schema}", variants=("function", "out"))(made)


@composite("detach_copy", variants=("function", "out"))
def detach_copy(input: Tensor) -> Tensor:
    """A copy without history."""
    return input.detach().clone()


for _name, _op in COPIED.items():
    _copying(_name, _op)
