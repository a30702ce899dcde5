"""Generators: their words are the Mersenne Twister's, and their states survive everything."""

import copy
import pickle
import threading

import numpy as np
import pytest

import flambeau
from flambeau._values import rounding
from flambeau._values.mt19937 import MT19937


def twister(seed, count):
    """The reference implementation, word by word."""
    state = [seed & 0xFFFFFFFF]
    for i in range(1, 624):
        state.append((1812433253 * (state[-1] ^ (state[-1] >> 30)) + i) & 0xFFFFFFFF)
    out = []
    for i in range(count):
        k = i % 624
        if k == 0:
            for j in range(624):
                y = (state[j] & 0x80000000) | (state[(j + 1) % 624] & 0x7FFFFFFF)
                state[j] = state[(j + 397) % 624] ^ (y >> 1) ^ (0x9908B0DF if y & 1 else 0)
        y = state[k]
        y ^= y >> 11
        y ^= (y << 7) & 0x9D2C5680
        y ^= (y << 15) & 0xEFC60000
        out.append(y ^ (y >> 18))
    return out


@pytest.mark.parametrize("seed", [0, 5489, 2**32 - 1, 2**40 + 7])
def test_words(seed):
    expected = twister(seed, 3000)
    stream = MT19937(seed)
    found = []
    for n in (1, 2, 100, 621, 1, 700, 624, 1):
        found += stream.take(n).tolist()
    found += [stream.word() for _ in range(700)]
    assert found == expected[: len(found)]


def test_known_number():
    assert MT19937(5489).take(10000)[-1] == 4123659995  # the C++ standard's check of mt19937


def test_a_state_can_be_taken_anywhere():
    for used in (0, 1, 5, 623, 624, 625, 2000):
        g = flambeau.Generator().manual_seed(11)
        if used:
            flambeau.rand(used, generator=g)
        state = g.get_state()
        assert state.shape == (5056,)
        assert state.dtype is flambeau.uint8
        h = flambeau.Generator()
        h.set_state(state)
        assert (h.get_state() == state).all()
        assert (flambeau.randn(700, generator=g) == flambeau.randn(700, generator=h)).all()


def test_the_second_normal_of_a_pair_waits():
    g = flambeau.Generator().manual_seed(0)
    singles = [flambeau.randn((), generator=g, dtype=flambeau.float64).item() for _ in range(6)]
    g.manual_seed(0)
    assert flambeau.randn(6, generator=g, dtype=flambeau.float64).tolist() == singles
    g.manual_seed(0)
    flambeau.randn(1, generator=g)
    g.manual_seed(0)
    assert flambeau.randn(1, generator=g, dtype=flambeau.float64).item() == singles[0], "seeding forgets what waits"


def test_copies():
    g = flambeau.Generator().manual_seed(3)
    flambeau.randn(5, generator=g)
    expected = flambeau.rand(9, generator=g.clone_state())
    for other in (copy.deepcopy(g), pickle.loads(pickle.dumps(g))):
        assert other.initial_seed() == 3
        assert (flambeau.rand(9, generator=other) == expected).all()


def test_seeds():
    g = flambeau.Generator()
    assert g.initial_seed() == 67280421310721
    assert g.manual_seed(-1).initial_seed() == 2**64 - 1
    assert g.seed() == g.initial_seed()
    assert g.device == flambeau.device("cpu")
    assert flambeau.manual_seed(12) is flambeau.default_generator
    assert flambeau.initial_seed() == 12


def test_threads_share_a_generator():
    g = flambeau.Generator().manual_seed(1)
    drawn = []

    def draw():
        for _ in range(50):
            drawn.append(flambeau.randint(2**31 - 1, (100,), generator=g))

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    found = flambeau.cat(drawn).sort().values
    g.manual_seed(1)
    expected = flambeau.cat([flambeau.randint(2**31 - 1, (100,), generator=g) for _ in range(200)]).sort().values
    assert (found == expected).all(), "no number is lost or drawn twice"


def test_meta_tensors_take_no_numbers():
    flambeau.manual_seed(0)
    before = flambeau.get_rng_state()
    x = flambeau.empty(1000, 1000, device="meta")
    x.uniform_()
    x.normal_()
    x.bernoulli_(0.5)
    flambeau.rand(10**9, device="meta")
    flambeau.nn.Linear(1000, 1000, device="meta")
    assert (flambeau.get_rng_state() == before).all()


def test_statistics():
    flambeau.manual_seed(0)
    n = 200_000
    z = flambeau.randn(n, dtype=flambeau.float64)
    assert abs(z.mean().item()) < 0.01
    assert abs(z.std().item() - 1) < 0.01
    assert abs((z < 1).double().mean().item() - 0.8413447) < 0.005
    u = flambeau.rand(n)
    assert 0 <= u.min() < u.max() < 1
    assert abs(u.mean().item() - 0.5) < 0.005
    assert abs(flambeau.empty(n).exponential_(2.0).mean().item() - 0.5) < 0.01
    assert sorted(flambeau.randperm(n).tolist()) == list(range(n))
    drawn = flambeau.multinomial(flambeau.tensor([1.0, 2, 7]), n, True)
    for category, share in enumerate((0.1, 0.2, 0.7)):
        assert abs((drawn == category).double().mean().item() - share) < 0.01


def test_fused_multiply_add():
    from fractions import Fraction

    a = np.random.default_rng(0).uniform(-1, 1, 3000)
    for b, c in ((0.3, 0.1), (1.7, -0.9), (2.0, -1.0), (1e-9, 1.0), (5.4, -2.7)):
        exact = [float(Fraction(x) * Fraction(b) + Fraction(c)) for x in a.tolist()]
        assert rounding.fma(a, b, c).tolist() == exact


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (3,), (1, 4)])
@pytest.mark.parametrize("fill", ["uniform_", "normal_", "exponential_", "random_", "bernoulli_"])
def test_tensors_without_elements_take_no_random_numbers_however_small(shape, fill):
    flambeau.manual_seed(1)
    expected = flambeau.rand(2)
    flambeau.manual_seed(1)
    getattr(flambeau.empty(shape, device="meta"), fill)()
    flambeau.nn.Linear(3, 1, device="meta")
    assert flambeau.equal(flambeau.rand(2), expected)
