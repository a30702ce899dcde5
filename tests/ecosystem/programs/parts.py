"""Parts of models: quantized vectors, turned positions, averaged weights, diffusion."""

import torch
from denoising_diffusion_pytorch import GaussianDiffusion1D, Unet1D
from ema_pytorch import EMA
from rotary_embedding_torch import RotaryEmbedding, apply_rotary_emb
from vector_quantize_pytorch import FSQ, LFQ, ResidualVQ, VectorQuantize


def quantized():
    x = torch.randn(2, 32, 16)
    means = VectorQuantize(dim=16, codebook_size=32, decay=0.8, commitment_weight=1.0, kmeans_init=True, kmeans_iters=3)
    cosine = VectorQuantize(dim=16, codebook_size=32, use_cosine_sim=True, rotation_trick=True)
    residual = ResidualVQ(dim=16, num_quantizers=3, codebook_size=16)
    free = LFQ(codebook_size=64, dim=6, entropy_loss_weight=0.1, diversity_gamma=1.0)
    return {"means": [means(x), means(x)], "cosine": cosine(x), "residual": residual(x), "finite": FSQ([8, 5, 5])(torch.randn(2, 32, 3)),
            "free": list(free(torch.randn(1, 6, 4, 4)))}  # fmt: skip


def positions():
    q, k = torch.randn(1, 2, 10, 16), torch.randn(1, 2, 10, 16)
    pixels = RotaryEmbedding(dim=4, freqs_for="pixel", max_freq=10)
    turned = apply_rotary_emb(pixels.get_axial_freqs(4, 5), torch.randn(1, 2, 4, 5, 16))
    return {"plain": RotaryEmbedding(dim=8).rotate_queries_or_keys(q), "pixels": turned,
            "scaled": RotaryEmbedding(dim=8, use_xpos=True).rotate_queries_and_keys(q, k)}  # fmt: skip


def averaged():
    net = torch.nn.Linear(4, 4)
    average = EMA(net, beta=0.9, update_after_step=1, update_every=1)
    for _ in range(6):
        with torch.no_grad():
            net.weight.copy_(torch.randn_like(net.weight))
        average.update()
    return {"out": average(torch.ones(1, 4)), "names": sorted(average.state_dict())}


def diffusion():
    model = GaussianDiffusion1D(Unet1D(dim=16, dim_mults=(1, 2), channels=4), seq_length=16, timesteps=20, objective="pred_v")  # fmt: skip
    optimizer, x, losses = torch.optim.Adam(model.parameters(), 1e-3), torch.rand(2, 4, 16), []
    for _ in range(3):
        loss = model(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return {"losses": losses, "drawn": model.sample(batch_size=2)}
