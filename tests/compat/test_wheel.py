"""The wheel is pure Python, small, whole, and asks for four packages."""

import os
import pathlib
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    build = pytest.importorskip("hatchling.build")
    folder, here = tmp_path_factory.mktemp("wheel"), os.getcwd()
    os.chdir(ROOT)
    try:
        name = build.build_wheel(str(folder))
    finally:
        os.chdir(here)
    return folder / name


def test_it_is_pure_and_small(wheel):
    assert wheel.name == "flambeau-0.1.0-py3-none-any.whl"
    assert wheel.stat().st_size < 4e6
    suffixes = {pathlib.PurePath(name).suffix for name in zipfile.ZipFile(wheel).namelist()}
    assert suffixes <= {".py", ".pyi", ".txt", ".json", ".md", ".typed", ""}, suffixes


def test_it_holds_the_package_and_its_stand_in_for_torch(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "flambeau").rglob("*.py"):
        assert path.relative_to(ROOT).as_posix() in names
    assert "flambeau/_beside/torch-2.13.0.dist-info/METADATA" in names
    assert {name.split("/")[0] for name in names} == {"flambeau", "flambeau-0.1.0.dist-info"}
    assert "flambeau-0.1.0.dist-info/licenses/LICENSE" in names


def test_the_stand_in_needs_what_torch_needs(wheel):
    """Packages lean on PyTorch's own requirements without naming them: pip has to find them there."""
    text = zipfile.ZipFile(wheel).read("flambeau/_beside/torch-2.13.0.dist-info/METADATA").decode()
    needs = {line.split()[1].partition(">")[0] for line in text.splitlines() if line.startswith("Requires-Dist:")}
    assert needs == {"filelock", "typing-extensions", "setuptools", "sympy", "networkx", "jinja2", "fsspec"}


def test_its_metadata(wheel):
    archive = zipfile.ZipFile(wheel)
    text = archive.read("flambeau-0.1.0.dist-info/METADATA").decode()
    lines = text.partition("\n\n")[0].splitlines()
    needs = {line.split(" ", 1)[1] for line in lines if line.startswith("Requires-Dist:") and "extra ==" not in line}
    names = {need.replace(">", " ").replace("=", " ").split()[0].replace("-", "_") for need in needs}
    assert names == {"numpy", "ml_dtypes", "llvmlite", "scipy"}
    assert "Requires-Python: >=3.11" in lines
    assert "License-Expression: Apache-2.0" in lines
    scripts = archive.read("flambeau-0.1.0.dist-info/entry_points.txt").decode()
    assert "flambeau = flambeau.cli:main" in scripts
