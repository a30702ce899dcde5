"""The house style, where a rule can be checked: what is public says what it is, what is swallowed says why."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[2] / "flambeau"
FILES = sorted(PACKAGE.rglob("*.py"))


def public(path):
    return not any(part.startswith("_") and part != "__init__.py" for part in path.relative_to(PACKAGE).parts)


@pytest.fixture(scope="module")
def trees():
    return {path: ast.parse(path.read_text()) for path in FILES}


def test_every_module_and_every_public_name_has_a_docstring(trees):
    missing = []
    for path, tree in trees.items():
        if ast.get_docstring(tree) is None and path.read_text().strip():
            missing.append(f"{path}")
        if public(path):
            missing += [
                f"{path}:{node.lineno} {node.name}"
                for node in tree.body
                if isinstance(node, ast.FunctionDef | ast.ClassDef)
                and not node.name.startswith("_")
                and ast.get_docstring(node) is None
            ]
    assert missing == []


def test_whoever_swallows_every_exception_says_why(trees):
    silent = []
    for path, tree in trees.items():
        lines = path.read_text().splitlines()
        for node in ast.walk(tree):
            if not isinstance(node, ast.ExceptHandler):
                continue
            broad = node.type is None or (
                isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
            )
            used = node.name or any(isinstance(n, ast.Raise | ast.Call) for n in ast.walk(node))
            told = any("#" in line for line in lines[node.lineno - 2 : node.end_lineno])
            if broad and not used and not told:
                silent.append(f"{path}:{node.lineno}")
    assert silent == []
