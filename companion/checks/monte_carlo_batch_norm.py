"""Checks for the exercises of chapter 15, Monte Carlo batch norm."""

from collections.abc import Callable
from itertools import combinations, pairwise
from math import inf

import torch
from torch import Tensor, nn

from companion.checks.comparing import distance, expect, expect_call, name_of, observe_or_fail, random_channels
from companion.checks.observing import call_on_copies
from companion.checks.showing import check


@check(
    right="4 queries are normalized with each of 3 batches, and have no part in the statistics.",
    also=[{"passes": 4, "examples": 6, "queries": 5, "channels": 3, "eps": 0.03, "seed": 5}],
)
def check_normalize_queries(
    answer: Callable,
    passes: int = 3,
    examples: int = 5,
    queries: int = 4,
    channels: int = 2,
    eps: float = 0.1,  # so large that it shows where it was put
    seed: int = 0,
) -> None:
    """Check that ``answer(batches, queries, gamma, delta, eps)`` normalizes queries by each batch's statistics."""
    h = random_channels(passes * examples, channels, seed=seed).reshape(passes, examples, channels)
    h = h * torch.linspace(0.5, 2, passes, dtype=h.dtype)[:, None, None]
    q = random_channels(queries, channels, seed=seed + 1)
    gamma, delta = (random_channels(channels, seed=seed + step, offset=0.0) for step in (2, 3))
    mean, var, n = h.mean(1, keepdim=True), h.var(1, correction=0, keepdim=True), examples

    def scaled(hat: Tensor) -> Tensor:
        return gamma * hat + delta

    def with_moments_of(x: Tensor, axes: int | tuple[int, ...]) -> Tensor:
        hat = (q - x.mean(axes, keepdim=True)) / (x.var(axes, correction=0, keepdim=True) + eps).sqrt()
        return scaled(hat.expand(passes, -1, -1))

    together, own, one_for_all = with_moments_of(h, (0, 1)), with_moments_of(q, 0), with_moments_of(h, (1, 2))
    unbiased = scaled((q - mean) / (var * n / (n - 1) + eps).sqrt())
    mistakes = {
        "Each batch has a mean and a variance of its own; yours are those of all batches together.": together,
        "The statistics are those of the batches; the queries have no part in them.": own,
        "Training divided the variance by M, not M - 1, so the passes do, too.": unbiased,
        "eps is added to the variance, inside the square root.": scaled((q - mean) / (var.sqrt() + eps)),
        "eps is missing: add it to the variance.": scaled((q - mean) / var.sqrt()),
        "gamma and delta are missing.": (q - mean) / (var + eps).sqrt(),
        "Divide by the standard deviation, not by the variance.": scaled((q - mean) / (var + eps)),
        "Each channel has a mean and a variance of its own; yours share one.": one_for_all,
        "The batches come out normalized; it is the queries that should.": scaled((h - mean) / (var + eps).sqrt()),
    }
    expect_call(answer, (h, q, gamma, delta, eps), scaled((q - mean) / (var + eps).sqrt()), mistakes)


@check(
    right="It finds the batches of 5 and of 2 among 9 rows, from their scatter.",
    also=[{"rows": 11, "settings": ((2, 4.5), (7, 2.6)), "seed": 3}],
)
def check_batch_size_for(
    answer: Callable, rows: int = 9, settings: tuple[tuple[int, float], ...] = ((3, 5), (6, 2)), seed: int = 0
) -> None:
    """Check that ``answer(factor, batch_size, rows)`` predicts the batch size; all batches of a whole size are drawn.

    Between two whole sizes the variance is on a straight line over one divided by the size.
    """
    x = random_channels(rows, seed=seed)
    for size, other in settings:
        factor = _scatter(x, other) / _scatter(x, size)
        unsquared = rows / (1 + factor * (rows - size) / size)
        upward = rows / (1 + (rows - size) / size / factor**2)
        mistakes = {
            "That holds for infinitely many rows. Here a batch that holds most rows hardly scatters.": size / factor**2,
            "The scatter is a standard deviation; its square is what goes as 1 / M.": size / factor,
            "It is right but for a square: the variance changes by the square of the factor.": unsquared,
            "Larger batches scatter less; yours is larger where the scatter should be, too.": upward,
            "Larger batches scatter less, and the number of rows has a say.": size * factor**2,
            "The factor is one of the scatter, not of the batch size.": size * factor,
        }
        got = observe_or_fail(call_on_copies, answer, factor, size, rows)
        expect(f"from batches of {size}, factor {factor:.3f}", got, other, mistakes, tolerance=1e-6)


def _scatter(x: Tensor, size: float) -> float:
    """Return standard deviation of the mean over all batches of this size that can be drawn without replacement."""
    if size % 1:
        below, above = int(size), int(size) + 1
        share = (1 / size - 1 / above) / (1 / below - 1 / above)
        return (share * _scatter(x, below) ** 2 + (1 - share) * _scatter(x, above) ** 2) ** 0.5
    return torch.stack([x[list(rows)].mean() for rows in combinations(range(len(x)), size)]).std(correction=0).item()


@check(
    right="Entropy of the mean and disagreement come apart, where a probability is 0, too.",
    also=[{"passes": 3, "queries": 6, "classes": 4, "seed": 5}],
)
def check_split_entropy(answer: Callable, passes: int = 4, queries: int = 5, classes: int = 3, seed: int = 0) -> None:
    """Check that ``answer(logits)``, ``(T, N, K)``, gives the entropy of the mean, and that less the mean entropy."""
    logits = random_channels(passes * queries, classes, seed=seed).reshape(passes, queries, classes)
    logits[:, 0] += torch.linspace(0, 2000, classes, dtype=logits.dtype)  # so sure that other classes get a plain zero
    entr = torch.special.entr

    def split(p: Tensor) -> list[Tensor]:
        total = entr(p.mean(0)).sum(-1)
        return [total, total - entr(p).sum(-1).mean(0)]

    total, between = split(logits.softmax(-1))
    within = total - between
    of_mean_logits = entr(logits.mean(0).softmax(-1)).sum(-1)
    bits = torch.tensor(2.0, dtype=logits.dtype).log()
    of_logits, per_query = [of_mean_logits, of_mean_logits - within], [total.mean(), between.mean()]
    mean_itself = [total, within]
    mistakes = {
        "Average the probabilities, not the logits: softmax comes first.": of_logits,
        "The first one is the mean of the passes' entropies; wanted is the entropy of their mean.": [within, between],
        "The second one is the mean entropy itself: what each pass is unsure of. Take it off the entropy of the mean.": mean_itself,
        "The order is entropy of the mean, disagreement.": [between, total],
        "The disagreement can't be negative: it is the entropy of the mean, less the mean entropy.": [total, -between],
        "The logarithm is the natural one; yours has another base.": [total / bits, between / bits],
        "The mean over queries is still to be undone: each query has numbers of its own.": per_query,
        "Softmax goes over the classes, the last axis; yours goes over the queries.": split(logits.softmax(1)),
        "Softmax goes over the classes, the last axis; yours goes over the passes.": split(logits.softmax(0)),
        "The entropy is a sum over the classes, not a mean.": [total / classes, between / classes],
        "The entropy has a minus sign: it is never negative.": [-total, -between],
    }
    got = observe_or_fail(call_on_copies, answer, logits)
    if isinstance(got, list) and any(isinstance(part, Tensor) and part.isnan().any() for part in got):
        raise AssertionError(
            f"{name_of(answer)}: NaN where a probability is 0: there p ln p is 0, but 0 times the "
            "logarithm of 0 is not a number. torch.special.entr knows."
        )
    expect(name_of(answer), got, [total, between], mistakes, tolerance=1e-6)


# The usual mistakes in the task of the repaired passes, as arguments of _reference.
_OF_BEFORE, _OF_ALL = {"momentum": 0.1, "unbiased": True}, {"momentum": None, "unbiased": True}
_ANEW = {"momentum": 0.1, "unbiased": True, "anew": True}
_SHRUNK, _ALL_SHRUNK = {"momentum": 0.1, "shrink": True}, {"momentum": None, "shrink": True}
_GROWN, _NEVER_MOVED = {"unbiased": True, "grow": True}, {"momentum": 0.0}
WRONG_PASSES = {
    "The answers' statistics still hold batches of before: a momentum of 0.1 gives the new batch a tenth.": _OF_BEFORE,
    "A momentum of 0.1 gives the new batch a tenth, and the rest is that of training, at each pass anew.": _ANEW,
    "The momentum is still 0.1, and the correction of the variance shrinks all that it has gathered.": _SHRUNK,
    "torch keeps the variance divided by M - 1, and training divided by M.": {"unbiased": True},
    "The variance was multiplied the wrong way: from M - 1 to M is a factor of (M - 1) / M.": _GROWN,
    "All passes are alike: each has the statistics of training. Momentum is the weight of the new batch.": _NEVER_MOVED,
    "momentum=None averages all batches so far; a pass has the statistics of one.": _OF_ALL,
    "momentum=None averages all batches so far, and the correction of the variance shrinks the average each time.": _ALL_SHRUNK,
    "The queries were normalized with their own statistics: answer in evaluation mode.": {"own": True},
}


@check(
    right="Each of 3 passes has the statistics of its own batch, and the network stays as it was.",
    also=[{"passes": 2, "examples": 5, "sizes": (2, 6, 3, 4), "seed": 3}],
)
def check_repaired_passes(
    answer: Callable, passes: int = 3, examples: int = 6, sizes: tuple[int, ...] = (3, 5, 4, 2), seed: int = 0
) -> None:
    """Check that ``answer(network, x, queries, batches)`` gives the passes and leaves the network as it was."""
    problem, name = [passes, examples, list(sizes), seed], name_of(answer)
    got = observe_or_fail(_passes, answer, *problem)
    if got["changed"]:
        raise AssertionError(
            f"{name}: the network comes back changed, in its {', '.join(got['changed'])}. Work on a "
            "deepcopy, or put everything back."
        )
    runs = {sentence: _reference(*problem, **options) for sentence, options in WRONG_PASSES.items()}
    want = _reference(*problem)
    first, second = got["first"], got["second"]
    if distance(first, want) < inf and distance(second, first) > 0:
        raise AssertionError(
            f"{name}: two calls differ: chance comes in. network.train() turns dropout on as well; "
            "only batch norm should be in training mode, and only for the batch."
        )
    expect(name, first, want, runs)


def _network(sizes: list[int], seed: int) -> nn.Sequential:
    """Make linear, batch norm, ReLU, dropout, … , linear: in evaluation mode, all tensors at a general point."""
    layers = []
    for inputs, outputs in pairwise(sizes[:-1]):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs, eps=0.01), nn.ReLU(), nn.Dropout(0.4)]
    network = nn.Sequential(*layers, nn.Linear(*sizes[-2:])).double().eval()
    with torch.no_grad():
        for index, (name, tensor) in enumerate(network.state_dict().items()):
            if tensor.is_floating_point():
                noise = random_channels(tensor.numel(), seed=100 * seed + index, offset=0.3).reshape(tensor.shape)
                tensor.copy_(0.5 + noise.abs() if name.endswith("var") else noise)
            else:  # batches that training has seen
                tensor.fill_(2)
    return network


def _data(passes: int, examples: int, inputs: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, queries = random_channels(3 * examples, inputs, seed=seed + 1), random_channels(4, inputs, seed=seed + 2)
    return x, queries, torch.stack([torch.randperm(len(x), generator=generator)[:examples] for _ in range(passes)])


def _passes(answer: Callable, passes: int, examples: int, sizes: list[int], seed: int) -> dict:
    """Return what the answer gives after two settings of torch's random state, and what it has changed."""
    network, data = _network(sizes, seed), _data(passes, examples, sizes[0], seed)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state, found = torch.random.get_rng_state(), []
    try:
        for chance in (0, 1):
            torch.manual_seed(chance)
            found.append(answer(network, *(tensor.clone() for tensor in data)))
    finally:
        torch.random.set_rng_state(state)
    changed = sorted(
        {name.split(".")[-1] for name, tensor in network.state_dict().items() if not tensor.equal(before[name])}
    )
    if any(layer.training for layer in network.modules()):
        changed.append("mode (it was handed in for evaluation)")
    if any(layer.momentum != 0.1 for layer in network.modules() if isinstance(layer, nn.BatchNorm1d)):
        changed.append("momentum")
    if not all(parameter.requires_grad for parameter in network.parameters()):
        changed.append("requires_grad")
    return {"first": found[0], "second": found[1], "changed": changed}


@torch.no_grad()
def _reference(
    passes: int,
    examples: int,
    sizes: list[int],
    seed: int,
    *,
    momentum: float | None = 1.0,
    unbiased: bool = False,
    shrink: bool = False,
    grow: bool = False,
    anew: bool = False,
    own: bool = False,
) -> Tensor:
    """Return the passes, layer by layer, with a mistake."""
    network, (x, queries, batches) = _network(sizes, seed), _data(passes, examples, sizes[0], seed)
    answers, n = [], examples
    for index, rows in enumerate(batches):
        h, q = x[rows], queries
        if anew:
            network = _network(sizes, seed)
        for layer in network:
            if isinstance(layer, nn.BatchNorm1d):
                mean, var = h.mean(0), h.var(0, correction=1 if unbiased or shrink else 0)
                share = 1 / (3 + index) if momentum is None else momentum
                layer.running_mean += share * (mean - layer.running_mean)
                layer.running_var += share * (var - layer.running_var)
                layer.running_var *= (n - 1) / n if shrink else n / (n - 1) if grow else 1
                q = _standard(q, q.mean(0), q.var(0, correction=0), layer) if own else layer(q)
                h = _standard(h, h.mean(0), h.var(0, correction=0), layer)
            else:
                h, q = layer(h), layer(q)
        answers.append(q)
    return torch.stack(answers)


def _standard(h: Tensor, mean: Tensor, var: Tensor, layer: nn.BatchNorm1d) -> Tensor:
    return (h - mean) / (var + layer.eps).sqrt() * layer.weight + layer.bias
