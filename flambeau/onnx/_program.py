"""`export`: a model's graph (`torch.export`) becomes an ONNX model, node by node (`_translate`)."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import flambeau
from flambeau.export import Dim, ExportedProgram, export as exported
from flambeau.export.graph_signature import InputKind
from flambeau.onnx.errors import ConversionError, OnnxExporterError, TorchExportError
from flambeau.utils import _pytree as pytree

_exporting = False
OPSET = 20


def is_in_onnx_export() -> bool:
    """Whether a model runs because it is being exported."""
    return _exporting


class ONNXProgram:
    """An ONNX model in memory: `save` writes it, a call runs it with onnxruntime."""

    def __init__(self, model_proto: Any, exported_program: ExportedProgram) -> None:
        self.model_proto, self.exported_program = model_proto, exported_program
        self._session: Any = None

    def save(self, destination: str | os.PathLike[str], *, include_initializers: bool = True,
             keep_initializers_as_inputs: bool = False, external_data: bool | None = None) -> None:  # fmt: skip
        """Write the model; its weights beside it, in `destination.data`, if `external_data` or where they exceed 1.5 GB."""
        import onnx

        path, model = Path(destination), self._written(include_initializers, keep_initializers_as_inputs)
        if external_data is None:
            external_data = model.ByteSize() > 1_500_000_000
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:  # complete, or not there
            made = Path(folder) / path.name
            if external_data:
                apart = onnx.ModelProto()
                apart.CopyFrom(model)
                onnx.save_model(
                    apart, str(made), save_as_external_data=True, location=path.name + ".data", size_threshold=0
                )
            else:
                made.write_bytes(model.SerializeToString())
            for part in sorted(Path(folder).iterdir(), key=lambda p: p.name == path.name):
                os.replace(part, path.parent / part.name)

    def _written(self, values: bool, as_inputs: bool) -> Any:
        """The model with or without the values of its parameters, which may be inputs, too."""
        if values and not as_inputs:
            return self.model_proto
        import onnx

        made = onnx.ModelProto()
        made.CopyFrom(self.model_proto)
        if as_inputs:
            for t in self.model_proto.graph.initializer:
                made.graph.input.append(onnx.helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)))
        if not values:
            del made.graph.initializer[:]
        return made

    def __call__(self, *args: Any, **kwargs: Any) -> list[Any]:
        """The model's results, computed by onnxruntime."""
        import onnxruntime

        if self._session is None:
            self._session = onnxruntime.InferenceSession(
                self.model_proto.SerializeToString(), providers=["CPUExecutionProvider"]
            )
        leaves = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, flambeau.Tensor)]
        given = {i.name: x.detach().numpy() for i, x in zip(self._session.get_inputs(), leaves, strict=True)}
        return [flambeau.from_numpy(r) for r in self._session.run(None, given)]

    def __repr__(self) -> str:
        import onnx

        return f"ONNXProgram(\n{onnx.printer.to_text(self.model_proto)}\n)"


def export(
    model: Any,
    args: tuple[Any, ...] = (),
    f: Any = None,
    *,
    kwargs: dict[str, Any] | None = None,
    verbose: bool | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    opset_version: int | None = None,
    dynamo: bool = True,
    external_data: bool = True,
    dynamic_shapes: Any = None,
    custom_translation_table: Mapping[Any, Any] | None = None,
    report: bool = False,
    optimize: bool = True,
    verify: bool = False,
    profile: bool = False,
    dump_exported_program: bool = False,
    artifacts_dir: Any = ".",
    export_params: bool = True,
    keep_initializers_as_inputs: bool = False,
    dynamic_axes: Mapping[str, Any] | Sequence[Any] | None = None,
    training: Any = 0,
    operator_export_type: Any = 0,
    do_constant_folding: bool = True,
    custom_opsets: Mapping[str, int] | None = None,
    export_modules_as_functions: Any = False,
    autograd_inlining: bool = True,
) -> ONNXProgram | None:
    """Write a module as an ONNX model.

    Args:
        model: a module (in the mode in which it is to be exported), or an exported program.
        args, kwargs: example arguments.
        f: where to write; None only gives the program back.
        input_names, output_names: names of the model's inputs and outputs, in order.
        opset_version: the version of ONNX's operators, 20 by default; what is older than 18 is made by ONNX's converter.
        dynamo: tells what is being done, and gives the program back; False writes a module in evaluation mode, unless
            `training` says otherwise, and gives None.
        dynamic_shapes: sizes that vary, as for `torch.export.export`.
        dynamic_axes: the same by input name: {"x": {0: "batch"}} or {"x": [0]}.
        verify: whether to compare with onnxruntime's results at once.

    Raises:
        OnnxExporterError: an operator has no ONNX counterpart here, which is named.
        ModuleNotFoundError: the package `onnx` is not installed.

    >>> import flambeau as torch
    >>> torch.onnx.export(torch.nn.Linear(2, 3), (torch.ones(1, 2),), "linear.onnx")  # doctest: +SKIP
    """
    from flambeau.onnx import _translate

    global _exporting
    for option, value in (
        ("custom_translation_table", custom_translation_table),
        ("report", report),
        ("profile", profile),
    ):
        if value:
            raise NotImplementedError(f"torch.onnx.export with {option}")
    _check_options(custom_opsets, export_modules_as_functions, operator_export_type)
    tell = _Teller(dynamo and verbose is not False)
    opset = _opset(opset_version, dynamo)
    args = args if isinstance(args, tuple) else (args,)
    if args and isinstance(args[-1], dict) and kwargs is None and not isinstance(model, ExportedProgram):
        args, kwargs = args[:-1], args[-1]
    if isinstance(model, ExportedProgram):
        program = model
    else:
        if dynamic_axes and dynamic_shapes is None:
            _check_axes(dynamic_axes, input_names, output_names, dynamo)
            dynamic_shapes = _by_axes(dynamic_axes, input_names, args, kwargs or {})
        _exporting = True
        try:
            with flambeau.no_grad(), _mode(model, None if dynamo else training), tell("torch.export", model):
                program = exported(model, args, kwargs, dynamic_shapes=dynamic_shapes)
        except Exception as why:
            if not dynamo:
                raise
            raise TorchExportError(_summary("Failed to export the model with torch.export.", why)) from why
        finally:
            _exporting = False
    if not dynamo:
        given = sum(spec.kind is not InputKind.CONSTANT_TENSOR for spec in program.graph_signature.input_specs)
        if len(input_names or ()) > given:
            raise RuntimeError(
                f"number of input names provided ({len(input_names or ())}) exceeded number of inputs ({given})"
            )
    try:
        with tell("Translate the graph into ONNX"):
            made = ONNXProgram(_translate.model(program, input_names, output_names, opset, not dynamo), program)
    except OnnxExporterError as why:
        if not dynamo:
            raise
        raise ConversionError(_summary("Failed to convert the exported program to an ONNX model.", why)) from why
    if verify:
        given_, named = program.example_inputs
        got, expected = made(*given_, **named), pytree.tree_leaves(program.module()(*given_, **named))
        for a, b in zip(got, expected, strict=True):
            flambeau.testing.assert_close(a, b, rtol=1e-3, atol=1e-4, check_stride=False)
    if f is not None:
        if hasattr(f, "write"):
            f.write(made._written(export_params, keep_initializers_as_inputs).SerializeToString())
        else:
            made.save(f, include_initializers=export_params, keep_initializers_as_inputs=keep_initializers_as_inputs,
                      external_data=None if external_data else False)  # fmt: skip
    return made if dynamo else None


def _check_options(custom_opsets: Any, modules: Any, kind: Any) -> None:
    for option, value in (
        ("custom_opsets", custom_opsets),
        ("export_modules_as_functions", modules),
        ("operator_export_type", kind),
    ):
        if value:
            raise NotImplementedError(f"torch.onnx.export with {option}")


def _opset(asked: int | None, dynamo: bool) -> int:
    """The operator set to write; one that ONNX does not have is refused, or is the smallest that is written as it stands."""
    import onnx

    from flambeau.onnx import _translate

    newest = onnx.defs.onnx_opset_version()
    asked = min(OPSET, newest) if asked is None else asked
    if 1 <= asked <= newest:
        return asked
    if not dynamo:
        raise RuntimeError(f"Unsupported onnx_opset_version: {asked}")
    return _translate.SMALLEST


def _summary(what: str, why: Exception) -> str:
    return f"{what}\n\n## Exception summary\n\n{type(why)}: {why}\n\n(Refer to the full stack trace above for more information.)"


@contextlib.contextmanager
def _mode(model: Any, training: Any) -> Iterator[None]:
    """The module in the mode in which it is written; None leaves it as it is."""
    if training is None or not isinstance(model, flambeau.nn.Module) or int(training) == 1:
        yield
        return
    before = [(m, m.training) for m in model.modules()]
    model.train(int(training) == 2)
    try:
        yield
    finally:
        for m, was in before:
            m.training = was


class _Teller:
    """Says what is being done, and how it went."""

    def __init__(self, on: bool) -> None:
        self.on = on

    @contextlib.contextmanager
    def __call__(self, what: str, model: Any = None) -> Iterator[None]:
        if model is not None:
            first, *more = repr(model).split("\n")
            what = f"Obtain model graph for `{first}{'[...]' if more else ''}` with `{what}.export(..., strict=False)`"
        mark = "❌"
        if self.on:
            print(f"[torch.onnx] {what}...")
        try:
            yield
            mark = "✅"
        finally:
            if self.on:
                print(f"[torch.onnx] {what}... {mark}")


def _check_axes(axes: Any, names: Sequence[str] | None, results: Sequence[str] | None, dynamo: bool) -> None:
    known = {*(names or ()), *(results or ())}
    for key in axes:
        if known and key not in known:
            if dynamo:
                raise RuntimeError(
                    "# Failed to convert 'dynamic_axes' to 'dynamic_shapes'. Please provide 'dynamic_shapes' directly. Refer to the "
                    "documentation for 'torch.export.export' for more information on dynamic shapes."
                )
            warnings.warn(f"Provided key {key} for dynamic axes is not a valid input/output name", stacklevel=3)


def _by_axes(axes: Any, names: Sequence[str] | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`dynamic_axes` by input name, as dynamic shapes by argument. Names of outputs say nothing more."""
    entries = dict(axes) if isinstance(axes, Mapping) else dict.fromkeys(axes, (0,))
    sizes: dict[str, Dim] = {}
    flat: list[Any] = []
    order = list(names or ()) + [k for k in kwargs if k not in (names or ())]
    for i, x in enumerate([*args, *kwargs.values()]):
        given = entries.get(order[i]) if i < len(order) else None
        if given is None or not isinstance(x, flambeau.Tensor):
            flat.append(None)
            continue
        where = (
            given
            if isinstance(given, Mapping)
            else {d: f"{order[i].replace('.', '_')}_dynamic_axes_{k + 1}" for k, d in enumerate(given)}
        )
        flat.append({d: sizes.setdefault(str(n), Dim(str(n))) for d, n in where.items()})
    return tuple(flat)
