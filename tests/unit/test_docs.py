"""The documentation is true: what its pages show as Python runs, top to bottom, and what they quote from the sources stands there.

A block below `<!-- from FILE -->` is a quotation; one below `<!-- printed -->` is what a program prints, and is only parsed.
"""

import ast
import importlib
import pathlib
import re
import sys

import pytest

import flambeau

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?:^<!-- (from|printed) ?(\S*) -->\n+)?^```python\n(.*?)^```", re.M | re.S)
NEEDS = {"export": "onnxruntime"}


def blocks(page):
    return BLOCK.findall(page.read_text())


@pytest.mark.parametrize("page", [p for p in PAGES if any(not kind for kind, _, _ in blocks(p))], ids=lambda p: p.stem)
@pytest.mark.filterwarnings("ignore:.*MaskedTensor")
def test_a_page_runs(page, tmp_path, monkeypatch, capsys):
    if page.stem in NEEDS:
        pytest.importorskip(NEEDS[page.stem])
    monkeypatch.chdir(tmp_path)
    flambeau.manual_seed(0)
    name = f"page_{page.stem}"  # a module, since TorchScript reads sources and pickles name classes
    (tmp_path / f"{name}.py").write_text("\n\n".join(code for kind, _, code in blocks(page) if not kind))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module(name)
    del sys.modules[name]
    if page.stem == "inside":
        out = capsys.readouterr().out
        assert "def sigmoid_backward(x, g):" in out
        assert "learned:" in out


@pytest.mark.parametrize("page", [p for p in PAGES if any(kind for kind, _, _ in blocks(p))], ids=lambda p: p.stem)
def test_a_page_quotes_what_is_there(page):
    for kind, source, code in blocks(page):
        if kind == "from":
            assert "".join(code.split()) in "".join((ROOT / source).read_text().split()), f"{source} has no\n{code}"
        elif kind == "printed":
            ast.parse(code)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_links_lead_somewhere(page):
    prose = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose):
        assert (page.parent / target).exists(), target


def test_files_that_are_named_exist():
    files = [str(path) for path in ROOT.rglob("*.py") if "/.venv" not in str(path)]
    for page in PAGES:
        for name in re.findall(r"`([\w/]+\.py)`", page.read_text()):
            assert any(path.endswith(f"/{name}") for path in files), f"{page.name}: {name}"


def test_the_index_names_every_page():
    index = (ROOT / "docs" / "index.md").read_text()
    assert [p.name for p in PAGES[1:] if p.name != "index.md" and f"({p.name})" not in index] == []
