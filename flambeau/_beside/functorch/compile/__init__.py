"""Both passes of a function, compiled ahead of time: under functorch's names."""

from flambeau._functorch import config as config
from flambeau._functorch.aot_autograd import (
    aot_function as aot_function,
    aot_module as aot_module,
    aot_module_simplified as aot_module_simplified,
    compiled_function as compiled_function,
    compiled_module as compiled_module,
    get_aot_compilation_context as get_aot_compilation_context,
    get_aot_graph_name as get_aot_graph_name,
    get_graph_being_compiled as get_graph_being_compiled,
    make_boxed_compiler as make_boxed_compiler,
    make_boxed_func as make_boxed_func,
)
from flambeau._functorch.compilers import (
    debug_compile as debug_compile,
    default_decompositions as default_decompositions,
    draw_graph_compile as draw_graph_compile,
    memory_efficient_fusion as memory_efficient_fusion,
    nnc_jit as nnc_jit,
    nop as nop,
    print_compile as print_compile,
    ts_compile as ts_compile,
)
from flambeau._functorch.fx_minifier import minifier as minifier
from flambeau._functorch.partitioners import (
    default_partition as default_partition,
    draw_graph as draw_graph,
    min_cut_rematerialization_partition as min_cut_rematerialization_partition,
)
from flambeau._functorch.python_key import pythonkey_decompose as pythonkey_decompose
