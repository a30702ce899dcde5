"""The launcher: places in the environment, restarts, failures that end everybody, signals, files of output, functions."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

from flambeau.distributed import run
from flambeau.distributed.elastic.multiprocessing import (
    DefaultLogsSpecs,
    Std,
    SubprocessContext,
    start_processes,
    to_map,
)
from flambeau.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure, record
from flambeau.distributed.launcher import LaunchConfig, elastic_launch

from . import workers

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")
ROOT = pathlib.Path(__file__).parents[3]


def launch(*args):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "flambeau.distributed.run", *map(str, args)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process, code=0):
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    return out, err


def notes(folder):
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


def test_workers_find_their_places(tmp_path):
    ended(launch("--standalone", "--nproc-per-node", 2, workers.__file__, "reduce", tmp_path))
    assert notes(tmp_path) == {"0.0": "2 0 0 True", "1.0": "2 1 1 True"}


def test_a_second_attempt(tmp_path):
    ended(
        launch(
            "--standalone",
            "--nproc_per_node=2",
            "--max-restarts=1",
            "-m",
            "tests.unit.distributed.workers",
            "again",
            tmp_path,
        )
    )
    assert {name: text for name, text in notes(tmp_path).items() if name.endswith("1")} == {
        "0.1": "2 0 0 True",
        "1.1": "2 1 1 True",
    }


def test_a_failure_ends_all_and_is_told(tmp_path):
    started = time.monotonic()
    _, err = ended(launch("--standalone", "--nproc-per-node", 2, workers.__file__, "again", tmp_path), 1)
    assert time.monotonic() - started < 30
    assert "workers.py FAILED" in err
    assert err.index("Root Cause") < err.rindex("rank      : 1 (local_rank: 1)")
    assert "exitcode  : 3" in err


def test_two_nodes(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    nodes = [
        launch("--nnodes", 2, "--node-rank", n, "--master-port", port, workers.__file__, "reduce", tmp_path)
        for n in (1, 0)
    ]
    for node in nodes:
        ended(node)
    assert notes(tmp_path) == {"0.0": "2 0 0 True", "1.0": "2 1 0 True"}


def test_signals_are_handed_on(tmp_path):
    process = launch("--standalone", "--nproc-per-node", 2, workers.__file__, "sleep", tmp_path)
    end = time.monotonic() + 30
    while len(notes(tmp_path)) < 2 or "" in notes(tmp_path).values():
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = ended(process, 1)
    assert "got signal: 15" in err
    assert notes(tmp_path) == {"0.0": "ended", "1.0": "ended"}


def test_output_in_files(tmp_path):
    (tmp_path / "notes").mkdir()
    arguments = (
        "--log-dir",
        tmp_path / "logs",
        "-r",
        "0:1",
        "-t",
        "1:1",
        workers.__file__,
        "reduce",
        tmp_path / "notes",
    )
    out, _ = ended(launch("--standalone", "--nproc-per-node", 2, *arguments))
    assert out == "[default1]:out 1\n"
    assert {p.parent.name: p.read_text() for p in (tmp_path / "logs").rglob("stdout.log")} == {
        "0": "out 0\n",
        "1": "out 1\n",
    }


def config(**options):
    return LaunchConfig(
        1, 1, 2, rdzv_backend="c10d", max_restarts=0, start_method="fork", monitor_interval=0.02, **options
    )


def test_functions():
    assert elastic_launch(config(), workers.double)(4) == {0: 8, 1: 9}


def test_functions_that_fail():
    with pytest.raises(ChildFailedError) as caught:
        elastic_launch(config(), workers.fail)(4)
    rank, failure = caught.value.get_first_failure()
    assert (rank, failure.exitcode, failure.message) == (1, 1, "ValueError: worker 1 is broken")
    assert caught.value.failures[0].signal_name() == "SIGTERM"


def test_processes(tmp_path):
    logs = DefaultLogsSpecs(str(tmp_path), redirects=Std.OUT)
    context = start_processes("trainer", "/bin/echo", {0: ("a",), 1: ("b",)}, {0: {}, 1: {}}, logs)
    assert isinstance(context, SubprocessContext)
    result = context.wait(timeout=30, period=0.05)
    assert not result.is_failed()
    assert [pathlib.Path(result.stdouts[r]).read_text() for r in (0, 1)] == ["a\n", "b\n"]
    context = start_processes("trainer", "/bin/sleep", {0: ("30",)}, {0: {}}, logs)
    assert context.wait(0) is None
    context.close()
    with pytest.raises(RuntimeError, match="same local ranks"):
        start_processes("trainer", "/bin/echo", {0: ()}, {1: {}}, logs)


def test_what_the_command_line_says(monkeypatch):
    assert to_map(Std.ALL, 2) == {0: Std.ALL, 1: Std.ALL}
    assert Std.from_str("0:1,1:3") == {0: Std.OUT, 1: Std.ALL}
    with pytest.raises(ValueError, match="does not match"):
        Std.from_str("x")
    monkeypatch.setenv("PET_NNODES", "2:2")
    args = run.parse_args(["--nproc-per-node=3", "--rdzv_conf", "timeout=7", "--node-rank=1", "x.py", "--lr", "1"])
    config, program, rest = run.config_from_args(args)
    assert (config.min_nodes, config.nproc_per_node, config.rdzv_configs) == (2, 3, {"timeout": "7", "rank": 1})
    assert program == sys.executable
    assert rest == ["-u", "x.py", "--lr", "1"]
    with pytest.raises(NotImplementedError, match="changes"):
        elastic_launch(LaunchConfig(1, 2, 1, rdzv_backend="static"), workers.double)(1)


def test_errors_are_written_down(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))

    @record
    def broken():
        raise KeyError("x")

    with pytest.raises(KeyError):
        broken()
    failure = ProcessFailure(0, 1, 1, str(tmp_path / "error.json"))
    assert failure.message == "KeyError: 'x'"
    assert ProcessFailure(0, 7, -9, "").message == "Signal 9 (SIGKILL) received by PID 7"
