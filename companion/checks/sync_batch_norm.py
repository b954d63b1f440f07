"""Checks for the exercises of chapter 7, batch norm across machines."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from companion.checks.comparing import distance, expect, name_of, observe_or_fail, random_channels
from companion.checks.observing import call_on_copies
from companion.checks.playing import take_part, together  # noqa: F401 - the set finds `together` here
from companion.checks.showing import check


@check(right="6, 3 and 4 examples are merged as if they stood in one place, with an empty shard and far from 0, too.")
def check_merge(
    answer: Callable, sizes: tuple[int, ...] = (6, 3, 4), channels: int = 3, empty: int = 1, seed: int = 0
) -> None:
    """Check that ``answer(counts, means, variances)`` merges machines' statistics, also of one without data."""
    shards = random_channels(sum(sizes), channels, seed=seed).split(sizes)
    # Each machine's data lie elsewhere, or the spread between machines would be small.
    shards = [x + 3 * rank for rank, x in enumerate(shards)]
    given, name = _own(shards), name_of(answer)
    var, mean = torch.var_mean(torch.cat(shards), 0, correction=0)
    _expect(name, observe_or_fail(call_on_copies, answer, *given), [mean, var], _wrongly_merged(*given, mean, var))
    with_empty = [*shards[:empty], shards[0][:0], *shards[empty:]]
    got = observe_or_fail(call_on_copies, answer, *_own(with_empty))
    if _has_nan(got):
        raise AssertionError(
            f"{name}: with an empty shard it gives nan. Such a machine has no mean, so it sends nan, and 0 times nan "
            "is nan: leave it out."
        )
    expect(f"{name}, with an empty shard", got, [mean, var], {})
    far = [x + 1e7 for x in shards]
    var, mean = torch.var_mean(torch.cat(far), 0, correction=0)
    got = observe_or_fail(call_on_copies, answer, *_own(far))
    if distance(got, [mean, var]) > 1e-5:
        raise AssertionError(
            f"{name}: with a mean of ten millions the variance has lost its digits. Square distances from the common "
            "mean, not the means themselves: E[x²] - m² is a small difference of large numbers."
        )


def _wrongly_merged(counts: Tensor, means: Tensor, variances: Tensor, mean: Tensor, var: Tensor) -> dict[str, list]:
    """Return what each usual mistake makes of the machines' statistics, whose common ones are the last two."""
    n = int(counts.sum())
    weights = counts[:, None] / n
    within, between = (weights * variances).sum(0), (weights * (means - mean) ** 2).sum(0)
    from_mean_of_means, unweighed = ((means - m).square().mean(0) for m in (means.mean(0), mean))
    not_squared = (weights * (means - mean).abs()).sum(0)
    plain = [means.mean(0), variances.mean(0)]
    plain_with_distances = [means.mean(0), variances.mean(0) + from_mean_of_means]
    plain_variances, distances_only = [mean, variances.mean(0)], [mean, between]
    plain_distances, not_squared = [mean, within + unweighed], [mean, within + not_squared]
    return {
        "Machines of different size: weigh each mean and each variance by its count.": plain,
        "The mean is right, the variance is not: how far the machines' means lie apart belongs to it.": [mean, within],
        "The mean is right. Weigh the variances by the counts, too; and how far the means lie apart belongs to them.": plain_variances,
        "Weigh by the counts: a machine with many examples says more about mean and variance.": plain_with_distances,
        "The squared distances of the means from the common mean are weighed by the counts, too.": plain_distances,
        "Variances here are divided by n, not n - 1.": [mean, var * n / (n - 1)],
        "Only the distances of the means are in your variance; the machines' own variances are missing.": distances_only,
        "The result is the variance, not the standard deviation.": [mean, var.sqrt()],
        "The order is mean, variance.": [var, mean],
        "Square the distances of the means from the common mean.": not_squared,
    }


def _own(shards: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return what each machine knows of its shard; nan where there is nothing to know."""
    nan = torch.full(shards[0].shape[1:], torch.nan, dtype=torch.float64)
    means = [x.mean(0) if len(x) else nan for x in shards]
    variances = [x.var(0, correction=0) if len(x) else nan for x in shards]
    counts = torch.tensor([len(x) for x in shards], dtype=torch.float64)
    return counts, torch.stack(means), torch.stack(variances)


def _expect(name: str, got: Any, want: Any, mistakes: dict[str, Any]) -> None:
    if 1e-9 < distance(got, want) < 1e-6:
        raise AssertionError(
            f"{name}: right but for rounding, so something on the way is in float32. torch.tensor([...]) of plain "
            "numbers is; x.new_tensor([...]) has the dtype of x."
        )
    expect(name, got, want, mistakes)


def _has_nan(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_has_nan, value))
    return isinstance(value, Tensor) and bool(value.isnan().any())


@check(right="Two machines 3 apart, with 8 values each and a spread of 1.5, come out 1.41 apart.")
def check_gap(
    answer: Callable,
    cases: tuple[tuple[float, float, tuple[int, int]], ...] = (
        (3.0, 1.5, (8, 8)),
        (2.0, 0.7, (12, 4)),
        (1.7, 0.9, (4, 10)),
    ),
) -> None:
    """Check that ``answer(distance, spread, counts)`` predicts how far two machines' mean outputs lie apart."""
    for apart, spread, counts in cases:
        n = sum(counts)
        between = counts[0] * counts[1] / n**2 * apart**2
        of_all = (spread**2 + between) ** 0.5
        other_mean, half_way = (apart / (spread**2 + share * apart**2) ** 0.5 for share in (1, 1 / 4))
        values = {
            "With local batch norm there would be no gap: each machine takes off its own mean.": 0,
            "The outputs are divided by the standard deviation of all values. That is more than a machine's own: "
            "how far the means lie apart belongs to it.": apart / spread,
            "Into the variance go the squared distances from the common mean, not from the other machine's mean.": other_mean,
            "The common mean lies nearer to the machine with more values: it is not half-way, and weights differ.": half_way,
            "Divide by the standard deviation, not by the variance: the root is missing.": apart
            / (spread**2 + between),
            "Variances are added, not standard deviations.": apart / (spread + between**0.5),
            "`spread` is a standard deviation: square it.": apart / (spread + between) ** 0.5,
            "The distance remains what it was only if nothing is divided.": apart,
            "That is the standard deviation of all values: now divide the distance by it.": of_all,
        }
        got, want = observe_or_fail(call_on_copies, answer, apart, spread, list(counts)), _gap(apart, spread, counts)
        expect(f"distance {apart}, spread {spread}, counts {list(counts)}", got, want, values, tolerance=1e-6)


def _gap(apart: float, spread: float, counts: tuple[int, int]) -> float:
    """Return the distance of two machines' mean outputs after torch's batch norm of all their values."""
    first, second = (spread * torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(count // 2) for count in counts)
    out = F.batch_norm(torch.cat([first, second + apart])[:, None], None, None, training=True, eps=1e-12)
    return (out[counts[0] :].mean() - out[: counts[0]].mean()).item()


@check(
    right="Three workers normalize as one process would, and hand over at most 9 numbers each for 4 channels.",
    also=[{"sizes": (2, 4), "channels": 3, "positions": 5, "eps": 0.03, "seed": 5}],
)
def check_sync_normalize(
    answer: Callable,
    sizes: tuple[int, ...] = (5, 2, 3),
    channels: int = 4,
    positions: int = 3,
    eps: float = 0.1,  # so large that it shows where it was put
    seed: int = 0,
) -> None:
    """Check that ``answer(x, eps)`` normalizes a worker's shard with the statistics of all, and lets little travel."""
    name = name_of(answer)
    shards = list(random_channels(sum(sizes), channels, positions, seed=seed).split(sizes))
    shards = [x + 2 * rank for rank, x in enumerate(shards)]
    var, mean = torch.var_mean(torch.cat(shards), (0, 2), correction=0, keepdim=True)

    def each(shards: Sequence[Tensor]) -> list[Tensor]:
        return [(x - mean) / (var + eps).sqrt() for x in shards]

    got = observe_or_fail(take_part, answer, [[x, eps] for x in shards])
    _expect(name, got["results"], each(shards), _wrongly_synced(shards, eps))
    if sum(got["sent"]) > 2 * channels + 1:
        raise AssertionError(
            f"{name}: the outputs are right, but each worker hands over {sum(got['sent'])} numbers for {channels} "
            f"channels and {positions} positions. Add up over your own shard first; send each number once."
        )
    with_empty = [shards[0], shards[0][:0], *shards[1:]]
    outputs = observe_or_fail(take_part, answer, [[x, eps] for x in with_empty])["results"]
    if _has_nan(outputs):
        raise AssertionError(
            f"{name}, with an empty shard: it gives nan. A mean of nothing is nan, a sum of nothing is 0."
        )
    expect(f"{name}, with an empty shard", outputs, each(with_empty), {})
    outputs = observe_or_fail(take_part, answer, [[x + 1e7, eps] for x in shards])["results"]
    if distance(outputs, each(shards)) > 1e-5:
        raise AssertionError(
            f"{name}: with a mean of ten millions the variance has lost its digits. E[x²] - m² is a small difference "
            "of large numbers: take two rounds, and square distances from the common mean."
        )


def _wrongly_synced(shards: Sequence[Tensor], eps: float) -> dict[str, list[Tensor]]:
    """Return the outputs of all workers that each usual mistake gives."""
    own = [torch.var_mean(x, (0, 2), correction=0, keepdim=True) for x in shards]
    var, mean = torch.var_mean(torch.cat(list(shards)), (0, 2), correction=0, keepdim=True)
    examples, positions = sum(map(len, shards)), shards[0].shape[2]
    n = examples * positions

    def each(mean: Tensor, var: Tensor) -> list[Tensor]:
        return [(x - mean) / (var + eps).sqrt() for x in shards]

    averages = [torch.stack(part).mean(0) for part in zip(*own, strict=True)]
    averaged = each(averages[1], averages[0])
    within = each(mean, sum(len(x) / examples * v for x, (v, _) in zip(shards, own, strict=True)))
    local = [(x - m) / (v + eps).sqrt() for x, (v, m) in zip(shards, own, strict=True)]
    own_squares = [(x - mean) / ((x - mean).square().mean((0, 2), keepdim=True) + eps).sqrt() for x in shards]
    own_variances = [(x - mean) / (v + eps).sqrt() for x, (v, _) in zip(shards, own, strict=True)]
    of_examples = each(positions * mean, positions * (var + ((positions - 1) * mean) ** 2))
    outside, by_own_count = [(x - mean) / (var.sqrt() + eps) for x in shards], _by_own_count(shards, eps)
    return {
        "Each worker normalized with its own shard: that is local batch norm. Nothing of the others came in.": local,
        "Means and variances of shards that differ in size cannot simply be averaged: add up sums and counts.": averaged,
        "The mean is that of all, but the squares were taken from each worker's own mean. Wait for the common mean.": within,
        "The mean is that of all, but the variance is each worker's own: the squares must be added up, too.": own_squares,
        "The mean is that of all, but the variance is each shard's own, from its own mean.": own_variances,
        "Count values, not examples: a channel of an example has one at each position.": of_examples,
        "The variance is divided by n, not n - 1.": each(mean, var * n / (n - 1)),
        "eps is added to the variance, inside the square root.": outside,
        "eps is missing: add it to the variance.": [(x - mean) / var.sqrt() for x in shards],
        "Sums must be divided by the number of values of all workers, not by the worker's own.": by_own_count,
    }


def _by_own_count(shards: Sequence[Tensor], eps: float) -> list[Tensor]:
    total, results = sum(x.sum((0, 2), keepdim=True) for x in shards), []
    own = [x.numel() // x.shape[1] for x in shards]
    means = [total / n for n in own]
    squares = sum((x - m).square().sum((0, 2), keepdim=True) for x, m in zip(shards, means, strict=True))
    for x, m, n in zip(shards, means, own, strict=True):
        results.append((x - m) / (squares / n + eps).sqrt())
    return results


@check(
    right="Three workers have the gradients of one process; those of gamma and delta add up over workers.",
    also=[{"sizes": (3, 5), "channels": 4, "eps": 0.03, "seed": 5}],
)
def check_sync_backward(
    answer: Callable, sizes: tuple[int, ...] = (4, 2, 3), channels: int = 3, eps: float = 0.1, seed: int = 0
) -> None:
    """Check that ``answer(grad_y, x, gamma, mean, var, count, eps)`` gives a worker's part of the gradients."""
    name, n = name_of(answer), sum(sizes)
    x, grad_y = (random_channels(n, channels, seed=seed + step) for step in range(2))
    x = x + torch.arange(n, dtype=torch.float64)[:, None] - n
    gamma = random_channels(channels, seed=seed + 2, offset=0.0)
    leaves = x.clone().requires_grad_(), gamma.clone().requires_grad_(), torch.zeros_like(gamma).requires_grad_()
    y = F.batch_norm(leaves[0], None, None, leaves[1], leaves[2], training=True, eps=eps)
    want = torch.autograd.grad(y, leaves, grad_y)
    var, mean = torch.var_mean(x, 0, correction=0)
    shards = list(zip(grad_y.split(sizes), x.split(sizes), strict=True))
    results = observe_or_fail(take_part, answer, [[g, h, gamma, mean, var, n, eps] for g, h in shards])["results"]
    for part, (_, h) in zip(results, shards, strict=True):
        shapes = [tuple(one.shape) for one in part if isinstance(one, Tensor)] if isinstance(part, list) else []
        if shapes != [tuple(h.shape), (channels,), (channels,)]:
            raise AssertionError(
                f"{name}: it must return three tensors, the gradients of x, (N, C), gamma and delta, (C,)."
            )
    mistakes = _wrong_gradients(shards, gamma, mean, (var + eps).sqrt(), want[0])
    expect(f"{name}: the gradients of x", torch.cat([part[0] for part in results]), want[0], mistakes)
    for place, label in ((1, "gamma"), (2, "delta")):
        total = sum(part[place] for part in results)
        mistakes = {
            "Summed over workers it comes out once for each worker too often. The training program adds these "
            "gradients up: return your own shard's part.": len(sizes) * want[place],
            "gamma and delta are in the wrong order.": want[3 - place],
            "It is a sum over examples, not a mean.": want[place] / n,
        }
        expect(f"{name}: the gradient of {label}", total, want[place], mistakes)


def _wrong_gradients(
    shards: Sequence[tuple[Tensor, Tensor]], gamma: Tensor, mean: Tensor, std: Tensor, right: Tensor
) -> dict[str, Tensor]:
    """Return the gradients of x, of all workers, that each usual mistake gives."""
    sizes = [len(g) for g, _ in shards]
    hats = [(h - mean) / std for _, h in shards]
    own = [(g.sum(0), (g * hat).sum(0)) for (g, _), hat in zip(shards, hats, strict=True)]
    of_all = tuple(sum(part) for part in zip(*own, strict=True))

    def each(sums: list[tuple], counts: Sequence[float]) -> Tensor:
        rows = zip(shards, hats, sums, counts, strict=True)
        return torch.cat([gamma * (g - a / k - hat * b / k) / std for (g, _), hat, (a, b), k in rows])

    everywhere, count = [of_all] * len(sizes), [sum(sizes)] * len(sizes)
    own_count, own_sums, no_count = each(everywhere, sizes), each(own, count), each(everywhere, [1] * len(sizes))
    no_paths = gamma * torch.cat([g for g, _ in shards]) / std
    return {
        "Each worker looked at its own shard only. The outputs of all depend on mean and variance: "
        "add the two sums up over workers, and divide by the count of all.": each(own, sizes),
        "The sums are those of all workers, but divided by one worker's number of examples. `count` is that of all.": own_count,
        "The count is that of all workers, but the sums are one worker's own: let them travel.": own_sums,
        "gamma is missing.": right / gamma,
        "The paths through mean and variance are missing.": no_paths,
        "The paths through mean and variance are means over all examples: divide the sums by count.": no_count,
        "It is still to be divided by the standard deviation.": right * std,
    }
