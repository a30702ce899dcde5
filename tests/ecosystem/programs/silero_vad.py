"""silero-vad: a detector of speech that ships as an archive of TorchScript, loaded and run."""

import torch
from silero_vad import VADIterator, get_speech_timestamps, load_silero_vad


def detected():
    model = load_silero_vad()
    t = torch.arange(16000) / 16000
    sound = torch.sin(2 * torch.pi * 220 * t) * (torch.sin(2 * torch.pi * 3 * t) > 0) + 0.05 * torch.randn(16000)
    likely = torch.cat([model(sound[i : i + 512], 16000) for i in range(0, 8192, 512)])
    model.reset_states()
    iterator = VADIterator(model, threshold=0.05)
    events = [iterator(sound[i : i + 512]) for i in range(0, 4096, 512)]
    return {
        "likely": likely,
        "spans": get_speech_timestamps(sound, model, threshold=0.05),
        "events": events,
        "whole": model.audio_forward(sound[None], 16000),
    }
