"""Module: what it owns, its hooks, saving and loading, in PyTorch's words."""

import copy
import pickle
import warnings

import pytest


def network(fl):
    nn = fl.nn
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Sequential(nn.ReLU(), nn.Linear(4, 2)))


def scale(fl, **attributes):
    """A module with one parameter, one buffer and one that is not saved."""

    class Scale(fl.nn.Module):
        def __init__(self):
            super().__init__()
            self.by = fl.nn.Parameter(fl.ones(2))
            self.register_buffer("kept", fl.arange(3))
            self.register_buffer("lost", fl.arange(2), persistent=False)

        def forward(self, x, *, factor=1.0):
            return x * self.by * factor

    for name, value in attributes.items():
        setattr(Scale, name, value)
    return Scale()


# ---- what it owns ----
def test_names(agree):
    def program(fl):
        m = network(fl)
        m.again = m[0]
        return {
            "parameters": [n for n, _ in m.named_parameters()],
            "all": [n for n, _ in m.named_parameters(remove_duplicate=False)],
            "prefix": [n for n, _ in m.named_parameters(prefix="net", recurse=False)],
            "buffers": [n for n, _ in m.named_buffers()],
            "modules": [n for n, _ in m.named_modules()],
            "children": [n for n, _ in m.named_children()],
            "count": [
                len(list(m.modules())),
                len(list(m.parameters())),
                len(list(m.buffers())),
                len(list(m.children())),
            ],
        }

    agree(program)


def test_assignment(agree):
    def program(fl):
        m, found = fl.nn.Module(), []
        m.x = fl.nn.Parameter(fl.ones(1))
        m.y = fl.ones(1)
        m.y = fl.nn.Parameter(fl.ones(1))  # a plain attribute becomes a parameter
        m.z = fl.nn.Linear(1, 1)
        m.b = fl.nn.Buffer(fl.zeros(2), persistent=False)
        m.x = None
        found += [sorted(m._parameters), sorted(m._buffers), sorted(m._modules), sorted(m._non_persistent_buffers_set)]
        m.b = fl.ones(2)  # stays a buffer that is not saved
        m.z = None
        del m.y
        found += [sorted(m._parameters), sorted(m._modules), list(m.state_dict()), m.b, hasattr(m, "y")]
        return found

    agree(program)


@pytest.mark.parametrize(
    "use",
    [
        lambda fl, m: setattr(m, "by", fl.ones(2)),
        lambda fl, m: setattr(m, "kept", 3),
        lambda fl, m: m.register_parameter("p", fl.ones(1)),
        lambda fl, m: m.register_parameter("p", 1),
        lambda fl, m: m.register_parameter("a.b", None),
        lambda fl, m: m.register_parameter("", None),
        lambda fl, m: m.register_parameter(3, None),
        lambda fl, m: m.register_parameter("forward", None),
        lambda fl, m: m.register_parameter("p", fl.nn.Parameter(fl.ones(1)) * 2),
        lambda fl, m: m.register_buffer("by", fl.ones(1)),
        lambda fl, m: m.register_buffer("a.b", fl.ones(1)),
        lambda fl, m: m.register_buffer("b", 3),
        lambda fl, m: m.add_module("a.b", fl.nn.ReLU()),
        lambda fl, m: m.add_module("", fl.nn.ReLU()),
        lambda fl, m: m.add_module("x", 3),
        lambda fl, m: m.add_module("by", fl.nn.ReLU()),
        lambda fl, m: m.nothing,
        lambda fl, m: m.get_submodule("a.b"),
        lambda fl, m: m.get_submodule("by"),
        lambda fl, m: m.get_parameter("kept"),
        lambda fl, m: m.get_buffer("by"),
        lambda fl, m: m.get_buffer("nothing"),
        lambda fl, m: m.set_submodule("", fl.nn.ReLU()),
        lambda fl, m: m.set_submodule("a", fl.nn.ReLU(), strict=True),
        lambda fl, m: m.train(3),
        lambda fl, m: m.to(fl.int64),
        lambda fl, m: fl.nn.Module()(1),
        lambda fl, m: fl.nn.Module(1),
        lambda fl, m: fl.nn.Module(a=1),
        lambda fl, m: m.load_state_dict(3),
        lambda fl, m: m.get_extra_state(),
        lambda fl, m: fl.nn.Sequential(m)[3],
        lambda fl, m: fl.nn.ModuleList([m])["a"],
        lambda fl, m: fl.nn.ModuleList(3),
        lambda fl, m: fl.nn.ModuleDict([(1, 2, 3)]),
        lambda fl, m: fl.nn.ModuleDict(3),
        lambda fl, m: fl.nn.ParameterList()[0],
        lambda fl, m: fl.nn.ParameterDict({1: 2}),
        lambda fl, m: fl.nn.Sequential(m) + 1,
        lambda fl, m: fl.nn.Sequential(m) * 0,
        lambda fl, m: fl.nn.Sequential(m).insert(5, m),
    ],
)
def test_errors(agree, use):
    agree(lambda fl: outcome(fl, use))


def outcome(fl, use):
    try:
        use(fl, scale(fl))
    except Exception as error:
        text = str(error)
        return type(error).__name__, text if "test_module" not in text and "<class" not in text else "..."
    return "no error"


def test_before_init(agree):
    def program(fl):
        class Early(fl.nn.Module):
            def __init__(self, value):
                self.value = value

        return [
            outcome_of(lambda v=v: Early(v))
            for v in (fl.nn.Parameter(fl.ones(1)), fl.nn.ReLU(), fl.nn.Buffer(fl.ones(1)))
        ]

    agree(program)


def outcome_of(fn):
    try:
        return "no error", fn()
    except Exception as error:
        return type(error).__name__, str(error)


def test_apply_to_and_modes(agree):
    def program(fl):
        m, order = network(fl), []
        m.apply(lambda each: order.append(type(each).__name__))
        m(fl.ones(5, 3)).sum().backward()
        first = m[0].weight
        m.double().eval()
        found = [
            order,
            m[0].weight is first,
            first.dtype,
            first.grad.dtype,
            m[1].num_batches_tracked.dtype,
            m[2].training,
        ]
        m.half()
        m.to(fl.float32)
        m.requires_grad_(False)
        found += [m[0].weight.dtype, m[0].weight.requires_grad]
        m.requires_grad_(True).zero_grad(set_to_none=False)
        found.append(first.grad.sum())
        m.zero_grad()
        return [*found, first.grad is None, m.to("meta")[0].weight.is_meta]

    agree(program)


def test_copies(agree):
    def program(fl):
        m = network(fl)
        x = fl.ones(2, 3)
        m.eval()
        other = copy.deepcopy(m)
        with fl.no_grad():
            m[0].weight.zero_()
        return m(x), other(x), type(other[0].weight).__name__, other[0].weight.requires_grad

    agree(program)


def test_pickle(agree):
    def program(fl):
        m = network(fl).eval()
        again = pickle.loads(pickle.dumps(m))
        x = fl.ones(2, 3)
        return fl.equal(again(x), m(x)), type(again[0].weight).__name__, repr(again)

    agree(program)


# ---- saving and loading ----
def test_state_dict(agree):
    def program(fl):
        m = network(fl)
        state = m.state_dict(prefix="net.")
        keep = m.state_dict(keep_vars=True)
        result = m.load_state_dict(m.state_dict())
        return [
            {k: tuple(v.shape) for k, v in state.items()},
            {k: dict(v) for k, v in state._metadata.items()},
            state["net.0.weight"].requires_grad,
            keep["0.weight"] is m[0].weight,
            repr(result),
            type(state).__name__,
        ]

    agree(program)


def test_load_errors(agree):
    def program(fl):
        m, state = network(fl), network(fl).state_dict()
        state["extra"] = fl.ones(1)
        state["2.1.more"] = fl.ones(1)
        del state["1.running_mean"]
        state["0.weight"] = fl.ones(2, 2)
        state["0.bias"] = 3
        return outcome_of(lambda: m.load_state_dict(state)), outcome_of(lambda: m.load_state_dict(state, strict=False))

    agree(program)


def test_load_not_strict(agree):
    def program(fl):
        m, state = network(fl), network(fl).state_dict()
        state["extra"] = fl.ones(1)
        del state["0.weight"]
        return repr(m.load_state_dict(state, strict=False))

    agree(program)


def test_load_assign(agree):
    def program(fl):
        m = fl.nn.Linear(2, 2, device="meta")
        given = fl.nn.Linear(2, 2).double().state_dict()
        m.load_state_dict(given, assign=True)
        return m.weight.dtype, m.weight.is_meta, m.weight.requires_grad, type(m.weight).__name__, m.weight

    agree(program)


def test_extra_state(agree):
    def program(fl):
        def set_extra(self, state):
            self.seen = state

        m = scale(fl, get_extra_state=lambda self: {"a": 1}, set_extra_state=set_extra)
        state = m.state_dict()
        m.load_state_dict(state)
        found = [list(state), m.seen]
        del state["_extra_state"]
        return [
            *found,
            outcome_of(lambda: m.load_state_dict(state)),
            outcome_of(lambda: scale(fl).load_state_dict(m.state_dict())),
        ]

    agree(program)


def test_state_dict_hooks(agree):
    def program(fl):
        m, calls = scale(fl), []
        m.register_state_dict_pre_hook(lambda mod, prefix, keep: calls.append(("pre", prefix, keep)))
        m.register_state_dict_post_hook(
            lambda mod, state, prefix, meta: calls.append(("post", list(state), dict(meta)))
        )
        m.register_load_state_dict_pre_hook(lambda mod, state, *rest: state.update(by=fl.full((2,), 7.0)))
        m.register_load_state_dict_post_hook(lambda mod, keys: keys.missing_keys.clear())
        m._register_state_dict_hook(lambda mod, state, prefix, meta: {**state, "more": 1})
        state = m.state_dict(prefix="p.")
        m.load_state_dict({})
        return calls, list(state), m.by

    agree(program)


# ---- hooks ----
def test_forward_hooks(agree):
    def program(fl):
        m, calls = scale(fl), []
        handles = [
            m.register_forward_pre_hook(lambda mod, args: calls.append("pre") or (args[0] + 1,)),
            m.register_forward_pre_hook(
                lambda mod, args, kwargs: calls.append("pre kw") or (args, {"factor": 2.0}),
                with_kwargs=True,
                prepend=True,
            ),
            m.register_forward_hook(lambda mod, args, out: calls.append("post") or out + 10),
            m.register_forward_hook(
                lambda mod, args, kwargs, out: calls.append(("post kw", kwargs["factor"])),
                with_kwargs=True,
                prepend=True,
            ),
        ]
        first = m(fl.ones(2))
        for handle in handles:
            handle.remove()
        return first, m(fl.ones(2)), calls, [len(m._forward_hooks), len(m._forward_hooks_with_kwargs)]

    agree(program)


def test_always_called(agree):
    def program(fl):
        def forward(self, x):
            raise ValueError("no")

        m, calls = scale(fl, forward=forward), []
        m.register_forward_hook(lambda mod, args, out: calls.append(("always", out)), always_call=True)
        m.register_forward_hook(lambda mod, args, out: calls.append("not"))
        return outcome_of(lambda: m(fl.ones(2))), calls

    agree(program)


def test_backward_hooks(agree):
    def program(fl):
        m, calls = network(fl), []

        def note(name):
            return lambda mod, *grads: calls.append((name, [[None if g is None else g for g in gs] for gs in grads]))

        m[0].register_full_backward_hook(note("first"))
        m[2].register_full_backward_hook(note("last"))
        m[2].register_full_backward_pre_hook(note("before"))
        m[2].register_full_backward_pre_hook(lambda mod, grads: (grads[0] * 2,))
        fl.manual_seed(0)
        x = fl.randn(4, 3, requires_grad=True)
        m(x).sum().backward()
        return calls, x.grad, m[0].weight.grad

    agree(program)


def test_backward_hook_changes_gradient(agree):
    def program(fl):
        m = scale(fl)
        m.register_full_backward_hook(lambda mod, into, out: (into[0] * 3,))
        x = fl.ones(2, requires_grad=True)
        m(x).sum().backward()
        bad = scale(fl)
        bad.register_full_backward_hook(lambda mod, into, out: (1, 2))
        y = bad(fl.ones(2, requires_grad=True)).sum()
        return x.grad, outcome_of(y.backward)

    agree(program)


def test_backward_hook_kinds_do_not_mix(agree):
    def program(fl):
        m = scale(fl)
        m.register_full_backward_hook(lambda *args: None)
        return outcome_of(lambda: m.register_backward_hook(lambda *args: None))

    agree(program)


def test_old_backward_hook(agree):
    def program(fl):
        m, calls = fl.nn.ReLU(), []
        m.register_backward_hook(lambda mod, into, out: calls.append((into, out)))
        x = fl.ones(2, requires_grad=True) * 1
        m(x).sum().backward()
        return calls

    agree(program)


def test_global_hooks(agree):
    def program(fl):
        module, calls = fl.nn.modules.module, []
        handles = [
            module.register_module_forward_pre_hook(lambda m, args: calls.append(("pre", type(m).__name__))),
            module.register_module_forward_hook(lambda m, args, out: calls.append(("post", type(m).__name__))),
            module.register_module_full_backward_hook(lambda m, i, o: calls.append(("backward", type(m).__name__))),
            module.register_module_full_backward_pre_hook(lambda m, o: calls.append(("before", type(m).__name__))),
            module.register_module_parameter_registration_hook(lambda m, n, p: calls.append(("parameter", n))),
            module.register_module_buffer_registration_hook(lambda m, n, b: calls.append(("buffer", n))),
            module.register_module_module_registration_hook(lambda m, n, c: calls.append(("module", n))),
        ]
        try:
            m = network(fl)
            m(fl.ones(2, 3, requires_grad=True)).sum().backward()
        finally:
            for handle in handles:
                handle.remove()
        count = len(calls)
        network(fl)(fl.ones(2, 3))
        return calls, count == len(calls)

    agree(program)


# ---- containers ----
def test_sequential(agree):
    def program(fl):
        nn = fl.nn
        m = nn.Sequential(nn.ReLU(), nn.Tanh(), nn.Sigmoid())
        m.append(nn.GELU()).insert(1, nn.ELU()).extend([nn.SiLU()])
        m[0] = nn.Identity()
        del m[2]
        popped = m.pop(-1)
        both = m[:2] + m[2:]
        twice = nn.Sequential(nn.ReLU()) * 3
        twice *= 2
        twice += m
        return (
            repr(m),
            repr(popped),
            repr(both),
            repr(twice),
            [type(x).__name__ for x in m],
            [n for n in dir(m) if n.isdigit()],
        )

    agree(program)


def test_module_list_and_dict(agree):
    def program(fl):
        nn = fl.nn
        m = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)] + [nn.ReLU(), nn.ReLU()])
        m.insert(1, nn.Sequential(nn.ReLU()))
        del m[0]
        d = nn.ModuleDict({"b": nn.ReLU(), "a": nn.Tanh()})
        d.update([("c", nn.ELU())])
        return (
            repr(m),
            repr(m[1:3]),
            repr(m + [nn.ELU()]),
            repr(d),
            list(d),
            "a" in d,
            repr(d.pop("a")),
            len(d),
            repr(nn.ModuleList()),
        )

    agree(program)


def test_parameter_list_and_dict(agree):
    def program(fl):
        nn = fl.nn
        p = nn.ParameterList([fl.ones(2), nn.Parameter(fl.zeros(1, 3)), 5, "a"])
        p.append(fl.ones(1))
        p[0] = fl.zeros(4)
        d = nn.ParameterDict({"b": fl.ones(2), "a": fl.zeros(1)})
        d["c"] = 3
        d |= nn.ParameterDict({"z": fl.ones(1)})
        d.setdefault("y", fl.ones(3))
        return [
            repr(p),
            [n for n, _ in p.named_parameters()],
            repr(p[1:3]),
            repr(d),
            list(d.keys()),
            d.get("nothing", 1),
            d.popitem()[0],
            list(reversed(d)),
            [n for n, _ in d.named_parameters()],
            outcome_of(lambda: p(1)),
        ]

    agree(program)


# ---- lazy modules ----
def test_lazy(agree):
    def program(fl):
        nn = fl.nn
        m = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.ReLU())
        before = repr(m), [repr(p) for p in m.parameters()], list(m.state_dict())
        shape = outcome_of(lambda: m[0].weight.shape)
        m(fl.ones(2, 3))
        return before, shape, repr(m), tuple(m[0].weight.shape), type(m[0]).__name__, type(m[0].weight).__name__

    agree(program)


def test_lazy_loads(agree):
    def program(fl):
        nn = fl.nn
        m = nn.LazyLinear(4)
        m.load_state_dict(nn.Linear(3, 4).state_dict())
        out = m(fl.ones(2, 3))
        return tuple(m.weight.shape), m.in_features, tuple(out.shape)

    agree(program)


def test_warnings(agree):
    def program(fl):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fl.nn.functional.softmax(fl.ones(2, 2))
            fl.nn.functional.mse_loss(fl.ones(2), fl.ones(1, 2))
            fl.nn.L1Loss(size_average=False)
            fl.nn.Hardtanh(min_value=-2.0)
            fl.nn.LSTM(2, 2, dropout=0.5)
            fl.nn.functional.upsample(fl.ones(1, 1, 2), scale_factor=2)
        return [(w.category.__name__, str(w.message)) for w in caught]

    agree(program)
