"""pytorch_metric_learning: losses with miners and distances, samplers and testers."""

import numpy as np
import torch
from pytorch_metric_learning import losses, samplers
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator


def crossbatch():
    loss = losses.CrossBatchMemory(losses.NTXentLoss(), 8, memory_size=20)
    values = [loss(torch.randn(12, 8), torch.arange(12) % 3) for _ in range(3)]
    chosen = list(samplers.MPerClassSampler(np.arange(30) % 5, m=2, batch_size=10, length_before_new_iter=20))
    found = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"), k=3, knn_func=_knn
    ).get_accuracy(torch.randn(20, 4), torch.arange(20) % 4)
    return {"values": values, "chosen": chosen, "found": found}


def _knn(query, k, reference, same):
    d = torch.cdist(query, reference)
    if same:
        d.fill_diagonal_(float("inf"))
    values, indices = d.topk(k, largest=False)
    return values, indices
