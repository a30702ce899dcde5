"""Pruning, after the tutorial."""

import torch
import torch.nn.utils.prune as prune
from torch import nn

torch.manual_seed(0)


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2 = nn.Linear(16, 12), nn.Linear(12, 10)

    def forward(self, x):
        x = nn.functional.max_pool2d(nn.functional.relu(self.conv1(x)), 2)
        x = nn.functional.max_pool2d(nn.functional.relu(self.conv2(x)), 2)
        return self.fc2(nn.functional.relu(self.fc1(x.flatten(1))))


model = LeNet()
module = model.conv1
print([n for n, _ in module.named_parameters()], list(module.named_buffers()))
prune.random_unstructured(module, name="weight", amount=0.3)
print(
    [n for n, _ in module.named_parameters()],
    [(n, int(b.sum())) for n, b in module.named_buffers()],
    [type(h).__name__ for h in module._forward_pre_hooks.values()],
)
prune.l1_unstructured(module, name="bias", amount=3)
print(module.bias, module.bias_orig, module.bias_mask)
prune.ln_structured(module, name="weight", amount=0.5, n=2, dim=0)
for hook in module._forward_pre_hooks.values():
    print(
        type(hook).__name__,
        getattr(hook, "_tensor_name", None),
        len(hook) if isinstance(hook, prune.PruningContainer) else 1,
    )
print(list(model.state_dict()))
prune.remove(module, "weight")
print([n for n, _ in module.named_parameters()], (module.weight == 0).sum())
new = LeNet()
for name, m in new.named_modules():
    if isinstance(m, nn.Conv2d):
        prune.l1_unstructured(m, name="weight", amount=0.2)
    elif isinstance(m, nn.Linear):
        prune.l1_unstructured(m, name="weight", amount=0.4)
print(dict(new.named_buffers()).keys())
g = LeNet()
parts = ((g.conv1, "weight"), (g.conv2, "weight"), (g.fc1, "weight"), (g.fc2, "weight"))
prune.global_unstructured(parts, pruning_method=prune.L1Unstructured, amount=0.2)
for m, n in parts:
    print(f"{100.0 * float(torch.sum(m.weight == 0)) / float(m.weight.nelement()):.2f}%")
print(prune.is_pruned(g), g(torch.ones(1, 1, 16, 16)).shape, g)


class Every2(prune.BasePruningMethod):
    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t, default_mask):
        mask = default_mask.clone()
        mask.view(-1)[::2] = 0
        return mask


def every2(module, name):
    Every2.apply(module, name)
    return module


m = every2(nn.Linear(3, 2), "bias")
print(m.bias_mask, m.bias)
loss = m(torch.ones(1, 3)).sum()
loss.backward()
print(m.bias_orig.grad, type(m.bias).__name__)
prune.custom_from_mask(m, "weight", torch.tensor([[1, 0, 1], [0, 1, 0]]))
print(
    (m.weight != 0).int(),
    prune.identity(nn.Linear(2, 2), "weight").weight_mask,
    prune.random_structured(nn.Linear(4, 2), "weight", 1, dim=1).weight_mask.sum(),
)
for f in (
    lambda: prune.l1_unstructured(nn.Linear(2, 2), "weight", 2.5),
    lambda: prune.l1_unstructured(nn.Linear(2, 2), "weight", 9),
    lambda: prune.remove(nn.Linear(2, 2), "weight"),
    lambda: prune.ln_structured(nn.Linear(2, 2), "weight", 0.5, 2, 5),
    lambda: prune.l1_unstructured(nn.Linear(2, 2), "w", 0.5),
    lambda: prune.l1_unstructured(nn.Linear(2, 2), "weight", -1),
    lambda: prune.global_unstructured((g.conv1, "weight"), prune.L1Unstructured, amount=0.1),
    lambda: prune.global_unstructured(parts, prune.LnStructured, amount=0.1),
    lambda: prune.l1_unstructured(nn.Linear(2, 2), "weight", "a"),
    lambda: prune.random_structured(nn.Linear(2, 2), "bias", 1, 0),
):
    try:
        print(f())
    except Exception as e:
        print(type(e).__name__, e)
