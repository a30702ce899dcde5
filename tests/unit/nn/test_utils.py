"""nn.utils: packed sequences, clipping, pruning, parametrisations, normalised weights, calls with other parameters."""

import copy
import importlib
import warnings

import pytest


def linear(fl, *size):
    fl.manual_seed(0)
    return fl.nn.Linear(*(size or (6, 5)))


def picture(fl, module, *shape):
    """State, output, gradients and repr of a module."""
    fl.manual_seed(1)
    out = module(fl.randn(*(shape or (2, 6))))
    out.sum().backward()
    grads = [p.grad for p in module.parameters()]
    return list(module.state_dict()), list(module.state_dict().values()), out, grads, repr(module)


def outcome(fn):
    try:
        return "no error", fn()
    except Exception as error:
        return type(error).__name__, str(error)


# ---- sequences ----
def sequences(fl):
    return [fl.arange(1.0, n + 1).unsqueeze(1).expand(n, 2) * (n + 1) for n in (3, 1, 4)]


@pytest.mark.parametrize("batch_first", [False, True])
def test_pack(agree, batch_first):
    def program(fl):
        rnn = fl.nn.utils.rnn
        padded = rnn.pad_sequence(sequences(fl), batch_first=batch_first, padding_value=-1.0)
        packed = rnn.pack_padded_sequence(padded, [3, 1, 4], batch_first=batch_first, enforce_sorted=False)
        again = rnn.pad_packed_sequence(packed, batch_first=batch_first, total_length=6)
        return (
            padded,
            tuple(packed),
            again,
            rnn.unpack_sequence(packed),
            rnn.pad_sequence(sequences(fl), padding_side="left"),
        )

    agree(program)


def test_pad_sequence(agree):
    """The first one's dtype; rows that broadcast; gradients from either side."""

    def program(fl):
        pad = fl.nn.utils.rnn.pad_sequence
        a, b = fl.arange(6.0).reshape(3, 2).requires_grad_(), fl.ones(1, 1, requires_grad=True)
        padded = [pad([a, b], first, 2.0, side) for first in (True, False) for side in ("left", "right")]
        weights = fl.arange(12.0).reshape(2, 3, 2)
        return [(x, fl.autograd.grad((x * weights.reshape(x.shape)).sum(), [a, b])) for x in padded] + [
            pad([fl.arange(2), fl.full((3,), 1.5)], padding_value=2.5),
            pad([fl.ones(2, dtype=fl.bool), fl.zeros(0)], padding_value=1.0),
            pad([fl.ones(0, 2), fl.ones(0, 2)]),
            outcome(lambda: pad([])),
            outcome(lambda: pad([fl.ones(2)], padding_side="up")),
            outcome(lambda: pad([fl.ones(()), fl.ones(3)])),
            outcome(lambda: pad([fl.ones(2, 3), fl.ones(4, 5)])),
            outcome(lambda: pad([fl.ones(2, 1), fl.ones(4, 3)])),
            outcome(lambda: pad([fl.ones(2, 3), fl.ones(4, 3, 2)])),
        ]

    agree(program)


def test_pack_errors(agree):
    def program(fl):
        rnn, x = fl.nn.utils.rnn, fl.ones(4, 2, 3)
        packed = rnn.pack_sequence(sequences(fl), enforce_sorted=False)
        return [
            outcome(lambda: rnn.pack_padded_sequence(x, [2, 3])),
            outcome(lambda: rnn.pack_padded_sequence(x, [2, 0])),
            outcome(lambda: rnn.pack_padded_sequence(x, [2])),
            outcome(lambda: rnn.pad_packed_sequence(packed, total_length=2)),
            outcome(lambda: rnn.pad_sequence(3)),
        ]

    agree(program)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_recurrent_on_packed(agree, kind):
    def program(fl):
        fl.manual_seed(0)
        layer = getattr(fl.nn, kind)(2, 3, num_layers=2, bidirectional=True)
        packed = fl.nn.utils.rnn.pack_sequence(sequences(fl), enforce_sorted=False)
        out, state = layer(packed)
        out.data.sum().backward()
        return tuple(out), state, [p.grad for p in layer.parameters()]

    agree(program)


# ---- gradients ----
@pytest.mark.parametrize("norm", [1, 2, float("inf")])
def test_clip_grad_norm(agree, norm):
    def program(fl):
        layer = linear(fl)
        layer(fl.ones(2, 6)).sum().backward()
        total = fl.nn.utils.clip_grad_norm_(layer.parameters(), 0.5, norm_type=norm)
        grads = [p.grad for p in layer.parameters()]
        return total, grads, fl.nn.utils.get_total_norm(grads, norm)

    agree(program)


def test_clip_grad_value_and_errors(agree):
    def program(fl):
        layer = linear(fl)
        layer(fl.ones(2, 6) * 3).sum().backward()
        fl.nn.utils.clip_grad_value_(layer.parameters(), 2.5)
        clipped = [p.grad.clone() for p in layer.parameters()]
        layer.weight.grad.fill_(float("nan"))
        return clipped, outcome(lambda: fl.nn.utils.clip_grad_norm_(layer.parameters(), 1.0, error_if_nonfinite=True))

    agree(program)


def test_vectors(agree):
    def program(fl):
        layer, utils = linear(fl), fl.nn.utils
        vector = utils.parameters_to_vector(layer.parameters())
        utils.vector_to_parameters(vector * 2, layer.parameters())
        return vector, layer.weight, outcome(lambda: utils.vector_to_parameters([1.0], layer.parameters()))

    agree(program)


# ---- pruning ----
def prune_of(fl):
    """The module, without leaving its name in the package: other tests look at what PyTorch has there by itself."""
    module = importlib.import_module(f"{fl.__name__}.nn.utils.prune")
    vars(fl.nn.utils).pop("prune", None)
    return module


@pytest.mark.parametrize(
    "change",
    [
        lambda p, m: p.l1_unstructured(m, "weight", 0.4),
        lambda p, m: p.random_unstructured(m, "weight", 3),
        lambda p, m: p.random_structured(p.l1_unstructured(m, "weight", 0.4), "weight", 2, 1),
        lambda p, m: p.ln_structured(p.l1_unstructured(m, "weight", 0.4), "weight", 2, 2, 0),
        lambda p, m: p.remove(p.l1_unstructured(m, "weight", 0.4), "weight"),
        lambda p, m: p.identity(m, "bias"),
    ],
)
def test_prune(agree, change):
    def program(fl):
        module = change(prune_of(fl), linear(fl))
        return picture(fl, module), prune_of(fl).is_pruned(module)

    agree(program)


def test_prune_globally(agree):
    def program(fl):
        prune = prune_of(fl)
        fl.manual_seed(0)
        m = fl.nn.Sequential(fl.nn.Linear(6, 4), fl.nn.Linear(4, 3))
        prune.global_unstructured([(m[0], "weight"), (m[1], "weight")], prune.L1Unstructured, amount=0.3)
        return picture(fl, m), outcome(lambda: prune.l1_unstructured(m[0], "weight", 1.5))

    agree(program)


# ---- parametrisations ----
@pytest.mark.parametrize("size", [(6, 6), (6, 4)])
@pytest.mark.parametrize("kind", [None, "cayley", "householder"])
def test_orthogonal(agree, kind, size):
    def program(fl):
        layer = linear(fl, *size)
        layer = fl.nn.utils.parametrizations.orthogonal(layer, orthogonal_map=kind)
        fl.manual_seed(1)
        out = layer(fl.randn(2, 6))
        q = layer.weight if size[0] == size[1] else layer.weight.mT
        return list(layer.state_dict()), out, q.mT @ q, repr(layer)

    agree(program, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_normalised_weights(agree, name):
    def program(fl):
        new = getattr(fl.nn.utils.parametrizations, name)(linear(fl))
        found = [picture(fl, new), picture(fl, copy.deepcopy(new).eval())]
        fl.nn.utils.parametrize.remove_parametrizations(new, "weight")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            old = getattr(fl.nn.utils, name)(linear(fl))
            found += [picture(fl, old)]
            found += [picture(fl, getattr(fl.nn.utils, f"remove_{name}")(old))]
        return [*found, repr(new), new.weight]

    agree(program)


def test_parametrize(agree):
    def program(fl):
        nn, parametrize = fl.nn, fl.nn.utils.parametrize

        class Symmetric(nn.Module):
            def forward(self, x):
                return x.triu() + x.triu(1).mT

            def right_inverse(self, x):
                return x.triu()

        class Wrong(nn.Module):
            def forward(self, x):
                return x[:1]

        layer = parametrize.register_parametrization(linear(fl, 3, 3), "weight", Symmetric())
        with parametrize.cached():
            same = layer.weight is layer.weight
        with fl.no_grad():
            layer.weight = fl.arange(9.0).view(3, 3)
        return [
            same,
            layer.weight is layer.weight,
            layer.weight,
            layer.parametrizations.weight.original,
            parametrize.is_parametrized(layer),
            parametrize.type_before_parametrizations(layer).__name__,
            type(layer).__name__,
            outcome(lambda: parametrize.register_parametrization(layer, "weight", Wrong())),
            outcome(lambda: parametrize.register_parametrization(linear(fl), "weight", Wrong()))[0],
            outcome(lambda: parametrize.register_parametrization(linear(fl), "nothing", Wrong())),
            outcome(lambda: parametrize.remove_parametrizations(linear(fl), "weight")),
        ]

    agree(program)


# ---- the rest ----
def test_functional_call(agree):
    def program(fl):
        call = importlib.import_module(f"{fl.__name__}.nn.utils.stateless")._functional_call
        m = fl.nn.Sequential(linear(fl, 3, 3), linear(fl, 3, 3))
        m[1].weight = m[0].weight
        before, x = m(fl.ones(1, 3)), fl.ones(1, 3)
        other = call(m, {"0.weight": fl.eye(3)}, x)
        untied = call(m, {"0.weight": fl.eye(3)}, x, tie_weights=False)
        return [
            other,
            untied,
            fl.equal(m(x), before),
            outcome(lambda: call(m, {"0.weight": fl.eye(3), "1.weight": fl.ones(3, 3)}, x)),
            outcome(lambda: call(m, {"nothing": fl.eye(3)}, x, strict=True)),
        ]

    agree(program)


def test_fusion(agree):
    def program(fl):
        fl.manual_seed(0)
        conv, norm = fl.nn.Conv2d(2, 3, 3).eval(), fl.nn.BatchNorm2d(3).eval()
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        x = fl.randn(1, 2, 5, 5)
        fused = fl.nn.utils.fuse_conv_bn_eval(conv, norm)
        layer, norm1 = linear(fl).eval(), fl.nn.BatchNorm1d(5).eval()
        return fused(x), norm(conv(x)), fl.nn.utils.fuse_linear_bn_eval(layer, norm1)(fl.ones(2, 6))

    agree(program, atol=1e-5)


def test_skip_init(agree):
    def program(fl):
        layer = fl.nn.utils.skip_init(fl.nn.Linear, 3, 4)
        return repr(layer), layer.weight.device.type, outcome(lambda: fl.nn.utils.skip_init(fl.nn.ReLU))

    agree(program)


@pytest.mark.parametrize("lengths", [[5, 0, 2], [3, 5, 0], [0], [5, 3, 2, 1]], ids=str)
@pytest.mark.parametrize("shape", [(5, 3, 2), (3,)], ids=str)
def test_lengths_that_do_not_fit(agree, shape, lengths):
    agree(
        lambda fl: tuple(fl.nn.utils.rnn.pack_padded_sequence(fl.ones(shape), lengths)),
        raises=IndexError if len(shape) == 1 else RuntimeError,
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_modules_are_not_called_with_other_parameters(agree):
    agree(
        lambda fl: fl.func.functional_call(fl.jit.script(fl.nn.Linear(2, 2)), {"weight": fl.eye(2)}, fl.ones(1, 2)),
        raises=RuntimeError,
    )
