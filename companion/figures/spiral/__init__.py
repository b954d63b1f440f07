"""Chapter 9's interactive figure: two weights of a scale-invariant loss, and where steps take them."""

import math

from companion.figures.base import Checked, InteractiveFigure, array, description, one_of, real, require, whole


def _start(start) -> list[float]:
    start = array(1, lambda count: count == 2)(start)
    return require(start, lambda start: max(map(abs, start)) <= 100 and math.hypot(*start) >= 0.01)


class Spiral(InteractiveFigure):
    """Gradient descent on a loss that knows only the angle of its two weights w: drag the start.

    The loss is the same all along a ray, and the gradient is at right angles to w::

        L(w) = cos 2θ + ½ sin 3θ,        θ the angle of w

    Args:
        start: The two weights at the start.
        rate: The learning rate η.
        decay: Weight decay λ, in the modes that have it.
        mode: ``"constant"`` is w ← w − η∇L. ``"decay"`` is w ← (1 − λη) w − η∇L. ``"growing"`` has no decay, and
            the rate η (1 − λη)^(−2t−1) at step t, counted from 0.
        steps: How many steps to take.

    Raises:
        ValueError: If a value breaks its rule.

    Numerics:
        Float64. Where steps jump from valley to valley, rounding grows with each, and the angles of ``"decay"`` and
        ``"growing"`` may part after some time.

    Source:
        Huszár (2019) draws such a loss; Li and Arora (2020) have the growing rate. First in chapter 9.

    Example:
        >>> Spiral(mode="decay")
        Spiral(mode='decay')
        >>> Spiral(start=[0, 0])
        Traceback (most recent call last):
        ...
        ValueError: start must be two finite numbers, not both zero, but got start=[0, 0]; try [-0.9, 0.3]
    """

    alt = description(
        "Interactive figure: a plane of two weights, coloured by a loss that is constant along every ray from the "
        "origin. Gradient descent walks from a start that can be dragged; charts show angle, length and effective "
        "learning rate at each step. With a constant rate the length only grows; weight decay, or a growing rate, "
        "keeps the effective rate up."
    )
    start = Checked([-0.9, 0.3], _start, "two finite numbers, not both zero", "try [-0.9, 0.3]")
    rate = real(0.5, low=1e-4, high=2, fix="try 0.5")
    decay = real(0.1, low=0, high=0.4, fix="try 0.1")
    mode = one_of("constant", "decay", "growing")
    steps = whole(60, low=1, high=200, fix="try 60")
