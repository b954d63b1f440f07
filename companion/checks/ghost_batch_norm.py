"""Checks for the exercises of chapter 3, ghost batch norm."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from companion.checks.comparing import distance, expect, expect_call, observe_or_fail, random_channels
from companion.checks.counting import TOO_MUCH, call_within_reason
from companion.checks.observing import call_on_copies, refuse_frozen
from companion.checks.showing import check
from companion.norms import GhostBatchNorm

# A number may have been computed in float32.
TO_ROUNDING = 1e-6


@check(
    right="17 examples in ghosts of 5 become 6, 6 and 5.",
    also=[{"batches": ((19, 4), (11, 2)), "channels": 2, "eps": 0.03, "seed": 5}],
)
def check_even_ghosts(
    answer: Callable,
    batches: tuple[tuple[int, int], ...] = ((17, 5), (16, 5), (7, 7)),
    channels: int = 3,
    eps: float = 0.1,
    seed: int = 0,
) -> None:
    """Check that ``answer(x, g, eps)`` standardizes ``x``, ``(N, C)``, in nearly equal ghosts of g or more."""
    for index, (examples, g) in enumerate(batches):
        x, count = random_channels(examples, channels, seed=seed + index), examples // g
        right = _sizes(examples, count)
        full, rest = [g] * count, examples - g * count
        small_last = _in_ghosts(x, [*full, *[rest] * (rest > 0)], eps)
        chunks = _in_ghosts(x, [len(part) for part in x.chunk(count)], eps)
        one_large = _in_ghosts(x, [*full[:-1], g + rest], eps) if rest > 1 else None
        g_ghosts, too_many = (_in_ghosts(x, _sizes(examples, n), eps) for n in (g, -(-examples // g)))
        shortened = _in_ghosts(x[: examples - rest], full, eps) if rest else None
        together = torch.cat([(part - part.mean()) / (part.var(correction=0) + eps).sqrt() for part in x.split(right)])
        mistakes = {
            "The last ghost is smaller than the others, and noisier. Spread what is left over.": small_last,
            "The sizes differ by more than one: torch.chunk gives the last ghost what is left. Try torch.tensor_split.": chunks,
            "What is left over has all gone into one ghost. Spread it.": one_large,
            "The larger ghosts come first.": _in_ghosts(x, right[::-1], eps),
            "g is the number of examples in a ghost, not the number of ghosts.": g_ghosts,
            "No ghost may have fewer than g examples: round the number of ghosts down.": too_many,
            "All examples must come out; yours lack the last ones.": shortened,
            "The whole batch shares; cut it first.": _in_ghosts(x, [examples], eps),
            "Each channel has a mean and a variance of its own: take them over the examples, axis 0.": together,
            "The variance is divided by n, not n - 1.": _in_ghosts(x, right, eps, correction=1),
            "eps is added to the variance, inside the square root.": _in_ghosts(x, right, eps, inside=False),
            "eps is missing: add it to the variance.": _in_ghosts(x, right, 0.0),
        }
        mistakes = {sentence: value for sentence, value in mistakes.items() if value is not None}
        expect_call(answer, (x, g, eps), _in_ghosts(x, right, eps), mistakes)


def _sizes(examples: int, count: int) -> list[int]:
    """Return so many sizes that differ by at most one, the larger ones first."""
    small, larger = divmod(examples, count)
    return [small + 1] * larger + [small] * (count - larger)


def _in_ghosts(x: Tensor, sizes: list[int], eps: float, correction: int = 0, inside: bool = True) -> Tensor:
    parts = []
    for part in x.split(sizes):
        centred, n = part - part.mean(0), len(part)
        var = centred.square().sum(0) / max(n - correction, 1)
        parts.append(centred / ((var + eps).sqrt() if inside else var.sqrt() + eps))
    return torch.cat(parts)


@check(right="25 ghosts of 20 with momentum 0.0042 remember as much as a batch of 500 with 0.1.")
def check_matched_momentum(
    answer: Callable, cases: tuple[tuple[float, int, int], ...] = ((0.1, 500, 20), (0.3, 64, 16), (0.2, 32, 32))
) -> None:
    """Check that ``answer(momentum, batch_size, g)`` predicts the momentum that suits a ghost batch norm."""
    for momentum, batch_size, g in cases:
        ghosts, keep = batch_size // g, 1 - momentum
        got = observe_or_fail(call_on_copies, answer, momentum, batch_size, g)
        name = f"momentum {momentum}, {batch_size} examples, ghosts of {g}"
        wanted = 1 - keep ** (1 / ghosts)
        is_number = isinstance(got, int | float) and not isinstance(got, bool)
        if not is_number and not (isinstance(got, Tensor) and got.shape == ()):
            expect(name, got, wanted, {})
        if not 0 <= got <= 1:
            raise AssertionError(
                f"{name}: a momentum lies between 0 and 1, and each of many ghosts must take less than the batch did."
            )
        if distance(_left(got, batch_size, g), _left(momentum, batch_size, batch_size)) <= TO_ROUNDING:
            continue
        divided, multiplied = momentum / ghosts, 1 - keep ** (1 / (batch_size * g))
        together, by_examples = 1 - keep**ghosts, 1 - keep ** (1 / batch_size)
        mistakes = {
            "With the old momentum each ghost takes as much as the whole batch would.": momentum,
            "To divide by the number of ghosts is only nearly right: what is left is multiplied, ghost by ghost.": divided,
            "That is the share that one ghost must leave; its momentum is the rest.": keep ** (1 / ghosts),
            "The root belongs to what is left, 1 - momentum, not to the momentum.": momentum ** (1 / ghosts),
            "That is what many ghosts take together at the old momentum; asked is the momentum of one.": together,
            "A step has batch_size / g ghosts, not g.": 1 - keep ** (1 / g),
            "The running statistics move once for each ghost, not once for each example.": by_examples,
            "Divide the batch by g: that is how many ghosts a step has. You multiplied.": multiplied,
        }
        expect(name, got, wanted, mistakes, TO_ROUNDING)


def _left(momentum: Tensor | float, batch_size: int, g: int) -> Tensor:
    """Return the share of an old running mean that one training step leaves."""
    layer = GhostBatchNorm(1, g, momentum=float(momentum)).double()
    layer.running_mean.fill_(1.0)
    layer(torch.zeros(batch_size, 1, dtype=torch.float64))  # every ghost has mean 0
    return layer.running_mean[0]


@check(
    right="7 examples have 35 ghosts of 3, 7 of 1, and a single one of 7, whose mean does not scatter.",
    also=[{"examples": 6, "sizes": (2, 4), "seed": 9}],
)
def check_scatter_of_means(
    answer: Callable, examples: int = 7, sizes: tuple[int, ...] = (3, 1, 7), seed: int = 0
) -> None:
    """Check that ``answer(h, g)`` predicts the standard deviation of a ghost's mean over all ghosts."""
    h = random_channels(examples, seed=seed, offset=0.5) * 2
    var, n = h.var(correction=0).item(), examples
    for g in sizes:
        means = torch.stack([h[list(ghost)].mean() for ghost in combinations(range(n), g)])
        left_out = (n - g) / (n - 1)
        independent, nearly = (var / g) ** 0.5, (var / g * (n - g) / n) ** 0.5
        mistakes = {
            "That is for examples drawn independently. In a ghost none comes twice: what is the answer for g = N?": independent,
            "That is the variance; asked is the standard deviation.": var / g * left_out,
            "s² divides by N, since these N examples are all there are.": (var * n / (n - 1) / g * left_out) ** 0.5,
            "Nearly: what is left out of a ghost counts as (N - g) / (N - 1), not (N - g) / N.": nearly,
            "s² divides by N, and a ghost holds no example twice; you have neither.": (var * n / (n - 1) / g) ** 0.5,
            "A mean of g examples scatters by less than one example does: where is g?": (var * left_out) ** 0.5,
            "Take the root of (N - g) / (N - 1), too.": (var / g) ** 0.5 * left_out,
            "It falls with the root of g, not with g.": var**0.5 / g * left_out**0.5,
        }
        name = f"scatter_of_means, {examples} examples, ghosts of {g}"
        want = means.std(correction=0).item()
        expect(name, observe_or_fail(call_on_copies, answer, h, g), want, mistakes, TO_ROUNDING)
    for n, g in ((20, 10), (500, 20)):  # too many ghosts to go through them
        h, name = random_channels(n, seed=seed), f"scatter_of_means, {n} examples, ghosts of {g}"
        got = observe_or_fail(call_within_reason, answer, h, g)
        if got == TOO_MUCH:
            raise AssertionError(
                "scatter_of_means: it goes through the ghosts one by one. Of 20 out of 500 there are too many for "
                "that: find a formula."
            )
        expect(name, got, (h.var(correction=0).item() / g * (n - g) / (n - 1)) ** 0.5, {}, TO_ROUNDING)


@check(right="Neighbours make a ghost in training, evaluation has none, and no smaller ghost is left over.")
def check_repaired(answer: Callable, batch_size: int = 12, g: int = 3, channels: int = 2, seed: int = 0) -> None:
    """Check that ``answer(channels, g)`` makes a layer that does as torch's batch norm, chunk by chunk."""
    data = [random_channels(batch_size, channels, seed=seed + step) for step in range(3)]
    weight, bias = random_channels(channels, seed=seed + 8), random_channels(channels, seed=seed + 9)
    got = observe_or_fail(run_layer, answer, [channels, g], data, weight, bias)
    want, sides = _sides(data, weight, bias, g)
    for respect, mistakes in sides.items():
        values = {sentence: result[respect] for sentence, result in mistakes.items()}
        expect(f"Repaired, {respect}", got[respect], want[respect], values)
    if got["refuses in evaluation"] != "none":
        raise AssertionError(
            "Repaired: in evaluation mode it refuses a batch that g does not divide. There are no ghosts then; only "
            "training needs whole ones."
        )
    if got["refuses in training"] != "ValueError":
        raise AssertionError(
            "Repaired: it takes a batch that leaves a smaller ghost over. Raise a ValueError if g does not divide the "
            "batch (in training only)."
        )


def _sides(data: list[Tensor], weight: Tensor, bias: Tensor, g: int) -> tuple[dict, dict[str, dict[str, dict]]]:
    """Return what a right layer does, and for each respect what the usual mistaken layers do."""
    order = torch.arange(len(data[0]))
    chunks, count = order.split(g), len(order) // g

    def cut(*parts: Tensor, **how: Any) -> dict:
        return _by_hand(data, weight, bias, list(parts), **how)

    want, whole = cut(*chunks), cut(order)
    by_count, by_g = [order[first::count] for first in range(count)], [order[first::g] for first in range(g)]
    two_things, of_g, apart = cut(*by_g, back=False), cut(*order.chunk(g)), cut(*by_g)
    outputs = {
        "It makes g ghosts instead of ghosts of g examples; and what comes out in a row belongs to another example.": two_things,
        "g is the number of examples in a ghost, not the number of ghosts.": of_g,
        "g is the number of examples in a ghost, not the number of ghosts; and a ghost's examples are neighbours.": apart,
        "What comes out in a row belongs to another example: put the rows back in order.": cut(*by_count, back=False),
        "A ghost's examples are neighbours: 0 to g - 1, then g to 2 g - 1, and so on.": cut(*by_count),
        "The whole batch shares: the batch is not cut.": whole,
    }
    constant = {"Mean and variance depend on x, too: they may not be detached.": cut(*chunks, gradient="detached")}
    mean, first, last = (cut(*chunks, follow=which) for which in ("mean", "first", "last"))
    once = {
        "Each ghost moves the running statistics, one after the other; yours move once a step, by the ghosts' mean.": mean,
        "Each ghost moves the running statistics; yours follow the whole batch.": whole,
        "Each ghost moves the running statistics, not only the first one.": first,
        "Each ghost moves the running statistics, not only the last one.": last,
    }
    still_cut = want | {"evaluation": want["cut"]}
    cut_again = {"In evaluation mode there are no ghosts: the running statistics serve.": still_cut}
    sides = {"outputs": outputs, "gradient": constant, "running mean": once, "running variance": once}
    return want, sides | {"evaluation": cut_again}


def run_layer(make_layer: Callable, numbers: list[int], data: list[Tensor], weight: Tensor, bias: Tensor) -> dict:
    """Return what a new layer does in all respects, once it has these scales and offsets."""
    layer = make_layer(*numbers).double().train()
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.copy_(weight if name.endswith("weight") else bias)
    *train, test = data
    outputs = [call_on_copies(layer, x) for x in train[:-1]]
    x = train[-1].clone().requires_grad_()
    outputs.append(layer(x))
    refuse_frozen(layer, outputs[-1])
    seen = {"outputs": outputs, "gradient": torch.autograd.grad(outputs[-1], x, _upstream(x))[0]}
    kept = dict(layer.named_buffers())
    for name, buffer in (("running mean", "running_mean"), ("running variance", "running_var")):
        seen[name] = next((value.clone() for key, value in kept.items() if key.endswith(buffer)), None)
    seen["evaluation"] = call_on_copies(layer.eval(), test)
    seen["refuses in evaluation"], seen["refuses in training"] = (
        _error_of(layer.train(mode), test[:-1]) for mode in (False, True)
    )
    return seen


def _error_of(layer: nn.Module, x: Tensor) -> str:
    """The name of the error that a layer raises for a batch."""
    try:
        layer(x)
    except Exception as error:
        return type(error).__name__
    return "none"


def _upstream(x: Tensor) -> Tensor:
    return torch.linspace(-1, 1, x.numel(), dtype=x.dtype).reshape(x.shape)


def _by_hand(
    data: list[Tensor],
    weight: Tensor,
    bias: Tensor,
    parts: list[Tensor],
    back: bool = True,
    follow: str = "each",
    gradient: str = "full",
) -> dict:
    """Return what torch's batch norm does on the parts of each batch, or a mistaken layer."""
    *train, test = data
    running = {"running mean": torch.zeros_like(weight), "running variance": torch.ones_like(weight)}
    seen: dict = {"outputs": []}

    def forward(x: Tensor) -> Tensor:
        ghosts, rows = [x[part] for part in parts], torch.cat(parts)
        y = torch.cat([_standardized(ghost, detach=gradient == "detached") for ghost in ghosts]) * weight + bias
        return y[rows.argsort()] if back else y

    for batch in train:
        x = batch.clone().requires_grad_()
        seen["outputs"].append(forward(x))
        ghosts = [batch[part] for part in parts]
        for name, kept in running.items():
            new = torch.stack([ghost.mean(0) if "mean" in name else ghost.var(0) for ghost in ghosts])
            chosen = {"each": new, "mean": new.mean(0)[None], "first": new[:1], "last": new[-1:]}[follow]
            for statistic in chosen:
                kept.mul_(0.9).add_(0.1 * statistic)
    seen["gradient"] = torch.autograd.grad(seen["outputs"][-1], x, _upstream(x))[0]
    mean, var = running.values()
    seen["evaluation"] = (test - mean) / (var + 1e-5).sqrt() * weight + bias
    seen["cut"] = forward(test)
    return seen | running


def _standardized(x: Tensor, detach: bool) -> Tensor:
    source = x.detach() if detach else x
    return (x - source.mean(0)) / (source.var(0, correction=0) + 1e-5).sqrt()
