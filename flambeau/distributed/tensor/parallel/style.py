"""How layers are to be spread over the ranks of a mesh: descriptions that plans are made of. Spreading a layer so is not there yet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from flambeau.distributed.tensor.placement_types import Replicate, Shard

__all__ = [
    "ColwiseParallel", "ParallelStyle", "PrepareModuleInput", "PrepareModuleInputOutput", "PrepareModuleOutput", "RowwiseParallel", "SequenceParallel",
]  # fmt: skip


class ParallelStyle(ABC):
    """How a layer, and what goes in and out, lies on the ranks of a mesh."""

    src_data_rank: int | None = 0

    @abstractmethod
    def _apply(self, module: Any, device_mesh: Any) -> Any: ...


class _Style(ParallelStyle):
    """Cannot be applied yet."""

    _shown: tuple[str, ...] = ()

    def _apply(self, module: Any, device_mesh: Any) -> Any:
        raise NotImplementedError(f"torch.distributed.tensor.parallel.{type(self).__name__} is not implemented")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)}' for n in self._shown)})"


class ColwiseParallel(_Style):
    """A linear layer or embedding whose columns are spread."""

    _shown = ("input_layouts", "output_layouts", "use_local_output")

    def __init__(self, *, input_layouts: Any = None, output_layouts: Any = None, use_local_output: bool = True) -> None:
        self.input_layouts = (input_layouts or Replicate(),)
        self.output_layouts = (output_layouts or Shard(-1),)
        self.desired_input_layouts = (Replicate(),)
        self.use_local_output = use_local_output


class RowwiseParallel(_Style):
    """A linear layer or embedding whose rows are spread."""

    _shown = ("input_layouts", "output_layouts", "use_local_output")

    def __init__(self, *, input_layouts: Any = None, output_layouts: Any = None, use_local_output: bool = True) -> None:
        self.input_layouts = (input_layouts or Shard(-1),)
        self.output_layouts = (output_layouts or Replicate(),)
        self.use_local_output = use_local_output


class SequenceParallel(_Style):
    """A norm or dropout whose input is spread along its sequences."""

    def __init__(self, *, sequence_dim: int = 1, use_local_output: bool = False) -> None:
        self.sequence_sharding = (Shard(sequence_dim),)
        self.use_local_output = use_local_output

    def __repr__(self) -> str:
        return f"SequenceParallel(sequence_dim={self.sequence_sharding[0].dim}, use_local_output={self.use_local_output})"  # fmt: skip


def _many(layouts: Any) -> Any:
    return layouts if layouts is None or isinstance(layouts, tuple) else (layouts,)


class PrepareModuleInput(_Style):
    """A layer whose inputs are laid out otherwise before it is called."""

    _shown = ("input_layouts", "desired_input_layouts", "input_kwarg_layouts", "desired_input_kwarg_layouts", "use_local_output")  # fmt: skip

    def __init__(self, *, input_layouts: Any = None, desired_input_layouts: Any = None, input_kwarg_layouts: Any = None,
                 desired_input_kwarg_layouts: Any = None, use_local_output: bool = False) -> None:  # fmt: skip
        self.input_layouts, self.desired_input_layouts = _many(input_layouts), _many(desired_input_layouts)
        self.use_local_output = use_local_output
        if self.input_layouts is not None:
            assert self.desired_input_layouts is not None, "desired module inputs should not be None!"
            assert len(self.input_layouts) == len(self.desired_input_layouts), "input_layouts and desired_input_layouts should have same length!"  # fmt: skip
        self.with_kwargs = input_kwarg_layouts is not None
        self.input_kwarg_layouts = input_kwarg_layouts or {}
        self.desired_input_kwarg_layouts = desired_input_kwarg_layouts or {}
        if self.with_kwargs:
            assert len(self.input_kwarg_layouts) == len(self.desired_input_kwarg_layouts), "input_kwarg_layouts and desired_input_kwarg_layouts should have same length!"  # fmt: skip


class PrepareModuleOutput(_Style):
    """A layer whose results are laid out otherwise after it was called."""

    _shown = ("output_layouts", "desired_output_layouts", "use_local_output")

    def __init__(self, *, output_layouts: Any, desired_output_layouts: Any, use_local_output: bool = True) -> None:
        self.output_layouts, self.desired_output_layouts = _many(output_layouts), _many(desired_output_layouts)
        self.use_local_output = use_local_output
        assert len(self.output_layouts) == len(self.desired_output_layouts), "output_layouts and desired_output_layouts should have same length!"  # fmt: skip


class PrepareModuleInputOutput(_Style):
    """Both."""

    def __init__(self, *, input_layouts: Any = None, desired_input_layouts: Any = None, input_kwarg_layouts: Any = None,
                 desired_input_kwarg_layouts: Any = None, use_local_input: bool = False, output_layouts: Any,
                 desired_output_layouts: Any, use_local_output: bool = True) -> None:  # fmt: skip
        self.prepare_module_input = PrepareModuleInput(
            input_layouts=input_layouts, desired_input_layouts=desired_input_layouts, input_kwarg_layouts=input_kwarg_layouts,
            desired_input_kwarg_layouts=desired_input_kwarg_layouts, use_local_output=use_local_input,
        )  # fmt: skip
        self.prepare_module_output = PrepareModuleOutput(
            output_layouts=output_layouts,
            desired_output_layouts=desired_output_layouts,
            use_local_output=use_local_output,
        )

    def __repr__(self) -> str:
        within, out = self.prepare_module_input, self.prepare_module_output
        first = ", ".join(f"{n}={getattr(within, n)}" for n in within._shown[:-1])
        last = ", ".join(f"{n}={getattr(out, n)}" for n in out._shown)
        return f"PrepareModuleInputOutput({first}, use_local_input={within.use_local_output}, {last})"
