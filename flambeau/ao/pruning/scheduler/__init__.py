"""Schedules of sparsity levels."""
