"""Pipelines: every pipe as PyTorch's, their single iterators, graphs of them, and loaders over them."""

import importlib
import operator
import pickle
import warnings

import numpy as np
import pytest

import flambeau
from flambeau.utils.data import DataLoader, IterDataPipe, MapDataPipe
from flambeau.utils.data.datapipes.iter import IterableWrapper

pytestmark = pytest.mark.filterwarnings(
    "ignore:Lambda function:UserWarning", "ignore:Local function:UserWarning", "ignore:This DataLoader will create"
)


def data(fl, name=""):
    return importlib.import_module(f"{fl.__name__}.utils.data{name}")


def iters(fl):
    return data(fl, ".datapipes.iter")


def wrap(fl, items=range(10)):
    return iters(fl).IterableWrapper(items)


def even(x):
    return x % 2 == 0


def third(x):
    return x % 3


def inverse(x):
    return 1 / x


PIPES = {
    "map": lambda fl: wrap(fl).map(operator.neg),
    "map column": lambda fl: wrap(fl, [(1, 2, 3), (4, 5, 6)]).map(operator.neg, input_col=1),
    "map columns": lambda fl: wrap(fl, [(1, 2, 3), (4, 5, 6)]).map(operator.add, input_col=[0, 2]),
    "map into": lambda fl: wrap(fl, [(1, 2, 3), (4, 5, 6)]).map(operator.add, input_col=[0, 2], output_col=1),
    "map behind": lambda fl: wrap(fl, [[1, 2, 3], [4, 5, 6]]).map(operator.neg, input_col=0, output_col=-1),
    "map dict": lambda fl: wrap(fl, [{"a": 1}, {"a": 2}]).map(operator.neg, input_col="a", output_col="b"),
    "collate": lambda fl: wrap(fl, [[1, 2], [3, 4]]).collate(),
    "collate with": lambda fl: wrap(fl, [[1, 2], [3, 4]]).collate(collate_fn=sum),
    "filter": lambda fl: wrap(fl).filter(even),
    "filter column": lambda fl: wrap(fl, [(0, 1), (1, 2)]).filter(even, input_col=1),
    "batch": lambda fl: wrap(fl).batch(3),
    "batch drop": lambda fl: wrap(fl).batch(3, drop_last=True),
    "batch list": lambda fl: wrap(fl).batch(3, wrapper_class=tuple),
    "unbatch": lambda fl: wrap(fl).batch(2).batch(2).unbatch(),
    "unbatch 2": lambda fl: wrap(fl).batch(2).batch(2).unbatch(2),
    "unbatch all": lambda fl: wrap(fl).batch(2).batch(2).unbatch(unbatch_level=-1),
    "groupby": lambda fl: wrap(fl).groupby(third),
    "groupby key": lambda fl: wrap(fl).groupby(third, keep_key=True, group_size=2),
    "groupby small": lambda fl: wrap(fl).groupby(third, buffer_size=4, group_size=3, guaranteed_group_size=2),
    "groupby drop": lambda fl: wrap(fl, [0, 3, 1, 4, 7, 2, 6, 6]).groupby(
        third, buffer_size=3, group_size=3, drop_remaining=True
    ),
    "shuffle": lambda fl: wrap(fl).shuffle().set_seed(3),
    "shuffle small": lambda fl: wrap(fl).shuffle(buffer_size=3).set_seed(3),
    "shuffle off": lambda fl: wrap(fl).shuffle().set_shuffle(False),
    "shuffle unbatch": lambda fl: wrap(fl).batch(2).shuffle(unbatch_level=1).set_seed(1),
    "sampler": lambda fl: iters(fl).Sampler(wrap(fl)),
    "concat": lambda fl: wrap(fl).concat(wrap(fl, "ab")),
    "mux": lambda fl: wrap(fl).mux(wrap(fl, "abc")),
    "zip": lambda fl: wrap(fl).zip(wrap(fl, "abc")),
    "sharding": lambda fl: wrap(fl).sharding_filter(),
}


@pytest.mark.parametrize("name", PIPES)
def test_pipes(agree, name):
    def program(fl):
        pipe = PIPES[name](fl)
        try:
            length = len(pipe)
        except TypeError as error:
            length = str(error)
        again = pickle.loads(pickle.dumps(pipe)) if fl is flambeau else pipe
        first = [list(i) if isinstance(i, list) else i for i in again]
        kept = first if "shuffle" in name else [list(i) if isinstance(i, list) else i for i in pipe]
        return (
            first,
            kept,
            length,
            repr(pipe),
            str(pipe),
            pipe._number_of_samples_yielded if fl is not flambeau else len(kept),
        )

    agree(program)


def test_forks(agree):
    def program(fl):
        a, b, c = wrap(fl).fork(3, buffer_size=20)
        found = [list(zip(a, b)), list(c), len(a)]
        d, e = wrap(fl, [[1], [2]]).fork(2, copy="shallow")
        x, y = list(d), list(e)
        f, g = wrap(fl).demux(2, even, buffer_size=10)
        h, i = wrap(fl, [0, None, 1, 4]).demux(2, lambda x: None if x is None else x % 2, drop_none=True)
        return found, x == y, x[0] is y[0], list(f), list(g), list(h), list(i)

    agree(program)


REFUSED = {
    "fork none": lambda fl: wrap(fl).fork(0),
    "fork copy": lambda fl: wrap(fl).fork(2, copy="x"),
    "fork full": lambda fl: list(wrap(fl).fork(2, buffer_size=3)[0]),
    "demux full": lambda fl: list(wrap(fl).demux(2, even, buffer_size=2)[1]),
    "demux which": lambda fl: list(wrap(fl).demux(2, operator.neg)[0]),
    "concat": lambda fl: wrap(fl).concat([1]),
    "zip": lambda fl: wrap(fl).zip([1]),
    "batch": lambda fl: wrap(fl).batch(0),
    "unbatch": lambda fl: list(wrap(fl).unbatch()),
    "group": lambda fl: wrap(fl).groupby(third, buffer_size=2, group_size=3),
    "group fails": lambda fl: list(wrap(fl).groupby(third, buffer_size=2, group_size=2)),
    "filter": lambda fl: list(wrap(fl).filter(operator.neg)),
    "shuffle": lambda fl: wrap(fl).shuffle(buffer_size=0),
    "map out": lambda fl: wrap(fl).map(operator.neg, output_col=1),
    "map many": lambda fl: wrap(fl).map(even, input_col=[0, 1]),
    "map none": lambda fl: wrap(fl).map(3),
    "method": lambda fl: wrap(fl).nothing(),
    "name": lambda fl: data(fl).functional_datapipe("map")(iters(fl).Mapper),
    "shard": lambda fl: wrap(fl).sharding_filter().apply_sharding(2, 2),
    "files": lambda fl: wrap(fl).open_files(mode="w"),
    "error inside": lambda fl: list(wrap(fl, [1, 0]).map(inverse)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(agree, name):
    def program(fl):
        try:
            REFUSED[name](fl)
        except Exception as error:
            return type(error).__name__, [str(a).replace("flambeau", "torch") for a in error.args]

    agree(program)


def test_one_iterator_at_a_time(agree):
    def program(fl):
        found = []
        pipe = wrap(fl).map(operator.neg)
        one, two = iter(pipe), iter(pipe)
        found.append(next(two))
        found.append(next(one))
        with pytest.raises(RuntimeError, match="This iterator has been invalidated") as error:
            next(two)
        found.append(str(error.value).replace("flambeau", "torch"))
        a, b = wrap(fl).fork(2)
        first = iter(a)
        found += [next(first), next(iter(b))]
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            again = iter(a)
            found.append(next(again))
        found.append([str(w.message) for w in seen])
        with pytest.raises(RuntimeError, match="from one of the ChildDataPipes"):
            next(first)
        return found

    agree(program)


def test_map_pipes(agree):
    def program(fl):
        m = data(fl, ".datapipes.map")
        pipe = m.SequenceWrapper(range(7))
        batched = pipe.batch(3)
        found = [list(batched[i]) for i in range(3)]
        joined = pipe.map(operator.neg).concat(m.SequenceWrapper("ab"))
        both = pipe.zip(m.SequenceWrapper("xyz"))
        shuffled = list(pipe.shuffle().set_seed(5))
        keys = list(m.SequenceWrapper({"a": 1, "b": 2}).shuffle(indices=["a", "b"]).set_seed(1))
        whole = [joined[i] for i in range(9)]
        return (
            found,
            len(batched),
            whole,
            len(joined),
            both[2],
            len(both),
            shuffled,
            keys,
            len(pipe.batch(3, drop_last=True)),
        )

    agree(program)
    for bad, error in (
        (lambda p: p.batch(3)[3], IndexError),
        (lambda p: p.concat([1]), TypeError),
        (lambda p: p.zip(p)[9], IndexError),
    ):
        agree(lambda fl, bad=bad: bad(data(fl, ".datapipes.map").SequenceWrapper(range(7))), raises=error)


def test_files(tmp_path, agree):
    for name in ("b.txt", "a.txt", "c.json", "d.bin"):
        (tmp_path / name).write_text('{"x": 1}' if name.endswith("json") else name)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "e.txt").write_text("e" * 5)

    @pytest.mark.filterwarnings("ignore")
    def program(fl):
        it = iters(fl)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            every = list(it.FileLister(str(tmp_path), recursive=True))
            texts = it.FileLister(str(tmp_path), masks=["*.txt"])
            opened = [(p.rpartition("/")[2], d) for p, d in texts.open_files(mode="rt").read_from_stream(3)]
            decoded = [
                (p.rpartition("/")[2], d) for p, d in it.FileLister(str(tmp_path)).open_files(mode="rb").routed_decode()
            ]
        return [p.replace(str(tmp_path), "") for p in every], opened, decoded

    agree(program)


# ---- graphs ------------------------------------------------------------------------------------------------------
def test_graphs(agree):
    def program(fl):
        source = wrap(fl)
        a, b = source.shuffle().fork(2)
        pipe = a.map(operator.neg).zip(b.sharding_filter())
        graph, settings = data(fl, ".graph"), data(fl, ".graph_settings")

        def names(g):
            return [(repr(p), names(s)) for p, s in g.values()]

        found = names(graph.traverse_dps(pipe))
        pipes = [repr(p) for p in settings.get_all_graph_pipes(graph.traverse_dps(pipe))]
        settings.apply_random_seed(pipe, fl.Generator().manual_seed(4))
        seeded = list(pipe)
        settings.apply_shuffle_settings(pipe, shuffle=False)
        return found, pipes, seeded[:3], list(pipe)[:2]

    agree(program)

    def twice(fl):
        data(fl, ".graph_settings").apply_sharding(wrap(fl).sharding_filter().batch(1).sharding_filter(), 2, 0)

    agree(twice, raises=RuntimeError)


def test_going_on_from_a_snapshot(agree):
    def program(fl):
        restore = data(fl, ".datapipes.utils.snapshot")._simple_graph_snapshot_restoration
        pipe = wrap(fl).shuffle()
        restore(pipe, 4, fl.Generator().manual_seed(0))
        rest = list(pipe)
        return rest, len(list(pipe))

    agree(program)


# ---- loaders -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shuffle", [None, True, False])
def test_loaders(agree, workers, shuffle):
    def program(fl):
        fl.manual_seed(1)
        pipe = wrap(fl, range(23)).shuffle().sharding_filter().map(operator.neg)
        loader = data(fl).DataLoader(pipe, batch_size=4, num_workers=workers, shuffle=shuffle)
        return [[b.tolist() for b in loader] for _ in range(2)], len(loader), fl.rand(1).item()

    agree(program)


def test_loaders_that_keep_their_workers(agree):
    def program(fl):
        fl.manual_seed(1)
        pipe = wrap(fl, range(23)).shuffle().sharding_filter()
        loader = data(fl).DataLoader(pipe, batch_size=4, num_workers=2, persistent_workers=True)
        return [[b.tolist() for b in loader] for _ in range(3)]

    agree(program)


def test_loaders_over_pipes_by_index(agree):
    def program(fl):
        fl.manual_seed(1)
        pipe = data(fl, ".datapipes.map").SequenceWrapper(range(10)).map(operator.neg)
        return [b.tolist() for b in data(fl).DataLoader(pipe, batch_size=4, num_workers=1, shuffle=True)]

    agree(program)


def test_spawned_workers():
    pipe = IterableWrapper(range(12)).map(operator.neg).sharding_filter()
    loader = DataLoader(pipe, batch_size=2, num_workers=2, multiprocessing_context="spawn")
    assert sorted(flambeau.cat(list(loader)).tolist()) == list(range(-11, 1))


# ---- one's own pipes, checks -------------------------------------------------------------------------------------
def test_ones_own(agree):
    def program(fl):
        d = data(fl)

        class Own(d.IterDataPipe):
            def __init__(self, source):
                self.source, self.resets = source, 0

            def __iter__(self):
                for x in self.source:
                    yield x + 1

            def reset(self):
                self.resets += 1

        class Next(d.IterDataPipe):
            def __init__(self):
                self.n = 0

            def __iter__(self):
                self.n = 0
                return self

            def __next__(self):
                if self.n == 3:
                    raise StopIteration
                self.n += 1
                return self.n

        pipe, other = Own(wrap(fl)), Next()
        return list(pipe)[:3], len(list(pipe)), pipe.resets, list(other), list(other), other._number_of_samples_yielded

    agree(program)


def test_names_of_ones_own():
    @flambeau.utils.data.functional_datapipe("own_name_of_a_test")
    class Own(IterDataPipe):
        def __init__(self, source, by):
            self.source, self.by = source, by

        def __iter__(self):
            return iter([x * self.by for x in self.source])

    try:
        assert list(IterableWrapper([1, 2]).own_name_of_a_test(3)) == [3, 6]
        assert "own_name_of_a_test" in dir(IterableWrapper([1]))
    finally:
        del IterDataPipe.functions["own_name_of_a_test"]


def test_determinism():
    from flambeau.utils.data import guaranteed_datapipes_determinism, non_deterministic

    @non_deterministic
    class Random(IterDataPipe):
        pass

    @non_deterministic(lambda n: n > 1)
    class Maybe(IterDataPipe):
        def __init__(self, n):
            self.n = n

    assert Maybe(2).n == 2
    with guaranteed_datapipes_determinism():
        assert Maybe(1).n == 1
        with pytest.raises(TypeError, match="Maybe is non-deterministic with the inputs"):
            Maybe(2)
        with pytest.raises(TypeError, match="Random is non-deterministic, but"):
            Random()
    Random()


def test_types():
    from flambeau.utils.data import argument_validation, runtime_validation, runtime_validation_disabled

    class Numbers(IterDataPipe[tuple[int, list[str]]]):
        def __init__(self, items):
            self.items = items

        @runtime_validation
        def __iter__(self):
            yield from self.items

    good = [(1, ["a"]), (2, [])]
    assert list(Numbers(good)) == good
    for bad in ((1, [2]), (1,), ("a", [])):
        with pytest.raises(RuntimeError, match="Expected an instance as subtype of"):
            list(Numbers([bad]))
        with runtime_validation_disabled():
            assert list(Numbers([bad])) == [bad]

    @argument_validation
    def needs(pipe: IterDataPipe[tuple[int, list]], n=3):
        return n

    assert needs(Numbers(good)) == 3
    with pytest.raises(TypeError, match="Expected argument 'pipe' as a IterDataPipe"):
        needs([1])
    with pytest.raises(TypeError, match="Expected type of argument 'pipe'"):
        needs(IterableWrapper([1]))


def test_streams():
    from flambeau.utils.data.datapipes.utils.common import StreamWrapper

    class File:
        closed = False

        def close(self):
            self.closed = True

    parent, child = File(), File()
    p = StreamWrapper(parent)
    c = StreamWrapper(child, p, "name")
    p.autoclose()
    assert not parent.closed
    StreamWrapper.close_streams({"a": [c, 3]})
    assert child.closed
    assert parent.closed
    assert repr(c).startswith("StreamWrapper<name,")


def test_frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2, 3], "b": [4, 5, 6]})
    kept = list(IterableWrapper([frame]).filter(lambda df: df["a"] > 1))
    assert kept[0]["b"].tolist() == [5, 6]
    (batch,) = IterableWrapper([frame]).batch(1).collate({"a": np.sum, "b": np.max})
    assert (batch.a, batch.b) == (6, 6)


def test_it_is_not_loaded_unasked():
    import subprocess
    import sys

    code = "import sys, flambeau.utils.data; flambeau.utils.data.DataLoader([1]); print([m for m in sys.modules if 'datapipes' in m])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
    assert MapDataPipe.__module__ == "flambeau.utils.data.datapipes.datapipe"
