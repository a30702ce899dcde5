"""Programs of `test_as_gloo`, for either library: collectives, messages, callbacks, groups, errors. Not a test."""

import datetime


def error(f, *args, **kwargs):
    """What a call raises: (type, text)."""
    try:
        f(*args, **kwargs)
    except Exception as problem:
        return [type(problem).__name__, str(problem).replace("flambeau.", "torch.")]
    return None


def values(torch, rank, *shape, dtype="float64"):
    """Numbers that every rank has others of."""
    count = 1
    for n in shape:
        count *= n
    x = ((torch.arange(count, dtype=torch.float64) + 1) * (rank + 1) * 7) % 11
    return x.reshape(shape).to(getattr(torch, dtype))


def reductions(torch, dist, rank, size):
    found = {}
    op = dist.ReduceOp
    for dtype in ("float32", "float64", "int64", "uint8", "bool", "float16", "bfloat16"):
        for name in ("SUM", "PRODUCT", "MIN", "MAX"):
            x = values(torch, rank, 2, 3, dtype=dtype)
            dist.all_reduce(x, getattr(op, name))
            found[dtype, name] = x
    for name in ("BAND", "BOR", "BXOR"):
        x = values(torch, rank, 5, dtype="int32")
        dist.all_reduce(x, getattr(op, name))
        found[name] = x
    x = values(torch, rank, 4)
    dist.all_reduce(x, op.AVG)
    found["AVG"] = x
    x = torch.complex(values(torch, rank, 3), values(torch, rank + 1, 3))
    dist.all_reduce(x)
    found["complex"] = torch.view_as_real(x)
    for n in (0, 1, 7, 100_003):
        x = values(torch, rank, n)
        dist.all_reduce(x)
        found[n] = [x[:5], x.sum()]
    x = values(torch, rank, 4, 3).t()
    dist.all_reduce(x)
    found["transposed"] = x
    x = values(torch, rank, 3)
    dist.reduce(x, 1)
    found["reduce"] = x if rank == 1 else None
    x = values(torch, rank, 3)
    work = dist.all_reduce(x, async_op=True)
    found["work"] = [work.wait(), work.is_completed(), work.get_future().wait()]
    return found


def moves(torch, dist, rank, size):
    found = {}
    x = values(torch, rank, 2, 2)
    for root in range(size):
        y = x.clone()
        dist.broadcast(y, root)
        found["broadcast", root] = y
    parts = [torch.empty_like(x) for _ in range(size)]
    dist.all_gather(parts, x)
    found["all_gather"] = parts
    whole = torch.empty(2 * size, 2, dtype=x.dtype)
    dist.all_gather_single(whole, x)
    found["single"] = whole
    parts = [torch.empty_like(x) for _ in range(size)] if rank == 1 else None
    dist.gather(x, parts, 1)
    found["gather"] = parts
    y = torch.empty(3, dtype=x.dtype)
    dist.scatter(y, [values(torch, r + 5, 3) for r in range(size)] if rank == 0 else None, 0)
    found["scatter"] = y
    y = torch.empty(2, dtype=x.dtype)
    dist.reduce_scatter(y, [values(torch, rank + r, 2) for r in range(size)])
    found["reduce_scatter"] = y
    dist.reduce_scatter_single(y, values(torch, rank, 2 * size))
    found["reduce_scatter_single"] = y
    whole = torch.empty(2 * size, dtype=x.dtype)
    dist.all_to_all_single(whole, values(torch, rank, 2 * size))
    found["all_to_all_single"] = whole
    ins = [r + 1 for r in range(size)]
    whole = torch.empty((rank + 1) * size, dtype=x.dtype)
    dist.all_to_all_single(whole, values(torch, rank, sum(ins)), [rank + 1] * size, ins)
    found["uneven"] = whole
    outs = [torch.empty(2, dtype=x.dtype) for _ in range(size)]
    dist.all_to_all(outs, [values(torch, rank + 2 * r, 2) for r in range(size)])
    found["all_to_all"] = outs
    dist.barrier()
    dist.monitored_barrier(timeout=datetime.timedelta(seconds=20))
    return found


def messages(torch, dist, rank, size):
    found = {}
    after, before = (rank + 1) % size, (rank - 1) % size
    x, y = values(torch, rank, 4), torch.empty(4, dtype=torch.float64)
    works = dist.batch_isend_irecv([dist.P2POp(dist.isend, x, after), dist.P2POp(dist.irecv, y, before)])
    for work in works:
        work.wait()
    found["ring"] = y
    if rank == 0:
        found["any"] = sorted(dist.recv(torch.empty(1), tag=9) for _ in range(size - 1))
        late = torch.empty(1)
        dist.recv(late, 1, tag=2)
        early = torch.empty(1)
        dist.recv(early, 1, tag=1)
        found["tags"] = [late, early]
    else:
        dist.send(torch.ones(1), 0, tag=9)
        if rank == 1:
            works = [dist.isend(torch.tensor([float(tag)]), 0, tag=tag) for tag in (1, 2)]
            for work in works:
                work.wait()
    objects = [None] * size
    dist.all_gather_object(objects, {"rank": rank, "long": "x" * rank * 10})
    found["objects"] = objects
    one = [{"from": rank}, "two" * rank]
    dist.broadcast_object_list(one, 1)
    found["broadcast"] = one
    gathered = [None] * size if rank == 0 else None
    dist.gather_object((rank, "a" * rank), gathered, 0)
    found["gathered"] = gathered
    mine = [None]
    dist.scatter_object_list(mine, [f"for {r}" * (r + 1) for r in range(size)] if rank == 0 else None, 0)
    found["mine"] = mine
    if rank == 0:
        dist.send_object_list([1, "b"], 1)
    elif rank == 1:
        got = [None, None]
        dist.recv_object_list(got, 0)
        found["got"] = got
    return found


def groups(torch, dist, rank, size):
    found = {
        "world": [
            dist.get_rank(),
            dist.get_world_size(),
            dist.get_backend(),
            dist.is_initialized(),
            dist.get_pg_count(),
        ]
    }
    pair = dist.new_group([0, 1])
    found["in"] = [dist.get_rank(pair), dist.get_world_size(pair)]
    x = values(torch, rank, 3)
    if rank < 2:
        dist.all_reduce(x, group=pair)
        found["ranks"] = [
            dist.get_process_group_ranks(pair),
            dist.get_global_rank(pair, 1),
            dist.get_group_rank(pair, 1),
        ]
    found["sum"] = x
    ends = dist.new_group([0, size - 1])
    y = values(torch, rank, 3)
    if rank in (0, size - 1):
        dist.broadcast(y, size - 1, group=ends)
        z = values(torch, rank, 2)
        dist.broadcast(z, group_src=0, group=ends)
        found["z"] = z
        dist.destroy_process_group(ends)
    found["y"] = y
    mine, every = dist.new_subgroups_by_enumeration([[r] for r in range(size)])
    found["alone"] = [dist.get_world_size(mine), len(every)]
    found["errors"] = [
        error(dist.new_group, [0, size + 3]), error(dist.new_group, [0, 0]), error(dist.init_process_group, "gloo"),
        error(dist.all_reduce, 3), error(dist.all_gather, torch.ones(1), torch.ones(1)),
        error(dist.all_gather, [torch.ones(1)], torch.ones(1)), error(dist.broadcast, torch.ones(1), size + 2),
        error(dist.broadcast, torch.ones(1)), error(dist.send, torch.ones(1), rank),
        error(dist.gather, torch.ones(2), None if rank == 0 else [torch.ones(2)], 0),
        error(dist.scatter, torch.ones(2), None if rank == 0 else [torch.ones(2)], 0),
        error(dist.all_reduce, torch.ones(2), dist.ReduceOp.BAND),
        error(dist.all_reduce, torch.ones(2, dtype=torch.complex64), dist.ReduceOp.MAX),
        error(dist.all_gather, [torch.ones(1)] * (size - 1) + [torch.ones(1, dtype=torch.int64)], torch.ones(1)),
    ]  # fmt: skip
    dist.destroy_process_group()
    found["after"] = [error(dist.get_rank), error(dist.all_reduce, torch.ones(1)), error(dist.destroy_process_group)]
    return found


def callbacks(torch, dist, rank, size):
    """Callbacks of futures that wait for further collectives, as communication hooks do."""
    x = torch.tensor([float(rank + 1)])

    def again(future):
        y = future.value()[0].clone()
        return dist.all_reduce(y, async_op=True).get_future().wait()[0] * 10

    return dist.all_reduce(x, async_op=True).get_future().then(again).wait()


def everything(torch, dist, rank, size):
    """All programs of this file, one after the other; the last one leaves the group."""
    return {f.__name__: f(torch, dist, rank, size) for f in (reductions, moves, messages, callbacks, groups)}
