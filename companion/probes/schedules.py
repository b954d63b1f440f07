r"""Weight decay as a learning rate that grows: the same functions, for a scale-invariant loss.

With torch's convention :math:`v \leftarrow \mu v + g + \lambda\theta`, :math:`\theta \leftarrow \theta - \eta v`,
weights :math:`\theta_t` under weight decay, and :math:`\alpha^{-t} \theta_t`, obey one recursion.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class EquivalentSchedule:
    r"""Stand-in for weight decay: a growing rate, and a momentum to start with.

    At each step the weights are :math:`\alpha^{-t}` times what they are with weight decay.

    Example:
        >>> schedule = EquivalentSchedule(learning_rate=0.1, momentum=0.0, alpha=0.5)
        >>> schedule.rate(0), schedule.rate(1), schedule.growth
        (0.2, 0.8, 4.0)
    """

    learning_rate: float
    momentum: float
    alpha: float

    @property
    def growth(self) -> float:
        r"""The factor :math:`\alpha^{-2}` by which the rate grows at each step."""
        return self.alpha**-2

    def rate(self, step: int) -> float:
        r"""Return the rate :math:`\eta\,\alpha^{-2t-1}` of step ``t``, counted from 0; ``inf`` where float64 ends."""
        try:  # in two halves, since the power may overflow before the rate does
            return self.learning_rate * self.alpha**-step * self.alpha ** (-step - 1)
        except OverflowError:
            return math.inf

    def initial_momentum(self, weights: Tensor) -> Tensor:
        r"""Return the addition to the momentum buffer before step 0: :math:`-(1 - \alpha)\,\theta_0 / (\eta\alpha)`.

        Without it the first steps differ: with weight decay, the weights shrink from the first step on,
        but momentum starts from rest.
        """
        return -(1 - self.alpha) / (self.learning_rate * self.alpha) * weights.detach()

    def overflow_step(self, dtype: torch.dtype = torch.float32) -> float:
        """Return the first step whose rate is no finite number of ``dtype``; ``inf`` without weight decay.

        The weights grow as the square root of the rate, and overflow later; *squares* of what they put
        out, as in a variance, grow like the rate, and may overflow before or after it, by their size.
        """
        if self.alpha == 1:
            return math.inf
        largest = torch.finfo(dtype).max
        guess = ((math.log(largest) - math.log(self.learning_rate)) / -math.log(self.alpha) - 1) / 2
        step = max(0, math.ceil(guess) - 2)  # just below, as logarithms round
        while self.rate(step) <= largest:
            step += 1
        return step


def equivalent_schedule(learning_rate: float, weight_decay: float, momentum: float = 0.0) -> EquivalentSchedule:
    r"""Return the growing rate that visits the same functions as weight decay, for a scale-invariant loss.

    .. math:: \eta_t = \eta\,\alpha^{-2t-1}, \qquad \alpha^2 - (1 + \mu - \lambda\eta)\,\alpha + \mu = 0

    with the larger root :math:`\alpha`; without momentum that is :math:`1 - \lambda\eta`.

    Args:
        learning_rate: The rate :math:`\eta` that goes with weight decay, above 0.
        weight_decay: :math:`\lambda`, at least 0, as in ``torch.optim.SGD``: it is added to the gradient.
        momentum: :math:`\mu`, in [0, 1), without dampening and not Nesterov's.

    Returns:
        An :class:`EquivalentSchedule`.

    Raises:
        ValueError: If a number is out of its range, or :math:`\lambda\eta > (1 - \sqrt\mu)^2`: the roots
            are then complex (or, without momentum, zero), and the weights swing through the origin.

    Numerics:
        Computed from :math:`1 - \alpha`, without a difference of nearly equal numbers.

    Source:
        Li and Arora (2020). The initial momentum is what makes step 0 agree, too.

    Introduced in:
        ``notebooks/10_exponential_learning_rate.md``

    Example:
        >>> schedule = equivalent_schedule(learning_rate=0.1, weight_decay=5e-4, momentum=0.9)
        >>> round(schedule.growth, 6)
        1.001005
    """
    rules = {
        "learning_rate": (learning_rate, learning_rate > 0, "a finite number above 0", "try 0.1"),
        "weight_decay": (weight_decay, weight_decay >= 0, "a finite number, at least 0", "try 5e-4"),
        "momentum": (momentum, 0 <= momentum < 1, "at least 0 and below 1", "try 0.9"),
    }
    for name, (value, within, rule, fix) in rules.items():
        if not within or not math.isfinite(value):
            raise ValueError(f"{name} must be {rule}, but got {name}={value}; {fix}")
    product, root = learning_rate * weight_decay, math.sqrt(momentum)
    most = (1 - root) ** 2
    if product > most or product >= 1:
        raise ValueError(
            f"learning_rate * weight_decay must be at most (1 - sqrt(momentum))^2 = {most:.6g}, and below 1, "
            f"but got {product:.6g}; lower one of the three"
        )
    half = 1 - momentum + product
    shrink = 2 * product / (half + math.sqrt((most - product) * ((1 + root) ** 2 - product)))  # 1 - alpha
    return EquivalentSchedule(learning_rate, momentum, 1 - shrink)


def replace_weight_decay(optimizer: torch.optim.SGD) -> torch.optim.lr_scheduler.LambdaLR:
    """Take weight decay out of an optimizer, in place, and let its rate grow instead.

    All weights of a group with weight decay must be scale-invariant, at least if multiplied together.
    Call ``step()`` of what is returned after each ``optimizer.step()``.

    Args:
        optimizer: SGD with rates that no scheduler changes; may have taken steps.

    Returns:
        The scheduler that makes the rates grow.

    Raises:
        TypeError: If it is not ``torch.optim.SGD``.
        ValueError: As :func:`equivalent_schedule` does, and for dampening, Nesterov's momentum,
            ``maximize``, and a rate that is a tensor or has a scheduler.

    Source:
        Li and Arora (2020).

    Introduced in:
        ``notebooks/10_exponential_learning_rate.md``

    Example:
        >>> weights = torch.ones(2, requires_grad=True)
        >>> optimizer = torch.optim.SGD([weights], lr=0.1, weight_decay=0.5)
        >>> scheduler = replace_weight_decay(optimizer)
        >>> optimizer.param_groups[0]["weight_decay"], round(optimizer.param_groups[0]["lr"], 6)
        (0.0, 0.105263)
    """
    if not isinstance(optimizer, torch.optim.SGD):
        raise TypeError(f"optimizer must be torch.optim.SGD, but got {type(optimizer).__name__}; others move otherwise")
    for group in optimizer.param_groups:
        for name in ("dampening", "nesterov", "maximize"):
            if group[name]:
                raise ValueError(f"{name} must be off, but got {name}={group[name]}; the equivalence is for plain SGD")
        if isinstance(group["lr"], Tensor) or "initial_lr" in group:
            raise ValueError(
                "the rate must be a number without a scheduler, but got a tensor or one with; replace "
                "weight decay first, and multiply the rates of both"
            )
    schedules = [equivalent_schedule(g["lr"], g["weight_decay"], g["momentum"]) for g in optimizer.param_groups]
    for group, schedule in zip(optimizer.param_groups, schedules, strict=True):
        group["weight_decay"] = 0.0
        for weights in group["params"] if schedule.momentum else ():
            moved = optimizer.state[weights].get("momentum_buffer")
            start = schedule.initial_momentum(weights)
            optimizer.state[weights]["momentum_buffer"] = start if moved is None else moved + start
    relative = [lambda step, s=schedule: s.rate(step) / s.learning_rate for schedule in schedules]
    return torch.optim.lr_scheduler.LambdaLR(optimizer, relative)
