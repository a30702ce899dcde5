"""Programs as files: a traced model as native code with a C header, for any LLVM target."""

from flambeau.export.native import emit
