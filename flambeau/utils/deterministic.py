"""Whether memory that nobody has written yet is filled, when deterministic results are asked for."""

fill_uninitialized_memory = True  # accepted: what `empty` returns is never read before it is written
