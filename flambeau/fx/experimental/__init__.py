"""Tracing that goes below the public functions."""
