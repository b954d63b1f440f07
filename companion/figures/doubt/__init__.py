"""Chapter 15's interactive figure: many passes of one network, each with the statistics of another batch."""

import operator
from itertools import pairwise

import numpy as np
import traitlets

from companion.figures.base import Checked, InteractiveFigure, number, require

PARTS = {"name", "points", "held_out", "weights", "scales", "offsets"}


def _standardized(h: np.ndarray) -> np.ndarray:
    return (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5)


def _example(name: str, noise: float) -> dict:
    """A case whose last layer is fitted to 60 noisy points of a wave, on top of two layers of random weights."""
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


def _pairs(values, least: int) -> list:
    pairs = np.asarray(values, dtype=float)
    fits = pairs.ndim == 2 and pairs.shape[1] == 2 and len(pairs) >= least and np.isfinite(pairs).all()
    return require(pairs.tolist(), lambda _: bool(fits))


def _case(case) -> dict:
    require(case, lambda case: isinstance(case, dict) and set(case) == PARTS)
    weights = [np.asarray(weight, dtype=float) for weight in case["weights"]]
    scales = [np.asarray(scale, dtype=float) for scale in case["scales"]]
    offsets = [np.asarray(offset, dtype=float) for offset in case["offsets"]]
    sizes = [1, *(len(weight) for weight in weights)]
    shapes = [(rows, columns) for columns, rows in pairwise(sizes)]
    fits = (
        len(weights) >= 2
        and sizes[-1] == 1
        and [weight.shape for weight in weights] == shapes
        and [scale.shape for scale in scales] == [(size,) for size in sizes[1:-1]]
        and [offset.shape for offset in offsets] == [(size,) for size in sizes[1:]]
        and all(np.isfinite(part).all() for part in weights + scales + offsets)
    )
    return require(
        {
            "name": str(case["name"]),
            "points": _pairs(case["points"], 4),
            "held_out": _pairs(case["held_out"], 1),
            **{
                name: [part.tolist() for part in parts]
                for name, parts in (("weights", weights), ("scales", scales), ("offsets", offsets))
            },
        },
        lambda _: fits,
    )


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

    alt = traitlets.Unicode(
        "Interactive figure: many passes of one trained network with one input, each with the statistics of another "
        "random training batch, and their mean with a band of two standard deviations. Smaller batches widen the band; "
        "more noise in the data hardly does; a noise term that is added makes it hold the held-out points."
    ).tag(sync=True)
    cases = Checked(
        CASES, _cases, "a list of networks as dicts that fit together", f"give each {', '.join(sorted(PARTS))}"
    )
    case = Checked(0, number(0, kind=operator.index), "a whole number, at least 0", "count the cases from 0")
    batch_size = Checked(32, number(2, kind=operator.index), "a whole number, at least 2", "try 32")
    passes = Checked(50, number(1, 500, operator.index), "a whole number from 1 to 500", "try 50")
    noise = Checked(0.0, number(0), "a finite number, at least 0", "0 adds none")
    draw = Checked(1, number(1, 1000, operator.index), "a whole number from 1 to 1000", "try 1")
    eps = Checked(1e-5, number(1e-300), "finite and above 0", "torch takes 1e-5")

    @traitlets.validate("cases", "case", "batch_size")
    def _fits(self, proposal):
        """The proposed value, if the case shown is there and has as many points as are drawn."""
        state = {name: getattr(self, name) for name in ("cases", "case", "batch_size")}
        state[proposal["trait"].name] = proposal["value"]
        if state["case"] >= len(state["cases"]):
            raise ValueError(
                f"case must be less than the number of cases, but got case={state['case']} for "
                f"{len(state['cases'])} cases; count from 0"
            )
        points = len(state["cases"][0]["points"])
        if state["batch_size"] > points:
            raise ValueError(
                f"batch_size must be at most the {points} training points, but got "
                f"batch_size={state['batch_size']}; try {points}"
            )
        return proposal["value"]

    def brief(self, name: str, value) -> str:
        """Of the cases only the names, since they are long."""
        return f"<{', '.join(case['name'] for case in value)}>" if name == "cases" else super().brief(name, value)
