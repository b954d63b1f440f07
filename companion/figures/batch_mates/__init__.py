"""Chapter 1's interactive figure: drag a batch mate."""

import operator
import sys

import traitlets

from companion.figures.base import Checked, InteractiveFigure, number, require


def _batch(values) -> list[float]:
    return require([number()(value) for value in values], lambda batch: len(batch) >= 2)


class BatchMates(InteractiveFigure):
    """One channel of a small batch under batch norm: drag a batch mate, and see your own output move.

    In ``"train"`` m and s are the batch's mean and standard deviation, in ``"eval"`` those of the running statistics::

        out = γ (h − m) / √(s² + ε) + δ

    Args:
        values: Pre-activations h of one channel, at least two; the first is "your" example.
        gamma, delta: Scale γ and offset δ (``weight`` and ``bias`` in torch).
        eps: ε, which keeps the division finite where all values are equal.
        momentum: Weight of the newest batch in the running statistics.
        mode: ``"train"`` or ``"eval"``.
        running_mean, running_var: The running statistics at the start.
        steps: Training steps taken so far (``num_batches_tracked`` in torch).

    Raises:
        ValueError: If a value breaks its rule.

    Numerics:
        Float64; s² divides by the number of examples, the running variance by one fewer, as in torch.

    Source:
        UDL section 11.4; Ioffe and Szegedy (2015). First in chapter 1.

    Example:
        >>> BatchMates(gamma=2)
        BatchMates(gamma=2.0)
        >>> BatchMates(values=[1.0])
        Traceback (most recent call last):
        ...
        ValueError: values must be at least 2 finite numbers, but got values=[1.0]; give yours, then mates
    """

    alt = traitlets.Unicode(
        "Interactive figure: the examples of a batch are dots on an axis, joined by curves to their batch-normalized "
        "outputs on an axis below. In training, moving one example moves every output; in evaluation, only its own."
    ).tag(sync=True)
    values = Checked(
        [2.2, -1.4, 0.1, 0.9, 1.6, 3.0, 3.6, -0.4], _batch, "at least 2 finite numbers", "give yours, then mates"
    )
    gamma = Checked(1.0, number(), "a finite number", "batch norm starts with 1")
    delta = Checked(0.0, number(), "a finite number", "batch norm starts with 0")
    eps = Checked(1e-5, number(sys.float_info.min), "finite and above 0", "torch takes 1e-5")
    momentum = Checked(0.1, number(0, 1), "a number from 0 to 1", "torch takes 0.1")
    mode = Checked("train", lambda mode: require(mode, ("train", "eval").__contains__), "'train' or 'eval'", "take one")
    running_mean = Checked(0.0, number(), "a finite number", "torch starts with 0")
    running_var = Checked(1.0, number(0), "a finite number, at least 0", "torch starts with 1")
    steps = Checked(0, number(0, kind=operator.index), "a whole number, at least 0", "torch starts with 0")
