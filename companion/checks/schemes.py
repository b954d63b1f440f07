"""Checks for the exercises of chapter 2, who shares a mean and a variance."""

from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from torch import Tensor

from companion.checks.comparing import expect, expect_call, observe_or_fail, random_channels
from companion.checks.observing import call_on_copies, refuse_frozen
from companion.checks.showing import check
from companion.norms import standardize


@check(
    right="Channels of the sets 7, 2, 2, 7, 0, 7 share where the names agree, and examples do not share.",
    also=[{"sets": (6, 1, 6, 9, 1), "examples": 3, "positions": 4, "eps": 0.03, "seed": 5}],
)
def check_standardize_sets(
    answer: Callable,
    sets: tuple[int, ...] = (7, 2, 2, 7, 0, 7),
    examples: int = 4,
    positions: int = 5,
    eps: float = 0.1,
    seed: int = 0,
) -> None:
    """Check that ``answer(h, sets, eps)`` standardizes each example's channels with the others of the same set."""
    h, numbers = random_channels(examples, len(sets), positions, seed=seed), list(sets)
    names = sorted(set(numbers))
    right = _by_sets(h, numbers, eps)
    of_zeros, of_h = torch.zeros_like(h), h.clone()
    for result in (of_zeros, of_h):
        for name in set(names) & set(range(len(names))):
            members = _members(numbers, name)
            result[:, members] = right[:, members]
    averaged = _by_sets(h, numbers, eps, pooled=False)
    by_set = torch.cat([right[:, _members(numbers, name)] for name in names], 1)
    mistakes = {
        "Examples do not share: each has its own mean and variance.": _by_sets(h, numbers, eps, axes=(0, 1, 2)),
        "Positions share: your statistics belong to one position each.": _by_sets(h, numbers, eps, axes=(1,)),
        "Channels of one set share one mean; yours each have their own (instance norm).": _over(h, eps, (2,)),
        "Only the channels of one set share; yours all do (layer norm).": _over(h, eps, (1, 2)),
        "A set's variance is not the mean of its channels' variances: their means differ, too.": averaged,
        "Put each channel back in its place: yours come out sorted by set.": by_set,
        "The channels of some sets came out as zeros: the numbers are names of sets, not 0, 1, 2, …": of_zeros,
        "The channels of some sets came out as they went in: the numbers are names of sets, not 0, 1, 2, …": of_h,
        "The variance is divided by n, not n - 1.": _by_sets(h, numbers, eps, correction=1),
        "eps is added to the variance, inside the square root.": _by_sets(h, numbers, eps, inside=False),
        "eps is missing: add it to the variance.": _by_sets(h, numbers, 0.0),
    }
    if len(numbers) % len(names) == 0:
        group_norm = standardize(h, 1, len(numbers) // len(names), eps)
        mistakes["Channels share by the number of their set, not with their neighbours (group norm)."] = group_norm
    expect_call(answer, (h, numbers, eps), right, mistakes)


def _members(numbers: list[int], name: int) -> list[int]:
    return [channel for channel, number in enumerate(numbers) if number == name]


def _over(
    h: Tensor, eps: float, axes: tuple[int, ...], correction: int = 0, inside: bool = True, pooled: bool = True
) -> Tensor:
    """Standardize ``h`` over axes, with a mistake if one is asked for."""
    var = h.var(axes, correction=correction, keepdim=True)
    if not pooled:
        var = h.var(2, correction=0, keepdim=True).mean(1, keepdim=True)
    return (h - h.mean(axes, keepdim=True)) / ((var + eps).sqrt() if inside else var.sqrt() + eps)


def _by_sets(h: Tensor, numbers: list[int], eps: float, axes: tuple[int, ...] = (1, 2), **mistake: Any) -> Tensor:
    out = torch.empty_like(h)
    for name in set(numbers):
        members = _members(numbers, name)
        out[:, members] = _over(h[:, members], eps, axes, **mistake)
    return out


@check(right="It tells for 576 pairs of norms whether the second one changes anything.")
def check_changes_nothing(answer: Callable, examples: int = 12, channels: int = 6, seed: int = 0) -> None:
    """Check that ``answer(first, second)`` predicts whether a second norm right behind a first one is idle."""
    ways = [[e, c] for e in _divisors(examples) for c in _divisors(channels)]
    pairs = [[first, second] for first, second in product(ways, ways)]
    h = random_channels(examples, channels, 3, seed=seed)
    once = {tuple(way): standardize(h, *way, eps=0.0) for way in ways}
    want = [
        bool((standardize(once[tuple(one)], *two, eps=0.0) - once[tuple(one)]).abs().max() < 1e-9) for one, two in pairs
    ]
    rules = _rules(*torch.tensor([[*one, *two] for one, two in pairs]).T)
    mistakes = {sentence: rule.tolist() for sentence, rule in rules.items()}
    got = observe_or_fail(each_pair, answer, pairs)
    decided = isinstance(got, list) and len(got) == len(pairs) and all(isinstance(value, bool) for value in got)
    if decided and got not in (want, *mistakes.values()):
        wrong = sum(a != b for a, b in zip(got, want, strict=True))
        raise AssertionError(
            f"changes_nothing: wrong for {wrong} of {len(pairs)} pairs of norms. "
            "Measure a few: normalize once, normalize the result again, both with eps=0.0, and compare."
        )
    expect("changes_nothing", got, want, mistakes)


def _rules(e: Tensor, c: Tensor, f: Tensor, d: Tensor) -> dict[str, Tensor]:
    """Return mistaken rules for whether a norm of (f, d) examples and channels changes nothing after one of (e, c)."""
    examples, channels = f % e == 0, d % c == 0  # made of whole groups of the first
    never = torch.zeros_like(examples)
    same, other_way = (e == f) & (c == d), (e % f == 0) & (c % d == 0)
    larger, by_size = (e <= f) & (c <= d), f * d % (e * c) == 0
    either, exchanged = examples | channels, ~(examples & channels)
    return {
        "The same norm twice is not the only case. What are the mean and the variance of two groups together, "
        "if each has mean 0 and variance 1?": same,
        "It is the other way round: think of a first norm with small groups and a second one with large groups.": other_way,
        "A larger group is not enough: a group of the second norm must be made of whole groups of the first. "
        "Try 2 examples first and 3 examples second.": larger,
        "The size of a group alone does not decide: both the examples and the channels must fit.": by_size,
        "You look at the examples only; the channels that share matter as well.": examples,
        "You look at the channels only; the examples that share matter as well.": channels,
        "One of the two numbers is not enough: the examples and the channels must both fit.": either,
        "A second norm can change nothing: look for such a pair with standardize, eps=0.0.": never,
        "A second norm can change something: batch norm leaves examples of unequal length, layer norm does not.": ~never,
        "True and False are exchanged: True is asked for where nothing changes.": exchanged,
    }


def each_pair(answer: Callable, pairs: list) -> list:
    """Return what is predicted for each pair of norms."""
    return [call_on_copies(answer, tuple(first), tuple(second)) for first, second in pairs]


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


@check(right="It read 4 and 3, 12 and 2, 1 and 6, 2 and 1 examples and channels off outputs alone.")
def check_recognize(
    answer: Callable,
    ways: tuple[tuple[int, int], ...] = ((4, 3), (12, 2), (1, 6), (2, 1)),
    examples: int = 12,
    channels: int = 6,
    seed: int = 0,
) -> None:
    """Check that ``answer(y)`` tells from a norm's output how many examples and how many channels share."""
    for index, (share_examples, share_channels) in enumerate(ways):
        h = random_channels(examples, channels, 5, seed=seed + index)
        level = h - h.mean(2, keepdim=True)  # here each tile's mean is 0 whoever shares; its variance is not 1
        want, counts = [share_examples, share_channels], [examples // share_examples, channels // share_channels]
        mistakes = {
            "The order is examples, channels.": want[::-1],
            "All examples and all channels together always have mean 0 and variance 1; look for the smallest "
            "groups that have.": [examples, channels],
            "That many groups there are; asked is how many examples and channels are in one.": counts,
        }
        alone = {
            "Each channel of each example alone has not mean 0 here; try larger groups.": h,
            "A mean of 0 is not enough: each group's variance must be 1, too.": level,
        }
        for sentence, block in alone.items():
            got = observe_or_fail(call_on_copies, answer, standardize(block, share_examples, share_channels, eps=0.0))
            expect("recognize", got, want, mistakes | {sentence: [1, 1]})


@check(right="Neighbours share, and scale and offset come after the norm, in four schemes.")
def check_repaired(
    answer: Callable,
    ways: tuple[tuple[int, int], ...] = ((2, 3), (6, 1), (1, 2), (1, 6)),
    examples: int = 6,
    channels: int = 6,
    seed: int = 0,
) -> None:
    """Check that ``answer(num_channels, examples, channels)`` makes a layer of any scheme, with scale and offset."""
    weight, bias = random_channels(channels, seed=seed + 1), random_channels(channels, seed=5)
    scale, offset = weight[:, None], bias[:, None]
    for index, (e, c) in enumerate(ways):
        h = random_channels(examples, channels, 4, seed=seed + 100 * index)
        name = f"Repaired with {e} examples and {c} channels"
        plain = standardize(h, e, c, eps=0.1)
        scaled = scale * h + offset
        strided_examples = scale * _strided(h, e, c, eps=0.1) + offset
        both = _strided(scaled, e, c, eps=0.1)
        strided_channels = scale * _strided_channels(h, e, c, eps=0.1) + offset
        mistakes = {
            "Scale and offset come in too early: what is multiplied and added before mean and variance are taken is "
            "partly taken off again.": standardize(scaled, e, c, eps=0.1),
            "Examples that share are neighbours: with 2 of 6, examples 0 and 1 do. Look at the order of the axes in "
            "reshape.": strided_examples,
            "Channels that share are neighbours: with 2 of 6, channels 0 and 1 do. Look at the order of the axes in "
            "reshape.": strided_channels,
            "The order of the axes in reshape is wrong, and scale and offset come in too early.": both,
            "Where did the scale and the offset go?": plain,
            "Where did the offset go?": scale * plain,
            "Where did the scale go?": plain + offset,
            "The offset is added after the scale, and is not multiplied by it.": scale * (plain + offset),
        }
        got = observe_or_fail(run_layer, answer, [channels, e, c], h, weight, bias)
        expect(name, got, scale * plain + offset, mistakes)


def run_layer(make_layer: Callable, numbers: list[int], h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return what a new layer gives for ``h``, once it has these scales and offsets."""
    layer = make_layer(*numbers, eps=0.1).double()
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    y = call_on_copies(layer, h)
    refuse_frozen(layer, y)
    return y


def _strided(h: Tensor, examples: int, channels: int, eps: float) -> Tensor:
    """Return groups of examples that are as far apart as they can be."""
    count = len(h) // examples
    order = torch.arange(len(h)).reshape(examples, count).T.reshape(-1)
    return standardize(h[order], examples, channels, eps)[order.argsort()]


def _strided_channels(h: Tensor, examples: int, channels: int, eps: float) -> Tensor:
    count = h.shape[1] // channels
    order = torch.arange(h.shape[1]).reshape(channels, count).T.reshape(-1)
    return standardize(h[:, order], examples, channels, eps)[:, order.argsort()]
