"""The place where an answer runs: this process, as a learner's does, or another one that a grader watches.

A check never calls an answer. It hands :func:`observe` a function that does, and gets plain data back; what
the data should be, it computes itself. So an answer that runs elsewhere meets neither the expected values nor
the comparison.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class AnswerError(Exception):
    """Error of an answer in another process: the name of its kind, and its message."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class RemoteAnswer:
    """Answer that lives in another process; a grader says how to reach it."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def observe(self, function: Callable, *arguments: Any) -> Any:
        """Return what ``function(answer, *arguments)`` gives in the other process, as plain data.

        Raises NotImplementedError where the answer does, and AnswerError for all else that goes wrong.
        """
        raise NotImplementedError

    def __call__(self, *arguments: Any) -> Any:
        """Return the answer's value, for a check that calls the answer itself."""
        return self.observe(call_on_copies, *arguments)


def observe(function: Callable, answer: Any, *arguments: Any) -> Any:
    """Run ``function(answer, *arguments)`` where the answer lives.

    Args:
        function: A function at the top level of a module of this package, so that the other process finds it.
        answer: A learner's function or class.
        arguments: Plain data.

    Returns:
        Plain data: tensors, numbers, text, None, and lists, tuples and dictionaries of those.
    """
    if isinstance(answer, RemoteAnswer):
        return answer.observe(function, *arguments)
    return as_data(function(answer, *arguments))


def call_on_copies(answer: Callable, *arguments: Any) -> Any:
    """Return ``answer(*arguments)``, called on copies: it is an error to change what was handed in."""
    copies = _copy(arguments)
    value = answer(*copies)
    if not _same(copies, arguments):
        raise ValueError("it changed its argument in place; work on new tensors (x = x - m, not x -= m)")
    return value


def refuse_frozen(model: nn.Module, output: Tensor | None = None) -> None:
    """Raise a ValueError if a parameter cannot be trained any more, or has no part in an output."""
    trained = {name: each for name, each in model.named_parameters() if "running" not in name}
    for name, parameter in trained.items():
        if not parameter.requires_grad:
            raise ValueError(f"{name} has requires_grad=False now, so it can't be trained; leave that as it was")
    if isinstance(output, Tensor) and trained:
        reached = [None] * len(trained)
        if output.requires_grad:
            reached = torch.autograd.grad(output.sum(), [*trained.values()], retain_graph=True, allow_unused=True)
        lost = [name for name, gradient in zip(trained, reached, strict=True) if gradient is None]
        if lost:
            raise ValueError(f"no gradient reaches {' and '.join(lost)}; nothing may be detached on the way")


def as_data(value: Any) -> Any:
    """Return ``value`` without its graph, NumPy's arrays as tensors; raise a TypeError for what is not data."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray | np.generic):
        return torch.as_tensor(value).clone() if isinstance(value, np.ndarray) else value.item()
    if isinstance(value, dict):
        return {as_data(key): as_data(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [as_data(part) for part in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"the answer must give numbers, text or tensors, but gave a {type(value).__name__}")


def kind_of(error: Exception) -> str:
    """Return the name of an error's class, in the process where it was raised."""
    return getattr(error, "kind", type(error).__name__)


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, list | tuple):
        return type(value)(map(_copy, value))
    if isinstance(value, dict):
        return {key: _copy(part) for key, part in value.items()}
    return value


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return one.shape == other.shape and torch.equal(one.detach().nan_to_num(), other.detach().nan_to_num())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return one is other or one == other
