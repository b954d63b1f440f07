"""Checks for the exercises of chapter 10, a growing rate in place of weight decay."""

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from companion.checks.comparing import distance, expect, name_of, observe_or_fail, random_channels
from companion.checks.observing import call_on_copies
from companion.checks.showing import check
from companion.probes import equivalent_schedule

Numbers = tuple[float, float, float]  # learning rate, weight decay, momentum


@check(right="The rate doubles in 87 steps with momentum 0.5, and in 13 with 0.9.")
def check_steps_to_double(answer: Callable, settings: Sequence[Numbers] = ((0.2, 0.01, 0.5), (0.1, 0.02, 0.9))) -> None:
    """Check that ``answer(learning_rate, weight_decay, momentum)`` predicts when the twin's rate has doubled."""
    for eta, lam, mu in settings:
        alpha = equivalent_schedule(eta, lam, mu).alpha
        without_momentum, nearly = _doublings(1 - eta * lam), math.log(2) * (1 - mu) / (2 * eta * lam)
        by_e = 1 / (alpha**-2 - 1)
        steps = {
            "The rate grows by 1 / α² at each step; 1 / α is how the weights grow.": _doublings(alpha, 1),
            "Momentum is left out. It adds up the decay of many steps, so α is the root of a quadratic equation.": without_momentum,
            "The quadratic equation has two roots; the larger one is the right one.": _doublings(mu / alpha),
            "1 - α is λη / (1 - μ) only nearly. Solve the quadratic equation.": nearly,
            "Take the natural logarithm of 2 over that of the growth; 1 / (growth - 1) is when it has grown by e.": by_e,
        }
        mistakes = {sentence: math.ceil(number) for sentence, number in steps.items()}
        exact = _doublings(alpha)
        mistakes |= {
            "A number of steps is whole: round up.": exact,
            "One step too few: after it the rate has not doubled yet. Round up.": math.ceil(exact) - 1,
            "One step too many: step 0 has its own rate, and it is that which doubles.": math.ceil(exact) + 1,
        }
        got = observe_or_fail(call_on_copies, answer, eta, lam, mu)
        expect(f"momentum {mu}", got, _count(eta, lam, mu), mistakes, tolerance=1e-6)


def _doublings(alpha: float, power: int = 2) -> float:
    return math.log(2) / (-power * math.log(alpha))


def _count(eta: float, lam: float, mu: float) -> int:
    schedule, step = equivalent_schedule(eta, lam, mu), 0
    while schedule.rate(step) < 2 * schedule.rate(0):
        step += 1
    return step


@check(
    right="A threshold that shrinks as the gradients do clips both runs at the same steps.",
    also=[{"clip": 0.4, "numbers": (0.25, 0.06, 0.3), "seed": 3}],
)
def check_twin_clip(answer: Callable, clip: float = 0.9, numbers: Numbers = (0.2, 0.1, 0.5), seed: int = 0) -> None:
    """Check that ``answer(clip, step, alpha)`` predicts where the twin must clip its gradient."""
    (eta, lam, mu), steps = numbers, range(15)
    schedule = equivalent_schedule(*numbers)
    alpha = schedule.alpha
    got = observe_or_fail(_thresholds, answer, clip, len(steps), alpha)
    for threshold in got:
        if distance(threshold, 0.0) == math.inf:
            expect(name_of(answer), threshold, 0.0, {})  # says what is given where a number is wanted

    def twin(thresholds: list) -> Tensor:
        w = _start(seed)
        rates = [schedule.rate(t) for t in steps]
        return _train(w, rates, mu, buffer=schedule.initial_momentum(w), clips=thresholds, seed=seed)

    want = _train(_start(seed), [eta for _ in steps], mu, decay=lam, clips=[clip for _ in steps], seed=seed)
    as_it_is = [1.0 for t in steps]
    grows = [alpha**-t for t in steps]
    as_the_rate, as_its_inverse = ([alpha ** (2 * sign * t) for t in steps] for sign in (-1, 1))
    early, linear = [alpha ** (t + 1) for t in steps], [1 - t * (1 - alpha) for t in steps]
    factors = {
        "The threshold stays as it is. But the twin's gradients get shorter, and in the end none would be clipped.": as_it_is,
        "The threshold grows. But longer weights have shorter gradients.": grows,
        "The threshold falls too fast: the gradient shrinks by as much as the weights grow, not by its square.": as_its_inverse,
        "The threshold grows with the rate. But it is compared with a gradient, before the rate comes in.": as_the_rate,
        "One step early: at step 0 both runs have the same weights, and the same gradient.": early,
        "It shrinks by a constant amount. Each step multiplies.": linear,
    }
    mistakes = {sentence: twin([clip * factor for factor in each]) for sentence, each in factors.items()}
    expect("logits of run and twin", twin(got), want, mistakes)


def _thresholds(answer: Callable, clip: float, steps: int, alpha: float) -> list:
    return [answer(clip, step, alpha) for step in range(steps)]


PUSH = "The push has the wrong sign: the weights are on their way outward, and a step goes against the buffer."
LATE = "Each rate comes one step late. The rate of step t must be set before step t is taken."
LAST = "The last layer is not scale-invariant: it keeps its constant rate, and its weight decay."


@check(
    right="The twin takes the path of the run with decay, and the last layer keeps its own rate and decay.",
    also=[{"numbers": (0.15, 0.05, 0.3), "steps": 8, "seed": 2}],
)
def check_repaired_twin(answer: Callable, numbers: Numbers = (0.2, 0.02, 0.6), steps: int = 12, seed: int = 0) -> None:
    """Check that ``answer(loss, hidden, last, …, steps)`` trains the twin of a run with decay on ``hidden``."""
    name = name_of(answer)
    run, twin = (_both_layers(numbers, steps, seed, growing=growing) for growing in (False, True))
    broken = {}
    for push, late, last in product((True, False), repeat=3):  # all three bugs first, and at the end none
        left = [sentence for sentence, is_left in ((PUSH, push), (LATE, late), (LAST, last)) if is_left]
        many = f"{len(left)} bugs are left. " if len(left) > 1 else ""
        options = {"push": -1.0 if push else 1.0, "late": late, "last_grows": last}
        broken[many + " ".join(left)] = _both_layers(numbers, steps, seed, **options)
    del broken[""]
    still = _both_layers(numbers, steps, seed, last_learns=False)
    mistakes = broken | {
        "There is no push: the buffer starts at zero.": _both_layers(numbers, steps, seed, push=0.0),
        "The last layer has lost its weight decay.": _both_layers(numbers, steps, seed, last_decays=False),
        "The last layer is not trained any more. It keeps its constant rate, and its weight decay.": still,
        "This is the run with weight decay itself. The hidden layer is to be trained without decay.": run,
        "Nothing has moved: change hidden and last in place.": [_start(seed), _start(seed, last=True)],
    }
    expect(name, observe_or_fail(_trained, answer, *numbers, steps, seed), twin, mistakes, tolerance=1e-8)


def _trained(answer: Callable, eta: float, lam: float, mu: float, steps: int, seed: int) -> list:
    """Return both layers' weights after the answer has trained them."""
    hidden, last = _start(seed).requires_grad_(), _start(seed, last=True).requires_grad_()
    answer(lambda hidden, last: _loss(hidden, last, seed), hidden, last, eta, lam, mu, steps)
    return [hidden, last]


def _both_layers(
    numbers: Numbers,
    steps: int,
    seed: int,
    *,
    growing: bool = True,
    push: float = 1.0,
    late: bool = False,
    last_grows: bool = False,
    last_decays: bool = True,
    last_learns: bool = True,
) -> list[Tensor]:
    """Train the twin, with a mistake, or the run with weight decay; return both layers' weights."""
    (eta, lam, mu), schedule = numbers, equivalent_schedule(*numbers)
    hidden, last = _start(seed), _start(seed, last=True)
    rates = [schedule.rate(t) for t in range(steps)]
    if late:
        rates = [eta, *rates[:-1]]
    if not growing:
        rates = [eta] * steps
    v = push * schedule.initial_momentum(hidden) if growing else torch.zeros_like(hidden)
    u = torch.zeros_like(last)
    for rate in rates:
        g, h = _gradients(hidden, last, seed)
        v = mu * v + g + (0 if growing else lam) * hidden
        u = mu * u + h + (lam if last_decays and not last_grows else 0) * last
        hidden = hidden - rate * v
        last = last - last_learns * (rate if last_grows else eta) * u
    return [hidden, last]


@check(
    right="A growing rate does what decoupled decay did, without momentum and with it.",
    also=[{"numbers": (0.2, 0.15, 0.6), "seed": 2}],
)
def check_decoupled_twin(answer: Callable, numbers: Numbers = (0.3, 0.1, 0.4), seed: int = 0) -> None:
    """Check that ``answer(learning_rate, weight_decay, momentum)`` gives first rate, growth and momentum."""
    eta, lam, mu = numbers
    alpha = 1 - eta * lam
    longer, growth = eta / alpha, alpha**-2
    both, one_factor, added = (eta, 1 / alpha, 0), (longer, 1 / alpha, 0), (longer, growth - 1, 0)
    alone = {
        "The first rate is not η: the very first step has to be divided by the new length, too.": (eta, growth, 0),
        "The first rate is larger than η, not smaller.": (eta * alpha, growth, 0),
        "The rate grows too slowly: one factor 1 / α is the gradient's, and one is the longer weights'.": one_factor,
        "The rate must grow, not fall.": (longer, alpha**2, 0),
        "The first rate is not η, and the growth has two factors: one is the gradient's, one the longer weights'.": both,
        "Growth is what the rate is multiplied with, and not what is added to 1.": added,
    }
    _expect_twin(answer, (eta, lam, 0.0), alone, seed)
    root = equivalent_schedule(*numbers).alpha  # of coupled decay
    other_way, two_factors = (longer, growth, mu / alpha), (longer, growth, mu * alpha**2)
    coupled, coupled_gradients = ((eta / root, root**-2, momentum) for momentum in (mu, mu * root))
    with_momentum = {
        "Rate and growth are right. But the buffer holds old gradients, of a time when the weights were shorter, so "
        "the twin's momentum is not μ.": (longer, growth, mu),
        "The momentum goes the wrong way: old gradients are too long for the weights of today.": other_way,
        "The momentum has one factor of α, not two: the buffer is made of gradients, which shrink by α a step.": two_factors,
        "The twin needs a momentum, too.": (longer, growth, 0.0),
        "α here is not the root of the quadratic equation: decay does not go through the buffer.": coupled,
        "α here is not the root of the quadratic equation, as decay does not go through the buffer; the momentum's "
        "factor is right.": coupled_gradients,
    }
    _expect_twin(answer, numbers, with_momentum, seed)


def _expect_twin(answer: Callable, numbers: Numbers, mistakes: dict[str, Numbers], seed: int) -> None:
    (eta, lam, mu), steps = numbers, 12
    got = observe_or_fail(call_on_copies, answer, *numbers)
    if distance(got, [0.0] * 3) == math.inf:
        expect(name_of(answer), got, [0.0] * 3, {})  # says what is given where three numbers are wanted

    def twin(rate: float, growth: float, momentum: float) -> Tensor:
        growths = [torch.as_tensor(growth, dtype=torch.float64) ** t for t in range(steps)]  # may be infinite
        return _train(_start(seed), [rate * growth for growth in growths], momentum, seed=seed)

    want = _train(_start(seed), [eta] * steps, mu, decoupled=lam, seed=seed)
    runs = {sentence: twin(*wrong) for sentence, wrong in mistakes.items()}
    expect(f"logits of run and twin, momentum {mu}", twin(*got), want, runs)


# A network of two layers, the first one normalized over the batch without an epsilon.


def _start(seed: int, last: bool = False) -> Tensor:
    return random_channels(6, 3, seed=seed + 1, offset=0.0) if last else random_channels(4, 6, seed=seed, offset=0.0)


def _logits(hidden: Tensor, last: Tensor, seed: int) -> Tensor:
    h = random_channels(20, 4, seed=seed + 2) @ hidden
    h = (h - h.mean(0)) / h.var(0, correction=0).sqrt()
    return (h + 0.5).relu() @ last


def _loss(hidden: Tensor, last: Tensor, seed: int) -> Tensor:
    return functional.cross_entropy(_logits(hidden, last, seed), torch.arange(20) % 3)


def _gradients(hidden: Tensor, last: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    layers = [tensor.detach().requires_grad_() for tensor in (hidden, last)]
    return torch.autograd.grad(_loss(*layers, seed), layers)


def _train(
    w: Tensor,
    rates: list[float],
    momentum: float,
    *,
    decay: float = 0.0,
    decoupled: float = 0.0,
    buffer: Any = 0.0,
    clips: list[float] | None = None,
    seed: int = 0,
) -> Tensor:
    """Train the first layer by SGD: logits at the end."""
    last, v = _start(seed, last=True), buffer
    for step, rate in enumerate(rates):
        g = _gradients(w, last, seed)[0]
        if clips is not None:
            g = g * (clips[step] / g.norm()).clamp(max=1)
        v = momentum * v + g + decay * w
        w = (1 - rate * decoupled) * w - rate * v
    return _logits(w, last, seed)
