"""What is logged, as `Summary` protocol buffers: one function per kind."""

import io
import json
import logging
import struct
import tempfile
import wave

import numpy as np
from google.protobuf import struct_pb2
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.pr_curve.plugin_data_pb2 import PrCurvePluginData
from tensorboard.plugins.text.plugin_data_pb2 import TextPluginData

import flambeau
from flambeau.utils.tensorboard._convert_np import make_np
from flambeau.utils.tensorboard._proto_graph import tensor_shape_proto
from flambeau.utils.tensorboard._utils import _prepare_video, convert_to_HWC

__all__ = [
    "half_to_int", "int_to_half", "hparams", "scalar", "histogram_raw", "histogram", "make_histogram", "image", "image_boxes",
    "draw_boxes", "make_image", "video", "make_video", "audio", "custom_scalars", "text", "tensor_proto", "pr_curve_raw",
    "pr_curve", "compute_curve", "mesh",
]  # fmt: skip

logger = logging.getLogger(__name__)


def _one(tag, **what):
    return Summary(value=[Summary.Value(tag=tag, **what)])


def _for_plugin(name, content=b""):
    return SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=name, content=content))


# ---- numbers -----------------------------------------------------------------------------------------------------
def scalar(name, tensor, collections=None, new_style=False, double_precision=False):
    """A number; in the new style as a tensor."""
    value = make_np(tensor).squeeze()
    if value.ndim != 0:
        raise AssertionError(
            "Tensor should contain one element (0 dimensions).             "
            f"Was given size: {value.size} and {value.ndim} dimensions."
        )
    value = float(value)
    if not new_style:
        return _one(name, simple_value=value)
    if double_precision:
        proto = TensorProto(double_val=[value], dtype="DT_DOUBLE")
    else:
        proto = TensorProto(float_val=[value], dtype="DT_FLOAT")
    return _one(name, tensor=proto, metadata=_for_plugin("scalars"))


def half_to_int(f: float) -> int:
    """The bits of a number in single precision, as fields of half precision hold them."""
    return struct.unpack("i", struct.pack("f", f))[0]


def int_to_half(i: int) -> float:
    """The number that `half_to_int` was given."""
    return struct.unpack("f", struct.pack("i", i))[0]


def _numbers(t):
    return t.flatten().tolist()


def _halves(t):
    return [half_to_int(x) for x in _numbers(t)]


def _pairs(t):
    return _numbers(flambeau.view_as_real(t))


def _protos():
    """dtype -> (its name, the field, how the field is filled)."""
    fl = flambeau
    kinds = {
        fl.float16: ("DT_HALF", "half_val", _halves), fl.bfloat16: ("DT_BFLOAT16", "half_val", _halves),
        fl.float32: ("DT_FLOAT", "float_val", _numbers), fl.float64: ("DT_DOUBLE", "double_val", _numbers),
        fl.int8: ("DT_INT8", "int_val", _numbers), fl.int16: ("DT_INT16", "int_val", _numbers),
        fl.int32: ("DT_INT32", "int_val", _numbers), fl.int64: ("DT_INT64", "int64_val", _numbers),
        fl.uint8: ("DT_UINT8", "uint32_val", _numbers), fl.bool: ("DT_BOOL", "bool_val", _numbers),
        fl.complex32: ("DT_COMPLEX32", "scomplex_val", _pairs), fl.complex64: ("DT_COMPLEX64", "scomplex_val", _pairs),
        fl.complex128: ("DT_COMPLEX128", "dcomplex_val", _pairs),
    }  # fmt: skip
    return kinds


def tensor_proto(tag, tensor):
    """A whole tensor."""
    if tensor.numel() * tensor.itemsize >= 1 << 31:
        raise ValueError("tensor is bigger than protocol buffer's hard limit of 2GB in size")
    kinds = _protos()
    if tensor.dtype not in kinds:
        raise ValueError(f"{tag} has unsupported tensor dtype {tensor.dtype}")
    dtype, field, fill = kinds[tensor.dtype]
    proto = TensorProto(**{"dtype": dtype, "tensor_shape": tensor_shape_proto(tensor.shape), field: fill(tensor)})
    return _one(tag, metadata=_for_plugin("tensor"), tensor=proto)


# ---- hyperparameters ---------------------------------------------------------------------------------------------
def _check_hparams(hparam_dict, metric_dict, discrete):
    for name, given in (("hparam_dict", hparam_dict), ("metric_dict", metric_dict)):
        if not isinstance(given, dict):
            logger.warning("parameter: %s should be a dictionary, nothing logged.", name)
            raise TypeError(f"parameter: {name} should be a dictionary, nothing logged.")
    if not isinstance(discrete, dict):
        raise TypeError("parameter: hparam_domain_discrete should be a dictionary, nothing logged.")
    for k, v in discrete.items():
        if k not in hparam_dict or not isinstance(v, list) or not all(isinstance(d, type(hparam_dict[k])) for d in v):
            raise TypeError(
                f"parameter: hparam_domain_discrete[{k}] should be a list of same type as hparam_dict[{k}]."
            )


def hparams(hparam_dict=None, metric_dict=None, hparam_domain_discrete=None):
    """What the hparams plugin reads: the experiment, the start of a session with its values, and its end."""
    from tensorboard.plugins.hparams import api_pb2 as api, metadata, plugin_data_pb2 as plugin

    discrete = hparam_domain_discrete or {}
    _check_hparams(hparam_dict, metric_dict, discrete)
    infos, start = [], plugin.SessionStartInfo()
    for k, v in hparam_dict.items():
        if v is None:
            continue
        if isinstance(v, (int, float)):  # bool, too
            field, kind = "number_value", "DATA_TYPE_FLOAT64"
        elif isinstance(v, str):
            field, kind = "string_value", "DATA_TYPE_STRING"
        elif isinstance(v, flambeau.Tensor):
            v, field, kind = make_np(v)[0], "number_value", "DATA_TYPE_FLOAT64"
        else:
            raise ValueError("value should be one of int, float, str, bool, or torch.Tensor")
        setattr(start.hparams[k], field, v)
        domain = None
        if k in discrete and not isinstance(hparam_dict[k], flambeau.Tensor):
            domain = struct_pb2.ListValue(values=[struct_pb2.Value(**{field: d}) for d in discrete[k]])
        infos.append(api.HParamInfo(name=k, type=api.DataType.Value(kind), domain_discrete=domain))

    def summary(tag, **what):
        content = plugin.HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **what)
        return _one(tag, metadata=_for_plugin(metadata.PLUGIN_NAME, content.SerializeToString()))

    metrics = [api.MetricInfo(name=api.MetricName(tag=k)) for k in metric_dict]
    end = plugin.SessionEndInfo(status=api.Status.Value("STATUS_SUCCESS"))
    return (
        summary(metadata.EXPERIMENT_TAG, experiment=api.Experiment(hparam_infos=infos, metric_infos=metrics)),
        summary(metadata.SESSION_START_INFO_TAG, session_start_info=start),
        summary(metadata.SESSION_END_INFO_TAG, session_end_info=end),
    )


# ---- histograms --------------------------------------------------------------------------------------------------
def histogram_raw(name, min, max, num, sum, sum_squares, bucket_limits, bucket_counts):
    """A histogram that was counted elsewhere."""
    histo = HistogramProto(min=min, max=max, num=num, sum=sum, sum_squares=sum_squares, bucket_limit=bucket_limits,
                           bucket=bucket_counts)  # fmt: skip
    return _one(name, histo=histo)


def histogram(name, values, bins, max_bins=None):
    """A histogram of the values."""
    return _one(name, histo=make_histogram(make_np(values).astype(float), bins, max_bins))


def make_histogram(values, bins, max_bins=None):
    """Counts values, and keeps the bins from one before the first that is not empty to the last."""
    if values.size == 0:
        raise ValueError("The input has no element.")
    values = values.reshape(-1)
    counts, limits = np.histogram(values, bins=bins)
    if max_bins is not None and len(counts) > max_bins:
        joined = len(counts) // max_bins
        rest = len(counts) % joined
        if rest:
            counts = np.pad(counts, (0, joined - rest))
        counts = counts.reshape(-1, joined).sum(axis=-1)
        limits = np.concatenate([limits[:-1:joined], limits[-1:]])
    filled = np.flatnonzero(counts > 0)
    # Where nothing was counted, `searchsorted` in the definition gives the first bin.
    start, end = (int(filled[0]), int(filled[-1]) + 1) if filled.size else (len(counts), 1)
    counts = counts[start - 1 : end] if start > 0 else np.concatenate([[0], counts[:end]])
    limits = limits[start : end + 1]
    if counts.size == 0 or limits.size == 0:
        raise ValueError("The histogram is empty, please file a bug report.")
    return HistogramProto(
        min=values.min(), max=values.max(), num=len(values), sum=values.sum(), sum_squares=values.dot(values),
        bucket_limit=limits.tolist(), bucket=counts.tolist(),
    )  # fmt: skip


# ---- pictures and sound ------------------------------------------------------------------------------------------
def _calc_scale_factor(tensor):
    """What makes 0..255 of the values: bytes already are, others are taken to be 0..1."""
    array = tensor if isinstance(tensor, np.ndarray) else tensor.numpy()
    return 1 if array.dtype == np.uint8 else 255


def _bytes(array):
    return (array.astype(np.float32) * _calc_scale_factor(array)).clip(0, 255).astype(np.uint8)


def image(tag, tensor, rescale=1, dataformats="NCHW"):
    """A picture; a batch becomes a grid."""
    return _one(tag, image=make_image(_bytes(convert_to_HWC(make_np(tensor), dataformats)), rescale=rescale))


def image_boxes(tag, tensor_image, tensor_boxes, rescale=1, dataformats="CHW", labels=None):
    """A picture with frames (x1, y1, x2, y2) drawn on it."""
    picture = _bytes(convert_to_HWC(make_np(tensor_image), dataformats))
    return _one(tag, image=make_image(picture, rescale=rescale, rois=make_np(tensor_boxes), labels=labels))


def draw_boxes(disp_image, boxes, labels=None):
    """Draws frames, with their labels, on a picture of Pillow's."""
    for i in range(boxes.shape[0]):
        _draw_single_box(disp_image, *boxes[i, :4], display_str=None if labels is None else labels[i], color="Red")
    return disp_image


def _draw_single_box(image, xmin, ymin, xmax, ymax, display_str, color="black", color_text="black", thickness=2):
    from PIL import ImageDraw, ImageFont

    draw = ImageDraw.Draw(image)
    corners = [(xmin, ymin), (xmin, ymax), (xmax, ymax), (xmax, ymin), (xmin, ymin)]
    draw.line(corners, width=thickness, fill=color)
    if display_str:
        font = ImageFont.load_default()
        left, top, right, bottom = font.getbbox(display_str)
        width, height = right - left, bottom - top
        margin = np.ceil(0.05 * height)
        draw.rectangle([(xmin, ymax - height - 2 * margin), (xmin + width, ymax)], fill=color)
        draw.text((xmin + margin, ymax - height - margin), display_str, fill=color_text, font=font)
    return image


def make_image(tensor, rescale=1, rois=None, labels=None):
    """An array H x W x channels as a PNG."""
    from PIL import Image

    height, width, channels = tensor.shape
    picture = Image.fromarray(tensor)
    if rois is not None:
        picture = draw_boxes(picture, rois, labels=labels)
    picture = picture.resize((int(width * rescale), int(height * rescale)), Image.Resampling.LANCZOS)
    with io.BytesIO() as buffer:
        picture.save(buffer, format="PNG")
        return Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=buffer.getvalue())


def video(tag, tensor, fps=4):
    """Videos N x T x C x H x W, side by side."""
    return _one(tag, image=make_video(_bytes(_prepare_video(make_np(tensor))), fps))


def make_video(tensor, fps):
    """An array T x H x W x C as a GIF; None, with a message, where moviepy is missing."""
    try:
        import moviepy  # noqa: F401
    except ImportError:
        print("add_video needs package moviepy")
        return None
    try:
        from moviepy import editor as mpy
    except ImportError:
        print(
            "moviepy is installed, but can't import moviepy.editor.",
            "Some packages could be missing [imageio, requests]",
        )
        return None
    _, height, width, channels = tensor.shape
    clip = mpy.ImageSequenceClip(list(tensor), fps=fps)
    with tempfile.NamedTemporaryFile(suffix=".gif") as file:
        for quiet in (
            {"verbose": False, "logger": None},
            {"verbose": False, "progress_bar": False},
            {"verbose": False},
        ):
            try:
                clip.write_gif(file.name, **quiet)
                break
            except TypeError:  # another version of moviepy
                continue
        file.seek(0)
        return Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=file.read())


def audio(tag, tensor, sample_rate=44100):
    """One channel of sound, -1..1, as WAV."""
    array = make_np(tensor).squeeze()
    if abs(array).max() > 1:
        print("warning: audio amplitude out of range, auto clipped.")
        array = array.clip(-1, 1)
    if array.ndim != 1:
        raise AssertionError("input tensor should be 1 dimensional.")
    array = (array * np.iinfo(np.int16).max).astype("<i2")
    with io.BytesIO() as buffer:
        with wave.open(buffer, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(sample_rate)
            file.writeframes(array.data)
        encoded = buffer.getvalue()
    sound = Summary.Audio(sample_rate=sample_rate, num_channels=1, length_frames=array.shape[-1],
                          encoded_audio_string=encoded, content_type="audio/wav")  # fmt: skip
    return _one(tag, audio=sound)


# ---- layouts, text, curves, meshes -------------------------------------------------------------------------------
def custom_scalars(layout):
    """Charts that show several series of numbers: {category: {title: [kind, tags]}}."""
    categories = []
    for category, titles in layout.items():
        charts = []
        for title, (kind, tags, *_) in titles.items():
            if kind == "Margin":
                if len(tags) != 3:
                    raise AssertionError("len(tags) != 3")
                series = layout_pb2.MarginChartContent.Series(value=tags[0], lower=tags[1], upper=tags[2])
                content = {"margin": layout_pb2.MarginChartContent(series=[series])}
            else:
                content = {"multiline": layout_pb2.MultilineChartContent(tag=tags)}
            charts.append(layout_pb2.Chart(title=title, **content))
        categories.append(layout_pb2.Category(title=category, chart=charts))
    text = layout_pb2.Layout(category=categories).SerializeToString()
    proto = TensorProto(dtype="DT_STRING", string_val=[text], tensor_shape=TensorShapeProto())
    return _one("custom_scalars__config__", tensor=proto, metadata=_for_plugin("custom_scalars"))


def text(tag, text):
    """A text; Markdown is shown as such."""
    proto = TensorProto(dtype="DT_STRING", string_val=[text.encode()], tensor_shape=tensor_shape_proto([1]))
    metadata = _for_plugin("text", TextPluginData(version=0).SerializeToString())
    return _one(tag + "/text_summary", metadata=metadata, tensor=proto)


def _curve(tag, data, num_thresholds):
    content = PrCurvePluginData(version=0, num_thresholds=num_thresholds).SerializeToString()
    proto = TensorProto(
        dtype="DT_FLOAT", float_val=data.reshape(-1).tolist(), tensor_shape=tensor_shape_proto(data.shape)
    )
    return _one(tag, metadata=_for_plugin("pr_curves", content), tensor=proto)


def pr_curve_raw(tag, tp, fp, tn, fn, precision, recall, num_thresholds=127, weights=None):
    """Precision and recall that were counted elsewhere."""
    return _curve(tag, np.stack((tp, fp, tn, fn, precision, recall)), min(num_thresholds, 127))


def pr_curve(tag, labels, predictions, num_thresholds=127, weights=None):
    """Precision and recall for thresholds between 0 and 1; more than 127 of them break the plugin."""
    num_thresholds = min(num_thresholds, 127)
    return _curve(tag, compute_curve(labels, predictions, num_thresholds, weights), num_thresholds)


def compute_curve(labels, predictions, num_thresholds=None, weights=None):
    """Rows: true and false positives, true and false negatives, precision, recall; a column per threshold."""
    weights = 1.0 if weights is None else weights
    buckets = np.int32(np.floor(predictions * (num_thresholds - 1)))
    positive = labels.astype(np.float64)

    def above(weight):  # how much weight lies at or above each threshold
        counts, _ = np.histogram(buckets, bins=num_thresholds, range=(0, num_thresholds - 1), weights=weight)
        return np.cumsum(counts[::-1])[::-1]

    tp, fp = above(positive * weights), above((1.0 - positive) * weights)
    tn, fn = fp[0] - fp, tp[0] - tp
    least = 1e-7
    return np.stack((tp, fp, tn, fn, tp / np.maximum(least, tp + fp), tp / np.maximum(least, tp + fn)))


def mesh(tag, vertices, colors, faces, config_dict, display_name=None, description=None):
    """Points in space, with colours and triangles."""
    from tensorboard.plugins.mesh import metadata
    from tensorboard.plugins.mesh.plugin_data_pb2 import MeshPluginData as kinds

    config = "{}" if config_dict is None else json.dumps(config_dict, sort_keys=True)
    parts = [(t, k) for t, k in ((vertices, kinds.VERTEX), (faces, kinds.FACE), (colors, kinds.COLOR)) if t is not None]
    components = metadata.get_components_bitmask([kind for _, kind in parts])
    values = []
    for tensor, kind in parts:
        tensor = flambeau.as_tensor(tensor)
        about = metadata.create_summary_metadata(
            tag, display_name, kind, components, tensor.shape, description, json_config=config
        )
        proto = TensorProto(
            dtype="DT_FLOAT", float_val=_numbers(tensor), tensor_shape=tensor_shape_proto(tensor.shape[:3])
        )
        values.append(Summary.Value(tag=metadata.get_instance_name(tag, kind), tensor=proto, metadata=about))
    return Summary(value=values)
