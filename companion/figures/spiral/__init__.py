"""Chapter 9's interactive figure: two weights of a scale-invariant loss, and where steps take them."""

import math
import operator

import traitlets

from companion.figures.base import Checked, InteractiveFigure, number, require


def _start(start) -> list[float]:
    x, y = (number(-100, 100)(place) for place in start)
    return require([x, y], lambda start: math.hypot(*start) >= 0.01)


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

    alt = traitlets.Unicode(
        "Interactive figure: a plane of two weights, coloured by a loss that is constant along every ray from the "
        "origin. Gradient descent walks from a start that can be dragged; charts show angle, length and effective "
        "learning rate at each step. With a constant rate the length only grows; weight decay, or a growing rate, "
        "keeps the effective rate up."
    ).tag(sync=True)
    start = Checked([-0.9, 0.3], _start, "two finite numbers, not both zero", "try [-0.9, 0.3]")
    rate = Checked(0.5, number(1e-4, 2), "a number from 1e-4 to 2", "try 0.5")
    decay = Checked(0.1, number(0, 0.4), "a number from 0 to 0.4", "try 0.1")
    mode = Checked(
        "constant",
        lambda mode: require(mode, ("constant", "decay", "growing").__contains__),
        "'constant', 'decay' or 'growing'",
        "take one",
    )
    steps = Checked(
        60,
        lambda steps: require(operator.index(steps), range(1, 201).__contains__),
        "a whole number from 1 to 200",
        "try 60",
    )
