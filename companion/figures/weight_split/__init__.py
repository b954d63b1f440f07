"""Chapter 8's interactive figure: a weight vector split into length and direction, step by step."""

import math

import traitlets

from companion.figures.base import Checked, InteractiveFigure, number, require


def _point(values) -> list[float]:
    return require([number()(value) for value in values], lambda point: len(point) == 2)


def _direction(values) -> list[float]:
    return require(_point(values), lambda v: math.hypot(*v) > 0)


class WeightSplit(InteractiveFigure):
    """Weight norm in the plane: drag v or the target, take gradient steps, and see that v only gets longer.

    The loss L pulls w to the target, and plain gradient descent goes down by v and g::

        w = g v / ‖v‖,   L = ½ ‖w − target‖²

    Args:
        v: The vector whose direction w has, two numbers, not both 0.
        g: The length of w.
        target: Where the loss is 0, two numbers.
        rate: The learning rate η.
        learns: ``"both"``, g and v, or ``"v"``.
        path: Where v was before each step so far.

    Raises:
        ValueError: If a value breaks its rule.

    Numerics:
        Float64.

    Source:
        Salimans and Kingma (2016), equations 2 and 3. First in chapter 8.

    Example:
        >>> WeightSplit(g=2)
        WeightSplit(g=2.0)
        >>> WeightSplit(v=[0, 0])
        Traceback (most recent call last):
        ...
        ValueError: v must be two finite numbers, not both 0, but got v=[0, 0]; 0 has no direction
    """

    alt = traitlets.Unicode(
        "Interactive figure: a plane with an arrow v, a circle of radius g, and the weight w where they meet. The "
        "gradient at w is split into a part along v, which changes g, and a part across v, which turns v. A step "
        "of v stands at right angles to v, so that v gets longer with each step."
    ).tag(sync=True)
    v = Checked([0.6, -0.2], _direction, "two finite numbers, not both 0", "0 has no direction")
    g = Checked(1.5, number(), "a finite number", "1 is a length")
    target = Checked([1.4, 1.7], _point, "two finite numbers", "give x and y")
    rate = Checked(0.2, number(0), "a finite number, at least 0", "try 0.2")
    learns = Checked("both", lambda learns: require(learns, ("both", "v").__contains__), "'both' or 'v'", "take one")
    path = Checked([], lambda path: [_point(point) for point in path], "a list of points", "[] starts anew")
