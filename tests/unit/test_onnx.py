"""torch.onnx: exported models, run by onnxruntime (where it is installed), answer what the model does."""

import pytest

import flambeau
from flambeau import nn
from flambeau.export import Dim

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
F = nn.functional


def check(model, *args, dynamic=None, others=(), tol=1e-5):
    flambeau.manual_seed(0)
    program = flambeau.onnx.export(model, args, dynamic_shapes=dynamic)
    for given in (args, *others):
        expected = flambeau.utils._pytree.tree_leaves(model(*given))
        got = program(*given)
        assert len(got) == len(expected)
        for a, b in zip(got, expected, strict=True):
            flambeau.testing.assert_close(a, b.detach(), rtol=tol, atol=tol, check_stride=False)
    return program


class Of(nn.Module):
    def __init__(self, fn):
        super().__init__()
        self.fn = fn

    def forward(self, *args):
        return self.fn(*args)


X = flambeau.tensor([[0.5, -1.25, 2.0, 0.0], [3.5, -0.5, -2.5, 1.0], [0.25, 0.75, -0.75, -3.0]])
EXPRESSIONS = {
    "pointwise": lambda x: (x.exp() + x.sin() * x.cos() - x.tanh() / (x.abs() + 1)).sqrt().rsqrt().log1p().expm1().erf(),
    "activations": lambda x: F.gelu(x) + F.gelu(x, approximate="tanh") + F.silu(x) + F.hardswish(x) + F.elu(x) + F.softplus(x) + F.relu6(x)
    + F.leaky_relu(x) + F.hardsigmoid(x) + F.mish(x) + F.selu(x) + F.celu(x) + F.hardtanh(x) + F.logsigmoid(x) + F.softsign(x),
    "numbers": lambda x: (2 * x + 1) / 3 - x**2 + 2**x,
    "integers": lambda x: (x * 4).long() // 3 + (x * 4).long() % 3 + (x * 4).int(),
    "rounded": lambda x: x.floor() + x.ceil() + x.round() + x.trunc() + x.sign() + flambeau.div(x, 2, rounding_mode="floor") + x.remainder(1.5),
    "compared": lambda x: ((x > 0) & (x <= 1) | (x == 2.0)).logical_not() ^ (x != x),
    "chosen": lambda x: flambeau.where(x > 0, x, -1.0) + x.masked_fill(x < 0, 5.0) + x.clamp(-1, 1) + x.clamp(min=0) + flambeau.maximum(x, -x),
    "reduced": lambda x: (x.sum(), x.sum(1), x.mean(0, keepdim=True), x.amax(1), x.prod(0), x.var(1), x.std(), x.logsumexp(1), x.norm(dim=1),
                          (x > 0).any(1), (x > 0).all(), x.max(1)[0], x.min(0)[1], x.max(), x.argmax(1), x.argmin()),
    "shapes": lambda x: (x.reshape(2, -1), x.T, x.unsqueeze(1).squeeze(1), x.flatten(), x[..., None].expand(3, 4, 2), x.unflatten(1, (2, 2)),
                         x.movedim(0, 1), x.flip(1), x.roll(1, 0), x.roll(2), x.repeat(2, 1), x.tril(1), x.triu(), x.view(4, 3).t()),
    "parts": lambda x: (x[:, 1:3], x[0], x[:, -1], x[::2], x[1:2, None], *x.split(2, 1), *x.chunk(2), *x.unbind(1), x.narrow(1, 1, 2)),
    "joined": lambda x: (flambeau.cat([x, x.long()], 1), flambeau.stack([x, x], 1), F.pad(x, (1, 2), value=3.0), x.cumsum(1), x.diff()),
    "places": lambda x: (x.gather(1, x.argsort(1)), x.topk(2)[0], x.sort(1, descending=True)[1], x[flambeau.tensor([2, 0])],
                         x.index_select(1, flambeau.tensor([3, 1])), x[flambeau.tensor([0, 1]), flambeau.tensor([2, 3])],
                         F.one_hot(flambeau.tensor([0, 2]), 4), x[x[:, 0] > 0.4]),
    "made": lambda x: (x + flambeau.arange(4), x.new_zeros(2) + flambeau.full((2,), 3.0), flambeau.zeros_like(x) + flambeau.ones(4), flambeau.eye(3) @ x),
    "products": lambda x: (x @ x.T, flambeau.einsum("ij,kj->ik", x, x), flambeau.addmm(x[:, :3], x, x.T), flambeau.bmm(x[None], x.T[None]),
                           flambeau.outer(x[0], x[1])),
    "softmaxes": lambda x: (x.softmax(1), x.log_softmax(0), F.normalize(x), F.glu(x, 1), F.layer_norm(x, (4,)), F.rms_norm(x, (4,))),
    "in place": lambda x: (x * 2).add_(1).relu_().mul_(3),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_expressions(name):
    check(Of(EXPRESSIONS[name]), X)


def test_convolutions_pooling_and_norms():
    flambeau.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding="same", dilation=2), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1), nn.Conv2d(8, 8, 3, groups=4),
        nn.GroupNorm(2, 8), nn.PReLU(8), nn.ConvTranspose2d(8, 8, 2, 2), nn.InstanceNorm2d(8), nn.AvgPool2d(2), nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Upsample(size=(4, 4)), nn.ReflectionPad2d(1), nn.PixelShuffle(2), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 5),
    ).eval()  # fmt: skip
    x = flambeau.randn(2, 3, 16, 16)
    check(net, x, dynamic=({0: Dim("batch")},), others=[(flambeau.randn(5, 3, 16, 16),)], tol=1e-4)


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("both", [False, True])
def test_recurrent_layers(layer, both):
    flambeau.manual_seed(0)
    net = layer(5, 6, 2, batch_first=True, bidirectional=both).eval()
    b, t = Dim("b"), Dim("t")
    check(net, flambeau.randn(2, 4, 5), dynamic=({0: b, 1: t},), others=[(flambeau.randn(3, 7, 5),)])


@pytest.mark.parametrize("causal", [False, True])
def test_a_transformer_block(causal):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.place = nn.Embedding(20, 8), nn.Parameter(flambeau.randn(16, 8))
            self.qkv, self.out, self.norm = nn.Linear(8, 24), nn.Linear(8, 8), nn.LayerNorm(8)
            self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

        def forward(self, tokens):
            x = self.embed(tokens) + self.place[: tokens.shape[1]]
            n, t, _ = x.shape
            q, k, v = (p.reshape(n, t, 2, 4).transpose(1, 2) for p in self.qkv(self.norm(x)).chunk(3, -1))
            x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).reshape(n, t, 8))
            return x + self.mlp(self.norm(x))

    flambeau.manual_seed(0)
    tokens = flambeau.randint(0, 20, (2, 5))
    check(Block(), tokens, dynamic=({0: Dim("b"), 1: Dim("t", max=16)},), others=[(flambeau.randint(0, 20, (3, 11)),)])


def test_the_encoder_layer():
    flambeau.manual_seed(0)
    check(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), flambeau.randn(2, 5, 8), dynamic=({0: Dim("b")},),
          others=[(flambeau.randn(4, 5, 8),)])  # fmt: skip


def test_files_names_and_axes(tmp_path):
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    path = tmp_path / "net.onnx"
    flambeau.onnx.export(net, (flambeau.ones(2, 4),), path, input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}},
                         verify=True)  # fmt: skip
    model = onnx.load(path)
    assert [i.name for i in model.graph.input] == ["x"]
    assert [o.name for o in model.graph.output] == ["y"]
    assert [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == ["batch", 4]
    assert sorted(i.name for i in model.graph.initializer) == ["0.bias", "0.weight"]
    program = flambeau.onnx.export(net, (flambeau.ones(2, 4),))
    program.save(tmp_path / "apart.onnx", external_data=True)
    assert (tmp_path / "apart.onnx.data").exists()
    onnx.checker.check_model(str(tmp_path / "apart.onnx"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["apart.onnx", "apart.onnx.data", "net.onnx"]


def test_refusals():
    with pytest.raises(flambeau.onnx.OnnxExporterError, match="aten::linalg_inv"):
        flambeau.onnx.export(Of(lambda x: flambeau.linalg.inv(x[:, :3])), (X,))
    with pytest.raises(flambeau.onnx.OnnxExporterError, match="training mode"):
        flambeau.onnx.export(nn.BatchNorm1d(4), (X,))
    assert not flambeau.onnx.is_in_onnx_export()
    seen = []
    flambeau.onnx.export(Of(lambda x: (seen.append(flambeau.onnx.is_in_onnx_export()), x * 2)[1]), (X,))
    assert seen == [True]


def described(file):
    """The operator set of a model, and names and sizes of what it takes and gives."""
    model = onnx.load(file)
    ends = ([(v.name, [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]) for v in vs]
            for vs in (model.graph.input, model.graph.output))  # fmt: skip
    return model.opset_import[0].version, *ends


class Digits(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(18, 4)

    def forward(self, x):
        return self.head(F.max_pool2d(self.norm(self.conv(x)).relu(), 2).flatten(1))


def test_names_and_sizes_are_pytorchs(tmp_path, capsys):
    net, x, file = Digits().eval(), flambeau.ones(1, 1, 8, 8), tmp_path / "net.onnx"
    assert type(flambeau.onnx.export(net, (x,), file)).__name__ == "ONNXProgram"
    assert capsys.readouterr().out.startswith(
        "[torch.onnx] Obtain model graph for `Digits([...]` with `torch.export.export(..., strict=False)`..."
    )
    assert described(file) == (20, [("x", [1, 1, 8, 8])], [("linear", [1, 4])])
    flambeau.onnx.export(
        net,
        (x,),
        file,
        input_names=["image"],
        output_names=["score"],
        dynamic_axes={"image": {0: "batch"}},
        verbose=False,
    )
    assert capsys.readouterr().out == ""
    assert described(file) == (20, [("image", ["batch", 1, 8, 8])], [("score", ["batch", 4])])
    flambeau.onnx.export(Of(lambda x: x[x > 0]), (X,), file)
    assert described(file)[2] == [("index", [0])]  # as many as are positive


def test_written_by_trace_or_by_graph(tmp_path, capsys):
    net, x, file = Digits(), flambeau.ones(1, 1, 8, 8), tmp_path / "net.onnx"
    net.norm.eval()
    assert flambeau.onnx.export(net, (x,), file, dynamo=False) is None  # in evaluation mode
    assert net.training and not net.norm.training and capsys.readouterr().out == ""
    with pytest.raises(RuntimeError, match="number of input names provided"):
        flambeau.onnx.export(net, (x,), file, dynamo=False, input_names=[str(i) for i in range(20)])
    with pytest.warns(UserWarning, match="Provided key foo for dynamic axes is not a valid input/output name"):
        flambeau.onnx.export(net, (x,), file, dynamo=False, input_names=["x"], dynamic_axes={"foo": [0]})
    with pytest.raises(RuntimeError, match="Failed to convert 'dynamic_axes' to 'dynamic_shapes'"):
        flambeau.onnx.export(net.eval(), (x,), file, input_names=["x"], dynamic_axes={"foo": [0]})


@pytest.mark.parametrize("version", [15, 17, 18, 20, 21])
def test_operator_sets(tmp_path, version):
    import onnxruntime

    net, x, file = Digits().eval(), flambeau.randn(1, 1, 8, 8), tmp_path / "net.onnx"
    flambeau.onnx.export(net, (x,), file, opset_version=version, dynamo=False)
    assert described(file)[0] == version
    (got,) = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"x": x.numpy()})
    flambeau.testing.assert_close(flambeau.from_numpy(got), net(x).detach(), rtol=1e-5, atol=1e-5)


def test_parameters_as_inputs(tmp_path):
    net, file = nn.Linear(2, 3), tmp_path / "net.onnx"
    flambeau.onnx.export(net, (flambeau.ones(1, 2),), file, keep_initializers_as_inputs=True)
    assert [name for name, _ in described(file)[1]] == ["input", "weight", "bias"]
    program = flambeau.onnx.export(net, (flambeau.ones(1, 2),))
    program.save(file, include_initializers=False)
    assert not onnx.load(file).graph.initializer
    assert len(program.model_proto.graph.initializer) == 2


def test_what_export_refuses(tmp_path):
    errors = flambeau.onnx.errors
    net, x = nn.Linear(2, 3), flambeau.ones(1, 2)
    with pytest.raises(TypeError, match="unexpected keyword argument 'bogus'"):
        flambeau.onnx.export(net, (x,), bogus=1)
    with pytest.raises(RuntimeError, match="Unsupported onnx_opset_version: 99"):
        flambeau.onnx.export(net, (x,), tmp_path / "a.onnx", opset_version=99, dynamo=False)
    with pytest.raises(
        errors.UnsupportedOperatorError,
        match=r"^Exporting the operator 'aten::linalg_inv' to ONNX opset version 20 is not supported$",
    ):
        flambeau.onnx.export(Of(flambeau.linalg.inv), (flambeau.eye(2),), tmp_path / "a.onnx", dynamo=False)
    with pytest.raises(errors.OnnxExporterError, match=r"^Failed to convert the exported program to an ONNX model."):
        flambeau.onnx.export(Of(flambeau.linalg.inv), (flambeau.eye(2),))
    with pytest.raises(errors.OnnxExporterError, match=r"^Failed to export the model with torch.export."):
        flambeau.onnx.export(net, (flambeau.ones(1, 5),))
    with pytest.raises(NotImplementedError, match=r"torch\.onnx\.export with opset_version=11"):
        flambeau.onnx.export(
            Digits(), (flambeau.ones(1, 1, 8, 8),), tmp_path / "a.onnx", opset_version=11, dynamo=False
        )
    with pytest.raises(NotImplementedError, match=r"torch\.onnx\.export with custom_opsets"):
        flambeau.onnx.export(net, (x,), custom_opsets={"mine": 1})
    assert not list(tmp_path.iterdir())
