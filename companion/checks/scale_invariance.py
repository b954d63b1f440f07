"""Checks for the exercises of chapter 9, scale invariance."""

from collections.abc import Callable
from itertools import pairwise
from math import atan2, cos, hypot, sin

import torch
from torch import Tensor, nn

from companion.checks.comparing import expect, expect_call, name_of, observe_or_fail, random_channels
from companion.checks.observing import call_on_copies, refuse_frozen
from companion.checks.showing import check
from companion.norms import BatchNorm, GroupNorm, InstanceNorm, LayerNorm
from companion.probes import scale_sensitivity

NORMS = {
    "batch": lambda: BatchNorm(4, eps=0.0),
    "instance": lambda: InstanceNorm(4, eps=0.0),
    "layer": lambda: LayerNorm(4, eps=0.0),
    "group": lambda: GroupNorm(2, 4, eps=0.0),
    "none": nn.Identity,
}
# What to say to an answer that is wrong for (norm, bias, training); the first that fits is said.
REASONS = {
    ("none", None, None): "Nothing is normalized here: weights twice as long give outputs twice as large.",
    ("batch", None, False): "In evaluation batch norm takes its running statistics, which do not grow with the "
    "weights.",
    ("batch", False, True): "In training batch norm divides by the spread of what the weights put out, which grows "
    "as they do.",
    ("batch", True, True): "Batch norm takes off each channel's own mean, and the offset with it.",
    ("instance", True, None): "Instance norm takes off each channel's own mean, and the offset with it.",
    ("layer", True, None): "Several channels share one mean, so the offset of each stays in, and it does not grow "
    "with the weights.",
    ("group", True, None): "The channels of a group share one mean, so the offset of each stays in, and it does not "
    "grow with the weights.",
    (None, False, True): "All that is normalized comes from the weights, and so do mean and spread, whoever shares "
    "them.",
    (None, False, False): "Only batch norm does something else in evaluation; the others look at the example itself.",
}


@check(right="It tells in 20 cases whether the length of the weights has a say.")
def check_length_is_free(answer: Callable, seed: int = 0) -> None:
    """Check that ``answer(norm, bias, training)`` predicts whether weights before a norm are scale-invariant."""
    for training in (True, False):
        for norm in NORMS:
            for bias in (False, True):
                free, case = _sensitivity(norm, bias, training, seed) < 1e-9, (norm, bias, training)
                reason = next(text for key, text in REASONS.items() if _fits(key, case))
                where = f"{norm}, {'an' if bias else 'no'} offset, {'training' if training else 'evaluation'}"
                expect(where, observe_or_fail(call_on_copies, answer, *case), free, {reason: not free})


def _fits(key: tuple, case: tuple) -> bool:
    return all(part is None or part == value for part, value in zip(key, case, strict=True))


def _sensitivity(norm: str, bias: bool, training: bool, seed: int) -> float:
    """Measure how the loss of a small network changes with the length of the weights before the norm."""
    first, last = nn.Conv1d(3, 4, 3, bias=bias), nn.Linear(4 * 5, 2)
    model = nn.Sequential(first, NORMS[norm](), nn.ReLU(), nn.Flatten(), last).double().train(training)
    with torch.no_grad():
        for index, tensor in enumerate([*model.parameters(), *model.buffers()]):
            if tensor.is_floating_point():  # all but a count of batches
                tensor.copy_(random_channels(tensor.numel(), seed=seed + index).abs().reshape(tensor.shape))
        first.weight.sub_(first.weight.mean())
    x, y = random_channels(6, 3, 7, seed=seed + 50), random_channels(6, 2, seed=seed + 51)
    return scale_sensitivity(lambda: (model(x) - y).square().mean(), first.weight, model=model)


@check(
    right="When the rate falls to a tenth, the turn falls from 0.063 to 0.0063 at once, and is 0.020 later.",
    also=[{"learning_rate": 0.3, "weight_decay": 0.008, "factor": 0.25}],
)
def check_turns_around_cut(
    answer: Callable, learning_rate: float = 0.5, weight_decay: float = 0.004, factor: float = 0.1
) -> None:
    """Check that ``answer(learning_rate, weight_decay, factor)`` predicts three angles in radians."""
    got = observe_or_fail(call_on_copies, answer, learning_rate, weight_decay, factor)
    before, first, after = measured = _train_through_cut(learning_rate, weight_decay, factor)
    if not isinstance(got, list) or len(got) != 3:
        expect(name_of(answer), got, measured, {})  # says what is given where three numbers are wanted
    square = before**2
    in_balance = {
        "A step adds the square of the turn to the squared length, as a share; 2 ηλ is that square. Take the root.": square,
        "Decay shortens the squared length by (1 - ηλ)², about 2 ηλ as a share; the 2 is missing.": before / 2**0.5,
        "The 2 stands under the root, as decay takes 2 ηλ off the squared length.": before * 2**0.5,
    }
    at_once = {
        "The weights are not in balance yet, right after the cut. They are as long as they were.": after,
        "The weights are as long as they were, but the step has changed.": before,
        "The step is shorter by the factor itself: nothing else has changed yet.": before * factor**2,
    }
    later = {
        "The weights do not stay as long as they were: smaller steps lengthen them less, and decay shortens them until "
        "both balance.": first,
        "What balances is set by the product of rate and decay, and the rate has changed.": before,
        "The balance has the factor under the root.": before * factor**2,
    }
    parts = [("before the cut", before, in_balance), ("at the first step", first, at_once), ("later", after, later)]
    for number, (where, right, mistakes) in zip(got, parts, strict=True):
        relative = {sentence: wrong / right for sentence, wrong in mistakes.items()}
        number = number / right if isinstance(number, int | float | Tensor) else number
        expect(f"the turn {where}", number, 1.0, relative, tolerance=0.02)


def _train_through_cut(learning_rate: float, weight_decay: float, factor: float) -> list[float]:
    """Return turns of a point whose loss rises evenly with its angle: in balance, after the cut, in balance again.

    Such a loss has a gradient of size 1 / length, at a right angle to the point.
    """
    x, y, turns = 2.0, 0.0, []
    wait = int(4 / (learning_rate * weight_decay))
    for step in range(wait + int(wait / factor)):
        rate = learning_rate if step < wait else factor * learning_rate
        angle, length = atan2(y, x), hypot(x, y)
        keep, across = (1 - rate * weight_decay) * length, -rate / length
        x, y = keep * cos(angle) - across * sin(angle), keep * sin(angle) + across * cos(angle)
        turns.append(-atan2(across, keep))
    return [turns[wait - 1], turns[wait], turns[-1]]


@check(
    right="Decay and gradient turn 4 units, and each unit gets an effective rate of its own.",
    also=[{"units": 3, "inputs": 5, "decay": 0.07, "seed": 15}],
)
def check_direction_step(answer: Callable, units: int = 4, inputs: int = 3, decay: float = 0.2, seed: int = 0) -> None:
    """Check that ``answer(u, rate, gradient, decay)`` gives directions and effective rates after a step."""
    w, gradient, eta = random_channels(units, inputs, seed=seed), random_channels(units, inputs, seed=seed + 1), 3.0
    length = w.norm(dim=1)
    u, rate = w / length[:, None], eta / length**2
    gradient = gradient - (gradient * u).sum(1, keepdim=True) * u
    w = (1 - decay) * w - eta * gradient / length[:, None]  # of weights that long, the gradient is so much shorter
    right_u, right_rate = w / w.norm(dim=1, keepdim=True), eta / w.norm(dim=1) ** 2

    moved, plain = (keep * u - rate[:, None] * gradient for keep in (1 - decay, 1.0))
    square = moved.square().sum(1)
    undecayed = [plain / plain.norm(dim=1, keepdim=True), rate / plain.square().sum(1)]
    one_length = [moved / moved.norm(), rate / moved.square().sum()]
    by_length, grows = [right_u, rate / square.sqrt()], [right_u, rate * square]
    unsquared = [right_u, rate / (1 - decay + rate**2 * gradient.square().sum(1))]
    upward = [(2 * (1 - decay) * u - moved) / square.sqrt()[:, None], right_rate]
    twice = [_unit((1 - decay) * u - rate[:, None].sqrt() * gradient), right_rate]
    undecayed_direction = [undecayed[0], right_rate]
    mistakes = {
        "The new directions have length 1: divide by the new length.": [moved, right_rate],
        "Each unit has a length of its own; yours share one.": one_length,
        "The new direction: decay is missing. It shortens the weights before the step turns them.": undecayed_direction,
        "The new rate: decay shortens the weights, too.": [right_u, undecayed[1]],
        "Decay is missing, in the direction and in the rate.": undecayed,
        "The new rate is the old one. But the weights have another length now.": [right_u, rate],
        "The effective rate has the squared length below it; yours is divided by the length.": by_length,
        "Longer weights feel a smaller rate; yours grows with the length.": grows,
        "The new length: squares add up, and (1 - decay) is to be squared as well.": unsquared,
        "The step goes down the gradient: subtract it.": upward,
        "The gradient is that of weights of length 1 already: multiply it by the effective rate, and by nothing else.": twice,
    }
    expect_call(answer, (u, rate, gradient, decay), [right_u, right_rate], mistakes)


def _unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


@check(
    right="All rows before a batch norm have length 1, and no output has changed, in either mode.",
    also=[{"sizes": (4, 6, 3, 5, 2), "seed": 3}],
)
def check_repaired_shorten(answer: Callable, sizes: tuple[int, ...] = (5, 4, 6, 3), seed: int = 0) -> None:
    """Check that ``answer(model)`` gives rows before a batch norm length 1, in place; outputs stay in both modes."""
    sizes, name = list(sizes), name_of(answer)
    got, want = observe_or_fail(_shortened, answer, sizes, seed), _state(_model(sizes, seed))
    ones = [torch.ones(size, dtype=torch.float64) for size in sizes[1:-1]]

    def wrong(part: str, **options) -> list | Tensor:
        return _state(_shorten(_model(sizes, seed), **options))[part]

    last, scaled = (wrong("training", **{part: True}) for part in ("last", "scale"))
    in_training = {
        "Nothing normalizes what the last layer puts out, so its length matters. It must stay.": last,
        "γ comes after the division, where the length of the weights is gone already. It must stay.": scaled,
        "A unit is a row of the weights, (outputs, inputs); you took the columns.": wrong("training", columns=True),
    }
    expect(f"{name}, outputs in training", got["training"], want["training"], in_training)
    of_all = wrong("lengths", rows=False)
    lengths = {
        "Nothing was shortened: change the weights in place.": want["lengths"],
        "Each unit, a row of the weights, has a length of its own; you took the length of all of them.": of_all,
    }
    expect(f"{name}, lengths of the rows", got["lengths"], ones, lengths)
    power, offset = wrong("evaluation", power=1), wrong("evaluation", offset=False)
    offset_and_power = wrong("evaluation", offset=False, power=1)
    statistics, variance = wrong("evaluation", mean=False, power=0), wrong("evaluation", power=0)
    offset_and_statistics = wrong("evaluation", offset=False, mean=False, power=0)
    in_evaluation = {
        "The running variance is that of outputs that are shorter now by the length, so it is smaller by its square.": power,
        "The offsets were left as they were. In training batch norm takes them off; in evaluation the running mean "
        "does, which was divided by the length.": offset,
        "Two things are wrong in evaluation: the offsets, and the power of the length in the running variance.": offset_and_power,
        "The running statistics are still those of the longer weights.": statistics,
        "The running variance is still that of the longer weights.": variance,
        "The running mean is still that of the longer weights.": wrong("evaluation", mean=False),
        "Offsets and running statistics are still those of the longer weights.": offset_and_statistics,
    }
    expect(f"{name}, outputs in evaluation", got["evaluation"], want["evaluation"], in_evaluation)


def _model(sizes: list[int], seed: int) -> nn.Sequential:
    """Make linear, batch norm, ReLU, … , linear, with all tensors at a general point."""
    layers = []
    for inputs, outputs in pairwise(sizes[:-1]):
        layers += [nn.Linear(inputs, outputs), BatchNorm(outputs, eps=0.0), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(*sizes[-2:])).double()
    with torch.no_grad():
        for index, (name, tensor) in enumerate(model.state_dict().items()):
            if tensor.is_floating_point():  # all but a count of batches
                noise = random_channels(tensor.numel(), seed=100 * seed + index, offset=0.3).reshape(tensor.shape)
                tensor.copy_(0.5 + noise.abs() if name.endswith("var") else noise)
    return model


def _shortened(answer: Callable, sizes: list[int], seed: int) -> dict:
    model = _model(sizes, seed)
    answer(model)
    refuse_frozen(model)
    return _state(model)


def _state(model: nn.Sequential) -> dict:
    """Return outputs in both modes, and the lengths of all rows before a batch norm."""
    x = random_channels(8, model[0].in_features, seed=3)
    with torch.no_grad():
        evaluation, training = (model.train(mode)(x) for mode in (False, True))
    lengths = [layer.weight.detach().norm(dim=1) for layer in model[:-1] if isinstance(layer, nn.Linear)]
    return {"evaluation": evaluation, "training": training, "lengths": lengths}


@torch.no_grad()
def _shorten(
    model: nn.Sequential,
    *,
    last: bool = False,
    scale: bool = False,
    rows: bool = True,
    columns: bool = False,
    power: int = 2,
    offset: bool = True,
    mean: bool = True,
) -> nn.Sequential:
    """Shorten rows as is right, but for a mistake."""
    for layer, norm in zip(model[:-1:3], model[1::3], strict=True):
        length = layer.weight.norm(dim=1) if rows else layer.weight.norm().expand(len(layer.weight))
        layer.weight /= layer.weight.norm(dim=0) if columns else length[:, None]
        layer.bias /= length if offset else 1
        norm.running_mean /= length if mean else 1
        norm.running_var /= length**power
        norm.weight *= length if scale else 1
    if last:
        model[-1].weight /= model[-1].weight.norm(dim=1, keepdim=True)
    return model
