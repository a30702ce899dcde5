"""The engine of quantized operators. There is one way of computing them here, whatever the engine: that of fbgemm."""

import sys
import types

supported_engines = ["qnnpack", "onednn", "x86", "fbgemm"]


class _Module(types.ModuleType):
    _engine = "x86"

    @property
    def engine(self):
        """Whose defaults hold: what `get_default_qconfig` and its like choose by."""
        return self._engine

    @engine.setter
    def engine(self, name):
        if name not in (*supported_engines, "none"):
            raise RuntimeError(f"{name} is not a valid value for quantized engine")
        self._engine = name


sys.modules[__name__].__class__ = _Module
