"""Fixtures for every test: `agree` (one comparison with PyTorch), `torch` (the real one), `golden` (generated text)."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes share two cores
os.environ.setdefault("FLAMBEAU_STRICT", "1")  # a mistake of the compiler's is no slow success
os.environ.setdefault("FLAMBEAU_REMEMBER", "0")  # tests are of captures, not of those of the last run
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import difflib
import importlib.util
import pathlib
import re
import signal
import sys
from typing import Any

import numpy as np
import pytest

from tests import agree as agreement
from tests.processor import usual

HERE = pathlib.Path(__file__).parent
GOLDEN = HERE / "golden"
HAS_TORCH = importlib.util.find_spec("torch") is not None

if (
    signal.getsignal(signal.SIGINT) == signal.SIG_IGN
):  # as a shell starts what it runs in the background; children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

try:
    import hypothesis
except ModuleNotFoundError:
    pass
else:
    hypothesis.settings.register_profile(
        "flambeau",
        deadline=None,  # the machine may be busy
        derandomize=True,  # a failure is everybody's failure
        max_examples=50,
        suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large],
    )
    hypothesis.settings.load_profile("flambeau")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files from what is generated now")
    parser.addoption("--record", action="store_true", help="record PyTorch's answers instead of comparing with them")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "agree" in getattr(item, "fixturenames", ()):
            item.add_marker("agrees")
        if item.get_closest_marker("parity") and not HAS_TORCH:
            item.add_marker(pytest.mark.skip(reason="real PyTorch is not installed"))


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """What a test draws from the generators that all share does not hang on which ran before, in which process."""
    np.random.seed(0)
    for name in ("flambeau", "torch"):
        if name in sys.modules:
            sys.modules[name].manual_seed(0)


@pytest.fixture(scope="session")
def torch() -> Any:
    """Real PyTorch; the test is skipped where it is not installed."""
    return pytest.importorskip("torch")


@pytest.fixture
def agree(request: pytest.FixtureRequest) -> agreement.Agree:
    """Compares what a program does under PyTorch and under flambeau; see `tests.agree`."""
    module = request.node.path.relative_to(HERE).with_suffix("").as_posix()
    recording = None
    if request.config.getoption("--record"):
        recording = request.config.stash.setdefault(RECORDING, {}).setdefault(module, {})
    live = HAS_TORCH and (recording is not None or usual() or not request.node.get_closest_marker("last_places"))
    torch = importlib.import_module("torch") if live else None
    return agreement.Agree(module, request.node.name, torch, recording)


RECORDING: pytest.StashKey[dict[str, dict[str, Any]]] = pytest.StashKey()


def pytest_sessionfinish(session: pytest.Session) -> None:
    recording = session.config.stash.get(RECORDING, {})
    options = session.config.option
    some = bool(options.keyword or any("::" in arg for arg in session.config.args) or session.testsfailed)
    agreement.write(recording, keep=some)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Any:
    """`golden(text)` compares generated text with its file under `tests/golden/`; `--update-golden` rewrites it."""
    module = request.node.path.relative_to(HERE).with_suffix("").as_posix()

    def check(text: str, name: str = "", suffix: str = ".txt") -> None:
        stem = re.sub(r"[^\w.-]+", "_", f"{request.node.name}.{name}" if name else request.node.name).strip("_")
        path = GOLDEN / module / (stem + suffix)
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            return
        assert path.exists(), f"{path.relative_to(HERE)} is missing: pytest --update-golden writes it"
        kept = path.read_text()
        if text != kept:
            diff = difflib.unified_diff(kept.splitlines(), text.splitlines(), "golden", "generated", lineterm="")
            pytest.fail(
                f"{path.relative_to(HERE)} differs (pytest --update-golden):\n" + "\n".join(diff), pytrace=False
            )

    return check
