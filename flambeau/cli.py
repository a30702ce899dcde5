"""The command `flambeau`: run PyTorch programs, stand in for PyTorch in an environment, describe the environment.

It knows nothing of tensors; the trick that makes `torch` mean flambeau is in `_alias.py`.
"""

import builtins
import io
import os
import sys
from types import CodeType, ModuleType
from typing import Any, NoReturn

USAGE = """usage: flambeau run FILE [ARGUMENT ...]        run a PyTorch program; `import torch` gives flambeau
       flambeau run -m MODULE [ARGUMENT ...]   the same for a module
       flambeau run -c CODE [ARGUMENT ...]     the same for a line of code
       flambeau FILE [ARGUMENT ...]            short for `flambeau run FILE`
       flambeau link [--force]                 make `import torch` give flambeau in this Python environment
       flambeau unlink                         undo `flambeau link`
       flambeau env                            describe this environment, for a bug report
       flambeau --version"""

LINK = "flambeau-as-torch.pth"


def main(arguments: list[str] | None = None) -> None:
    """Run the command with `arguments` (the command line's by default)."""
    words = sys.argv[1:] if arguments is None else arguments
    command, rest = (words[0], words[1:]) if words else ("--help", [])
    if command == "run":
        run(rest)
    elif command == "link":
        link(force="--force" in options(rest, "--force"))
    elif command == "unlink":
        options(rest)
        unlink()
    elif command in ("env", "collect_env"):
        from flambeau.utils import collect_env

        options(rest)
        collect_env.main()
    elif command in ("-V", "--version"):
        import importlib.metadata

        print("flambeau", importlib.metadata.version("flambeau"))
    elif command in ("-h", "--help", "help"):
        print(USAGE)
    elif command in ("-m", "-c") or not command.startswith("-"):
        run(words)
    else:
        refuse(f"unknown option {command}\n{USAGE}", 2)


def options(words: list[str], *known: str) -> list[str]:
    """The words that follow a command, which must all be known."""
    for word in words:
        if word not in known:
            refuse(f"unknown argument {word}\n{USAGE}", 2)
    return words


def refuse(text: str, status: int = 1) -> NoReturn:
    """End the program with a message."""
    print(f"flambeau: {text}", file=sys.stderr)
    sys.exit(status)


# ---- flambeau run


def run(words: list[str]) -> None:
    """Run a file, module or line of code as `python` would, with flambeau as `torch`; leaves when the program ends."""
    if not words or (words[0] in ("-m", "-c") and len(words) < 2):
        refuse(f"nothing to run\n{USAGE}", 2)
    from flambeau import _alias

    # The path of `_beside` travels to spawned children within sys.path and to programs started anew in PYTHONPATH.
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != _alias.BESIDE]
    os.environ["PYTHONPATH"] = os.pathsep.join([_alias.BESIDE, *paths])
    if _alias.BESIDE in sys.path:
        sys.path.remove(_alias.BESIDE)
    sys.path.insert(1, _alias.BESIDE)
    _alias.install()
    code = None
    try:
        if words[0] == "-m":
            sys.argv, sys.path[0] = ["-m", *words[2:]], os.getcwd()
            code, module = of_module(words[1])
        elif words[0] == "-c":
            sys.argv, sys.path[0] = ["-c", *words[2:]], ""
            code, module = compile(words[1], "<string>", "exec", dont_inherit=True), ModuleType("__main__")
        else:
            sys.argv = list(words)
            code, module = of_file(words[0])
        module.__dict__["__builtins__"] = builtins
        sys.modules["__main__"] = module
        exec(code, module.__dict__)
    except BaseException as error:
        if not isinstance(error, SystemExit):
            hide_our_frames(code)
        raise


def hide_our_frames(code: CodeType | None) -> None:
    """Let the coming report of an error begin with the program's own frame, as under `python`."""
    shown = sys.excepthook

    def hook(kind: Any, error: Any, trace: Any) -> None:
        while trace is not None and trace.tb_frame.f_code is not code:
            trace = trace.tb_next
        error.__traceback__ = trace
        shown(kind, error, trace)

    sys.excepthook = hook


def of_file(path: str) -> tuple[CodeType, ModuleType]:
    """The code and the empty `__main__` of a file, or of a folder or zip file with a `__main__.py`."""
    from importlib.machinery import SourceFileLoader
    from pkgutil import get_importer

    if not os.path.exists(path):
        refuse(f"can't open file {os.path.abspath(path)!r}: [Errno 2] No such file or directory", 2)
    if get_importer(path) is not None:  # a folder or a zip file
        sys.path[0] = os.path.abspath(path)
        return of_module("__main__")
    sys.path[0] = os.path.dirname(os.path.realpath(path))
    absolute = os.path.abspath(path)
    with io.open_code(absolute) as file:
        code = compile(file.read(), absolute, "exec", dont_inherit=True)
    module = ModuleType("__main__")
    loader = SourceFileLoader("__main__", absolute)
    module.__dict__.update(__file__=absolute, __cached__=None, __loader__=loader, __package__=None, __spec__=None)
    return code, module


def of_module(name: str) -> tuple[CodeType, ModuleType]:
    """The code and the empty `__main__` of a module, found as `python -m` finds it."""
    import runpy

    launcher = sys.modules.pop("__main__")  # else the `__main__` of a folder is taken to be us
    try:
        # Private but steady: pdb, trace and cProfile find modules through it too.
        _, spec, code = runpy._get_module_details(name)  # type: ignore[attr-defined]
    except ImportError as error:
        refuse(f"{error}")
    finally:
        sys.modules["__main__"] = launcher
    if name != "__main__":
        sys.argv[0] = spec.origin
    module = ModuleType("__main__")
    module.__dict__.update(
        __file__=spec.origin, __cached__=spec.cached, __loader__=spec.loader, __package__=spec.parent, __spec__=spec
    )
    return code, module


# ---- flambeau link


def link(force: bool = False) -> None:
    """Write one `.pth` file into site-packages, after which `import torch` gives flambeau."""
    from flambeau import _alias

    real = real_torch(_alias.BESIDE)
    if real and not force:
        refuse(f"PyTorch is installed in this environment ({real}); use `flambeau link --force` to stand before it")
    # NOTE: a path in a .pth file goes to the end of sys.path; a line that starts with `import` is executed.
    line = f"import sys; sys.path.insert(0, {_alias.BESIDE!r})" if real else _alias.BESIDE
    path = link_path()
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        refuse(f"cannot write {path}: {error.strerror}; link inside a virtual environment of your own")
    print(f"linked: `import torch` gives flambeau in {sys.prefix} (undo with `flambeau unlink`)")


def unlink() -> None:
    """Delete what `link` wrote."""
    path = link_path()
    if not os.path.exists(path):
        print(f"not linked in {sys.prefix}: nothing to undo")
        return
    try:
        os.remove(path)
    except OSError as error:
        refuse(f"cannot remove {path}: {error.strerror}")
    print(f"unlinked: flambeau no longer answers to `import torch` in {sys.prefix}")


def link_path() -> str:
    """Where in this environment the file lies that links `torch` to flambeau."""
    import sysconfig

    return os.path.join(sysconfig.get_path("purelib"), LINK)


def real_torch(beside: str) -> str | None:
    """Where a PyTorch other than ours is installed, or None."""
    import site
    from importlib.machinery import PathFinder

    paths = [*site.getsitepackages(), site.getusersitepackages(), *sys.path[1:]]
    spec = PathFinder.find_spec("torch", [path for path in paths if path != beside])
    return spec.origin if spec else None
