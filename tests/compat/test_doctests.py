"""Every example in a docstring is run."""

import doctest
import importlib
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[2] / "flambeau"
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules_with_examples():
    for path in sorted(PACKAGE.rglob("*.py")):
        if "_beside" not in path.parts and ">>>" in path.read_text():
            yield ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.filterwarnings("ignore")  # what PyTorch warns of, too
@pytest.mark.parametrize("name", list(modules_with_examples()))
def test_examples(name, tmp_path, monkeypatch):
    import flambeau

    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    given = {**vars(module), "flambeau": flambeau, "torch": flambeau}
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    report, seen = [], 0
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = finder.find(module, name, globs=given)
    parse = doctest.DocTestParser().get_doctest
    for key, value in vars(module).items():
        if type(value).__name__ == "Op" and value.body.__module__ == name and value.body.__doc__:
            tests.append(parse(value.body.__doc__, dict(given), f"{name}.{key}", None, 0))
        # Under another public name: wrapped, or of a class that is said to be from elsewhere.
        own = getattr(value, "__wrapped__", value)
        bodies = vars(value).values() if isinstance(value, type) else (own,)
        here = any(getattr(f, "__globals__", None) is vars(module) for f in bodies)
        if here and getattr(value, "__module__", name) != name:
            tests += finder.find(own, f"{name}.{key}", module=False, globs=given)
    for test in tests:
        flambeau.manual_seed(0)
        runner.run(test, out=report.append)
        seen += len(test.examples)
    assert not report, "".join(report)
