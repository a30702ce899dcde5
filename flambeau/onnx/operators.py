"""Sizes as tensors, for exports: older names of operators."""

import flambeau

shape_as_tensor = flambeau._shape_as_tensor
reshape_from_tensor_shape = flambeau._reshape_from_tensor
