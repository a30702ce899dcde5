"""Models as graphs (`export`), and as files: native code with a C header for any LLVM target (`emit`)."""

from flambeau.export._archive import load, save
from flambeau.export._trace import export
from flambeau.export.dynamic_shapes import Dim, ShapesCollection, dims
from flambeau.export.exported_program import ExportedProgram
from flambeau.export.graph_signature import ExportBackwardSignature, ExportGraphSignature
from flambeau.export.native import emit
from flambeau.utils._pytree import register_dataclass
