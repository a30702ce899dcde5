"""Paths and switches that libraries read from `torch._utils_internal`; there is no service behind the switches: each has its default."""

from __future__ import annotations

import os
import tempfile
from typing import Any

TEST_MASTER_ADDR = "127.0.0.1"
TEST_MASTER_PORT = 29500
USE_GLOBAL_DEPS = True
USE_RTLD_GLOBAL_WITH_LIBTORCH = False
REQUIRES_SET_PYTHON_MODULE = False
DISABLE_JUSTKNOBS = True

torch_parent = os.path.dirname(os.path.dirname(__file__))


def get_file_path(*path_components: str) -> str:
    """A path below the folder that the package lies in."""
    return os.path.join(torch_parent, *path_components)


def get_writable_path(path: str) -> str:
    """The path if it can be written, else that of a new folder."""
    return path if os.access(path, os.W_OK) else tempfile.mkdtemp(suffix=os.path.basename(path))


def prepare_multiprocessing_environment(path: str) -> None:
    """Nothing needs to be prepared."""


def resolve_library_path(path: str) -> str:
    """The path without links."""
    return os.path.realpath(path)


def justknobs_check(name: str, default: bool = True) -> bool:
    """Whether a switch is on: its default."""
    return default


def justknobs_getval_int(name: str) -> int:
    """The number that a switch has: 0."""
    return 0


def is_fb_unit_test() -> bool:
    """Whether this is a test of PyTorch's own at its maker's."""
    return False


def signpost_event(category: str, name: str, parameters: dict[str, Any]) -> None:
    """Nothing is logged."""


def log_export_usage(**kwargs: Any) -> None:
    """Nothing is logged."""


def log_torchscript_usage(api: str, **kwargs: Any) -> None:
    """Nothing is logged."""
