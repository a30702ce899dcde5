"""Tensors that stand for others while a program is traced."""

from flambeau._subclasses.fake_tensor import FakeTensor as FakeTensor, FakeTensorMode as FakeTensorMode
