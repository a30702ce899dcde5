"""What annotations are written with in TorchScript."""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple, Union  # noqa: F401, UP035

from flambeau._jit_internal import (
    BroadcastingList1 as BroadcastingList1,
    BroadcastingList2 as BroadcastingList2,
    BroadcastingList3 as BroadcastingList3,
    BroadcastingListCls as BroadcastingListCls,
    Future as Future,
    _Await as _Await,
    is_dict as is_dict,
    is_future as is_future,
    is_ignored_fn as is_ignored_fn,
    is_list as is_list,
    is_optional as is_optional,
    is_tuple as is_tuple,
    is_union as is_union,
)
