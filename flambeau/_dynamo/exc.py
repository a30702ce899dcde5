"""Errors of the compiler."""

from flambeau._capture.breaks import (
    InvalidBackend as InvalidBackend,
    RecompileError as RecompileError,
    Unsupported as Unsupported,
)

TorchDynamoException = RuntimeError
