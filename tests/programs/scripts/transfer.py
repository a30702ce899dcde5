"""Transfer learning and fine tuning: freezing, new heads, groups, feature extraction, evaluation."""

import copy

import torch
from torch import nn, optim
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset


class BasicBlock(nn.Module):
    def __init__(self, i, o, stride=1):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.downsample = (
            nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o)) if stride != 1 or i != o else None
        )

    def forward(self, x):
        y = self.bn2(self.conv2(nn.functional.relu(self.bn1(self.conv1(x)), inplace=True)))
        return nn.functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2)
        )
        self.layer1, self.layer2 = (
            nn.Sequential(BasicBlock(8, 8), BasicBlock(8, 8)),
            nn.Sequential(BasicBlock(8, 16, 2)),
        )
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(16, classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(m, nn.BatchNorm2d):
                nn.init.constant_(m.weight, 1)
                nn.init.constant_(m.bias, 0)

    def forward(self, x):
        return self.fc(self.avgpool(self.layer2(self.layer1(self.stem(x)))).flatten(1))


torch.manual_seed(0)
model = ResNet()
print(model)
print(sum(p.numel() for p in model.parameters()), len(list(model.modules())))
x = torch.randn(48, 3, 16, 16)
y = (x.mean((1, 2, 3)) > 0).long()
sets = {"train": TensorDataset(x[:32], y[:32]), "val": TensorDataset(x[32:], y[32:])}
loaders = {k: DataLoader(v, batch_size=8, shuffle=k == "train") for k, v in sets.items()}


def train(model, criterion, optimizer, scheduler, epochs):
    best, acc = copy.deepcopy(model.state_dict()), 0.0
    for epoch in range(epochs):
        for phase in ("train", "val"):
            model.train(phase == "train")
            total, right = 0.0, 0
            for a, b in loaders[phase]:
                optimizer.zero_grad()
                with torch.set_grad_enabled(phase == "train"):
                    out = model(a)
                    _, preds = torch.max(out, 1)
                    loss = criterion(out, b)
                    if phase == "train":
                        loss.backward()
                        optimizer.step()
                total += loss.item() * a.size(0)
                right += torch.sum(preds == b.data)
            if phase == "train":
                scheduler.step()
            print(f"{epoch} {phase} loss {total / len(sets[phase]):.3f} acc {right.double() / len(sets[phase]):.4f}")
            if phase == "val" and right.double() / len(sets[phase]) > acc:
                acc, best = right.double() / len(sets[phase]), copy.deepcopy(model.state_dict())
    model.load_state_dict(best)
    return model


model.fc = nn.Linear(model.fc.in_features, 2)
opt = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
model = train(model, nn.CrossEntropyLoss(), opt, lr_scheduler.StepLR(opt, step_size=2, gamma=0.1), 3)
frozen = copy.deepcopy(model)
for p in frozen.parameters():
    p.requires_grad_(False)
frozen.fc = nn.Linear(16, 2)
opt = optim.AdamW(
    [{"params": frozen.fc.parameters()}, {"params": [p for p in frozen.layer2.parameters()], "lr": 0.0}], lr=0.01
)
print(opt)
train(frozen, nn.CrossEntropyLoss(label_smoothing=0.1), opt, lr_scheduler.ExponentialLR(opt, 0.9), 2)
print([n for n, p in frozen.named_parameters() if p.requires_grad], frozen.layer1[0].conv1.weight.grad)
try:
    frozen.stem(x[:1]).sum().backward()
except RuntimeError as e:
    print(e)
try:
    opt.add_param_group({"params": frozen.fc.parameters()})
except ValueError as e:
    print(e)
body = nn.Sequential(*list(frozen.children())[:-1], nn.Flatten())
print(body(x[:2]).shape, frozen.get_submodule("layer2.0.downsample"), frozen.get_parameter("fc.bias").shape)
print({k: tuple(v.shape) for k, v in frozen.state_dict().items() if k.startswith("layer2.0.bn")})
model.half()
print(
    next(model.parameters()).dtype,
    model.to(torch.float64).fc.weight.dtype,
    model.train(False).training,
    model.apply(lambda m: None) is model,
)
