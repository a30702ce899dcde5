"""PyTorch's switches of its code generator. They can be set; none changes what is computed, nor which kernels run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from flambeau._dynamo.config import patched

debug = False
max_autotune = max_autotune_gemm = max_autotune_pointwise = False
max_autotune_gemm_search_space = "DEFAULT"
coordinate_descent_tuning = coordinate_descent_check_all_directions = False
epilogue_fusion = True
shape_padding = True
force_fuse_int_mm_with_mul = False
use_mixed_mm = False
fx_graph_cache = True
fx_graph_remote_cache: bool | None = None
force_disable_caches = False
freezing = False
cpp_wrapper = False
compile_threads = 1
pre_grad_custom_pass: Any = None
post_grad_custom_pre_pass: Any = None
post_grad_custom_post_pass: Any = None
triton = SimpleNamespace(unique_kernel_names=True, cudagraphs=False, cudagraph_trees=True)
cpp = SimpleNamespace(threads=-1, simdlen=None, enable_concat_linear=False, weight_prepack=True)

patch = patched(globals())
