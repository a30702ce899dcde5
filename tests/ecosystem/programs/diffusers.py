"""diffusers: a small UNet trained to denoise, schedulers, a pipeline that samples, autoencoders."""

import torch
from diffusers import (
    AutoencoderKL,
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    UNet2DConditionModel,
    UNet2DModel,
)


def _unet():
    return UNet2DModel(sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
                       down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"), attention_head_dim=8)  # fmt: skip


def training():
    net, schedule = _unet(), DDPMScheduler(num_train_timesteps=20)
    optimizer, losses = torch.optim.AdamW(net.parameters(), lr=1e-3), []
    for _ in range(2):
        x, noise, t = torch.randn(2, 1, 8, 8), torch.randn(2, 1, 8, 8), torch.randint(0, 20, (2,))
        loss = torch.nn.functional.mse_loss(net(schedule.add_noise(x, noise, t), t).sample, noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    net.save_pretrained("unet")
    again = UNet2DModel.from_pretrained("unet")
    return {"losses": losses, "difference": (again(x, 3).sample - net(x, 3).sample).abs().max()}


def pipelines():
    net = _unet().eval()
    out = {}
    for kind, schedule in (
        (DDPMPipeline, DDPMScheduler(num_train_timesteps=20)),
        (DDIMPipeline, DDIMScheduler(num_train_timesteps=20)),
    ):
        pipe = kind(net, schedule)
        pipe.set_progress_bar_config(disable=True)
        out[kind.__name__] = pipe(
            batch_size=1, generator=torch.Generator().manual_seed(1), num_inference_steps=4, output_type="np"
        ).images
    return out


def schedulers():
    out = {}
    for kind in (DPMSolverMultistepScheduler, EulerDiscreteScheduler):
        s = kind(num_train_timesteps=50)
        s.set_timesteps(5)
        x = torch.ones(1, 1, 4, 4) * s.init_noise_sigma
        for t in s.timesteps:
            x = s.step(s.scale_model_input(x, t) * 0.3, t, x).prev_sample
        out[kind.__name__] = x
    return out


def others():
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=2,
        norm_num_groups=4,
    )
    x = torch.randn(1, 3, 16, 16)
    latent = vae.encode(x).latent_dist
    net = UNet2DConditionModel(sample_size=8, in_channels=2, out_channels=2, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, cross_attention_dim=12, attention_head_dim=4,
                               down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"))  # fmt: skip
    return {
        "kl": latent.kl(),
        "decoded": vae.decode(latent.mode()).sample,
        "denoised": net(latent.mode(), 5, torch.randn(1, 3, 12)).sample,
    }
