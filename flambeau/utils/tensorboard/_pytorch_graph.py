"""The graph of a model as TensorBoard shows it: the operators of one run, in the boxes of the modules that called them."""

from contextlib import contextmanager

from tensorboard.compat.proto.config_pb2 import RunMetadata
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.step_stats_pb2 import DeviceStepStats, StepStats
from tensorboard.compat.proto.versions_pb2 import VersionDef

import flambeau
from flambeau.autograd.profiler import Session
from flambeau.utils.tensorboard._proto_graph import node_proto


class _Recorder(Session):
    """Notes the outermost operators of a run: where they stand, what they read, what they give."""

    def __init__(self, model):
        super().__init__(False, False)
        self.root = _kind(model)
        self.names = {}  # id of a tensor -> the node that gives it
        self.kept = []  # all tensors: ids must stay theirs
        self.nodes, self.used = [], set()
        self.scope = [self.root]
        self.inside = False
        self.parameters = {}  # id of a parameter or buffer -> (scope, its own name)
        self.boxes = {}
        modules = model.named_modules() if isinstance(model, flambeau.nn.Module) else ()
        for path, module in modules:
            parts = path.split(".") if path else []
            owners = ["" if not n else ".".join(parts[:n]) for n in range(len(parts) + 1)]
            scope = "/".join([self.root] + [f"{_kind(model.get_submodule(o))}[{o.split('.')[-1]}]" for o in owners[1:]])
            self.boxes[id(module)] = scope
            for name, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is not None:
                    self.parameters.setdefault(id(tensor), (scope, name))

    def fresh(self, scope, name):
        """A name that no other node of the scope has."""
        made, n = f"{scope}/{name}", 0
        while made in self.used:
            n += 1
            made = f"{scope}/{name}.{n}"
        self.used.add(made)
        return made

    def emit(self, name, kind, inputs=(), size=None, attributes="{}"):
        self.nodes.append(node_proto(name, kind, list(inputs), outputsize=size, attributes=attributes))
        return name

    def gives(self, tensor, name):
        self.names[id(tensor)] = name
        self.kept.append(tensor)

    def value(self, x):
        """The node that stands for an argument."""
        if isinstance(x, flambeau.Tensor):
            if id(x) not in self.names:
                scope, name = self.parameters.get(id(x), (self.scope[-1], ""))
                kind, text = ("prim::GetAttr", {"name": name}) if name else ("prim::Constant", {})
                made = self.fresh(scope, name or "constant")
                self.gives(x, self.emit(made, kind, size=x.shape, attributes=str(text).replace("'", " ")))
            return self.names[id(x)]
        if isinstance(x, (list, tuple)) and any(isinstance(i, flambeau.Tensor) for i in x):
            inputs = [self.value(i) for i in x]
            return self.emit(self.fresh(self.scope[-1], "list"), "prim::ListConstruct", inputs)
        text = "{}" if x is None else str({"value": x}).replace("'", " ")
        return self.emit(self.fresh(self.scope[-1], "constant"), "prim::Constant", attributes=text)

    def note(self, op, name, values, run):
        """Asked before an operator runs: runs it, if it is not part of another."""
        if self.inside:
            return NotImplemented
        self.inside = True
        try:
            result = run()
        finally:
            self.inside = False
        inputs = [self.value(v) for v in values]
        outs = [
            t for t in (result if isinstance(result, (list, tuple)) else (result,)) if isinstance(t, flambeau.Tensor)
        ]
        for t in outs:
            self.gives(t, self.emit(self.fresh(self.scope[-1], name), f"aten::{name}", inputs, t.shape))
        return result

    @contextmanager
    def boxed(self):
        """Inside, operators stand in the box of the module whose forward runs."""
        module = flambeau.nn.modules.module

        def enter(m, args):
            self.scope.append(self.boxes.get(id(m), self.scope[-1]))

        def leave(m, args, out):
            self.scope.pop()

        before = module.register_module_forward_pre_hook(enter)
        after = module.register_module_forward_hook(leave)
        try:
            yield
        finally:
            before.remove()
            after.remove()


def _kind(module):
    return getattr(module, "original_name", type(module).__name__)


def _tensors(x):
    return [t for t in flambeau.utils._pytree.tree_leaves(x) if isinstance(t, flambeau.Tensor)]


def graph(model, args, verbose=False, use_strict_trace=True):
    """What `model(*args)` does, as a graph and the (empty) statistics of a run."""
    recorder = _Recorder(model)
    args = args if isinstance(args, (tuple, list)) else (args,)
    for n, t in enumerate(_tensors(args)):
        name = "input/x" if not n else f"input/x.{n}"
        recorder.gives(t, name)
        recorder.emit(name, "IO Node", size=t.shape, attributes="")
    with _set_model_to_eval(model):
        try:
            with recorder.boxed(), flambeau.no_grad():
                recorder.start()
                try:
                    outs = _tensors(model(*args))
                finally:
                    recorder.stop()
        except RuntimeError as error:
            print(error)
            print("Error occurs, No graph saved")
            raise
    for n, t in enumerate(outs):
        recorder.emit(f"output/output.{n + 1}", "IO Node", [recorder.value(t)], t.shape, "")
    if verbose:
        print("\n".join(f"{n.name} = {n.op}({', '.join(n.input)})" for n in recorder.nodes))
    steps = RunMetadata(step_stats=StepStats(dev_stats=[DeviceStepStats(device="/device:CPU:0")]))
    return GraphDef(node=recorder.nodes, versions=VersionDef(producer=22)), steps


@contextmanager
def _set_model_to_eval(model):
    """Inside, the model does not train."""
    training = getattr(model, "training", None)
    if training is None:
        yield
        return
    model.train(False)
    try:
        yield
    finally:
        model.train(training)
