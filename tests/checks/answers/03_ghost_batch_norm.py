"""Answers to the exercises of chapter 3: right ones in several styles, and typical wrong ones."""

import math
from itertools import combinations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import companion


def standardized(x, eps):
    return functional.batch_norm(x, None, None, training=True, eps=eps)


def by_sizes(x, g, eps=1e-5):
    small, larger = divmod(len(x), len(x) // g)
    out, start = torch.empty_like(x), 0
    for index in range(len(x) // g):
        end = start + small + (index < larger)
        out[start:end] = standardized(x[start:end], eps)
        start = end
    return out


def by_numpy(x, g, eps=1e-5):
    ghosts = np.array_split(x.numpy(), len(x) // g)
    return np.concatenate([(part - part.mean(0)) / np.sqrt(part.var(0) + eps) for part in ghosts])


def in_parts(cut, correction=0):
    def even_ghosts(x, g, eps=1e-5):
        parts = cut(x, g)
        return torch.cat([(p - p.mean(0)) / ((p - p.mean(0)).square().mean(0) + eps).sqrt() for p in parts])

    return even_ghosts


def into_the_last(x, g):
    count = len(x) // g
    return x.split([g] * (count - 1) + [len(x) - g * (count - 1)])


def by_bisection(momentum, batch_size, g):
    low, high = 0.0, 1.0
    for _ in range(100):
        middle = (low + high) / 2
        left = 1.0
        for _ in range(batch_size // g):
            left *= 1 - middle
        low, high = (middle, high) if left > 1 - momentum else (low, middle)
    return middle


def by_enumeration(h, g):
    means = [sum(ghost) / g for ghost in combinations(h.tolist(), g)]
    return np.std(means)


def by_covariance(h, g):
    variance = h.var(correction=0)
    sum_varies = g * variance - g * (g - 1) * variance / (len(h) - 1)
    return sum_varies.clamp(min=0).sqrt() / g


def by_unbiased_variance(h, g):
    return (h.var() * (1 / g - 1 / len(h))).sqrt()


class Torch(nn.Module):
    """The layer in parts that can be replaced."""

    once = evaluate_ghosts = strict = None

    def __init__(self, channels, g):
        super().__init__()
        self.g, self.norm = g, nn.BatchNorm1d(channels)

    def cut(self, x):
        return torch.arange(len(x)).split(self.g)

    def back(self, y, parts):
        return y[torch.cat(parts).argsort()]

    def forward(self, x):
        if not self.training and not self.evaluate_ghosts:
            return self.norm(x)
        if len(x) % self.g and self.strict is None:
            raise ValueError("g must divide the batch")
        parts = self.cut(x)
        if self.once:  # statistics of all ghosts, averaged
            y = companion.standardize(x, self.g, 1) * self.norm.weight + self.norm.bias
            ghosts = x.detach().unflatten(0, (-1, self.g))
            for kept, new in [(self.norm.running_mean, ghosts.mean(1)), (self.norm.running_var, ghosts.var(1))]:
                kept.mul_(0.9).add_(0.1 * new.mean(0))
            return y
        if not self.training:
            ghosts = [standardized(x[part], 1e-5) * self.norm.weight + self.norm.bias for part in parts]
        else:
            ghosts = [self.norm(x[part]) for part in parts]
        return self.back(torch.cat(ghosts), parts)


def piece(**pieces):
    return type("Repaired", (Torch,), pieces)


def strided(self, x):
    count = len(x) // self.g
    return [torch.arange(first, len(x), count) for first in range(count)]


def of_count(self, x):
    return torch.arange(len(x)).chunk(self.g)


def suspect(self, x):
    return [torch.arange(first, len(x), self.g) for first in range(self.g)]


def as_they_come(self, y, parts):
    return y


def refuse_always(self, x):
    if len(x) % self.g:
        raise ValueError("g must divide the batch")
    return Torch.forward(self, x)


def frozen(channels, g):
    return Torch(channels, g).requires_grad_(False)


RIGHT = {
    "even_ghosts": [by_sizes, by_numpy],
    "matched_momentum": [by_bisection, lambda m, n, g: -math.expm1(math.log1p(-m) * g / n)],
    "scatter_of_means": [by_covariance, by_unbiased_variance],
    "Repaired": [Torch, companion.GhostBatchNorm],
}

# For each task: an answer, and a piece of the sentence that must name its mistake.
WRONG = {
    "even_ghosts": [
        (in_parts(lambda x, g: x.split(g)), "last ghost is smaller"),
        (in_parts(lambda x, g: x.chunk(len(x) // g)), "torch.chunk gives"),
        (in_parts(into_the_last), "into one ghost"),
        (in_parts(lambda x, g: x.tensor_split(g)), "not the number of ghosts"),
        (in_parts(lambda x, g: x.tensor_split(-(-len(x) // g))), "round the number of ghosts down"),
        (lambda x, g, eps=1e-5: by_sizes(x[: len(x) - len(x) % g], g, eps), "lack the last ones"),
        (lambda x, g, eps=1e-5: by_numpy(x, g, 0.0), "eps is missing"),
    ],
    "matched_momentum": [
        (lambda momentum, batch_size, g: momentum, "as much as the whole batch"),
        (lambda momentum, batch_size, g: momentum * g / batch_size, "only nearly right"),
        (lambda momentum, batch_size, g: (1 - momentum) ** (g / batch_size), "the rest"),
        (lambda momentum, batch_size, g: 1 - (1 - momentum) ** (batch_size / g), "asked is the momentum of one"),
        (lambda momentum, batch_size, g: 1 - (1 - momentum) ** (1 / g), "not g"),
        (lambda momentum, batch_size, g: momentum * batch_size / g, "between 0 and 1"),
        (lambda momentum, batch_size, g: "small", "text"),
    ],
    "scatter_of_means": [
        (lambda h, g: h.std(correction=0) / g**0.5, "independently"),
        (lambda h, g: h.std() / g**0.5, "you have neither"),
        (lambda h, g: by_enumeration(h, g) ** 2, "asked is the standard deviation"),
        (lambda h, g: (h.var() / g * (len(h) - g) / (len(h) - 1)) ** 0.5, "all there are"),
        (lambda h, g: (h.var(correction=0) / g * (1 - g / len(h))) ** 0.5, "Nearly"),
        (by_enumeration, "one by one"),
        (lambda h, g: by_covariance(h.abs(), g), "scatter_of_means, 7 examples, ghosts of 3"),
        (lambda h, g: by_covariance(h, g) if len(h) < 100 else h.std() / g**0.5, "scatter_of_means, 500 examples"),
    ],
    "Repaired": [
        (piece(cut=suspect, back=as_they_come), "instead of ghosts of g"),
        (piece(cut=of_count), "not the number of ghosts."),
        (piece(cut=suspect), "not the number of ghosts; and"),
        (piece(cut=strided, back=as_they_come), "belongs to another example: put"),
        (piece(cut=strided), "are neighbours"),
        (piece(once=True), "by the ghosts' mean"),
        (piece(evaluate_ghosts=True), "no ghosts"),
        (piece(strict=False), "Raise a ValueError"),
        (piece(forward=refuse_always), "in evaluation mode it refuses"),
        (frozen, "norm.weight has requires_grad=False"),
    ],
}
