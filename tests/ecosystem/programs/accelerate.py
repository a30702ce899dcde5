"""accelerate: a training loop through its Accelerator, with accumulation, clipping, schedules, saved states; empty weights and device maps."""

import torch
from accelerate import (
    Accelerator,
    dispatch_model,
    infer_auto_device_map,
    init_empty_weights,
    load_checkpoint_and_dispatch,
)
from accelerate.state import AcceleratorState
from accelerate.utils import find_executable_batch_size, set_seed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def _net():
    return nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, 3))


def loop():
    set_seed(1)
    accelerator = Accelerator(gradient_accumulation_steps=2, cpu=True)
    data = TensorDataset(torch.randn(40, 5), torch.randint(0, 3, (40,)))
    net = _net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    net, optimizer, loader, schedule = accelerator.prepare(
        net, optimizer, DataLoader(data, batch_size=8, shuffle=True), schedule
    )
    losses = []
    for _ in range(2):
        for x, y in loader:
            with accelerator.accumulate(net):
                loss = nn.functional.cross_entropy(net(x), y)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(net.parameters(), 0.5)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
            losses.append(accelerator.gather_for_metrics(loss.detach()).item())
    accelerator.save_state("state")
    before = [p.detach().clone() for p in net.parameters()]
    with torch.no_grad():
        for p in net.parameters():
            p.add_(1)
    accelerator.load_state("state")
    same = all(torch.equal(a, b) for a, b in zip(before, net.parameters()))
    return {"losses": losses, "rate": schedule.get_last_lr(), "same": same, "device": str(accelerator.device)}


def mixed():
    AcceleratorState._reset_state(True)
    accelerator = Accelerator(mixed_precision="bf16", cpu=True)
    net, optimizer = accelerator.prepare(_net(), torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1))
    with accelerator.autocast():
        inner = net[0](torch.randn(4, 5))
    out = net(torch.randn(4, 5))
    return {"inner": str(inner.dtype), "out": str(out.dtype)}


def weights():
    with init_empty_weights():
        empty = _net()
    full = _net()
    torch.save(full.state_dict(), "weights.bin")
    loaded = load_checkpoint_and_dispatch(empty, "weights.bin", device_map={"": "cpu"}).eval()
    x = torch.randn(2, 5)
    plan = infer_auto_device_map(_net(), max_memory={"cpu": 200, "disk": 10000})
    offloaded = dispatch_model(full.eval(), {"0": "cpu", "1": "cpu", "2": "cpu", "3": "disk"}, offload_dir="offload")
    return {"difference": (loaded(x) - offloaded(x)).abs().max(), "plan": {k: str(v) for k, v in plan.items()}}


def batch_size():
    tried = []

    @find_executable_batch_size(starting_batch_size=64)
    def run(batch_size):
        tried.append(batch_size)
        if batch_size > 16:
            raise RuntimeError("CUDA out of memory.")
        return batch_size

    return {"size": run(), "tried": tried}
