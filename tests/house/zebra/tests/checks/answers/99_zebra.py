"""Answers to the exercises of the toy chapter: right ones in two styles, and typical wrong ones."""

from itertools import groupby, pairwise


def by_changes(values):
    return 1 + sum((one > 0) != (other > 0) for one, other in pairwise(values))


def widths(values):
    return [len(list(stripe)) for _, stripe in groupby(values, lambda value: value > 0)]


def by_counting_on(values):
    widest = width = 1
    for one, other in pairwise(values):
        width = width + 1 if (one > 0) == (other > 0) else 1
        widest = max(widest, width)
    return widest


RIGHT = {
    "count": [by_changes, lambda values: len(widths(values))],
    "widest": [by_counting_on, lambda values: max(widths(values))],
}
WRONG = {
    "count": [
        (lambda values: by_changes(values) - 1, "counted the changes"),
        (lambda values: sum(value > 0 for value in values), "the positive values"),
        (len, "counted all values"),
    ],
    "widest": [
        (lambda values: min(widths(values)), "the narrowest"),
        (lambda values: widths(values)[0], "the first"),
        (by_changes, "the number of stripes"),
    ],
}
