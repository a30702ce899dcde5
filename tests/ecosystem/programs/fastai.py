# ruff: noqa: F403, F405
"""fastai: data blocks, learners of images, tables and texts, callbacks, the learning-rate finder, export and prediction."""

import numpy as np
import pandas as pd
import torch
from fastai.basics import *
from fastai.callback.all import *
from fastai.collab import CollabDataLoaders, collab_learner
from fastai.tabular.all import (
    Categorify,
    FillMissing,
    Normalize,
    TabularDataLoaders,
    tabular_learner,
)
from fastai.text.all import AWD_LSTM, TextDataLoaders, language_model_learner
from fastai.vision.all import (
    CategoryBlock,
    DataBlock,
    ImageBlock,
    ImageDataLoaders,
    Resize,
    aug_transforms,
    parent_label,
    vision_learner,
    xresnet18,
)
from torch import nn


def _losses(learn):
    return [float(x) for x in learn.recorder.losses], [
        [float(v) for v in row[:-1]] if False else [float(v) for v in row if not isinstance(v, str)]
        for row in learn.recorder.values
    ]


def _images(count=40):
    from PIL import Image

    for i in range(count):
        kind = "ab"[i % 2]
        Path(f"images/{kind}").mkdir(parents=True, exist_ok=True)
        array = np.random.randint(0, 255, (40, 36, 3), dtype=np.uint8)
        array[5:20, 5:30, i % 2] = 250
        Image.fromarray(array).save(f"images/{kind}/{i:03}.png")
    return Path("images")


def optimizers():
    results = {}
    x = torch.randn(64, 6)
    y = x.sum(1, keepdim=True)
    for kind in (SGD, RMSProp, Adam, RAdam, QHAdam, Larc, Lamb, ranger):
        torch.manual_seed(1)
        data = DataLoaders.from_dsets(list(zip(x, y)), list(zip(x[:16], y[:16])), bs=16, device="cpu")
        learn = Learner(
            data,
            nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1)),
            loss_func=MSELossFlat(),
            opt_func=kind,
            lr=0.01,
            wd=0.01,
            moms=(0.9, 0.8, 0.9),
        )
        with learn.no_bar(), learn.no_logging():
            learn.fit(1)
        results[kind.__name__] = _losses(learn)
    return results


def callbacks():
    x = torch.randn(96, 1, 12, 12)
    y = (x.mean((1, 2, 3)) > 0).long()
    data = DataLoaders.from_dsets(list(zip(x[:64], y[:64])), list(zip(x[64:], y[64:])), bs=16, device="cpu")
    results = {}
    for name, cbs in {"mixup": [MixUp()], "cutmix": [CutMix()], "smooth": [], "clip": [GradientClip(0.1)], "accumulate": [GradientAccumulation(32)],
                      "early": [EarlyStoppingCallback(patience=1), SaveModelCallback(), ReduceLROnPlateau()], "csv": [CSVLogger(), TerminateOnNaNCallback()]}.items():  # fmt: skip
        torch.manual_seed(1), np.random.seed(1)
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        loss = LabelSmoothingCrossEntropyFlat() if name == "smooth" else CrossEntropyLossFlat()
        learn = Learner(data, net, loss_func=loss, metrics=[accuracy, F1Score()], cbs=cbs)
        with learn.no_bar(), learn.no_logging():
            learn.fit(2, 0.01)
        results[name] = _losses(learn)
    return results


def images():
    path = _images()
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=lambda p: sorted(p.rglob("*.png")),
        get_y=parent_label,
        splitter=IndexSplitter(list(range(28, 40))),
        item_tfms=Resize(32),
        batch_tfms=aug_transforms(size=24),
    )
    data = block.dataloaders(path, bs=8, num_workers=0, device="cpu")
    learn = Learner(data, xresnet18(n_out=2), metrics=accuracy)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(1, 1e-3)
    predicted = learn.predict(path / "a/000.png")
    from fastai.vision.all import ClassificationInterpretation

    with learn.no_bar():
        matrix = ClassificationInterpretation.from_learner(learn).confusion_matrix()
    return {"losses": _losses(learn), "predicted": [str(predicted[0]), predicted[1], predicted[2]], "matrix": matrix}


def transferred():
    from torchvision.models import resnet18

    path = _images(24)
    data = ImageDataLoaders.from_folder(
        path, valid_pct=0.25, seed=3, item_tfms=Resize(32), bs=6, num_workers=0, device="cpu"
    )
    learn = vision_learner(data, resnet18, pretrained=False, metrics=error_rate, normalize=False)
    with learn.no_bar(), learn.no_logging():
        learn.fine_tune(1, 1e-3)
    return {"losses": _losses(learn), "groups": [len(g) for g in learn.opt.param_lists]}


def tables():
    n = 120
    frame = pd.DataFrame(
        {
            "size": np.random.randn(n),
            "age": np.random.randint(1, 90, n).astype(float),
            "colour": np.random.choice(list("rgb"), n),
            "shape": np.random.choice(list("xy"), n),
        }
    )
    frame.loc[::9, "size"] = np.nan
    frame["good"] = np.where((frame["age"] > 40) ^ (frame["colour"] == "r"), "yes", "no")
    data = TabularDataLoaders.from_df(
        frame,
        procs=[Categorify, FillMissing, Normalize],
        cat_names=["colour", "shape"],
        cont_names=["size", "age"],
        y_names="good",
        valid_idx=list(range(96, 120)),
        bs=24,
        device="cpu",
    )
    learn = tabular_learner(data, layers=[16, 8], metrics=accuracy)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(2, 1e-2)
        row, kind, probabilities = learn.predict(frame.iloc[0])
        scores = learn.get_preds(dl=learn.dls.test_dl(frame.iloc[:6]))[0]
    return {"losses": _losses(learn), "kind": kind, "probabilities": probabilities, "scores": scores}


def recommendations():
    n = 200
    frame = pd.DataFrame({"user": np.random.randint(0, 12, n), "item": np.random.randint(0, 20, n)})
    frame["rating"] = ((frame["user"] * frame["item"]) % 5 + 1).astype(float)
    data = CollabDataLoaders.from_df(frame, bs=32, seed=1, valid_pct=0.2, device="cpu")
    results = {}
    for use in (False, True):
        learn = collab_learner(data, n_factors=6, y_range=(0.5, 5.5), use_nn=use)
        with learn.no_bar(), learn.no_logging():
            learn.fit_one_cycle(1, 5e-3, wd=0.1)
        results[str(use)] = _losses(learn)
    return results


def texts():
    words = ["the", "cat", "sat", "on", "a", "mat", "while", "it", "rained", "and", "we", "read", "old", "books"]
    lines = [" ".join(np.random.choice(words, 14)) for _ in range(40)]
    frame = pd.DataFrame(
        {
            "text": lines,
            "kind": ["x" if "cat" in t else "y" for t in lines],
            "is_valid": [i % 5 == 0 for i in range(40)],
        }
    )
    data = TextDataLoaders.from_df(
        frame, text_col="text", is_lm=True, valid_col="is_valid", bs=4, seq_len=12, device="cpu"
    )
    config = {
        "emb_sz": 12,
        "n_hid": 16,
        "n_layers": 2,
        "pad_token": 1,
        "bidir": False,
        "output_p": 0.1,
        "hidden_p": 0.1,
        "input_p": 0.2,
        "embed_p": 0.02,
        "weight_p": 0.2,
        "tie_weights": True,
        "out_bias": True,
    }
    learn = language_model_learner(data, AWD_LSTM, config=config, pretrained=False, metrics=[accuracy, Perplexity()])
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(1, 1e-2)
    learn.save_encoder("encoder")
    return {"losses": _losses(learn)}
