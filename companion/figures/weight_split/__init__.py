"""Chapter 8's interactive figure: a weight vector split into length and direction, step by step."""

from companion.figures.base import Checked, InteractiveFigure, array, description, one_of, real, require

_point = array(1, lambda count: count == 2)


def _direction(values) -> list[float]:
    return require(_point(values), any)


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

    alt = description(
        "Interactive figure: a plane with an arrow v, a circle of radius g, and the weight w where they meet. The "
        "gradient at w is split into a part along v, which changes g, and a part across v, which turns v. A step "
        "of v stands at right angles to v, so that v gets longer with each step."
    )
    v = Checked([0.6, -0.2], _direction, "two finite numbers, not both 0", "0 has no direction")
    g = real(1.5, fix="1 is a length")
    target = Checked([1.4, 1.7], _point, "two finite numbers", "give x and y")
    rate = real(0.2, low=0, fix="try 0.2")
    learns = one_of("both", "v")
    path = Checked([], lambda path: [_point(point) for point in path], "a list of points", "[] starts anew")
