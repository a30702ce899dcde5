"""torchattacks and foolbox: adversarial examples of many kinds for a small network."""

import foolbox
import torch
import torchattacks
from torch import nn


def _net():
    torch.manual_seed(5)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 4),
    )
    return net.eval()


def attacks():
    net = _net()
    x = torch.rand(3, 3, 12, 12)
    y = net(x).argmax(1)
    results = {}
    for name, make in {
        "fgsm": torchattacks.FGSM, "bim": torchattacks.BIM, "pgd": torchattacks.PGD, "pgdl2": torchattacks.PGDL2, "mifgsm": torchattacks.MIFGSM, "difgsm": torchattacks.DIFGSM, "tifgsm": torchattacks.TIFGSM,
        "nifgsm": torchattacks.NIFGSM, "sinifgsm": torchattacks.SINIFGSM, "vmifgsm": torchattacks.VMIFGSM, "ffgsm": torchattacks.FFGSM, "rfgsm": torchattacks.RFGSM, "eotpgd": torchattacks.EOTPGD, "tpgd": torchattacks.TPGD,
        "jitter": torchattacks.Jitter, "upgd": torchattacks.UPGD, "gn": torchattacks.GN, "pgdrs": torchattacks.PGDRS,
    }.items():  # fmt: skip
        torch.manual_seed(1)
        results[name] = make(net)(x, y)
    torch.manual_seed(1)
    results["cw"] = torchattacks.CW(net, steps=8)(x, y)
    results["deepfool"] = torchattacks.DeepFool(net, steps=5)(x, y)
    results["apgd"] = torchattacks.APGD(net, steps=4)(x, y)
    results["square"] = torchattacks.Square(net, n_queries=20)(x, y)
    return results


def fooled():
    net = _net()
    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    x = torch.rand(4, 3, 12, 12)
    y = net(x).argmax(1)
    results = {"accuracy": foolbox.accuracy(model, x, y)}
    for name, attack in {"fgsm": foolbox.attacks.FGSM(), "pgd": foolbox.attacks.LinfPGD(steps=5), "l2": foolbox.attacks.L2PGD(steps=5), "cw": foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=2, steps=5), "bb": foolbox.attacks.L2DeepFoolAttack(steps=5), "ddn": foolbox.attacks.DDNAttack(steps=5), "salt": foolbox.attacks.SaltAndPepperNoiseAttack(steps=5), "blur": foolbox.attacks.GaussianBlurAttack(distance=foolbox.distances.l2, steps=4), "ead": foolbox.attacks.EADAttack(binary_search_steps=2, steps=4)}.items():  # fmt: skip
        torch.manual_seed(2)
        raw, clipped, success = attack(model, x, y, epsilons=[0.02, 0.3])
        results[name] = [*clipped, success]
    return results
