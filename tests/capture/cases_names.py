"""Globals, closures, defaults, code: names whose meaning changes between calls."""

import math

import flambeau as torch
from flambeau.nn import functional as F
from tests.capture.world import case, twice, whole, x

SCALE = 2.0
FLAG = False
TABLE = {"a": 1.0}
ITEMS = [1.0, 2.0]
BUFFER = torch.ones(3)
COUNT = 0
FN = torch.relu


class Config:
    scale = 3.0
    nested = None


CONFIG = Config()


@whole
def global_float(wrap):
    global SCALE
    SCALE = 2.0
    f = wrap(lambda t: t * SCALE)
    out = twice(f, x())
    for SCALE in (3.0, 4.5, 2.0, -0.0):
        out += twice(f, x())
    return out


@whole
def global_flag(wrap):
    global FLAG
    FLAG = False
    f = wrap(lambda t: t + 1 if FLAG else t - 1)
    out = twice(f, x())
    FLAG = True
    out += twice(f, x())
    FLAG = False
    return out + twice(f, x())


@whole
def global_int_as_float(wrap):
    global SCALE
    SCALE = 2
    f = wrap(lambda t: t.to(torch.int64) * SCALE)
    out = twice(f, x())
    SCALE = 2.0
    return out + twice(f, x())


@whole
def global_bool_as_int(wrap):
    global SCALE
    SCALE = True
    f = wrap(lambda t: [t * SCALE, SCALE])
    out = twice(f, x())
    SCALE = 1
    return out + twice(f, x())


@whole
def global_dict_item(wrap):
    TABLE["a"] = 1.0
    f = wrap(lambda t: t * TABLE["a"])
    out = twice(f, x())
    TABLE["a"] = 5.0
    out += twice(f, x())
    return out


@whole
def global_dict_key_appears(wrap):
    TABLE.pop("b", None)
    f = wrap(lambda t: t * TABLE.get("b", 7.0))
    out = twice(f, x())
    TABLE["b"] = 2.0
    out += twice(f, x())
    del TABLE["b"]
    return out + twice(f, x())


@whole
def global_list_grows(wrap):
    ITEMS[:] = [1.0, 2.0]
    f = wrap(lambda t: sum(t * i for i in ITEMS))
    out = twice(f, x())
    ITEMS.append(3.0)
    out += twice(f, x())
    ITEMS.pop(0)
    return out + twice(f, x())


@whole
def global_tensor_replaced(wrap):
    global BUFFER
    BUFFER = torch.ones(3)
    f = wrap(lambda t: t + BUFFER)
    out = twice(f, x())
    BUFFER = torch.ones(3) * 5
    out += twice(f, x())
    BUFFER = torch.ones(1)
    return out + twice(f, x())


@whole
def global_tensor_written(wrap):
    global BUFFER
    BUFFER = torch.ones(3)
    f = wrap(lambda t: t + BUFFER)
    out = twice(f, x())
    BUFFER.mul_(4)
    return out + twice(f, x())


@whole
def global_tensor_dtype(wrap):
    global BUFFER
    BUFFER = torch.ones(3)
    f = wrap(lambda t: t + BUFFER)
    out = twice(f, x())
    BUFFER = torch.ones(3, dtype=torch.float64)
    return out + twice(f, x())


@whole
def global_counter(wrap):
    global COUNT
    COUNT = 0

    def f(t):
        global COUNT
        COUNT += 1
        return t * COUNT

    f = wrap(f)
    out = []
    for _ in range(12):
        out.append(f(x()))
    return out, COUNT


@whole
def global_function_replaced(wrap):
    global FN
    FN = torch.relu
    f = wrap(lambda t: FN(t))
    out = twice(f, x())
    FN = torch.abs
    out += twice(f, x())
    FN = lambda t: t * 10
    return out + twice(f, x())


@whole
def global_function_code(wrap):
    def helper(t):
        return t + 1

    def other(t):
        return t + 2

    global FN
    FN = helper
    f = wrap(lambda t: FN(t))
    out = twice(f, x())
    helper.__code__ = other.__code__
    return out + twice(f, x())


@whole
def own_code(wrap):
    def inner(t):
        return t + 1

    def other(t):
        return t * 3

    f = wrap(inner)
    out = twice(f, x())
    inner.__code__ = other.__code__
    return out + twice(f, x())


@whole
def global_class_attribute(wrap):
    Config.scale = 3.0
    f = wrap(lambda t: t * Config.scale)
    out = twice(f, x())
    Config.scale = 4.0
    return out + twice(f, x())


@whole
def global_instance_attribute(wrap):
    Config.scale = 3.0
    CONFIG.__dict__.clear()
    f = wrap(lambda t: t * CONFIG.scale)
    out = twice(f, x())
    CONFIG.scale = 5.0
    out += twice(f, x())
    del CONFIG.scale
    out += twice(f, x())
    Config.scale = 6.0
    return out + twice(f, x())


@whole
def global_shadows_builtin(wrap):
    f = wrap(lambda t: len([1, 2, 3]) * t)
    out = twice(f, x())
    globals()["len"] = lambda s: 10
    try:
        out += twice(f, x())
    finally:
        del globals()["len"]
    return out + twice(f, x())


@whole
def monkey_patched_functional(wrap):
    f = wrap(lambda t: F.relu(t))
    out = twice(f, x())
    held = F.relu
    F.relu = lambda t: t * 100
    try:
        out += twice(f, x())
    finally:
        F.relu = held
    return out + twice(f, x())


@whole
def monkey_patched_torch(wrap):
    f = wrap(lambda t: torch.sin(t))
    out = twice(f, x())
    held = torch.sin
    torch.sin = torch.cos
    try:
        out += twice(f, x())
    finally:
        torch.sin = held
    return out + twice(f, x())


@whole
def monkey_patched_math(wrap):
    f = wrap(lambda t: t * math.sqrt(4.0))
    out = twice(f, x())
    held = math.sqrt
    math.sqrt = lambda v: v + 1
    try:
        out += twice(f, x())
    finally:
        math.sqrt = held
    return out + twice(f, x())


@whole
def closure_float(wrap):
    k = 2.0

    def f(t):
        return t * k

    f = wrap(f)
    out = twice(f, x())
    for k in (3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0):
        out += twice(f, x())
    return out


@whole
def closure_tensor(wrap):
    k = torch.ones(3)

    def f(t):
        return t * k

    f = wrap(f)
    out = twice(f, x())
    k = torch.ones(3) * 3
    return out + twice(f, x())


@whole
def closure_counter(wrap):
    n = 0

    def f(t):
        nonlocal n
        n += 1
        return t + n

    f = wrap(f)
    out = [f(x()) for _ in range(12)]
    return out, n


@whole
def closure_of_closure(wrap):
    k = 1.0

    def outer():
        def inner(t):
            return t * k

        return inner

    g = outer()
    f = wrap(lambda t: g(t) + 1)
    out = twice(f, x())
    k = 2.0
    return out + twice(f, x())


@whole
def closure_function_replaced(wrap):
    g = torch.sin
    f = wrap(lambda t: g(t))
    out = twice(f, x())
    g = torch.cos
    out += twice(f, x())
    g = lambda t: t + 3
    out += twice(f, x())
    g = lambda t: t + 4
    return out + twice(f, x())


@whole
def closure_of_list(wrap):
    seen = []

    def f(t):
        seen.append(t * 2)
        return t + len(seen)

    f = wrap(f)
    out = [f(x()) for _ in range(4)]
    return out, seen


@whole
def closure_list_only_appended(wrap):
    seen = []

    def f(t):
        seen.append(t.sum())
        return t + 1

    f = wrap(f)
    out = [f(x()) for _ in range(12)]
    return out, seen


@whole
def closure_dict_written(wrap):
    memo = {}

    def f(t, key):
        memo[key] = t * 2
        return memo[key] + 1

    f = wrap(f)
    out = [f(x(), k) for k in ("a", "b", "a")]
    return out, memo


@whole
def default_argument(wrap):
    def inner(t, k=2.0):
        return t * k

    f = wrap(inner)
    return [*twice(f, x()), f(x(), 3.0), f(x(), k=4.0), f(t=x())]


@whole
def default_mutable(wrap):
    def inner(t, seen=[]):
        seen.append(1)
        return t + len(seen)

    f = wrap(inner)
    return [f(x()), f(x()), f(x())]


@case
def defaults_replaced(wrap):
    def helper(t, k=2.0):
        return t * k

    f = wrap(lambda t: helper(t))
    out = twice(f, x())
    helper.__defaults__ = (5.0,)
    return out + twice(f, x())


@whole
def keyword_defaults_replaced(wrap):
    def helper(t, *, k=2.0):
        return t * k

    f = wrap(lambda t: helper(t))
    out = twice(f, x())
    helper.__kwdefaults__ = {"k": 7.0}
    return out + twice(f, x())


@whole
def argument_kinds(wrap):
    def inner(a, /, b, *rest, c=1.0, **more):
        return a * b + sum(rest, 0.0) * c + sum(more.values())

    f = wrap(inner)
    t = x()
    return [f(t, 2), f(t, 2, 3), f(t, 2, 3, 4, c=5.0), f(t, b=2, z=9.0), f(t, 2, z=9.0, y=1.0), f(t, 2, z=8.0)]


@whole
def argument_types(wrap):
    f = wrap(lambda t, k: t * k)
    return [f(x(), 2), f(x(), 2.0), f(x(), True), f(x(), x()), f(x(), torch.tensor(2)), f(x(), 2)]


@whole
def argument_none(wrap):
    f = wrap(lambda t, k=None: t if k is None else t * k)
    return [f(x()), f(x(), 2.0), f(x(), None), f(x(), x())]


@whole
def argument_string(wrap):
    f = wrap(lambda t, how: getattr(torch, how)(t))
    return [f(x(), "sin"), f(x(), "cos"), f(x(), "sin")]


@whole
def argument_function(wrap):
    f = wrap(lambda t, g: g(t) + 1)
    return [f(x(), torch.sin), f(x(), torch.cos), f(x(), lambda v: v * 2), f(x(), lambda v: v * 3)]


@whole
def argument_function_of_changing_closure(wrap):
    f = wrap(lambda t, g: g(t))
    out = []
    for k in range(4):
        out.append(f(x(), lambda v, k=k: v * k))
        out.append(f(x(), lambda v: v * k))  # noqa: B023
    return out


@whole
def argument_floats_many(wrap):
    f = wrap(lambda t, k: t * k + k * 2)
    return [f(x(), v / 7) for v in range(20)]


@whole
def argument_ints_many(wrap):
    f = wrap(lambda t, k: t + k)
    return [f(x(), v) for v in range(20)]


@whole
def argument_nan(wrap):
    f = wrap(lambda t, k: t * 0 + k)
    return [f(x(), math.nan), f(x(), math.nan), f(x(), math.inf), f(x(), 1.0), f(x(), -0.0), f(x(), 0.0)]


@case
def argument_branch_on_number(wrap):
    f = wrap(lambda t, k: t * 2 if k > 3 else t * k)
    return [f(x(), v) for v in range(8)] + [f(x(), v / 2) for v in range(10)]


@whole
def argument_number_returned(wrap):
    f = wrap(lambda t, k: (t + 1, k * 2 + 1, k))
    return [f(x(), v) for v in range(6)] + [f(x(), v / 2) for v in range(6)]


@whole
def module_attribute(wrap):
    from tests.capture import cases_names as me

    me.EXTRA = 2.0
    f = wrap(lambda t: t * me.EXTRA)
    out = twice(f, x())
    me.EXTRA = 3.0
    out += twice(f, x())
    del me.EXTRA
    return out


@whole
def import_inside(wrap):
    def inner(t):
        import math as m

        from flambeau.nn import functional as G

        return G.relu(t) * m.pi

    f = wrap(inner)
    return twice(f, x())


@case
def name_error(wrap):
    f = wrap(lambda t: t + UNDEFINED)  # noqa: F821
    out = []
    for _ in range(2):
        try:
            f(x())
        except NameError as e:
            out.append(str(e))
    globals()["UNDEFINED"] = 3.0
    out.append(f(x()))
    del globals()["UNDEFINED"]
    return out


@whole
def global_deleted_and_made(wrap):
    def inner(t):
        global COUNT
        COUNT = 41
        return t + COUNT

    f = wrap(inner)
    out = twice(f, x())
    return out, COUNT


@whole
def enum_changes(wrap):
    import enum

    class Mode(enum.Enum):
        A = 1
        B = 2

    f = wrap(lambda t, m: t * 2 if m is Mode.A else t * m.value)
    return [f(x(), Mode.A), f(x(), Mode.B), f(x(), Mode.A)]


@whole
def tuple_of_numbers_changes(wrap):
    f = wrap(lambda t, s: t.reshape(s))
    t = x(6)
    return [f(t, (2, 3)), f(t, (3, 2)), f(t, [6, 1]), f(t, (2, 3))]


@whole
def dtype_argument(wrap):
    f = wrap(lambda t, d: t.to(d))
    return [f(x(), torch.float64), f(x(), torch.int64), f(x(), torch.float64)]


@whole
def global_set(wrap):
    names = {"a"}
    f = wrap(lambda t: t * 2 if "b" in names else t)
    out = twice(f, x())
    names.add("b")
    return out + twice(f, x())


_TAKEN = [
    "out",
    "args",
    "program",
    "program_arrays",
    "v0",
    "v1",
    "v3",
    "c0",
    "c1",
    "a0",
    "a1",
    "na2",
    "o0",
    "o1",
    "c0_",
    "F_x",
    "F_words",
    "STATE",
    "MODES",
    "MISSING",
    "Tensor",
    "new",
    "type",
    "len",
    "id",
    "list",
    "tuple",
    "hasattr",
    "ndarray",
    "alike",
    "locals",
    "self",
    "torch",
    "KeyError",
    "Partial",
    "NULL",
    "inf",
    "device",
]


@case
def parameters_called_as_what_entries_use(wrap):
    results = []
    for name in _TAKEN:
        space = {}
        text = (
            f"def f(y, {name}, flag):\n    y.add_(1)\n    return [{name} * 2 + y, {name}] if flag < 2 else ({name}, y)\n"
            f"def g({name}, y):\n    print(end='')\n    return {name} + y, {name}\n"
        )
        exec(text, space)
        f, g = wrap(space["f"]), wrap(space["g"])
        for flag in (0, 1, 2):
            given, y = x(), torch.ones(3)
            with torch.set_grad_enabled(flag != 1):
                made = f(y, given, flag)
            results += [made, y, any(m is given for m in made)]
        made = g(given, y)
        results += [made, made[1] is given]
    return results


@whole
def globals_by_name(wrap):
    def f(t, name):
        globals()["COUNT"] += 1
        return globals()[name](t) * globals()["SCALE"]

    global COUNT
    COUNT, f = 0, wrap(f)
    return [f(x(), name) for name in ("FN", "FN", "twice_as_much")], COUNT


def twice_as_much(t):
    return t * 2


@whole
def the_variables_of_a_function_by_name(wrap):
    def f(t, k, *more, last=2):
        first = 3

        def inner(a):
            return len(locals()) + first

        found = vars() if more else locals()
        return t * found["k"] + found["last"] * inner(1), sorted(found)

    f = wrap(f)
    return [f(x(), 2.0), f(x(), 2.0, 1), f(x(), 3.0, last=1)]


@case
def functions_that_look_at_who_calls_them(wrap):
    def f(t, text):
        first = 2
        n = t.sum().item()
        space = {}
        exec("a = SCALE * 2", None, space)
        return t * eval(text) + n, space["a"], len(dir()), sorted(locals())

    f = wrap(f)
    return [f(x(), text) for text in ("first", "SCALE * first", "t.sum() + first")]
