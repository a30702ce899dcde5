"""Walks over a dataset in shuffled batches, in this process and with two worker processes."""

import torch
from torch.utils.data import DataLoader, Dataset


class MeanSign(Dataset):
    """Random vectors, labelled by the sign of their mean."""

    def __init__(self, n):
        self.X = torch.randn(n, 32)
        self.y = (self.X.mean(dim=1) > 0).float()

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        return self.X[i], self.y[i]


def walk(num_workers):
    torch.manual_seed(0)
    ds = MeanSign(1000)
    loader = DataLoader(ds, batch_size=64, shuffle=True, num_workers=num_workers)
    batches = []
    for X, y in loader:
        batches.append((X, y))
    return batches


if __name__ == "__main__":
    for num_workers in (0, 2):
        batches = walk(num_workers)
        X, y = batches[0]
        print(
            f"{num_workers} workers: {len(batches)} batches, first {tuple(X.shape)} with {int(y.sum())} positive,"
            f" last {tuple(batches[-1][0].shape)}"
        )
