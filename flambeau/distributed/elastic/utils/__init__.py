"""What elastic jobs ask of their surroundings: ports, variables, arguments of workers."""

from __future__ import annotations

import os
from string import Template
from typing import Any

from flambeau.distributed.elastic.utils.distributed import get_socket_with_port as get_socket_with_port


def get_env_variable_or_raise(env_name: str) -> str:
    """The value of an environment variable that has to be there."""
    value = os.environ.get(env_name)
    if value is None:
        raise ValueError(f"Environment variable {env_name} expected, but not set")
    return value


class macros:
    """What stands in workers' arguments for what differs among them."""

    local_rank = "${local_rank}"

    @staticmethod
    def substitute(args: list[Any], local_rank: str) -> list[Any]:
        """The arguments of one worker."""
        return [Template(a).safe_substitute(local_rank=local_rank) if isinstance(a, str) else a for a in args]
