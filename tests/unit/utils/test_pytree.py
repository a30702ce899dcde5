"""Pytrees: PyTorch's structures, paths, texts and errors."""

import importlib
import pickle
from collections import OrderedDict, defaultdict, deque, namedtuple

import pytest

from flambeau.utils import _pytree as pytree

Point = namedtuple("Point", "x y")
TREE = {
    "x": [1, (2, 3)],
    "y": OrderedDict(z=Point(4, [5, None])),
    "d": defaultdict(list, q=6),
    "e": [],
    "q": deque([7], 3),
}


def of(fl):
    return importlib.import_module(f"{fl.__name__}.utils._pytree")


@pytest.mark.parametrize("tree", [TREE, [1, [2]], 5, {}, (), Point(1, 2)])
def test_flattening(agree, tree):
    def program(fl):
        p = of(fl)
        leaves, spec = p.tree_flatten(tree)
        assert p.tree_unflatten(leaves, spec) == tree
        paths = [(p.keystr(path), leaf, p.key_get(tree, path)) for path, leaf in p.tree_leaves_with_path(tree)]
        return str(leaves), repr(spec), paths, spec.num_leaves, spec.num_nodes

    agree(program)


def test_printing(agree):
    agree(lambda fl: of(fl).treespec_pprint(of(fl).tree_structure({"a": [1, Point(2, (3,))], "b": deque([4])})))


@pytest.mark.parametrize("tree", [{"a": [1, (2,)], "b": OrderedDict(c=3)}, 5, defaultdict(list, q=6), deque([1], 4)])
def test_json(agree, tree):
    def program(fl):
        p = of(fl)
        text = p.treespec_dumps(p.tree_structure(tree))
        assert p.treespec_loads(text) == p.tree_structure(tree)
        return text

    agree(program)


MAPS = {
    "one": lambda p: p.tree_map(lambda x: x * 2, [1, (2, {"a": 3})]),
    "three": lambda p: p.tree_map(lambda x, y, z: (x, y, z), [1, [2]], [3, [4]], [5, [[6, 7]]]),
    "only": lambda p: p.tree_map_only(int, str, [1, "a", 2.0]),
    "only types": lambda p: p.tree_map_only((int, float), str, [1, "a", 2.0]),
    "only test": lambda p: p.tree_map_only(lambda x: x == "a", ord, [1, "a"]),
    "leaf": lambda p: p.tree_map(len, [[1, 2], [3]], is_leaf=lambda x: x and isinstance(x[0], int)),
    "path": lambda p: p.tree_map_with_path(lambda k, x: p.keystr(k) + str(x), {"a": [1, Point(2, 3)]}),
    "dicts of two orders": lambda p: p.tree_map(lambda x, y: (x, y), {"a": 1, "b": 2}, OrderedDict(b=3, a=4)),
    "all": lambda p: [p.tree_all(bool, [1, 0]), p.tree_any(bool, [1, 0]), p.tree_all_only(int, bool, [1, ""])],
    "broadcast": lambda p: p._broadcast_to_and_flatten((1, 2), p.tree_structure(([0, 0], 0))),
    "no broadcast": lambda p: p._broadcast_to_and_flatten((1, 2, 3), p.tree_structure(([0, 0], 0))),
    "kinds": lambda p: [p.is_namedtuple(Point), p.is_namedtuple(Point(1, 2)), p.is_namedtuple((1,)), p.tree_is_leaf(3)],
    "arguments": lambda p: p.arg_tree_leaves([1, 2], 3, a=(4,)),
}


@pytest.mark.parametrize("case", MAPS)
def test_maps(agree, case):
    agree(lambda fl: MAPS[case](of(fl)))


REFUSED = {
    "lengths": lambda p: p.tree_map(max, [1, 2], [1]),
    "keys": lambda p: p.tree_map(max, {"a": 1}, {"b": 1}),
    "types": lambda p: p.tree_map(max, [1], (1,)),
    "leaves": lambda p: p.tree_unflatten([1], p.tree_structure([1, 2])),
    "registered": lambda p: p.register_pytree_node(list, None, None),
    "protocol": lambda p: p.treespec_dumps(p.tree_structure([1]), protocol=99),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(agree, case):
    agree(lambda fl: str(REFUSED[case](of(fl))), raises=ValueError)


class Pair:
    def __init__(self, a, b):
        self.a, self.b = a, b


def test_registration():
    pytree.register_pytree_node(
        Pair,
        lambda p: ([p.a, p.b], "context"),
        lambda values, context: Pair(*values),
        serialized_type_name="test.Pair",
        flatten_with_keys_fn=lambda p: ([(pytree.GetAttrKey("a"), p.a), (pytree.GetAttrKey("b"), p.b)], "context"),
    )
    try:
        doubled = pytree.tree_map(lambda x: x * 2, [Pair(1, (2, 3))])
        assert (doubled[0].a, doubled[0].b) == (2, (4, 6))
        assert [pytree.keystr(k) for k, _ in pytree.tree_leaves_with_path([Pair(1, 2)])] == ["[0].a", "[0].b"]
        spec = pytree.tree_structure(Pair(1, 2))
        assert pytree.treespec_loads(pytree.treespec_dumps(spec)) == spec
    finally:
        pytree._deregister_pytree_node(Pair)
    assert pytree.tree_leaves(pair := Pair(1, 2)) == [pair]


def test_specs_compare_hash_and_pickle():
    a, b = pytree.tree_structure({"a": [1]}), pytree.tree_structure({"a": [2]})
    assert a == b == pickle.loads(pickle.dumps(a))
    assert hash(a) == hash(b)
    assert a != pytree.tree_structure({"a": (1,)})
    assert pickle.loads(pickle.dumps(pytree.MappingKey("a"))) == pytree.MappingKey("a")
