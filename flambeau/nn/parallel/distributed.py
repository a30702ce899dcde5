"""DistributedDataParallel: the same model in every process of a group, gradients averaged over them."""

import contextlib

import flambeau as torch
from flambeau import distributed as dist
from flambeau.distributed.algorithms.join import Join, Joinable, JoinHook
from flambeau.distributed.utils import _sync_params_and_buffers

from ..modules.module import Module
from ._reducer import Logger, Reducer, reached

__all__ = ["DistributedDataParallel"]


class _AnswersForDone(JoinHook):
    """What a rank that has no more batches does: the collectives of an iteration, with zeros."""

    def __init__(self, ddp, divide_by_initial_world_size):
        super().__init__()
        self.ddp = ddp
        ddp._divide_by_initial_world_size = divide_by_initial_world_size

    def main_hook(self):
        ddp = self.ddp
        if ddp._shares_buffers():
            ddp._take_over(ddp._buffers_to_share(), ddp._last_that(False))
        ddp.require_forward_param_sync = ddp._anyone_averages(False)
        if not ddp.require_forward_param_sync:
            return
        if ddp._looks_for_unused():
            ddp._unused = list(ddp._parameters_to_average)
            ddp.reducer.unused_everywhere = ddp._unused_on_all_ranks()
        ddp.reducer.answer()

    def post_hook(self, is_last_joiner):
        ddp = self.ddp
        everything = [
            *(p for n, p in ddp.module.named_parameters() if n not in ddp.parameters_to_ignore),
            *ddp._buffers_to_share(),
        ]
        ddp._take_over(everything, ddp._last_that(is_last_joiner))


class DistributedDataParallel(Module, Joinable):
    r"""Wraps a module so that after every backward pass its gradients are the means over the processes of a group.

    Parameters and buffers are taken over from rank 0. Each process feeds its own part of a batch; while the backward pass runs, gradients go to the
    others in buckets as they come, and when it ends they are there. With the same start and the same means, models stay equal.

    Args:
        module: the module; some parameter requires a gradient.
        process_group: the group; all ranks without one.
        broadcast_buffers: take over rank 0's buffers before every forward pass.
        find_unused_parameters: look after every forward pass which parameters no gradient will reach. Without it, such parameters are an error.
        bucket_cap_mb: the size of a bucket, in MiB.
        static_graph: parameters that are unused in the first pass are so always.
        gradient_as_bucket_view: accepted: gradients keep their memory.

    Raises:
        ValueError: no process group.
        RuntimeError: no parameter requires a gradient, or ranks have other models.
    """

    def __init__(
        self,
        module,
        device_ids=None,
        output_device=None,
        dim=0,
        broadcast_buffers=True,
        init_sync=True,
        process_group=None,
        bucket_cap_mb=None,
        find_unused_parameters=False,
        check_reduction=False,
        gradient_as_bucket_view=False,
        static_graph=False,
        delay_all_reduce_named_params=None,
        param_to_hook_all_reduce=None,
        mixed_precision=None,
        device_mesh=None,
        skip_all_reduce_unused_params=False,
        bucket_cap_mb_list=None,
    ):
        Module.__init__(self)
        Joinable.__init__(self)
        if process_group is not None and device_mesh is not None:
            raise RuntimeError("Cannot specify both process_group and device_mesh arguments.")
        for given, name in (
            (mixed_precision, "mixed_precision"),
            (delay_all_reduce_named_params, "delay_all_reduce_named_params"),
        ):
            if given is not None:
                raise NotImplementedError(f"torch.nn.parallel.DistributedDataParallel with {name}")
        self.process_group = (
            device_mesh.get_group()
            if device_mesh is not None
            else process_group
            if process_group is not None
            else dist.distributed_c10d._get_default_group()
        )
        if not any(p.requires_grad for p in module.parameters()):
            raise RuntimeError(
                "DistributedDataParallel is not needed when a module doesn't have any parameter that requires a gradient."
            )
        if any(isinstance(p, torch.nn.parameter.UninitializedParameter) for p in module.parameters()):
            raise RuntimeError(
                "Modules with uninitialized parameters can't be used with `DistributedDataParallel`. Run a dummy forward pass to correctly initialize the modules"
            )
        if any(p.device.type != "cpu" for p in module.parameters()) or device_ids or output_device:
            raise NotImplementedError("torch.nn.parallel.DistributedDataParallel on devices other than the CPU")
        self.module, self.dim, self.device_ids, self.output_device = module, dim, None, None
        self.device, self.device_type, self.is_multi_device_module = torch.device("cpu"), "cpu", False
        self.broadcast_buffers, self.find_unused_parameters = broadcast_buffers, find_unused_parameters
        self.gradient_as_bucket_view, self.static_graph = gradient_as_bucket_view, static_graph
        self.require_backward_grad_sync = self.require_forward_param_sync = True
        ignored = set(getattr(module, "_ddp_params_and_buffers_to_ignore", ()))
        self.parameters_to_ignore = ignored
        self._parameters_to_average = [p for n, p in module.named_parameters() if p.requires_grad and n not in ignored]
        self._same_on_all_ranks()
        if init_sync:
            self._take_over([*(p for n, p in module.named_parameters() if n not in ignored), *self._buffers_to_share()])
        self.bucket_bytes_cap = int((25 if bucket_cap_mb is None else bucket_cap_mb) * 1024 * 1024)
        first = 1 << 20 if bucket_cap_mb is None else self.bucket_bytes_cap
        self.reducer = Reducer(
            self._parameters_to_average, self.process_group, min(first, self.bucket_bytes_cap), self.bucket_bytes_cap
        )
        self.logger = Logger(self.reducer)
        self._unused = None

    def _buffers_to_share(self):
        return [b for n, b in self.module.named_buffers() if n not in self.parameters_to_ignore]

    def _same_on_all_ranks(self):
        """Raise unless all ranks have as many parameters, of the same shapes."""
        shapes = [tuple(p.shape) for p in self._parameters_to_average]
        everywhere = [None] * dist.get_world_size(self.process_group)
        dist.all_gather_object(everywhere, shapes, group=self.process_group)
        for rank, other in enumerate(everywhere):
            if len(other) != len(everywhere[0]):
                raise RuntimeError(
                    f"DDP expects same model across all ranks, but Rank 0 has {len(everywhere[0])} params, while rank {rank} has inconsistent {len(other)} params."
                )
            for i, (a, b) in enumerate(zip(everywhere[0], other, strict=True)):
                if a != b:
                    raise RuntimeError(
                        f"[{i}]: params[{i}] in this process with sizes {list(b)} appears not to match sizes of the same param in process 0."
                    )

    def _take_over(self, tensors, rank=0):
        """A rank's values, for each tensor."""
        _sync_params_and_buffers(self.process_group, tensors, 0, rank)

    def forward(self, *inputs, **kwargs):
        averaging = torch.is_grad_enabled() and self.require_backward_grad_sync
        if averaging:
            self.reducer.check_finished()
        joining = self._join_config.enable
        work = Join.notify_join_context(self)
        if self._shares_buffers():
            self._take_over(self._buffers_to_share(), self._last_that(True) if joining else 0)
        if joining:
            self._anyone_averages(averaging)
            self.reducer.divisor = self.reducer.size
            if work is not None and not self._divide_by_initial_world_size:
                work.wait()
                self.reducer.divisor = int(work.result()[0])
        output = self.module(*inputs, **kwargs)
        self.require_forward_param_sync = not torch.is_grad_enabled() or self.require_backward_grad_sync
        if averaging:
            self.reducer.prepare(self._unused_parameters(output))
        return output

    def _unused_parameters(self, output):
        if not self._looks_for_unused():
            return self._unused if self.static_graph else ()
        used = reached(output)
        self._unused = [p for p in self._parameters_to_average if id(p) not in used]
        self.reducer.unused_everywhere = self._unused_on_all_ranks()
        return self._unused

    def _looks_for_unused(self):
        return self._unused is None if self.static_graph else self.find_unused_parameters

    def _unused_on_all_ranks(self):
        """Those that no rank used: their gradients stay as they were."""
        mark = {id(p) for p in self._unused}
        used = torch.tensor([id(p) not in mark for p in self._parameters_to_average], dtype=torch.int32)
        dist.all_reduce(used, group=self.process_group)
        return {id(p) for p, n in zip(self._parameters_to_average, used.tolist(), strict=True) if n == 0}

    @contextlib.contextmanager
    def no_sync(self):
        """Within the block gradients add up in each process by itself; the next pass outside averages them all."""
        before, self.require_backward_grad_sync = self.require_backward_grad_sync, False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    def register_comm_hook(self, state, hook):
        """Average gradients by `hook(state, bucket)`, which gives a future of the tensor that replaces the bucket's."""
        if not callable(hook):
            raise TypeError("Communication hook must be callable.")
        if self.reducer.hook is not None:
            raise RuntimeError("register_comm_hook or register_builtin_comm_hook can only be called once.")
        self.reducer.hook = (state, hook)

    def join(self, divide_by_initial_world_size=True, enable=True, throw_on_early_termination=False):
        """A block in which ranks may have different numbers of batches: those that are done answer the others' collectives with zeros.

        At its end all ranks have the model of one that was running last.

        Args:
            divide_by_initial_world_size: gradients are divided by the number of all ranks; else by that of the ranks that still run.
            enable: whether to do anything.
            throw_on_early_termination: raise on all ranks as soon as one is done.
        """
        return Join(
            [self], enable, throw_on_early_termination, divide_by_initial_world_size=divide_by_initial_world_size
        )

    def join_hook(self, **kwargs):
        """What this rank does when it is done."""
        return _AnswersForDone(self, kwargs.get("divide_by_initial_world_size", True))

    @property
    def join_device(self):
        """Where the parameters are."""
        return self.device

    @property
    def join_process_group(self):
        """The group whose ranks join."""
        return self.process_group

    def _shares_buffers(self):
        return self.require_forward_param_sync and self.broadcast_buffers and bool(self._buffers_to_share())

    def _last_that(self, own):
        """The highest of the ranks for which something holds."""
        rank = torch.tensor([dist.get_rank(self.process_group) if own else -1])
        dist.all_reduce(rank, op=dist.ReduceOp.MAX, group=self.process_group)
        return int(rank)

    def _anyone_averages(self, own):
        """Whether gradients are averaged in this iteration. Ranks that are done ask, those that run tell."""
        count = torch.tensor([int(own)])
        dist.all_reduce(count, group=self.process_group)
        return int(count) > 0

    def __getstate__(self):
        raise RuntimeError("a DistributedDataParallel is not pickled: save its `module`'s state_dict")

    def _get_ddp_logging_data(self):
        data = self.logger._get_ddp_logging_data()
        return {**data.strs_map, **data.ints_map}

    def _set_static_graph(self):
        """The graph is the same in every pass."""
        self.static_graph = True
