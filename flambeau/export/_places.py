"""Where a recorded operator was called from: the modules around it, and the lines of their `forward`s."""

from __future__ import annotations

import linecache
import sys
import traceback
from typing import Any

from flambeau.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

_OWN = ("export/_trace.py", "fx/_symbolic_trace.py", "export/exported_program.py")


class Places:
    """Follows the calls of a module's parts while it runs: `stack` is what PyTorch calls `nn_module_stack`.

    The key of an entry is the module's path; a part that is called again gets a number, as there (`L__self__a.l@1`).
    """

    def __init__(self, root: Any) -> None:
        self.paths = {id(m): name for name, m in reversed(list(root.named_modules(remove_duplicate=False)))}
        self.calls: dict[str, int] = {}
        self.entries: list[tuple[str, tuple[str, str]]] = []

    def __enter__(self) -> Places:
        self.hooks = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, always_call=True),
        ]
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def _enter(self, module: Any, args: Any) -> None:
        path = self.paths.get(id(module))
        if path is None:
            self.entries.append(("", ("", "")))  # a module made on the way: its caller's
            return
        n = self.calls.get(path, 0)
        self.calls[path] = n + 1
        key = f"L__self__{path}" + (f"@{n}" if n else "")
        self.entries.append((key, (path, _kind(type(module)))))

    def _leave(self, module: Any, args: Any, out: Any) -> None:
        if self.entries:
            self.entries.pop()

    @property
    def stack(self) -> dict[str, tuple[str, str]]:
        """The modules that are running, the outermost first: key -> (path, type)."""
        return {key: entry for key, entry in self.entries if key}

    @property
    def meta(self) -> dict[str, Any]:
        """What a node that is recorded now knows of its place."""
        return {"nn_module_stack": self.stack, "stack_trace": lines()}


def _kind(cls: type) -> str:
    name = f"{cls.__module__}.{cls.__qualname__}"
    return "torch" + name.removeprefix("flambeau") if name.startswith("flambeau.") else name


def lines() -> str:
    """The lines of the program's `forward`s that are running, the outermost first, as a traceback shows them."""
    frame: Any = sys._getframe(1)
    found: list[traceback.FrameSummary] = []
    while frame is not None:
        code = frame.f_code
        if code.co_name == "forward" and not code.co_filename.endswith(_OWN):
            linecache.lazycache(code.co_filename, frame.f_globals)
            found.append(traceback.FrameSummary(code.co_filename, frame.f_lineno, "forward"))
        frame = frame.f_back
    return "".join(traceback.StackSummary.from_list(found[::-1]).format()).strip()
