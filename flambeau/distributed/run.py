"""`python -m flambeau.distributed.run --nproc-per-node 2 program.py ...`: a program by several workers; PyTorch's `torchrun`.

Each worker finds its place in its environment: `RANK`, `LOCAL_RANK`, `WORLD_SIZE`, `MASTER_ADDR`, `MASTER_PORT`, and so on.
When one fails the others are ended, and all are started again up to `--max-restarts` times; a signal is handed on.
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys
import uuid
from collections.abc import Sequence
from typing import Any

from flambeau.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from flambeau.distributed.elastic.multiprocessing.errors import record
from flambeau.distributed.launcher.api import LaunchConfig, elastic_launch

__all__ = [
    "config_from_args",
    "determine_local_world_size",
    "get_args_parser",
    "main",
    "parse_args",
    "parse_min_max_nnodes",
    "run",
]


class _Option:
    """Adds options that the environment can give, too: `--node-rank` as `PET_NODE_RANK`."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser

    def __call__(self, *names: str, flag: bool = False, default: Any = None, **kwargs: Any) -> None:
        longest = names[-1].lstrip("-")
        spellings = [*names, "--" + longest.replace("-", "_")] if "-" in longest else list(names)
        given = os.environ.get("PET_" + longest.replace("-", "_").upper())
        if flag:
            self.parser.add_argument(*spellings, action="store_true", default=given == "1", **kwargs)
        else:
            self.parser.add_argument(
                *spellings, default=default if given is None else kwargs.get("type", str)(given), **kwargs
            )


def get_args_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Torch Distributed Elastic Training Launcher", prog="torchrun")
    add = _Option(parser)
    add("--nnodes", default="1:1", help="number of machines, or MIN:MAX")
    add("--nproc-per-node", default="1", help="workers on each machine: a number, auto, cpu or gpu")
    add("--rdzv-backend", default="static", help="how the machines' agents meet: static or c10d")
    add("--rdzv-endpoint", default="", help="where: HOST[:PORT]")
    add("--rdzv-id", default="none", help="the job's name")
    add("--rdzv-conf", default="", help="more about it: key=value,...")
    add("--standalone", flag=True, help="one machine, a free port")
    add("--max-restarts", type=int, default=0, help="how often the workers may fail")
    add("--monitor-interval", type=float, default=0.1, help="seconds between looks at the workers")
    add("--start-method", default="spawn", choices=["spawn", "fork", "forkserver"], help="how functions are started")
    add("--event-log-handler", default="null", help="ignored")
    add("--role", default="default", help="the workers' name")
    add("-m", "--module", flag=True, help="the program is a module, as for python -m")
    add("--no-python", flag=True, help="the program is not Python")
    add("--run-path", flag=True, help="run the program by runpy, by its path")
    add("--log-dir", help="where the files of output go")
    add(
        "-r",
        "--redirects",
        default="0",
        help="what goes into files: 1 stdout, 2 stderr, 3 both, or 0:1,1:2 by local rank",
    )
    add("-t", "--tee", default="0", help="what goes into files and to the console")
    add("--local-ranks-filter", default="", help="whose output is shown: 0,1,...")
    add("--node-rank", type=int, default=0, help="the number of this machine")
    add("--master-addr", default="127.0.0.1", help="the host of the first machine")
    add("--master-port", type=int, help="its port (29500)")
    add("--local-addr", help="this machine's address")
    add("--signals-to-handle", default="SIGTERM,SIGINT,SIGHUP,SIGQUIT", help="the signals that are handed on")
    add("--shutdown-timeout", type=int, help="seconds that workers have to end")
    add("--virtual-local-rank", flag=True, help="LOCAL_RANK is 0 for every worker")
    parser.add_argument("training_script", help="the program")
    parser.add_argument("training_script_args", nargs=argparse.REMAINDER, help="its arguments")
    return parser


def parse_args(args: Sequence[str] | None) -> argparse.Namespace:
    """The options of a command line."""
    return get_args_parser().parse_args(args)


def parse_min_max_nnodes(nnodes: str) -> tuple[int, int]:
    """`2` or `2:4`.

    >>> parse_min_max_nnodes("2")
    (2, 2)
    """
    parts = nnodes.split(":")
    if len(parts) > 2:
        raise RuntimeError(f'nnodes={nnodes} is not in "MIN:MAX" format')
    return int(parts[0]), int(parts[-1])


def determine_local_world_size(nproc_per_node: str) -> int:
    """How many workers: a number, or what `auto`, `cpu` and `gpu` count.

    >>> determine_local_world_size("3")
    3
    """
    try:
        return int(nproc_per_node)
    except ValueError:
        pass
    import flambeau

    if nproc_per_node == "gpu" and not flambeau.cuda.is_available():
        raise ValueError("Cuda is not available.")
    if nproc_per_node not in ("auto", "cpu", "gpu"):
        raise ValueError(f"Unsupported nproc_per_node value: {nproc_per_node}")
    if nproc_per_node != "cpu" and flambeau.cuda.is_available():
        return flambeau.cuda.device_count()
    return os.cpu_count() or 1


def config_from_args(args: argparse.Namespace) -> tuple[LaunchConfig, Any, list[str]]:
    """The launch, what is run, and its arguments."""
    least, most = parse_min_max_nnodes(args.nnodes)
    if not 0 < least <= most:
        raise AssertionError("nnodes must be positive, and MIN at most MAX")
    if args.max_restarts < 0:
        raise AssertionError("max_restarts must not be negative")
    count = determine_local_world_size(args.nproc_per_node)
    configs: dict[str, Any] = dict(pair.strip().split("=", 1) for pair in args.rdzv_conf.split(",") if pair.strip())
    endpoint = args.rdzv_endpoint
    if args.rdzv_backend == "static" and not args.standalone:
        configs["rank"] = args.node_rank
        endpoint = endpoint or f"{args.master_addr}:{29500 if args.master_port is None else args.master_port}"
    if count > 1 and "OMP_NUM_THREADS" not in os.environ:
        print(
            "Setting OMP_NUM_THREADS environment variable for each process to be 1 in default, to avoid your system being "
            "overloaded, please further tune the variable for optimal performance in your application as needed.",
            file=sys.stderr,
        )
        os.environ["OMP_NUM_THREADS"] = "1"
    shown = {int(r) for r in args.local_ranks_filter.split(",")} if args.local_ranks_filter else None
    logs = DefaultLogsSpecs(args.log_dir, Std.from_str(args.redirects), Std.from_str(args.tee), shown)
    config = LaunchConfig(
        min_nodes=least, max_nodes=most, nproc_per_node=count, logs_specs=logs, run_id=args.rdzv_id, role=args.role,
        rdzv_endpoint=endpoint, rdzv_backend=args.rdzv_backend, rdzv_configs=configs, max_restarts=args.max_restarts,
        monitor_interval=args.monitor_interval, start_method=args.start_method, local_addr=args.local_addr,
        log_line_prefix_template=os.environ.get("TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE"),
        signals_to_handle=args.signals_to_handle, virtual_local_rank=args.virtual_local_rank, shutdown_timeout=args.shutdown_timeout,
    )  # fmt: skip
    if args.run_path:
        return config, run_script_path, [args.training_script, *args.training_script_args]
    command: list[str] = []
    if not args.no_python:
        command = [os.environ.get("PYTHON_EXEC", sys.executable), "-u"]
        if args.module:
            command.append("-m")
    elif args.module:
        raise ValueError("Don't use both the '--no-python' flag and the '--module' flag at the same time.")
    command += [args.training_script, *args.training_script_args]
    return config, command[0], command[1:]


def run_script_path(training_script: str, *training_script_args: str) -> None:
    """Run a program in this process."""
    sys.argv = [training_script, *training_script_args]
    runpy.run_path(sys.argv[0], run_name="__main__")


def run(args: argparse.Namespace) -> None:
    """Launch what parsed options say."""
    if args.standalone:
        args.rdzv_backend, args.rdzv_endpoint, args.rdzv_id = "c10d", "localhost:0", str(uuid.uuid4())
    config, program, arguments = config_from_args(args)
    elastic_launch(config=config, entrypoint=program)(*arguments)


@record
def main(args: Sequence[str] | None = None) -> None:
    """The command."""
    run(parse_args(args))


if __name__ == "__main__":
    main()
