"""torchaudio, nnAudio, torchlibrosa, auraloss, torch_dct and pytorch_wavelets: spectra of sounds, and losses between them."""

import auraloss
import numpy as np
import pytorch_wavelets
import torch
import torch_dct
import torchlibrosa
from nnAudio import features as nn_features


def _tone(n=8000):
    t = torch.arange(n) / 8000
    return (torch.sin(2 * np.pi * 440 * t) + 0.3 * torch.sin(2 * np.pi * 1320 * t))[None] + 0.01 * torch.randn(2, n)


def others():
    x = _tone()
    y = (x + 0.1 * torch.randn_like(x))[:, None].requires_grad_()
    loss = auraloss.freq.MultiResolutionSTFTLoss(fft_sizes=[256, 128], hop_sizes=[64, 32], win_lengths=[256, 128])(
        y, x[:, None]
    )
    loss = (
        loss
        + auraloss.time.SISDRLoss()(y, x[:, None])
        + auraloss.freq.STFTLoss(fft_size=128, hop_size=32, win_length=128)(y, x[:, None])
        + auraloss.time.ESRLoss()(y, x[:, None])
    )
    loss.backward()
    spec = torchlibrosa.Spectrogram(n_fft=256, hop_length=128)(x)
    mel = torchlibrosa.LogmelFilterBank(sr=8000, n_fft=256, n_mels=16, fmin=20, fmax=4000)(spec)
    image = torch.randn(1, 2, 16, 16, requires_grad=True)
    low, high = pytorch_wavelets.DWTForward(J=2, wave="db2", mode="symmetric")(image)
    back = pytorch_wavelets.DWTInverse(wave="db2", mode="symmetric")((low, high))
    tree = pytorch_wavelets.DTCWTForward(J=2)(image)
    (back.square().sum() + tree[0].square().sum()).backward()
    return {"loss": loss, "grad": y.grad, "mel": mel, "low": low, "high": high, "back": back, "tree": tree[0], "image": image.grad,
            "stft": nn_features.STFT(n_fft=256, verbose=False)(x), "cqt": nn_features.CQT1992v2(sr=8000, fmin=110, n_bins=24, verbose=False)(x), "nnmel": nn_features.MelSpectrogram(sr=8000, n_fft=256, n_mels=16, verbose=False)(x), "gamma": nn_features.Gammatonegram(sr=8000, n_fft=256, n_bins=16, verbose=False)(x),
            "dct": torch_dct.dct(x), "idct": torch_dct.idct_2d(torch_dct.dct_2d(image.detach()))}  # fmt: skip
