"""Custom datasets, samplers, collation and workers, after the data loading tutorial."""

import os
import random
import tempfile

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    ChainDataset,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    get_worker_info,
    random_split,
)


class Landmarks(Dataset):
    """Rows of a csv file, a picture for each."""

    def __init__(self, path, transform=None):
        self.rows = [line.split(",") for line in open(path).read().splitlines()[1:]]
        self.transform = transform

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        if torch.is_tensor(i):
            i = i.tolist()
        name, *numbers = self.rows[i]
        sample = {
            "image": np.full((4, 6, 3), i, dtype=np.uint8),
            "landmarks": np.array(numbers, dtype=float).reshape(-1, 2),
            "name": name,
        }
        return self.transform(sample) if self.transform else sample


class Rescale:
    def __init__(self, size):
        self.size = size

    def __call__(self, sample):
        image = torch.from_numpy(sample["image"]).permute(2, 0, 1).float()[None]
        image = torch.nn.functional.interpolate(image, size=self.size, mode="bilinear", align_corners=False)[0]
        return {**sample, "image": image}


class ToTensor:
    def __call__(self, sample):
        return {**sample, "landmarks": torch.from_numpy(sample["landmarks"])}


class Compose:
    def __init__(self, *steps):
        self.steps = steps

    def __call__(self, x):
        for step in self.steps:
            x = step(x)
        return x


class Stream(IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        info = get_worker_info()
        for i in range(0 if info is None else info.id, self.n, 1 if info is None else info.num_workers):
            yield {"i": i, "x": torch.full((i % 3 + 1,), i)}


def pad(batch):
    lengths = torch.tensor([len(b["x"]) for b in batch])
    return torch.nn.utils.rnn.pad_sequence([b["x"] for b in batch], batch_first=True, padding_value=-1), lengths


def seed_worker(i):
    seed = torch.initial_seed() % 2**32
    np.random.seed(seed)
    random.seed(seed)


class Noise(Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, i):
        return i, np.random.rand(), random.random(), torch.rand(1)


if __name__ == "__main__":
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "faces.csv")
        with open(path, "w") as f:
            f.write("name,x0,y0,x1,y1\n" + "".join(f"p{i}.jpg,{i},{i + 1},{i + 2},{i + 3}\n" for i in range(10)))
        faces = Landmarks(path, Compose(Rescale((2, 3)), ToTensor()))
        print(len(faces), faces[3]["image"].shape, faces[torch.tensor(3)]["landmarks"])
        for workers in (0, 2):
            for i, batch in enumerate(
                DataLoader(
                    faces, batch_size=4, shuffle=True, num_workers=workers, generator=torch.Generator().manual_seed(7)
                )
            ):
                print(
                    workers,
                    i,
                    batch["image"].size(),
                    batch["landmarks"].dtype,
                    batch["name"],
                    batch["image"].mean((1, 2, 3)).tolist(),
                )
    print([(p.tolist(), n.tolist()) for p, n in DataLoader(Stream(7), batch_size=3, collate_fn=pad)])
    print(sorted(int(b["i"]) for b in DataLoader(Stream(7), batch_size=None, num_workers=2)))
    g = torch.Generator().manual_seed(3)
    for batch in DataLoader(Noise(), batch_size=3, num_workers=2, worker_init_fn=seed_worker, generator=g):
        print([b.tolist() for b in batch])
    whole = TensorDataset(torch.arange(10.0), torch.arange(10) % 2)
    train, val = random_split(whole, [0.7, 0.3], generator=torch.Generator().manual_seed(1))
    print(train.indices, val.indices, len(ConcatDataset([train, val])), ConcatDataset([train, val])[8])
    print(list(SubsetRandomSampler([5, 6, 7], torch.Generator().manual_seed(2))), list(BatchSampler(range(7), 3, True)))
    print(list(WeightedRandomSampler([0.1, 0.9, 0.4], 8, generator=torch.Generator().manual_seed(2))))
    print(list(RandomSampler(range(5), replacement=True, num_samples=7, generator=torch.Generator().manual_seed(2))))
    print(StackDataset(a=range(3), b="xyz")[1], list(ChainDataset([Stream(2), Stream(1)])))
    print(
        default_collate(
            [{"a": (1, 2.0), "b": "s", "c": [torch.ones(1)]}, {"a": (3, 4.0), "b": "t", "c": [torch.zeros(1)]}]
        )
    )
    print(
        default_collate([np.float32(1), np.float32(2)]),
        default_collate([1, 2]),
        default_collate([True, False]),
        default_collate([b"a", b"b"]),
    )
    loader = DataLoader(
        whole, batch_size=4, drop_last=True, persistent_workers=True, num_workers=1, prefetch_factor=3, pin_memory=False
    )
    print(
        len(loader),
        [x.tolist() for x, _ in loader],
        [y.tolist() for _, y in loader],
        loader.batch_size,
        type(loader.sampler).__name__,
    )
    for bad in (
        dict(batch_size=2, batch_sampler=[[1]]),
        dict(shuffle=True, sampler=[1]),
        dict(num_workers=-1),
        dict(timeout=-1),
        dict(prefetch_factor=2),
        dict(persistent_workers=True),
        dict(batch_size=None, drop_last=True),
        dict(num_workers=1, multiprocessing_context="nope"),
    ):
        try:
            DataLoader(whole, **bad)
        except Exception as e:
            print(type(e).__name__, e)
    for items in ([{"a": 1}, {"b": 1}], [torch.ones(2), torch.ones(3)], [(1, 2), (1,)], [object(), object()]):
        try:
            default_collate(items)
        except Exception as e:
            print(type(e).__name__, str(e).replace(repr(object), "")[:120])
    try:
        random_split(whole, [3, 3])
    except Exception as e:
        print(type(e).__name__, e)
    try:
        len(DataLoader(Stream(3)))
    except Exception as e:
        print(type(e).__name__, e)
    print(Subset(whole, [1, 2])[1], repr(loader.dataset)[:50].split(" object")[0])
