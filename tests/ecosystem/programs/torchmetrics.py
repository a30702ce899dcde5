"""torchmetrics: classification, regression, text, audio, image, clustering and aggregation; collections, states, wrappers."""

import torch
import torchmetrics as tm
from torchmetrics import functional as F
from torchmetrics.functional import clustering


def classification():
    p, t = torch.randn(40, 4).softmax(-1), torch.randint(0, 4, (40,))
    metrics = tm.MetricCollection([tm.Accuracy("multiclass", num_classes=4), tm.F1Score("multiclass", num_classes=4, average="macro"), tm.AUROC("multiclass", num_classes=4),
                                   tm.ConfusionMatrix("multiclass", num_classes=4), tm.CohenKappa("multiclass", num_classes=4), tm.MatthewsCorrCoef("multiclass", num_classes=4),
                                   tm.CalibrationError("multiclass", num_classes=4), tm.AveragePrecision("multiclass", num_classes=4), tm.JaccardIndex("multiclass", num_classes=4)])  # fmt: skip
    for i in range(0, 40, 10):
        metrics.update(p[i : i + 10], t[i : i + 10])
    out = metrics.compute()
    q, b = torch.rand(30), torch.randint(0, 2, (30,))
    roc, curve = F.roc(q, b, "binary"), F.precision_recall_curve(q, b, "binary", thresholds=5)
    return {
        **out,
        "roc": roc[0],
        "curve": curve[0],
        "labels": F.accuracy(torch.rand(6, 3), torch.randint(0, 2, (6, 3)), "multilabel", num_labels=3),
        "hinge": F.hinge_loss(q, b, "binary"),
    }


def regression():
    a, b = torch.randn(30, 2), torch.randn(30, 2)
    x, y = a[:, 0].contiguous(), b[:, 0].contiguous()
    return {"mse": F.mean_squared_error(a, b), "r2": F.r2_score(x, y), "pearson": F.pearson_corrcoef(a, b), "spearman": F.spearman_corrcoef(a, b), "kendall": F.kendall_rank_corrcoef(x, y),
            "explained": F.explained_variance(a, b), "cosine": F.cosine_similarity(a, b, "mean"), "mape": F.mean_absolute_percentage_error(a, b),
            "kl": F.kl_divergence(a.softmax(1), b.softmax(1)), "tweedie": F.tweedie_deviance_score(x.abs(), y.abs(), 1.5)}  # fmt: skip


def image():
    a, b = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    return {"psnr": F.peak_signal_noise_ratio(a, b), "ssim": F.structural_similarity_index_measure(a, b), "uqi": F.universal_image_quality_index(a, b), "tv": F.total_variation(a),
            "sam": F.spectral_angle_mapper(a, b), "ergas": F.error_relative_global_dimensionless_synthesis(a, b)}  # fmt: skip


def others():
    s, t = (
        torch.randn(2, 2000),
        torch.randn(2, 2000),
    )  # longer than the filter of 512 taps that the distortion is left by
    labels, guess = torch.randint(0, 3, (20,)), torch.randint(0, 3, (20,))
    return {"snr": F.signal_noise_ratio(s, t), "sisdr": F.scale_invariant_signal_distortion_ratio(s, t), "sdr": F.signal_distortion_ratio(s, t), "bleu": F.text.bleu_score(["a cat is on the mat"], [["there is a cat on the mat"]]),
            "wer": F.word_error_rate(["a b c"], ["a c c"]), "rand": clustering.rand_score(labels, guess), "mutual": clustering.mutual_info_score(labels, guess),
            "perplexity": F.text.perplexity(torch.randn(2, 4, 6), torch.randint(0, 6, (2, 4))), "pairwise": F.pairwise_cosine_similarity(s[:, :5]),
            "ndcg": F.retrieval_normalized_dcg(torch.rand(5), torch.tensor([0, 1, 0, 1, 1]))}  # fmt: skip


def states():
    mean, boot = tm.MeanMetric(), tm.BootStrapper(tm.MeanSquaredError(), num_bootstraps=4)
    mean.update(torch.tensor([1.0, 2.0]), weight=torch.tensor([1.0, 3.0]))
    mean.persistent(True)
    boot.update(torch.randn(10), torch.randn(10))
    sum_of = tm.MeanSquaredError() + tm.MeanAbsoluteError()
    sum_of.update(torch.ones(3), torch.zeros(3))
    track = tm.wrappers.MetricTracker(tm.MeanSquaredError())
    for i in range(3):
        track.increment()
        track.update(torch.ones(2) * i, torch.zeros(2))
    return {
        "state": {k: v for k, v in mean.state_dict().items()},
        "mean": mean.compute(),
        "boot": boot.compute(),
        "sum": sum_of.compute(),
        "best": track.best_metric(),
        "text": repr(mean),
    }
