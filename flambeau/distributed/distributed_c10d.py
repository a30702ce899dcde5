"""`torch.distributed`'s functions, under the module where PyTorch has them."""

from flambeau.distributed import _collectives, _groups, _messages, _objects
from flambeau.distributed._collectives import *  # noqa: F403
from flambeau.distributed._collectives import (
    _all_gather_base as _all_gather_base,
    _reduce_scatter_base as _reduce_scatter_base,
)
from flambeau.distributed._errors import DistBackendError as DistBackendError
from flambeau.distributed._group import ProcessGroup as ProcessGroup, Work as Work
from flambeau.distributed._groups import *  # noqa: F403
from flambeau.distributed._groups import (
    _get_default_group as _get_default_group,
    _rank_not_in_group as _rank_not_in_group,
    _resolve_process_group as _resolve_process_group,
    _world as _world,
)
from flambeau.distributed._messages import *  # noqa: F403
from flambeau.distributed._objects import *  # noqa: F403
from flambeau.distributed._reduce_op import ReduceOp as ReduceOp
from flambeau.distributed._store import PrefixStore as PrefixStore, Store as Store
from flambeau.distributed.constants import default_pg_timeout as default_pg_timeout
from flambeau.distributed.rendezvous import rendezvous as rendezvous

for _module in (_groups, _collectives, _messages, _objects):
    for _name in _module.__all__:
        getattr(_module, _name).__module__ = __name__
