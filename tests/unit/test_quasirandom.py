"""Sobol sequences have PyTorch's points, scrambled ones too."""

import pytest

import flambeau


@pytest.mark.parametrize("dimension", [1, 2, 7, 60])
def test_points(agree, dimension):
    def draw(fl):
        engine = fl.quasirandom.SobolEngine(dimension)
        return [
            engine.draw(5),
            engine.draw(1),
            engine.fast_forward(9).draw(3),
            engine.reset().draw_base2(2),
            engine.draw(2, dtype=fl.float64),
        ]

    agree(draw)


def test_scrambled(agree):
    def draw(fl):
        fl.manual_seed(3)
        one, other = fl.quasirandom.SobolEngine(4, scramble=True), fl.quasirandom.SobolEngine(5, scramble=True, seed=9)
        return [one.draw(6), other.draw(4), one.reset().draw(2), fl.rand(1)]

    agree(draw)


def test_refusals(agree):
    agree(lambda fl: fl.quasirandom.SobolEngine(0), raises=ValueError)
    agree(lambda fl: fl.quasirandom.SobolEngine(2).fast_forward(3).draw_base2(2), raises=ValueError)
    assert repr(flambeau.quasirandom.SobolEngine(2, True, 4)) == "SobolEngine(dimension=2, scramble=True, seed=4)"


def test_scrambled_points_in_double_precision(agree):
    """All thirty digits of them, where float64 is asked for."""

    def draw(fl):
        engine = fl.quasirandom.SobolEngine(3, scramble=True, seed=7)
        return engine.draw(5, dtype=fl.float64) * 2**30, engine.draw(3, dtype=fl.float64), engine.draw(2)

    agree(draw, exact=True)
