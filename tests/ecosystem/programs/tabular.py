"""Networks for tables: an ensemble in one network, frames of columns of several types."""

import pandas
import tabm
import torch
import torch_frame
from torch_frame.data import DataLoader, Dataset
from torch_frame.nn import FTTransformer, ResNet


def ensemble():
    model = tabm.TabM.make(
        n_num_features=5, cat_cardinalities=[3, 4], d_out=1, k=4, n_blocks=2, d_block=16, dropout=0.1
    )
    x, c, y = torch.randn(32, 5), torch.stack([torch.randint(3, (32,)), torch.randint(4, (32,))], 1), torch.randn(32)
    optimizer, losses = torch.optim.AdamW(model.parameters(), 1e-2), []
    for _ in range(4):
        out = model(x, c)
        loss = torch.nn.functional.mse_loss(out.flatten(0, 1), y.repeat_interleave(4)[:, None])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    model.eval()
    return {"losses": losses, "out": model(x, c), "names": sorted(model.state_dict())}


def frames():
    n = 40
    table = pandas.DataFrame(
        {
            "a": torch.randn(n).tolist(),
            "b": torch.randn(n).tolist(),
            "c": [f"k{i % 3}" for i in range(n)],
            "y": torch.randn(n).tolist(),
        }
    )
    kinds = {
        "a": torch_frame.numerical,
        "b": torch_frame.numerical,
        "c": torch_frame.categorical,
        "y": torch_frame.numerical,
    }
    data = Dataset(table, kinds, target_col="y")
    data.materialize()
    found = {}
    for name, cls, more in (("resnet", ResNet, {}), ("transformer", FTTransformer, {})):
        net = cls(
            channels=8,
            out_channels=1,
            num_layers=2,
            col_stats=data.col_stats,
            col_names_dict=data.tensor_frame.col_names_dict,
            **more,
        )
        optimizer, losses = torch.optim.SGD(net.parameters(), 0.01), []
        for batch in DataLoader(data.tensor_frame, batch_size=16, shuffle=True):
            loss = (net(batch).squeeze() - batch.y).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        found[name] = [losses, net.eval()(data.tensor_frame)]
    return found
