"""Every switch of the library is part of the key that captures are kept under, or cannot matter to one: none is forgotten."""

import ast
import importlib
import os
import pathlib
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator

import pytest

import flambeau as torch
from flambeau._capture import remembered
from flambeau._eager import large
from flambeau._ground import flags

pytestmark = pytest.mark.skipif(not large.available(), reason="no kernels can be generated here")
ROOT = pathlib.Path(torch.__file__).parent

# What the library writes of its modules while it runs, and why a capture need not be another one for it.
APART = {
    "made once, when it is first wanted": """
        _attach['build'] compile._codes _library _twist _native _loaded _loading _loaded['draws'] _loaded['samplers'] _BACKWARD['run']""",
    "counts, or numbers what is made": """
        _state['calls'] _waited['draws'] COUNTS['found'] COUNTS['kept'] _serial[0] serial[0] _depth[0] RemovableHandle.next_id Once.calls""",
    "how many threads run a program, which gives the same bits with any number": "_wanted",
    "decides for a product that is running": "_arrays.only",
    "captures that are kept have no breaks": "BREAKS.errors",
    "the function that is compiled has its own backend": "_default[0] _default[1]",
    "while these are open, STATE.transforms is another number": "LEVELS.open LEVELS.variables",
    "while it is open, STATE.saved_hooks has them": "allow_mutation_on_saved_tensors._open",
    "while it is so, modes are entered": "_modes CURRENT_DECOMPOSITION_TABLE _exporting K.__class__",
    "the library's own methods are others then": "STATE.current Tensor.detach Tensor.shape Tensor.size SymInt.__hash__",
    "it is read by functions that are followed, and guarded": """
        _is_fastpath_enabled Distribution._validate_args _cache _switches['overwrite'] _switches['swap']
        DefaultDeviceType._default_device_type _enabled.enabled""",
    "nothing here does something else for it": """
        _switches['cpu'] _switches['gpu'] _switches['texpr'] _onednn _optimized _strategy _enabled _preferred['blas'] _preferred['linalg']
        _preferred['rocm_fa'] _attention['cudnn'] _attention['flash'] _attention['math'] _attention['mem_efficient']
        _attention['reduced'] _streams['override_stale_capture'] _streams['warn_on_accumulate_grad_mismatch']""",
    "no operators: printing, files, processes": """
        PRINT_OPTS.sci_mode GroupMember.WORLD _world.counter _world.groups _world.transport _level[0] _hub_dir _sharing_strategy
        _options.crc32 _options.endianness _options.mmap_flags _options.skip_data python_exit_status _SIGCHLD_handler_set _worker_info""",
    "sparse tensors are not captured": "Checks.enabled",
}


def written(path: pathlib.Path) -> dict[str, set[str]]:
    """What functions of a file write of the library's modules: by the module that has it."""
    tree, here = ast.parse(path.read_text(encoding="utf-8")), module(path)
    lies: dict[str, tuple[str, str]] = {}
    for n in tree.body:
        if isinstance(n, ast.ImportFrom) and (n.module or "").startswith("flambeau"):
            lies |= {a.asname or a.name: (n.module or "", a.name) for a in n.names}
        elif isinstance(n, (ast.Assign, ast.AnnAssign)):
            targets = n.targets if isinstance(n, ast.Assign) else [n.target]
            lies |= {x.id: (here, x.id) for t in targets for x in ast.walk(t) if isinstance(x, ast.Name)}
        elif isinstance(n, ast.ClassDef):
            lies[n.name] = here, n.name
    found: dict[str, set[str]] = defaultdict(set)
    for f in functions(tree):
        inside = list(ast.walk(f))
        shared = {n for x in inside if isinstance(x, ast.Global) for n in x.names}
        own = {x.arg for x in inside if isinstance(x, ast.arg)} - shared
        own |= {x.id for x in inside if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Store)} - shared
        for x in inside:
            if not isinstance(getattr(x, "ctx", None), ast.Store):
                continue
            if isinstance(x, ast.Name) and x.id in shared:
                found[here].add(x.id)
            elif isinstance(x, (ast.Attribute, ast.Subscript)) and isinstance(x.value, ast.Name):
                where, name = lies.get(x.value.id, ("", ""))
                if not where or x.value.id in own:
                    continue
                if isinstance(x, ast.Attribute):
                    found[where].add(f"{name}.{x.attr}")
                elif isinstance(x.slice, ast.Constant):
                    found[where].add(f"{name}[{x.slice.value!r}]")
    return found


def functions(node: ast.AST) -> Iterator[ast.AST]:
    """Functions, but for those within others."""
    for n in ast.iter_child_nodes(node):
        if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield n
        elif isinstance(n, ast.stmt):
            yield from functions(n)


def module(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("flambeau", *(p for p in parts if p != "__init__")))


def another(v: object) -> object:
    """Another value of the kind."""
    match v:
        case bool():
            return not v
        case int() | float():
            return v + 1
        case str():
            return v + "other"
        case tuple():
            return (*v, "other")
    return True if v is None else object()


def test_none_is_forgotten():
    """In a process of its own: what other tests have left behind may be what keeps a key from being made."""
    code = "from tests.capture.test_switches import look; look()"
    env = os.environ | {"PYTHONPATH": str(ROOT.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT.parent, capture_output=True, text=True)
    assert not done.returncode, done.stderr


def look() -> None:
    library = remembered.Library.now()
    remembered.Library.now = staticmethod(lambda: library)  # functions are not what is looked at
    function = torch.compile(lambda x: x + 1)._captures

    def told():
        """The key; what keeps it from being made is as good."""
        try:
            with flags.override("remember", True):
                asked = remembered.ask(function, function.first, (torch.ones(3),))
        except Exception:
            return "refused"
        return asked and asked.parts

    assert told() not in (None, "refused"), "no key is made"

    all_of_them = defaultdict(set)
    for path in ROOT.rglob("*.py"):
        for where, names in written(path).items():
            all_of_them[where] |= names
    apart = {name for names in APART.values() for name in names.split()}
    forgotten, met = [], set()
    for where, names in sorted(all_of_them.items()):
        for name in sorted(names):
            if name in apart:
                met.add(name)
                continue
            space = {"m": importlib.import_module(where)}
            before, space["held"] = told(), eval(f"m.{name}", space)
            space["other"] = another(space["held"])
            try:
                exec(f"m.{name} = other", space)
                seen = told() != before
            finally:
                exec(f"m.{name} = held", space)
            assert told() == before, f"{where}.{name} is not as it was"
            if not seen:
                forgotten.append(f"{where}.{name}")
    assert not forgotten, f"neither in `remembered._state` nor in APART: {forgotten}"
    assert met == apart, f"no such switches any more: {apart - met}"


def test_configurations_are_told():
    found = {module(path) for path in ROOT.rglob("config.py")}
    assert found == {*remembered._SWITCHES, "flambeau._functorch.config"}  # none of these changes anything
