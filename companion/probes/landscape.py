"""The smoothness of the loss where training goes: a walk along the gradient, or another direction."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from companion.probes.borrowing import borrowed, evaluate, name_layers, norm, trained


@dataclass(frozen=True)
class Walk:
    r"""The loss along a direction.

    Shapes:
        - ``steps``, ``loss``, ``gradient_change``, ``smoothness``: ``(steps,)``, float64

    Args:
        steps: How far the parameters went, in multiples :math:`t` of the direction :math:`d`.
        loss: The loss there; ``inf`` where it is not finite, as the two others.
        gradient_change: :math:`\|\nabla L(\theta + t d) - \nabla L(\theta)\|`.
        smoothness: That, over the distance :math:`|t| \|d\|`: the effective :math:`\beta`.
        start_loss: The loss :math:`L(\theta)`.
        gradient_norm: The length of the gradient at the start.
    """

    steps: Tensor
    loss: Tensor
    gradient_change: Tensor
    smoothness: Tensor
    start_loss: float
    gradient_norm: float

    @property
    def loss_range(self) -> float:
        """The largest loss on the walk less the smallest, its start included."""
        return max(self.start_loss, self.loss.max().item()) - min(self.start_loss, self.loss.min().item())


@dataclass(frozen=True)
class GradientShift:
    r"""The change of a layer's gradient when the earlier layers moved.

    Args:
        gradient_norm: :math:`\|G\|`, before.
        difference: :math:`\|G' - G\|`.
        cosine: Of the angle between :math:`G` and :math:`G'`; 0 where one of them is zero.
    """

    gradient_norm: float
    difference: float
    cosine: float


def loss_along(
    loss: Callable[[], Tensor], model: nn.Module, steps: Sequence[float], direction: Sequence[Tensor] | None = None
) -> Walk:
    r"""Walk from where a model is along a straight line: the loss, and how far its gradient changes.

    .. math:: L(\theta + t d), \qquad \|\nabla L(\theta + t d) - \nabla L(\theta)\|, \qquad
        \beta = \frac{\|\nabla L(\theta + t d) - \nabla L(\theta)\|}{|t| \|d\|}

    With :math:`d = -\nabla L(\theta)` the steps :math:`t` are learning rates.

    Args:
        loss: Computes the loss by calling the model, as in ``lambda: cross_entropy(model(x), y)``.
        model: The network, in the mode that is asked about. Parameters that are frozen stay.
        steps: The multiples :math:`t`: finite, not 0.
        direction: :math:`d`, a tensor for each parameter that is not frozen, in the model's order; None is
            minus the gradient.

    Returns:
        A :class:`Walk`.

    Raises:
        ValueError: If steps are none, 0 or not finite; the loss at the start is not one finite number with a
            gradient; the direction has other shapes, or zero length, as where the gradient is zero.

    Numerics:
        Each call of ``loss`` sees the same buffers and random numbers, so the same dropout masks. The model
        and torch's random state are left as they were, bit for bit.

    Source:
        Santurkar et al. (2018) walk along the gradient and call the largest such ratio effective smoothness.

    Example:
        >>> model = nn.Linear(2, 1, bias=False).double()
        >>> _ = nn.init.ones_(model.weight)
        >>> walk = loss_along(lambda: (model.weight**2 @ torch.tensor([1.0, 3.0]).double()).sum(), model, [0.1])
        >>> round(walk.loss.item(), 12), walk.start_loss, round(walk.smoothness.item(), 12)
        (1.12, 4.0, 5.727128425311)
    """
    steps = torch.as_tensor(steps, dtype=torch.float64).flatten()
    if not len(steps) or not steps.all() or not steps.isfinite().all():
        raise ValueError(f"steps must be finite numbers other than 0, but got {steps.tolist()}; try [0.1, 0.2, 0.4]")
    rows, parameters = [], trained(model)
    with borrowed(model) as rewind:
        start = evaluate(loss)
        before = _gradient(start, parameters)
        direction = [-part for part in before] if direction is None else list(direction)
        length = norm(direction)
        if [d.shape for d in direction] != [p.shape for p in parameters] or not 0 < length < torch.inf:
            raise ValueError(f"direction must fit parameters and not be zero, but got length {length}; pass another")
        for step in steps.tolist():
            rewind()
            _move(parameters, direction, step)
            there = evaluate(loss, finite=False)
            change = norm(a - b for a, b in zip(_gradient(there, parameters), before, strict=True))
            rows.append((there.item(), change))
    losses, changes = torch.tensor(rows, dtype=torch.float64).nan_to_num(torch.inf, torch.inf, torch.inf).T
    return Walk(steps, losses, changes, changes / (steps.abs() * length), start.item(), norm(before))


def gradient_shift(
    loss: Callable[[], Tensor], model: nn.Module, layer: nn.Module, earlier: Iterable[nn.Module], learning_rate: float
) -> GradientShift:
    r"""Compare a layer's gradient before and after one step of gradient descent on the earlier layers only.

    .. math:: G = \nabla_{W_i} L(W_1, \dots, W_k), \qquad
        G' = \nabla_{W_i} L(W'_1, \dots, W'_{i-1}, W_i, \dots, W_k)

    on one batch, with :math:`W' = W - \eta \nabla L`. It is internal covariate shift as an optimizer feels it.

    Args:
        loss: Computes the loss by calling the model, as in ``lambda: cross_entropy(model(x), y)``.
        model: The network, in the mode that is asked about.
        layer: The module whose parameters are :math:`W_i`.
        earlier: The modules that move, such as ``model[:4]``; what the layer shares with them stays.
        learning_rate: The rate :math:`\eta`.

    Returns:
        A :class:`GradientShift`.

    Raises:
        ValueError: If layers are not part of the model; the layer or the earlier ones have nothing to train; the
            loss, before or after, is not one finite number with a gradient.

    Numerics:
        As for :func:`loss_along`.

    Source:
        Santurkar et al. (2018).

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
        >>> _ = nn.init.constant_(model[0].weight, 2.0), nn.init.constant_(model[1].weight, 1.0)
        >>> gradient_shift(lambda: model(torch.ones(1, 1)).sum(), model, model[1], model[:1], 0.5)
        GradientShift(gradient_norm=2.0, difference=0.5, cosine=1.0)
    """
    own = trained(*name_layers(model, [layer]))
    moving = [p for p in trained(*name_layers(model, earlier)) if all(p is not other for other in own)]
    if not own or not moving:
        raise ValueError(f"layers must have parameters to train, but got {len(own)}, earlier {len(moving)}; unfreeze")
    with borrowed(model) as rewind:
        gradient = _gradient(evaluate(loss), [*own, *moving])
        rewind()
        _move(moving, gradient[len(own) :], -learning_rate)
        later = _gradient(evaluate(loss), own)
    before, after = (torch.cat([g.flatten().double() for g in part]) for part in (gradient[: len(own)], later))
    cosine = torch.cosine_similarity(before, after, dim=0).item()
    return GradientShift(before.norm().item(), (after - before).norm().item(), cosine)


def _gradient(value: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    return [g.to_dense() for g in torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)]


def _move(parameters: list[Tensor], direction: Sequence[Tensor], step: float) -> None:
    for parameter, part in zip(parameters, direction, strict=True):
        parameter.data.add_(part, alpha=step)
