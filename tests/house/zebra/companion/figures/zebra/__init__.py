"""The toy chapter's interactive figure: a row of stripes."""

import operator

import traitlets

from companion.figures.base import Checked, Explorable, drawing, number


class Zebra(Explorable):
    """A row of stripes, as many as you like.

    Args:
        stripes: How many stripes there are, from 1 to 12.

    Raises:
        ValueError: If a value breaks its rule.

    Source:
        Prince (2023). First in chapter 99.

    Example:
        >>> Zebra(stripes=3)
        Zebra(stripes=3)
    """

    _esm, _css = drawing("zebra")
    alt = traitlets.Unicode(
        "Interactive figure: a row of dark and light stripes of one width; a slider says how many there are."
    ).tag(sync=True)
    stripes = Checked(5, number(1, 12, kind=operator.index), "a whole number from 1 to 12", "try 4")
