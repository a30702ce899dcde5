"""torchaudio: transforms, filters and models of sound, and the losses that its compiled library brings."""

import numpy as np
import torch
import torchaudio.functional as AF
import torchaudio.models as AM
import torchaudio.transforms as AT


def _tone(n=4000):
    t = torch.arange(n) / 8000
    return (torch.sin(2 * np.pi * 440 * t) + 0.3 * torch.sin(2 * np.pi * 1320 * t))[None] + 0.01 * torch.randn(2, n)


def transforms():
    x = _tone()
    return {
        "spectrogram": AT.Spectrogram(n_fft=256)(x),
        "mel": AT.MelSpectrogram(8000, n_fft=256, n_mels=20)(x),
        "mfcc": AT.MFCC(8000, n_mfcc=10, melkwargs={"n_fft": 256, "n_mels": 20})(x),
        "db": AT.AmplitudeToDB()(AT.MelSpectrogram(8000, n_fft=256, n_mels=20)(x)),
        "lfcc": AT.LFCC(8000, n_lfcc=8, speckwargs={"n_fft": 256})(x),
        "griffin": AT.GriffinLim(n_fft=128, n_iter=4, rand_init=False)(AT.Spectrogram(n_fft=128)(x)),
        "resampled": AT.Resample(8000, 6000)(x),
        "mu": AT.MuLawEncoding()(x.clamp(-1, 1)),
        "stretch": AT.TimeStretch(n_freq=129, fixed_rate=1.2)(AT.Spectrogram(n_fft=256, power=None)(x)),
        "masked": AT.FrequencyMasking(10)(AT.Spectrogram(n_fft=128)(x)),
        "fade": AT.Fade(100, 200)(x),
        "deltas": AT.ComputeDeltas()(AT.Spectrogram(n_fft=128)(x)),
        "centroid": AT.SpectralCentroid(8000, n_fft=128)(x),
        "pitch": AF.detect_pitch_frequency(x, 8000),
        "shift": AT.PitchShift(8000, 2, n_fft=128)(x),
        "inverse": AT.InverseSpectrogram(n_fft=128)(AT.Spectrogram(n_fft=128, power=None)(x)),
        "loudness": AT.Loudness(8000)(x),
        "psd": AT.PSD()(AT.Spectrogram(n_fft=64, power=None)(x)),
        "vad": AT.Vad(8000)(x[:1]),
    }


def filters():
    x = _tone(1000) * 0.3
    return {
        "lfilter": AF.lfilter(x, torch.tensor([1.0, -0.5, 0.1]), torch.tensor([0.3, 0.2, 0.1])),
        "low": AF.lowpass_biquad(x, 8000, 900),
        "high": AF.highpass_biquad(x, 8000, 900),
        "band": AF.bandpass_biquad(x, 8000, 900),
        "eq": AF.equalizer_biquad(x, 8000, 800, 3.0),
        "phaser": AF.phaser(x, 8000),
        "flanger": AF.flanger(x, 8000),
        "overdrive": AF.overdrive(x),
        "dcshift": AF.dcshift(x, 0.1),
        "filtfilt": AF.filtfilt(x, torch.tensor([1.0, -0.5]), torch.tensor([0.3, 0.2])),
        "treble": AF.treble_biquad(x, 8000, 3.0),
        "convolve": AF.fftconvolve(x, x[:, :50]),
        "noise": AF.add_noise(x, torch.randn_like(x), torch.tensor([10.0, 3.0])),
        "preemphasis": AF.preemphasis(x),
    }


def models():
    results, x = {}, torch.randn(2, 1, 400)
    wav = AM.wav2vec2_model(
        "group_norm", [(16, 10, 5), (16, 3, 2)], False, 16, 0.1, 8, 4, 2, 2, 0.1, 32, 0.1, 0.1, False, 0.0, 6
    )
    loss = wav(x[:, 0])[0].square().mean()
    loss.backward()
    results["wav2vec2"] = [loss, sum(p.grad.abs().sum() for p in wav.parameters() if p.grad is not None)]
    results["conformer"] = AM.Conformer(16, 2, 32, 2, 3)(torch.randn(2, 20, 16), torch.tensor([20, 15]))[0]
    results["tasnet"] = AM.ConvTasNet(2, 8, 16, 3, 8, 16, 2, 1)(x)
    results["deepspeech"] = AM.DeepSpeech(20, n_hidden=16, n_class=8)(torch.randn(2, 1, 10, 20))
    results["letter"] = AM.Wav2Letter(num_classes=6, num_features=1)(torch.randn(1, 1, 1000))
    results["emformer"] = AM.Emformer(16, 2, 32, 1, 4, right_context_length=1)(
        torch.randn(1, 9, 16), torch.tensor([9])
    )[0]
    rnn = AM.WaveRNN([2, 2, 2], 8, 8, 1, 8, 8, 5, 8, 8, 8)
    results["rnn"] = rnn(torch.randn(1, 1, 48), torch.randn(1, 1, 8, 10))
    return results
