"""kornia: colour, filters, geometry, augmentation and losses of images, with gradients."""

import kornia as K
import torch


def colour():
    x = torch.rand(2, 3, 8, 8)
    return {
        n: getattr(K.color, n)(x)
        for n in (
            "rgb_to_hsv",
            "rgb_to_lab",
            "rgb_to_grayscale",
            "rgb_to_yuv",
            "rgb_to_luv",
            "rgb_to_xyz",
            "rgb_to_hls",
        )
    }


def filters():
    x = torch.rand(1, 1, 12, 12, requires_grad=True)
    out = {"gauss": K.filters.gaussian_blur2d(x, (3, 3), (1.5, 1.5)), "sobel": K.filters.sobel(x), "median": K.filters.median_blur(x, (3, 3)), "laplacian": K.filters.laplacian(x, 3),
           "canny": K.filters.canny(x)[0], "unsharp": K.filters.unsharp_mask(x, (3, 3), (1.5, 1.5)), "bilateral": K.filters.bilateral_blur(x, (3, 3), 0.1, (1.5, 1.5))}  # fmt: skip
    sum(v.sum() for k, v in out.items() if k != "canny").backward()
    return {**out, "grad": x.grad}


def geometry():
    x = torch.rand(1, 3, 10, 10)
    angle, centre, scale = torch.tensor([30.0]), torch.tensor([[5.0, 5.0]]), torch.ones(1, 2)
    matrix = K.geometry.get_rotation_matrix2d(centre, angle, scale)
    points = torch.tensor([[[0.0, 0], [9, 0], [9, 9], [0, 9]]])
    homography = K.geometry.get_perspective_transform(points, points + torch.rand(1, 4, 2))
    return {"rotated": K.geometry.warp_affine(x, matrix, (10, 10)), "warped": K.geometry.warp_perspective(x, homography, (10, 10)), "resized": K.geometry.resize(x, (7, 5)),
            "matrix": matrix, "axis": K.geometry.axis_angle_to_rotation_matrix(torch.tensor([[0.1, 0.2, 0.3]])), "pyramid": K.geometry.pyrdown(x)}  # fmt: skip


def augmentation():
    torch.manual_seed(5)
    x = torch.rand(2, 3, 12, 12)
    steps = K.augmentation.AugmentationSequential(K.augmentation.RandomHorizontalFlip(p=0.5), K.augmentation.ColorJitter(0.1, 0.1, 0.1, 0.1, p=1.0), K.augmentation.RandomAffine(15.0, p=1.0),
                                                  K.augmentation.RandomErasing(p=1.0))  # fmt: skip
    return {"out": steps(x)}


def losses():
    a, b = torch.rand(2, 1, 16, 16), torch.rand(2, 1, 16, 16)
    logits, target = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))
    return {"ssim": K.losses.ssim_loss(a, b, 5), "psnr": K.losses.psnr_loss(a, b, 1.0), "dice": K.losses.dice_loss(logits, target), "focal": K.losses.focal_loss(logits, target, 0.5, reduction="mean"),
            "tv": K.losses.total_variation(a), "tversky": K.losses.tversky_loss(logits, target, 0.5, 0.5)}  # fmt: skip
