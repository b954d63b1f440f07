"""Chapter 10's interactive figure: weight decay, and a learning rate that grows instead."""

import math

import numpy as np
import traitlets

from companion.figures.base import Checked, InteractiveFigure, array, description, eps_trait, flag, real, require, whole


def _start() -> tuple[np.ndarray, np.ndarray]:
    """Draw thirty points of three classes around the origin, and eight hidden units, all with two decimals."""
    draw = np.random.RandomState(2)  # the generator that numpy promised never to change
    classes = np.repeat(np.arange(3), 10)
    angle, radius = 2 * np.pi / 3 * classes + draw.normal(0, 0.55, 30), draw.uniform(0.4, 1.6, 30)
    first, last = draw.normal(0, 1, (2, 8)), draw.normal(0, 1 / np.sqrt(8), (8, 3))
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle), classes], axis=1)
    return points.round(2), np.hstack([first.T, last]).round(2)


POINTS, UNITS = _start()


def _points(values) -> list:
    points = array(2, lambda count, columns: count >= 2 and columns == 3)(values)
    return require(points, lambda points: all(point[2] in (0, 1, 2) for point in points))


class Twins(InteractiveFigure):
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

    alt = description(
        "Interactive figure: training losses of a small network with weight decay and of its twin, which has none, and "
        "whose learning rate grows, and the difference of their outputs. The two agree to rounding as long as five "
        "conditions hold, four of which can be switched off, and part if one of them does not."
    )
    points = Checked(POINTS, _points, "rows of x, y and a class from 0 to 2, at least 2", "give three numbers a point")
    units = Checked(
        UNITS,
        array(2, lambda count, columns: count >= 1 and columns == 5),
        "rows of 5 finite numbers, at least 1",
        "give 2 weights in and 3 weights out a unit",
    )
    learning_rate = real(0.5, low=1e-6, fix="try 0.5")
    momentum = real(0.9, low=0, high=0.99, fix="try 0.9")
    weight_decay = real(0.004, low=0, fix="try 0.004")
    eps = eps_trait(0.0, fix="0 keeps the two runs together")
    steps = whole(300, low=1, high=5000, fix="try 300")
    normalized = flag(True, fix="True keeps the two runs together")
    pushed = flag(True, fix="True keeps the two runs together")
    last_fixed = flag(True, fix="True keeps the two runs together")
    affine_fixed = flag(True, fix="True keeps the two runs together")

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
