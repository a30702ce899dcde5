"""Which packages a program of this folder needs, and which versions of them are installed."""

import ast
import importlib.metadata
import sys


def needs(path):
    """The packages that a program imports, beyond PyTorch and Python's own."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return sorted(found - {"torch"} - set(sys.stdlib_module_names))


def versions(packages):
    """The installed version of each package."""
    owners = importlib.metadata.packages_distributions()
    return {p: importlib.metadata.version(owners[p][0]) for p in packages if p in owners}
