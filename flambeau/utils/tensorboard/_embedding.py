"""The files beside an event file from which the projector reads embeddings."""

import io
import math

import numpy as np
from tensorboard.compat import tf
from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo

from flambeau.utils.tensorboard._convert_np import make_np
from flambeau.utils.tensorboard._utils import make_grid


def _gfile_join(a, b):
    """A path below another, local or not; the file interfaces of TensorFlow and of its stand-in differ here."""
    files = tf.io.gfile
    return files.join(a, b) if hasattr(files, "join") else files.get_filesystem(a).join(a, b)


def _write(path, data):
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(data)


def make_tsv(metadata, save_path, metadata_header=None) -> None:
    """One label a line, or one row of several columns below a header."""
    if not metadata_header:
        lines = [str(x) for x in metadata]
    else:
        if len(metadata_header) != len(metadata[0]):
            raise AssertionError("len of header must be equal to the number of columns in metadata")
        lines = ["\t".join(str(e) for e in row) for row in [metadata_header, *metadata]]
    _write(_gfile_join(save_path, "metadata.tsv"), tf.compat.as_bytes("\n".join(lines) + "\n"))


def make_sprite(label_img, save_path) -> None:
    """All pictures in one square."""
    from PIL import Image

    grid = make_grid(make_np(label_img), ncols=math.ceil(label_img.size(0) ** 0.5)).transpose(1, 2, 0)
    square = np.zeros((grid.shape[1], grid.shape[1], 3))
    square[: grid.shape[0]] = grid
    with io.BytesIO() as buffer:
        Image.fromarray(np.uint8((square * 255).clip(0, 255))).save(buffer, format="PNG")
        _write(_gfile_join(save_path, "sprite.png"), buffer.getvalue())


def get_embedding_info(metadata, label_img, subdir, global_step, tag):
    """Where the projector finds the files."""
    info = EmbeddingInfo()
    info.tensor_name = f"{tag}:{str(global_step).zfill(5)}"
    info.tensor_path = _gfile_join(subdir, "tensors.tsv")
    if metadata is not None:
        info.metadata_path = _gfile_join(subdir, "metadata.tsv")
    if label_img is not None:
        info.sprite.image_path = _gfile_join(subdir, "sprite.png")
        info.sprite.single_image_dim.extend([label_img.size(3), label_img.size(2)])
    return info


def write_pbtxt(save_path, contents) -> None:
    """The projector's configuration."""
    _write(_gfile_join(save_path, "projector_config.pbtxt"), tf.compat.as_bytes(contents))


def make_mat(matlist, save_path) -> None:
    """The vectors, one a line."""
    text = "".join("\t".join(str(number.item()) for number in row) + "\n" for row in matlist)
    _write(_gfile_join(save_path, "tensors.tsv"), tf.compat.as_bytes(text))
