"""PyTorch's switches of ahead-of-time compilation. They can be set; none changes what is computed."""

from __future__ import annotations

from flambeau._dynamo.config import patched

debug_partitioner = False
debug_assert = False
use_fake_tensor = True
fake_tensor_allow_unsafe_mutations = False
functionalize_rng_ops = False
cse = True
recompute_views = False
ban_recompute_not_in_allowlist = True
ban_recompute_reductions = True
ban_recompute_long_fusible_chains = True
treat_parameters_as_free_to_save = True
aggressive_recomputation = False
activation_memory_budget = 1.0
strict_autograd_cache = False
enable_autograd_cache = True
donated_buffer = True
torch_compile_graph_format = "svg"

patch = patched(globals())
