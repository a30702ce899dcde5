"""Fake tensors: models made, run and trained without elements; what depends on elements is refused; meta tensors' views lie as real ones do."""

from importlib import import_module

import pytest

from tests.agree import rand


def fakes(fl):
    return import_module(f"{fl.__name__}._subclasses.fake_tensor")


def told(*values):
    return [str(v).replace("flambeau", "torch") for v in values]


def test_a_model_is_made_and_trained(agree):
    def program(fl):
        nn = fl.nn
        with fakes(fl).FakeTensorMode():
            net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5))
            x = fl.randn(4, 3, 8, 8)
            y = net(x)
            y.sum().backward()
            step = fl.optim.Adam(net.parameters())
            step.step()
            return told(
                type(x).__name__,
                x,
                x.device,
                y,
                y.requires_grad,
                net[0].weight.grad,
                len(step.state),
                x > 0,
                x[0],
                x.half(),
            )

    agree(program)


def test_operators_tell_what_they_would_give(agree):
    def program(fl):
        with fakes(fl).FakeTensorMode():
            x, f = fl.randn(4, 3, 8, 8), fl.nn.functional
            q = fl.randn(2, 4, 8, 16)
            return told(
                fl.tensor([1.0, 2.0]), f.scaled_dot_product_attention(q, q, q).shape, fl.stack([x, x]), x.view(4, -1), fl.cat([x, x], 1),
                x.contiguous(memory_format=fl.channels_last).stride(), x[1:, ::2].stride(), x[1:].storage_offset(), x.transpose(1, 2).add(1).stride(),
                fl.ones(3) + fl.arange(3), fl.linalg.svd(fl.randn(5, 3)).U, fl.topk(x.flatten(), 3).indices, fl.zeros(2, dtype=fl.bool), x.mean().dtype,
                x.permute(3, 0, 1, 2)[1], fl.nn.Embedding(9, 4)(fl.tensor([1, 2])),
            )  # fmt: skip

    agree(program)


@pytest.mark.parametrize(
    "text",
    [
        "x.sum().item()",
        "bool(x.sum() > 0)",
        "int(x.sum())",
        "fl.nonzero(x)",
        "x[x > 0]",
        "fl.mm(x, x)",
        "real + x",
        "x.unique()",
    ],
)
def test_what_depends_on_elements_is_refused(agree, text):
    def program(fl):
        with fakes(fl).FakeTensorMode():
            x = fl.randn(2, 3)
        real = fl.ones(2, 3)
        with x.fake_mode:
            try:
                return told(eval(text, {"fl": fl, "x": x, "real": real}))
            except Exception as error:
                return [type(error).__name__]

    agree(program)


def test_tensors_of_known_elements(agree):
    def program(fl):
        with fakes(fl).FakeTensorMode():
            n = fl.tensor(3.0)
            n += 1
            rate = fl.tensor(0.5) ** n
            return [n.item(), rate.item(), float(rate * 2)]

    agree(program)


def test_fakes_of_real_tensors(agree):
    def program(fl, x):
        m = fakes(fl)
        mode, net = m.FakeTensorMode(), fl.nn.Linear(6, 2)
        x = x.detach().requires_grad_()
        f = mode.from_tensor(x)
        v = mode.from_tensor(x.detach()[1:].t())
        out = told(
            f,
            f.is_leaf,
            type(f).__name__,
            v.stride(),
            v.storage_offset(),
            mode.from_tensor(x) is f,
            f.fake_mode is mode,
            f.device,
            m.is_fake(f),
            m.is_fake(x),
        )
        out += told(fl.utils._pytree.tree_map_only(fl.Tensor, mode.from_tensor, {"a": [fl.ones(2, dtype=fl.int32)]}))
        try:
            net(f)
        except AssertionError as error:
            out += told(type(error).__name__)
        with m.FakeTensorMode(allow_non_fake_inputs=True):
            out += told(net(fl.randn(3, 6)), isinstance(mode.from_tensor(net.weight), fl.nn.Parameter))
        return out + told(m.FakeTensorConverter().from_real_tensor(mode, x.detach()))

    agree(program, rand(5, 6), grads=0)


def test_operations_are_counted_without_elements(agree):
    def program(fl):
        counter = import_module(f"{fl.__name__}.utils.flop_counter").FlopCounterMode(display=False)
        with fakes(fl).FakeTensorMode(), counter:
            fl.nn.Sequential(fl.nn.Conv2d(3, 8, 3), fl.nn.Flatten(), fl.nn.Linear(288, 5))(fl.randn(4, 3, 8, 8))
        return counter.get_total_flops()

    agree(program)


VIEWS = [
    "x.transpose(0, 2)", "x[1:, ::2]", "x[1:, 1]", "x.expand(2, 3, 4, 5)", "x.permute(2, 0, 1)[1]", "x.diagonal(0, 0, 1)", "x.unfold(2, 2, 1)",
    "x.mT.contiguous()", "x.view(12, 5)", "x.select(0, 1)", "x.flatten()", "x.squeeze().unsqueeze(1)", "x.transpose(0, 1).reshape(4, -1)", "x[None, :, 2]",
    "x.chunk(2, 1)[1]", "x.as_strided((2, 2), (5, 1), 3)", "x[2:].as_strided((4, 5), (5, 1))", "x.transpose(1, 2) + 1", "x.mT[1:3]", "x.split([1, 3], 1)[1]", "x.unbind(1)[2]",
    "fl.empty_strided((2, 3), (1, 2), device=x.device)", "x[..., -1]", "x[0:0]", "x.movedim(0, 2)", "x.narrow(1, 1, 2).view(3, -1)", "x.swapaxes(0, 1).t_() if 0 else x.mT",
    "x.view(fl.int16)", "x.expand(-1, -1, -1)", "x.sum((0, 1), keepdim=True).expand(3, 4, 5)", "x.unflatten(1, (2, 2))", "x.view_as(x)", "x[1, 2, 3]", "x[:, 1:2].squeeze(1)",
]  # fmt: skip


@pytest.mark.parametrize("text", VIEWS)
def test_views_of_meta_tensors_lie_as_those_of_others(agree, text):
    def program(fl):
        x = fl.empty(3, 4, 5, device="meta")
        y = eval(text, {"fl": fl, "x": x})
        return [
            list(y.shape),
            list(y.stride()),
            y.storage_offset(),
            y.is_contiguous(),
            y._is_view() if "+" not in text and "int16" not in text else None,
        ]

    agree(program)


def test_fake_tensors_go_through_graphs(agree):
    def program(fl):
        m = import_module(f"{fl.__name__}.fx.passes.fake_tensor_prop")
        graph = fl.fx.symbolic_trace(lambda x, y: fl.relu(x @ y).sum(0).unsqueeze(1))
        out = m.FakeTensorProp(graph).propagate(fl.ones(2, 3), fl.ones(3, 4))
        mode = fakes(fl).FakeTensorMode()
        with mode:
            net = fl.nn.Sequential(fl.nn.Linear(3, 4), fl.nn.ReLU())
        traced = fl.fx.symbolic_trace(net)
        m.FakeTensorProp(traced, mode).propagate(fl.ones(2, 3))
        notes = [n.meta["val"] for g in (graph, traced) for n in g.graph.nodes if "val" in n.meta]
        return told(out, *notes)

    agree(program)
