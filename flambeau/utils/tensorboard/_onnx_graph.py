"""The graph of an ONNX file, as TensorBoard's."""

from tensorboard.compat.proto.attr_value_pb2 import AttrValue
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.node_def_pb2 import NodeDef
from tensorboard.compat.proto.versions_pb2 import VersionDef

from flambeau.utils.tensorboard._proto_graph import tensor_shape_proto


def load_onnx_graph(fname):
    """The graph in a file."""
    import onnx

    return parse(onnx.load(fname).graph)


def parse(graph):
    """Inputs and outputs, then the nodes, each under the name of its first result."""
    nodes = []
    for value in (*graph.input, *graph.output):
        tensor = value.type.tensor_type
        shape = AttrValue(shape=tensor_shape_proto(d.dim_value for d in tensor.shape.dim))
        attr = {"dtype": AttrValue(type=tensor.elem_type), "shape": shape}
        nodes.append(NodeDef(name=value.name.encode(), op="Variable", input=[], attr=attr))
    for node in graph.node:
        text = ", ".join(" = ".join(str(field[1]) for field in a.ListFields()) for a in node.attribute)
        attr = {"parameters": AttrValue(s=text.encode())}
        nodes.append(NodeDef(name=node.output[0].encode(), op=node.op_type, input=node.input, attr=attr))
    return GraphDef(node=nodes, versions=VersionDef(producer=22))
