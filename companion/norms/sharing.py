"""One mean and one variance for a group of examples and channels: all of normalization is here.

Every scheme of UDL figure 11.14 says how many consecutive examples and how many consecutive
channels share their statistics; positions always do.
"""

from numbers import Integral

import torch
from torch import Tensor


def moments(x: Tensor, examples: int, channels: int) -> tuple[Tensor, Tensor]:
    r"""Return mean and biased variance of each group of ``examples`` x ``channels`` x all positions.

    .. math:: m = \frac{1}{n} \sum_i x_i, \qquad s^2 = \frac{1}{n} \sum_i (x_i - m)^2

    The sums run over the ``n`` values of one group.

    Shapes:
        - ``x``: ``(N, C, *positions)``
        - both results: ``(N / examples, C / channels)``, one entry for each group

    Args:
        x: Activations, of a floating-point dtype.
        examples: How many consecutive examples share a mean and a variance; divides ``N``.
        channels: How many consecutive channels share a mean and a variance; divides ``C``.

    Returns:
        The pair ``(mean, var)`` in float32 or the dtype of ``x``, whichever is wider.

    Raises:
        TypeError: If ``x`` holds integers, booleans or complex numbers.
        ValueError: If ``x`` is empty or has no channel axis, if ``examples`` or ``channels`` is
            not a positive whole number that divides its axis, or if a group is a single value.

    Numerics:
        Two passes. The one-pass form :math:`E[x^2] - E[x]^2` loses all digits of :math:`s^2` once
        :math:`(m/s)^2` reaches 1e7 in float32, and can turn negative.

    Source:
        Ioffe and Szegedy (2015), algorithm 1; UDL equation 11.7.

    Example:
        >>> mean, var = moments(torch.tensor([[1.0, 3.0], [5.0, 7.0]]), examples=1, channels=2)
        >>> mean.tolist(), var.tolist()
        ([[2.0], [6.0]], [[1.0], [1.0]])
    """
    check_input(x)
    for name, value, size in (("examples", examples, x.shape[0]), ("channels", channels, x.shape[1])):
        check_positive_int(name, value)
        if size % value:
            raise ValueError(
                f"{name} must divide the number of {name}, but got {name}={value} and {size} {name}; "
                f"take a divisor of {size}"
            )
    positions = x.shape[2:].numel()
    if examples * channels * positions == 1:
        raise ValueError(
            "a group needs at least 2 values to have a variance, but got 1 (1 example x 1 channel x 1 position) "
            f"for x of shape {tuple(x.shape)}; use a larger batch or .eval() (batch norm), larger groups, or positions"
        )
    h = _split(widen(x), x.shape[0] // examples, x.shape[1] // channels)
    shared = (1, *range(3, h.dim()))
    mean = h.mean(shared, keepdim=True)
    var = (h - mean).square().mean(shared)
    return mean.reshape(var.shape), var


def normalize(
    x: Tensor, mean: Tensor, var: Tensor, eps: float = 1e-5, weight: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    r"""Subtract a given mean, divide by a given standard deviation, then scale and shift.

    .. math:: y = \gamma \, \frac{x - m}{\sqrt{s^2 + \epsilon}} + \delta

    Shapes:
        - ``x`` and the result: ``(N, C, *positions)``
        - ``mean``, ``var``: ``(A, B)``; each entry serves ``N / A`` consecutive examples and
          ``C / B`` consecutive channels, as :func:`moments` returns them
        - ``weight``, ``bias``: ``(C,)``

    Args:
        x: Activations, of a floating-point dtype.
        mean, var: The means :math:`m` and the variances :math:`s^2`.
        eps: The number :math:`\epsilon` added to the variance, at least 0.
        weight, bias: Scale :math:`\gamma` and offset :math:`\delta` of each channel; None is 1 and 0.

    Returns:
        The normalized activations, in the dtype of ``x``.

    Raises:
        TypeError, ValueError: For ``x`` as :func:`moments`; if ``mean`` and ``var`` differ in shape
            or do not divide ``x`` into groups; if ``eps`` is negative.

    Numerics:
        Everything is computed in the dtype that :func:`moments` uses, and rounded once at the end.

    Source:
        UDL equations 11.9 and 11.10. Equation 11.8 divides by :math:`s + \epsilon` instead;
        this is the form of UDL's problem 11.5 and of torch.

    Example:
        >>> normalize(torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0]]), torch.tensor([[4.0]]), eps=0.0)
        tensor([[-0.5000,  0.5000]])
    """
    check_input(x)
    check_eps(eps)
    if mean.dim() != 2 or mean.shape != var.shape or x.shape[0] % mean.shape[0] or x.shape[1] % mean.shape[1]:
        raise ValueError(
            "mean and var must both have shape (A, B), A dividing N and B dividing C, but got "
            f"{tuple(mean.shape)} and {tuple(var.shape)} for x of shape {tuple(x.shape)}; "
            "take them from moments(x, examples, channels)"
        )
    h = _split(widen(x), *mean.shape)
    rows, _, columns, channels, *positions = h.shape
    ones = [1] * len(positions)
    mean, var = (widen(s).reshape(rows, 1, columns, 1, *ones) for s in (mean, var))
    # Divisor and scale are few numbers: combined first, they cost one pass over x, not two.
    scale = (var + eps).rsqrt()
    if weight is not None:
        scale = scale * weight.reshape(1, 1, columns, channels, *ones)
    h = (h - mean) * scale
    if bias is not None:
        h = h + bias.reshape(1, 1, columns, channels, *ones)
    return h.reshape(x.shape).to(x.dtype)


def standardize(x: Tensor, examples: int, channels: int, eps: float = 1e-5) -> Tensor:
    r"""Give each group of ``examples`` x ``channels`` x all positions mean 0 and variance 1.

    .. math:: y = \frac{x - m}{\sqrt{s^2 + \epsilon}}

    with the mean :math:`m` and the variance :math:`s^2` of the group that :math:`x` belongs to.

    ==================  ============  ==============
    scheme              ``examples``  ``channels``
    ==================  ============  ==============
    batch norm          N             1
    ghost batch norm    g             1
    layer norm          1             C
    group norm          1             C / G
    instance norm       1             1
    ==================  ============  ==============

    Shapes:
        - ``x`` and the result: ``(N, C, *positions)``

    Args:
        x: Activations, of a floating-point dtype.
        examples: How many consecutive examples share a mean and a variance; divides ``N``.
        channels: How many consecutive channels share a mean and a variance; divides ``C``.
        eps: The number :math:`\epsilon` added to the variance, at least 0.

    Returns:
        The standardized activations, in the dtype of ``x``.

    Raises:
        TypeError, ValueError: As :func:`moments` does, and if ``eps`` is negative.

    Numerics:
        As in :func:`moments`. The variance of the result is :math:`s^2 / (s^2 + \epsilon)`, just under 1.

    Source:
        Wu and He (2018), equation 7, for the channels; UDL figure 11.14 and equation 11.10.
        UDL's equation 11.8 divides by :math:`s + \epsilon`, torch by this square root.

    Example:
        >>> standardize(torch.tensor([[1.0, 3.0], [5.0, 7.0]]), examples=1, channels=2, eps=0.0)
        tensor([[-1.,  1.],
                [-1.,  1.]])
    """
    check_input(x)
    wide = widen(x)
    return normalize(wide, *moments(wide, examples, channels), eps).to(x.dtype)


def check_input(x: Tensor) -> None:
    """Raise unless ``x`` is a floating-point tensor of shape (N, C) or (N, C, *positions)."""
    if not x.is_floating_point():
        raise TypeError(f"x must hold floating-point numbers, but got {x.dtype}; convert it with x.float()")
    if x.dim() < 2:
        raise ValueError(
            f"x must have shape (N, C, *positions), at least 2 axes, but got shape {tuple(x.shape)}; "
            "add what is missing, as x[None] does for a single example"
        )
    if x.numel() == 0:
        raise ValueError(
            f"x must hold at least one value, but got the empty shape {tuple(x.shape)}; leave empty batches out"
        )


def check_positive_int(name: str, value: int) -> int:
    """Return ``value`` as an int; raise unless it is a positive whole number."""
    # NumPy's integers are Integral, too; a traced size is a SymInt, which is not; a bool is an int, but no count.
    if isinstance(value, bool) or not isinstance(value, int | Integral | torch.SymInt) or value < 1:
        raise ValueError(f"{name} must be a positive whole number (int), but got {value!r}; 1 is the least")
    return value if isinstance(value, int | torch.SymInt) else int(value)


def check_eps(eps: float) -> None:
    """Raise unless ``eps`` is finite and not negative."""
    if not isinstance(eps, int | float) or not 0 <= eps < float("inf"):
        raise ValueError(f"eps must be a finite number, at least 0, but got eps={eps!r}; torch takes 1e-5")


def widen(x: Tensor) -> Tensor:
    """Return half-precision numbers in float32, all others as they are."""
    # Once for each normalization: the gradients through mean, variance and x nearly cancel, so they
    # must be summed before they are rounded.
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _split(x: Tensor, rows: int, columns: int) -> Tensor:
    # A view of (rows, N / rows, columns, C / columns, *positions): channels-last input stays so.
    return x.reshape(rows, x.shape[0] // rows, columns, x.shape[1] // columns, *x.shape[2:])
