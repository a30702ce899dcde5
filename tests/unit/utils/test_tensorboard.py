"""SummaryWriter: the same events as PyTorch's, and graphs of models."""

import importlib
import io

import numpy as np
import pytest

import flambeau

pytest.importorskip("tensorboard")


def writer_of(fl):
    return importlib.import_module(f"{fl.__name__}.utils.tensorboard").SummaryWriter


def events(directory):
    """What the files below a directory say: per file its steps and summaries, pictures as pixels."""
    from google.protobuf import text_format
    from PIL import Image
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    found = []
    for file in sorted(directory.rglob("events.out*")):
        for raw in RawEventFileLoader(str(file)).Load():
            event = Event.FromString(raw)
            event.wall_time = 0
            event.source_metadata.Clear()
            for value in event.summary.value:
                plugin = value.metadata.plugin_data
                if plugin.plugin_name == "hparams":  # the order in which maps are written is open
                    plugin.content = text_format.MessageToString(HParamsPluginData.FromString(plugin.content)).encode()
                if value.HasField("image"):
                    pixels = np.asarray(Image.open(io.BytesIO(value.image.encoded_image_string)))
                    value.image.encoded_image_string = repr((pixels.shape, pixels.tolist())).encode()
            found.append((str(file.parent.relative_to(directory)), event.step, str(event)))
    return found


CALLS = {
    "scalar": lambda fl, w: (w.add_scalar("a", 1.5, 3), w.add_scalar("a", fl.tensor([2.0]), 4, new_style=True)),
    "double": lambda fl, w: w.add_scalar("a", np.float64(0.1), 1, new_style=True, double_precision=True),
    "scalars": lambda fl, w: w.add_scalars("m/n", {"x": 1, "y": 2.0}, 5),
    "histogram": lambda fl, w: w.add_histogram("h", fl.arange(20.0) / 7 - 1, 1),
    "histogram bins": lambda fl, w: w.add_histogram("h", fl.arange(20.0), 1, bins="auto", max_bins=2),
    "histogram many": lambda fl, w: w.add_histogram("h", fl.arange(100.0) ** 2, 1, bins=17, max_bins=5),
    "histogram raw": lambda fl, w: w.add_histogram_raw("h", 0, 3, 4, 6, 14, [1, 2, 3], [1, 1, 2], 2),
    "tensor": lambda fl, w: [
        w.add_tensor(d, fl.tensor([[1, 0], [2, 3]]).to(getattr(fl, d)))
        for d in (
            "float32",
            "float64",
            "int64",
            "bool",
            "uint8",
            "complex64",
            "complex128",
            "bfloat16",
            "float16",
            "int32",
        )
        if d not in ("complex64", "complex128", "int32")
    ],
    "image": lambda fl, w: w.add_image("i", fl.arange(24.0).view(1, 4, 6) / 24, 1),
    "image bytes": lambda fl, w: w.add_image("i", fl.arange(24).view(4, 6).to(fl.uint8), 1, dataformats="HW"),
    "images": lambda fl, w: w.add_images("i", fl.arange(3 * 3 * 2 * 2.0).view(3, 3, 2, 2) / 36, 1),
    "boxes": lambda fl, w: w.add_image_with_boxes("i", fl.zeros(3, 12, 12), fl.tensor([[2.0, 2, 8, 9]]), 1),
    "audio": lambda fl, w: w.add_audio("s", fl.arange(50.0).sin(), 1, sample_rate=100),
    "text": lambda fl, w: w.add_text("t", "*text*", 2),
    "layout": lambda fl, w: w.add_custom_scalars(
        {"A": {"b": ["Multiline", ["x", "y"]], "c": ["Margin", ["x", "y", "z"]]}}
    ),
    "multiline": lambda fl, w: w.add_custom_scalars_multilinechart(["x", "y"]),
    "margin": lambda fl, w: w.add_custom_scalars_marginchart(["x", "y", "z"], "c", "t"),
    "curve": lambda fl, w: w.add_pr_curve("p", np.array([0, 1, 1, 0]), fl.tensor([0.1, 0.9, 0.4, 0.6]), 1),
    "curve raw": lambda fl, w: w.add_pr_curve_raw("p", *(np.arange(3.0) + i for i in range(6)), num_thresholds=3),
    "mesh": lambda fl, w: w.add_mesh("m", fl.ones(1, 4, 3), fl.zeros(1, 4, 3), fl.zeros(1, 2, 3), {"a": 1}),
    "hparams": lambda fl, w: w.add_hparams(
        {"lr": 0.1, "b": True, "n": "x", "z": None}, {"loss": 2.0}, {"n": ["x", "y"]}, "run"
    ),
    "video": lambda fl, w: w.add_video("v", fl.zeros(1, 2, 3, 4, 4), 1),
}


@pytest.mark.parametrize("name", CALLS)
def test_events(agree, tmp_path, name):
    def program(fl):
        directory = tmp_path / fl.__name__
        with writer_of(fl)(directory) as w:
            CALLS[name](fl, w)
        return events(directory)

    agree(program)


def test_purging_and_going_on(agree, tmp_path):
    def program(fl):
        directory = tmp_path / fl.__name__
        w = writer_of(fl)(directory, purge_step=7, filename_suffix=".x")
        w.add_scalar("a", 1, 8)
        w.flush()
        w.close()
        w.close()
        found = events(directory)
        w.add_scalar("a", 1, 9)  # a new file
        w.close()
        return found, len(list(directory.glob("events*.x")))

    agree(program)


@pytest.mark.parametrize("header", [None, ["a", "b"]])
def test_embeddings(agree, tmp_path, header):
    def program(fl):
        directory = tmp_path / fl.__name__
        with writer_of(fl)(directory) as w:
            labels = ["x", "y", "z"] if header is None else [["x", 1], ["y", 2], ["z", 3]]
            w.add_embedding(fl.arange(6.0).view(3, 2), labels, fl.zeros(3, 3, 2, 2), 4, "a/b%", header)
            w.add_embedding(fl.ones(2, 2))
        return [
            (str(p.relative_to(directory)), p.read_text())
            for p in sorted(directory.rglob("*"))
            if p.suffix in (".tsv", ".pbtxt")
        ] + [(directory / "00004/a%2fb%25/sprite.png").exists()]

    agree(program)


REFUSED = {
    "many": lambda fl, w: w.add_scalar("a", fl.ones(2)),
    "kind": lambda fl, w: w.add_scalar("a", "text" and object()),
    "empty": lambda fl, w: w.add_histogram("h", fl.zeros(0)),
    "lengths": lambda fl, w: w.add_histogram_raw("h", 0, 3, 4, 6, 14, [1, 2], [1, 1, 2], 2),
    "dimensions": lambda fl, w: w.add_image("i", fl.zeros(3, 3), dataformats="CHW"),
    "letters": lambda fl, w: w.add_image("i", fl.zeros(3, 3), dataformats="HH"),
    "labels": lambda fl, w: w.add_embedding(fl.zeros(3, 3), ["a"]),
    "matrix": lambda fl, w: w.add_embedding(fl.zeros(3)),
    "hparams": lambda fl, w: w.add_hparams({"a": 1}, [1]),
    "value": lambda fl, w: w.add_hparams({"a": [1]}, {}),
    "domain": lambda fl, w: w.add_hparams({"a": 1}, {}, {"a": ["x"]}),
    "margin": lambda fl, w: w.add_custom_scalars_marginchart(["x"]),
    "sound": lambda fl, w: w.add_audio("s", fl.zeros(2, 3)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(agree, tmp_path, name):
    def program(fl):
        with writer_of(fl)(tmp_path / fl.__name__) as w:
            try:
                REFUSED[name](fl, w)
            except Exception as error:
                return type(error).__name__, str(error).replace("torch.Tensor", "Tensor").split()

    agree(program)


def test_figures(tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    with writer_of(flambeau)(tmp_path) as w:
        w.add_figure("f", pyplot.figure(figsize=(1, 2), dpi=10))
        w.add_figure("g", [pyplot.figure(figsize=(1, 2), dpi=10) for _ in range(3)])
    assert [("(20, 10, 3)" in e, "(20, 30, 3)" in e) for _, _, e in events(tmp_path)[1:]] == [
        (True, False),
        (False, True),
    ]


# ---- graphs ------------------------------------------------------------------------------------------------------
class Net(flambeau.nn.Module):
    def __init__(self):
        super().__init__()
        nn = flambeau.nn
        self.body = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Dropout())
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return flambeau.cat([self.head(self.body(x)) * 2, x], 1)


def graph_of(model, args, tmp_path):
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    from flambeau.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as w:
        w.add_graph(model, args)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(tmp_path))
    read.Reload()
    found = read.Graph()
    assert isinstance(found, GraphDef)
    assert read.RunMetadata("step1").step_stats.dev_stats[0].device == "/device:CPU:0"
    return found


def test_a_graph(tmp_path):
    model = Net()
    nodes = graph_of(model, (flambeau.ones(2, 3),), tmp_path).node
    assert model.training
    by_name = {n.name: n for n in nodes}
    assert len(by_name) == len(nodes)
    assert all(i in by_name for n in nodes for i in n.input)
    linear = by_name["Net/Sequential[body]/Linear[0]/linear"]
    assert linear.op == "aten::linear"
    assert linear.input[0] == "input/x"
    assert list(linear.input[1:]) == [f"Net/Sequential[body]/Linear[0]/{n}" for n in ("weight", "bias")]
    assert [d.size for d in linear.attr["_output_shapes"].list.shape[0].dim] == [2, 4]
    assert by_name["Net/Sequential[body]/ReLU[1]/relu"].op == "aten::relu"
    assert by_name["Net/cat"].op == "aten::cat"
    assert list(by_name["output/output.1"].input) == ["Net/cat"]
    assert by_name["input/x"].op == "IO Node"


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_operators_of_graphs_are_pytorchs(agree, tmp_path):
    """What boxes hold which operators; names within a box and constants are numbered otherwise."""

    def program(fl):
        nn = fl.nn
        model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
        graph = importlib.import_module(f"{fl.__name__}.utils.tensorboard._pytorch_graph").graph
        nodes = graph(model, fl.ones(1, 1, 4, 4))[0].node
        return [
            (n.name.rpartition("/")[0], n.op, [d.size for d in n.attr["_output_shapes"].list.shape[0].dim])
            for n in nodes
            if n.op.startswith("aten") and "conv" not in n.op  # `_convolution` there
        ]

    agree(program)


def test_a_model_that_fails(tmp_path, capsys):
    from flambeau.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as w, pytest.raises(RuntimeError, match="mat1 and mat2"):
        w.add_graph(flambeau.nn.Linear(3, 2), flambeau.ones(2, 2))
    assert "Error occurs, No graph saved" in capsys.readouterr().out


def test_onnx_graphs(tmp_path):
    onnx = pytest.importorskip("onnx")
    flambeau.onnx.export(flambeau.nn.Linear(3, 2), (flambeau.ones(1, 3),), str(tmp_path / "m.onnx"))
    from flambeau.utils.tensorboard._onnx_graph import load_onnx_graph

    assert {n.op for n in load_onnx_graph(str(tmp_path / "m.onnx")).node} >= {"Variable", "Gemm"}
    assert onnx


def test_without_the_package(monkeypatch):
    import sys

    for name in [n for n in sys.modules if n.startswith("flambeau.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match="tensorboard"):
        importlib.import_module("flambeau.utils.tensorboard")
