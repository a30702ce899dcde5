"""Errors of the compiler."""

from flambeau._capture.breaks import InvalidBackend as InvalidBackend, Unsupported as Unsupported

TorchDynamoException = RuntimeError
