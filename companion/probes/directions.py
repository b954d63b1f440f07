"""Directions, not lengths: all that scale-invariant weights feel.

A gradient's part along the weights changes their length, the rest their direction, and a step turns them as
far as its rate divided by their squared length says.
"""

import math

import torch
from torch import Tensor


def radial_and_tangential(
    vector: Tensor, weights: Tensor, dim: int | tuple[int, ...] | None = None
) -> tuple[Tensor, Tensor]:
    r"""Split a vector, such as a gradient, in a part along the weights and the rest.

    .. math:: a = \frac{\langle v, w \rangle}{\|w\|^2}\, w, \qquad b = v - a

    The first part changes the length of :math:`w`, the second its direction. The gradient of a
    scale-invariant loss has no first part.

    Shapes:
        - ``vector``, ``weights`` and both results: the same, any

    Args:
        vector: The vector :math:`v`.
        weights: The weights :math:`w`.
        dim: The axes that belong to one direction, by default all. After batch norm each unit has a
            direction of its own: 1 for ``nn.Linear``, (1, 2, 3) for ``nn.Conv2d``.

    Returns:
        The pair ``(radial, tangential)``, detached, in the wider of the two dtypes.

    Raises:
        TypeError: If weights hold anything but floating-point numbers.
        ValueError: If the shapes differ, or weights are zero and so have no direction.

    Introduced in:
        ``notebooks/09_scale_invariance.md``

    Example:
        >>> radial_and_tangential(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 5.0]))
        (tensor([0., 1.]), tensor([1., 0.]))
    """
    if vector.shape != weights.shape:
        raise ValueError(
            "vector and weights must have one shape, but got "
            f"{tuple(vector.shape)} and {tuple(weights.shape)}; a gradient has that of its weights"
        )
    dtype = torch.promote_types(vector.dtype, weights.dtype)
    vector = vector.detach().to(dtype)
    length = _length(weights, dim, keepdim=True)
    unit = (weights.detach() / length).to(dtype)
    along = (vector * unit).sum(dim, keepdim=True) if dim is not None else (vector * unit).sum()
    radial = along * unit
    return radial, vector - radial


def effective_rate(learning_rate: float, weights: Tensor, dim: int | tuple[int, ...] | None = None) -> Tensor:
    r"""Return the learning rate that scale-invariant weights feel: their direction moves as if they had length 1.

    .. math:: \frac{\eta}{\|w\|^2}

    One factor :math:`1/\|w\|` is the gradient's, the other comes from turning a longer vector.

    Shapes:
        - ``weights``: any
        - result: that of ``weights`` without ``dim``; a single number without ``dim``

    Args:
        learning_rate: The rate :math:`\eta`.
        weights: The weights :math:`w`.
        dim: As for :func:`radial_and_tangential`.

    Returns:
        The effective rate, float64.

    Raises:
        TypeError: If weights hold anything but floating-point numbers.
        ValueError: If ``learning_rate`` is negative or not finite, or weights are zero.

    Source:
        van Laarhoven (2017).

    Introduced in:
        ``notebooks/09_scale_invariance.md``

    Example:
        >>> effective_rate(0.5, torch.tensor([[3.0, 4.0], [0.0, 1.0]]), dim=1).tolist()
        [0.02, 0.5]
    """
    if not isinstance(learning_rate, int | float) or not 0 <= learning_rate < math.inf:
        raise ValueError(f"learning_rate must be a finite number, at least 0, but got {learning_rate!r}; try 0.1")
    length = _length(weights, dim)
    return learning_rate / length / length  # the square could overflow


def _length(weights: Tensor, dim: int | tuple[int, ...] | None, keepdim: bool = False) -> Tensor:
    check_floating(weights)
    # float64, where the square of no float32 overflows
    length = torch.linalg.vector_norm(weights.detach(), dim=dim, keepdim=keepdim, dtype=torch.float64)
    if not (length > 0).all():
        count = int((~(length > 0)).sum())
        raise ValueError(f"weights must have a direction, but got {count} of length 0 or not a number; leave those out")
    return length


def check_floating(tensor: Tensor) -> None:
    """Raise unless ``tensor`` holds floating-point numbers."""
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        raise TypeError(f"weights must be tensors of floating-point numbers, but got {kind}; convert with .float()")
