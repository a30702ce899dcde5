"""Averaged models: plain means, moving means, buffers, and the running statistics of their normalisations."""

import pytest


def models(fl, values=(1.0, 2.0, 6.0)):
    net = fl.nn.Sequential(fl.nn.Linear(2, 2), fl.nn.BatchNorm1d(2))
    for value in values:
        with fl.no_grad():
            for p in net.parameters():
                p.fill_(value)
            net[1].running_mean.fill_(value)
        yield net


@pytest.mark.parametrize("use_buffers", [True, False])
@pytest.mark.parametrize("kind", ["default", "swa", "swa multi", "ema", "ema multi", "own"])
def test_averages(agree, kind, use_buffers):
    if kind == "swa multi" and use_buffers:
        pytest.skip("PyTorch refuses integer buffers there")

    def program(fl):
        swa = fl.optim.swa_utils
        kwargs = {
            "default": {},
            "swa": {"avg_fn": swa.get_swa_avg_fn()},
            "swa multi": {"multi_avg_fn": swa.get_swa_multi_avg_fn()},
            "ema": {"avg_fn": swa.get_ema_avg_fn(0.8)},
            "ema multi": {"multi_avg_fn": swa.get_ema_multi_avg_fn(0.8)},
            "own": {"avg_fn": lambda a, p, n: a + p},
        }[kind]
        average = None
        for net in models(fl):
            if average is None:
                average = swa.AveragedModel(net, use_buffers=use_buffers, **kwargs)
            average.update_parameters(net)
        state = average.state_dict()
        return list(state), list(state.values())

    agree(program)


def test_update_bn(agree):
    def program(fl):
        net = fl.nn.Sequential(fl.nn.BatchNorm1d(3, momentum=0.3)).eval()
        loader = [[fl.arange(12.0).reshape(4, 3) * k, 0] for k in (1, 2)]
        fl.optim.swa_utils.update_bn(loader, net)
        return net[0].running_mean, net[0].running_var, net[0].momentum, net.training

    agree(program)


@pytest.mark.parametrize("decay", [-0.1, 1.1])
def test_decay_is_refused(agree, decay):
    agree(lambda fl: fl.optim.swa_utils.get_ema_avg_fn(decay), raises=ValueError)


def test_two_functions_are_refused(agree):
    agree(
        lambda fl: fl.optim.swa_utils.AveragedModel(
            fl.nn.Linear(1, 1), avg_fn=lambda a, p, n: a, multi_avg_fn=lambda a, p, n: None
        ),
        raises=AssertionError,
    )
