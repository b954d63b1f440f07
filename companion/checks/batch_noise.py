"""Checks for the exercises of chapter 14, the noise of the batch."""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from companion.checks.comparing import distance, expect, expect_call, name_of, observe_or_fail, random_channels
from companion.checks.observing import call_on_copies, refuse_frozen
from companion.checks.showing import check

TRAINED = 1e-6  # rounding of other right answers, after some steps of training


@check(
    right="At 1.5 standard deviations a batch of 32 is as noisy as dropout with p = 0.029.",
    also=[{"distance": 0.7, "batch_size": 20}],
)
def check_matched_dropout(answer: Callable, distance: float = 1.5, batch_size: int = 32) -> None:
    """Check that ``answer(distance, batch_size)`` is the dropout probability that is as noisy as a batch."""
    square = distance**2
    variance = (1 + square / 2) / batch_size

    def at(variance: float) -> float:
        return variance / (square + variance)

    mistakes = {
        "Asked is the probability of being dropped; yours is that of being kept.": 1 - at(variance),
        "What is kept is divided by 1 - p; that makes dropout noisier.": 0.5 - (0.25 - variance / square) ** 0.5,
        "Dropout's variance is z² p / (1 - p), not z² p.": variance / square,
        "Variances are to be equal, not the variance of one and the standard deviation of the other.": at(
            variance**0.5
        ),
        "The batch's standard deviation scatters as well as its mean.": at(1 / batch_size),
        "The batch's mean scatters as well as its standard deviation.": at(square / 2 / batch_size),
        "The standard deviation scatters by 1 / √(2M), so z² is halved.": at((1 + square) / batch_size),
        "Dropout takes away the value itself, so its noise grows with z².": variance / (1 + variance),
        "M is the number of the others that give the mean, none to be taken off.": at(
            (1 + square / 2) / (batch_size - 1)
        ),
        "The variance falls as 1/M.": at((1 + square / 2) / batch_size**0.5),
    }
    mistakes = {sentence: wrong for sentence, wrong in mistakes.items() if isinstance(wrong, float)}  # no complex root
    expect_call(answer, (distance, batch_size), at(variance), mistakes)


@check(
    right="Among 5 examples with its own, no value gets further than 2 from the mean, however far it was.",
    also=[{"others": 11, "seed": 4}],
)
def check_in_its_own_batch(answer: Callable, others: int = 4, seed: int = 0) -> None:
    """Check that ``answer(u, others)`` normalizes values with a batch that they are part of, one by one."""
    mates = random_channels(others, seed=seed, offset=2.0)
    u = 3 * random_channels(5, seed=seed + 1, offset=0.2)
    mean, std = mates.mean(), mates.std(correction=0)
    batches = torch.cat([mates.expand(len(u), -1), (mean + u * std)[:, None]], dim=1)
    h, new = batches[:, -1], batches.mean(1)
    new_std, about_old = batches.std(1, correction=0), (batches - mean).square().mean(1).sqrt()
    unbiased, less = batches.std(1), others - 1
    mistakes = {
        "Nothing has changed. The example moves the mean and the deviation of its batch.": u,
        "The batch's standard deviation has changed as well as its mean.": (h - new) / std,
        "The batch's mean has changed as well as its standard deviation.": (h - mean) / new_std,
        "Deviations in the batch are from the new mean, not from that of the others.": (h - new) / about_old,
        "The variance is divided by the number of examples, not by one less.": (h - new) / unbiased,
        "The example joins the others: the batch has one more than they are.": u
        * (less / (others + u.square())).sqrt(),
        "It has the right size, but lost its sign.": ((h - new) / new_std).abs(),
        "That is the bound that no value gets over; those nearer are pulled, too.": u.clamp(
            -(others**0.5), others**0.5
        ),
    }
    expect_call(answer, (u, others), (h - new) / new_std, mistakes)


@check(
    right="13 examples in ghosts of 4, with the last joined, give the gradient of their mean loss.",
    also=[{"examples": 11, "size": 4, "seed": 5}, {"examples": 12, "size": 3, "seed": 9}],
)
def check_repaired_gradients(answer: Callable, examples: int = 13, size: int = 4, seed: int = 0) -> None:
    """Check that ``answer(model, x, y, size)`` accumulates the gradient of the mean loss over ghosts."""
    x, y = random_channels(examples, 3, seed=seed), random_channels(examples, seed=seed + 1).mul(5).long().abs() % 3
    got = observe_or_fail(gradients_of, answer, x, y, size, seed)
    starts = list(range(0, examples, size))
    joined = starts[:-1] if examples - starts[-1] == 1 else starts
    parts = _between(joined, examples)
    count, ghosts = len(parts), [part for part in parts if len(part) > 1]

    def wrong(parts: list[Tensor], weights: list[float], **how: bool) -> list[Tensor]:
        return _by_hand(x, y, parts, weights, seed, **how)

    share = [len(part) / examples for part in parts]
    even = [1 / count] * count
    full = _between([start for start in starts if start + size <= examples], examples - examples % size)
    kept = [len(part) / sum(map(len, full)) for part in full]
    mistakes = {
        "Every part clears the gradients, so only the last one is left.": wrong(parts[-1:], share[-1:]),
        "Every part clears the gradients, and a smaller part counts as much as the others.": wrong(
            parts[-1:], even[-1:]
        ),
        "Gradients from before are still in it: clear them first.": wrong(parts, share, stale=True),
        "A part of fewer examples counts as much as the others: weigh each by its number of examples.": wrong(
            parts, even
        ),
        "That is the sum of the parts' mean losses, not the mean over examples.": wrong(ghosts, [1.0] * count),
        "That is the sum over all examples, not the mean.": wrong(parts, [len(part) for part in parts]),
        "The examples that are left over are missing.": wrong(full, kept),
        "All examples share their statistics: cut the batch first.": wrong([torch.arange(examples)], [1.0]),
        "The batch norm is in evaluation mode; in training each part has its own statistics.": wrong(
            parts, share, training=False
        ),
    }
    expect(name_of(answer), got, wrong(parts, share), mistakes)


def gradients_of(answer: Callable, x: Tensor, y: Tensor, size: int, seed: int) -> list:
    """Return the gradients that an answer gives, for a network with some left from before."""
    model = _model(seed, x.shape[1])
    got = answer(model, x.clone(), y.clone(), size)
    refuse_frozen(model)
    return [None if part is None else part.detach().clone() for part in got]


def _between(starts: list[int], end: int) -> list[Tensor]:
    """Return the numbers of the examples of each part, the last of which ends before ``end``."""
    return [torch.arange(first, last) for first, last in zip(starts, [*starts[1:], end], strict=True)]


def _model(seed: int, inputs: int) -> nn.Sequential:
    """Make a small network in training mode, at a general point, with gradients of an earlier batch."""
    model = nn.Sequential(nn.Linear(inputs, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)).double()
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            parameter.copy_(random_channels(parameter.numel(), seed=100 * seed + index, offset=0.3).view_as(parameter))
            parameter.grad = torch.full_like(parameter, 0.1 * (index + 1))
    return model


def _by_hand(
    x: Tensor,
    y: Tensor,
    parts: list[Tensor],
    weights: list[float],
    seed: int,
    stale: bool = False,
    training: bool = True,
) -> list[Tensor]:
    """Return gradients of a weighted sum of the parts' mean losses."""
    model = _model(seed, x.shape[1]).train(training)
    if not stale:
        model.zero_grad()
    for part, weight in zip(parts, weights, strict=True):
        (weight * cross_entropy(model(x[part]), y[part])).backward()
    return [parameter.grad for parameter in model.parameters()]


@check(
    right="The three trainings differ in nothing but who shares a mean and a variance.",
    also=[{"examples": 60, "ghost_batch_size": 6, "steps": 25, "seed": 3}],
)
def check_three_losses(
    answer: Callable, examples: int = 50, ghost_batch_size: int = 5, steps: int = 30, seed: int = 0
) -> None:
    """Check that ``answer(data, ghost_batch_size, steps, seed)`` trains with noise off, fixed ghosts and shuffled ones."""
    case = (examples, ghost_batch_size, steps, seed)
    got = observe_or_fail(call_on_copies, answer, _clusters(examples, seed), ghost_batch_size, steps, seed)
    want = _three(*case)
    if distance(got, want) <= TRAINED:
        return
    mistakes = {
        "The order is: off, fixed mates, new mates.": want[::-1],
        "The last two are exchanged: first fixed mates, then new ones.": [want[0], want[2], want[1]],
        "Those are training losses of the last step; asked is the loss on the test data.": _three(*case, on="step"),
        "Those are losses on the training data.": _three(*case, on="train"),
        "The test examples are normalized with each other: evaluate in evaluation mode.": _three(
            *case, statistics="test"
        ),
        "The running statistics are those that training left: recompute them from x.": _three(*case, statistics="left"),
        "The labels must be shuffled along with the examples.": _three(*case, labels=False),
        "One order for all steps means the same mates again: draw a new order at every step.": _three(*case, once=True),
        "SGD has momentum 0.9.": _three(*case, momentum=0.0),
        "Gradients of earlier steps are still in it: clear them at every step.": _three(*case, clear=False),
        "The ghost size is the number of examples in a ghost, not the number of ghosts.": _three(*case, of_count=True),
        "Every network starts from the seed; yours starts where the last one left torch's generator.": _three(
            *case, restart=False
        ),
    }
    expect(name_of(answer), got, want, mistakes, TRAINED)


@lru_cache
def _clusters(examples: int, seed: int) -> tuple[Tensor, ...]:
    """Make training and test data: four clusters of twelve numbers, which overlap."""
    draw = torch.Generator().manual_seed(1000 + seed)
    centres = torch.randn(4, 12, generator=draw, dtype=torch.float64)
    data = []
    for count in (examples, 400):
        y = torch.randint(4, (count,), generator=draw)
        data += [centres[y] + 1.5 * torch.randn(count, 12, generator=draw, dtype=torch.float64), y]
    return tuple(data)


@lru_cache
def _three(
    examples: int,
    ghost_batch_size: int,
    steps: int,
    seed: int,
    restart: bool = True,
    of_count: bool = False,
    **how: object,
) -> list[float]:
    """Train one network three times, and return its test losses."""
    size = examples // ghost_batch_size if of_count else ghost_batch_size
    torch_state = torch.get_rng_state()
    losses = []
    for ghosts, shuffled in ((examples, False), (size, False), (size, True)):
        if restart or not losses:
            torch.manual_seed(seed)
        losses.append(_train(_clusters(examples, seed), ghosts, shuffled, steps, seed, **how))
    torch.set_rng_state(torch_state)
    return losses


def _train(
    data: tuple[Tensor, ...],
    size: int,
    shuffled: bool,
    steps: int,
    seed: int,
    momentum: float = 0.9,
    labels: bool = True,
    once: bool = False,
    clear: bool = True,
    on: str = "test",
    statistics: str = "recomputed",
) -> float:
    x, y, x_test, y_test = data
    network = _network(x.shape[1], int(y.max()) + 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=momentum)
    draw = torch.Generator().manual_seed(seed)
    order = target = torch.arange(len(x))
    for step in range(steps):
        if shuffled and not (once and step):
            order = torch.randperm(len(x), generator=draw)
            target = order if labels else target
        loss = cross_entropy(_in_ghosts(network, x[order], size), y[target])
        if clear:
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if on == "step":
        return loss.item()
    with torch.no_grad():
        if statistics == "recomputed":
            for layer in network[1], network[4]:
                layer.momentum = 1.0
            network(x)
        network.train(statistics == "test")
        return cross_entropy(network(x if on == "train" else x_test), y if on == "train" else y_test).item()


def _in_ghosts(network: nn.Sequential, x: Tensor, size: int) -> Tensor:
    """Return outputs of examples whose neighbours share statistics; layer by layer that is ghost after ghost."""
    return torch.cat([network(ghost) for ghost in x.split(size)])


def _network(inputs: int, classes: int) -> nn.Sequential:
    """Make the network of the task, from torch's generator."""
    layers = []
    for fan_in in (inputs, 32):
        layers += [nn.Linear(fan_in, 32), nn.BatchNorm1d(32), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(32, classes)).double()
