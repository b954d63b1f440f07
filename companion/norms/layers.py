r"""The schemes of UDL figure 11.14 as layers: each says who shares a mean and a variance.

.. math:: y = \gamma \, \frac{x - m}{\sqrt{s^2 + \epsilon}} + \delta

In each, :math:`\gamma` (``weight``) and :math:`\delta` (``bias``) belong to a channel, input and output
are ``(N, C)`` or ``(N, C, *positions)``, and the state dict interchanges with that of the equal layer of
``torch.nn``. Each raises ``ValueError`` for an argument outside its range and for input of another
number of channels, and what :func:`companion.norms.moments` raises.
"""

# ruff: noqa: D102 (an override is documented where it is first defined)
import torch
from torch import Tensor, nn

from companion.norms.sharing import check_eps, check_input, check_positive_int, moments, normalize, widen


class Norm(nn.Module):
    """Common part of all schemes; a scheme adds :meth:`group_size`."""

    def __init__(self, num_channels: int, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__()
        num_channels = check_positive_int("the number of channels", num_channels)
        check_eps(eps)
        self.num_channels, self.eps, self.affine = num_channels, eps, affine
        self.register_parameter("weight", nn.Parameter(torch.ones(num_channels)) if affine else None)
        self.register_parameter("bias", nn.Parameter(torch.zeros(num_channels)) if affine else None)

    def reset_parameters(self) -> None:
        """Return to the state of a new layer."""
        if self.affine:
            nn.init.ones_(self.weight)
            nn.init.zeros_(self.bias)

    def extra_repr(self) -> str:
        return f"{self.num_channels}, eps={self.eps}, affine={self.affine}"

    def group_size(self, x: Tensor) -> tuple[int, int]:
        """Return how many examples and how many channels of ``x`` share a mean and a variance."""
        raise NotImplementedError

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and variance to normalize ``x`` with."""
        return moments(x, *self.group_size(x))

    def forward(self, x: Tensor) -> Tensor:
        check_input(x)
        if x.shape[1] != self.num_channels:
            raise ValueError(
                f"x must have this layer's {self.num_channels} channels on axis 1, but got {x.shape[1]} "
                f"channels in shape {tuple(x.shape)}; make the layer for {x.shape[1]} channels, "
                "or move the channels there with x.movedim"
            )
        wide = widen(x)
        return normalize(wide, *self.moments(wide), self.eps, self.weight, self.bias).to(x.dtype)


class BatchNorm(Norm):
    r"""Batch norm: all examples share, each channel for itself; later, the running statistics serve.

    .. math:: r \leftarrow (1 - f) \, r + f \, b

    Training uses the batch's mean and biased variance, and moves the running statistics :math:`r`
    towards its mean and *unbiased* variance, :math:`b`. Evaluation uses :math:`r`.

    Args:
        num_features: The number of channels ``C``.
        eps: The number :math:`\epsilon` added to the variance, at least 0.
        momentum: The weight :math:`f` of the *new* batch, in [0, 1]; None averages all batches.
        affine: Whether :math:`\gamma` and :math:`\delta` are learned, or 1 and 0.
        track_running_stats: Whether to keep :math:`r`; without it, evaluation uses the batch too.

    Raises:
        ValueError: In training, for a single value per channel (a batch of one, no positions).

    Numerics:
        Everything is computed in float32 or wider, then rounded to the dtype of ``x`` or the buffer.

    Source:
        Ioffe and Szegedy (2015), algorithms 1 and 2; UDL section 11.4. Equal: ``torch.nn.BatchNorm1d``.

    Introduced in:
        ``notebooks/01_batch_norm.md``

    Example:
        >>> layer = BatchNorm(1, eps=0.0)
        >>> layer(torch.tensor([[1.0], [3.0]])).tolist(), layer.running_mean, layer.running_var
        ([[-1.0], [1.0]], tensor([0.2000]), tensor([1.1000]))
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__(num_features, eps, affine)
        if momentum is not None and (not isinstance(momentum, int | float) or not 0 <= momentum <= 1):
            raise ValueError(
                f"momentum must be None or a number in [0, 1], but got momentum={momentum!r}; torch takes 0.1"
            )
        self.num_features, self.momentum, self.track_running_stats = self.num_channels, momentum, track_running_stats
        self.register_buffer("running_mean", torch.zeros(num_features) if track_running_stats else None)
        self.register_buffer("running_var", torch.ones(num_features) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", torch.tensor(0) if track_running_stats else None)

    def reset_running_stats(self) -> None:
        """Forget all batches."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        self.reset_running_stats()
        super().reset_parameters()

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )

    def group_size(self, x: Tensor) -> tuple[int, int]:
        return x.shape[0], 1

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.training and self.running_mean is not None:
            return self.running_mean[None], self.running_var[None]
        mean, var = super().moments(x)
        if self.training and self.track_running_stats:
            self._track(mean, var, count=x.numel() // mean.numel())
        return mean, var

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Follow all ghosts (rows of ``mean``) as if they had come as one batch after the other."""
        ghosts = mean.shape[0]
        if self.momentum is None:
            seen = self.num_batches_tracked.to(mean.dtype)
            keep, weights = seen / (seen + ghosts), 1 / (seen + ghosts)
        else:
            later = torch.arange(ghosts - 1, -1, -1, dtype=mean.dtype, device=mean.device)[:, None]
            keep, weights = (1 - self.momentum) ** ghosts, self.momentum * (1 - self.momentum) ** later
        unbiased = var * (count / (count - 1))
        for running, new in (self.running_mean, mean), (self.running_var, unbiased):
            # In place, so that torch.func and torch.compile see the buffer change.
            running.copy_(keep * running.to(mean.dtype) + (weights * new).sum(0))
        self.num_batches_tracked.add_(ghosts)


class GhostBatchNorm(BatchNorm):
    """Ghost batch norm: ordinary batch norm over successive chunks of ``ghost_batch_size`` examples.

    In training ``ghost_batch_size`` must divide the batch; the running statistics end where they
    would if the chunks had come one after the other. The other arguments are :class:`BatchNorm`'s.

    Source:
        Hoffer et al. (2017), as in the authors' code; UDL figure 11.14.

    Example:
        >>> layer = GhostBatchNorm(1, ghost_batch_size=2, eps=0.0)
        >>> layer(torch.tensor([[1.0], [3.0], [50.0], [70.0]])).flatten().tolist()
        [-1.0, 1.0, -1.0, 1.0]
    """

    def __init__(
        self,
        num_features: int,
        ghost_batch_size: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        self.ghost_batch_size = check_positive_int("ghost_batch_size", ghost_batch_size)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, ghost_batch_size={self.ghost_batch_size}"

    def group_size(self, x: Tensor) -> tuple[int, int]:
        if x.shape[0] % self.ghost_batch_size:
            raise ValueError(
                f"ghost_batch_size must divide the batch, but got ghost_batch_size={self.ghost_batch_size}"
                f" and {x.shape[0]} examples; drop the last, smaller batch, or use .eval()"
            )
        return self.ghost_batch_size, 1


class LayerNorm(Norm):
    """Layer norm: all channels and positions of an example share, each example for itself.

    This is UDL's, and equals ``torch.nn.GroupNorm(1, C)``. ``torch.nn.LayerNorm`` is another layer: its
    scale and offset are element-wise, and in transformers each position has its own statistics.

    Source:
        Ba et al. (2016); UDL figure 11.14.

    Example:
        >>> LayerNorm(2, eps=0.0)(torch.tensor([[1.0, 3.0], [5.0, 7.0]])).tolist()
        [[-1.0, 1.0], [-1.0, 1.0]]
    """

    def group_size(self, x: Tensor) -> tuple[int, int]:
        return 1, self.num_channels


class GroupNorm(Norm):
    """Group norm: the channels of each of ``num_groups`` groups share, each example for itself.

    Source:
        Wu and He (2018), equation 7; UDL figure 11.14. Equal: ``torch.nn.GroupNorm``.

    Example:
        >>> GroupNorm(2, 4, eps=0.0)(torch.tensor([[1.0, 3.0, 50.0, 70.0]])).tolist()
        [[-1.0, 1.0, -1.0, 1.0]]
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__(num_channels, eps, affine)
        num_groups = check_positive_int("num_groups", num_groups)
        if num_channels % num_groups:
            raise ValueError(
                "num_groups must divide the number of channels, "
                f"but got num_groups={num_groups} and {num_channels} channels; "
                f"take a divisor of {num_channels}"
            )
        self.num_groups = num_groups

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {super().extra_repr()}"

    def group_size(self, x: Tensor) -> tuple[int, int]:
        return 1, self.num_channels // self.num_groups


class InstanceNorm(Norm):
    """Instance norm: only the positions share, each channel of each example for itself.

    Source:
        Ulyanov et al. (2016); UDL figure 11.14. Equal: ``torch.nn.InstanceNorm1d(C, affine=True)``.

    Example:
        >>> InstanceNorm(2, eps=0.0)(torch.tensor([[[1.0, 3.0], [50.0, 70.0]]])).tolist()
        [[[-1.0, 1.0], [-1.0, 1.0]]]
    """

    def __init__(self, num_features: int, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__(num_features, eps, affine)
        self.num_features = self.num_channels

    def group_size(self, x: Tensor) -> tuple[int, int]:
        return 1, 1
