r"""Scale invariance: a loss depends on the direction of some weights only, not on their length.

.. math:: L(c\,w) = L(w) \text{ for all } c > 0 \quad\Rightarrow\quad
    \langle \nabla L(w), w \rangle = 0, \quad \nabla L(c\,w) = \nabla L(w) / c

Weights whose outputs are normalized are scale-invariant, as far as the norm's :math:`\epsilon` lets them.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from companion.probes.directions import check_floating

FACTORS = (0.5, 2.0, 10.0)
ROOM = 1e-3  # for the epsilon of norms, in a default tolerance


def scale_sensitivity(
    loss: Callable[[], Tensor | float],
    weights: Tensor | Iterable[Tensor],
    factors: Sequence[float] = FACTORS,
    model: nn.Module | None = None,
) -> float:
    r"""Measure how much a loss changes when some weights are multiplied by a number.

    .. math:: \max_c \frac{|L(c\,w) - L(w)|}{|L(w)|}

    Zero to rounding means that the loss is scale-invariant in these weights, at the values they have.

    Args:
        loss: Returns the loss, one number; called once for each factor and once more.
        weights: The weights :math:`w`: a tensor (a parameter, or a view such as ``layer.weight[0]``), or
            several that are multiplied together.
        factors: The numbers :math:`c`, above 0.
        model: A module whose buffers ``loss`` moves, such as the running statistics of batch norm in
            training mode: each call sees them as they were, and so does the caller afterwards.

    Returns:
        The largest relative change; ``inf`` where the loss is not finite for one of the factors.

    Raises:
        TypeError: If weights hold anything but floating-point numbers.
        ValueError: If there are no weights or no factors, weights are computed from others (as a
            parametrization does), a factor is not a number above 0, or the loss at the start is zero,
            not finite, or more than one number.

    Numerics:
        Weights come back bit for bit, whatever ``loss`` raises. Torch's random state is the same in
        each call, so that dropout draws the same masks, and is left as it was. Weights that are all
        zero have no direction: they are measured at a random one instead.

    Source:
        The identity and its consequences: Arora et al. (2019). The measurement is ours.

    Introduced in:
        ``notebooks/09_scale_invariance.md``

    Example:
        >>> w = torch.tensor([3.0, 4.0], dtype=torch.float64)
        >>> scale_sensitivity(lambda: w[0] / w.norm(), w), scale_sensitivity(lambda: w[0], w)
        (0.0, 9.0)
    """
    tensors = _check_weights(weights)
    factors = tuple(factors)
    if not factors or not all(isinstance(c, int | float) and 0 < c < math.inf for c in factors):
        raise ValueError(f"factors must be one or more finite numbers above 0, but got {factors}; try {FACTORS}")
    with _kept(tensors, model) as evaluate:
        if not any(tensor.any() for tensor in tensors):
            _set(tensors, _random_like(tensors))
        start = [tensor.clone() for tensor in tensors]
        base = evaluate(loss)
        if base == 0 or not math.isfinite(base):
            raise ValueError(
                f"the loss must be finite and other than zero to have a relative change, but got {base}; "
                "take other data or weights, or add a constant"
            )
        changes = []
        for factor in factors:
            _set(tensors, [tensor * factor for tensor in start])
            changes.append(abs(evaluate(loss) - base) / abs(base))
    return max(change if math.isfinite(change) else math.inf for change in changes)


def is_scale_invariant(
    loss: Callable[[], Tensor | float],
    weights: Tensor | Iterable[Tensor],
    tolerance: float | None = None,
    model: nn.Module | None = None,
) -> bool:
    """Return True if a loss keeps its value when some weights are multiplied by 0.5, 2 and 10.

    Args:
        loss, weights, model: As for :func:`scale_sensitivity`.
        tolerance: The largest relative change that still counts as none. By default the square root of the
            dtype's rounding error, but at least 1e-3, for a norm's :math:`\\epsilon` breaks invariance a
            little: set it to 0, and ask for 1e-9 in float64, to tell invariance from a small effect.

    Returns:
        True for weights that the loss does not depend on at all, too.

    Raises:
        TypeError, ValueError: As :func:`scale_sensitivity` does, and if ``tolerance`` is negative.

    Introduced in:
        ``notebooks/09_scale_invariance.md``

    Example:
        >>> x, layer = torch.eye(3), nn.Linear(3, 4)
        >>> _ = nn.init.normal_(layer.weight), nn.init.normal_(layer.bias)
        >>> loss = lambda: nn.functional.layer_norm(layer(x), [4])[0, 0]
        >>> is_scale_invariant(loss, [layer.weight, layer.bias]), is_scale_invariant(loss, layer.weight)
        (True, False)
    """
    tensors = _check_weights(weights)
    if tolerance is None:
        tolerance = max(ROOM, *(math.sqrt(torch.finfo(tensor.dtype).eps) for tensor in tensors))
    if not isinstance(tolerance, int | float) or not 0 <= tolerance < math.inf:
        raise ValueError(f"tolerance must be None or a finite number, at least 0, but got {tolerance!r}; try 1e-3")
    return scale_sensitivity(loss, tensors, model=model) <= tolerance


def scale_invariant_parameters(
    loss: Callable[[], Tensor | float], model: nn.Module, tolerance: float | None = None
) -> dict[str, bool]:
    """Ask for each parameter of a model if the loss depends on its direction only.

    Each is multiplied by itself, the others stay: parameters that are invariant only together (a norm's
    scale and offset before a ReLU and a normalized layer, say) are not found; ask :func:`is_scale_invariant`.

    Args:
        loss: Returns the loss, one number; should use ``model`` in the mode that is asked about.
        model: The network; its parameters and buffers come back as they were.
        tolerance: As for :func:`is_scale_invariant`.

    Returns:
        The parameters' names, in the model's order, and True or False.

    Raises:
        TypeError, ValueError: As :func:`is_scale_invariant` does; ValueError if there are no parameters.

    Introduced in:
        ``notebooks/09_scale_invariance.md``

    Example:
        >>> _ = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4, affine=False), nn.Linear(4, 1))
        >>> x = 10 * torch.randn(8, 3)
        >>> scale_invariant_parameters(lambda: model(x).square().mean(), model)
        {'0.weight': True, '2.weight': False, '2.bias': False}
    """
    named = dict(model.named_parameters())
    if not named:
        raise ValueError("model must have at least one parameter, but got none; hand over the module that has them")
    return {name: is_scale_invariant(loss, tensor, tolerance, model) for name, tensor in named.items()}


@contextmanager
def _kept(tensors: list[Tensor], model: nn.Module | None) -> Iterator[Callable]:
    """Put tensors, buffers and random state back at the end; give an evaluation that starts from the same."""
    buffers = list(model.buffers()) if model is not None else []
    devices = sorted({tensor.get_device() for tensor in [*tensors, *buffers] if tensor.is_cuda})
    before, state = [tensor.clone() for tensor in tensors], [buffer.clone() for buffer in buffers]
    random, on_gpu = torch.get_rng_state(), [torch.cuda.get_rng_state(device) for device in devices]

    def rewind() -> None:
        _set(buffers, state)
        torch.set_rng_state(random)
        for device, there in zip(devices, on_gpu, strict=True):
            torch.cuda.set_rng_state(there, device)

    def evaluate(loss: Callable) -> float:
        rewind()
        value = loss()
        if not isinstance(value, Tensor):
            return float(value)
        if value.numel() != 1:
            raise ValueError(f"loss must return one number, but got shape {tuple(value.shape)}; take the mean")
        return value.item()

    try:
        yield evaluate
    finally:
        rewind()
        _set(tensors, before)


def _set(tensors: list[Tensor], values: list[Tensor]) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)


def _random_like(tensors: list[Tensor]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(tensor.shape, generator=generator).to(tensor) for tensor in tensors]


def _check_weights(weights: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """Return the tensors, as views of their values that autograd does not follow."""
    tensors = [weights] if isinstance(weights, Tensor) else list(weights)
    for tensor in tensors:
        check_floating(tensor)
        if (tensor if tensor._base is None else tensor._base).grad_fn is not None:
            raise ValueError(
                f"weights must be stored tensors, but got one that {tensor.grad_fn.name()} computed, and that a loss "
                "may compute anew; hand over the parameters that it comes from"
            )
    if not any(tensor.numel() for tensor in tensors):
        raise ValueError("weights must hold at least one number, but got none; hand over a parameter, or several")
    # Not detach(), which counts the change that we take back, and would spoil a graph that the caller still needs.
    return [tensor.data for tensor in tensors]
