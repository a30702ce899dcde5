"""Fifty steps of every optimizer with every option that changes numbers: PyTorch's parameters, and its state."""

import pytest

SGD = [{}, {"momentum": 0.9}, {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1}, {"maximize": True},
       {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}]  # fmt: skip
ADAM = [{}, {"weight_decay": 0.1, "amsgrad": True}, {"betas": (0.5, 0.6), "eps": 1e-3, "maximize": True},
        {"capturable": False, "foreach": True}, {"fused": True, "weight_decay": 0.1}]  # fmt: skip
CASES = {
    "SGD": SGD,
    "Adam": ADAM,
    "AdamW": ADAM,
    "NAdam": [{}, {"momentum_decay": 6e-3, "weight_decay": 0.1}, {"decoupled_weight_decay": True, "weight_decay": 0.1}],
    "RAdam": [{}, {"weight_decay": 0.1}, {"decoupled_weight_decay": True, "weight_decay": 0.1, "maximize": True}],
    "Adamax": [{}, {"weight_decay": 0.1, "maximize": True}],
    "Adadelta": [{}, {"weight_decay": 0.1, "rho": 0.8}],
    "Adagrad": [{}, {"lr_decay": 0.5, "weight_decay": 0.1, "initial_accumulator_value": 0.1}],
    "ASGD": [{}, {"t0": 10, "weight_decay": 0.1, "lambd": 0.1}],
    "RMSprop": [{}, {"centered": True}, {"momentum": 0.1, "weight_decay": 0.1}, {"momentum": 0.1, "centered": True}],
    "Rprop": [{}, {"etas": (0.4, 1.5), "step_sizes": (1e-3, 1.0), "maximize": True}],
    "Adafactor": [{}, {"eps": (1e-3, 1e-2), "d": 1.5, "weight_decay": 0.1}],
}
FLAT = [(name, kwargs) for name, cases in CASES.items() for kwargs in cases]


def problem(fl, dtype, shapes=((3, 4), (4, 2), (5,))):
    """Parameters, and a closure that computes the gradients of a convex function of them."""
    params = [fl.nn.Parameter(fl.linspace(-1, 1, fl.Size(s).numel(), dtype=dtype).reshape(s)) for s in shapes]
    if dtype.is_complex:
        params = [fl.nn.Parameter(p.detach() * (1 + 0.5j)) for p in params]

    def closure():
        loss = 0.0
        for p in params:
            gap = p.detach() - 0.3
            p.grad = gap * (1 + gap.abs())
            loss += float((gap.abs() ** 2).sum())
        return loss

    return params, closure


def path(fl, name, kwargs, dtype, steps=50, **options):
    params, closure = problem(fl, dtype, **options)
    optimizer = getattr(fl.optim, name)(params, lr=0.05, **kwargs)
    if name == "SGD" and kwargs.get("maximize"):
        steps = 12  # after that, the numbers explode
    seen = []
    for step in range(steps):
        closure()
        optimizer.step()
        if step in (0, 6, steps - 1):
            seen.append([p.detach().clone() for p in params])
    state = optimizer.state_dict()["state"]
    return seen, state


@pytest.mark.parametrize(("name", "kwargs"), FLAT)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_real(agree, name, kwargs, dtype):
    agree(lambda fl: path(fl, name, kwargs, getattr(fl, dtype)))


@pytest.mark.parametrize("name", [n for n in CASES if n != "Adafactor"])
def test_complex(agree, name):
    agree(lambda fl: path(fl, name, {"weight_decay": 0.1} if name != "Rprop" else {}, fl.complex64, steps=15))


@pytest.mark.parametrize(
    "kwargs", [{}, {"nesterov": False}, {"adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.3, "ns_steps": 3}]
)
def test_muon(agree, kwargs):
    agree(lambda fl: path(fl, "Muon", kwargs, fl.float32, steps=20, shapes=((3, 4), (4, 2))), rtol=1e-2, atol=3e-3)


@pytest.mark.parametrize("name", ["SGD", "Adagrad", "SparseAdam"])
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_sparse(agree, name):
    def program(fl):
        p = fl.nn.Parameter(fl.linspace(-1, 1, 18).reshape(6, 3))
        optimizer = getattr(fl.optim, name)([p], lr=0.05)
        rows = fl.tensor([[0, 2, 5]])
        for _ in range(10):
            p.grad = fl.sparse_coo_tensor(rows, p.detach()[rows[0]] - 0.3, (6, 3))
            optimizer.step()
        return p.detach(), optimizer.state_dict()["state"]

    agree(program)


@pytest.mark.parametrize("kwargs", [{}, {"line_search_fn": "strong_wolfe"}, {"history_size": 3, "max_iter": 4}])
def test_lbfgs(agree, kwargs):
    def program(fl):
        p, q = fl.nn.Parameter(fl.tensor([-1.2, 1.0])), fl.nn.Parameter(fl.tensor([0.5]))
        optimizer = fl.optim.LBFGS([p, q], lr=0.5, **kwargs)

        def closure():
            with fl.no_grad():  # Rosenbrock's valley, and a bowl beside it
                x, y = p.detach()
                p.grad = fl.stack([-2 * (1 - x) - 40 * x * (y - x * x), 20 * (y - x * x)])
                q.grad = 2 * (q.detach() - 3)
                return (1 - x) ** 2 + 10 * (y - x * x) ** 2 + ((q.detach() - 3) ** 2).sum()

        losses = [float(optimizer.step(closure)) for _ in range(4)]
        state = optimizer.state_dict()["state"][0]
        return losses, p.detach(), q.detach(), state["func_evals"], state["n_iter"], sorted(state)

    agree(program, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adagrad", "Adamax", "RMSprop", "ASGD"])
def test_the_rate_may_be_a_tensor(agree, name):
    def program(fl):
        params, closure = problem(fl, fl.float32)
        optimizer = getattr(fl.optim, name)(params, lr=fl.tensor(0.05))
        for _ in range(5):
            closure()
            optimizer.step()
        return [p.detach() for p in params]

    agree(program)


@pytest.mark.parametrize("name", ["SGD", "Adam", "Adagrad", "RMSprop", "Adadelta", "NAdam", "RAdam"])
def test_differentiable(agree, name):
    """Gradients flow through the steps to what the gradients were made of."""

    def program(fl):
        scale = fl.tensor(0.7, requires_grad=True)
        p = fl.linspace(-1, 1, 6).requires_grad_()
        q = p.clone()
        optimizer = getattr(fl.optim, name)([q], lr=0.05, differentiable=True)
        for _ in range(3):
            q.grad = q.clone() * scale
            optimizer.step()
        return fl.autograd.grad(q.square().sum(), [scale], allow_unused=True)[0]

    agree(program)
