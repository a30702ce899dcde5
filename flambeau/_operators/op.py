"""Op: one operator, and the registry. Everything flambeau knows about an operator hangs on its Op.

Three decorators, by how the body is read:

    @pointwise("mul.Tensor")     a scalar expression of `k`: NumPy text, native kernel and derivative follow from it
    @op("softmax.int")           a body over whole arrays in words of `k` (language.py); `k.library` for what has no word
    @composite("stack")          a body over tensors, in public Tensor operations: everything else follows

Below a body stand, as far as needed: `.vjp(...)` derivatives, `.errors` refusals, `.arrays` a faster array reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, ClassVar

from flambeau._values.device import memory_format
from flambeau._values.dtype import (
    FLOAT8,
    bfloat16,
    complex32,
    dtype,
    float16,
    int8,
    int16,
    int32,
    uint8,
    uint16,
    uint32,
    uint64,
)
from flambeau._values.shape import Size

REGISTRY: dict[str, Op] = {}  # by overload: "add.Tensor"
NAMES: dict[str, dict[str, list[Op]]] = {}  # namespace -> public name -> overloads, in the order they were written
METHODS: dict[str, list[Op]] = {}  # method name -> overloads

_WITHIN = {
    **dict.fromkeys((uint16, uint32, uint64), "u"),
    **dict.fromkeys((uint8, int8, int16, int32), "s"),
    float16: "h",
    bfloat16: "h",
    complex32: "C",
    **dict.fromkeys(FLOAT8, "8"),
}
_FREE = frozenset(
    ("Mask", "Mask | None", "Index", "Index | None")
)  # tensors that keep their dtype where the others meet
_TENSOR = frozenset(("T", "T | None", "N", "N | None", "T | Scalar")) | _FREE
_NUMBERS_TOO = frozenset(("N", "N | None", "T | Scalar"))
_ONE_NUMBER = frozenset(
    ("Scalar", "float", "int", "Dim", "bool", "Scalar | None", "float | None", "int | None", "Dim | None")
)
# The exact types of arguments that need no second look, by annotation.
_USUAL: dict[str, tuple[type, ...]] = {
    "bool": (bool,), "int": (int,), "Dim": (int,), "float": (float, int), "Scalar": (int, float), "str": (str,),
    **dict.fromkeys(("Shape", "Dims", "Ints"), (int, tuple, list, Size)), "MemoryFormat": (memory_format,),
}  # fmt: skip
_READ_AS = {"Size": "int", "IntList": "Shape", "ShapeList": "Shape", "Sizes": "Dims"}
_LISTS_ALONE = ("IntList", "ShapeList")  # PyTorch takes no single number there
_LISTS = frozenset(("Sequence[T]", "Sequence[T] | None", "Sequence[T | None]"))


Routine = str | Callable[..., str]
Lacking = tuple[str, Routine]


class Param:
    """One parameter of an operator: its name, annotation, default, and whether it is keyword-only.

    `note` is the annotation as it is written: "Shape2", of which `annotation` keeps what matters to readings, "Shape".
    """

    __slots__ = (
        "annotation", "default", "is_free", "is_list", "is_optional", "is_tensor", "keyword", "name", "note", "takes_number",
    )  # fmt: skip

    def __init__(self, name: str, note: str, default: Any, keyword: bool) -> None:
        kind, bar, none = note.partition(" | ")
        annotation = _READ_AS.get(kind.rstrip("123456"), kind.rstrip("123456")) + bar + none
        self.name, self.annotation, self.note, self.default, self.keyword = name, annotation, note, default, keyword
        self.is_tensor = annotation in _TENSOR
        self.is_free = annotation in _FREE
        self.is_list = annotation in _LISTS
        self.is_optional = default is None or annotation.endswith("None")
        self.takes_number = annotation in _NUMBERS_TOO

    @property
    def called(self) -> Any:
        """The default where a function of Python's is called: PyTorch's take the schema's word "Mean" for no number, which is 0 ("none")."""
        return 0 if self.name == "reduction" and self.default == 1 else self.default


def underived(name: str) -> Any:
    """The rule of an operator that has no derivative, though its results take part in graphs: it says so when a gradient reaches it."""
    raise RuntimeError(f"derivative for aten::{name} is not implemented")


REQUIRED: Any = type("Required", (), {"__repr__": lambda self: "REQUIRED"})()


class Op:
    """One operator: what it computes (`body`), its derivative (`rules`), what it refuses (`check`), how it is named.

    Arguments of the decorators:
        overloads: ATen's names; the first is this operator's own, the others are served by the same body. One whose parameters are not those
            of the body is written with its schema: "mean(Tensor self, *, ScalarType? dtype=None)"; "..." after a constructor's dtype
            is for layout, device and pin_memory.
        promote: "default" (operands meet in one dtype), "float" (and integers become floating), "quotient" (they do where the last
            argument, the way to round, is None), "sum" (and integers become int64), "number" (and bools become int64), "bool" (they meet; the result is boolean), "none" (dtypes are left alone). A `dtype` argument outranks it.
        lacks: kinds of dtype that have no such operation, and what PyTorch's error calls the routine: ("bc", "floor_vml_cpu"); or several
            such pairs. Kinds are "b", "i", "f" and "c"; of those "u" uint16 to uint64, "s" uint8 to int32, "h" float16 and bfloat16, "C" complex32, "8" the
            floats of eight bits. A name may be a function of the call's arguments; "": such calls are taken. The dtype is the one in which operands meet, or that of the first tensor.
        onto: `out=` may be what it reads, though it has no form in place.
        takes_float8: whether an operator that lacks some dtypes has a routine for floats of eight bits; others that lack any lack these, under
            the last name.
        variants: of "function", "method", "inplace", "out", and "factory" (takes device=, layout=, pin_memory=, requires_grad= too). The
            form in place is a method too where the operator is one or is no function; "method_" says that it alone is, "function_" that it
            alone is a function.
        namespace: where the function is public: "" is `torch`, "nn" is `torch._C._nn`, "linalg", "fft", "special", ...
        view: the result shares the first tensor's memory.
        alias: it may do so, or is itself a view by way of other operators; schemas say so.
        unnamed: schemas do not name the results.
        names: further public names (aliases: `arccos`, `concat`).
        native: large calls run as one generated kernel, even where `.arrays` exists (pointwise bodies always do): the body and the
            written derivative of an op; a whole composite, forward and backward.
        again: small calls of a composite without history that come again run as one builtin; those of native ones do.
        single: an operand that, where it is one number for all elements (a Python number, a tensor of one element), float16 and bfloat16
            meet in float32: it is not rounded, nor is any step. Elsewhere numbers and 0-d tensors are rounded as they meet.
        scalar: an operand that they meet so where it is a Python number, which has no say about the dtype then.
        halves: float16 and bfloat16 reach the array reading as they are, elsewhere they are widened before and narrowed after.
        formats: results and gradients of native calls lie as images with channels last do, where an operand of their shape does.
        differentiable: False where no gradient flows by definition.
        wraps: graphs show numbers as 0-d tensors do, by the overload for tensors.
        packed: the result lies in order, whatever the strides of the inputs are: True; "channels" where channels that come last stay there;
            "images" where they come last if they do in the first tensor. Or "operands": it is elementwise, and lies as those of pointwise operators.
        exact: whether `out=` must have the dtype of the result, and none that it could be cast to (where promote is "none").
        constants: those of the outputs that no gradient flows back from.
        layouts: what it computes depends on the layouts of its tensors: the general lane asks for a reading before there is any
            other, also for composites and for strided tensors, in `_eager/sparse` (True) or in the room of that name ("quantized").
        by_data: what is read off the elements, so that no capture can go on with it: "shape" or "values" of the result.
        number_first: the first operand may be a number, too.
        short: numbers for the second operand with which the array reading has a shorter way than a generated kernel.
        expanded: it may be written into an expanded tensor in place: True, or, where PyTorch warns that it will not be for long, what that
            is in brackets.
        autocast: what autocast does to floating operands, by PyTorch's table for the CPU: "lower" (they take the lower precision), "float32",
            "widest" (the widest among them). Composites without a word run as they are, and nothing is cast inside of them, but "open" ones,
            which are made of operators that have words.
        fixed: tensors that must not have a history, for no gradient is defined for them; where PyTorch has another operator inside refuse
            them, its name follows after a colon: "running_mean:native_batch_norm".
        widens: it has an overload with an `out_dtype`, for accelerators and meta tensors.
        real: no gradient is defined where results are complex.
        outputs: names of the fields where there are several results; `result` is the tuple's class name.
    """

    kind: str

    def __init__(self, kind: str, body: Callable[..., Any], overloads: tuple[str, ...], *, promote: str = "default",
                 variants: Iterable[str] = ("function", "method"), namespace: str = "", view: bool = False,
                 names: tuple[str, ...] = (), differentiable: bool = True, outputs: tuple[str, ...] = (),
                 python_name: str = "", receiver: str = "self", lacks: Lacking | tuple[Lacking, ...] = (),
                 native: bool = False, halves: bool = False, constants: tuple[str, ...] = (), exact: bool | None = None,
                 wraps: bool = False, layouts: bool | str = False, formats: bool = False,
                 single: str = "", scalar: str = "", packed: bool | str = False, alias: bool = False,
                 unnamed: bool = False, by_data: str = "", number_first: bool = False,
                 expanded: bool | str = False, short: tuple[float, ...] = (), autocast: str = "",
                 takes_float8: bool = False, onto: bool = False, fixed: tuple[str, ...] = (),
                 real: bool = False, widens: bool = False, again: bool = False) -> None:  # fmt: skip
        # By overload: what stands after its name, where that is not the body's signature; and which of the body's parameters an
        # argument is, where one name means another thing.
        self.schemas: dict[str, str] = {}
        self.renamed: dict[str, dict[str, str]] = {}
        overloads = tuple(self._named(o) if "(" in o else o for o in overloads)
        self.kind, self.body, self.overload, self.overloads = kind, body, overloads[0], overloads
        self.promote, self.variants, self.namespace, self.view = promote, frozenset(variants), namespace, view
        self.aten = overloads[0].partition(".")[0]
        base = self.aten.removeprefix(namespace + "_") if namespace else self.aten
        self.name = python_name or base
        self.aliases, self.differentiable, self.outputs, self.receiver = names, differentiable, outputs, receiver
        self.lacks = (lacks,) if lacks and isinstance(lacks[0], str) else lacks
        self.takes_float8 = takes_float8
        self.onto = onto or "inplace" in self.variants
        self._routines: dict[dtype, Routine] = {}
        self.halves, self.layouts, self.short, self.autocast = halves, layouts, short, autocast
        self.wraps, self.formats, self.packed = wraps, formats, packed
        self.alias, self.unnamed = alias or view, unnamed
        self.single, self.scalar = single, scalar
        self.fixed = {name: by for name, _, by in (f.partition(":") for f in fixed)}
        self.real, self.widens = real, widens
        self.by_data, self.number_first, self.expanded = by_data, number_first, expanded
        self.exact = promote == "none" if exact is None else exact
        self.constants = frozenset(outputs.index(n) for n in constants)
        self.native = native or kind == "pointwise"
        self.again = native or again
        self.rules: dict[str, Callable[..., Any]] = {}
        self.array_rules: dict[str, Callable[..., Any]] = {}
        self.words: dict[str, Callable[..., Any]] = {}
        self.run = body
        self.module: str = body.__module__ or ""  # where it is defined; code that was executed as text may not say
        self.check: Callable[..., None] | None = None
        self.write: Callable[..., None] | None = None
        self.is_flat = self.has_older_form = False
        self.node_name, self.event_name, self.node_without = "", "", ("", "")
        self.inside: Callable[..., str] | None = None
        self.read_by: dict[str, tuple[str, ...]] = {}
        self.is_primitive = kind != "composite"
        self.seen_rules: dict[str, Callable[..., Any]] = {}
        self.seen_as: Callable[..., Any] | None = None
        self.sign: Callable[[bool, bool], tuple[bool, bool]] | None = None
        self.custom: Any = None  # the definition of a user's operator (`torch.library`)
        self.__doc__ = body.__doc__
        for overload in overloads:
            if overload in REGISTRY and not overload.startswith("_"):
                raise TypeError(
                    f"the operator {overload} is defined twice: {REGISTRY[overload].module} and {self.module}"
                )
            REGISTRY[overload] = self
        if "function" in self.variants:
            space = NAMES.setdefault(namespace, {})
            for name in (self.name, *names):
                space.setdefault(name, []).append(self)
        if "method" in self.variants:
            for name in (self.name, *names):
                METHODS.setdefault(name, []).append(self)
        if "inplace" in self.variants:
            function = not self.variants.isdisjoint(("function", "function_"))
            bound = not function or not self.variants.isdisjoint(("method", "method_"))
            for name in (self.name, *names):
                if namespace == "nn":
                    NAMES[namespace].setdefault(name + "_", []).append(self)
                    continue
                if bound:
                    METHODS.setdefault(name + "_", []).append(self)
                if function:
                    NAMES.setdefault(namespace, {}).setdefault(name + "_", []).append(self)

    def routine(self, d: dtype) -> Routine:
        """What PyTorch calls the routine that it does not have for a dtype, or what tells that from a call; "" where it has it."""
        found = self._routines.get(d)
        if found is None:
            kinds = {*(d.kind + _WITHIN.get(d, ""))}
            found = next((name for lacking, name in self.lacks if not kinds.isdisjoint(lacking)), "")
            if not found and d in FLOAT8 and self.lacks and not self.takes_float8:
                found = self.lacks[-1][1]
            self._routines[d] = found
        return found

    def _named(self, written: str) -> str:
        """The name of an overload; its schema is kept."""
        name, _, rest = written.partition("(")
        self.schemas[name] = f"({rest}"
        return name

    call: ClassVar[Callable[..., Any]]  # installed by the floor above: the public function of an Op
    meeting: ClassVar[Callable[..., Any]]  # likewise: the dtype in which a list of operands meets
    gradients: ClassVar[
        Callable[..., Any]
    ]  # likewise: gradients(function, inputs, g), what reaches inputs of function(*inputs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the operator on tensors, as its public function does."""
        return self.function(*args, **kwargs)

    @cached_property
    def function(self) -> Callable[..., Any]:
        """Its public function."""
        return Op.call(self)

    def __repr__(self) -> str:
        return f"<op {self.overload}>"

    # ---- rules, written under the body, in this order ----

    def vjp(self, **rules: Callable[..., Any]) -> Op:
        """One lambda per differentiable input, in Tensor operations. What its parameters name is what the graph saves.

        `g` is the gradient of the result (`g_values` that of the field `values`), `out` the result (or a field's name); then any
        parameter of the operator, or `<name>_shape`, `<name>_dtype` where only that is needed.
        """
        self.rules.update(rules)
        return self

    def reads(self, **of: tuple[str, ...]) -> Op:
        """Which inputs the gradient of each input reads, where one rule gives all (`vjp(_=...)`): the others are not saved, and None there."""
        self.read_by.update(of)
        return self

    def vjp_arrays(self, **rules: Callable[..., Any]) -> Op:
        """The same derivatives over bare arrays, for a backward pass that is not itself recorded: `k` first, then as in `vjp`.

        An entry must name nothing that the entry of `vjp` for the same input does not name. It answers NotImplemented where that one
        must be asked.
        """
        self.array_rules.update(rules)
        return self

    def derivative(self, **rules: Callable[..., Any]) -> Op:
        """The derivatives of a pointwise operator in words of `k`: `k` first, then as in `vjp`.

        From one line come the text over arrays, the one over tensors and the kernel. For where PyTorch defines the derivative
        otherwise than the body says (ties, edges), or a steadier form exists.
        """
        self.words.update(rules)
        return self

    def flat(self) -> Op:
        """The derivatives change with no input (a selection, a mean), and PyTorch still says so with zeros: a second
        derivative is there, and zero."""
        self.is_flat = True
        return self

    def older_form(self) -> Op:
        """Numbers may also stand in front of the tensors that they scale, as before they had names: `add_(2, x)` for `add_(x, alpha=2)`."""
        self.has_older_form = True
        return self

    def known_as(
        self,
        node: str = "",
        event: str = "",
        inside: Callable[..., str] | None = None,
        without: tuple[str, str] = ("", ""),
    ) -> Op:
        """What PyTorch calls this, which has it under another name: the node of its derivative, and the event in profiles; `inside` says,
        of the arguments, which operator its own one calls to do the work, `without` the node where a parameter (its name first) is None."""
        self.node_name, self.event_name, self.inside, self.node_without = node, event, inside, without
        return self

    def primitive(self, **rules: Callable[..., Any]) -> Op:
        """One operator in PyTorch's graphs: `__torch_dispatch__` and `make_fx` see it whole, though here it may be a composite.

        `rules`: its derivative there, as in `vjp`, in operators that are seen in turn.
        """
        self.is_primitive, self.seen_rules = True, rules
        return self

    def parts(self, fn: Callable[..., Any]) -> Op:
        """Several operators in PyTorch's graphs, though one here: fn, of the same parameters, calls them."""
        self.seen_as = fn
        return self

    def errors(self, fn: Callable[..., None]) -> Op:
        """Refuse bad arguments in PyTorch's words, before any work. Called with every argument, by name."""
        self.check = fn
        return self

    def arrays(self, fn: Callable[..., Any]) -> Op:
        """A faster way to run the body now, on whole arrays."""
        self.run = fn
        return self

    def signs(self, fn: Callable[[bool, bool], tuple[bool, bool]]) -> Op:
        """Whether a view's memory is to be conjugated, and negated, from whether its source's is; without this, as the source's."""
        self.sign = fn
        return self

    def into(self, fn: Callable[..., None]) -> Op:
        """The in-place form, where it can do better than to compute and store: fn(k, *parameters) writes into the first array."""
        self.write = fn
        return self

    # ---- what is read off the body ----

    @cached_property
    def notes(self) -> dict[str, str]:
        """The annotations of the parameters and of what it returns, as text: composites say `Tensor` where other bodies say `T`."""
        return {name: str(note).replace("Tensor", "T") for name, note in self.body.__annotations__.items()}

    @cached_property
    def params(self) -> tuple[Param, ...]:
        """The parameters, in order, without the kernel."""
        body = self.body
        code, defaults, kwdefaults = body.__code__, body.__defaults__ or (), body.__kwdefaults__ or {}
        positional = code.co_varnames[: code.co_argcount]
        keyword = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        first = 0 if self.kind == "composite" else 1
        start = len(positional) - len(defaults)
        notes = self.notes
        out = [
            Param(n, notes.get(n, "Any"), defaults[i - start] if i >= start else REQUIRED, False)
            for i, n in enumerate(positional)
            if i >= first
        ]
        out += [Param(n, notes.get(n, "Any"), kwdefaults.get(n, REQUIRED), True) for n in keyword]
        return tuple(out)

    @cached_property
    def keywords(self) -> tuple[str, ...]:
        """The parameters that are given by name; they come last."""
        return tuple(p.name for p in self.params if p.keyword)

    @cached_property
    def numbers(self) -> tuple[int, ...]:
        """The positions of the parameters that are one number: a tensor given there is read."""
        return tuple(i for i, p in enumerate(self.params) if p.annotation in _ONE_NUMBER)

    @cached_property
    def indices(self) -> frozenset[int]:
        """The positions of the parameters whose elements say where: they are in range."""
        return frozenset(
            i
            for i, p in enumerate(self.params)
            if p.annotation.startswith("Index") or p.annotation == "Sequence[T | None]"
        )

    @cached_property
    def usual(self) -> tuple[tuple[int, tuple[type, ...]], ...]:
        """The parameters whose arguments have one of a few exact types, with their positions; others are looked at more closely."""
        found: list[tuple[int, tuple[type, ...]]] = []
        for i, p in enumerate(self.params):
            kind, _, none = p.annotation.partition(" | ")
            if p.note in _LISTS_ALONE:
                found.append((i, (tuple, list, Size)))
            elif kind in _USUAL and none in ("", "None"):
                found.append((i, _USUAL[kind] + ((type(None),) if none or p.default is None else ())))
        return tuple(found)

    @cached_property
    def spoken(self) -> dict[str, tuple[str, ...]]:
        """The names that schemas have for parameters in which a body takes several kinds of argument (`sections` and `indices` of `hsplit`)."""
        forms = [list(_written(text)) for text in self.schemas.values()]
        found: dict[str, tuple[str, ...]] = {}
        for i, p in enumerate(self.params):
            if p.note == "Any" and not p.keyword and not any(p.name in form for form in forms):
                names = dict.fromkeys(form[i] for form in forms if i < len(form))
                found |= {p.name: tuple(names)} if names and "*" not in names else {}
        return found

    @cached_property
    def forms(self) -> tuple[dict[str, str], ...]:
        """The parameters of each overload, and the types of those that must be given; none where they do not tell what a call may be."""
        if len(self.schemas) < len(self.overloads) or len(self.overloads) < 2:
            return ()
        forms = []
        for overload, text in self.schemas.items():
            form = _written(text)
            either = self.renamed.get(overload, {})  # one under two names
            forms.append(form | dict.fromkeys((*either, *either.values()), ""))
        free = [p.name for p in self.params if p.default is not REQUIRED]
        # a function of Python's has a head of its own
        return tuple(forms) if all(any(n in form for form in forms) for n in free) else ()

    @cached_property
    def together(self) -> tuple[tuple[str, str], ...]:
        """Pairs of parameters: who gives the first gives the second, too, or no overload is meant (`keepdim` of `sum` without a `dim`)."""
        return tuple(
            (p, q)
            for p, q in self._pairs
            if any(not form.get(q) for form in self.forms) and all(form.get(q) for form in self.forms if p in form)
        )

    @cached_property
    def apart(self) -> tuple[tuple[str, str], ...]:
        """Pairs of parameters that no overload has both (`x` and `dx` of `trapezoid`)."""
        return tuple((p, q) for p, q in self._pairs if not any(p in form and q in form for form in self.forms))

    @cached_property
    def told(self) -> frozenset[str]:
        """The parameters of which it matters whether they are given, though it be the default."""
        either = (pair for names in self.renamed.values() for pair in names.items()) if self.forms else ()
        return frozenset(n for pairs in (self.together, self.apart, either) for pair in pairs for n in pair)

    @property
    def _pairs(self) -> list[tuple[str, str]]:
        free = [p.name for p in self.params if p.default is not REQUIRED]
        return [(p, q) for i, p in enumerate(free) for q in free[:i]] if self.forms else []

    @cached_property
    def alike(self) -> tuple[int, ...]:
        """The positions of limits that may be numbers or tensors, but not one of each: an overload has either."""
        at = tuple(i for i, p in enumerate(self.params) if p.annotation == "N | None")
        return at if len(at) > 1 and len(self.overloads) > 1 else ()

    @cached_property
    def receiver_at(self) -> int:
        """The position of a method's self."""
        return next((i for i, p in enumerate(self.params) if p.name == "input"), 0)

    @cached_property
    def draws(self) -> bool:
        """Whether it takes numbers from a generator."""
        return any(p.name == "generator" for p in self.params)

    @property
    def leaves_trace(self) -> bool:
        """Whether a write in place is part of a graph: also that of truth values, which no gradient passes (its rules say zero)."""
        return self.differentiable or bool(self.rules)

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the parameters that hold one tensor."""
        return tuple(p.name for p in self.params if p.is_tensor)


def _written(schema: str) -> dict[str, str]:
    """The parameters that a schema names, with the types of those that must be given."""
    parts = (part.rpartition(" ") for part in schema[1:].partition(") -> ")[0].rstrip(")").split(", "))
    return {name.partition("=")[0]: "" if "=" in name else kind for kind, _, name in parts}


Definition = Callable[[Callable[..., Any]], Op]  # what stands above a body


def _decorator(kind: str) -> Callable[..., Definition]:
    def decorate(*overloads: str, **options: Any) -> Definition:
        return lambda body: Op(kind, body, overloads, **options)

    return decorate


pointwise = _decorator("pointwise")
op = _decorator("op")
composite = _decorator("composite")

ALL_FORMS = ("function", "method", "inplace", "out")
FUNCTION = ("function",)
METHOD = ("method",)
OUT = ("function", "method", "out")
FUNCTION_OUT = ("function", "out")
