"""Checks for the exercises of chapter 1, batch norm."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from companion.checks.batch_norm_layer import check_batch_norm  # noqa: F401 - the set finds all its checks here
from companion.checks.comparing import draw, expect, expect_call, watch


def check_standardize_batch(answer: Callable, examples: int = 6, channels: int = 4, seed: int = 0) -> None:
    """``answer(x, eps)`` standardizes each column of ``x``, ``(N, C)``, with the batch's biased variance."""
    x, eps = draw(examples, channels, seed=seed), 0.1  # an ε that large shows where it was put
    m, centred, n = x.mean(0), x - x.mean(0), examples
    var = centred.square().mean(0)
    mistakes = {
        "Each channel needs the mean over the examples: that is axis 0.": _rows(x, eps),
        "The variance in the forward pass is divided by n, not n - 1.": centred / (var * n / (n - 1) + eps).sqrt(),
        "eps is added to the variance, inside the square root.": centred / (var.sqrt() + eps),
        "eps is missing: add it to the variance.": centred / var.sqrt(),
        "Divide by the standard deviation, not by the variance.": centred / (var + eps),
        "Subtract the mean before you divide.": x / (var + eps).sqrt(),
        "Each channel has a mean and a variance of its own; yours share one.": (x - x.mean())
        / (x.var(correction=0) + eps).sqrt(),
        "The mean is subtracted, but nothing is divided.": x - m,
    }
    expect_call(answer, (x, eps), centred / (var + eps).sqrt(), mistakes)


def _rows(x: Tensor, eps: float) -> Tensor:
    return (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + eps).sqrt()


def check_backward(answer: Callable, examples: int = 5, channels: int = 3, seed: int = 0) -> None:
    """``answer(grad_y, x, gamma, eps)`` gives the gradients of batch norm's input, scale and offset."""
    x, grad_y = draw(examples, channels, seed=seed), draw(examples, channels, seed=seed + 1)
    gamma, eps = draw(channels, seed=seed + 2), 0.1
    std = (x.var(0, correction=0) + eps).sqrt()
    hat = (x - x.mean(0)) / std
    grad_hat = grad_y * gamma
    through_mean, through_var = grad_hat.mean(0), hat * (grad_hat * hat).mean(0)
    right = (grad_hat - through_mean - through_var) / std
    grad_gamma, grad_delta = (grad_y * hat).sum(0), grad_y.sum(0)
    inputs = {
        "The gradient of x: the mean depends on x, too. Its path is missing.": (grad_hat - through_var) / std,
        "The gradient of x: the variance depends on x, too. Its path is missing.": (grad_hat - through_mean) / std,
        "The gradient of x: mean and variance depend on x, too. Both paths are missing.": grad_hat / std,
        "The gradient of x: gamma is missing.": right / gamma,
        "The gradient of x: it is still to be divided by the standard deviation.": right * std,
        "The gradient of x: the paths through mean and variance are means over the batch, not sums.": (
            grad_hat - examples * (through_mean + through_var)
        )
        / std,
    }
    mistakes = {sentence: [value, grad_gamma, grad_delta] for sentence, value in inputs.items()}
    mistakes |= {
        "The gradient of gamma multiplies grad_y with the standardized x, not with x.": [
            right,
            (grad_y * x).sum(0),
            grad_delta,
        ],
        "The gradients of gamma and delta are sums over the batch, not means.": [
            right,
            grad_gamma / examples,
            grad_delta / examples,
        ],
        "The gradients of gamma and delta belong to a channel: sum over the examples.": [right, grad_y * hat, grad_y],
        "The order is x, gamma, delta.": [right, grad_delta, grad_gamma],
    }
    expect_call(answer, (grad_y, x, gamma, eps), [right, grad_gamma, grad_delta], mistakes)


def check_batches_until(answer: Callable, momenta: tuple[float, ...] = (0.1, 0.01, 0.5), within: float = 0.01) -> None:
    """``answer(momentum, within)`` predicts how many batches bring a running mean so close; torch's layer counts."""
    for momentum in momenta:
        mistakes = {
            "momentum is the weight of the new batch; you gave it to the old mean.": math.ceil(
                math.log(within) / math.log(momentum)
            ),
            "One batch too few: after t batches the share (1 - momentum)^t is still missing. Round up.": math.ceil(
                math.log(within) / math.log(1 - momentum)
            )
            - 1,
            "One batch too many: the running mean starts at 0, before the first batch.": math.ceil(
                math.log(within) / math.log(1 - momentum)
            )
            + 1,
            "It is not 1 / momentum: that is how many batches the running mean remembers, more or less.": math.ceil(
                1 / momentum
            ),
            "A number of batches is whole: round up.": math.log(within) / math.log(1 - momentum),
        }
        expect(f"momentum {momentum}", watch(_call, answer, momentum, within), _count(momentum, within), mistakes)


def _call(answer: Callable, momentum: float, within: float) -> float:
    return answer(momentum, within)


def _count(momentum: float, within: float) -> int:
    """Batches of the same two numbers until torch's running mean is within a share of their mean."""
    layer, batches = nn.BatchNorm1d(1, momentum=momentum, dtype=torch.float64), 0
    batch = torch.tensor([[9.0], [11.0]], dtype=torch.float64)
    while (layer.running_mean - 10).abs() > 10 * within:
        layer(batch)
        batches += 1
    return batches
