"""The part that all checks share: random data, an answer compared with what it should be, its mistake named."""

from collections.abc import Callable, Mapping
from math import inf, isnan
from typing import Any

import torch
from torch import Tensor

from companion.checks.observing import as_data, call_on_copies, kind_of, observe

# In float64, on data of ordinary size, right answers differ by rounding only.
TOLERANCE = 1e-9


def random_channels(*shape: int, seed: int = 0, offset: float = 1.0) -> Tensor:
    """Return random numbers in float64 whose channels (axis 1) have means and spreads of their own."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    if len(shape) < 2:
        return offset + x
    channel = (shape[1], *[1] * (len(shape) - 2))
    spreads = 0.5 + 2 * torch.rand(channel, generator=generator, dtype=torch.float64)
    offsets = offset + 2 * torch.randn(channel, generator=generator, dtype=torch.float64)
    return offsets + spreads * x


def expect_call(
    answer: Callable, arguments: tuple, want: Any, mistakes: Mapping[str, Any], tolerance: float = TOLERANCE
) -> None:
    """Call an answer with ``arguments`` and :func:`expect` that it gives ``want``."""
    expect(name_of(answer), observe_or_fail(call_on_copies, answer, *arguments), want, mistakes, tolerance)


def observe_or_fail(function: Callable, answer: Any, *arguments: Any) -> Any:
    """Run :func:`observe`; an error of the answer becomes an AssertionError that says what was raised.

    NotImplementedError passes: nothing has been answered yet.
    """
    try:
        return observe(function, answer, *arguments)
    except NotImplementedError:
        raise
    except Exception as error:
        words = " ".join(str(error).split())[:300]  # torch has many lines to say at times
        message = f": {words}" if words else "."
        raise AssertionError(f"{name_of(answer)} raised {kind_of(error)}{message}") from error


def expect(name: str, got: Any, want: Any, mistakes: Mapping[str, Any], tolerance: float = TOLERANCE) -> None:
    """Do nothing if an answer is right; else raise an AssertionError with the sentence of the mistake that it shows.

    Args:
        name: What was answered, for the message.
        got: What the answer gave, as plain data.
        want: What is right.
        mistakes: For each usual mistake a sentence, and the value that whoever makes it gets.
        tolerance: The largest ``|got - want| / max(1, |want|)`` that counts as equal.

    Raises:
        AssertionError: If ``got`` is not ``want``. The message never shows the expected value.

    Example:
        >>> expect("mean", 2.0, 2.0, {"Divide by n.": 6.0})
        >>> expect("mean", 6.0, 2.0, {"Divide by n.": 6.0})
        Traceback (most recent call last):
        AssertionError: mean: Divide by n.
    """
    want = as_data(want)
    miss = distance(got, want)
    if miss <= tolerance:
        return
    for sentence, value in mistakes.items():
        if distance(got, as_data(value)) <= tolerance:
            raise AssertionError(f"{name}: {sentence}")
    raise AssertionError(f"{name}: {_unlike(got, want, miss)}")


def distance(got: Any, want: Any) -> float:
    """Return the largest difference between two pieces of plain data, relative to ``max(1, |want|)``.

    Infinite where kind, length, shape or text differ, or where one of them is NaN.
    """
    if isinstance(want, Tensor):
        got = torch.tensor(got, dtype=torch.float64) if isinstance(got, int | float) else got
        if not isinstance(got, Tensor) or got.shape != want.shape:
            return inf
        if want.numel() == 0:
            return 0.0
        want, got = want.double(), got.double()
        equal = got == want  # infinities, too
        miss = ((got - want).abs() / want.abs().clamp(min=1)).masked_fill(equal, 0).max().item()
        return inf if isnan(miss) else miss
    if isinstance(want, float | int) and not isinstance(want, bool):
        return distance(got, torch.tensor(want, dtype=torch.float64))
    if isinstance(want, list):
        if not isinstance(got, list) or len(got) != len(want):
            return inf
        return max(map(distance, got, want), default=0.0)
    if isinstance(want, dict):
        if not isinstance(got, dict) or got.keys() != want.keys():
            return inf
        return max((distance(got[key], want[key]) for key in want), default=0.0)
    return 0.0 if type(got) is type(want) and got == want else inf


def name_of(answer: Any) -> str:
    """Return the name that the learner gave the answer."""
    return getattr(answer, "__name__", type(answer).__name__)


def _unlike(got: Any, want: Any, miss: float) -> str:
    """Say in which way an answer differs that shows no known mistake."""
    if got is None:
        return "it gave None. Is there a return?"
    if isinstance(want, Tensor) and isinstance(got, Tensor) and got.shape != want.shape:
        return f"it gave a tensor of shape {tuple(got.shape)}, where shape {tuple(want.shape)} is wanted."
    if _kind(got) != _kind(want):
        return f"it gave {_kind(got)}, where {_kind(want)} {'are' if isinstance(want, list) else 'is'} wanted."
    if isinstance(got, Tensor) and got.isnan().any():
        return "it gave NaN. What is divided by zero, or rooted below it?"
    if isinstance(want, list) and len(got) != len(want):
        return f"it gave {len(got)} parts, where {len(want)} are wanted."
    if isinstance(want, dict) and got.keys() != want.keys():
        return f"it gave the keys {list(got)}, where {list(want)} are wanted."
    if isinstance(want, list | dict):
        keys = want if isinstance(want, dict) else range(len(want))
        wrong = next(key for key in keys if distance(got[key], want[key]) == miss)
        return f"part {wrong!r}: {_unlike(got[wrong], want[wrong], miss)}"
    if miss == inf:
        return "it is not what was asked for."
    return f"off by {miss:.1e}, like none of the usual mistakes. Try it by hand on two examples and one channel."


def _kind(value: Any) -> str:
    if isinstance(value, Tensor) and value.dim() == 0:
        return "a number"
    return KINDS.get(type(value), f"a {type(value).__name__}")


KINDS = {
    bool: "True or False",
    int: "a number",
    float: "a number",
    str: "text",
    Tensor: "a tensor",
    list: "several parts",
    dict: "a dictionary",
    type(None): "nothing",
}
