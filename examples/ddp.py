"""Several processes train one model: python -m flambeau.distributed.run --standalone --nproc-per-node 2 examples/ddp.py

Each sees its own part of the data; gradients are averaged while the backward pass runs.
"""

import flambeau as torch
import flambeau.distributed as dist
from flambeau import nn
from flambeau.nn.parallel import DistributedDataParallel
from flambeau.utils.data import DataLoader, DistributedSampler, TensorDataset


def main() -> None:
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    x = torch.rand(2048, 8)
    y = x.square().sum(1, keepdim=True)
    data = TensorDataset(x, y)
    sampler: DistributedSampler = DistributedSampler(data)
    loader = DataLoader(data, batch_size=32, sampler=sampler)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 1)))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for epoch in range(5):
        sampler.set_epoch(epoch)  # another order in every epoch
        total = torch.zeros(1)
        for a, b in loader:
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(a), b)
            loss.backward()
            optimizer.step()
            total += loss.detach()
        dist.all_reduce(total)
        if dist.get_rank() == 0:
            print(f"epoch {epoch}: loss {total.item() / len(loader) / dist.get_world_size():.4f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
