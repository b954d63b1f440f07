"""Chapter 15's interactive figure: many passes of one network, each with the statistics of another batch."""

from itertools import pairwise

import numpy as np
import traitlets

from companion.figures.base import (
    Checked,
    InteractiveFigure,
    array,
    description,
    eps_trait,
    real,
    require,
    require_index,
    whole,
)

PARTS = {"name", "points", "held_out", "weights", "scales", "offsets"}


def _standardized(h: np.ndarray) -> np.ndarray:
    return (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5)


def _example(name: str, noise: float) -> dict:
    """Make a case: its last layer is fitted to 60 noisy points of a wave, on top of two layers of random weights."""
    draw = np.random.RandomState(0)  # the generator that numpy promised never to change
    x = draw.uniform(0.5, 2.0, 90) * np.where(np.arange(90) % 2, 1, -1)
    y = np.sin(2 * x) + noise * draw.normal(size=90)
    first, second = draw.normal(size=(12, 1)).round(2), draw.normal(0, 0.4, (12, 12)).round(2)
    scales, offsets = np.ones((2, 12)), draw.normal(0, 0.7, (2, 12)).round(2)
    h = x[:60, None]
    for weight, offset in zip((first, second), offsets, strict=True):
        h = np.maximum(0, _standardized(h @ weight.T) + offset)
    h = np.hstack([h, np.ones((60, 1))])
    last = np.linalg.solve(h.T @ h + 0.3 * np.eye(13), h.T @ y[:60]).round(2)
    points = np.stack([x, y], axis=1).round(2).tolist()
    return {
        "name": name,
        "points": points[:60],
        "held_out": points[60:],
        "weights": [first.tolist(), second.tolist(), [last[:12].tolist()]],
        "scales": scales.tolist(),
        "offsets": [*offsets.tolist(), [last[12]]],
    }


CASES = [_example("little noise", 0.1), _example("much noise", 0.4)]


def _shaped(parts, shapes: list[tuple[int, ...]]) -> list:
    """Return parts as nested lists, if each has its shape."""
    return [
        array(len(shape), lambda *sizes, shape=shape: sizes == shape)(part)
        for part, shape in zip(parts, shapes, strict=True)
    ]


def _case(case) -> dict:
    require(case, lambda case: isinstance(case, dict) and set(case) == PARTS)
    sizes = [1, *map(len, case["weights"])]
    require(sizes, lambda sizes: len(sizes) >= 3 and sizes[-1] == 1)
    return {
        "name": str(case["name"]),
        "points": array(2, lambda count, columns: count >= 4 and columns == 2)(case["points"]),
        "held_out": array(2, lambda count, columns: count >= 1 and columns == 2)(case["held_out"]),
        "weights": _shaped(case["weights"], [(rows, columns) for columns, rows in pairwise(sizes)]),
        "scales": _shaped(case["scales"], [(size,) for size in sizes[1:-1]]),
        "offsets": _shaped(case["offsets"], [(size,) for size in sizes[1:]]),
    }


def _cases(values) -> list:
    cases = [_case(case) for case in values]
    return require(cases, lambda cases: len(cases) >= 1 and len({len(case["points"]) for case in cases}) == 1)


class Doubt(InteractiveFigure):
    """A trained network of one input asked many times, each time with the statistics of another training batch.

    A pass draws ``batch_size`` of the training points without replacement, and normalises each hidden unit with
    their mean and (biased) variance: this is Monte Carlo batch norm. The band is two standard deviations of::

        variance of the passes + noise²

    Args:
        cases: A list of dicts, each one trained network: its ``name``; ``points`` and ``held_out``, rows of x and y;
            ``weights``, one matrix a layer, outputs by inputs; ``scales`` γ of the hidden layers; ``offsets``, δ of
            the hidden layers, then the last layer's. ReLU follows each hidden layer. All have as many points.
        case: Which of them is shown, from 0.
        batch_size: M, how many points a pass draws; at least 2 and at most all.
        passes: T, how many passes there are.
        noise: σ = τ^(-1/2), the standard deviation of the noise that is added.
        draw: Which random batches; another number, others.
        eps: ε, which is added to the variance of a hidden unit.

    Raises:
        ValueError: If a value breaks its rule.

    Numerics:
        Float64.

    Source:
        Teye, Azizpour and Smith (2018). First in chapter 15.

    Example:
        >>> Doubt(passes=10)
        Doubt(passes=10)
        >>> Doubt(batch_size=1)
        Traceback (most recent call last):
        ...
        ValueError: batch_size must be a whole number, at least 2, but got batch_size=1; try 32
    """

    alt = description(
        "Interactive figure: many passes of one trained network with one input, each with the statistics of another "
        "random training batch, and their mean with a band of two standard deviations. Smaller batches widen the band; "
        "more noise in the data hardly does; a noise term that is added makes it hold the held-out points."
    )
    cases = Checked(
        CASES, _cases, "a list of networks as dicts that fit together", f"give each {', '.join(sorted(PARTS))}"
    )
    case = whole(0, low=0, fix="count the cases from 0")
    batch_size = whole(32, low=2, fix="try 32")
    passes = whole(50, low=1, high=500, fix="try 50")
    noise = real(0.0, low=0, fix="0 adds none")
    draw = whole(1, low=1, high=1000, fix="try 1")
    eps = eps_trait()

    @traitlets.validate("cases", "case", "batch_size")
    def _fits(self, proposal):
        """Return the proposed value, if the case shown is there and has as many points as are drawn."""
        state = {name: getattr(self, name) for name in ("cases", "case", "batch_size")}
        state[proposal["trait"].name] = proposal["value"]
        require_index("case", state["case"], len(state["cases"]), "cases")
        points = len(state["cases"][0]["points"])
        if state["batch_size"] > points:
            raise ValueError(
                f"batch_size must be at most the {points} training points, but got "
                f"batch_size={state['batch_size']}; try {points}"
            )
        return proposal["value"]

    def brief(self, name: str, value) -> str:
        """Return a trait's value as ``repr`` shows it: of the cases only the names."""
        return f"<{', '.join(case['name'] for case in value)}>" if name == "cases" else super().brief(name, value)
