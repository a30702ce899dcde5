"""Which modules a source names in its imports."""

import ast

from flambeau.package._importlib import _resolve_name


class _Imports(ast.NodeVisitor):
    def __init__(self, package):
        self.package = package
        self.found = {}  # (module, name taken from it or None), in order

    def _note(self, module, names=(None,)):
        for name in names:
            self.found[module, None if name == "*" else name] = True

    def _absolute(self, module, level):
        return _resolve_name(module, self.package, level) if level else module

    def visit_Import(self, node):
        """`import a, b`."""
        for alias in node.names:
            self._note(alias.name)

    def visit_ImportFrom(self, node):
        """`from a import b`."""
        self._note(self._absolute(node.module, node.level or 0), [alias.name for alias in node.names])

    def visit_Call(self, node):
        """`__import__("a")`, as far as its arguments are constants."""
        if getattr(node.func, "id", None) == "__import__":
            try:
                self._dynamic(node)
            except Exception:  # something that only running it would tell
                return
        self.generic_visit(node)

    def _dynamic(self, node):
        given = dict(zip(("name", "globals", "locals", "fromlist", "level"), node.args, strict=False))
        given |= {k.arg: k.value for k in node.keywords}
        name = given["name"].value
        level = given["level"].value if "level" in given else 0
        names = [e.value for e in given["fromlist"].elts] if "fromlist" in given else []
        if names:
            self._note(self._absolute(name, level), names)
            return
        self._note(name)
        above = name.rpartition(".")[0]
        if above:
            self._note(self._absolute(above, level))


def find_files_source_depends_on(src: str, package: str) -> list[tuple[str, str | None]]:
    """(module, name taken from it or None) for each import; `package` is where relative ones start.

    >>> find_files_source_depends_on("import a\\nfrom .b import c", "p")
    [('a', None), ('p.b', 'c')]
    """
    visitor = _Imports(package)
    visitor.visit(ast.parse(src))
    return list(visitor.found)
