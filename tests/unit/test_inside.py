"""docs/inside.md is a program: it runs, and what it builds learns."""

import pathlib
import re

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "inside.md"


def test_the_page_runs(capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    assert len(blocks) >= 8
    scope = {"__name__": "inside"}
    exec(compile("\n\n".join(blocks), str(PAGE), "exec"), scope)
    out = capsys.readouterr().out
    assert "def sigmoid_backward(x, g):" in out
    assert "learned:" in out
