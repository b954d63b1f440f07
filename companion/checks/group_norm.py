"""Checks for the exercises of chapter 5, group norm."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from companion.checks.comparing import expect, expect_call, name_of, observe_or_fail, random_channels
from companion.checks.observing import call_on_copies, refuse_frozen
from companion.checks.showing import check
from companion.norms import GroupNorm


@check(
    right="6 channels on the last axis are normalized in 2 groups of 3 neighbours, over all positions.",
    also=[
        {"examples": 2, "positions": (7,), "channels": 8, "num_groups": 4, "eps": 0.03, "seed": 3},
        {"examples": 2, "positions": (2, 3, 4), "channels": 6, "num_groups": 3, "eps": 0.2, "seed": 4},
    ],
)
def check_group_norm_last(
    answer: Callable,
    examples: int = 3,
    positions: tuple[int, ...] = (4, 5),
    channels: int = 6,
    num_groups: int = 2,
    eps: float = 0.1,  # so large that it shows where it was put
    seed: int = 0,
) -> None:
    """Check that ``answer(x, num_groups, eps)`` is group norm of ``x``, ``(N, *positions, C)``."""
    x = random_channels(examples, channels, *positions, seed=seed).movedim(1, -1).contiguous()
    size, last = channels // num_groups, x.dim()
    places = tuple(range(1, last - 1))
    groups = x.unflatten(-1, (num_groups, size))
    share = (*places, last)
    mean, var = groups.mean(share, keepdim=True), groups.var(share, correction=0, keepdim=True)
    n = x[0].numel() // num_groups
    strided = x.unflatten(-1, (size, num_groups))
    from_memory = _standardize(x.reshape(examples, num_groups, -1), -1, eps)
    every_other, of_num_groups = (_standardize(strided, axes, eps) for axes in ((*places, last - 1), share))
    ways = {
        "A group is cut from memory, not from the channels: reshape(len(x), num_groups, -1) wants them on axis 1.": from_memory,
        "A group is a run of neighbouring channels; yours takes every num_groups-th channel.": every_other,
        "num_groups is the number of groups; you took it as the number of channels in one.": of_num_groups,
        "All positions of an example share, too; you normalized each position by itself.": _standardize(
            groups, last, eps
        ),
        "What else is in the batch has no say; you averaged over the examples.": _standardize(groups, (0, *share), eps),
        "Each channel has a mean of its own here: that is instance norm.": _standardize(x, places, eps),
        "All channels share here: that is layer norm.": _standardize(x, (*places, last - 1), eps),
        "The variance is divided by n, not n - 1.": (groups - mean) / (var * n / (n - 1) + eps).sqrt(),
        "eps is added to the variance, inside the square root.": (groups - mean) / (var.sqrt() + eps),
        "eps is missing: add it to the variance.": (groups - mean) / var.sqrt(),
        "Divide by the standard deviation, not by the variance.": (groups - mean) / (var + eps),
    }
    mistakes = {sentence: value.reshape(x.shape) for sentence, value in ways.items()}
    want = F.group_norm(x.movedim(-1, 1), num_groups, eps=eps).movedim(1, -1)
    mistakes["The values are right, but the channels must go back to the last axis."] = want.movedim(-1, 1)
    expect_call(answer, (x, num_groups, eps), want, mistakes)


def _standardize(x: Tensor, axes: int | tuple[int, ...], eps: float) -> Tensor:
    mean, var = x.mean(axes, keepdim=True), x.var(axes, correction=0, keepdim=True)
    return (x - mean) / (var + eps).sqrt()


@check(right="A channel 5 times as loud comes out at 1.89 in a group of 4, its neighbours at 0.38, other groups at 1.")
def check_loudness_after(
    answer: Callable, cases: tuple[tuple[int, int, float], ...] = ((12, 3, 5.0), (8, 4, 0.5), (10, 2, 1.7))
) -> None:
    """Check that ``answer(channels, num_groups, times)`` predicts three loudnesses after group norm."""
    for channels, num_groups, times in cases:
        size = channels // num_groups
        rest = size - 1
        quieter = (size / (times**2 + rest)) ** 0.5
        alone, root = [times, 1, 1], (size / (times + rest)) ** 0.5
        of_num_groups, (loud, neighbour, _) = _shares(times, num_groups), _shares(times, channels)
        layer_norm = [loud, neighbour, neighbour]
        unsquared = [times * size / (times + rest), size / (times + rest), 1]
        unrooted = [times * quieter**2, quieter**2, 1]
        summed = [times / (times**2 + rest) ** 0.5, 1 / (times**2 + rest) ** 0.5, 1]
        mistakes = {
            "All channels of a group are divided by one number. The loud one moves it, and with it the neighbours.": alone,
            "Every channel comes out at 1 only if it is a group of its own. Here the loud one shares.": [1, 1, 1],
            "The loud channel is not brought back to 1: it stays `times` as loud as its neighbours.": [1, 1 / times, 1],
            "A group has channels / num_groups channels, not num_groups.": of_num_groups,
            "Other groups have their own statistics. Only in layer norm do all channels share.": layer_norm,
            "Variances are averaged, not standard deviations: square the loudness first.": unsquared,
            "`times` as loud means times² the variance.": [times * root, root, 1],
            "Divide by the standard deviation, not by the variance: the root is missing.": unrooted,
            "The group's variance is the mean of its channels', not their sum.": summed,
            "The order is: this channel, its neighbour, a channel of another group.": [quieter, times * quieter, 1],
        }
        name = f"{channels} channels, {num_groups} groups, {times} times as loud"
        got, want = (
            observe_or_fail(call_on_copies, answer, channels, num_groups, times),
            _measured(channels, num_groups, times),
        )
        expect(name, got, want, mistakes, tolerance=1e-6)


def _shares(times: float, size: int) -> list[float]:
    quieter = (size / (times**2 + size - 1)) ** 0.5
    return [times * quieter, quieter, 1]


def _measured(channels: int, num_groups: int, times: float) -> list[float]:
    """Return loudness after torch's group norm: of the first channel, its neighbour, and the last channel."""
    x = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(channels, 4)
    x[0] *= times
    loudness = F.group_norm(x[None], num_groups, eps=0.0)[0].std(-1, correction=0)
    return loudness[[0, 1, -1]].tolist()


@check(
    right="gamma comes in before the means over a group, and the gradient is that of autograd.",
    also=[{"examples": 3, "channels": 10, "positions": 4, "num_groups": 5, "eps": 0.03, "seed": 3}],
)
def check_backward(
    answer: Callable,
    examples: int = 2,
    channels: int = 6,
    positions: int = 3,
    num_groups: int = 2,
    eps: float = 0.1,
    seed: int = 0,
) -> None:
    """Check that ``answer(grad_y, x, gamma, num_groups, eps)`` is the gradient of group norm's input, ``(N, C, P)``."""
    x, grad_y = (random_channels(examples, channels, positions, seed=seed + step) for step in range(2))
    gamma = random_channels(channels, seed=seed + 2, offset=0.0)
    grad_hat, column = grad_y * gamma[:, None], gamma[:, None]
    leaf = x.clone().requires_grad_()
    (want,) = torch.autograd.grad(F.group_norm(leaf, num_groups, gamma, eps=eps), leaf, grad_y)
    gradient, n = partial(_gradient, eps=eps), x[0].numel() // num_groups
    every = x.transpose(0, 1)  # channels in the place of examples: their layer norm is batch norm
    at_the_end = column * gradient(grad_y, x, num_groups)
    no_paths, sums = (gradient(grad_hat, x, num_groups, mean=times, var=times) for times in (0, n))
    of_batch = gradient(grad_hat.transpose(0, 1), every, 1).transpose(0, 1)
    mistakes = {
        "gamma differs within a group: multiply it in before you average, not at the end. (In batch norm both agree.)": at_the_end,
        "gamma is missing: the loss reaches the standardized values through it.": gradient(grad_y, x, num_groups),
        "The mean depends on x, too. Its path is missing.": gradient(grad_hat, x, num_groups, mean=0),
        "The variance depends on x, too. Its path is missing.": gradient(grad_hat, x, num_groups, var=0),
        "Mean and variance depend on x, too. Both paths are missing.": no_paths,
        "The paths through mean and variance are means over the group, not sums.": sums,
        "It is still to be divided by the standard deviation.": gradient(grad_hat, x, num_groups, divide=False),
        "You averaged over each channel by itself; its whole group shares.": gradient(grad_hat, x, channels),
        "You averaged over all channels of an example; only those of a group share.": gradient(grad_hat, x, 1),
        "You averaged over the batch; each example has statistics of its own.": of_batch,
    }
    expect_call(answer, (grad_y, x, gamma, num_groups, eps), want, mistakes)


def _gradient(
    grad_hat: Tensor, x: Tensor, num_groups: int, eps: float, mean: int = 1, var: int = 1, divide: bool = True
) -> Tensor:
    """Return the gradient of x, with each path as often as wished."""
    h, g = (part.reshape(len(part), num_groups, -1) for part in (x, grad_hat))
    std = (h.var(-1, correction=0, keepdim=True) + eps).sqrt()
    hat = (h - h.mean(-1, keepdim=True)) / std
    g = g - mean * g.mean(-1, keepdim=True) - var * hat * (g * hat).mean(-1, keepdim=True)
    return (g / std if divide else g).reshape(x.shape)


@check(
    right="Batch norms at three depths became group norms, and scales, offsets and eps are kept.",
    also=[{"widths": (6, 9, 15), "size": 3, "seed": 5}],
)
def check_to_group_norm(answer: Callable, widths: tuple[int, ...] = (8, 12, 4), size: int = 2, seed: int = 0) -> None:
    """Check that ``answer(model, size)`` puts group norm in place of batch norm, and keeps scale, offset and eps."""
    got, want = (observe_or_fail(swapped, swap, list(widths), size, seed) for swap in (answer, _swap))
    name = name_of(answer)
    if got is None:
        raise AssertionError(f"{name}: it gave None. Is there a return?")
    if got["left"]:
        raise AssertionError(
            f"{name}: a batch norm is left. model.named_children() does not look inside what it finds: go deeper."
        )
    sizes = [size] * len(widths)
    count = {
        "The first number of nn.GroupNorm is how many groups there are; `size` is how many channels one has.": sizes
    }
    expect(f"{name}: num_groups of each layer", got["groups"], want["groups"], count)
    default = {"A batch norm's eps is not kept: you have the default.": [1e-5] * len(widths)}
    expect(f"{name}: eps of each layer", got["eps"], want["eps"], default)
    for key, fill in (("weight", torch.ones), ("bias", torch.zeros)):
        new = {f"The {key} is a new layer's. Hand on the parameters of the batch norm.": [fill(c) for c in widths]}
        expect(f"{name}: {key} of each layer", got[key], want[key], new)
    expect(f"{name}: output of the model", got["output"], want["output"], {})


def swapped(answer: Callable, widths: list[int], size: int, seed: int) -> dict | None:
    """Return what an answer makes of a model whose batch norms stand at three depths."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = answer(_model(*widths), size)
        x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    if model is None:
        return None
    if not isinstance(model, nn.Module):
        raise TypeError(f"it must return the model, but gave a {type(model).__name__}")
    refuse_frozen(model)
    model = model.double()  # whatever the dtype of a new layer is
    layers = [layer for layer in model.modules() if isinstance(layer, nn.GroupNorm | GroupNorm)]
    return {
        "left": sum(isinstance(layer, nn.BatchNorm2d) for layer in model.modules()),
        "groups": [layer.num_groups for layer in layers],
        "eps": [layer.eps for layer in layers],
        "weight": [layer.weight for layer in layers],
        "bias": [layer.bias for layer in layers],
        "output": [model.train()(x), model.eval()(x)],
    }


def _model(first: int, second: int, third: int) -> nn.Module:
    block = nn.Sequential(nn.Conv2d(3, first, 3, bias=False), nn.BatchNorm2d(first, eps=0.5), nn.ReLU())
    deep = nn.Sequential(nn.Sequential(nn.Conv2d(second, third, 1), nn.BatchNorm2d(third, eps=0.125)), nn.ReLU())
    norm = nn.BatchNorm2d(second, eps=0.25)
    model = nn.Sequential(block, nn.Conv2d(first, second, 3, bias=False), norm, nn.ReLU(), deep)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def _swap(model: nn.Module, size: int) -> nn.Module:
    for parent in list(model.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.BatchNorm2d):
                new = nn.GroupNorm(layer.num_features // size, layer.num_features, layer.eps)
                new.weight, new.bias = layer.weight, layer.bias
                setattr(parent, name, new)
    return model
