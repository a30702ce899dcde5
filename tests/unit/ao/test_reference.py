"""Reference modules, what they become, and the older names of all of them."""

import pytest

from tests.agree import rand
from tests.unit.ao.observed import told

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*poor numerical accuracy"),
    pytest.mark.filterwarnings("ignore:.*deprecated"),
]


def qparams(fl, channels=None, dtype="qint8"):
    """By what a weight is to be quantized: by one scale, or by scales for so many channels."""
    if channels is None:
        return {"qscheme": fl.per_tensor_affine, "dtype": getattr(fl, dtype), "scale": 0.02, "zero_point": 3}
    return {
        "qscheme": fl.per_channel_affine,
        "dtype": getattr(fl, dtype),
        "scale": fl.linspace(0.01, 0.03, channels),
        "zero_point": fl.arange(channels).int(),
        "axis": 0,
    }


MODULES = {
    "Linear": (lambda nn: nn.Linear(4, 6), (3, 4)),
    "Conv1d": (lambda nn: nn.Conv1d(4, 6, 2, bias=False), (2, 4, 5)),
    "Conv2d": (lambda nn: nn.Conv2d(4, 6, 2, 2, 1, groups=2), (2, 4, 5, 5)),
    "Conv3d": (lambda nn: nn.Conv3d(4, 6, 2), (2, 4, 3, 3, 3)),
    "ConvTranspose1d": (lambda nn: nn.ConvTranspose1d(6, 4, 2), (2, 6, 5)),
    "ConvTranspose2d": (lambda nn: nn.ConvTranspose2d(6, 4, 2, 2, output_padding=1), (2, 6, 3, 3)),
    "ConvTranspose3d": (lambda nn: nn.ConvTranspose3d(6, 4, 2), (2, 6, 3, 3, 3)),
}


@pytest.mark.parametrize("channels", [None, 6])
@pytest.mark.parametrize("name", sorted(MODULES))
def test_weights(agree, name, channels):
    make, size = MODULES[name]

    def program(fl, x):
        fl.manual_seed(0)
        made = getattr(fl.ao.nn.quantized.reference, name).from_float(make(fl.nn), qparams(fl, channels))
        found = [made(x.detach().float()), repr(made), told(dict(made.state_dict())), told(made.get_quantized_weight())]
        if "Transpose" in name:
            return found
        quantized = getattr(fl.ao.nn.quantized, name).from_reference(made, 0.1, 20)
        data = fl.quantize_per_tensor(x.detach().float(), 0.02, 100, fl.quint8)
        found += [told(quantized(data)), repr(quantized), made.get_weight()]
        again = type(made)(*_arguments(made, name), weight_qparams=qparams(fl, channels))
        return [*found, str(again.load_state_dict(made.state_dict())), again.get_weight()]

    agree(program, rand(*size), grads=0)


def _arguments(m, name):
    if name == "Linear":
        return m.in_features, m.out_features
    return m.in_channels, m.out_channels, m.kernel_size, m.stride, m.padding, m.dilation, m.groups, m.bias is not None


def test_defaults_half_and_refusals(agree):
    def program(fl, x):
        fl.manual_seed(0)
        reference = fl.ao.nn.quantized.reference
        plain = reference.Linear(4, 6)
        half = reference.Linear.from_float(fl.nn.Linear(4, 6), {"qscheme": None, "dtype": fl.float16})
        return (
            plain(x.float()),
            told(dict(plain.state_dict())),
            half.get_quantized_weight(),
            half.get_weight(),
            list(half.state_dict()),
        )

    agree(program, rand(3, 4), grads=0)
    given = {"qscheme": "per_tensor_symmetric", "dtype": "qint8", "scale": 1.0, "zero_point": 0}
    agree(
        lambda fl: fl.ao.nn.quantized.reference.Linear(
            4, 6, weight_qparams={**given, "qscheme": fl.per_tensor_symmetric, "dtype": fl.qint8}
        ),
        raises=AssertionError,
    )


def test_embeddings(agree):
    def program(fl):
        fl.manual_seed(0)
        reference, i = fl.ao.nn.quantized.reference, fl.tensor([1, 2, 8, 0, 8, 8])
        given = {
            "qscheme": fl.per_channel_affine_float_qparams,
            "dtype": fl.quint8,
            "scale": fl.linspace(0.01, 0.03, 9),
            "zero_point": fl.linspace(-1, 3, 9),
            "axis": 0,
        }
        one = reference.Embedding.from_float(fl.nn.Embedding(9, 8), given)
        bag = reference.EmbeddingBag.from_float(fl.nn.EmbeddingBag(9, 8, mode="sum"), given)
        found = [one(i), bag(i, fl.tensor([0, 4])), repr(one), repr(bag)]
        quantized = fl.ao.nn.quantized.Embedding.from_reference(one)
        return [
            *found,
            quantized(i),
            fl.ao.nn.quantized.EmbeddingBag.from_reference(bag)(i, fl.tensor([0, 4])),
            repr(quantized),
        ]

    agree(program, grads=0)


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
@pytest.mark.parametrize("channels", [None, 4])
def test_recurrent(agree, name, channels):
    def program(fl, x):
        fl.manual_seed(0)
        reference, x = fl.ao.nn.quantized.reference, x.detach().float()
        plain = getattr(fl.nn, name)(3, 4, 2, bidirectional=True, batch_first=True)
        names = [n for n in plain._flat_weights_names if n.startswith("weight")]
        given = {"is_decomposed": False, **{n: qparams(fl) for n in names}}
        if channels:
            rows = getattr(plain, names[0]).shape[0]
            scales = qparams(fl, rows)
            given[names[0]] = {**scales, "scale": scales["scale"].tolist(), "zero_point": [0] * rows}
        made = getattr(reference, name).from_float(plain, given)
        packed = fl.nn.utils.rnn.pack_padded_sequence(x, [3, 5], batch_first=True, enforce_sorted=False)
        found = [made(x), made(packed)[0].data, made(x[0]), repr(made), list(made.state_dict())]
        found += [told(made.get_quantized_weight_bias_dict()), made.get_flat_weights()]
        return [*found, getattr(fl.ao.nn.quantized.dynamic, name).from_reference(made)(x)[0]]

    agree(program, rand(2, 5, 3), grads=0)
    agree(lambda fl: getattr(fl.ao.nn.quantized.reference, name)(3, 4)(fl.ones(5, 3), fl.ones(1, 1, 4) if name == "GRU" else (fl.ones(1, 1, 4),) * 2), raises=RuntimeError)  # fmt: skip


@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell", "GRUCell"])
def test_cells(agree, name):
    def program(fl, x):
        fl.manual_seed(0)
        x, given = x.detach().float(), {"is_decomposed": False, "weight_ih": qparams(fl), "weight_hh": qparams(fl)}
        made = getattr(fl.ao.nn.quantized.reference, name).from_float(getattr(fl.nn, name)(3, 4), given)
        dynamic = getattr(fl.ao.nn.quantized.dynamic, name).from_reference(made)
        return made(x), made(x[0]), repr(made), list(made.state_dict()), dynamic(x), repr(dynamic)

    agree(program, rand(2, 3), grads=0, atol=1e-5)
    agree(lambda fl: getattr(fl.ao.nn.quantized.reference, name)(3, 4)(fl.ones(1, 2, 3)), raises=AssertionError)


@pytest.mark.parametrize(
    "path",
    [
        "nn.quantized",
        "nn.quantized.functional",
        "nn.quantized.modules.conv",
        "nn.quantized.dynamic",
        "nn.quantized.dynamic.modules.rnn",
        "nn.qat.modules.linear",
        "nn.qat.dynamic",
        "nn.intrinsic",
        "nn.intrinsic.modules.fused",
        "nn.intrinsic.qat.modules.conv_fused",
        "nn.intrinsic.quantized.dynamic",
        "nn.quantizable.modules.rnn",
    ],
)
def test_older_names(agree, path):
    """What either library defines under the older name is what it defines under the newer one."""

    def program(fl):
        import importlib

        old, new = (importlib.import_module(f"{fl.__name__}.{p}") for p in (path, "ao." + path))
        classes = {n: v for n, v in vars(new).items() if isinstance(v, type) and hasattr(old, n)}
        assert all(getattr(old, n) is v for n, v in classes.items())
        return eval(f"fl.{path}").__name__.rpartition(".")[2]

    agree(program)


def test_older_name_of_references(agree):
    def program(fl):
        import importlib

        old = importlib.import_module(f"{fl.__name__}.nn.quantized._reference")
        assert old.Linear is fl.ao.nn.quantized.reference.Linear
        return importlib.import_module(f"{fl.__name__}.nn.quantized._reference.modules").Conv2d.__name__

    agree(program)
