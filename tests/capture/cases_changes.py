"""State that training programs change between calls: averages, schedules, lists of modules, parameters, hooks, defaults."""

import collections
import contextlib
import copy
import dataclasses
import functools
import itertools
import operator

import flambeau as torch
from flambeau import nn
from tests.capture.world import case, freeze, near, net, rows, whole, x


@whole
@near
def average_of_weights_with_a_schedule(wrap):
    m = net()
    shadow = copy.deepcopy(m)
    state = {"step": 0, "decay": 0.5}

    def update(t):
        state["step"] += 1
        decay = min(state["decay"], (1 + state["step"]) / (10 + state["step"]))
        with torch.no_grad():
            for p, q in zip(m.parameters(), shadow.parameters(), strict=True):
                q.mul_(decay).add_(p, alpha=1 - decay)
        return shadow(t) * decay

    f, out = wrap(update), []
    for n in range(8):
        if n == 5:
            state["decay"] = 0.25
        with torch.no_grad():
            m[0].weight.add_(0.5)
        out.append(freeze(f(rows())))
    return out, state, [freeze(p) for p in shadow.parameters()]


@whole
def tuples_of_floats_that_change(wrap):
    class Options:
        betas = (0.9, 0.99)
        limits = (1, 2.0, "a")

    options = Options()

    def f(t):
        first, second = options.betas
        return t * first + second * options.limits[1], options.limits[2]

    f, out = wrap(f), []
    for n in range(6):
        options.betas = (0.9 - n / 10, 0.99)
        options.limits = (1, 2.0 + n, "a" if n < 4 else "b")
        out.append(freeze(f(x())))
    options.betas = (1, 0)
    return [*out, freeze(f(x()))]


@dataclasses.dataclass
class Progress:
    """Numbers of a run."""

    step: int = 0
    loss: float = 0.0
    best: float = float("inf")
    history: list = dataclasses.field(default_factory=list)


@whole
def numbers_in_dataclasses(wrap):
    progress = Progress()

    def f(t):
        progress.step += 1
        progress.loss = progress.loss * 0.5 + progress.step
        progress.history.append(progress.loss)
        if progress.step % 3 == 0:
            progress.best = min(progress.best, progress.loss)
        return t * progress.loss, progress.step

    f = wrap(f)
    out = [freeze(f(x())) for _ in range(7)]
    progress.loss = -1.0
    out.append(freeze(f(x())))
    return out, dataclasses.asdict(progress)


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """A frozen one, with slots."""

    scale: float
    shift: int = 1

    def of(self, t):
        return t * self.scale + self.shift


@whole
def frozen_dataclasses_replaced(wrap):
    held = {"point": Point(2.0)}

    def f(t):
        y = held["point"].of(t)
        held["point"] = dataclasses.replace(held["point"], scale=held["point"].scale + 1)
        return y

    f = wrap(f)
    out = [freeze(f(x())) for _ in range(4)]
    held["point"] = Point(1.0, 7)
    return [*out, freeze(f(x())), held["point"].scale, held["point"].shift]


@whole
def module_lists_mutated(wrap):
    layers = nn.ModuleList([nn.Linear(3, 3), nn.Tanh()])
    f, out = wrap(lambda t: functools.reduce(lambda y, layer: layer(y), layers, t)), []
    with torch.no_grad():
        layers[0].weight.copy_(torch.eye(3))
        layers[0].bias.zero_()
        out.append(freeze(f(rows())))
        layers.append(nn.ReLU())
        out.append(freeze(f(rows())))
        layers[1] = nn.Sigmoid()
        out.append(freeze(f(rows())))
        del layers[2]
        out.append(freeze(f(rows())))
        layers.insert(0, nn.Hardtanh())
        out.append(freeze(f(rows())))
        layers.extend([nn.ReLU6()])
        out.append(freeze(f(rows())))
    return out


@whole
def module_dicts_mutated(wrap):
    heads = nn.ModuleDict({"a": nn.Tanh(), "b": nn.ReLU()})
    f = wrap(lambda t, k: (heads[k](t), sorted(heads), k in heads))
    out = [freeze(f(x(), "a")), freeze(f(x(), "b"))]
    heads["a"] = nn.Sigmoid()
    out.append(freeze(f(x(), "a")))
    heads["c"] = nn.Hardtanh()
    out += [freeze(f(x(), "a")), freeze(f(x(), "c"))]
    heads.pop("b")
    return [*out, freeze(f(x(), "a"))]


@whole
def parameters_reassigned(wrap):
    m = nn.Linear(3, 2)
    f, out = wrap(lambda t: m(t)), []
    with torch.no_grad():
        for n in range(4):
            m.weight = nn.Parameter(torch.full((2, 3), float(n)))
            out.append(freeze(f(rows())))
        m.bias = None
        out.append(freeze(f(rows())))
        m.register_parameter("bias", nn.Parameter(torch.ones(2)))
        out.append(freeze(f(rows())))
        m.weight.data = torch.ones(2, 3) * 3
        out.append(freeze(f(rows())))
        m.weight = nn.Parameter(torch.ones(2, 3), requires_grad=False)
        out.append(freeze(f(rows())))
    return out


@whole
def parameters_frozen_between_steps(wrap):
    m = net()

    def step(t):
        m(t).square().sum().backward()
        grads = [p.grad for p in m.parameters()]
        m.zero_grad()
        return grads

    f = wrap(step)
    out = [[g is None for g in f(rows())]]
    m[0].requires_grad_(False)
    out += [[g is None for g in f(rows())] for _ in range(2)]
    m[0].weight.requires_grad_(True)
    out.append([g is None for g in f(rows())])
    m.requires_grad_(True)
    return [*out, [g is None for g in f(rows())]]


@whole
def gradients_of_other_kinds(wrap):
    m = nn.Linear(3, 2)

    def step(t):
        m.zero_grad()
        loss = m(t).sum()
        loss.backward()
        return m.weight.grad * 1

    f = wrap(step)
    out = [freeze(f(rows())) for _ in range(3)]
    m.weight.grad = None
    out.append(freeze(f(rows())))
    m.weight.grad = torch.zeros(2, 3)
    m.bias.grad = nn.Parameter(torch.zeros(2))
    out.append(freeze(f(rows())))
    m.bias.grad = None
    return [*out, freeze(f(rows())), freeze(f(rows()))]


@case
def hooks_added_later(wrap):
    m, seen = net(), []
    f, out = wrap(lambda t: m(t)), []
    with torch.no_grad():
        out.append(freeze(f(rows())))
        handle = m[0].register_forward_hook(lambda mod, args, y: y * 2)
        out.append(freeze(f(rows())))
        before = m.register_forward_pre_hook(lambda mod, args: (args[0] + 1,))
        out.append(freeze(f(rows())))
        handle.remove()
        out.append(freeze(f(rows())))
        before.remove()
        m[1].register_forward_hook(lambda mod, args, y: seen.append(tuple(y.shape)))
        out.append(freeze(f(rows())))
    return out, seen


@case
def hooks_of_tensors_added_later(wrap):
    m = nn.Linear(3, 2)

    def step(t):
        m.zero_grad()
        m(t).sum().backward()
        return m.weight.grad * 1

    f = wrap(step)
    out = [freeze(f(rows())), freeze(f(rows()))]
    handle = m.weight.register_hook(lambda g: g * 3)
    out += [freeze(f(rows())), freeze(f(rows()))]
    handle.remove()
    out.append(freeze(f(rows())))
    after = m.weight.register_post_accumulate_grad_hook(lambda p: p.grad.mul_(5))
    out += [freeze(f(rows())), freeze(f(rows()))]
    after.remove()
    return [*out, freeze(f(rows()))]


@whole
def generators_that_close_over_state(wrap):
    scales = [1.0, 2.0]

    def scaled(t):
        for s in scales:
            yield t * s

    f = wrap(lambda t: sum(scaled(t)))
    out = [freeze(f(x())), freeze(f(x()))]
    scales.append(4.0)
    out.append(freeze(f(x())))
    scales[0] = 8.0
    out.append(freeze(f(x())))
    scales.clear()
    return [*out, f(x())]


@case
def generators_from_outside(wrap):
    numbers = iter(range(100))
    f = wrap(lambda t: t + next(numbers))
    return [freeze(f(x())) for _ in range(4)]


@whole
def context_managers_with_state(wrap):
    depth = []

    @contextlib.contextmanager
    def deeper(by):
        depth.append(by)
        try:
            yield len(depth)
        finally:
            depth.pop()

    class Scale:
        value = 1.0

        def __enter__(self):
            self.before, self.value = self.value, self.value * 3
            return self

        def __exit__(self, *error):
            self.value = self.before + 1
            return False

    scale = Scale()

    def f(t):
        with deeper(2) as n, scale as s, contextlib.suppress(ZeroDivisionError), contextlib.nullcontext(5) as five:
            y = t * n * s.value + five
        return y + len(depth)

    f = wrap(f)
    out = [freeze(f(x())) for _ in range(4)]
    depth.append(1)
    return [*out, freeze(f(x())), scale.value, depth]


@whole
def exit_stacks(wrap):
    log = []

    def f(t, flags):
        with contextlib.ExitStack() as stack:
            for name in flags:
                stack.callback(log.append, name)
            return t * len(flags)

    f = wrap(f)
    return [freeze(f(x(), flags)) for flags in (("a",), ("a", "b"), (), ("b", "a"))], log


@whole
def defaults_mutated(wrap):
    def inner(t, scale=2.0, held=[1.0], *, shift=0):
        held.append(held[-1] + 1)
        return t * scale + held[-2] + shift

    f = wrap(lambda t: inner(t))
    out = [freeze(f(x())) for _ in range(3)]
    inner.__defaults__ = (5.0, inner.__defaults__[1])
    out.append(freeze(f(x())))
    inner.__kwdefaults__["shift"] = 100
    out.append(freeze(f(x())))
    inner.__defaults__[1][:] = [10.0]
    out.append(freeze(f(x())))
    inner.__kwdefaults__ = {"shift": -1}
    return [*out, freeze(f(x())), inner.__defaults__[1]]


@whole
def own_defaults_mutated(wrap):
    def f(t, held={"n": 1}):
        held["n"] *= 2
        return t * held["n"]

    g = wrap(f)
    return [freeze(g(x())) for _ in range(4)], f.__defaults__


@whole
def methods_replaced(wrap):
    class Layer:
        scale = 2.0

        def run(self, t):
            return t * self.scale

        @property
        def shift(self):
            return 1.0

    layer = Layer()
    f = wrap(lambda t: layer.run(t) + layer.shift)
    out = [freeze(f(x()))]
    layer.scale = 3.0
    out.append(freeze(f(x())))
    Layer.scale = 9.0
    out.append(freeze(f(x())))
    del layer.scale
    out.append(freeze(f(x())))
    layer.run = lambda t: t - 1
    out.append(freeze(f(x())))
    del layer.run
    Layer.run = lambda self, t: -t
    out.append(freeze(f(x())))
    Layer.shift = property(lambda self: 50.0)
    return [*out, freeze(f(x()))]


@whole
def forward_replaced(wrap):
    m = net()
    f = wrap(lambda t: m(t))
    with torch.no_grad():
        out = [freeze(f(rows()))]
        m.forward = lambda t: t * 3
        out.append(freeze(f(rows())))
        del m.forward
        out.append(freeze(f(rows())))
        m[0].forward = lambda t: torch.cat((t, t[:, :1]), 1)
        return [*out, freeze(f(rows()))]


@whole
def counters_and_ordered_dicts(wrap):
    counts, order = collections.Counter(), collections.OrderedDict(a=1.0, b=2.0)

    def f(t, k):
        counts[k] += 1
        order.move_to_end(next(iter(order)))
        return t * counts[k] + next(iter(order.values())), counts.total()

    f = wrap(f)
    return [freeze(f(x(), k)) for k in "aabab"], dict(counts), list(order)


@whole
def deques_of_losses(wrap):
    window = collections.deque(maxlen=3)

    def f(t):
        window.append(t.sum())
        return torch.stack(list(window)).mean(), len(window)

    f = wrap(f)
    return [freeze(f(x(3, i))) for i in range(6)], [freeze(t) for t in window]


@whole
def flags_of_modules(wrap):
    m = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.BatchNorm1d(3))
    f, out = wrap(lambda t: m(t)), []
    with torch.no_grad():
        for n in range(8):
            m.train(n % 2 == 0)
            m[1].p = 0.25 if n > 4 else 0.5
            m[2].momentum = 0.1 * n if n > 2 else 0.1
            m[2].eps = 1e-5 if n < 6 else 1e-2
            torch.manual_seed(n)
            out.append(freeze(f(rows())))
    return out, freeze(m[2].running_mean), freeze(m[2].num_batches_tracked)


@whole
def buffers_replaced(wrap):
    m = nn.BatchNorm1d(3).eval()
    f = wrap(lambda t: m(t))
    with torch.no_grad():
        out = [freeze(f(rows()))]
        m.running_mean = torch.ones(3)
        out.append(freeze(f(rows())))
        m.running_var = None
        m.running_mean = None
        out.append(freeze(f(rows())))
        m.register_buffer("running_var", torch.full((3,), 4.0))
        m.register_buffer("running_mean", torch.zeros(3))
        return [*out, freeze(f(rows()))]


@whole
@near
def groups_of_an_optimizer(wrap):
    m = net()
    o = torch.optim.SGD([{"params": m[0].parameters(), "lr": 0.1}], lr=0.01, momentum=0.5)

    def step(t):
        o.zero_grad()
        loss = m(t).square().mean()
        loss.backward()
        o.step()
        return loss.detach()

    f = wrap(step)
    out = [freeze(f(rows())) for _ in range(3)]
    o.add_param_group({"params": m[1].parameters(), "weight_decay": 0.1})
    out += [freeze(f(rows())) for _ in range(2)]
    o.param_groups[0]["momentum"] = 0.0
    o.param_groups[1]["nesterov"] = True
    out += [freeze(f(rows())) for _ in range(2)]
    o.load_state_dict(o.state_dict())
    out.append(freeze(f(rows())))
    o.state.clear()
    return [*out, freeze(f(rows())), *(freeze(p) for p in m.parameters())]


@whole
def strings_and_enumerations(wrap):
    import enum

    class Mode(enum.Enum):
        DOUBLE = 2
        TRIPLE = 3

    settings = {"mode": Mode.DOUBLE, "name": "a"}
    f = wrap(lambda t: (t * settings["mode"].value, f"{settings['name']}-{settings['mode'].name}"))
    out = [freeze(f(x()))]
    settings["mode"] = Mode.TRIPLE
    out.append(freeze(f(x())))
    settings["name"] = "b"
    return [*out, freeze(f(x()))]


@whole
def functions_kept_in_tables(wrap):
    table = {"relu": torch.relu, "neg": operator.neg}
    f = wrap(lambda t, k: table[k](t))
    out = [freeze(f(x(), "relu")), freeze(f(x(), "neg"))]
    table["relu"] = torch.tanh
    out.append(freeze(f(x(), "relu")))
    table["neg"] = functools.partial(torch.add, other=3)
    out.append(freeze(f(x(), "neg")))
    table["neg"] = functools.partial(torch.add, other=4)
    return [*out, freeze(f(x(), "neg"))]


@whole
def closures_rebound(wrap):
    def make():
        scale, calls = 1.0, 0

        def f(t):
            nonlocal calls
            calls += 1
            return t * scale + calls

        def set_(value):
            nonlocal scale
            scale = value

        return f, set_

    f, set_ = make()
    f = wrap(f)
    out = [freeze(f(x())), freeze(f(x()))]
    for value in (2.0, 3.0, 4, None):
        set_(value)
        try:
            out.append(freeze(f(x())))
        except TypeError:
            out.append("refused")
    set_(torch.ones(3))
    return [*out, freeze(f(x()))]


@whole
def chains_of_iterators(wrap):
    weights = [0.5, 1.5, 2.5]

    def f(t):
        total = list(itertools.accumulate(weights))
        products = list(itertools.accumulate([t, t + 1, t + 2], operator.mul, initial=t))
        some = [a * b for a, b in itertools.takewhile(lambda p: p[0] < 2, zip(weights, total))]
        rest = list(itertools.dropwhile(lambda w: w < 1, weights))
        spread = list(map(lambda a, b: a - b, total, weights))
        kept = list(itertools.compress(weights, (True, False, True))) + list(itertools.filterfalse(None, (0, 1, 0.0)))
        one, two = itertools.tee(iter(weights))
        return sum(products) * sum(total), some, rest, spread, kept, sum(one) - sum(w * 2 for w in two)

    f = wrap(f)
    out = [freeze(f(x())), freeze(f(x()))]
    weights[1] = 0.25
    out.append(freeze(f(x())))
    weights.append(3.0)
    return [*out, freeze(f(x()))]


@whole
@near
def steps_of_adafactor(wrap):
    m = net()
    o = torch.optim.Adafactor(m.parameters(), lr=0.1, weight_decay=0.01)

    def step(t):
        o.zero_grad()
        loss = m(t).square().mean()
        loss.backward()
        o.step()
        return loss.detach()

    f, out = wrap(step), []
    for n in range(6):
        o.param_groups[0]["lr"] = 0.1 / (n + 1)
        out.append(freeze(f(rows())))
    return out


@whole
def early_stopping(wrap):
    best = {"loss": None, "patience": 0}

    def f(t, loss):
        if best["loss"] is None or loss < best["loss"]:
            best.update(loss=loss, patience=0)
        else:
            best["patience"] += 1
        return t * best["patience"] - best["loss"]

    f = wrap(f)
    return [freeze(f(x(), loss)) for loss in (3.0, 2.0, 2.5, 2.25, 1.0, 1.5, 0.5)], best


@whole
def attributes_of_functions(wrap):
    def helper(t):
        helper.calls += 1
        return t * helper.calls + helper.offset

    helper.calls, helper.offset = 0, 0.5
    f = wrap(lambda t: helper(t))
    out = [freeze(f(x())) for _ in range(3)]
    helper.offset = 1.5
    return [*out, freeze(f(x())), helper.calls]
