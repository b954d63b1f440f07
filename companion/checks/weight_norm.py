"""Checks for the exercises of chapter 8, weight norm."""

from collections.abc import Callable
from itertools import pairwise
from math import inf

import torch
from torch import Tensor, nn

from companion.checks.comparing import distance, expect, expect_call, name_of, observe_or_fail, random_channels
from companion.checks.observing import call_on_copies, refuse_frozen
from companion.checks.showing import check
from companion.norms import weight_norm


@check(
    right="Each of 4 output channels has the length that g says, and the direction of v.",
    also=[{"channels": (3, 2), "kernel": 4, "turned": 2, "seed": 5}],
)
def check_conv_weight(
    answer: Callable, channels: tuple[int, int] = (4, 3), kernel: int = 5, turned: int = 0, seed: int = 0
) -> None:
    """Check that ``answer(g, v)`` gives a convolution's weights, of lengths ``g`` and the directions of ``v``.

    So many as are ``turned`` have a negative ``g``, which turns them round.
    """
    g, v = 2 + random_channels(channels[0], seed=seed).abs(), random_channels(*channels, kernel, seed=seed + 1)
    g[:turned] *= -1
    column = g[:, None, None]
    over_outputs, over_inputs, over_positions = (column * v / v.norm(dim=axis, keepdim=True) for axis in range(3))
    squares, absolute = (column * v / part.sum((1, 2), keepdim=True) for part in (v.square(), v.abs()))
    mistakes = {
        "Each output channel has a length of its own; yours share the length of all of v.": column * v / v.norm(),
        "A channel's length is taken over input channels and positions; yours leaves out the positions.": over_inputs,
        "A channel's length is taken over input channels and positions; yours leaves out the input channels.": over_positions,
        "The output channels are axis 0: each keeps a length of its own, so that axis is not summed over.": over_outputs,
        "The length is the root of the sum of squares; the root is missing.": squares,
        "The length is the root of the sum of squares, not the sum of the absolute values.": absolute,
        "g multiplies v, but v is not divided by its length yet.": column * v,
        "The direction is right; g is missing.": v / v.flatten(1).norm(dim=1)[:, None, None],
    }
    expect_call(answer, (g, v), column * v / v.flatten(1).norm(dim=1)[:, None, None], mistakes)


@check(
    right="A v 3 times as long takes the same path with 9 times the rate and a ninth of the decay.",
    also=[{"c": 0.7, "learning_rate": 0.3, "weight_decay": 0.2}],
)
def check_same_run(answer: Callable, c: float = 3.0, learning_rate: float = 0.2, weight_decay: float = 0.5) -> None:
    """Check that ``answer(c, learning_rate, weight_decay)`` gives both numbers for a ``v`` that is ``c`` times as long.

    Both layers are trained, with these numbers and with those of the usual mistakes.
    """
    rates = {
        "The rate is as before. A longer v has a shorter gradient, and turns less for the same step.": 1,
        "The rate makes up for the shorter gradient. But a longer v also needs a longer step to turn as far.": c,
        "The rate went down, but a longer v needs a larger one.": 1 / c,
        "The rate goes the wrong way: it is as much too small as it should be larger.": c**-2,
        "v does not move. The order is learning rate, weight decay.": 0,
        "The rate is too large. One factor is the gradient's and one the turn's; there is no third.": c**3,
    }
    rates = {sentence: (factor * learning_rate, 0.0) for sentence, factor in rates.items()}
    _expect_run(answer, c, learning_rate, 0.0, rates)
    decays = {
        "The rate is right. But decay shortens v by the product of rate and decay, and that has grown.": 1,
        "The rate is right, the decay is still too large: what must stay is the product of the two.": 1 / c,
        "The rate is right. The decay should not grow with it: its product with the rate must stay.": c**2,
        "The rate is right, and the decay has vanished: v must get shorter by the same share of it as before.": 0,
        "The rate is right, the decay goes the wrong way.": c,
    }
    rate = c**2 * learning_rate
    decays = {sentence: (rate, factor * weight_decay) for sentence, factor in decays.items()}
    _expect_run(answer, c, learning_rate, weight_decay, decays)


def _expect_run(answer: Callable, c: float, rate: float, decay: float, mistakes: dict[str, tuple]) -> None:
    got = observe_or_fail(call_on_copies, answer, c, rate, decay)
    if distance(got, [0.0, 0.0]) == inf:
        expect(name_of(answer), got, [0.0, 0.0], {})  # says what is given where two numbers are wanted
    runs = {sentence: _train(c, *numbers) for sentence, numbers in mistakes.items()}
    expect(f"c = {c}, decay {decay}", _train(c, *got), _train(1.0, rate, decay), runs)


def _train(c: float, rate: float, decay: float, steps: int = 8) -> Tensor:
    """Return the weights after some steps from a ``v`` that is ``c`` times as long as another."""
    x, y = random_channels(7, 3, seed=1, offset=0.0), random_channels(7, 2, seed=2, offset=0.0)
    layer = weight_norm(nn.Linear(3, 2, bias=False, dtype=torch.float64))
    g, v = layer.parametrizations.weight.original0, layer.parametrizations.weight.original1
    with torch.no_grad():
        g.fill_(1.5)
        v.copy_(c * random_channels(2, 3, seed=3, offset=0.0))
    for _ in range(steps):
        grad_g, grad_v = torch.autograd.grad((layer(x) - y).square().mean(), (g, v))
        with torch.no_grad():
            g -= 0.1 * grad_g
            v -= rate * (grad_v + decay * v)
    return layer.weight.detach()


@check(
    right="The gradient of v has no part along v, and that of s has the exponential.",
    also=[{"units": 3, "inputs": 5, "seed": 5}],
)
def check_backward(answer: Callable, units: int = 4, inputs: int = 3, seed: int = 0) -> None:
    """Check that ``answer(grad_w, s, v)`` gives the gradients of ``s`` and ``v`` for w = exp(s) v / |v|."""
    grad_w, v = random_channels(units, inputs, seed=seed), random_channels(units, inputs, seed=seed + 1)
    s = 0.3 * random_channels(units, 1, seed=seed + 2)
    length = v.norm(dim=1, keepdim=True)
    u, scale = v / length, s.exp()
    along = (grad_w * u).sum(1, keepdim=True)
    across = grad_w - along * u
    grad_s, grad_v = scale * along, scale / length * across
    s_too_much, with_v = grad_w - grad_s * u, grad_w - (grad_w * v).sum(1, keepdim=True) * v
    of_weights, of_s = [scale * grad_w * u, grad_v], [grad_s, s / length * across]
    still_along, undivided = [grad_s, scale / length * grad_w], [grad_s, scale * across]
    of_g, undirected = [along, across / length], [grad_s, scale / length * with_v]
    mistakes = {
        "The gradient of s: w depends on s through the exponential, whose derivative is missing.": [along, grad_v],
        "The gradient of s: u has length 1; you took v instead.": [grad_s * length, grad_v],
        "The gradient of s belongs to a unit: sum over the inputs.": of_weights,
        "The gradient of v: the length of w is exp(s), not s.": of_s,
        "The gradient of v: take off only the part of grad_w along u; you took off the gradient of s, "
        "which holds one exponential more.": [grad_s, scale / length * s_too_much],
        "The gradient of v still has a part along v; making v longer does nothing, so that part must go.": still_along,
        "The gradient of v: a long v turns slowly. It is still to be divided by the length of v.": undivided,
        "The gradient of v: exp(s) is missing.": [grad_s, across / length],
        "Both gradients lack exp(s): these are the ones of g and v for g = 1.": of_g,
        "The gradient of v: the part along u is (grad_w · u) u, with v divided by its length in both places.": undirected,
        "The order is s, v.": [grad_v, grad_s],
    }
    expect_call(answer, (grad_w, s, v), [grad_s, grad_v], mistakes)


@check(
    right="Layer after layer, each channel starts with mean 0 and deviation 1 over the batch.",
    also=[{"examples": 4, "positions": 7, "seed": 5}],
)
def check_repaired_start(answer: Callable, examples: int = 6, positions: int = 5, seed: int = 0) -> None:
    """Check that ``answer(layers, batch)`` sets ``g`` and offset of convolutions from a batch."""
    stale, unit = {"stale": True}, {"unit": True}
    mistakes = {
        "The deviation of a channel is taken over examples and positions together; the average of each position's "
        "deviation misses how much the positions differ.": {"pooled": False},
        "A layer must get what the layers before it give after they were set; yours gets what they gave before.": stale,
        "Both bugs are still there.": {"pooled": False, "stale": True},
        "The offset comes after the division, so the mean in it is divided by the deviation, too.": {"offset": "mean"},
        "The offset takes the mean off, so it is negative.": {"offset": "plus"},
        "g divides by the deviation; yours multiplies with it.": {"inverse": True},
        "The variance is divided by n, not n - 1.": {"correction": 1},
        "The next layer gets what comes out of the ReLU, not the pre-activation.": {"rectified": False},
        "v must stay as it is. Its length changes nothing that the layer computes, but it is a learning rate.": unit,
    }
    sizes = [examples, positions, seed]
    runs = {sentence: _start(*sizes, **options) for sentence, options in mistakes.items()}
    runs["Nothing was set: change g and the offset of each layer in place."] = observe_or_fail(
        _started, _set_nothing, *sizes
    )
    expect(name_of(answer), observe_or_fail(_started, answer, *sizes), _start(*sizes), runs, tolerance=1e-8)


WIDTHS = (2, 4, 3, 3)


def _problem(examples: int, positions: int, seed: int) -> tuple[list[Tensor], Tensor]:
    """Return directions of three layers, and a batch whose positions have means of their own."""
    vs = [0.5 * random_channels(n, m, 3, seed=seed + n, offset=0.0) for m, n in pairwise(WIDTHS)]
    batch = random_channels(examples, WIDTHS[0], positions, seed=seed)
    return vs, batch + torch.linspace(-3, 3, positions, dtype=batch.dtype) ** 2


def _started(answer: Callable, examples: int, positions: int, seed: int) -> list:
    """Return weights, offsets and directions of all layers after the answer has set them."""
    vs, batch = _problem(examples, positions, seed)
    layers = [weight_norm(nn.Conv1d(v.shape[1], len(v), 3, padding=1, dtype=v.dtype)) for v in vs]
    with torch.no_grad():
        for layer, v in zip(layers, vs, strict=True):
            layer.parametrizations.weight.original1.copy_(v)
            layer.parametrizations.weight.original0.fill_(0.7)
            layer.bias.copy_(0.1 * torch.arange(len(v), dtype=v.dtype))
    answer(layers, batch)
    for layer in layers:
        refuse_frozen(layer)
    return [[layer.weight, layer.bias, layer.parametrizations.weight.original1] for layer in layers]


def _set_nothing(layers: list[nn.Module], batch: Tensor) -> None:
    """Leave all as it is: an answer that does nothing."""


def _start(
    examples: int,
    positions: int,
    seed: int,
    *,
    pooled: bool = True,
    stale: bool = False,
    offset: str = "",
    inverse: bool = False,
    correction: int = 0,
    rectified: bool = True,
    unit: bool = False,
) -> list:
    """Set the same by hand, with a mistake."""
    vs, h = _problem(examples, positions, seed)
    found = []
    for v in vs:
        u = v / v.flatten(1).norm(dim=1)[:, None, None]
        t = nn.functional.conv1d(h, u, padding=1)
        mean, deviation = t.mean((0, 2)), t.std((0, 2), correction=correction)
        if not pooled:
            deviation = t.std(0, correction=0).mean(-1)
        g = deviation if inverse else 1 / deviation
        b = {"mean": -mean, "plus": mean / deviation}.get(offset, -mean / deviation)
        found.append([g[:, None, None] * u, b, u if unit else v])
        if stale:
            g, b = torch.full_like(g, 0.7), 0.1 * torch.arange(len(v), dtype=v.dtype)
        h = g[:, None] * t + b[:, None]
        h = h.relu() if rectified else h
    return found
