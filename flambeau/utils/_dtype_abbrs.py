"""How dtypes are called in graphs that are printed: `f32`."""

import flambeau
from flambeau.fx.codegen import ABBREVIATIONS

dtype_abbrs = {getattr(flambeau, name): short for name, short in ABBREVIATIONS.items()}
