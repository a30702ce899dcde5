"""Instruction counts, by way of Callgrind."""
