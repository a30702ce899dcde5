"""The operators of torchaudio's compiled library, against what they say."""

import itertools

import pytest

import flambeau as torch
from flambeau import _torchaudio as audio


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_recursive_filters(order):
    x = torch.randn(2, 3, 11, dtype=torch.float64)
    a = torch.cat([0.3 * torch.randn(3, order - 1, dtype=torch.float64), torch.ones(3, 1, dtype=torch.float64)], 1)
    found = torch.cat(
        [torch.randn(2, 3, order - 1, dtype=torch.float64), torch.zeros(2, 3, 11, dtype=torch.float64)], 2
    )
    expected = found.clone()
    for i in range(11):  # what torchaudio does without its library
        past = expected[:, :, i : i + order]
        expected[:, :, i + order - 1] = x[:, :, i] - (past * a).sum(-1)
    assert audio.lfilter_core_loop(x, a, found) is None
    assert torch.allclose(found, expected)


def test_overdrive():
    x, temp = torch.randn(2, 9), torch.randn(2, 9)
    last_in, last_out, out = torch.randn(2), torch.randn(2), torch.empty(2, 9)
    before, y = last_in.clone(), last_out.clone()
    expected = torch.empty(2, 9)
    for i in range(9):
        y, before = temp[:, i] - before + 0.995 * y, temp[:, i]
        expected[:, i] = x[:, i] * 0.5 + y * 0.75
    audio.overdrive_core_loop(x, temp, last_in, last_out, out)
    assert torch.allclose(out, expected, atol=1e-6)
    assert torch.allclose(last_in, temp[:, -1]) and torch.allclose(last_out, y, atol=1e-6)


def likelihood(log, target, blank):
    """The sum over all ways: which of the steps but the last emit."""
    times, labels = len(log), len(target)
    total = []
    for emitting in itertools.combinations(range(times - 1 + labels), labels):
        t = u = 0
        value = log.new_zeros(())
        for step in range(times - 1 + labels):
            if step in emitting:
                value, u = value + log[t, u, target[u]], u + 1
            else:
                value, t = value + log[t, u, blank], t + 1
        total.append(value + log[t, u, blank])
    return torch.stack(total).logsumexp(0)


@pytest.mark.parametrize("fused", [True, False])
def test_transducer(fused):
    logits = torch.randn(3, 4, 3, 5, dtype=torch.float64, requires_grad=True)
    targets, times, labels = torch.tensor([[1, 2], [3, 3], [4, 0]]), torch.tensor([4, 3, 2]), torch.tensor([2, 2, 0])
    log = logits.log_softmax(-1) if fused else logits
    expected = torch.stack([-likelihood(log[i, :t, : n + 1], targets[i, :n].tolist(), 0) for i, (t, n) in enumerate(zip(times.tolist(), labels.tolist()))])  # fmt: skip
    (gradient,) = torch.autograd.grad(expected.sum(), logits)
    cost, found = audio.rnnt_loss_forward(logits.detach(), targets, times, labels, 0, -1.0, fused)
    assert torch.allclose(cost, expected) and torch.allclose(found, gradient)
    _, clamped = audio.rnnt_loss_forward(logits.detach(), targets, times, labels, 0, 0.05, fused)
    assert torch.allclose(clamped, gradient.clamp(-0.05, 0.05))


@pytest.mark.parametrize("labels", [[1, 2], [2, 2], [3, 1, 1], [1]])
def test_alignment(labels):
    log = torch.randn(1, 5, 4).log_softmax(-1)
    path, scores = audio.forced_align(log, torch.tensor([labels]), torch.tensor([5]), torch.tensor([len(labels)]), 0)

    def spelled(way):
        return [k for k, _ in itertools.groupby(way) if k]

    ways = [w for w in itertools.product(range(4), repeat=5) if spelled(w) == labels]
    best = max(ways, key=lambda w: sum(log[0, i, k].item() for i, k in enumerate(w)))
    assert path.tolist() == [list(best)] and scores is log


def test_alignment_needs_time():
    log = torch.randn(1, 2, 4).log_softmax(-1)
    with pytest.raises(RuntimeError, match="targets length is too long for CTC"):
        audio.forced_align(log, torch.tensor([[1, 1]]), torch.tensor([2]), torch.tensor([2]), 0)


def test_the_library_is_known_by_its_place():
    torch.ops.load_library("/somewhere/torchaudio/lib/_torchaudio.so")
    assert torch.ops._torchaudio.is_align_available() and torch.ops._torchaudio.cuda_version() is None
    assert torch.ops.torchaudio.forced_align.default._schema.name == "torchaudio::forced_align"
    with pytest.raises(OSError, match="Could not load this library"):
        torch.ops.load_library("/somewhere/else/lib/_torchaudio.so")
