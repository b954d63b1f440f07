"""Answers to the exercises of chapter 5: right ones in several styles, and typical wrong ones."""

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import nn

import companion


def last_by_torch(x, num_groups, eps=1e-5):
    return F.group_norm(x.movedim(-1, 1), num_groups, eps=eps).movedim(1, -1)


def last_one_by_one(x, num_groups, eps=1e-5):
    return torch.stack(
        [
            torch.cat([(p - p.mean()) / (p.var(correction=0) + eps) ** 0.5 for p in one.chunk(num_groups, dim=-1)], -1)
            for one in x
        ]
    )


def last_by_standardize(x, num_groups, eps=1e-5):
    first = x.transpose(1, -1)  # positions in another order share all the same
    return companion.standardize(first, examples=1, channels=x.shape[-1] // num_groups, eps=eps).transpose(1, -1)


def in_memory(x, num_groups, eps=1e-5):
    h = x.reshape(len(x), num_groups, -1)
    return ((h - h.mean(-1, keepdim=True)) / (h.var(-1, correction=0, keepdim=True) + eps).sqrt()).reshape(x.shape)


def last(split, axes, eps_inside=True, correction=0):
    def group_norm_last(x, num_groups, eps=1e-5):
        size = x.shape[-1] // num_groups
        h = x.unflatten(-1, (num_groups, size) if split == "runs" else (size, num_groups))
        m, s2 = h.mean(axes, keepdim=True), h.var(axes, correction=correction, keepdim=True)
        std = (s2 + eps).sqrt() if eps_inside else s2.sqrt() + eps
        return ((h - m) / std).flatten(-2)

    return group_norm_last


def loudness(divisor):
    """Return a prediction from the divisor of a group's loudness: a function of times and the group's size."""

    def loudness_after(channels, num_groups, times):
        by = divisor(times, channels // num_groups)
        return times / by, 1 / by, 1.0

    return loudness_after


def root_of_squares(times, size):
    return ((times**2 + size - 1) / size) ** 0.5


def by_trying(channels, num_groups, times):
    x = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64).expand(channels, 4).clone()
    x[-1] *= times
    y = F.group_norm(x[None], num_groups, eps=0.0)[0]
    return [y[c].abs().mean().item() for c in (-1, -2, 0)]


def by_autograd(grad_y, x, gamma, num_groups, eps):
    x = x.requires_grad_()
    return torch.autograd.grad(F.group_norm(x, num_groups, gamma, eps=eps), x, grad_y)[0]


def one_by_one(grad_y, x, gamma, num_groups, eps):
    result = torch.empty_like(x)
    for i in range(len(x)):
        for group in torch.arange(x.shape[1]).chunk(num_groups):
            h, g = x[i, group], grad_y[i, group] * gamma[group, None]
            s = (h.var(correction=0) + eps) ** 0.5
            hat = (h - h.mean()) / s
            result[i, group] = (g - g.mean() - hat * (g * hat).mean()) / s
    return result


def backward_with(mean=True, var=True, gamma_first=True, gamma_last=False, groups=None):
    def backward(grad_y, x, gamma, num_groups, eps):
        h = x.reshape(len(x), groups or num_groups, -1)
        grad = (grad_y * gamma[:, None] if gamma_first else grad_y).reshape(h.shape)
        std = (h.var(-1, correction=0, keepdim=True) + eps).sqrt()
        hat = (h - h.mean(-1, keepdim=True)) / std
        result = grad - mean * grad.mean(-1, keepdim=True) - var * hat * (grad * hat).mean(-1, keepdim=True)
        result = (result / std).reshape(x.shape)
        return gamma[:, None] * result if gamma_last else result

    return backward


def swap(deep=True, groups=lambda layer, size: layer.num_features // size, eps=True, keep="weight bias"):
    def to_group_norm(model, size):
        for parent in list(model.modules()) if deep else [model]:
            for name, layer in list(parent.named_children()):
                if isinstance(layer, nn.BatchNorm2d):
                    number = groups(layer, size)
                    new = nn.GroupNorm(number, layer.num_features, **({"eps": layer.eps} if eps else {}))
                    for key in keep.split():
                        setattr(new, key, getattr(layer, key))
                    setattr(parent, name, new)
        return model

    return to_group_norm


def swap_recursively(model, size):
    if isinstance(model, nn.BatchNorm2d):
        channels = model.num_features
        new = companion.GroupNorm(channels // size, channels, eps=model.eps)
        state = model.state_dict()
        new.load_state_dict({key: state[key] for key in ("weight", "bias")})
        return new
    model = deepcopy(model)
    for name, child in model.named_children():
        setattr(model, name, swap_recursively(child, size))
    return model


def four_axes_only(x, num_groups, eps=1e-5):
    N, H, W, C = x.shape
    return last_by_torch(x.reshape(N, H * W, C), num_groups, eps).reshape(x.shape)


RIGHT = {
    "group_norm_last": [last_by_torch, last_one_by_one, last_by_standardize],
    "loudness_after": [loudness(lambda a, k: ((a * a + k - 1) / k) ** 0.5), by_trying],
    "backward": [by_autograd, one_by_one],
    "to_group_norm": [swap(), swap_recursively],
}

# For each task: an answer, and a piece of the sentence that must name its mistake.
WRONG = {
    "group_norm_last": [
        (in_memory, "cut from memory"),
        (last("stripes", (1, 2, 3)), "every num_groups-th"),
        (last("stripes", (1, 2, 4)), "you took it as the number of channels"),
        (last("runs", 4), "each position by itself"),
        (last("runs", (0, 1, 2, 4)), "no say"),
        (last("runs", (1, 2, 4), correction=1), "not n - 1"),
        (last("runs", (1, 2, 4), eps_inside=False), "inside the square root"),
        (lambda x, num_groups, eps=1e-5: F.group_norm(x.movedim(-1, 1), num_groups, eps=eps), "go back"),
        (four_axes_only, "four_axes_only"),
        (lambda x, num_groups, eps=1e-5: last_by_torch(x, 2, eps), "<lambda>: "),
    ],
    "loudness_after": [
        (lambda channels, num_groups, times: (times, 1, 1), "divided by one number"),
        (lambda channels, num_groups, times: (1, 1 / times, 1), "not brought back to 1"),
        (loudness(lambda a, k: (a + k - 1) / k), "square the loudness first"),
        (loudness(lambda a, k: (a * a + k - 1) / k), "the root is missing"),
        (loudness(lambda a, k: (a * a + k - 1) ** 0.5), "not their sum"),
        (lambda channels, num_groups, times: by_trying(num_groups**2, num_groups, times), "not num_groups."),
        (lambda channels, num_groups, times: [*by_trying(channels, 1, times)], "Only in layer norm"),
        (
            lambda channels, num_groups, times: loudness(root_of_squares)(channels, max(num_groups, 3), times),
            "10 channels, 2 groups",
        ),
    ],
    "backward": [
        (backward_with(gamma_first=False, gamma_last=True), "before you average"),
        (backward_with(gamma_first=False), "gamma is missing"),
        (backward_with(mean=False), "The mean depends on x"),
        (backward_with(var=False), "The variance depends on x"),
        (backward_with(mean=False, var=False), "Both paths are missing"),
        (backward_with(groups=1), "only those of a group share"),
        (lambda grad_y, x, gamma, n, eps: one_by_one(grad_y, x, gamma.abs(), n, eps), "<lambda>: "),
    ],
    "to_group_norm": [
        (swap(deep=False), "a batch norm is left"),
        (swap(groups=lambda layer, size: size), "how many groups there are"),
        (swap(eps=False), "eps is not kept"),
        (swap(keep=""), "The weight is a new layer's"),
        (swap(keep="weight"), "The bias is a new layer's"),
        (lambda model, size: swap()(model, size).requires_grad_(False), "0.0.weight has requires_grad=False"),
    ],
}
