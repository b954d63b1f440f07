"""Answers to the exercises of chapter 2: right ones in several styles, and typical wrong ones."""

import torch
from torch import nn
from torch.nn import functional

import companion


def by_masks(h, sets, eps=1e-5):
    """Standardize by one-hot membership, without a loop."""
    names = torch.tensor(sets)
    one_hot = (names[:, None] == names.unique()).to(h.dtype)  # (C, sets)
    count = one_hot.sum(0) * h.shape[2]

    def pooled(values):
        return torch.einsum("ncp,cs->ns", values, one_hot) / count @ one_hot.T

    centred = h - pooled(h)[..., None]
    return centred / (pooled(centred**2)[..., None] + eps) ** 0.5


def by_layer_norm(h, sets, eps=1e-5):
    out = torch.zeros_like(h)
    for name in sets:
        chosen = torch.tensor([other == name for other in sets])
        part = h[:, chosen]
        out[:, chosen] = functional.layer_norm(part, part.shape[1:], eps=eps)
    return out


def sets_wrong(axes=(1, 2), correction=0, by_number=None, together=False):
    def standardize_sets(h, sets, eps=1e-5):
        out, parts = torch.zeros_like(h), []
        for name in by_number(sets) if by_number else sorted(set(sets)):
            members = [channel for channel, number in enumerate(sets) if number == name]
            if not members:
                continue
            group = h[:, members]
            var = group.var(axes, correction=correction, keepdim=True)
            out[:, members] = (group - group.mean(axes, keepdim=True)) / (var + eps).sqrt()
            parts.append(out[:, members])
        return torch.cat(parts, 1) if together else out

    return standardize_sets


def mean_of_variances(h, sets, eps=1e-5):
    out = torch.zeros_like(h)
    for name in set(sets):
        members = [channel for channel, number in enumerate(sets) if number == name]
        means, variances = h[:, members].mean(2), h[:, members].var(2, correction=0)
        m, var = means.mean(1)[:, None, None], variances.mean(1)[:, None, None]
        out[:, members] = (h[:, members] - m) / (var + eps).sqrt()
    return out


def neighbours(h, sets, eps=1e-5):
    return functional.group_norm(h, len(set(sets)), eps=eps)


def measured(first, second):
    """Measure, on a block that both norms fit, instead of predicting."""
    size = (first[0] * second[0], first[1] * second[1])
    h = torch.randn(*size, 4, dtype=torch.float64)
    once = companion.standardize(h, *first, eps=0.0)
    return torch.allclose(companion.standardize(once, *second, eps=0.0), once)


def by_whole_groups(first, second):
    whole = [(large // small) * small == large for small, large in zip(first, second, strict=True)]
    return all(whole)


def size_fits(first, second):
    return (second[0] * second[1]) % (first[0] * first[1]) == 0


def each_axis(y):
    """Find the two numbers one after the other, with all of the other axis."""
    N, C = y.shape[:2]

    def still(examples, channels):
        return torch.allclose(companion.standardize(y, examples, channels), y)

    examples = min(e for e in range(1, N + 1) if N % e == 0 and still(e, C))
    channels = min(c for c in range(1, C + 1) if C % c == 0 and still(N, c))
    return [examples, channels]


def by_moments(y, variance=True, largest=False):
    """Find the smallest groups with mean 0 and variance 1."""
    N, C, _ = y.shape
    found = []
    for e in [e for e in range(1, N + 1) if N % e == 0]:
        for c in [c for c in range(1, C + 1) if C % c == 0]:
            groups = y.reshape(N // e, e, C // c, c, -1)
            m, var = groups.mean((1, 3, 4)), groups.var((1, 3, 4), correction=0)
            fits = m.abs().max() < 1e-6
            if fits and (not variance or (var - 1).abs().max() < 1e-6):
                found.append((e * c, e, c))
    return (max(found) if largest else min(found))[1:]


class Written(nn.Module):
    """A layer from the package's parts."""

    def __init__(self, num_channels, examples, channels, eps=1e-5):
        super().__init__()
        self.share = (examples, channels, eps)
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, h):
        y = companion.standardize(h, *self.share)
        return (self.weight * y.movedim(1, -1) + self.bias).movedim(-1, 1)


class Loops(Written):
    """A layer that goes group by group."""

    def forward(self, h):
        (e, c, eps), out = self.share, torch.empty_like(h)
        for n in range(0, len(h), e):
            for k in range(0, h.shape[1], c):
                group = h[n : n + e, k : k + c]
                out[n : n + e, k : k + c] = (group - group.mean()) / (group.var(correction=0) + eps).sqrt()
        return torch.einsum("nc...,c->nc...", out, self.weight) + self.bias[:, None]


class Cut(Written):
    """A layer with the bugs that are asked for."""

    neighbours, early, offset = True, False, True

    def forward(self, h):
        (N, C), (e, c, eps) = h.shape[:2], self.share
        bias = self.bias if self.offset else 0 * self.bias
        if self.early:
            h = self.weight[:, None] * h + bias[:, None]
        shape, axis = ((N // e, e), 1) if self.neighbours else ((e, N // e), 0)
        groups = h.reshape(*shape, C // c, c, -1)
        m, var = groups.mean((axis, 3, 4), keepdim=True), groups.var((axis, 3, 4), correction=0, keepdim=True)
        out = ((groups - m) / (var + eps).sqrt()).reshape(h.shape)
        return out if self.early else self.weight[:, None] * out + bias[:, None]


def cut(**pieces):
    return type("Repaired", (Cut,), pieces)


class ConstantScales(Written):
    """Nobody can train the scales and offsets."""

    def forward(self, h):
        return super().forward(h).detach()


RIGHT = {
    "standardize_sets": [by_masks, by_layer_norm],
    "changes_nothing": [measured, by_whole_groups],
    "recognize": [each_axis, by_moments],
    "Repaired": [Written, Loops],
}

# For each task: an answer, and a piece of the sentence that must name its mistake.
WRONG = {
    "standardize_sets": [
        (neighbours, "not with their neighbours"),
        (sets_wrong(axes=(0, 1, 2)), "Examples do not share"),
        (sets_wrong(axes=1), "Positions share"),
        (sets_wrong(axes=2), "instance norm"),
        (mean_of_variances, "not the mean of its channels' variances"),
        (sets_wrong(together=True), "sorted by set"),
        (sets_wrong(by_number=lambda sets: range(len(set(sets)))), "came out as zeros"),
        (sets_wrong(correction=1), "not n - 1"),
        (lambda h, sets, eps=1e-5: by_masks(h, sets, 0.1), "<lambda>: "),
    ],
    "changes_nothing": [
        (lambda first, second: first == second, "same norm twice"),
        (lambda first, second: by_whole_groups(second, first), "other way round"),
        (lambda first, second: first[0] <= second[0] and first[1] <= second[1], "whole groups"),
        (size_fits, "size of a group alone"),
        (lambda first, second: second[0] % first[0] == 0, "examples only"),
        (lambda first, second: not by_whole_groups(first, second), "exchanged"),
        (lambda first, second: False, "look for such a pair"),
        (lambda first, second: first[0] == second[0] and by_whole_groups(first, second), "Measure a few"),
    ],
    "recognize": [
        (lambda y: each_axis(y)[::-1], "order is examples, channels"),
        (lambda y: y.shape[:2], "always have mean 0 and variance 1"),
        (lambda y: [n // k for n, k in zip(y.shape, each_axis(y), strict=False)], "how many examples and channels"),
        (lambda y: by_moments(y, variance=False), "mean of 0 is not enough"),
        (lambda y: by_moments(y, largest=True)[:1], "1 parts, where 2"),
    ],
    "Repaired": [
        (cut(neighbours=False, early=True), "order of the axes in reshape is wrong, and"),
        (cut(neighbours=False), "Examples that share are neighbours"),
        (cut(early=True), "partly taken off again"),
        (cut(offset=False), "Where did the offset go"),
        (ConstantScales, "no gradient reaches weight and bias"),
    ],
}
