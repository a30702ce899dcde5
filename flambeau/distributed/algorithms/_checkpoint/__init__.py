"""Modules that do not keep what their backward pass can compute again."""
