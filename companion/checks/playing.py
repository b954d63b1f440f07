"""Several workers played in one process, one step at a time: to check them takes no network and no second process."""

import inspect
from collections.abc import Callable, Generator, Sequence

import torch
from torch import Tensor


def together(worker: Callable[..., Generator], arguments: Sequence[tuple]) -> list:
    """Play several workers in one process: what they ``yield`` is added up, and each gets the sum.

    Args:
        worker: A function that yields each tensor that it wants added up over all workers, as
            ``total = yield part``, and returns its result.
        arguments: For each worker, what it is called with.

    Returns:
        For each worker what it returned.

    Raises:
        RuntimeError: If some workers wait for a sum and another has returned: they would wait for ever.
        ValueError: If what they yield is not of one shape.

    Example:
        >>> def mean_of_all(x):
        ...     total = yield torch.tensor([x.sum(), len(x)])
        ...     return (total[0] / total[1]).item()
        >>> together(mean_of_all, [(torch.tensor([1.0, 2.0, 6.0]),), (torch.tensor([7.0]),)])
        [4.0, 4.0]
    """
    return _play(worker, arguments)[0]


def _play(worker: Callable[..., Generator], arguments: Sequence[tuple]) -> tuple[list, list[int]]:
    """Return what each worker returned, and how many numbers each handed over in each round."""
    runs = [worker(*given) for given in arguments]
    if not any(map(inspect.isgenerator, runs)):
        return runs, []  # nobody yields: nothing travels
    results, sent, total = [None] * len(runs), [], None
    while True:
        parts, done = [], []
        for rank, run in enumerate(runs):
            try:
                parts.append(run.send(None if total is None else total.clone()))
            except StopIteration as stop:
                results[rank] = stop.value
                done.append(rank)
        if not parts:
            return results, sent
        if done:
            raise RuntimeError(
                f"worker {done[0]} has returned while others wait for it in a yield, for ever: "
                "everybody yields equally often, with an empty shard too"
            )
        shapes = {tuple(torch.as_tensor(part).shape) for part in parts}
        if len(shapes) > 1:
            raise ValueError(f"what workers yield must be of one shape to be added up, but got {sorted(shapes)}")
        total = torch.stack([torch.as_tensor(part).double() for part in parts]).sum(0)
        sent.append(total.numel())


def take_part(answer: Callable, arguments: list[list]) -> dict[str, list]:
    """Return what each worker returns and what travels, with an answer for the workers."""
    copies = [tuple(part.clone() if isinstance(part, Tensor) else part for part in given) for given in arguments]
    results, sent = _play(answer, copies)
    return {"results": results, "sent": sent}
