"""Processes in a grid: not there yet."""

from flambeau.distributed._absent import absent_class, absent_function

DeviceMesh = absent_class("torch.distributed.device_mesh.DeviceMesh")
init_device_mesh = absent_function("torch.distributed.device_mesh.init_device_mesh")
