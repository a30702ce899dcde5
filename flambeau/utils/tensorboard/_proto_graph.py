"""Nodes of graphs as TensorBoard's protocol buffers."""

from tensorboard.compat.proto.attr_value_pb2 import AttrValue
from tensorboard.compat.proto.node_def_pb2 import NodeDef
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto


def tensor_shape_proto(outputsize):
    """Sizes."""
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=d) for d in outputsize])


def attr_value_proto(dtype, shape, s):
    """A node's attributes: its text, and the shape of what it gives."""
    attr = {}
    if s is not None:
        attr["attr"] = AttrValue(s=s.encode())
    if shape is not None:
        attr["_output_shapes"] = AttrValue(list=AttrValue.ListValue(shape=[tensor_shape_proto(shape)]))
    return attr


def node_proto(name, op="UnSpecified", input=None, dtype=None, shape=None, outputsize=None, attributes=""):
    """A node."""
    inputs = [] if input is None else input if isinstance(input, list) else [input]
    return NodeDef(name=name.encode(), op=op, input=inputs, attr=attr_value_proto(dtype, outputsize, attributes))
