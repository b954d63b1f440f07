"""A progress bar for notebooks that leaves nothing behind in the stored output."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from IPython import get_ipython
from IPython.display import display

Item = TypeVar("Item")
WIDTH = 30


def track(items: Iterable[Item], total: int, label: str = "", show: bool = True) -> Iterator[Item]:
    """Yield ``items`` while a bar shows how many of ``total`` are through.

    Outside a notebook it only yields. The bar is redrawn at most four times a second, and blanked at
    the end, whether the loop finished, broke off or raised.

    Example:
        >>> list(track("abc", total=3))
        ['a', 'b', 'c']
    """
    shell = get_ipython()
    if not show or shell is None or not hasattr(shell, "kernel"):
        yield from items
        return
    bar, drawn = None, time.monotonic()
    try:
        for done, item in enumerate(items):
            if time.monotonic() - drawn > 0.25:
                bar, drawn = _draw(bar, f"{_blocks(done / total)} {done}/{total} steps  {label}"), time.monotonic()
            yield item
    finally:
        if bar is not None:
            bar.update({}, raw=True)


def _blocks(share: float) -> str:
    full = round(WIDTH * min(share, 1.0))
    return "█" * full + "░" * (WIDTH - full)


def _draw(bar, text: str):
    if bar is None:
        # nbval compares what is first displayed, and not what it is updated to.
        bar = display({}, raw=True, display_id=True)
    bar.update({"text/plain": text}, raw=True)
    return bar
