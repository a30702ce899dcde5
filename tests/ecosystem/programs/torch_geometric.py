"""torch_geometric: graph convolutions of several kinds, batching, pooling, loaders, a training run on a small graph."""

import torch
import torch.nn.functional as F
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import (
    GATConv,
    GCNConv,
    GINConv,
    SAGEConv,
    TransformerConv,
    global_add_pool,
    global_max_pool,
    global_mean_pool,
)
from torch_geometric.utils import add_self_loops, degree, scatter, softmax, to_dense_adj, to_undirected


def _ring(n, seed):
    g = torch.Generator().manual_seed(seed)
    edges = to_undirected(torch.stack([torch.arange(n), (torch.arange(n) + 1) % n]))
    return Data(x=torch.randn(n, 4, generator=g), edge_index=edges, y=torch.randint(0, 3, (n,), generator=g))


def gcn():
    data = _ring(12, 1)
    one, two = GCNConv(4, 8), GCNConv(8, 3)
    optimizer = torch.optim.Adam([*one.parameters(), *two.parameters()], lr=0.05)
    losses = []
    for _ in range(5):
        out = two(F.dropout(one(data.x, data.edge_index).relu(), 0.2, training=True), data.edge_index)
        loss = F.cross_entropy(out, data.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {"losses": losses, "out": out}


def kinds():
    data = _ring(9, 2)
    layers = {
        "gat": GATConv(4, 3, heads=2),
        "sage": SAGEConv(4, 3),
        "gin": GINConv(torch.nn.Linear(4, 3)),
        "transformer": TransformerConv(4, 3),
    }
    return {name: layer(data.x, data.edge_index) for name, layer in layers.items()}


def batches():
    out = {}
    for i, batch in enumerate(DataLoader([_ring(n, n) for n in (3, 5, 4)], batch_size=2, shuffle=True)):
        out[str(i)] = [
            batch.num_graphs,
            global_mean_pool(batch.x, batch.batch),
            global_max_pool(batch.x, batch.batch),
            global_add_pool(batch.x, batch.batch),
        ]
    whole = Batch.from_data_list([_ring(3, 1), _ring(4, 2)])
    return {**out, "second": whole[1].x}


def tools():
    data = _ring(5, 3)
    index = data.edge_index[0]
    source = torch.randn(10, 2)
    return {"degree": degree(index), "dense": to_dense_adj(data.edge_index), "loops": add_self_loops(data.edge_index)[0], "softmax": softmax(source, index),
            **{r: scatter(source, index, reduce=r) for r in ("sum", "mean", "max", "min", "mul")}}  # fmt: skip
