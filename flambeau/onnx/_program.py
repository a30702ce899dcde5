"""`export`: a model's graph (`torch.export`) becomes an ONNX model, node by node (`_translate`)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flambeau
from flambeau.export import Dim, ExportedProgram, export as exported
from flambeau.utils import _pytree as pytree

_exporting = False
OPSET = 18


class OnnxExporterError(RuntimeError):
    """A model that cannot be written as ONNX."""


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

        if not include_initializers or keep_initializers_as_inputs:
            raise NotImplementedError("ONNXProgram.save without initializers, or with initializers as inputs")
        path = Path(destination)
        if external_data is None:
            external_data = self.model_proto.ByteSize() > 1_500_000_000
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:  # complete, or not there
            made = Path(folder) / path.name
            if external_data:
                model = onnx.ModelProto()
                model.CopyFrom(self.model_proto)
                onnx.save_model(
                    model, str(made), save_as_external_data=True, location=path.name + ".data", size_threshold=0
                )
            else:
                made.write_bytes(self.model_proto.SerializeToString())
            for part in sorted(Path(folder).iterdir(), key=lambda p: p.name == path.name):
                os.replace(part, path.parent / part.name)

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
    fallback: bool = False,
    export_params: bool = True,
    keep_initializers_as_inputs: bool = False,
    dynamic_axes: Mapping[str, Any] | Sequence[Any] | None = None,
    training: Any = None,
    do_constant_folding: bool = True,
    **older: Any,
) -> ONNXProgram | None:
    """Write a module as an ONNX model.

    Args:
        model: a module (in the mode in which it is to be exported), or an exported program.
        args, kwargs: example arguments.
        f: where to write; None only gives the program back.
        input_names, output_names: names of the model's inputs and outputs, in order.
        opset_version: the version of ONNX's operators; 18 by default, which is the smallest.
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
    if keep_initializers_as_inputs or not export_params:
        raise NotImplementedError("torch.onnx.export without parameters, or with parameters as inputs")
    opset = OPSET if opset_version is None else max(opset_version, OPSET)
    args = args if isinstance(args, tuple) else (args,)
    if args and isinstance(args[-1], dict) and kwargs is None and not isinstance(model, ExportedProgram):
        args, kwargs = args[:-1], args[-1]
    if isinstance(model, ExportedProgram):
        program = model
    else:
        if dynamic_axes and dynamic_shapes is None:
            dynamic_shapes = _by_axes(dynamic_axes, input_names, args, kwargs or {})
        _exporting = True
        try:
            with flambeau.no_grad():
                program = exported(model, args, kwargs, dynamic_shapes=dynamic_shapes)
        finally:
            _exporting = False
    made = ONNXProgram(_translate.model(program, input_names, output_names, opset), program)
    if verify:
        given, named = program.example_inputs
        got, expected = made(*given, **named), pytree.tree_leaves(program.module()(*given, **named))
        for a, b in zip(got, expected, strict=True):
            flambeau.testing.assert_close(a, b, rtol=1e-3, atol=1e-4, check_stride=False)
    if f is not None:
        if hasattr(f, "write"):
            f.write(made.model_proto.SerializeToString())
        else:
            made.save(f, external_data=None if external_data else False)
    if verbose:
        print(made)
    return made


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
        where = given if isinstance(given, Mapping) else {d: f"{order[i].replace('.', '_')}_dim_{d}" for d in given}
        flat.append({d: sizes.setdefault(str(n), Dim(str(n))) for d, n in where.items()})
    return tuple(flat)
