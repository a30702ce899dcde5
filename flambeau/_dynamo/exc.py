"""Errors of the compiler."""

from flambeau._capture.breaks import (
    BackendCompilerFailed as BackendCompilerFailed,
    FailOnRecompileLimitHit as FailOnRecompileLimitHit,
    InvalidBackend as InvalidBackend,
    RecompileError as RecompileError,
    Unsupported as Unsupported,
)

TorchDynamoException = RuntimeError


class UserError(Unsupported):
    """What was asked of `torch.export` does not go together with the model or its inputs."""


class TorchRuntimeError(TorchDynamoException):
    """An operator of a captured program is refused with the sizes and dtypes at hand."""
