"""Seven batch norms that look right: each is a correct one with a single piece replaced."""

# ruff: noqa: D102 (an override is documented where it is first defined)
import torch
from torch import Tensor, nn


class CompactBatchNorm(nn.Module):
    r"""Batch norm on one screen, in pieces that a subclass can replace.

    .. math::

        y = \gamma \, \frac{x - m}{\sqrt{s^2 + \epsilon}} + \delta, \qquad
        r \leftarrow (1 - f) \, r + f \, b

    Training normalizes with the batch's mean :math:`m` and variance :math:`s^2` (divided by
    :math:`n`), and the running statistics :math:`r` follow the mean and the variance divided by
    :math:`n - 1`. Evaluation normalizes with :math:`r`.

    Shapes:
        - input and output: ``(N, C, *positions)``

    Args:
        num_features: The number of channels ``C``.
        eps: The number :math:`\epsilon`.
        momentum: The weight :math:`f` of the new batch.

    Source:
        Ioffe and Szegedy (2015), algorithms 1 and 2.

    Introduced in:
        ``notebooks/01_batch_norm.md``

    Example:
        >>> CompactBatchNorm(1, eps=0.0)(torch.tensor([[1.0], [3.0]])).tolist()
        [[-1.0], [1.0]]
    """

    first_mean = 0.0
    forward_correction = 0  # the variance is divided by n - correction
    running_correction = 1

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.full((num_features,), self.first_mean))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        values = x.movedim(1, -1).reshape(-1, x.shape[1])  # (n, C): positions are more examples
        mean, var = self.running_mean, self.running_var
        if self.uses_batch():
            n = len(values)
            mean, var = self.moments(values)
            self.follow("running_mean", mean)
            self.follow("running_var", var * n / (n - self.running_correction))
            var = var * n / (n - self.forward_correction)
        y = self.weight * (values - mean) / (var + self.eps).sqrt() + self.bias
        return y.reshape(x.movedim(1, -1).shape).movedim(-1, 1)

    def uses_batch(self) -> bool:
        """Decide whether to normalize with the batch's statistics, and to follow them."""
        return self.training

    def moments(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance, divided by n, of each column."""
        mean = values.mean(0)
        return mean, (values - mean).square().mean(0)

    def follow(self, name: str, new: Tensor) -> None:
        """Move the running statistic ``name`` towards ``new``."""
        self.store(name, (1 - self.momentum) * getattr(self, name) + self.momentum * new)

    def store(self, name: str, value: Tensor) -> None:
        """Keep the numbers of ``value``, and not the graph they came from."""
        getattr(self, name).copy_(value.detach())


class BiasedRunningVariance(CompactBatchNorm):
    """The running variance follows the variance divided by n, not by n - 1."""

    running_correction = 0


class ModeFromGradients(CompactBatchNorm):
    """Training or evaluation is read off whether gradients are on, not off ``self.training``."""

    def uses_batch(self) -> bool:
        return torch.is_grad_enabled()


class DetachedStatistics(CompactBatchNorm):
    """The batch's mean and variance are constants for the backward pass."""

    def moments(self, values: Tensor) -> tuple[Tensor, Tensor]:
        return super().moments(values.detach())


class UnbiasedForward(CompactBatchNorm):
    """The forward pass divides the variance by n - 1, not by n."""

    forward_correction = 1


class RunningMeanFromOne(CompactBatchNorm):
    """The running mean starts at 1, not at 0."""

    first_mean = 1.0


class OnePassVariance(CompactBatchNorm):
    """The variance is E[x²] - E[x]², a small difference of large numbers where the mean is large."""

    def moments(self, values: Tensor) -> tuple[Tensor, Tensor]:
        mean = values.mean(0)
        return mean, values.square().mean(0) - mean.square()


class GraphKept(CompactBatchNorm):
    """The running statistics keep the autograd graph of every batch they have seen."""

    def store(self, name: str, value: Tensor) -> None:
        setattr(self, name, value)


# Short enough for the axis of a figure.
MISTAKES: dict[str, type[CompactBatchNorm]] = {
    "running var / n": BiasedRunningVariance,
    "mode from grad": ModeFromGradients,
    "stats detached": DetachedStatistics,
    "forward / (n-1)": UnbiasedForward,
    "running mean from 1": RunningMeanFromOne,
    "one-pass variance": OnePassVariance,
    "graph kept": GraphKept,
}
