"""Every schedule over twenty epochs, from its state dict, and through `step(epoch)`; what is refused; what is warned of."""

import pytest

SCHEDULES = {
    "LambdaLR": lambda s, o: s.LambdaLR(o, [lambda e: 0.9**e, lambda e: 1 / (e + 1)]),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda e: 0.9),
    "StepLR": lambda s, o: s.StepLR(o, 3, gamma=0.5),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [2, 5, 5, 9], gamma=0.5),
    "ConstantLR": lambda s, o: s.ConstantLR(o, factor=0.3, total_iters=4),
    "LinearLR": lambda s, o: s.LinearLR(o, start_factor=0.1, total_iters=7),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, gamma=0.8),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, total_iters=8, power=2.0),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, T_max=6, eta_min=0.01),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, T_0=3, T_mult=2, eta_min=0.01),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.01, 0.1, step_size_up=3, step_size_down=4),
    "CyclicLR triangular2": lambda s, o: s.CyclicLR(o, [0.01, 0.02], 0.1, step_size_up=3, mode="triangular2"),
    "CyclicLR exp": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 3, mode="exp_range", gamma=0.9, cycle_momentum=False),
    "CyclicLR scale_fn": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 3, scale_fn=lambda x: 1 / x),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, max_lr=0.5, total_steps=21),
    "OneCycleLR linear": lambda s, o: s.OneCycleLR(
        o, max_lr=[0.5, 0.3], epochs=3, steps_per_epoch=7, anneal_strategy="linear", three_phase=True, pct_start=0.25
    ),
    "SequentialLR": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, total_iters=4), s.CosineAnnealingLR(o, 5), s.ExponentialLR(o, 0.9)], milestones=[4, 10]
    ),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, total_iters=4), s.ExponentialLR(o, 0.9)]),
    "nested": lambda s, o: s.SequentialLR(
        o, [s.ChainedScheduler([s.LinearLR(o, total_iters=3), s.StepLR(o, 2)]), s.ConstantLR(o)], milestones=[5]
    ),
}


def optimizer_of(fl, name="SGD", **kwargs):
    p, q = fl.nn.Parameter(fl.zeros(2)), fl.nn.Parameter(fl.zeros(1))
    kwargs = {"momentum": 0.9, **kwargs} if name == "SGD" else kwargs
    return getattr(fl.optim, name)([{"params": [p]}, {"params": [q], "lr": 0.3}], lr=0.1, **kwargs)


def rates(optimizer, scheduler, steps=20):
    seen = []
    for _ in range(steps):
        row = [float(group["lr"]) for group in optimizer.param_groups]
        assert row == [float(lr) for lr in scheduler.get_last_lr()]
        momenta = [float(g["betas"][0] if "betas" in g else g["momentum"]) for g in optimizer.param_groups]
        seen.append(row + momenta)
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.filterwarnings("ignore:Detected call of")
def test_rates(agree, name, optimizer):
    def program(fl):
        o = optimizer_of(fl, optimizer)
        return rates(o, SCHEDULES[name](fl.optim.lr_scheduler, o))

    agree(program, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.filterwarnings("ignore:Detected call of")
def test_state_dict(agree, name):
    def program(fl):
        o = optimizer_of(fl)
        s = SCHEDULES[name](fl.optim.lr_scheduler, o)
        rates(o, s, 7)
        state, groups = s.state_dict(), o.state_dict()
        keys = sorted(state)
        other = optimizer_of(fl)
        resumed = SCHEDULES[name](fl.optim.lr_scheduler, other)
        other.load_state_dict(groups)
        resumed.load_state_dict(state)
        ahead = rates(other, resumed, 8)
        assert ahead == rates(o, s, 8)
        return keys, ahead

    agree(program, rtol=1e-12, atol=1e-15)


CLOSED = ["StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "ExponentialLR", "PolynomialLR", "CosineAnnealingLR",
          "CosineAnnealingWarmRestarts", "LambdaLR"]  # fmt: skip


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.filterwarnings("ignore:The epoch parameter")
def test_epochs_by_number(agree, name):
    def program(fl):
        o = optimizer_of(fl)
        s = SCHEDULES[name](fl.optim.lr_scheduler, o)
        o.step()
        seen = []
        for epoch in (1, 4, 2, 12, 5, 6):
            s.step(epoch)
            seen.append(s.get_last_lr())
        return seen

    agree(program, rtol=1e-12, atol=1e-15)


def test_fractions_of_an_epoch(agree):
    def program(fl):
        o = optimizer_of(fl)
        s = fl.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=3, T_mult=2)
        seen = []
        for i in range(30):
            s.step(i / 4)
            seen.append(s.get_last_lr())
        return seen

    agree(program, rtol=1e-12)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
def test_plateau(agree, mode, threshold_mode):
    def program(fl):
        o = optimizer_of(fl)
        s = fl.optim.lr_scheduler.ReduceLROnPlateau(
            o,
            mode,
            factor=0.5,
            patience=2,
            threshold=0.1,
            threshold_mode=threshold_mode,
            cooldown=1,
            min_lr=[0.01, 0.1],
        )
        seen = []
        for i in range(30):
            s.step(fl.tensor(1.0 + (i % 7) * 0.01 - i // 10))
            seen.append((s.get_last_lr(), s.num_bad_epochs, s.best, s.in_cooldown))
        return seen, sorted(s.state_dict())

    agree(program, rtol=1e-12)


def test_swalr(agree):
    def program(fl):
        o = optimizer_of(fl)
        found = []
        for strategy in ("cos", "linear"):
            s = fl.optim.swa_utils.SWALR(o, swa_lr=[0.05, 0.02], anneal_epochs=4, anneal_strategy=strategy)
            found.append(rates(o, s, 8))
        return found, sorted(s.state_dict())

    agree(program, rtol=1e-12)


def test_tensor_rates_keep_their_identity():
    import flambeau as fl

    lr = fl.tensor(0.1)
    o = fl.optim.SGD([fl.nn.Parameter(fl.zeros(1))], lr=lr)
    s = fl.optim.lr_scheduler.ExponentialLR(o, 0.5)
    o.step()
    s.step()
    assert o.param_groups[0]["lr"] is lr
    assert lr.item() == pytest.approx(0.05)
    assert s.get_last_lr()[0] is not lr


REFUSED = {
    "no optimizer": (TypeError, lambda s, o: s.StepLR(None, 1)),
    "resume": (KeyError, lambda s, o: s.StepLR(o, 1, last_epoch=3)),
    "lambdas": (ValueError, lambda s, o: s.LambdaLR(o, [lambda e: e])),
    "no lambda": (TypeError, lambda s, o: s.MultiplicativeLR(o, [1, 2])),
    "constant": (ValueError, lambda s, o: s.ConstantLR(o, factor=1.5)),
    "linear start": (ValueError, lambda s, o: s.LinearLR(o, start_factor=0.0)),
    "linear end": (ValueError, lambda s, o: s.LinearLR(o, end_factor=1.5)),
    "none": (ValueError, lambda s, o: s.SequentialLR(o, [], [])),
    "milestones": (ValueError, lambda s, o: s.SequentialLR(o, [s.ConstantLR(o)], [1])),
    "plateau in a sequence": (ValueError, lambda s, o: s.SequentialLR(o, [s.ReduceLROnPlateau(o)], [])),
    "not a schedule": (TypeError, lambda s, o: s.ChainedScheduler([object()], o)),
    "no schedules": (ValueError, lambda s, o: s.ChainedScheduler([])),
    "factor": (ValueError, lambda s, o: s.ReduceLROnPlateau(o, factor=1.0)),
    "mode": (ValueError, lambda s, o: s.ReduceLROnPlateau(o, mode="best")),
    "threshold mode": (ValueError, lambda s, o: s.ReduceLROnPlateau(o, threshold_mode="best")),
    "min_lr": (ValueError, lambda s, o: s.ReduceLROnPlateau(o, min_lr=[1, 2, 3])),
    "T_0": (ValueError, lambda s, o: s.CosineAnnealingWarmRestarts(o, 0)),
    "T_mult": (ValueError, lambda s, o: s.CosineAnnealingWarmRestarts(o, 1, 0)),
    "eta_min": (ValueError, lambda s, o: s.CosineAnnealingWarmRestarts(o, 1, eta_min="low")),
    "negative epoch": (ValueError, lambda s, o: s.CosineAnnealingWarmRestarts(o, 1).step(-1)),
    "cyclic mode": (ValueError, lambda s, o: s.CyclicLR(o, 0.1, 0.2, mode="round")),
    "cyclic rates": (ValueError, lambda s, o: s.CyclicLR(o, [0.1], 0.2)),
    "one cycle": (ValueError, lambda s, o: s.OneCycleLR(o, 0.1)),
    "one cycle steps": (ValueError, lambda s, o: s.OneCycleLR(o, 0.1, total_steps=0)),
    "one cycle start": (ValueError, lambda s, o: s.OneCycleLR(o, 0.1, total_steps=5, pct_start=2.0)),
    "one cycle strategy": (ValueError, lambda s, o: s.OneCycleLR(o, 0.1, total_steps=5, anneal_strategy="steep")),
    "base": (NotImplementedError, lambda s, o: s.LRScheduler(o)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(agree, case):
    error, call = REFUSED[case]
    agree(lambda fl: call(fl.optim.lr_scheduler, optimizer_of(fl)) and None, raises=error)


def test_too_many_steps(agree):
    def program(fl):
        o = optimizer_of(fl)
        s = fl.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=3)
        rates(o, s, 5)

    agree(program, raises=ValueError)


def test_warnings():
    import flambeau as fl

    o = optimizer_of(fl)
    s = fl.optim.lr_scheduler.StepLR(o, 1)
    with pytest.warns(UserWarning, match=r"`lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
        s.step()
    with pytest.warns(UserWarning, match="please use `get_last_lr"):
        s.get_lr()
    with pytest.warns(UserWarning, match="The epoch parameter"):
        s.step(4)
    o = optimizer_of(fl)
    s = fl.optim.lr_scheduler.StepLR(o, 1)
    o.step = lambda: None
    with pytest.warns(UserWarning, match="overridden after learning rate scheduler"):
        s.step()


def test_the_optimizer_is_not_kept_alive():
    import gc
    import weakref

    import flambeau as fl

    o = optimizer_of(fl)
    s = fl.optim.lr_scheduler.StepLR(o, 1)
    alive = weakref.ref(o)
    del o, s
    gc.collect()
    assert alive() is None
