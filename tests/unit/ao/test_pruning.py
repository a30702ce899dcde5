"""Sparsifiers choose the masks PyTorch chooses; schedules set the same levels; state goes both ways."""

import copy

import pytest

from tests.agree import rand


def net(fl, seed=0):
    fl.manual_seed(seed)
    return fl.nn.Sequential(fl.nn.Linear(12, 7), fl.nn.ReLU(), fl.nn.Sequential(fl.nn.Linear(7, 8)), fl.nn.Linear(8, 8))


def masks(sparsifier):
    return {name: state["mask"] for name, state in sparsifier.state.items()}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sparsity_level": 0.3, "sparse_block_shape": (1, 1), "norm": 1},
        {"sparsity_level": 0.7, "sparse_block_shape": (2, 3)},
        {"sparsity_level": 0.0},
        {"sparsity_level": 1.0},
        {"sparsity_level": 0.9, "sparse_block_shape": (5, 5), "norm": lambda t: t.exp()},
    ],
)
def test_weight_norm(agree, options):
    def program(fl, x):
        model = net(fl)
        sparsifier = fl.ao.pruning.WeightNormSparsifier(**options)
        sparsifier.prepare(model, None)
        before = masks(sparsifier)
        sparsifier.step()
        masked = model(x.float())
        text = repr(sparsifier)
        sparsifier.squash_mask(params_to_keep=("sparsity_level",), params_to_keep_per_layer={"0": ["module_fqn"]})
        return (
            before,
            masks(sparsifier),
            masked,
            model(x.float()),
            text,
            model[0].sparse_params,
            list(model.state_dict()),
        )

    agree(program, rand(3, 12), grads=0)


def test_zeros_within_blocks(agree):
    def program(fl):
        model = net(fl)
        sparsifier = fl.ao.pruning.WeightNormSparsifier(0.6, (1, 4), 2)
        sparsifier.prepare(model, [{"tensor_fqn": "0.weight"}, {"tensor_fqn": "3.weight", "sparsity_level": 1.0}])
        sparsifier.step()
        return masks(sparsifier), model[3].weight

    agree(program, grads=0)


def test_edges_within_blocks_fail_alike(agree):
    def program(fl):
        sparsifier = fl.ao.pruning.WeightNormSparsifier(0.5, (2, 4), 3)
        sparsifier.prepare(net(fl), [{"tensor_fqn": "0.weight"}])
        sparsifier.step()

    agree(program, raises=RuntimeError)


@pytest.mark.parametrize("zeros", [5, -1])
def test_impossible_zeros(agree, zeros):
    def program(fl):
        sparsifier = fl.ao.pruning.WeightNormSparsifier(zeros_per_block=zeros)
        sparsifier.prepare(net(fl), None)
        sparsifier.step()

    agree(program, raises=ValueError)


@pytest.mark.parametrize("nearliness", [-1, 1, 3, 5, 13, 2, 15])
def test_nearly_diagonal(agree, nearliness):
    def program(fl):
        model = net(fl)
        sparsifier = fl.ao.pruning.NearlyDiagonalSparsifier(nearliness)
        sparsifier.prepare(model, [{"tensor_fqn": "0.weight"}, {"tensor_fqn": "3.weight"}])
        sparsifier.step()
        return masks(sparsifier), model[3].weight

    agree(program, grads=0, raises=ValueError if nearliness in (2, 15) else None)


@pytest.mark.parametrize("config", [["0"], [{}], [{"tensor_fqn": "0.weight", "tensor_name": "bias"}]])
def test_configurations(agree, config):
    def program(fl):
        sparsifier = fl.ao.pruning.WeightNormSparsifier()
        sparsifier.prepare(net(fl), copy.deepcopy(config))
        return sparsifier.groups[0]["module_fqn"]

    agree(program, raises=AssertionError)


def test_norm_unknown(agree):
    agree(lambda fl: fl.ao.pruning.WeightNormSparsifier(norm=3), raises=NotImplementedError)


def test_abstract(agree):
    def program(fl):  # the words are Python's, and change with its versions
        with pytest.raises(TypeError, match=r"abstract class BaseSparsifier .*update_mask"):
            fl.ao.pruning.BaseSparsifier()
        return fl.zeros(())

    agree(program, grads=0)


def test_state(agree):
    def program(fl):
        first, second = fl.ao.pruning.WeightNormSparsifier(), fl.ao.pruning.WeightNormSparsifier()
        one, other = net(fl), net(fl, 1)
        first.prepare(one, None)
        first.step()
        second.prepare(other, None)
        state = copy.deepcopy(first.state_dict())
        shown = copy.deepcopy({"groups": state["groups"], "masks": {k: v["mask"] for k, v in state["state"].items()}})
        second.load_state_dict(state)
        return shown, other[0].weight, list(other.state_dict()), sorted(second.groups[0])

    agree(program, grads=0)


def test_names_of_tensors(agree):
    def program(fl):
        model, pruning = net(fl), fl.ao.pruning
        assert pruning.fqn_to_module(model, "2.0") is model[2][0]
        assert pruning.fqn_to_module(model, "") is model
        info = pruning.get_arg_info_from_tensor_fqn(model, "2.0.weight")
        assert info.pop("module") is model[2][0]
        return (
            pruning.module_to_fqn(model, model[2][0]),
            pruning.module_to_fqn(model, fl.nn.ReLU()),
            pruning.fqn_to_module(model, "9.weight"),
            info,
            pruning.get_arg_info_from_tensor_fqn(model[0], "weight")["module_fqn"],
        )

    agree(program)


def test_fake_sparsity(agree):
    def program(fl, x):
        sparsity = fl.ao.pruning.FakeSparsity(fl.arange(12.0, dtype=x.dtype).view(3, 4) % 2)
        return sparsity(x), sparsity.state_dict()

    agree(program, rand(3, 4))
    agree(program, rand(4, 3), raises=AssertionError)


def levels(fl, scheduler):
    found = [scheduler.get_last_sl()]
    for _ in range(6):
        scheduler.sparsifier.step()
        scheduler.step()
        found.append(scheduler.get_last_sl())
    state = scheduler.state_dict()
    return found, repr(scheduler), scheduler.last_epoch, scheduler._step_count, sorted(state)


@pytest.mark.parametrize("factors", [lambda e: 0.5**e, [lambda e: e / 10, lambda e: 1.0, lambda e: 0], [min]])
def test_lambda_schedule(agree, factors):
    def program(fl):
        sparsifier = fl.ao.pruning.WeightNormSparsifier(0.8)
        sparsifier.prepare(net(fl), None)
        return levels(fl, fl.ao.pruning.LambdaSL(sparsifier, factors))

    agree(program, raises=ValueError if factors == [min] else None)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"init_sl": [0.0, 0.1, 0.2], "init_t": 2, "delta_t": 1, "total_t": 3, "initially_zero": True},
        {"init_t": [1]},
    ],
)
def test_cubic_schedule(agree, options):
    def program(fl):
        sparsifier = fl.ao.pruning.WeightNormSparsifier(0.8)
        sparsifier.prepare(net(fl), None)
        return levels(fl, fl.ao.pruning.CubicSL(sparsifier, **options))

    agree(program, raises=ValueError if options.get("init_t") == [1] else None)


def test_schedules_warn_and_tell(agree, capsys):
    def program(fl):
        sparsifier = fl.ao.pruning.WeightNormSparsifier(0.8)
        sparsifier.prepare(net(fl), None)
        scheduler = fl.ao.pruning.LambdaSL(sparsifier, lambda e: 1, verbose=True)
        with pytest.warns(UserWarning, match="Detected call of") as first:
            scheduler.step()
        with pytest.warns(UserWarning, match="To get the last") as second:
            scheduler.get_sl()
        return str(first[0].message), str(second[0].message), capsys.readouterr().out

    agree(program)
    agree(lambda fl: fl.ao.pruning.LambdaSL(None, lambda e: 1), raises=AttributeError)
    agree(lambda fl: fl.ao.pruning.BaseScheduler(3), raises=TypeError)


def test_convert_by_mapping(agree):
    def program(fl):
        class Converted(fl.nn.Module):
            @classmethod
            def from_dense(cls, dense):
                made = cls()
                made.weight = dense.weight
                return made

        model = net(fl)
        sparsifier = fl.ao.pruning.WeightNormSparsifier()
        sparsifier.prepare(model, [{"tensor_fqn": "2.0.weight"}])
        sparsifier.step()
        other = sparsifier.convert(model, {fl.nn.Linear: Converted})
        return (
            [type(m).__name__ for m in other.modules()],
            [type(m).__name__ for m in model.modules()],
            other[2][0].weight,
        )

    agree(program, grads=0)
