"""Programs for many sizes: planned once for each kind of sizes, and the same as a program made for one size alone."""

import pytest

import flambeau as torch
from flambeau import nn
from flambeau._backends.cpu import compile as kernels
from flambeau._capture import lower, sized, stored
from flambeau._capture.arena import Found, Tape, replay
from flambeau._capture.place import Place
from flambeau._capture.planner import Planner
from flambeau.nn import functional as F


@pytest.fixture
def met(monkeypatch):
    """What happens: the graphs whose sizes change, and how many schedules are made."""
    found = {"graphs": [], "schedules": 0}
    init, schedule = sized.Sized.__init__, lower.Schedule

    def counted(*args):
        found["schedules"] += 1
        return schedule(*args)

    def noted(self, *args):
        init(self, *args)
        found["graphs"].append(self)

    monkeypatch.setattr(sized.Sized, "__init__", noted)
    monkeypatch.setattr(lower, "Schedule", counted)
    return found


def trained():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.LayerNorm(32), nn.Linear(32, 5))
    optimizer = torch.optim.Adam(model.parameters())

    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


def batch(n):
    return torch.randn(n, 10, generator=torch.Generator().manual_seed(n)), torch.arange(n) % 5


def test_a_new_size_schedules_and_compiles_nothing(met):
    step = torch.compile(trained())
    sizes = (300, 200, 100, 77, 301, 999, 1000, 256, 65)
    step(*batch(sizes[0]))
    before = met["schedules"]
    step(*batch(sizes[1]))
    schedules, codes = met["schedules"], len(kernels._codes)
    assert schedules == before + 1
    for n in sizes[2:]:
        step(*batch(n))
    assert (met["schedules"], len(kernels._codes)) == (schedules, codes)
    (graph,) = met["graphs"]
    assert len(graph.templates) == 1
    assert len(graph.programs) == len(sizes) - 1


def test_results_are_those_of_eager_code():
    ours, eager = torch.compile(trained()), trained()
    for n in (300, 200, 7, 100, 8, 33, 2, 5000, 200, 1, 3):
        torch.testing.assert_close(ours(*batch(n)), eager(*batch(n)), rtol=1e-5, atol=1e-6)


def alike(graph, key):
    """Whether a template gives the program that is made for these sizes alone."""
    made = next(b for t in graph.templates if (b := t.at(key)) is not None)
    gm = graph.at(key)
    alone = lower.drawn(gm, [n.meta["val"] for n in gm.graph.find_nodes(op="placeholder")])
    return repr(stored.facts(made)) == repr(stored.facts(alone))


def test_the_program_is_the_one_for_these_sizes_alone(met):
    step = torch.compile(trained())
    for n in (300, 200, 6, 5000):
        step(*batch(n))
    (graph,) = met["graphs"]
    for n in (200, 90, 301, 1000, 6, 7, 5001):
        assert alike(graph, (n,) * len(graph.keys)), n
    assert len(graph.templates) == 3  # few rows, some, and so many that sums over them are cut


def test_products_take_what_is_said_with_them_at_every_size(met):
    f = lambda x, w, y: torch.addmm(y, x, w, beta=1.5, alpha=0.5).relu()
    step = torch.compile(f)
    for n in (200, 300, 64, 301):
        x, w, y = torch.randn(n, 70), torch.randn(70, 130), torch.randn(n, 130)
        torch.testing.assert_close(step(x, w, y), f(x, w, y), rtol=1e-5, atol=1e-5)
    (graph,) = met["graphs"]
    key = (301,) * len(graph.keys)
    (piece,) = next(made for t in graph.templates if (made := t.at(key)) is not None).pieces
    assert len(piece.items) == 1
    assert alike(graph, key)


@pytest.mark.parametrize("few", [9, 70000])
def test_kinds_of_sizes(met, few):
    step = torch.compile(lambda x: (x.softmax(1) @ x.T[:, :3]).sum(0))
    for n in (200, 300, few, 201, few):
        x = torch.randn(n, 8)
        torch.testing.assert_close(step(x), (x.softmax(1) @ x.T[:, :3]).sum(0), rtol=1e-4, atol=1e-3)
    (graph,) = met["graphs"]
    assert len(graph.templates) == 2


def test_a_number_that_is_needed_makes_a_kind_of_its_own(met):
    f = lambda x, k: F.pad(x, (k, 0)).roll(k, 0) * x.shape[0]
    step = torch.compile(f)
    for n, k in ((4, 1), (5, 2), (6, 3), (7, 3)):
        x = torch.randn(n, 4)
        torch.testing.assert_close(step(x, k), f(x, k))


def test_a_convolution_and_a_pool(met):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 4))
    step = torch.compile(lambda x: net(x).detach())
    with torch.no_grad():
        for n in (4, 6, 12, 3, 17):
            x = torch.randn(n, 3, 8, 8)
            torch.testing.assert_close(step(x), net(x), rtol=1e-4, atol=1e-5)
    assert all(g.templates for g in met["graphs"])


def test_what_is_decided_is_noted():
    planner = Planner()
    n = planner.argument(6, 2, True)
    assert n * 4 > 20
    assert not n > 100
    assert n >= 1  # known of every size: no note
    assert (n * 3) // n == 3
    numbers = {}
    exec(planner.function([(n * 4).source.name]), numbers)
    assert numbers["numbers"](6) == (24,)
    assert numbers["numbers"](50) == (200,)
    assert numbers["numbers"](5) is None
    assert numbers["numbers"](101) is None
    assert list(range(n)) == [0, 1, 2, 3, 4, 5]
    exec(planner.function([]), numbers)
    assert numbers["numbers"](7) is None
    assert numbers["numbers"](6) == ()


def test_equal_sizes_are_one():
    planner = Planner()
    a, b, c = planner.argument(6, 2, True), planner.argument(6, 2, True), planner.argument(7, 2, True)
    assert a is b
    assert a is not c
    numbers = {}
    exec(planner.function(["n0"]), numbers)
    assert numbers["numbers"](9, 9, 10) == (9,)
    assert numbers["numbers"](9, 8, 10) is None
    assert numbers["numbers"](9, 9, 9) is None


def test_memory_is_laid_out_anew():
    """The largest first; what takes nothing has no place."""
    tape = Tape()
    a, b = tape.take(64), tape.step()
    tape.free(a)
    c = tape.take(64)
    assert replay(tape.events, [100]) == Found(
        {b.n: (-1, 0), a.n: (-1, 128), c.n: (-1, 128)}, 192, {}, frozenset(), 192
    )
    assert replay(tape.events, [0]) == Found({a.n: (-1, 0), c.n: (-1, 0)}, 64, {}, frozenset(), 64)


def test_results_hold_other_values_before_they_are_made():
    tape = Tape()
    tape.open(0, 8192)
    tape.open(1, 8192)
    a, b = tape.take(8000), tape.take(5000)
    tape.close(1)
    c = tape.take(3000)  # beside b, whose place it would fit
    tape.free(a)
    tape.close(0)
    d = tape.take(4000)
    laid = replay(tape.events)
    found, size = laid.at, laid.arena
    assert (found[a.n], found[b.n][0], found[c.n][0], found[d.n][0]) == ((0, 0), -1, -1, -1)
    assert size == 5056 + 3008 + 4032
    assert replay(tape.events, alone=False).arena == 5056 + 3008 + 8000


def test_large_blocks_are_apart_where_a_program_is_several_calls():
    tape = Tape()
    tape.open(0, 1 << 20, True)  # goes back at once
    a, b = tape.take(1 << 21), tape.take(100)
    tape.close(0)
    tape.free(a)
    laid = replay(tape.events, alone=False)
    assert (laid.at, laid.own, laid.arena) == ({b.n: (-1, 0)}, {a.n: 1 << 21}, 128)
    assert laid.large == {Place("own", a.n), Place("out", 0)}
    assert laid.most == (1 << 21) + 128


def test_programs_of_two_plans_do_not_mix():
    """Expressions are told apart by whose numbers they hold, though these read alike."""
    torch.manual_seed(0)
    cache, seen = torch.zeros(2, 3, 8, 2), torch.zeros(2, 3, 8, 2)

    def f(cache, k, position):
        cache[:, :, position : position + k.shape[2]] = k
        return cache[:, :, : position + k.shape[2]].sum(2)

    g = torch.compile(f)
    for position in (0, 2, 4, 5, 1, 6):
        k = torch.randn(2, 3, 2, 2)
        assert torch.allclose(g(cache, k, position), f(seen, k, position), atol=1e-6)
        assert torch.equal(cache, seen)


def test_one_program_writes_wherever_a_number_says():
    cache = torch.zeros(2, 8, 3)

    def f(k, position):
        cache[:, position] = k
        return cache.sum(1)

    g = torch.compile(f, fullgraph=True)
    for position in range(8):
        total = g(torch.full((2, 3), float(position + 1)), position)
        assert total[0, 0].item() == sum(range(position + 2))
    assert len(g._captures.first.entries) == 2
    with pytest.raises(IndexError, match="index 8 is out of bounds for dimension 1 with size 8"):
        g(torch.zeros(2, 3), 8)
