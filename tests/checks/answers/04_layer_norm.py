"""Answers to the exercises of chapter 4: right ones in several styles, and typical wrong ones."""

import math

import torch
from torch import nn
from torch.nn import functional

import companion


def mask_of(h, lengths):
    return (torch.arange(h.shape[2]) < torch.tensor(lengths)[:, None])[:, None].to(h.dtype)


def by_mask(h, lengths, eps=1e-5):
    mask = mask_of(h, lengths)
    count = mask.sum((1, 2), keepdim=True) * h.shape[1]
    mean = (h * mask).sum((1, 2), keepdim=True) / count
    var = ((h - mean) * mask).pow(2).sum((1, 2), keepdim=True) / count
    return mask * (h - mean) * torch.rsqrt(var + eps)


def by_group_norm(h, lengths, eps=1e-5):
    rows = []
    for row, length in zip(h, lengths, strict=True):
        real = functional.group_norm(row[None, :, :length], 1, eps=eps)
        rows.append(functional.pad(real, (0, h.shape[2] - length)))
    return torch.cat(rows)


def masked_wrong(keep=True, values=None, var=None, axes=(1, 2)):
    """Normalize the fast way, with a part of it wrong."""

    def masked_layer_norm(h, lengths, eps=1e-5):
        mask = mask_of(h, lengths)
        shared = mask.expand_as(h)
        count = shared.sum(axes, keepdim=True).clamp(min=1)
        mean = (h * mask).sum(axes, keepdim=True) / (count if values is None else h[0].numel())
        if var == "all":
            variance = (h - mean).square().mean(axes, keepdim=True)
        elif var == "zeros":
            variance = (h * mask - mean).square().sum(axes, keepdim=True) / count
        else:
            variance = ((h - mean).square() * mask).sum(axes, keepdim=True) / (
                count if values is None else h[0].numel()
            )
        out = (h - mean) / (variance + eps).sqrt()
        return out * mask if keep else out

    return masked_layer_norm


def with_padding(h, lengths, eps=1e-5):
    return functional.group_norm(h, 1, eps=eps) * mask_of(h, lengths)


def measured_outlier(channels, positions, per_token):
    h = torch.zeros(1, channels, positions, dtype=torch.float64)
    h[0, 0, 0] = 1e6
    if per_token:
        return nn.functional.layer_norm(h.mT, (channels,), eps=1e-12).max()
    return nn.functional.group_norm(h, 1, eps=1e-12).max().item()


def by_the_sphere(channels, positions, per_token):
    n = channels * (1 if per_token else positions)
    # a² + a² / (n - 1) = n
    return (n / (1 + 1 / (n - 1))) ** 0.5


def by_sums(h, eps=1e-5):
    count = h.shape[1] * torch.arange(1, h.shape[2] + 1)
    mean = h.sum(1).cumsum(1) / count
    square = (h * h).sum(1).cumsum(1) / count
    return (h - mean[:, None]) / (square - mean**2 + eps)[:, None].sqrt()


def by_masks(h, eps=1e-5):
    P = h.shape[2]
    past = torch.tril(torch.ones(P, P, dtype=h.dtype))  # (p, q)
    weights = past / past.sum(1, keepdim=True) / h.shape[1]
    mean = torch.einsum("pq,ncq->np", weights, h)
    deviations = h[:, :, None, :] - mean[:, None, :, None]  # (N, C, p, q)
    var = torch.einsum("pq,ncpq->np", weights, deviations**2)
    return (h - mean[:, None]) / (var[:, None] + eps) ** 0.5


def causal(part=lambda h, p: h[:, :, : p + 1], axes=(1, 2), correction=0, eps_inside=True):
    def causal_layer_norm(h, eps=1e-5):
        out = torch.empty_like(h)
        for p in range(h.shape[2]):
            shared = part(h, p)
            mean = shared.mean(axes, keepdim=True)
            var = shared.var(axes, correction=correction, keepdim=True)
            std = (var + eps).sqrt() if eps_inside else var.sqrt() + eps
            out[:, :, p : p + 1] = (h[:, :, p : p + 1] - mean) / std
        return out

    return causal_layer_norm


def around_earlier_means(h, eps=1e-5):
    count = h.shape[1] * torch.arange(1, h.shape[2] + 1)
    centred = h - (h.sum(1).cumsum(1) / count)[:, None]
    var = centred.square().sum(1).cumsum(1) / count
    return centred / (var + eps).sqrt()[:, None]


class Block(nn.Module):
    """The repaired block, in parts that can be replaced."""

    padding = (2, 0)

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 3)
        self.norm = nn.LayerNorm(channels)

    def normalize(self, seen):
        return self.norm(seen.transpose(1, 2)).transpose(1, 2)

    def forward(self, h):
        return h + self.normalize(self.conv(functional.pad(h, self.padding)))


class Companion(nn.Module):
    """Padding in the convolution, each position an example."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 3, padding=2)
        self.norm = companion.LayerNorm(channels)

    def forward(self, h):
        seen = self.conv(h)[..., :-2]
        flat = seen.movedim(1, -1).reshape(-1, seen.shape[1])
        return h + self.norm(flat).view(len(h), -1, h.shape[1]).mT


def together(self, seen):
    return functional.group_norm(seen, 1, self.norm.weight, self.norm.bias)


def so_far(self, seen):
    return by_sums(seen) * self.norm.weight[:, None] + self.norm.bias[:, None]


def next_counts(self, seen):
    by_itself = Block.normalize(self, seen)
    return by_itself + 0.1 * functional.pad(seen[..., 1:], (0, 1))


def block(**pieces):
    return type("Repaired", (Block,), pieces)


RIGHT = {
    "masked_layer_norm": [by_mask, by_group_norm],
    "largest_output": [measured_outlier, by_the_sphere],
    "causal_layer_norm": [by_sums, by_masks],
    "Repaired": [Block, Companion],
}

# For each task: an answer, and a piece of the sentence that must name its mistake.
WRONG = {
    "masked_layer_norm": [
        (with_padding, "counts in your mean and variance."),
        (lambda h, lengths, eps=1e-5: functional.group_norm(h, 1, eps=eps), "and must come out as 0"),
        (masked_wrong(keep=False), "Padding must come out as 0"),
        (masked_wrong(values="all"), "number of real values, not by C times P"),
        (masked_wrong(var="zeros"), "set the squared deviations"),
        (masked_wrong(var="all"), "but the variance does not"),
        (masked_wrong(axes=(1,)), "for each position"),
        (masked_wrong(axes=(0, 1, 2)), "yours share one"),
        (lambda h, lengths, eps=1e-5: by_mask(h, lengths, 0.1), "<lambda>: "),
    ],
    "largest_output": [
        (lambda c, p, per_token: math.sqrt(c if per_token else c * p), "radius of the sphere"),
        (lambda c, p, per_token: math.sqrt(c - 1), "Which values share? In one form"),
        (lambda c, p, per_token: math.sqrt(c), "a plane, not only a sphere"),
        (lambda c, p, per_token: math.inf, "so there is a bound"),
        (lambda c, p, per_token: 1.0, "farther out"),
        (lambda c, p, per_token: (c if per_token else c * p) - 1, "a root is missing"),
    ],
    "causal_layer_norm": [
        (lambda h, eps=1e-5: functional.group_norm(h, 1, eps=eps), "Later positions still count"),
        (causal(lambda h, p: h[:, :, p : p + 1]), "forgets the ones before"),
        (causal(lambda h, p: h[:, :, p:]), "count from the end"),
        (around_earlier_means, "around earlier means"),
        (causal(axes=(0, 1, 2)), "Examples do not share"),
        (causal(correction=1), "not n - 1"),
        (causal(eps_inside=False), "inside the square root"),
        (causal(lambda h, p: h[:, :, : max(p, 1)]), "leaves itself out"),
    ],
    "Repaired": [
        (block(padding=(1, 1), normalize=together), "Both leaks"),
        (block(normalize=together), "norm leaks"),
        (block(padding=(1, 1)), "convolution leaks"),
        (block(padding=(0, 2)), "wrong end"),
        (block(normalize=so_far), "shares with the positions before"),
        (block(normalize=next_counts), "Earlier outputs still move"),
        (lambda channels: Block(channels).requires_grad_(False), "conv.weight has requires_grad=False"),
    ],
}
