"""The toy chapter's interactive figure: a row of stripes."""

from companion.figures.base import InteractiveFigure, description, whole


class Zebra(InteractiveFigure):
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

    alt = description(
        "Interactive figure: a row of dark and light stripes of one width; a slider says how many there are."
    )
    stripes = whole(5, low=1, high=12, fix="try 4")
