"""Sparsifiers: what chooses the masks."""
