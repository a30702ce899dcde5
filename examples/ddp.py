"""Trains one network on two processes: each sees half of every batch, gradients are averaged over both."""

import socket

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn, optim
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1024, 10, generator=generator)
    return TensorDataset(x, x[:, :3].sum(1, keepdim=True).sin())


def train(rank, size, port):
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=size)
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 1)))
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    dataset = data()
    sampler = DistributedSampler(dataset, size, rank)
    for epoch in range(5):
        sampler.set_epoch(epoch)
        total = torch.zeros(1)
        for x, y in DataLoader(dataset, batch_size=32, sampler=sampler):
            loss = nn.functional.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(x)
        dist.all_reduce(total)
        if rank == 0:
            print(f"epoch {epoch + 1}: loss {total.item() / len(dataset):.4f}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(train, args=(2, port), nprocs=2)
