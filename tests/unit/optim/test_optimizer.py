"""What all optimizers share: groups, state, hooks, files, and what is refused."""

import copy
import importlib
import pickle

import pytest

from tests.agree import rand


def parameters(fl, *shapes):
    return [fl.nn.Parameter(fl.linspace(-1, 1, fl.Size(s).numel()).reshape(s)) for s in shapes or ((2, 3), (4,))]


def fill(params):
    for p in params:
        p.grad = p.detach() * 2


def module(fl, name):
    return importlib.import_module(f"{fl.__name__}.optim.{name}")


REFUSED = {
    "a tensor": lambda fl, p: fl.optim.SGD(p[0]),
    "nothing": lambda fl, p: fl.optim.SGD([]),
    "a number": lambda fl, p: fl.optim.SGD([1]),
    "a set": lambda fl, p: fl.optim.SGD([{"params": set(p)}]),
    "a result": lambda fl, p: fl.optim.SGD([p[0] * 2]),
    "twice": lambda fl, p: fl.optim.SGD([{"params": p}, {"params": p}]),
    "group": lambda fl, p: fl.optim.SGD(p).add_param_group(5),
    "some names": lambda fl, p: fl.optim.SGD([("a", p[0]), p[1]]),
    "names in one group": lambda fl, p: fl.optim.SGD([("a", p[0])]).add_param_group({"params": [p[1]]}),
    "required": lambda fl, p: fl.optim.Optimizer(p, {"lr": module(fl, "optimizer").required}),
    "lr": lambda fl, p: fl.optim.Adam(p, lr=-1.0),
    "lr tensor": lambda fl, p: fl.optim.Adam(p, lr=fl.tensor([1.0, 2.0])),
    "foreach lr": lambda fl, p: fl.optim.Adam(p, lr=fl.tensor(1.0), foreach=True),
    "betas": lambda fl, p: fl.optim.Adam(p, betas=(0.9, 1.0)),
    "beta kinds": lambda fl, p: fl.optim.Adam(p, betas=(0.9, fl.tensor(0.9))),
    "eps": lambda fl, p: fl.optim.Adam(p, eps=-1.0),
    "fused": lambda fl, p: fl.optim.Adam(p, fused=True, differentiable=True),
    "fused foreach": lambda fl, p: fl.optim.SGD(p, fused=True, foreach=True),
    "nesterov": lambda fl, p: fl.optim.SGD(p, nesterov=True),
    "momentum": lambda fl, p: fl.optim.SGD(p, momentum=-0.5),
    "alpha": lambda fl, p: fl.optim.RMSprop(p, alpha=-0.5),
    "rho": lambda fl, p: fl.optim.Adadelta(p, rho=1.5),
    "etas": lambda fl, p: fl.optim.Rprop(p, etas=(1.5, 0.5)),
    "decay": lambda fl, p: fl.optim.Adagrad(p, lr_decay=-0.5),
    "momentum_decay": lambda fl, p: fl.optim.NAdam(p, momentum_decay=-0.2),
    "clipping": lambda fl, p: fl.optim.Adafactor(p, d=0.0),
    "two groups": lambda fl, p: fl.optim.LBFGS([{"params": p[:1]}, {"params": p[1:]}]),
    "vectors": lambda fl, p: fl.optim.Muon(p),
    "adjust": lambda fl, p: fl.optim.Muon(p[:1], adjust_lr_fn="other"),
    "no step": lambda fl, p: fl.optim.Optimizer(p, {}).step(),
    "capturable": lambda fl, p: (fill(p), fl.optim.Adam(p, capturable=True).step()),
    "steps": lambda fl, p: module(fl, "adam").adam(
        p, p, p, p, [], [1, 2], amsgrad=False, beta1=0.9, beta2=0.9, lr=0.1, weight_decay=0, eps=0.1, maximize=False
    ),
    "dense": lambda fl, p: (fill(p), fl.optim.SparseAdam(p).step()),
    "fewer groups": lambda fl, p: fl.optim.SGD(p).load_state_dict(
        fl.optim.SGD([{"params": p[:1]}, {"params": p[1:]}]).state_dict()
    ),
    "fewer parameters": lambda fl, p: fl.optim.SGD(p).load_state_dict(fl.optim.SGD(p[:1]).state_dict()),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_refused(agree, case):
    agree(lambda fl: str(REFUSED[case](fl, parameters(fl))), raises=RAISES.get(case, ValueError))


RAISES = {
    "a tensor": TypeError, "a number": TypeError, "a set": TypeError, "group": TypeError, "fused": RuntimeError,
    "fused foreach": RuntimeError, "no step": NotImplementedError, "capturable": AssertionError,
    "steps": RuntimeError, "dense": RuntimeError,
}  # fmt: skip


def test_nothing_changes_when_a_group_is_refused():
    import flambeau as fl

    params = parameters(fl)
    optimizer = fl.optim.SGD(params)
    with pytest.raises(ValueError, match="some parameters appear in more than one parameter group"):
        optimizer.add_param_group({"params": params[:1]})
    assert len(optimizer.param_groups) == 1


def test_duplicates_warn():
    import flambeau as fl

    (p, _) = parameters(fl)
    with pytest.warns(UserWarning, match="duplicate parameters"):
        fl.optim.SGD([p, p])


def test_repr(agree):
    def program(fl):
        p, q = parameters(fl)
        return repr(fl.optim.Adam([{"params": p, "lr": 0.5}, {"params": q}], amsgrad=True)), repr(fl.optim.SGD([p]))

    agree(program)


def test_names(agree):
    def program(fl):
        net = fl.nn.Linear(2, 3)
        optimizer = fl.optim.SGD(net.named_parameters(), lr=0.1)
        return optimizer.state_dict()["param_groups"]

    agree(program)


@pytest.mark.parametrize("name", ["SGD", "Adam", "Adagrad", "RMSprop", "NAdam", "ASGD", "Rprop", "Adafactor"])
def test_a_state_dict_continues_the_run(agree, name):
    def program(fl):
        params = parameters(fl)
        kwargs = {"momentum": 0.9} if name == "SGD" else {}
        optimizer = getattr(fl.optim, name)(params, lr=0.1, **kwargs)
        for _ in range(3):
            fill(params)
            optimizer.step()
        other = [fl.nn.Parameter(p.detach().clone()) for p in params]
        resumed = getattr(fl.optim, name)(other, lr=9.0, **kwargs)
        resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        for _ in range(2):
            fill(params)
            optimizer.step()
            fill(other)
            resumed.step()
        assert all(fl.equal(p, q) for p, q in zip(params, other, strict=True))
        return [p.detach() for p in other], resumed.state_dict()

    agree(program)


@pytest.mark.parity
@pytest.mark.parametrize("name", ["SGD", "Adam", "Adagrad", "RMSprop", "Adamax"])
def test_pytorch_reads_our_state_and_we_read_its(torch, tmp_path, name):
    import flambeau

    def run(fl, file=None, steps=3):
        params = parameters(fl)
        optimizer = getattr(fl.optim, name)(params, **({"momentum": 0.9} if name == "SGD" else {}))
        if file is not None:
            optimizer.load_state_dict(fl.load(file))
        for _ in range(steps):
            fill(params)
            optimizer.step()
        return params, optimizer

    for first, second in ((flambeau, torch), (torch, flambeau)):
        _, optimizer = run(first)
        file = tmp_path / f"{first.__name__}.pt"
        first.save(optimizer.state_dict(), file)
        there, _ = run(second, file)
        here, _ = run(first, file)
        for p, q in zip(here, there, strict=True):
            assert p.flatten().tolist() == pytest.approx(q.flatten().tolist(), rel=1e-6, abs=1e-7)


def test_loading_casts_to_the_parameters_dtype(agree):
    def program(fl):
        params = [p.double() for p in parameters(fl)]
        params = [fl.nn.Parameter(p.detach()) for p in params]
        source = parameters(fl)
        optimizer = fl.optim.Adam(source)
        fill(source)
        optimizer.step()
        target = fl.optim.Adam(params)
        target.load_state_dict(optimizer.state_dict())
        return [str(v.dtype) for v in target.state[params[0]].values()]

    agree(program)


def test_old_counters_become_tensors(agree):
    def program(fl):
        params = parameters(fl)
        optimizer = fl.optim.Adam(params)
        fill(params)
        optimizer.step()
        old = copy.deepcopy(optimizer.state_dict())
        for state in old["state"].values():
            state["step"] = 1
        for group in old["param_groups"]:
            del group["amsgrad"]
        optimizer.load_state_dict(old)
        return optimizer.state[params[0]]["step"], optimizer.param_groups[0]["amsgrad"]

    agree(program)


def test_pickle_and_copy():
    import flambeau as fl

    params = parameters(fl)
    optimizer = fl.optim.Adam(params, lr=0.5)
    fill(params)
    optimizer.step()
    for other in (pickle.loads(pickle.dumps(optimizer)), copy.deepcopy(optimizer)):
        assert type(other) is fl.optim.Adam
        assert other.param_groups[0]["lr"] == 0.5
        p = other.param_groups[0]["params"][0]
        p.grad = params[0].grad.clone()
        other.step()
        assert float(other.state[p]["step"]) == 2


@pytest.mark.parametrize("set_to_none", [True, False])
def test_zero_grad(set_to_none):
    import flambeau as fl

    params = parameters(fl)
    fill(params)
    fl.optim.SGD(params).zero_grad(set_to_none=set_to_none)
    assert all(p.grad is None if set_to_none else not p.grad.any() for p in params)


def test_hooks():
    import flambeau as fl

    seen = []
    params = parameters(fl)
    optimizer = fl.optim.SGD(params, lr=0.1)
    handles = [
        optimizer.register_step_pre_hook(lambda o, args, kwargs: seen.append("pre")),
        optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append("post")),
        optimizer.register_state_dict_pre_hook(lambda o: seen.append("saving")),
        optimizer.register_state_dict_post_hook(lambda o, d: {**d, "more": 1}),
        optimizer.register_load_state_dict_pre_hook(lambda o, d: seen.append(d.get("more"))),
        optimizer.register_load_state_dict_post_hook(lambda o: seen.append("loaded")),
        module(fl, "optimizer").register_optimizer_step_pre_hook(lambda o, args, kwargs: seen.append("all")),
        module(fl, "optimizer").register_optimizer_step_post_hook(lambda o, args, kwargs: seen.append("done")),
    ]
    fill(params)
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    assert seen == ["all", "pre", "post", "done", "saving", 1, "loaded"]
    for handle in handles:
        handle.remove()
    seen.clear()
    optimizer.step()
    optimizer.state_dict()
    assert seen == []


def test_a_pre_hook_may_replace_the_arguments():
    import flambeau as fl

    params = parameters(fl)
    optimizer = fl.optim.SGD(params)
    optimizer.register_step_pre_hook(lambda o, args, kwargs: ((o, lambda: 7), {}))
    assert optimizer.step() == 7
    optimizer.register_step_pre_hook(lambda o, args, kwargs: "nonsense")
    with pytest.raises(RuntimeError, match="must return None or a tuple of"):
        optimizer.step()


def test_the_closure_runs_with_gradients():
    import flambeau as fl

    params = parameters(fl)
    optimizer = fl.optim.SGD(params, lr=0.1)

    def closure():
        assert fl.is_grad_enabled()
        optimizer.zero_grad()
        loss = sum((p * p).sum() for p in params)
        loss.backward()
        return loss

    with fl.no_grad():
        first = optimizer.step(closure)
        assert not fl.is_grad_enabled()
    assert first.item() > optimizer.step(closure).item()


def test_swapping_parameters_in():
    import flambeau as fl

    params, others = parameters(fl), [fl.zeros_like(p) for p in parameters(fl)]
    optimizer = fl.optim.Adam(params)
    fill(params)
    optimizer.step()
    before = [p.detach().clone() for p in params]
    state = copy.deepcopy(optimizer.state_dict())
    with fl.optim.swap_in_optimizer_params_and_state(optimizer, {"a": others[0], "b": others[1]}, state):
        for p in others:
            p.grad = fl.ones_like(p)
        optimizer.step()
    assert all(fl.equal(p, q) for p, q in zip(params, before, strict=True))
    assert all((p != 0).all() for p in others)
    assert float(optimizer.state[params[0]]["step"]) == 1
    with pytest.raises(RuntimeError, match="different number of parameter groups"):
        with fl.optim.swap_in_optimizer_params_and_state(optimizer, {}, {"state": {}, "param_groups": []}):
            pass


def test_rates_that_were_loaded_stay_rounded(agree):
    def program(fl, x):
        p = fl.nn.Parameter(x.clone())
        optimizer = fl.optim.ASGD([p], lr=0.02)
        for i in range(8):
            if i == 3:
                state = optimizer.state_dict()
                optimizer = fl.optim.ASGD([p], lr=0.02)
                optimizer.load_state_dict(state)
            p.grad = fl.full_like(p, 0.5)
            optimizer.step()
        return p, optimizer.state[p]["eta"], optimizer.state[p]["mu"]

    agree(program, rand(4), rtol=1e-14, atol=0)
