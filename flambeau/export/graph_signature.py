"""What the inputs and outputs of an exported graph stand for."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any


@dataclass
class TensorArgument:
    """A tensor, by the name of its node."""

    name: str


@dataclass
class SymIntArgument:
    """A symbolic integer, by the name of its node."""

    name: str


@dataclass
class ConstantArgument:
    """A value that is the same for every call."""

    name: str
    value: Any


@dataclass
class SymFloatArgument:
    """A symbolic number, by the name of its node."""

    name: str


@dataclass
class SymBoolArgument:
    """A symbolic truth value, by the name of its node."""

    name: str


@dataclass
class CustomObjArgument:
    """An object of a registered class, by the name of its node."""

    name: str
    class_fqn: str
    fake_val: Any = None


@dataclass
class TokenArgument:
    """What keeps calls with effects in their order."""

    name: str


ArgumentSpec = TensorArgument | SymIntArgument | SymFloatArgument | SymBoolArgument | ConstantArgument | CustomObjArgument | TokenArgument  # fmt: skip


class InputKind(Enum):
    """Where an input comes from."""

    USER_INPUT = auto()
    PARAMETER = auto()
    BUFFER = auto()
    CONSTANT_TENSOR = auto()
    CUSTOM_OBJ = auto()
    TOKEN = auto()


class OutputKind(Enum):
    """Where an output goes."""

    USER_OUTPUT = auto()
    LOSS_OUTPUT = auto()
    BUFFER_MUTATION = auto()
    PARAMETER_MUTATION = auto()
    GRADIENT_TO_PARAMETER = auto()
    GRADIENT_TO_USER_INPUT = auto()
    USER_INPUT_MUTATION = auto()
    TOKEN = auto()


@dataclass
class InputSpec:
    """One input: its kind, its node, the attribute it is of the module (`target`), whether a buffer is saved."""

    kind: InputKind
    arg: ArgumentSpec
    target: str | None
    persistent: bool | None = None

    def __str__(self) -> str:
        target = "" if self.target is None else f" target='{self.target}'"
        persistent = "" if self.persistent is None else f" persistent={self.persistent}"
        return f"{self.arg.name}: {self.kind.name}{target}{persistent}"


@dataclass
class OutputSpec:
    """One output: its kind, its node, and what it is written to (`target`)."""

    kind: OutputKind
    arg: ArgumentSpec
    target: str | None

    def __str__(self) -> str:
        return f"{self.arg.name}: {self.kind.name}" + ("" if self.target is None else f" target='{self.target}'")


@dataclass
class ExportBackwardSignature:
    """Gradients among the outputs of a joint graph."""

    gradients_to_parameters: dict[str, str] = field(default_factory=dict)
    gradients_to_user_inputs: dict[str, str] = field(default_factory=dict)
    loss_output: str = ""


@dataclass
class ExportGraphSignature:
    """All inputs and outputs, in the order of the graph's placeholders and results."""

    input_specs: list[InputSpec]
    output_specs: list[OutputSpec]

    def _inputs(self, kind: InputKind) -> list[InputSpec]:
        return [s for s in self.input_specs if s.kind is kind]

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters that are inputs."""
        return tuple(str(s.target) for s in self._inputs(InputKind.PARAMETER))

    @property
    def buffers(self) -> tuple[str, ...]:
        """Names of the buffers that are inputs."""
        return tuple(str(s.target) for s in self._inputs(InputKind.BUFFER))

    @property
    def non_persistent_buffers(self) -> set[str]:
        """Names of the buffers that `state_dict` leaves out."""
        return {str(s.target) for s in self._inputs(InputKind.BUFFER) if s.persistent is False}

    @property
    def lifted_tensor_constants(self) -> tuple[str, ...]:
        """Names of constant tensors."""
        return tuple(str(s.target) for s in self._inputs(InputKind.CONSTANT_TENSOR))

    @property
    def lifted_custom_objs(self) -> tuple[str, ...]:
        """None: objects other than tensors are constants of the graph."""
        return ()

    @property
    def user_inputs(self) -> tuple[Any, ...]:
        """The nodes (or values) that a caller gives."""
        return tuple(
            s.arg.value if isinstance(s.arg, ConstantArgument) else s.arg.name
            for s in self._inputs(InputKind.USER_INPUT)
        )

    @property
    def user_outputs(self) -> tuple[Any, ...]:
        """The nodes (or values) that a caller gets."""
        return tuple(
            s.arg.value if isinstance(s.arg, ConstantArgument) else s.arg.name
            for s in self.output_specs
            if s.kind in (OutputKind.USER_OUTPUT, OutputKind.LOSS_OUTPUT)
        )

    def _by_node(self, kind: InputKind) -> dict[str, str]:
        return {s.arg.name: str(s.target) for s in self._inputs(kind)}

    @property
    def inputs_to_parameters(self) -> dict[str, str]:
        """Placeholder -> parameter."""
        return self._by_node(InputKind.PARAMETER)

    @property
    def inputs_to_buffers(self) -> dict[str, str]:
        """Placeholder -> buffer."""
        return self._by_node(InputKind.BUFFER)

    @property
    def inputs_to_lifted_tensor_constants(self) -> dict[str, str]:
        """Placeholder -> constant."""
        return self._by_node(InputKind.CONSTANT_TENSOR)

    @property
    def buffers_to_mutate(self) -> dict[str, str]:
        """Output -> buffer it is written to: none, since graphs keep writes in place."""
        return {s.arg.name: str(s.target) for s in self.output_specs if s.kind is OutputKind.BUFFER_MUTATION}

    @property
    def user_inputs_to_mutate(self) -> dict[str, str]:
        """Output -> user input it is written to: none, since graphs keep writes in place."""
        return {s.arg.name: str(s.target) for s in self.output_specs if s.kind is OutputKind.USER_INPUT_MUTATION}

    @property
    def backward_signature(self) -> ExportBackwardSignature | None:
        """None: graphs are of the forward pass."""
        return None

    def __str__(self) -> str:
        lines = ["", "# inputs", *map(str, self.input_specs), "", "# outputs", *map(str, self.output_specs), ""]
        return "\n".join(lines)
