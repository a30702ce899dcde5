"""`torch.distributed.tensor.experimental` under its older path."""

from flambeau.distributed._absent import absent_function

implicit_replication = absent_function("torch.distributed._tensor.experimental.implicit_replication")
