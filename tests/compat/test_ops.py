"""torch.ops: every operator of the registry by namespace, name and overload."""

import pytest

import flambeau as fl


def test_overloads_call_the_operator():
    x = fl.tensor([1.0, 2.0])
    aten = fl.ops.aten
    assert aten.add.Tensor(x, x).tolist() == [2.0, 4.0]
    assert aten.mul_(x, 2) is x
    assert aten.sum.dim_IntList(x, [0]).item() == 6.0
    assert aten.relu.default(-x).tolist() == [0.0, 0.0]
    assert aten.sub(self=x, other=x).tolist() == [0.0, 0.0]


def test_names():
    packet = fl.ops.aten.add
    assert str(packet) == "aten.add"
    assert "Tensor" in packet.overloads()
    assert str(packet.Tensor) == "aten.add.Tensor"
    assert packet.Tensor.name() == "aten::add.Tensor"
    assert fl.ops.aten.add is packet
    assert packet.Tensor is packet.Tensor
    with pytest.raises(AttributeError, match="has no overload name 'Nonsense'"):
        packet.Nonsense  # noqa: B018
    with pytest.raises(AttributeError):
        fl.ops.aten.no_such_operator  # noqa: B018
