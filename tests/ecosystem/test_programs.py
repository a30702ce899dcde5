"""Other people's libraries, unmodified, under `flambeau run`: their numbers equal those that PyTorch gave.

Not part of `make test`: `scripts/ecosystem` makes an environment with the packages and runs these; a program whose
packages are not installed is skipped. `recorded/` holds PyTorch's numbers, with the versions that gave them.
"""

import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest

from tests.ecosystem.compare import differences
from tests.ecosystem.packages import needs, versions

HERE = pathlib.Path(__file__).parent
PROGRAMS = sorted(path.stem for path in (HERE / "programs").glob("*.py"))


@pytest.mark.ecosystem
@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name, tmp_path):
    program, out = HERE / "programs" / f"{name}.py", tmp_path / "out.json"
    packages = needs(program)
    missing = [p for p in packages if importlib.util.find_spec(p) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    command = [sys.executable, "-m", "flambeau", "run", str(HERE / "harness.py"), str(program), str(out)]
    done = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, timeout=600)
    assert out.exists(), done.stderr[-3000:]
    found, recorded = json.loads(out.read_text()), json.loads((HERE / "recorded" / f"{name}.json").read_text())
    same = recorded["versions"] == versions(packages)  # other versions of a package may give other numbers
    wrong = []
    for case, expected in recorded["cases"].items():
        got = found[case]
        if "error" in got:
            wrong.append(f"{case}: {got['error']}")
        elif same:
            wrong += [f"{case}{line}" for line in differences(expected, got["result"])]
    assert not wrong, "\n".join(wrong[:30]) + "\n" + done.stderr[-3000:]
