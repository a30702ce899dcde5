"""The command line: programs run as under `python`; `torch` is flambeau for them and their children; link, unlink."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import textwrap
import venv

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def python(*words, cwd=None, executable=sys.executable, status=0, **environment):
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONWARNINGS")}
    env |= {"PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run([executable, *words], cwd=cwd, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def flambeau(*words, **options):
    return python("-m", "flambeau", *words, **options)


@pytest.fixture
def program(tmp_path):
    def write(text, name="program.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return str(path)

    return write


FACTS = """
    import sys
    print(sys.argv, sys.path[0], __name__, __file__, __package__, __spec__ and __spec__.name, __doc__)
    import __main__
    assert __main__.__dict__ is globals() and sys.modules["__main__"] is __main__
"""


@pytest.mark.parametrize("form", [["run"], []])
def test_a_file_runs_as_under_python(program, tmp_path, form):
    path = program(FACTS)
    for name in ("program.py", path):
        ours = flambeau(*form, name, "-x", "run", "--flag=1", cwd=tmp_path).stdout
        assert ours == python(name, "-x", "run", "--flag=1", cwd=tmp_path).stdout


def test_a_module_runs_as_under_python(program, tmp_path):
    (tmp_path / "package").mkdir()
    program(FACTS, "package/__main__.py")
    program("", "package/__init__.py")
    program(FACTS, "package/part.py")
    for name in ("package", "package.part"):
        assert flambeau("run", "-m", name, "a", cwd=tmp_path).stdout == python("-m", name, "a", cwd=tmp_path).stdout
    assert flambeau("run", "package", "a", cwd=tmp_path).stdout == python("package", "a", cwd=tmp_path).stdout


def test_a_line_of_code_runs(tmp_path):
    line = "import sys, torch, flambeau; print(torch is flambeau, sys.argv)"
    assert flambeau("run", "-c", line, "a", cwd=tmp_path).stdout == "True ['-c', 'a']\n"


def test_torch_is_flambeau_to_the_last_module(program):
    path = program("""
        import torch, torch.nn as nn, torch.utils.data, torch.nn.functional as F
        from torch.nn.modules import linear
        import importlib, importlib.metadata, importlib.util, sys
        import flambeau, flambeau.nn.functional
        from flambeau.nn.modules.linear import Linear
        assert torch is flambeau and nn is flambeau.nn and F is flambeau.nn.functional
        assert linear.Linear is Linear is nn.Linear
        for name in list(sys.modules):
            if name.startswith("torch."):
                assert sys.modules[name] is sys.modules["flambeau" + name[5:]], name
        assert F.__spec__.name == F.__name__ == "flambeau.nn.functional"
        assert importlib.metadata.version("torch") == "2.13.0"
        assert importlib.metadata.packages_distributions()["torch"]
        assert importlib.util.find_spec("torch") and importlib.util.find_spec("torch.nn")
        assert importlib.util.find_spec("torch.no_such_module") is None
        try:
            import torch.no_such_module
        except ModuleNotFoundError as error:
            assert error.name == "torch.no_such_module" and "torch.no_such_module" in str(error)
        else:
            assert False
        assert importlib.reload(F) is F
    """)
    flambeau("run", path)


def test_an_error_is_reported_as_under_python(program):
    path = program("""
        def f():
            raise ValueError("no")
        f()
    """)
    ours, theirs = flambeau("run", path, status=1), python(path, status=1)
    assert ours.stderr == theirs.stderr
    bad = program("def f(:\n", "bad.py")
    assert flambeau("run", bad, status=1).stderr == python(bad, status=1).stderr
    hook = program("""
        import sys
        sys.excepthook = lambda kind, error, trace: print("caught", error, trace.tb_frame.f_code.co_name)
        raise ValueError("no")
    """)
    assert flambeau("run", hook, status=1).stdout == "caught no <module>\n"


def test_exit_status_and_interrupt(program):
    flambeau("run", program("import sys; sys.exit(7)"), status=7)
    text = flambeau("run", program("import sys; sys.exit('sorry')"), status=1)
    assert text.stderr == "sorry\n"
    path = program("import atexit; atexit.register(print, 'bye'); raise KeyboardInterrupt")
    if os.name == "posix":
        assert flambeau("run", path, status=-signal.SIGINT).stdout == "bye\n"


def test_wrong_use_is_explained(tmp_path):
    for words in (["run"], ["run", "-m"], ["--no-such-option"], ["unlink", "now"], ["run", "missing.py"]):
        error = flambeau(*words, cwd=tmp_path, status=2).stderr
        assert error.startswith("flambeau: "), error
        assert "Traceback" not in error
    assert "can't open file" in flambeau("run", "missing.py", cwd=tmp_path, status=2).stderr
    assert "No module named missing" in flambeau("run", "-m", "missing", cwd=tmp_path, status=1).stderr
    assert "usage" in flambeau("--help").stdout


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_find_flambeau_too(program, method):
    path = program("""
        import multiprocessing, os, pickle, subprocess, sys
        import torch

        class Point:
            def __init__(self, x):
                self.x = x

        def work(point):
            import importlib.metadata
            import flambeau
            assert torch is flambeau and importlib.metadata.version("torch") == "2.13.0"
            assert type(point) is Point
            from torch import utils
            return Point(point.x + 1)

        if __name__ == "__main__":
            assert type(pickle.loads(pickle.dumps(Point(1)))) is Point
            with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
                assert pool.map(work, [Point(1)])[0].x == 2
            line = "import torch, flambeau; assert torch is flambeau"
            subprocess.run([sys.executable, "-c", line], check=True, cwd="/")
            print("done")
    """)
    assert flambeau("run", path, method).stdout == "done\n"


def test_import_flambeau_leaves_torch_alone():
    python("-c", "import flambeau, flambeau.cli, sys; assert not any(m.split('.')[0] == 'torch' for m in sys.modules)")


def test_real_torch_is_not_overridden_once_imported(torch):
    line = "import torch; from flambeau import _alias; _alias.install()"
    assert "real PyTorch is already imported" in python("-c", line, status=1).stderr


def test_both_side_by_side(torch):
    python("-W", "ignore", "-c", "import torch, flambeau, flambeau.nn, torch.nn; assert torch.nn is not flambeau.nn")


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A virtual environment that finds flambeau and what it needs, but no PyTorch; and its site-packages."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=os.name == "posix")
    executable = str(folder / ("Scripts" if os.name == "nt" else "bin") / "python")
    where = python("-c", "import sysconfig; print(sysconfig.get_path('purelib'))", executable=executable)
    site = pathlib.Path(where.stdout.strip())
    for name in ("numpy", "ml_dtypes", "flambeau"):
        found = pathlib.Path(__import__(name).__file__).parent
        (site / name).symlink_to(found, target_is_directory=True)
        if (libs := found.parent / f"{name}.libs").exists():
            (site / libs.name).symlink_to(libs, target_is_directory=True)
    return executable, site


@pytest.mark.skipif(os.name == "nt", reason="symbolic links")
def test_link_and_unlink(environment, program):
    executable, site = environment
    use = {"executable": executable, "PYTHONPATH": "", "cwd": site.parent}
    before = sorted(os.listdir(site))
    path = program("import torch, torch.nn, flambeau; assert torch is flambeau; print('works')")
    assert "No module named 'torch'" in python(path, status=1, **use).stderr
    flambeau("link", **use)
    assert python(path, **use).stdout == "works\n"
    assert python("-c", "import importlib.metadata as m; print(m.version('torch'))", **use).stdout == "2.13.0\n"
    flambeau("link", **use)  # again: nothing changes
    flambeau("unlink", **use)
    assert sorted(os.listdir(site)) == before
    assert "nothing to undo" in flambeau("unlink", **use).stdout
    assert "No module named 'torch'" in python(path, status=1, **use).stderr


@pytest.mark.skipif(os.name == "nt", reason="symbolic links")
def test_link_does_not_replace_real_torch(environment, program):
    executable, site = environment
    use = {"executable": executable, "PYTHONPATH": "", "cwd": site.parent}
    (site / "torch").mkdir()
    (site / "torch" / "__init__.py").write_text("")
    path = program("import torch; print('flambeau' if hasattr(torch, 'Tensor') else 'torch')")
    try:
        assert "PyTorch is installed" in flambeau("link", status=1, **use).stderr
        assert python(path, **use).stdout == "torch\n"
        flambeau("link", "--force", **use)
        assert python(path, **use).stdout == "flambeau\n"
        flambeau("unlink", **use)
        assert python(path, **use).stdout == "torch\n"
        assert flambeau("run", path, **use).stdout == "flambeau\n"
    finally:
        shutil.rmtree(site / "torch")  # with whatever bytecode was written there


def test_env_names_what_a_bug_report_needs():
    text = flambeau("env").stdout
    for word in ("Python", "numpy", "llvmlite", "Switches"):
        assert word in text
