"""Packages of compiled models (`torch._inductor.aoti_compile_and_package`): files, constants, sizes that vary, what is refused."""

import io

import pytest

import flambeau as torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(10, 4)
        self.register_buffer("seen", torch.zeros(()))
        self.scale = torch.tensor(2.0)

    def forward(self, x, *, shift):
        self.seen.add_(1)
        return {"y": torch.sigmoid(self.fc(x)) * self.scale + shift, "seen": (self.seen + 0,)}


def exported(batch=True):
    torch.manual_seed(0)
    net, example = Net(), {"shift": torch.ones(4)}
    sizes = {"x": {0: torch.export.Dim("batch", min=2, max=64)}, "shift": None} if batch else None
    return net, torch.export.export(net, (torch.randn(8, 10),), example, dynamic_shapes=sizes)


def test_a_package_runs_the_model(tmp_path):
    net, program = exported()
    path = torch._inductor.aoti_compile_and_package(program, package_path=tmp_path / "net.pt2")
    assert path == tmp_path / "net.pt2"
    assert net.seen.item() == 0  # compiling the model ran it, with buffers of its own
    model = torch._inductor.aoti_load_package(path)
    for n, calls in ((3, 1), (20, 2)):
        x, shift = torch.randn(n, 10), torch.randn(4)
        got, want = model(x, shift=shift), net(x, shift=shift)
        torch.testing.assert_close(got["y"], want["y"])
        assert got["seen"][0].item() == calls and not got["y"].requires_grad


def test_packaging_draws_nothing():
    _, program = exported()
    state = torch.get_rng_state()
    torch._inductor.aoti_compile_and_package(program, package_path=io.BytesIO())
    assert torch.equal(state, torch.get_rng_state())


def test_one_package_for_many_layers():
    layers = [torch.nn.Linear(6, 6) for _ in range(3)]
    x = torch.randn(2, 6)
    program = torch.export.export(layers[0], (x,))
    options = {"aot_inductor.package_constants_in_so": False}
    path = torch._inductor.aoti_compile_and_package(program, inductor_configs=options)
    assert path.endswith(".pt2")
    bare = torch._inductor.aoti_load_package(path)
    with pytest.raises(RuntimeError, match="weight"):
        bare(x)
    for layer in layers:
        model = torch._inductor.aoti_load_package(path)
        model.load_constants(layer.state_dict(), check_full_update=True, user_managed=True)
        assert torch.equal(model(x), layer(x))
        with torch.no_grad():
            layer.weight.zero_()
        assert torch.equal(model(x), layer(x))  # the layer's own tensors


def test_constants_are_replaced():
    _, program = exported()
    file = io.BytesIO()
    assert torch._inductor.aoti_compile_and_package(program, package_path=file) is file
    file.seek(0)
    model = torch._inductor.package.load_package(file)
    assert sorted(model.get_constant_fqns()) == ["fc.bias", "fc.weight", "scale", "seen"]
    weight = torch.zeros(4, 10)
    model.load_constants({"fc.weight": weight, "fc.bias": torch.zeros(4)}, check_full_update=False)
    weight.fill_(9)  # a copy was kept
    assert model(torch.randn(2, 10), shift=torch.ones(4))["y"].tolist() == [[2.0] * 4] * 2
    for wrong, full in (({"fc.weight": weight}, True), ({"fc.other": weight}, False), ({"fc.weight": weight.T}, False)):
        with pytest.raises(RuntimeError, match="load_constants"):
            model.load_constants(wrong, check_full_update=full)


def test_what_is_refused(tmp_path):
    net, program = exported(batch=False)
    with pytest.raises(ValueError, match="Only ExportedProgram"):
        torch._inductor.aoti_compile_and_package(net)
    with pytest.raises(AssertionError, match="ending in"):
        torch._inductor.aoti_compile_and_package(program, package_path=tmp_path / "net.zip")
    with pytest.raises(RuntimeError, match="Unexpected optimization option"):
        torch._inductor.aoti_compile_and_package(program, inductor_configs={"no_such": 1})
    path = torch._inductor.aoti_compile_and_package(program, package_path=tmp_path / "net.pt2")
    with pytest.raises(RuntimeError, match="Model other not found in package"):
        torch._inductor.package.load_package(path, "other")
    with pytest.raises(AssertionError):
        torch._inductor.aoti_load_package(path)(torch.randn(3, 10), shift=torch.ones(4))
