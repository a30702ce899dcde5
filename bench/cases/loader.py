"""Data loading: an epoch with two workers"""

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

GOAL = 1.3


def _epochs(dataset, **options):
    """Passes over the dataset, after one that starts the workers."""
    loader = DataLoader(dataset, num_workers=2, persistent_workers=True, **options)

    def run():
        for _batch in loader:
            pass

    run()
    return run


class Images(Dataset):
    """Pictures that are flipped and normalised when they are asked for."""

    def __init__(self):
        self.pixels = torch.randint(0, 256, (512, 3, 64, 64), dtype=torch.uint8)
        self.labels = torch.randint(0, 10, (512,)).tolist()
        self.mean, self.std = torch.rand(3, 1, 1), torch.rand(3, 1, 1) + 1

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        x = self.pixels[index].float() / 255
        if index % 2:
            x = x.flip(-1)
        return (x - self.mean) / self.std, self.labels[index]


class Texts(Dataset):
    """Dictionaries of tokens of unequal lengths."""

    def __init__(self):
        self.rows = [torch.randint(0, 1000, (n,)) for n in torch.randint(8, 64, (1024,)).tolist()]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return {"tokens": self.rows[index], "label": index % 2}


def _padded(rows):
    """A batch of texts, padded to the longest."""
    tokens = torch.nn.utils.rnn.pad_sequence([row["tokens"] for row in rows], batch_first=True)
    return {"tokens": tokens, "label": torch.tensor([row["label"] for row in rows])}


class Stream(IterableDataset):
    """Numbers as they come."""

    def __iter__(self):
        for i in range(2048):
            yield i, float(i)


def rows():
    """TensorDataset of 4096 rows of 32, shuffled, batches of 64"""
    torch.manual_seed(0)
    return _epochs(TensorDataset(torch.randn(4096, 32), torch.arange(4096)), batch_size=64, shuffle=True)


def images():
    """512 pictures 3x64x64, flipped and normalised, batches of 32"""
    return _epochs(Images(), batch_size=32, shuffle=True)


def texts():
    """1024 dictionaries of tokens, padded by collate_fn, batches of 32"""
    return _epochs(Texts(), batch_size=32, shuffle=True, collate_fn=_padded)


def stream():
    """an iterable of 4096 pairs of numbers, batches of 64"""
    return _epochs(Stream(), batch_size=64)


class Volumes(Dataset):
    """Items of 16 MB that are batches already."""

    def __init__(self):
        self.voxels = torch.randint(0, 256, (16, 4 * 1024 * 1024), dtype=torch.uint8)

    def __len__(self):
        return len(self.voxels)

    def __getitem__(self, index):
        return self.voxels[index].float()


def volumes():
    """16 items of 16 MB, no batches"""
    return _epochs(Volumes(), batch_size=None)
