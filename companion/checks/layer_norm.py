"""Checks for the exercises of chapter 4, layer norm."""

from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from companion.checks.comparing import expect, expect_call, observe_or_fail, random_channels
from companion.checks.observing import call_on_copies, refuse_frozen
from companion.checks.showing import check
from companion.norms import standardize


@check(
    right="Sequences of 7, 3, 5 and 1 positions come out as if there were no padding.",
    also=[{"lengths": (2, 6, 4), "channels": 3, "positions": 8, "eps": 0.03, "seed": 5}],
)
def check_masked_layer_norm(
    answer: Callable,
    lengths: tuple[int, ...] = (7, 3, 5, 1),
    channels: int = 4,
    positions: int = 7,
    eps: float = 0.1,
    seed: int = 0,
) -> None:
    """Check that ``answer(h, lengths, eps)`` standardizes each sequence by its own positions, padding 0."""
    h = random_channels(len(lengths), channels, positions, seed=seed)
    mask = (torch.arange(positions) < torch.tensor(lengths)[:, None])[:, None].to(h.dtype)  # (N, 1, P)
    count = channels * mask.sum((1, 2), keepdim=True)

    def pooled(values: Tensor, axes: tuple[int, ...] = (1, 2)) -> Tensor:
        """Return mean over the real positions."""
        return (values * mask).sum(axes, keepdim=True) / mask.expand_as(values).sum(axes, keepdim=True).clamp(min=1)

    def own(axes: tuple[int, ...]) -> Tensor:
        centred = h - pooled(h, axes)
        return mask * centred / (pooled(centred.square(), axes) + eps).sqrt()

    m, full, padded = pooled(h), channels * positions, standardize(h, 1, channels, eps)
    centred, var = h - m, pooled((h - m).square())
    shortened = h - (h * mask).sum((1, 2), keepdim=True) / full
    by_all = mask * shortened / ((shortened.square() * mask).sum((1, 2), keepdim=True) / full + eps).sqrt()
    squares_by_all = mask * centred / (var * count / full + eps).sqrt()
    padded_squares = (h * mask - m).square().sum((1, 2), keepdim=True) / count
    padded_var = mask * centred / (padded_squares + eps).sqrt()
    var_of_all = mask * centred / (centred.square().mean((1, 2), keepdim=True) + eps).sqrt()
    mistakes = {
        "Padding counts in your mean and variance.": mask * padded,
        "Padding counts in your mean and variance, and must come out as 0.": padded,
        "Padding must come out as 0.": centred / (var + eps).sqrt(),
        "The sums are over real positions, so divide them by the number of real values, not by C times P.": by_all,
        "The variance is a sum over real positions: divide it by the number of real values, not by C times P.": squares_by_all,
        "Padding counts in your variance: set the squared deviations there to 0, not only the values.": padded_var,
        "The mean leaves padding out, but the variance does not.": var_of_all,
        "The values of a sequence share, all channels and positions; yours are taken for each position.": own((1,)),
        "The values of a sequence share, all channels and positions; yours are taken for each channel.": own((2,)),
        "Each sequence has a mean and a variance of its own; yours share one.": own((0, 1, 2)),
        "The variance is divided by n, not n - 1.": mask * centred / (var * count / (count - 1) + eps).sqrt(),
        "eps is added to the variance, inside the square root.": mask * centred / (var.sqrt() + eps),
        "eps is missing: add it to the variance.": mask * centred / var.sqrt(),
    }
    expect_call(answer, (h, list(lengths), eps), mask * centred / (var + eps).sqrt(), mistakes)


@check(right="With 3 channels and 5 positions no output is above 3.74, and none above 1.41 where tokens stand alone.")
def check_largest_output(answer: Callable, sizes: tuple[tuple[int, int], ...] = ((3, 5), (10, 2), (8, 1))) -> None:
    """Check that ``answer(channels, positions, per_token)`` predicts the largest output of layer norm."""
    for channels, positions in sizes:
        for per_token in (False, True):
            n, other = channels * positions, channels
            if per_token:
                n, other = other, n
            outlier = torch.zeros(1, n, dtype=torch.float64)
            outlier[0, 0] = 1.0
            radius, of_others = n**0.5, (other - 1) ** 0.5
            mistakes = {
                "That is the radius of the sphere; but the outputs also sum to 0, so the others cannot all be 0.": radius,
                "Which values share? In one form all channels and positions do, in the other those of one token.": of_others,
                "Which values share? And all of them sum to 0: that is a plane, not only a sphere.": other**0.5,
                "The squares of the outputs sum to their number, so the outputs are smaller: a root is missing.": n - 1,
                "No input makes it that large: the squares of all outputs sum to their number.": n,
                "An outlier moves the mean and the standard deviation as well, so there is a bound.": inf,
                "A standard deviation of 1 does not mean that no output lies farther out.": 1,
                "The mean of the squares is 1, with division by n, not n - 1.": (n - 1) / n**0.5,
            }
            name = f"largest_output, {channels} channels, {positions} positions, per_token={per_token}"
            want = standardize(outlier, 1, n, eps=0.0)[0, 0].item()
            # A number may have been computed in float32, hence the tolerance.
            expect(
                name,
                observe_or_fail(call_on_copies, answer, channels, positions, per_token),
                want,
                mistakes,
                tolerance=1e-6,
            )


@check(
    right="Each of 6 positions is normalized by those up to it; later ones have no say.",
    also=[{"examples": 3, "channels": 4, "positions": 5, "eps": 0.03, "seed": 5}],
)
def check_causal_layer_norm(
    answer: Callable, examples: int = 2, channels: int = 3, positions: int = 6, eps: float = 0.1, seed: int = 0
) -> None:
    """Check that ``answer(h, eps)`` standardizes each position by all channels of the positions up to it."""
    h = random_channels(examples, channels, positions, seed=seed)
    each = partial(_causal, h, eps)
    count = torch.arange(1, positions + 1)
    means = (h.sum(1, keepdim=True).cumsum(2)) / (channels * count)
    deviations = (h - means).square().sum(1, keepdim=True).cumsum(2) / (channels * count)
    tokens_var = h.var(1, correction=0, keepdim=True)
    alone = (h - h.mean(1, keepdim=True)) / (tokens_var + eps).sqrt()
    earlier_means = (h - means) / (deviations + eps).sqrt()
    mean_of_vars = (h - means) / (tokens_var.cumsum(2) / count + eps).sqrt()
    mistakes = {
        "Later positions still count: the last one may change only its own outputs.": standardize(h, 1, channels, eps),
        "Each position by itself forgets the ones before it; they count, too.": alone,
        "You count from the end: positions up to p are h[:, :, : p + 1].": each(so_far=False),
        "A position shares with all up to itself; yours leaves itself out.": each(without_itself=True),
        "All channels share; each of yours has a mean of its own.": each((2,)),
        "Examples do not share: each has its own mean and variance.": each((0, 1, 2)),
        "The variance is taken around the mean of this position; yours adds up squares around earlier means.": earlier_means,
        "The sums have C values a position: divide by C times the number of positions.": each(too_few=channels),
        "The variance of all values is not the mean of the positions' variances: their means differ, too.": mean_of_vars,
        "The variance is divided by n, not n - 1.": each(correction=1),
        "eps is added to the variance, inside the square root.": each(inside=False),
        "eps is missing: add it to the variance.": each(without_eps=True),
    }
    expect_call(answer, (h, eps), each(), mistakes)


def _causal(
    h: Tensor,
    eps: float,
    axes: tuple[int, ...] = (1, 2),
    so_far: bool = True,
    without_itself: bool = False,
    **mistake: Any,
) -> Tensor:
    out = []
    for p in range(h.shape[2]):
        past = h[..., : max(p, 1) if without_itself else p + 1]
        out.append(_standardized(h[..., p : p + 1], past if so_far else h[..., p:], axes, eps, **mistake))
    return torch.cat(out, 2)


def _standardized(
    values: Tensor,
    part: Tensor,
    axes: tuple[int, ...],
    eps: float,
    correction: int = 0,
    inside: bool = True,
    without_eps: bool = False,
    too_few: int = 1,
) -> Tensor:
    """Standardize values by the mean and the variance of a part, counted so many times too few."""
    count = part.numel() / part.mean(axes).numel() / too_few
    mean = part.sum(axes, keepdim=True) / count
    var = (part - mean).square().sum(axes, keepdim=True) / max(count - correction, 1)
    eps = 0.0 if without_eps else eps
    return (values - mean) / ((var + eps).sqrt() if inside else var.sqrt() + eps)


@check(
    right="No output depends on a later position any more, and each token is normalized by itself.",
    also=[{"examples": 2, "channels": 5, "positions": 7, "seed": 40}],
)
def check_repaired(answer: Callable, examples: int = 3, channels: int = 4, positions: int = 6, seed: int = 0) -> None:
    """Check that ``answer(channels)`` makes a layer without a look at later positions or other tokens."""
    h = random_channels(examples, channels, positions, seed=seed)
    shapes = {
        "conv.weight": (channels, channels, 3),
        "conv.bias": (channels,),
        "norm.weight": (channels,),
        "norm.bias": (channels,),
    }
    state = {name: random_channels(*shape, seed=seed + step) for step, (name, shape) in enumerate(shapes.items(), 1)}
    right, mistakes = _with_bugs(h, state)
    got = observe_or_fail(run_layer, answer, channels, state, h)
    moved = (got["last changed"] - got["outputs"])[..., :-1].abs().max().item() if _fit(got, h) else 0.0
    if moved > 1e-9:
        mistakes["Earlier outputs still move when the last position changes."] = got["outputs"]
    expect("Repaired", got["outputs"], right, mistakes)


def _with_bugs(h: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the outputs of the repaired layer, and of those that have a bug."""
    weight, bias = state["conv.weight"], state["conv.bias"]
    scale, offset = state["norm.weight"][:, None], state["norm.bias"][:, None]

    def read(before: int, after: int, values: Tensor = h) -> Tensor:
        return functional.conv1d(functional.pad(values, (before, after)), weight, bias)[..., : h.shape[2]]

    def tokens(seen: Tensor) -> Tensor:
        return scale * (seen - seen.mean(1, keepdim=True)) / (seen.var(1, correction=0, keepdim=True) + 1e-5).sqrt()

    centred, causal = read(1, 1), read(2, 0)
    both, norm = (h + scale * standardize(seen, 1, len(scale)) + offset for seen in (centred, causal))
    by_channel = h + scale * standardize(causal, 1, 1) + offset
    so_far = h + scale * _causal(causal, 1e-5) + offset
    norm_first = h + read(2, 0, tokens(h) + offset)
    mistakes = {
        "Both leaks are still there: change the last position, and see who moves.": both,
        "The norm leaks: later positions still enter its mean and its standard deviation.": norm,
        "The convolution leaks: each position reads the next one.": h + tokens(centred) + offset,
        "The convolution reads ahead: the padding stands at the wrong end.": h + tokens(read(0, 2)) + offset,
        "A position may read itself: it reads itself and the two before it.": h + tokens(read(3, 0)) + offset,
        "The norm takes each channel over the positions: give it the channels last.": by_channel,
        "Each position is normalized by itself; yours shares with the positions before it.": so_far,
        "No position is normalized any more.": h + scale * causal + offset,
        "Where did the norm's scale and offset go?": h + tokens(causal) / scale,
        "Where did h go? It is added after the norm.": tokens(causal) + offset,
        "h is added after the norm, not before it.": tokens(h + causal) + offset,
        "The norm comes after the convolution, not before it.": norm_first,
    }
    return h + tokens(causal) + offset, mistakes


def _fit(got: dict, h: Tensor) -> bool:
    return all(isinstance(part, Tensor) and part.shape == h.shape for part in got.values())


def run_layer(make_layer: Callable, channels: int, state: dict[str, Tensor], h: Tensor) -> dict:
    """Return what a new layer with these parameters gives for ``h``, and once its last position is changed."""
    layer = make_layer(channels).double()
    layer.load_state_dict(state)
    changed = h.clone()
    changed[..., -1] += torch.linspace(-3, 2, channels, dtype=h.dtype)
    outputs = call_on_copies(layer, h)
    refuse_frozen(layer, outputs)
    return {"outputs": outputs, "last changed": call_on_copies(layer, changed)}
