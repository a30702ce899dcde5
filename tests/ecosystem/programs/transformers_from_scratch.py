"""x-transformers, vit-pytorch, lion-pytorch: models and an optimizer from small packages, trained for some steps."""

import torch
from lion_pytorch import Lion
from vit_pytorch import SimpleViT, ViT
from vit_pytorch.cct import CCT
from x_transformers import AutoregressiveWrapper, Decoder, Encoder, TransformerWrapper


def _train(net, loss_of, steps=3):
    optimizer, losses = Lion(net.parameters(), lr=1e-3, weight_decay=1e-2), []
    for _ in range(steps):
        loss = loss_of(net)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def decoder():
    net = AutoregressiveWrapper(
        TransformerWrapper(
            num_tokens=30,
            max_seq_len=16,
            attn_layers=Decoder(dim=16, depth=2, heads=2, rotary_pos_emb=True, ff_glu=True, attn_flash=True),
        )
    )
    ids = torch.randint(0, 30, (2, 12))
    losses = _train(net, lambda n: n(ids))
    return {"losses": losses, "out": net.generate(ids[:, :4], 5, temperature=0.0)}


def encoder():
    net = TransformerWrapper(
        num_tokens=30,
        max_seq_len=16,
        attn_layers=Encoder(dim=16, depth=2, heads=2, use_rmsnorm=True, alibi_pos_bias=True),
    )
    return {"out": net(torch.randint(0, 30, (2, 12)), mask=torch.ones(2, 12, dtype=torch.bool))}


def vits():
    x, y = torch.randn(2, 3, 32, 32), torch.tensor([0, 2])
    nets = {"vit": ViT(image_size=32, patch_size=8, num_classes=4, dim=16, depth=2, heads=2, mlp_dim=24), "simple": SimpleViT(image_size=32, patch_size=8, num_classes=4, dim=16, depth=2, heads=2, mlp_dim=24),
            "cct": CCT(img_size=32, embedding_dim=16, num_layers=2, num_heads=2, num_classes=4, n_conv_layers=1, mlp_ratio=2)}  # fmt: skip
    return {k: _train(n, lambda n: torch.nn.functional.cross_entropy(n(x), y)) for k, n in nets.items()}
