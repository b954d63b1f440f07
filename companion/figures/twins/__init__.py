"""Chapter 10's interactive figure: weight decay, and a learning rate that grows instead."""

import math
import operator

import numpy as np
import traitlets

from companion.figures.base import Checked, Explorable, drawing, number, only


def _start() -> tuple[np.ndarray, np.ndarray]:
    """Thirty points of three classes around the origin, and eight hidden units, all with two decimals."""
    draw = np.random.RandomState(2)  # the generator that numpy promised never to change
    classes = np.repeat(np.arange(3), 10)
    angle, radius = 2 * np.pi / 3 * classes + draw.normal(0, 0.55, 30), draw.uniform(0.4, 1.6, 30)
    first, last = draw.normal(0, 1, (2, 8)), draw.normal(0, 1 / np.sqrt(8), (8, 3))
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle), classes], axis=1)
    return points.round(2), np.hstack([first.T, last]).round(2)


POINTS, UNITS = _start()


def _points(values) -> list:
    points = np.asarray(values, dtype=float)
    fits = points.ndim == 2 and points.shape[1] == 3 and len(points) >= 2
    return only(
        points.tolist(), lambda _: fits and np.isfinite(points).all() and np.isin(points[:, 2], (0, 1, 2)).all()
    )


def _units(values) -> list:
    units = np.asarray(values, dtype=float)
    fits = units.ndim == 2 and units.shape[1] == 5 and len(units) >= 1
    return only(units.tolist(), lambda _: fits and bool(np.isfinite(units).all()))


def _flag(default: bool, fix: str) -> Checked:
    return Checked(default, lambda value: only(value, (True, False).__contains__), "True or False", fix)


class Twins(Explorable):
    """A small network trained twice: with weight decay λ and rate η, and without, with a rate that grows.

    The twin's rate is η α^(-2t-1) with α² − (1 + μ − λη) α + μ = 0. While the five conditions of the derivation
    hold (ε = 0, and those that the four flags name), both runs are the same function at every step.

    Args:
        points: Rows of x, y and a class (0, 1 or 2), at least two; all are in every batch.
        units: Rows of a hidden unit's two weights at the start, and its three weights to the classes.
        learning_rate, momentum, weight_decay: η, μ and λ; λη is at most (1 − √μ)², or no α is real.
        eps: ε, which is added to the variance.
        steps: Number of training steps.
        normalized: Whether the hidden layer has batch norm.
        pushed: Whether the twin's momentum starts as the derivation asks for.
        last_fixed, affine_fixed: Whether the last layer, and γ and δ, stay as they are.

    Raises:
        ValueError: If a value breaks its rule.

    Numerics:
        Float64, like numpy, down to rounding.

    Source:
        Li and Arora (2020). First in chapter 10.

    Example:
        >>> Twins(eps=1e-5)
        Twins(eps=1e-05)
        >>> Twins(eps=-1)
        Traceback (most recent call last):
        ...
        ValueError: eps must be a finite number, at least 0, but got eps=-1; 0 keeps the two runs together
    """

    _esm, _css = drawing("twins")
    alt = traitlets.Unicode(
        "Interactive figure: training losses of a small network with weight decay and of its twin, which has none, and "
        "whose learning rate grows, and the difference of their outputs. The two agree to rounding as long as five "
        "conditions hold, four of which can be switched off, and part if one of them does not."
    ).tag(sync=True)
    points = Checked(POINTS, _points, "rows of x, y and a class from 0 to 2, at least 2", "give three numbers a point")
    units = Checked(UNITS, _units, "rows of 5 finite numbers, at least 1", "give 2 weights in and 3 weights out a unit")
    learning_rate = Checked(0.5, number(1e-6), "a finite number, at least 1e-6", "try 0.5")
    momentum = Checked(0.9, number(0, 0.99), "a number from 0 to 0.99", "try 0.9")
    weight_decay = Checked(0.004, number(0), "a finite number, at least 0", "try 0.004")
    eps = Checked(0.0, number(0), "a finite number, at least 0", "0 keeps the two runs together")
    steps = Checked(300, number(1, 5000, operator.index), "a whole number from 1 to 5000", "try 300")
    normalized = _flag(True, "True keeps the two runs together")
    pushed = _flag(True, "True keeps the two runs together")
    last_fixed = _flag(True, "True keeps the two runs together")
    affine_fixed = _flag(True, "True keeps the two runs together")

    @traitlets.validate("learning_rate", "momentum", "weight_decay")
    def _real(self, proposal) -> float:
        numbers = {name: getattr(self, name) for name in ("learning_rate", "momentum", "weight_decay")}
        numbers[proposal["trait"].name] = proposal["value"]
        product, most = numbers["weight_decay"] * numbers["learning_rate"], (1 - math.sqrt(numbers["momentum"])) ** 2
        if product > most or product >= 1:
            raise ValueError(
                f"weight_decay * learning_rate must be at most (1 - sqrt(momentum))^2 = {most:.3g}, "
                f"but got {product:.3g}; lower one"
            )
        return proposal["value"]
