"""The house style, where a rule can be checked: what is public says what it is, what is swallowed says why."""

import ast
import pathlib

PACKAGE = pathlib.Path(__file__).parents[2] / "flambeau"
TEXTS = {path: path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}


def public(path):
    return not any(part.startswith("_") and part != "__init__.py" for part in path.relative_to(PACKAGE).parts)


def test_every_module_says_what_it_is():
    assert [path for path, text in TEXTS.items() if text.strip() and not text.startswith(('"""', 'r"""'))] == []


def test_every_public_name_has_a_docstring():
    missing = [
        f"{path}:{node.lineno} {node.name}"
        for path, text in TEXTS.items()
        if public(path)
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and ast.get_docstring(node) is None
    ]
    assert missing == []


def test_whoever_swallows_every_exception_says_why():
    silent = []
    for path, text in TEXTS.items():
        if not any(f"except{kind}:" in text for kind in ("", " Exception", " BaseException")):
            continue
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.ExceptHandler) or node.name:
                continue
            broad = node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException")
            used = any(isinstance(n, ast.Raise | ast.Call) for n in ast.walk(node))
            if broad and not used and not any("#" in line for line in lines[node.lineno - 2 : node.end_lineno]):
                silent.append(f"{path}:{node.lineno}")
    assert silent == []
