"""What the tutorials of PyTorch train with: profiles, loaders, ranks, averages, compiled steps, checkpoints."""

import io

import torch
import torch.nn.functional as F
from torch import nn, optim


def profiled():
    from torch.profiler import ProfilerActivity, profile, record_function, schedule

    net, x = nn.Sequential(nn.Linear(8, 8), nn.ReLU()), torch.randn(4, 8)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as prof:
        with record_function("model_inference"):
            net(x)
    names = {e.key for e in prof.key_averages()}
    steps = []
    with profile(
        activities=[ProfilerActivity.CPU],
        schedule=schedule(wait=1, warmup=1, active=2, repeat=1),
        on_trace_ready=lambda p: steps.append(p.step_num),
    ) as p:
        for _ in range(5):
            net(x)
            p.step()
    prof.export_chrome_trace("trace.json")
    with torch.autograd.profiler.profile() as old:
        net(x).sum().backward()
    return {
        "has": [n in names for n in ("model_inference", "aten::linear", "aten::addmm", "aten::relu")],
        "steps": steps,
        "table": "aten::addmm"
        in prof.key_averages(group_by_input_shape=True).table(sort_by="cpu_time_total", row_limit=10),
        "old": "aten::addmm" in str(old.key_averages()),
    }


def loading():
    """A data set of files with transforms, a collate function, a sampler and workers (data_tutorial)."""
    from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler, random_split

    class Faces(Dataset):
        def __init__(self, transform=None):
            self.data, self.transform = torch.randn(20, 3, 10, 10), transform

        def __len__(self):
            return len(self.data)

        def __getitem__(self, i):
            sample = {"image": self.data[i], "landmarks": torch.arange(4.0).view(2, 2) * i, "name": f"{i}.png"}
            return self.transform(sample) if self.transform else sample

    class Crop:
        def __call__(self, sample):
            top, left = (torch.randint(0, 3, (1,)).item() for _ in range(2))
            return {
                **sample,
                "image": sample["image"][:, top : top + 8, left : left + 8],
                "landmarks": sample["landmarks"] - torch.tensor([left, top]),
            }

    a, b = random_split(Faces(Crop()), [0.8, 0.2])
    results = {"names": [n for batch in DataLoader(a, batch_size=4, shuffle=True) for n in batch["name"]]}
    loader = DataLoader(
        a,
        batch_size=4,
        sampler=WeightedRandomSampler(torch.rand(16), 8),
        num_workers=2,
        worker_init_fn=_seeded,
        collate_fn=_joined,
        persistent_workers=True,
    )
    results["workers"] = [list(loader) for _ in range(2)]
    return results


def _seeded(worker):
    torch.manual_seed(worker)


def _joined(samples):
    return torch.stack([s["image"].sum() for s in samples]), [s["name"] for s in samples]


def distributed():
    """DistributedDataParallel over gloo in two processes (ddp_tutorial)."""
    import torch.multiprocessing as mp

    mp.start_processes(_rank, args=(2,), nprocs=2, start_method="fork")
    return torch.load("weights.pt")


def _rank(rank, size):
    import os

    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel as DDP

    dist.init_process_group("gloo", init_method=f"file://{os.getcwd()}/meeting", rank=rank, world_size=size)
    torch.manual_seed(0)
    net = DDP(nn.Sequential(nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 5)))
    optimizer = optim.SGD(net.parameters(), lr=0.01)
    torch.manual_seed(rank)
    for _ in range(3):
        optimizer.zero_grad()
        nn.MSELoss()(net(torch.randn(20, 10)), torch.randn(20, 5)).backward()
        optimizer.step()
    if rank == 0:
        torch.save(net.module.state_dict(), "weights.pt")
    dist.barrier()
    dist.destroy_process_group()


def swa_and_ema():
    net, x = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1)), torch.randn(32, 4)
    loader = torch.utils.data.DataLoader(x, batch_size=8)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    averaged, ema = (
        optim.swa_utils.AveragedModel(net),
        optim.swa_utils.AveragedModel(net, multi_avg_fn=optim.swa_utils.get_ema_multi_avg_fn(0.9)),
    )
    schedule = optim.swa_utils.SWALR(optimizer, swa_lr=0.05, anneal_epochs=2)
    rates = []
    for _ in range(3):
        for batch in loader:
            optimizer.zero_grad()
            (net(batch) - batch.sum(1, keepdim=True)).square().mean().backward()
            optimizer.step()
            ema.update_parameters(net)
        averaged.update_parameters(net)
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
    optim.swa_utils.update_bn(loader, averaged)
    averaged.eval(), ema.eval()
    return {"rates": rates, "averaged": averaged(x[:5]), "ema": ema(x[:5])}


def compiled():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(10, 10)

        def forward(self, x):
            return F.relu(self.lin(x)) if x.sum() > -1000 else x

    net = Net()
    fast = torch.compile(net)
    optimizer, losses = optim.Adam(net.parameters(), lr=0.01), []
    for i in range(4):
        optimizer.zero_grad()
        loss = fast(torch.randn(4 + i, 10)).square().sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    explained = torch._dynamo.explain(lambda x: x.sin() + 1)(torch.randn(3))
    return {"losses": losses, "breaks": explained.graph_break_count, "graphs": explained.graph_count}


def checkpoints():
    from torch.utils.checkpoint import checkpoint, checkpoint_sequential

    net, x = (
        nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.2), nn.Tanh(), nn.Linear(6, 1)),
        torch.randn(5, 6, requires_grad=True),
    )
    results = []
    for run in (
        lambda: checkpoint(net, x, use_reentrant=False),
        lambda: checkpoint(net, x, use_reentrant=True),
        lambda: checkpoint_sequential(net, 2, x, use_reentrant=False),
    ):
        net.zero_grad()
        x.grad = None
        out = run()
        out.sum().backward()
        results.append([out, x.grad, net[0].weight.grad])
    optimizer = optim.Adam(net.parameters())
    optimizer.step()
    buffer = io.BytesIO()
    torch.save({"epoch": 5, "model": net.state_dict(), "optimizer": optimizer.state_dict(), "net": None}, buffer)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    with torch.device("meta"):
        blank = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.2), nn.Tanh(), nn.Linear(6, 1))
    blank.load_state_dict(saved["model"], assign=True)
    return {
        "results": results,
        "again": blank.eval()(x),
        "moments": [s["exp_avg"] for s in saved["optimizer"]["state"].values()],
    }


def quantized():
    net = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    small = torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)
    return {"text": str(small), "out": small(torch.randn(3, 16))}


def adversarial():
    """A spatial transformer, its grid by affine_grid and grid_sample (spatial_transformer_tutorial)."""
    loc = nn.Sequential(
        nn.Conv2d(1, 4, 7), nn.MaxPool2d(2, stride=2), nn.ReLU(True), nn.Flatten(), nn.Linear(4 * 7 * 7, 6)
    )
    loc[4].weight.data.zero_()
    loc[4].bias.data.copy_(torch.tensor([1, 0, 0, 0, 1, 0], dtype=torch.float))
    head = nn.Sequential(nn.Conv2d(1, 4, 5), nn.ReLU(), nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(16, 3))
    optimizer, losses = optim.SGD([*loc.parameters(), *head.parameters()], lr=0.05), []
    x, y = torch.randn(8, 1, 20, 20), torch.arange(8) % 3
    for _ in range(4):
        optimizer.zero_grad()
        grid = F.affine_grid(loc(x).view(-1, 2, 3), x.size(), align_corners=False)
        loss = F.cross_entropy(head(F.grid_sample(x, grid, align_corners=False)), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
