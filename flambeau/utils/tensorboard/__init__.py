"""Scalars, images, graphs and more for TensorBoard, through the `tensorboard` package; TensorFlow is not needed."""

import tensorboard as _tensorboard

if tuple(int(n) for n in _tensorboard.__version__.split(".")[:2]) < (1, 15):
    raise ImportError("TensorBoard logging requires TensorBoard version 1.15 or above")

from tensorboard.summary.writer.record_writer import RecordWriter

from flambeau.utils.tensorboard.writer import FileWriter, SummaryWriter

__all__ = ["FileWriter", "RecordWriter", "SummaryWriter"]
