"""Models as graphs (`export`), and as files: native code with a C header for any LLVM target (`emit`)."""

from flambeau.export._archive import load, save
from flambeau.export._draft_export import draft_export
from flambeau.export._trace import export
from flambeau.export.dynamic_shapes import AdditionalInputs, Constraint, Dim, ShapesCollection, dims
from flambeau.export.exported_program import ExportedProgram, ModuleCallEntry, ModuleCallSignature
from flambeau.export.graph_signature import ExportBackwardSignature, ExportGraphSignature
from flambeau.export.native import emit
from flambeau.export.unflatten import FlatArgsAdapter, UnflattenedModule, unflatten
from flambeau.utils._pytree import register_dataclass


def default_decompositions() -> "CustomDecompTable":
    """Decompositions of everything that is not core ATen; to keep an operator whole, delete it from the table."""
    from flambeau._decomp import core_aten_decompositions

    return CustomDecompTable(core_aten_decompositions())


class CustomDecompTable(dict):  # type: ignore[type-arg]
    """A table of decompositions that can be changed: `run_decompositions` takes it."""

    def copy(self) -> "CustomDecompTable":
        return CustomDecompTable(self)

    def materialize(self) -> dict[object, object]:
        """A plain dict of it."""
        return dict(self)
