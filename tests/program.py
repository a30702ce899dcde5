"""Runs the text of a PyTorch program under a given library: its `import torch` gives that library.

Not a test. Unlike `flambeau run` it leaves `sys.modules` alone, so that both libraries can run in one process.
"""

import builtins
import pathlib
from typing import Any

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


def run(fl: Any, path: pathlib.Path, name: str = "__main__") -> dict[str, Any]:
    """Executes the file and returns its names; `print` is silent."""

    def load(what: str, *rest: Any) -> Any:
        if what == "torch" or what.startswith("torch."):
            what = fl.__name__ + what[5:]
        return builtins.__import__(what, *rest)

    instead = {**vars(builtins), "__import__": load, "print": lambda *words, **options: None}
    names = {"__name__": name, "__file__": str(path), "__builtins__": instead}
    exec(compile(path.read_text(), str(path), "exec", dont_inherit=True), names)
    return names
