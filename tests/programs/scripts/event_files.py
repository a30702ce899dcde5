"""TensorBoard logging; what lands in the event file is printed."""

import glob
import os
import tempfile

import numpy as np
import torch
from tensorboard.backend.event_processing import event_accumulator
from torch import nn
from torch.utils.tensorboard import SummaryWriter

torch.manual_seed(0)
with tempfile.TemporaryDirectory() as folder:
    writer = SummaryWriter(folder, comment="x", flush_secs=1)
    net = nn.Linear(4, 2)
    for i in range(4):
        writer.add_scalar("Loss/train", 1.0 / (i + 1), i, walltime=100 + i)
        writer.add_scalars("both", {"a": i, "b": torch.tensor(i * 2.0)}, i)
        writer.add_histogram("w", net.weight, i)
    writer.add_scalar("new", np.float32(2.5), new_style=True)
    writer.add_image("im", torch.rand(3, 4, 5), 0)
    writer.add_images("ims", torch.rand(2, 1, 4, 5), 0)
    writer.add_text("t", "some *text*", 3)
    writer.add_pr_curve("pr", torch.tensor([0, 1, 1, 0]), torch.tensor([0.1, 0.9, 0.4, 0.3]), 0, num_thresholds=5)
    writer.add_hparams({"lr": 0.1, "bs": 4, "opt": "sgd", "flag": True}, {"hparam/acc": 0.9}, run_name="run")
    writer.add_graph(net, torch.ones(1, 4))
    writer.add_embedding(torch.eye(3), metadata=["a", "b", "c"], tag="emb")
    writer.add_custom_scalars({"cat": {"chart": ["Multiline", ["Loss/train"]]}})
    writer.add_mesh("mesh", torch.rand(1, 3, 3))
    writer.flush()
    writer.close()
    print(writer.log_dir == folder, writer.get_logdir() == folder)
    acc = event_accumulator.EventAccumulator(
        folder, size_guidance={k: 0 for k in ("scalars", "histograms", "images", "tensors")}
    )
    acc.Reload()
    tags = acc.Tags()
    print(tags)
    print(acc.Scalars("Loss/train"))
    h = acc.Histograms("w")[0].histogram_value
    print(round(h.min, 4), round(h.max, 4), h.num, len(h.bucket), round(h.sum_squares, 4))
    print([(i.width, i.height) for t in tags["images"] for i in acc.Images(t)])
    for t in tags["tensors"]:
        for e in acc.Tensors(t):
            print(
                t,
                e.step,
                e.tensor_proto.dtype,
                [d.size for d in e.tensor_proto.tensor_shape.dim],
                list(e.tensor_proto.float_val)[:4],
                list(e.tensor_proto.string_val)[:1],
            )
    print(
        [n.name + ":" + n.op for n in sorted(acc.Graph().node, key=lambda n: n.name)]
        if False
        else len(acc.Graph().node) > 3
    )
    print(
        sorted(
            os.path.relpath(p, folder).split("tfevents")[0]
            for p in glob.glob(folder + "/**", recursive=True)
            if os.path.isfile(p)
        )
    )
    print(open(glob.glob(folder + "/*/emb/tensors.tsv")[0]).read(), open(folder + "/projector_config.pbtxt").read())
for bad in (
    lambda w: w.add_scalar("a", "b"),
    lambda w: w.add_image("i", torch.rand(3)),
    lambda w: w.add_histogram("h", torch.empty(0)),
    lambda w: w.add_hparams({"a": []}, {}),
    lambda w: w.add_hparams([1], {}),
    lambda w: w.add_embedding(torch.eye(2), metadata=["a"]),
    lambda w: w.add_scalar("a", torch.ones(2)),
    lambda w: w.add_image("i", torch.rand(2, 2), dataformats="XY"),
    lambda w: w.add_histogram("h", torch.ones(2), bins="nope"),
    lambda w: w.add_histogram("h", torch.tensor([float("nan")])),
    lambda w: w.add_text("a", 3),
):
    with tempfile.TemporaryDirectory() as folder, SummaryWriter(folder) as w:
        try:
            print(bad(w))
        except Exception as e:
            print(type(e).__name__, str(e)[:200])
