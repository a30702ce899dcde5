"""nn.utils at its corners: kinds of norms, what a parametrization may be and what it leaves, what is refused and in which words."""

import copy
import io
import pickle
import warnings

import pytest

NORMS = {"two": {}, "one": {"norm_type": 1}, "inf": {"norm_type": float("inf")}, "text inf": {"norm_type": "inf"},
         "zero": {"norm_type": 0}, "odd": {"norm_type": 3.5}, "negative": {"norm_type": -1}, "text": {"norm_type": "x"},
         "none": {"norm_type": None}, "foreach": {"foreach": True}, "single": {"foreach": False}}  # fmt: skip


def told(fn):
    """What a call gives, or the kind of its error and what it says."""
    try:
        return fn()
    except Exception as error:
        return type(error).__name__, str(error)


def numbers(fl):
    return fl.arange(6.0).reshape(2, 3) - 2


def with_gradients(fl, *gradients):
    made = [fl.nn.Parameter(fl.zeros_like(g)) for g in gradients]
    for p, g in zip(made, gradients):
        p.grad = g.clone()
    return made


@pytest.mark.parametrize("kind", NORMS)
def test_norms(agree, kind):
    options = NORMS[kind]

    def program(fl):
        utils, x = fl.nn.utils, numbers(fl)

        def clipped(*gradients, lazily=False):
            made = with_gradients(fl, *gradients)
            norm = utils.clip_grad_norm_((p for p in made) if lazily else made, 1.5, **options)
            return norm, [p.grad for p in made]

        return [
            told(lambda: clipped(x, x[0] * 2, x.double())),
            told(lambda: clipped(x, x[0], lazily=True)),
            told(lambda: utils.get_total_norm([x, x[0]], **options)),
        ]

    agree(program)


CLIPPED = {
    "a parameter": lambda fl, u, x: u.clip_grad_norm_(with_gradients(fl, x)[0], 1.0),
    "none": lambda fl, u, x: u.clip_grad_norm_([], 1.0),
    "no gradient": lambda fl, u, x: u.clip_grad_norm_([fl.nn.Parameter(x)], 1.0),
    "not finite": lambda fl, u, x: u.clip_grad_norm_(with_gradients(fl, x / 0), 1.0, error_if_nonfinite=True),
    "not finite and said nothing": lambda fl, u, x: u.clip_grad_norm_(with_gradients(fl, x / 0), 1.0),
    "numbers": lambda fl, u, x: u.clip_grad_norm_([1, 2], 1.0),
    "a limit that is text": lambda fl, u, x: u.clip_grad_norm_(with_gradients(fl, x), "a"),
    "nothing, lazily": lambda fl, u, x: u.clip_grad_norm_((p for p in []), 1.0),
    "sparse": lambda fl, u, x: u.clip_grad_norm_(with_gradients(fl, x.to_sparse()), 1.0),
    "by a norm": lambda fl, u, x: u.clip_grads_with_norm_(with_gradients(fl, x), 1.0, fl.tensor(5.0)),
    "values": lambda fl, u, x: u.clip_grad_value_(with_gradients(fl, x, x), 1.0),
    "values of one": lambda fl, u, x: u.clip_grad_value_(with_gradients(fl, x)[0], 1.0, foreach=True),
    "negative values": lambda fl, u, x: u.clip_grad_value_(with_gradients(fl, x), -1.0),
    "values by text": lambda fl, u, x: u.clip_grad_value_(with_gradients(fl, x), "a"),
    "vector": lambda fl, u, x: u.parameters_to_vector([x, x.t(), x[0, 0]]),
    "vector of nothing": lambda fl, u, x: u.parameters_to_vector([]),
    "list for a vector": lambda fl, u, x: u.vector_to_parameters([1.0], [x]),
    "short vector": lambda fl, u, x: u.vector_to_parameters(fl.arange(3.0), [x.clone()]),
    "long vector": lambda fl, u, x: u.vector_to_parameters(fl.arange(30.0), [x.clone()]),
}


@pytest.mark.parametrize("case", CLIPPED)
def test_clipped_and_joined(agree, case):
    def program(fl):
        found = told(lambda: CLIPPED[case](fl, fl.nn.utils, numbers(fl)))
        return found[1].partition("only available")[0] if case == "sparse" else found

    agree(program)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "complex64"])
def test_norms_of_other_dtypes(agree, dtype):
    def program(fl):
        given = (numbers(fl) * (1 + 2j)) if dtype == "complex64" else numbers(fl).to(getattr(fl, dtype))
        made = with_gradients(fl, given)
        return fl.nn.utils.clip_grad_norm_(made, 1.0), made[0].grad

    agree(program)


# ---- fusion, memory, layers without values ----
FUSED = {
    "convolution": ("Conv2d", {}, None),
    "without bias": ("Conv2d", {"bias": False}, None),
    "transposed": ("ConvTranspose2d", {}, None),
    "double": ("Conv2d", {}, "float64"),
}


@pytest.mark.parametrize("case", FUSED)
def test_fused_with_norms(agree, case):
    name, options, dtype = FUSED[case]

    def program(fl):
        turned = name.endswith("Transpose2d")
        conv, norm = (
            getattr(fl.nn, name)(4, 6, 3, groups=1 if turned else 2, **options).eval(),
            fl.nn.BatchNorm2d(6).eval(),
        )
        norm.running_mean.uniform_()
        norm.running_var.uniform_(0.5, 2)
        fl.nn.init.uniform_(norm.weight)
        to = getattr(fl, dtype or "float32")
        fused = fl.nn.utils.fuse_conv_bn_eval(conv.to(to), norm.to(to), turned)
        return fused.state_dict(), repr(fused), fused(fl.ones(2, 4, 5, 5, dtype=to))

    agree(program, rtol=1e-5, atol=1e-6)


REFUSED = {
    "fused while training": lambda fl, u: u.fuse_conv_bn_eval(fl.nn.Conv2d(1, 1, 1), fl.nn.BatchNorm2d(1)),
    "fused linear while training": lambda fl, u: u.fuse_linear_bn_eval(fl.nn.Linear(2, 2), fl.nn.BatchNorm1d(2)),
    "fused sizes": lambda fl, u: u.fuse_linear_bn_eval(fl.nn.Linear(3, 4).eval(), fl.nn.BatchNorm1d(3).eval()),
    "skipped function": lambda fl, u: u.skip_init(fl.tensor, 3),
    "skipped number": lambda fl, u: u.skip_init(5, 3),
    "normed twice": lambda fl, u: u.weight_norm(u.weight_norm(fl.nn.Linear(2, 2))),
    "no norm to remove": lambda fl, u: u.remove_weight_norm(fl.nn.Linear(2, 2)),
    "normed nothing": lambda fl, u: u.weight_norm(fl.nn.Linear(2, 2), "foo"),
    "spectral twice": lambda fl, u: u.spectral_norm(u.spectral_norm(fl.nn.Linear(2, 2))),
    "no spectral norm to remove": lambda fl, u: u.remove_spectral_norm(fl.nn.Linear(2, 2)),
    "orthogonal vector": lambda fl, u: u.parametrizations.orthogonal(fl.nn.Linear(2, 2), "bias"),
    "orthogonal nothing": lambda fl, u: u.parametrizations.orthogonal(fl.nn.Linear(2, 2), "foo"),
    "orthogonal by what": lambda fl, u: u.parametrizations.orthogonal(fl.nn.Linear(2, 2), orthogonal_map="bogus"),
    "no parametrization": lambda fl, u: u.parametrize.remove_parametrizations(fl.nn.Linear(2, 2), "weight"),
    "empty list": lambda fl, u: u.parametrize.ParametrizationList([], fl.eye(3)),
    "unknown parameter": lambda fl, u: fl.func.functional_call(
        fl.nn.Linear(2, 2), {"weight": fl.eye(2), "foo": fl.zeros(2)}, (fl.ones(1, 2),), strict=True
    ),
    "unknown and let through": lambda fl, u: fl.func.functional_call(fl.nn.Linear(2, 2), {"foo": fl.zeros(2)}, (fl.ones(1, 2),)),
    "parameters twice": lambda fl, u: fl.func.functional_call(
        fl.nn.Linear(2, 2), ({"weight": fl.eye(2)}, {"weight": fl.zeros(2)}), (fl.ones(1, 2),)
    ),
    "a number for parameters": lambda fl, u: fl.func.functional_call(fl.nn.Linear(2, 2), 5, (fl.ones(1, 2),)),
    "a number for a parameter": lambda fl, u: fl.func.functional_call(fl.nn.Linear(2, 2), {"weight": 5}, (fl.ones(1, 2),)),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", REFUSED)
def test_refusals(agree, case):
    agree(lambda fl: told(lambda: REFUSED[case](fl, fl.nn.utils)))


def test_weights_keep_a_memory_format(agree):
    def program(fl):
        flat = fl.nn.utils.convert_conv2d_weight_memory_format(fl.nn.Conv2d(2, 3, 3), fl.channels_last)
        deep = fl.nn.utils.convert_conv3d_weight_memory_format(fl.nn.Conv3d(2, 3, 3), fl.channels_last_3d)
        return flat.weight.stride(), deep.weight.stride()

    agree(program)


# ---- normed weights ----
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dim", [0, 1, -1, None])
def test_weight_norm(agree, dim):
    def program(fl):
        m = fl.nn.utils.weight_norm(fl.nn.Linear(3, 4), "weight", dim)
        m(fl.ones(2, 3)).sum().backward()
        found = m.state_dict(), repr(m), [p.grad for _, p in sorted(m.named_parameters())]
        copied = told(lambda: copy.deepcopy(m)(fl.ones(2, 3)))
        fl.nn.utils.remove_weight_norm(m)
        return *found, copied, m.state_dict()

    agree(program)


@pytest.mark.filterwarnings("ignore")
def test_weight_norm_of_a_recurrent_layer(agree):
    def program(fl):
        m = fl.nn.utils.weight_norm(fl.nn.GRU(3, 4), "weight_hh_l0")
        m(fl.ones(2, 3))[0].sum().backward()
        return m.state_dict(), [p.grad for _, p in sorted(m.named_parameters())]

    agree(program)


SPECTRAL = {"plain": {}, "steps": {"n_power_iterations": 3}, "dim": {"dim": 1}, "eps": {"eps": 0.1}, "no steps": {"n_power_iterations": 0},
            "bias": {"name": "bias"}, "nothing": {"name": "foo"}, "a dim too far": {"dim": 7}}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layer", ["Linear", "Conv2d", "ConvTranspose2d"])
@pytest.mark.parametrize("case", SPECTRAL)
@pytest.mark.parametrize("new", [True, False])
def test_spectral_norm(agree, new, case, layer):
    def program(fl):
        utils = fl.nn.utils
        m = fl.nn.Linear(3, 4) if layer == "Linear" else getattr(fl.nn, layer)(2, 3, 3)
        x = fl.ones(2, 3) if layer == "Linear" else fl.ones(1, 2, 5, 5)

        def norm():
            made = (utils.parametrizations if new else utils).spectral_norm(m, **SPECTRAL[case])
            outs = [made(x), made(x), made.eval()(x)]
            found = outs, made.state_dict(), repr(made), [n for n, _ in made.named_buffers()]
            if new:
                utils.parametrize.remove_parametrizations(made, SPECTRAL[case].get("name", "weight"))
            else:
                utils.remove_spectral_norm(made, SPECTRAL[case].get("name", "weight"))
            return *found, made.state_dict()

        return told(norm)

    agree(program, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("trivial", [True, False])
@pytest.mark.parametrize("way", [None, "matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("size", [(3, 4), (3, 3), (3, 2)], ids=str)
def test_orthogonal_weights(agree, size, way, trivial):
    """Not their values, which are another LAPACK's, but that they are orthogonal, what they are made of and what they leave."""

    def program(fl):
        m = fl.nn.utils.parametrizations.orthogonal(fl.nn.Linear(*size, dtype=fl.float64), orthogonal_map=way, use_trivialization=trivial)  # fmt: skip
        w = m.weight
        small = w @ w.mT if w.shape[0] < w.shape[1] else w.mT @ w
        w.sum().backward()
        told_of = small, repr(m), [(n, p.shape, p.grad.shape) for n, p in m.named_parameters() if p.grad is not None]
        wrong = told(lambda: setattr(m, "weight", fl.ones(*w.shape, dtype=fl.float64)))
        fl.nn.utils.parametrize.remove_parametrizations(m, "weight")
        return *told_of, wrong, repr(m), type(m).__name__

    agree(program)


# ---- parametrizations of one's own ----
def kinds(fl):
    """Modules that may, and others that may not, stand for a weight."""
    nn = fl.nn

    class Symmetric(nn.Module):
        def forward(self, x):
            return x.triu() + x.triu(1).transpose(-1, -2)

    class Upper(Symmetric):
        def right_inverse(self, x):
            return x.triu()

    class Two(nn.Module):
        def forward(self, a, b):
            return a + b

        def right_inverse(self, x):
            return x / 2, x / 2

    class Double(nn.Module):
        def forward(self, x):
            return x.double()

    class Row(nn.Module):
        def forward(self, x):
            return x[:1]

    class Number(nn.Module):
        def forward(self, x):
            return 3

    class Same(nn.Module):
        def forward(self, x):
            return x

    class BackToRow(Same):
        def right_inverse(self, x):
            return x[:1]

    class BackToNumber(Same):
        def right_inverse(self, x):
            return 7

    class BackToDouble(Same):
        def right_inverse(self, x):
            return x.double()

    class BackToTensorAndNumber(Two):
        def right_inverse(self, x):
            return x, 3

    found = (Symmetric, Upper, Two, Double, Row, Number, BackToRow, BackToNumber, BackToDouble, BackToTensorAndNumber)
    return {kind.__name__: kind for kind in found}


def registered(fl, *names, unsafe=False):
    made = fl.nn.Linear(3, 3)
    for name in names:
        fl.nn.utils.parametrize.register_parametrization(made, "weight", kinds(fl)[name](), unsafe=unsafe)
    return made


def seen(fl, m):
    of = fl.nn.utils.parametrize
    return (
        repr(m), type(m).__name__, m.state_dict(), [n for n, _ in m.named_parameters()], m(fl.ones(1, 3)), m.weight,
        of.is_parametrized(m), of.is_parametrized(m, "weight"), of.is_parametrized(m, "bias"), of.type_before_parametrizations(m).__name__,
    )  # fmt: skip


@pytest.mark.parametrize("unsafe", [False, True])
@pytest.mark.parametrize(
    "names",
    ["Symmetric", "Upper", "Two", "Double", "Row", "Number", "BackToRow", "BackToNumber", "BackToDouble", "BackToTensorAndNumber",
     "Symmetric Symmetric", "Upper Two", "Two Upper", "Symmetric Double", "Symmetric Row"],
)  # fmt: skip
def test_registered(agree, names, unsafe):
    agree(lambda fl: told(lambda: seen(fl, registered(fl, *names.split(), unsafe=unsafe))))


CHANGED = {
    "assigned": ("Upper", lambda fl, m: setattr(m, "weight", fl.eye(3))),
    "assigned without a way back": ("Symmetric", lambda fl, m: setattr(m, "weight", fl.eye(3))),
    "deleted": ("Symmetric", lambda fl, m: delattr(m, "weight")),
    "removed": ("Symmetric", lambda fl, m: fl.nn.utils.parametrize.remove_parametrizations(m, "weight")),
    "removed as it was": (
        "Symmetric",
        lambda fl, m: fl.nn.utils.parametrize.remove_parametrizations(m, "weight", False),
    ),
    "two removed": ("Two", lambda fl, m: fl.nn.utils.parametrize.remove_parametrizations(m, "weight", True)),
    "two removed as they were": (
        "Two",
        lambda fl, m: fl.nn.utils.parametrize.remove_parametrizations(m, "weight", False),
    ),
    "another removed": ("Symmetric", lambda fl, m: fl.nn.utils.parametrize.remove_parametrizations(m, "bias")),
    "halved and back": ("Symmetric", lambda fl, m: m.half().float() and None),
    "loaded": ("Upper", lambda fl, m: m.load_state_dict(saved(fl, registered(fl, "Upper"))) and None),
    "pickled": ("Symmetric", lambda fl, m: pickle.dumps(m) and None),
}


def saved(fl, m):
    file = io.BytesIO()
    fl.save(m.state_dict(), file)
    file.seek(0)
    return fl.load(file)


@pytest.mark.parametrize("case", CHANGED)
def test_changed(agree, case):
    name, change = CHANGED[case]

    def program(fl):
        m = registered(fl, name)
        return told(lambda: change(fl, m)), told(lambda: seen(fl, m))

    agree(program)


def test_copied_and_handed_on(agree):
    def program(fl):
        of, m = fl.nn.utils.parametrize, registered(fl, "Upper")
        twin = copy.deepcopy(m)
        with of.cached():
            kept = m.weight is m.weight
        handed = of.transfer_parametrizations_and_params(m, fl.nn.Linear(3, 3))
        norm = fl.nn.BatchNorm1d(3)
        of.register_parametrization(norm, "running_mean", kinds(fl)["Row"](), unsafe=True)
        return [
            seen(fl, twin), type(twin) is type(m), kept, m.weight is m.weight, seen(fl, handed),
            repr(norm), norm.running_mean, sorted(norm.state_dict()), repr(of.ParametrizationList([kinds(fl)["Symmetric"]()], fl.eye(3))),
        ]  # fmt: skip

    agree(program)


def test_calls_with_tied_parameters(agree):
    def program(fl):
        class Tied(fl.nn.Module):
            def __init__(self):
                super().__init__()
                self.a = fl.nn.Parameter(fl.ones(1))
                self.b = self.a

            def forward(self, x):
                return x + self.a + self.b

        call, t, x, zero = fl.func.functional_call, Tied(), fl.ones(1), fl.zeros(1)
        return [
            call(t, {"a": zero}, x),
            call(t, {"a": zero}, x, tie_weights=False),
            call(t, {"a": zero, "b": zero + 5}, x, tie_weights=False),
            told(lambda: call(t, {"a": zero, "b": zero + 5}, x)),
            call(fl.nn.Linear(2, 2), ({"weight": fl.eye(2)}, {"bias": fl.zeros(2)}), (fl.ones(1, 2),)),
        ]

    agree(program)


def test_older_names_warn(agree):
    def program(fl):
        found = []
        for name, action in (
            ("weight_norm", lambda u: u.weight_norm(fl.nn.Linear(2, 2))),
            ("clip_grad_norm", lambda u: u.clip_grad_norm(with_gradients(fl, numbers(fl)), 1.0)),
            ("stateless", lambda u: u.stateless.functional_call(fl.nn.Linear(2, 2), {"weight": fl.zeros(2, 2)}, fl.ones(1, 2))),
        ):  # fmt: skip
            with warnings.catch_warnings(record=True) as given:
                warnings.simplefilter("always")
                action(fl.nn.utils)
            found.append((name, [w.category.__name__ for w in given]))
        return found

    agree(program)
