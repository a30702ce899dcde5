"""Programs that keep tensors between calls, or pass them about: caches, views, episodes, trees."""

import collections
import functools

import flambeau as torch
from flambeau import nn
from tests.capture.world import case, freeze, net, rows, whole, x


@case
def writes_to_views_of_arguments(wrap):
    def f(t):
        first, rest = t[0], t[1:]
        first += 1
        rest[:, ::2] = first[::2] * 2
        t.reshape(-1)[1:3] -= 0.5
        d = t.diagonal()
        d.mul_(3)
        return first, rest.sum(), t.T

    g, out = wrap(f), []
    for t in (rows(), rows().T.contiguous().T, torch.cat([rows(), rows()])[1:7]):
        r = g(t)
        r[0].zero_()
        out.append((freeze(t), freeze(r)))
    return out


@case
def arguments_that_are_one(wrap):
    def f(a, b, c):
        a.add_(1)
        b.mul_(2)
        return a + b + c

    g, out = wrap(f), []
    t = x(6)
    out.append(g(x(), x(), x()))
    u = x()
    out.append(g(u, u, u))
    out.append(g(t[:3], t[3:], t[1:4]))
    out.append(g(t[:3], t[:3], t[3:]))
    out.append(g(x(), x(), x()))
    return out, t


@case
def caches_of_keys_and_values(wrap):
    class Cache:
        def __init__(self):
            self.layers = {}

        def update(self, k, layer):
            old = self.layers.get(layer)
            self.layers[layer] = k if old is None else torch.cat([old, k], -1)
            return self.layers[layer]

        def __len__(self):
            return 0 if not self.layers else next(iter(self.layers.values())).shape[-1]

    cache = Cache()

    def f(t):
        pos = len(cache)
        return [cache.update(t * i + pos, i).sum() for i in (1, 2)]

    g = wrap(f)
    out = [freeze(g(x(1, n))) for n in range(6)]
    cache.layers.clear()
    out.append(freeze(g(x(2))))
    return out, {k: freeze(v) for k, v in cache.layers.items()}


@case
def static_cache_written_in_place(wrap):
    cache = torch.zeros(2, 6, 3)
    state = {"pos": 0}

    def f(t):
        p = state["pos"]
        cache[:, p] = t
        state["pos"] = p + 1
        return cache[:, : p + 1].sum(1)

    g = wrap(f)
    out = [freeze(g(rows(2, n))) for n in range(4)]
    cache.zero_()
    state["pos"] = 1
    out.append(freeze(g(rows(2))))
    return out, cache


@case
def rearranged_by_patterns(wrap):
    @functools.lru_cache(8)
    def parsed(pattern):
        left, right = pattern.split("->")
        names = left.split()
        return tuple(names.index(n) for n in right.split())

    def rearrange(t, pattern, **sizes):
        order = parsed(pattern)
        if sizes:
            (name, n), *_ = sizes.items()
            t = t.reshape(n, -1, *t.shape[1:]) if name == "split" else t
        return t.permute(order)

    g = wrap(lambda t, p, **s: rearrange(t, p, **s))
    t = torch.arange(24.0).reshape(4, 6)
    return [g(t, "a b -> b a"), g(t, "a b c -> c a b", split=2), g(t, "a b c -> b a c", split=4), g(t, "a b -> a b")]


@case
def tensors_as_state(wrap):
    class Filter:
        def __init__(self):
            self.state = None

        def __call__(self, t):
            if self.state is None:
                self.state = torch.zeros_like(t)
            elif self.state.shape != t.shape:
                self.state = self.state[: t.shape[0]].clone()
            self.state = self.state * 0.5 + t
            return self.state.clone()

    filt = Filter()
    g = wrap(filt)
    out = [g(x(n)) for n in (4, 4, 4, 3, 3)]
    filt.state = None
    out.append(g(x(2)))
    filt.state.add_(1)
    out.append(g(x(2)))
    return out


@case
def views_returned_and_written_later(wrap):
    def f(t):
        head, tail = t.split([1, t.shape[0] - 1])
        return head, tail.t(), t.unsqueeze(0), {"all": t.expand(2, *t.shape)}

    g, out = wrap(f), []
    for n in (3, 4, 3):
        t = rows(n)
        head, tail, whole, more = g(t)
        head.zero_()
        tail.add_(1)
        t[-1].mul_(2)
        out.append(freeze((t, head, tail, whole, more["all"], head._base is t)))
    return out


@case
def actions_and_log_probabilities(wrap):
    policy = net(3, 8, 2)

    def act(t, greedy):
        d = torch.distributions.Categorical(logits=policy(t))
        a = d.probs.argmax(-1) if greedy else d.sample()
        return a, d.log_prob(a), d.entropy().mean(), torch.distributions.kl_divergence(d, d)

    g, out = wrap(act), []
    for n in range(4):
        torch.manual_seed(n)
        out.append(freeze(g(rows(seed=n), n == 2)))
    return out


actions_and_log_probabilities.within = 1e-5


@case
def continuous_actions(wrap):
    mean, log_std = net(3, 4, 2), nn.Parameter(torch.zeros(2))

    def act(t):
        d = torch.distributions.Independent(torch.distributions.Normal(mean(t), log_std.exp()), 1)
        a = d.rsample()
        squashed = torch.distributions.TransformedDistribution(d, [torch.distributions.TanhTransform(cache_size=1)])
        return a, d.log_prob(a), squashed.log_prob(a.tanh().clamp(-0.9, 0.9)), d.entropy()

    g, out = wrap(act), []
    for n in range(3):
        torch.manual_seed(n)
        with torch.no_grad():
            log_std.add_(0.1)
        out.append(freeze(g(rows(seed=n))))
    return out


continuous_actions.within = 1e-5


@case
def returns_of_an_episode(wrap):
    gamma = {"value": 0.9}

    def f(rewards, dones):
        out, running = torch.zeros_like(rewards), 0.0
        for i in reversed(range(rewards.shape[0])):
            running = rewards[i] + gamma["value"] * running * (1 - dones[i])
            out[i] = running
        return (out - out.mean()) / (out.std() + 1e-8)

    g, out = wrap(f), []
    for n in (4, 4, 5, 6):
        gamma["value"] -= 0.1
        out.append(g(x(n), (torch.arange(n) % 3 == 0).float()))
    return out


returns_of_an_episode.within = 1e-6


@whole
def trees_of_tensors(wrap):
    pytree = torch.utils._pytree
    point = collections.namedtuple("point", "a b")
    kinds = {
        "named": lambda t: point(t, [t * 2, 1]),
        "dict": lambda t: {"z": t, "b": (t, 3.0), "n": {}},
        "ordered": lambda t: collections.OrderedDict(q=t, a=[t]),
        "queue": lambda t: collections.deque([t, (t,)]),
        "leaf": lambda t: t,
    }

    def f(t, kind):
        tree = kinds[kind](t)
        leaves, spec = pytree.tree_flatten(tree)
        total = sum(v.sum() for v in leaves if isinstance(v, torch.Tensor))
        back = pytree.tree_unflatten([v * 2 for v in leaves], spec)
        only = pytree.tree_map_only(torch.Tensor, lambda v: v + total, back)
        return pytree.tree_leaves(only), spec.num_leaves, type(back) is type(tree)

    g = wrap(f)
    return [g(x(), kind) for kind in (*kinds, "named")]
