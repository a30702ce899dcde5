"""Backends by name."""

from flambeau._dynamo import list_backends, lookup_backend, register_backend

__all__ = ["list_backends", "lookup_backend", "register_backend"]
