"""Ensembles and gradients for each sample, over the modules that programs are made of: a batch gives what its samples give."""

import pytest

import flambeau
from flambeau import func, nn

X, IMAGE, SEQUENCE = (4, 6), (2, 3, 6, 6), (2, 5, 6)
MODULES = {
    "linear": (lambda: nn.Linear(6, 2), X),
    "conv2d": (lambda: nn.Conv2d(3, 4, 3, padding=1), IMAGE),
    "conv_transpose2d": (lambda: nn.ConvTranspose2d(3, 4, 3, stride=2), IMAGE),
    "batch_norm": (lambda: nn.BatchNorm2d(3, track_running_stats=False), IMAGE),
    "batch_norm_eval": (lambda: nn.BatchNorm2d(3).eval(), IMAGE),
    "layer_norm": (lambda: nn.LayerNorm(6), X),
    "group_norm": (lambda: nn.GroupNorm(3, 3), IMAGE),
    "instance_norm": (lambda: nn.InstanceNorm2d(3, affine=True), IMAGE),
    "lstm": (lambda: nn.LSTM(6, 4, batch_first=True), SEQUENCE),
    "gru": (lambda: nn.GRU(6, 4), SEQUENCE),
    "transformer": (lambda: nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True), SEQUENCE),
    "embedding": (lambda: nn.Embedding(5, 3), None),
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 5), nn.Softplus(), nn.Linear(5, 1), nn.PReLU()), X),
    "cnn": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.LogSoftmax(-1)),
        IMAGE,
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_batch_is_its_samples(name):
    flambeau.manual_seed(0)
    make, shape = MODULES[name]
    models = [make().double() for _ in range(2)]
    if shape is None:
        x = flambeau.randint(0, 5, (2, 2, 3))
    else:
        x = flambeau.randn(2, *shape, dtype=flambeau.float64)
    parameters, buffers = func.stack_module_state(models)
    one = lambda tree, i: {k: v[i] for k, v in tree.items()}

    def loss(p, b, x):
        out = func.functional_call(models[0], (p, b), (x,))
        out = out[0] if isinstance(out, tuple) else out
        return (out * out.cos()).sum()

    along = {k: flambeau.full_like(v[0], 0.1) for k, v in parameters.items()}
    gradient = func.grad(loss)
    forward = lambda p, b, x: func.jvp(lambda p: loss(p, b, x), (p,), (along,))
    twice = lambda p, b, x: func.jvp(lambda p: func.grad(loss)(p, b, x), (p,), (along,))[1]
    for f in (loss, gradient, forward, twice):
        ensemble = func.vmap(f)(parameters, buffers, x)
        each = func.vmap(f, (None, None, 0))(one(parameters, 0), one(buffers, 0), x)
        for i in range(2):
            same(ensemble, f(one(parameters, i), one(buffers, i), x[i]), i)
            same(each, f(one(parameters, 0), one(buffers, 0), x[i]), i)


def same(batch, sample, i):
    if isinstance(sample, flambeau.Tensor):
        flambeau.testing.assert_close(batch[i], sample, rtol=1e-9, atol=1e-9)
    elif isinstance(sample, dict):
        for k, v in sample.items():
            same(batch[k], v, i)
    else:
        for b, s in zip(batch, sample, strict=True):
            same(b, s, i)
