"""Timing of statements, tables of the results, random inputs to time them with, and instruction counts."""

from flambeau.utils.benchmark.utils.common import (
    Measurement,
    TaskSpec,
    ordered_unique,
    select_unit,
    set_torch_threads,
    trim_sigfig,
    unit_to_english,
)
from flambeau.utils.benchmark.utils.compare import Colorize, Compare
from flambeau.utils.benchmark.utils.fuzzer import FuzzedParameter, FuzzedTensor, Fuzzer, ParameterAlias
from flambeau.utils.benchmark.utils.sparse_fuzzer import FuzzedSparseTensor
from flambeau.utils.benchmark.utils.timer import Language, Timer, timer
from flambeau.utils.benchmark.utils.valgrind_wrapper.timer_interface import (
    CallgrindStats,
    CopyIfCallgrind,
    FunctionCount,
    FunctionCounts,
)
