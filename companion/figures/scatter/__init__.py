"""Chapter 14's interactive figure: one logit in many batches of a size, and its scatter at every size."""

import numpy as np

from companion.figures.base import Checked, InteractiveFigure, array, description, eps_trait, flag, real, whole


def _network() -> tuple[list, list, float]:
    """Make points of two classes, hidden units with random weights, and the offset of a last layer fitted to ±3."""
    draw = np.random.RandomState(0)  # the generator that numpy promised never to change
    label = np.arange(160) % 2
    turn = draw.uniform(0, np.pi, 160) + np.pi * label
    centre = np.stack([label - 0.5, 0.25 - 0.5 * label], axis=1)
    x = (1.4 * (np.stack([np.cos(turn), np.sin(turn)], axis=1) + centre) + draw.normal(0, 0.3, (160, 2))).round(2)
    weight, offset = draw.normal(size=(8, 2)).round(2), draw.normal(0, 0.7, 8).round(2)
    h = x @ weight.T
    h = np.maximum(0, (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5) + offset)
    h = np.hstack([h, np.ones((160, 1))])
    last = np.linalg.solve(h.T @ h + np.eye(9), h.T @ (6 * label - 3)).round(2)
    units = np.column_stack([weight, np.ones(8), offset, last[:8]])
    return np.column_stack([x, label]).tolist(), units.tolist(), float(last[8])


POINTS, UNITS, BIAS = _network()


class Scatter(InteractiveFigure):
    """One example's logit in 300 batches of random mates: move the example, and choose how many share a batch.

    The network has two inputs, one hidden layer with batch norm, and one logit::

        h = x · w,    logit = bias + Σ v · ReLU(γ (h − m) / √(s² + ε) + δ),    over units

    with m and s² of each unit from the batch. Mates are drawn from ``points`` with replacement. A chart has the
    standard deviation of the logit for batches of every size, beside 1/√M.

    Args:
        points: Training points, rows of two inputs and a class, 0 or 1; at least 8.
        units: Hidden units, rows of w₁, w₂, γ, δ and v.
        bias: Offset of the logit.
        example: The two inputs of the example.
        batch_size: M, how many examples share a mean and a variance; at least 2.
        own: Whether the example is one of them, as in training; else all are others.
        draw: Which random batches; another number, others.
        eps: ε, which is added to the variance of a hidden unit.

    Raises:
        ValueError: If a value breaks its rule.

    Numerics:
        Float64; s² divides by M.

    Source:
        Hoffer et al. (2017) and Luo et al. (2019) on the noise. First in chapter 14.

    Example:
        >>> Scatter(batch_size=8)
        Scatter(batch_size=8)
        >>> Scatter(batch_size=1)
        Traceback (most recent call last):
        ...
        ValueError: batch_size must be a whole number from 2 to 512, but got batch_size=1; try 32
    """

    alt = description(
        "Interactive figure: points of two classes in a plane, with one example that can be moved; the logit that a "
        "small network with batch norm gives it in 300 random batches, as a histogram; and the standard deviation of "
        "that logit against the batch size. Four times as many examples in a batch halve it, and an example far from "
        "the others has more of it."
    )
    points = Checked(
        POINTS,
        array(2, lambda count, columns: count >= 8 and columns == 3),
        "at least 8 rows of three finite numbers",
        "give two inputs and a class each",
    )
    units = Checked(
        UNITS,
        array(2, lambda count, columns: count >= 1 and columns == 5),
        "rows of five finite numbers",
        "give w₁, w₂, γ, δ and v of each unit",
    )
    bias = real(BIAS, fix="0 adds none")
    example = Checked(POINTS[0][:2], array(1, lambda count: count == 2), "two finite numbers", "try [0.9, 0.1]")
    batch_size = whole(32, low=2, high=512, fix="try 32")
    own = flag(True, fix="True is training")
    draw = whole(1, low=1, high=1000, fix="try 1")
    eps = eps_trait()
