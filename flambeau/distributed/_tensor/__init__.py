"""`torch.distributed.tensor` under its older path."""

from flambeau.distributed.tensor import DTensor as DTensor
