"""torch.package: what is taken in and left out, imports inside packages, pickles; files in both directions."""

import importlib
import inspect
import io
import subprocess
import sys
import zipfile

import pytest

import flambeau
from flambeau.package import PackageExporter, PackageImporter

SOURCES = {
    "pkg_a/__init__.py": "from . import inner\nfrom .inner import Thing\nNAME = 'a'\n",
    "pkg_a/inner.py": "import os.path\nimport json as j\nfrom pkg_b import helper\n\nclass Thing:\n    def __init__(self, x):\n"
    "        self.x = x\n    def get(self):\n        return helper(self.x), j.dumps(1), os.path.join('a', 'b')\n",
    "pkg_a/resource.txt": "hello",
    "pkg_b.py": "def helper(x):\n    return x + 1\n",
    "pkg_c/__init__.py": "",
    "pkg_c/low/__init__.py": "",
    "pkg_c/low/deep.py": "from ..other import VALUE\nfrom .. import other as o\n",
    "pkg_c/other.py": "VALUE = 7\n",
    "pkg_d.py": "import sys\nimport pkg_b\n",
    "pkg_e.py": "import pkg_d\ndef f():\n    return __import__('pkg_b', fromlist=['helper']).helper(1)\n",
}


@pytest.fixture
def sources(tmp_path, monkeypatch):
    for name, text in SOURCES.items():
        path = tmp_path / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    yield tmp_path
    for name in [n for n in sys.modules if n.startswith("pkg_")]:
        del sys.modules[name]


def module(fl):
    return importlib.import_module(f"{fl.__name__}.package")


def exported(fl, action, **options):
    file = io.BytesIO()
    with module(fl).PackageExporter(file, **options) as exporter:
        result = action(exporter)
    file.seek(0)
    return module(fl).PackageImporter(file), result


def test_modules(agree, sources):
    def program(fl):
        def action(e):
            e.intern("pkg_*.**")
            e.save_module("pkg_a")
            e.save_module("pkg_c.low.deep")
            e.save_module("pkg_c")
            facts = e.interned_modules(), e.externed_modules(), e.mocked_modules(), e.denied_modules()
            return facts, sorted(e.get_rdeps("pkg_b")), e.dependency_graph_string()

        importer, facts = exported(fl, action)
        a = importer.import_module("pkg_a")
        thing = a.Thing(3)
        same = thing.get()[0] == 4 and a.inner.Thing is a.Thing
        deep = importer.import_module("pkg_c.low.deep")
        names = [n.partition(".")[2] for n in (a.__name__, thing.__class__.__module__, deep.__file__)]
        inside = module(fl).is_from_package
        return facts, same, thing.get()[1:], deep.VALUE, deep.o.VALUE, names, inside(a), inside(thing), inside(3)

    agree(program)


@pytest.mark.filterwarnings("ignore:TypedStorage")
def test_objects(agree, sources):
    def program(fl):
        import pkg_a

        def action(e):
            e.intern("pkg_a.**")
            e.extern("pkg_b")
            x = fl.arange(6.0).view(2, 3)
            e.save_pickle("res", "o.pkl", {"t": pkg_a.Thing(1), "x": x, "y": x[1], "n": fl.nn.Linear(3, 2)})
            e.save_pickle("res", "p4.pkl", pkg_a.Thing(2), pickle_protocol=4)
            e.save_text("res", "t.txt", "text")
            e.save_binary("res.sub", "b.bin", b"bytes")

        importer, _ = exported(fl, action)
        o = importer.load_pickle("res", "o.pkl")
        o["x"][1, 0] = 10
        p = importer.load_pickle("res", "p4.pkl")
        again = importer.load_pickle("res", "o.pkl", map_location="cpu")["x"].device.type
        resources = importer.get_resource_reader("res")
        return (
            o["t"].get()[0], type(o["t"]) is not pkg_a.Thing, type(p) is type(o["t"]), o["x"], o["y"], tuple(o["n"].weight.shape), again,
            importer.load_text("res", "t.txt"), importer.load_binary("res.sub", "b.bin"), sorted(resources.contents()),
            resources.is_resource("t.txt"), resources.open_resource("t.txt").read(), importer.python_version() is not None,
        )  # fmt: skip

    agree(program)


def test_packages_from_packages(agree, sources):
    """What came from a package is packaged again, with its importer."""

    def program(fl):
        def first(e):
            e.intern("pkg_a.**")
            e.extern("pkg_b")
            e.save_module("pkg_a")

        one, _ = exported(fl, first)
        thing = one.import_module("pkg_a").Thing(5)

        def second(e):
            e.intern("**")
            e.save_pickle("res", "o.pkl", thing)

        sys_importer = module(fl).sys_importer
        two, _ = exported(fl, second, importer=[one, sys_importer])
        found = two.load_pickle("res", "o.pkl")
        with pytest.raises(Exception) as error:
            exported(fl, second, importer=sys_importer)
        return found.get()[0], type(found) is not type(thing), type(error.value).__name__

    agree(program)


def test_mocks(agree, sources):
    def program(fl):
        def action(e):
            e.intern("pkg_a.**")
            e.mock("pkg_b")
            e.save_module("pkg_a")

        importer, _ = exported(fl, action)
        thing = importer.import_module("pkg_a").Thing(1)
        found = []
        for use in (
            thing.get,
            lambda: importer.import_module("pkg_b").anything + 1,
            lambda: len(importer.import_module("pkg_b").z),
        ):
            try:
                use()
            except NotImplementedError as error:
                found.append(str(error).replace("<torch_package_", "").partition(">.")[2])
        return found, repr(importer.import_module("pkg_b").q).partition(">.")[2]

    agree(program)


def _deny(e):
    e.intern("pkg_a.**")
    e.deny("pkg_b")
    e.save_module("pkg_a")


def _nothing(e):
    e.save_module("pkg_a")


def _sys(e):
    e.intern("**", exclude="sys")
    e.save_module("pkg_e")


def _used(e):
    import pkg_a

    e.mock("pkg_a.**")
    e.save_pickle("r", "o.pkl", pkg_a.Thing(1))


def _extension(e):
    e.intern("**")
    e.save_module("numpy._core._multiarray_umath")


def _empty(e):
    e.intern("nothing.**", allow_empty=False)
    e.save_text("a", "b", "c")


def _twice(e):
    e.save_text("a", "b", "c")
    e.save_text("a", "b", "c")


def _path(e):
    e.save_text("a", "b/c", "c")


def _syntax(e):
    e.save_source_string("m", "def f(:")


def _no_string(e):
    e.save_module(3)


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(
    "action", [_deny, _nothing, _sys, _used, _extension, _empty, _twice, _path, _syntax, _no_string]
)
def test_what_is_refused(agree, sources, action, debug):
    def program(fl):
        try:
            exported(fl, action, debug=debug)
        except Exception as error:
            return type(error).__name__, str(error).replace("flambeau", "torch").replace(str(sources), "")

    agree(program)


def test_what_importers_refuse(agree, sources):
    def program(fl):
        def action(e):
            e.extern("numpy")
            e.save_source_string("m", "import numpy\nVALUE = 3\n")
            e.save_source_string("broken", "import absent_module\n", dependencies=False)

        importer, _ = exported(fl, action)
        found = []
        for use in (lambda: importer.import_module("absent"), lambda: importer.import_module("broken"),
                    lambda: importer.load_text("m", "x"), lambda: importer.import_module("m.n")):  # fmt: skip
            try:
                use()
            except Exception as error:
                found.append((type(error).__name__, str(error).partition(" in self-contained")[0]))
        try:
            file = io.BytesIO()
            with module(fl).PackageExporter(file) as e:
                action(e)
            file.seek(0)
            module(fl).PackageImporter(file, module_allowed=lambda name: name != "numpy")
        except ImportError as error:
            found.append(str(error).partition("needs")[2])
        return found, importer.import_module("m").VALUE

    agree(program)


def test_hooks(agree, sources):
    def program(fl):
        seen = []

        def action(e):
            e.register_intern_hook(lambda exporter, name: seen.append(("in", name)))
            e.register_mock_hook(lambda exporter, name: seen.append(("mock", name)))
            handle = e.register_extern_hook(lambda exporter, name: seen.append(("gone", name)))
            e.register_extern_hook(lambda exporter, name: seen.append(("out", name)))
            handle.remove()
            e.intern("pkg_a.**")
            e.mock("pkg_b")
            e.save_module("pkg_a")

        exported(fl, action)
        return seen

    agree(program)


class Spy:
    """Unpickled, it says so."""

    def __reduce__(self):
        return print, ("unpickled",)


def test_what_runs_of_a_package(capsys):
    """Opening one and asking what lies in it runs nothing; the rest runs what the documentation says."""
    file = io.BytesIO()
    with PackageExporter(file) as exporter:
        exporter.save_source_string("data", "print('data')", is_package=True)
        exporter.save_source_string("data.code", "print('code')")
        exporter.save_text("data", "a.txt", "a")
        exporter.save_pickle("data", "a.pkl", Spy(), dependencies=False)
    file.seek(0)
    importer = PackageImporter(file)
    assert importer.file_structure().has_file("data/code.py")
    assert importer.python_version()
    assert not capsys.readouterr().out
    importer.load_text("data", "a.txt")
    assert capsys.readouterr().out == "data\n"
    importer.load_pickle("data", "a.pkl")
    assert capsys.readouterr().out == "unpickled\n"
    importer.import_module("data.code")
    assert capsys.readouterr().out == "code\n"


def test_own_ways(sources):
    """`__reduce_package__`: objects that write what they are loaded from."""

    class Own:
        def __reduce_package__(self, exporter):
            number = exporter.get_unique_id()
            exporter.save_text("own", f"{number}.txt", "what it was")
            return read, (number,)

    def action(e):
        e.extern("**")
        own = Own()
        e.save_pickle("r", "o.pkl", [own, own])

    importer, _ = exported(flambeau, action)
    one, two = importer.load_pickle("r", "o.pkl")
    assert one == "read what it was"
    assert one is two


def read(importer, number):
    return "read " + importer.load_text("own", f"{number}.txt")


def test_globs_and_trees(agree):
    def program(fl):
        p = module(fl)
        names = ["torch", "torch.nn", "torch.nn.init", "torchx", "a.torch"]
        patterns = ["torch.**", "torch", "*.nn", "torch*", "**", "**.torch", ["torch", "a.*"]]
        found = [[p.GlobGroup(g, exclude=["torch.nn"]).matches(n) for n in names] for g in patterns]
        try:
            p.GlobGroup("a**b")
        except ValueError as error:
            found.append(str(error))
        tree = importlib.import_module(f"{fl.__name__}.package.file_structure_representation")
        files = ["a/b/c.py", "a/d.py", "e.txt", "a/b/f.py", "g/h.py"]
        whole = tree._create_directory_from_file_list("top", files)
        some = tree._create_directory_from_file_list("top", files, include=["a/**"], exclude=["**/f.py"])
        return (
            found,
            str(p.GlobGroup("x", exclude="y")),
            str(whole),
            str(some),
            whole.has_file("a/b/c.py"),
            whole.has_file("a/x"),
        )

    agree(program)


def test_graphs(agree):
    def program(fl):
        graph = importlib.import_module(f"{fl.__name__}.package._digraph").DiGraph()
        for u, v in ("ab", "bc", "cd", "ad", "ed"):
            graph.add_edge(u, v)
        return (
            graph.to_dot(),
            graph.first_path("d"),
            sorted(graph.forward_transitive_closure("b")),
            "a" in graph,
            list(graph),
        )

    agree(program)


def test_dependencies_of_sources(agree):
    source = "import a.b, c\nfrom .x import y, z\nfrom .. import w\nfrom d import *\n__import__('e.f')\n__import__('g', fromlist=['h'])"

    def program(fl):
        find = importlib.import_module(f"{fl.__name__}.package.find_file_dependencies").find_files_source_depends_on
        return list(map(list, find(source, "p.q")))

    agree(program)


def test_directories_and_paths(sources, tmp_path):
    path = tmp_path / "made.pt"
    with PackageExporter(path) as e:
        e.save_source_file("pkg_a", str(tmp_path / "src" / "pkg_a"), dependencies=False)
        e.save_source_file("pkg_b", str(tmp_path / "src" / "pkg_b.py"))
        e.extern(["json", "os.**"])
        e.save_pickle("r", "o.pkl", flambeau.arange(3))
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "unpacked")
    for place in (path, tmp_path / "unpacked" / "made"):
        importer = PackageImporter(place)
        assert importer.load_pickle("r", "o.pkl").tolist() == [0, 1, 2]
        assert importer.import_module("pkg_b").helper(1) == 2
        assert importer.file_structure(include="pkg_a/**").has_file("pkg_a/inner.py")


def test_sources_of_packages(sources):
    importer, _ = exported(
        flambeau,
        lambda e: (e.extern("pkg_b"), e.save_module("pkg_a", dependencies=False), e.save_module("pkg_a.inner")),
    )
    thing = importer.import_module("pkg_a").Thing
    assert inspect.getsource(thing).startswith("class Thing:")
    assert importer.import_module("pkg_a.inner").__file__.startswith(importer.id())


def test_why_modules_came_in(sources):
    from flambeau.package.analyze import find_first_use_of_broken_modules, trace_dependencies

    with pytest.raises(flambeau.package.PackagingError) as error:
        exported(flambeau, _sys)
    assert find_first_use_of_broken_modules(error.value) == {"sys": ["pkg_e", "pkg_d", "sys"]}
    import pkg_a

    assert "pkg_b" in trace_dependencies(lambda n: pkg_a.Thing(n).get(), [(1,)])


PROGRAM = """
import sys, {0} as torch
from {0}.package import PackageExporter, PackageImporter
if sys.argv[1] == "write":
    with PackageExporter(sys.argv[2]) as e:
        e.save_source_string("m.n", "import torch\\nclass Own(torch.nn.Linear):\\n    pass\\n")
        x = torch.arange(4.0)
        e.save_pickle("m", "o.pkl", {{"x": x, "y": x[1:], "n": torch.nn.Linear(2, 2), "d": torch.float16, "h": x.half()}})
else:
    i = PackageImporter(sys.argv[2])
    o = i.load_pickle("m", "o.pkl")
    o["x"][1] = 9
    print(o["y"].tolist(), o["d"], o["h"].dtype, tuple(o["n"].weight.shape), i.import_module("m.n").Own(2, 3))
"""


@pytest.mark.parity
@pytest.mark.parametrize(("writer", "reader"), [("torch", "flambeau"), ("flambeau", "torch")])
def test_files_of_the_other_library(torch, tmp_path, writer, reader):
    path = str(tmp_path / "p.pt")
    for library, what in ((writer, "write"), (reader, "read")):
        code = PROGRAM.format(library)
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code, what, path], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (
        "[9.0, 2.0, 3.0] torch.float16 torch.float16 (2, 2) Own(in_features=2, out_features=3, bias=True)"
    )


def test_without_elements():
    importer, _ = exported(flambeau, lambda e: e.save_pickle("r", "o.pkl", flambeau.ones(2, 3)))
    found = importer.load_pickle("r", "o.pkl", map_location="meta")  # PyTorch stumbles over this
    assert (found.device.type, found.shape) == ("meta", (2, 3))


def test_scripted_modules_are_refused():
    scripted = flambeau.jit.script(flambeau.nn.ReLU())
    with pytest.raises(Exception, match="Serializing ScriptModules directly into a package is a beta feature"):
        exported(flambeau, lambda e: e.save_pickle("a", "b", scripted))


OUTCOMES = {
    "taken in": lambda e, m: (e.intern("pkg_b"), e.save_pickle("r", "a.pkl", m.helper)),
    "left out": lambda e, m: (e.extern("pkg_b"), e.save_pickle("r", "a.pkl", m.helper)),
    "nothing said": lambda e, m: e.save_pickle("r", "a.pkl", m.helper),
    "denied": lambda e, m: (e.deny("pkg_b"), e.save_pickle("r", "a.pkl", m.helper)),
    "asked for and not used": lambda e, m: e.intern("zzz", allow_empty=False),
    "text": lambda e, m: (e.save_text("r", "t.txt", "hey"), e.save_binary("r", "b", b"\x00")),
    "source": lambda e, m: e.save_source_string("zz", "x = 5"),
    "closed": lambda e, m: (e.close(), e.save_text("a", "b", "c")),
}


@pytest.mark.parametrize("case", OUTCOMES)
def test_outcomes(agree, sources, case):
    """What is in a file after each kind of saving, or what is said against it."""

    def program(fl):
        import pkg_b

        try:
            importer, _ = exported(fl, lambda e: OUTCOMES[case](e, pkg_b) and None)
        except Exception as error:
            return type(error).__name__, str(error)
        found = []
        for action in (
            lambda: importer.load_pickle("r", "a.pkl")(1),
            lambda: (importer.load_text("r", "t.txt"), importer.load_binary("r", "b")),
            lambda: list(importer.get_resource_reader("r").contents()),
            lambda: importer.import_module("zz").x,
            lambda: importer.import_module("nope"),
        ):
            try:
                found.append(action())
            except Exception as error:
                found.append((type(error).__name__, str(error) if type(error) is not RuntimeError else ""))
        return [*found, importer.python_version() is not None]

    agree(program)
