"""Checks for the exercises of the toy chapter, stripes."""

from collections.abc import Callable
from itertools import groupby

from companion.checks.comparing import expect_call
from companion.checks.showing import check


@check(right="Six values make four stripes of one sign.", also=[{"values": (-0.3, 2.5, 0.4, -1.2, 0.2, -0.7)}])
def check_count(answer: Callable, values: tuple[float, ...] = (0.4, -1.5, -2.5, 4.2, -0.3, -5.1)) -> None:
    """Fail unless ``answer(values)`` is the number of stretches of one sign."""
    mistakes = {
        "You counted the changes; there is one stripe more.": len(_widths(values)) - 1,
        "You counted the positive values.": sum(value > 0 for value in values),
        "You counted all values; neighbours of one sign are one stripe.": len(values),
    }
    expect_call(answer, (list(values),), len(_widths(values)), mistakes)


@check(right="The widest of four stripes has three values.", also=[{"values": (-0.3, 2.5, 0.4, 0.2, 1.3, -1.2)}])
def check_widest(answer: Callable, values: tuple[float, ...] = (1.5, 0.2, -1.2, 4.6, -0.3, -5.1, -2.2)) -> None:
    """Fail unless ``answer(values)`` is the length of the longest stretch of one sign."""
    widths = _widths(values)
    mistakes = {
        "You gave the narrowest stripe.": min(widths),
        "You gave the first stripe.": widths[0],
        "You gave the number of stripes.": len(widths),
    }
    expect_call(answer, (list(values),), max(widths), mistakes)


def _widths(values: tuple[float, ...]) -> list[int]:
    return [len(list(stripe)) for _, stripe in groupby(values, lambda value: value > 0)]
