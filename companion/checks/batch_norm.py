"""Checks for the exercises of chapter 1, batch norm."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from companion.checks.batch_norm_layer import check_batch_norm  # noqa: F401 - the set finds all its checks here
from companion.checks.comparing import expect, expect_call, observe_or_fail, random_channels
from companion.checks.showing import check


@check(
    right="Each of 4 channels has mean 0 over its 6 examples, and is divided by the root of its variance plus eps.",
    also=[{"examples": 5, "channels": 3, "eps": 0.03, "seed": 12}],
)
def check_standardize_batch(
    answer: Callable, examples: int = 6, channels: int = 4, eps: float = 0.1, seed: int = 0
) -> None:
    """Check that ``answer(x, eps)`` standardizes each column of ``x``, ``(N, C)``, with the batch's biased variance."""
    x = random_channels(examples, channels, seed=seed)  # an ε that is large shows where it was put
    m, centred, n = x.mean(0), x - x.mean(0), examples
    var = centred.square().mean(0)
    unbiased = centred / (var * n / (n - 1) + eps).sqrt()
    one_for_all = (x - x.mean()) / (x.var(correction=0) + eps).sqrt()
    mistakes = {
        "Each channel needs the mean over the examples: that is axis 0.": _rows(x, eps),
        "The variance in the forward pass is divided by n, not n - 1.": unbiased,
        "eps is added to the variance, inside the square root.": centred / (var.sqrt() + eps),
        "eps is missing: add it to the variance.": centred / var.sqrt(),
        "Divide by the standard deviation, not by the variance.": centred / (var + eps),
        "Subtract the mean before you divide.": x / (var + eps).sqrt(),
        "Each channel has a mean and a variance of its own; yours share one.": one_for_all,
        "The mean is subtracted, but nothing is divided.": x - m,
    }
    expect_call(answer, (x, eps), centred / (var + eps).sqrt(), mistakes)


def _rows(x: Tensor, eps: float) -> Tensor:
    return (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + eps).sqrt()


@check(
    right="The gradients of x, gamma and delta hold all paths, through mean and variance, too.",
    also=[{"examples": 7, "channels": 4, "eps": 0.03, "seed": 13}],
)
def check_backward(answer: Callable, examples: int = 5, channels: int = 3, eps: float = 0.1, seed: int = 0) -> None:
    """Check that ``answer(grad_y, x, gamma, eps)`` gives the gradients of batch norm's input, scale and offset."""
    x, grad_y = (random_channels(examples, channels, seed=seed + step) for step in range(2))
    gamma, n = random_channels(channels, seed=seed + 2, offset=0.0), examples
    std = (x.var(0, correction=0) + eps).sqrt()
    hat = (x - x.mean(0)) / std
    grad_hat = grad_y * gamma
    through_mean, through_var = grad_hat.mean(0), hat * (grad_hat * hat).mean(0)
    right = (grad_hat - through_mean - through_var) / std
    sums = (grad_hat - n * (through_mean + through_var)) / std
    inputs = {
        "The gradient of x: the mean depends on x, too. Its path is missing.": (grad_hat - through_var) / std,
        "The gradient of x: the variance depends on x, too. Its path is missing.": (grad_hat - through_mean) / std,
        "The gradient of x: mean and variance depend on x, too. Both paths are missing.": grad_hat / std,
        "The gradient of x: gamma is missing.": right / gamma,
        "The gradient of x: it is still to be divided by the standard deviation.": right * std,
        "The gradient of x: the paths through mean and variance are means over the batch, not sums.": sums,
    }
    g, d = (grad_y * hat).sum(0), grad_y.sum(0)
    times_x, means = [right, (grad_y * x).sum(0), d], [right, g / n, d / n]
    mistakes = {sentence: [value, g, d] for sentence, value in inputs.items()} | {
        "The gradient of gamma multiplies grad_y with the standardized x, not with x.": times_x,
        "The gradients of gamma and delta are sums over the batch, not means.": means,
        "The gradients of gamma and delta belong to a channel: sum over the examples.": [right, grad_y * hat, grad_y],
        "The order is x, gamma, delta.": [right, d, g],
    }
    expect_call(answer, (grad_y, x, gamma, eps), [right, g, d], mistakes)


@check(
    right="With momentum 0.1, 0.01 and 0.5 a running mean is within 1 % after 44, 459 and 7 batches.",
    also=[{"momenta": (0.3, 0.04), "within": 0.002}],
)
def check_batches_until(answer: Callable, momenta: tuple[float, ...] = (0.1, 0.01, 0.5), within: float = 0.01) -> None:
    """Check that ``answer(momentum, within)`` predicts how many batches bring torch's running mean so close."""
    for momentum in momenta:
        exact = math.log(within) / math.log(1 - momentum)
        right, remembered = math.ceil(exact), math.ceil(1 / momentum)
        exchanged = math.ceil(math.log(within) / math.log(momentum))
        too_few, too_many = right - 1, right + 1
        mistakes = {
            "momentum is the weight of the new batch; you gave it to the old mean.": exchanged,
            "One batch too few: after t batches the share (1 - momentum)^t is still missing. Round up.": too_few,
            "One batch too many: the running mean starts at 0, before the first batch.": too_many,
            "It is not 1 / momentum: that is how many batches the running mean remembers, more or less.": remembered,
            "A number of batches is whole: round up.": exact,
        }
        got, want = observe_or_fail(_call, answer, momentum, within), _count(momentum, within)
        expect(f"momentum {momentum}", got, want, mistakes)


def _call(answer: Callable, momentum: float, within: float) -> float:
    return answer(momentum, within)


def _count(momentum: float, within: float) -> int:
    """Count batches of the same two numbers until torch's running mean is within a share of their mean."""
    layer, batches = nn.BatchNorm1d(1, momentum=momentum, dtype=torch.float64), 0
    batch = torch.tensor([[9.0], [11.0]], dtype=torch.float64)
    while (layer.running_mean - 10).abs() > 10 * within:
        layer(batch)
        batches += 1
    return batches
