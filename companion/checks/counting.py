"""The work that an answer does, in lines of Python and in memory: alike on every machine, however fast."""

import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any

from companion.checks.observing import call_on_copies

TOO_MUCH = "too much work"
LINES, BYTES = 50_000, 10_000_000  # a formula needs some ten lines


class _TooMuchError(Exception):
    """An answer has run more lines than it may."""


def call_within_reason(answer: Callable, *arguments: Any) -> Any:
    """Return ``answer(*arguments)``, or TOO_MUCH where it goes through very many cases to find it."""
    lines = 0

    def count(frame: FrameType, event: str, value: Any) -> Callable:
        nonlocal lines
        lines += 1
        if lines > LINES:
            raise _TooMuchError
        return count

    before, traced = sys.gettrace(), tracemalloc.is_tracing()
    tracemalloc.start()
    start = tracemalloc.get_traced_memory()[0]
    sys.settrace(count)
    try:
        value = call_on_copies(answer, *arguments)
    except _TooMuchError:
        return TOO_MUCH
    finally:
        sys.settrace(before)
        most = tracemalloc.get_traced_memory()[1] - start
        if not traced:
            tracemalloc.stop()
    return TOO_MUCH if most > BYTES else value
