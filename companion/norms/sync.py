r"""Batch norm of a batch that lies on several machines: its mean and variance are those of all of it.

Each worker sends sums, never activations. With :math:`n` values of a channel in the *whole* batch,

.. math:: m = \frac{1}{n} \sum_k \sum_{i \in k} x_i, \qquad s^2 = \frac{1}{n} \sum_k \sum_{i \in k} (x_i - m)^2,

where worker :math:`k` computes the inner sum. A layer and a step send :math:`2C + 1` numbers forward and
:math:`2C` back, however large the batch.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from companion.norms.layers import BatchNorm
from companion.norms.sharing import check_input, widen


class SharedMoments(torch.autograd.Function):
    """Mean and biased variance of each channel, ``(1, C)`` each, over all workers; and the number of values."""

    @staticmethod
    def forward(ctx, x: Tensor, group: dist.ProcessGroup | None) -> tuple[Tensor, Tensor, int]:
        """Return mean, variance and count over all workers."""
        others = (0, *range(2, x.dim()))
        sums = torch.cat([x.sum(others), x.new_tensor([x.numel() // x.shape[1]])])
        dist.all_reduce(sums, group=group)
        count = int(sums[-1])
        if count < 2:
            raise ValueError(
                f"a channel needs at least 2 values to have a variance, but got {count} on all workers together "
                f"(x has shape {tuple(x.shape)} here); use a larger batch, or .eval()"
            )
        mean = (sums[:-1] / count).reshape(1, -1, *[1] * (x.dim() - 2))
        # Deviations from the mean of *all*: the second of two passes, as in `moments`.
        squares = (x - mean).square().sum(others)
        dist.all_reduce(squares, group=group)
        ctx.save_for_backward(x, mean)
        ctx.group, ctx.count = group, count
        return mean.reshape(1, -1), (squares / count)[None], count

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_mean: Tensor, grad_var: Tensor, _) -> tuple[Tensor, None]:
        """Return the gradient of x, summed over the workers."""
        x, mean = ctx.saved_tensors
        # Every worker's outputs depend on m and s²: their gradients are sums over workers. That s² depends on m
        # adds nothing: the deviations of all values from their mean sum to zero.
        grads = torch.cat([grad_mean, grad_var])
        dist.all_reduce(grads, group=ctx.group)
        by_mean, by_var = (grads / ctx.count).reshape(2, *mean.shape)
        return by_mean + 2 * by_var * (x - mean), None


class SyncBatchNorm(BatchNorm):
    r"""Batch norm over the batch of all workers: the result does not depend on how many share the examples.

    In training, :math:`m`, :math:`s^2` and their gradients are summed over the workers, and the running
    statistics are the same on each. In evaluation, or without an initialised process group, it is
    :class:`BatchNorm` and sends nothing.

    Shapes:
        - input and output: ``(N, C)`` or ``(N, C, *positions)``; ``N`` may differ from worker to worker, and be 0

    Args:
        num_features, eps, momentum, affine, track_running_stats: As in :class:`BatchNorm`.
        process_group: The workers that share; None is all of them.

    Raises:
        ValueError: In training, on every worker, if the whole batch has fewer than 2 values per channel;
            if this process is not in ``process_group``.

    Numerics:
        Two passes, computed and sent in float32 or wider, as :func:`companion.norms.moments`. All workers must
        call it in the same order, forward and backward, the one with no examples too. The gradient is that of
        the *sum* of all workers' losses, and can't be differentiated again.

    Source:
        UDL section 11.4 for the layer; the sums are two-pass (Chan et al., 1983). Equal, on GPUs only:
        ``torch.nn.SyncBatchNorm``.

    Introduced in:
        ``notebooks/07_sync_batch_norm.md``

    Example:
        >>> layer = SyncBatchNorm(1, eps=0.0)
        >>> layer(torch.tensor([[1.0], [3.0]])).tolist()  # a single process
        [[-1.0], [1.0]]
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        self.process_group = process_group

    @property
    def is_shared(self) -> bool:
        """True if the next call sends anything: in training, with other workers."""
        if not (self.training and dist.is_available() and dist.is_initialized()):
            return False
        workers = dist.get_world_size(self.process_group)
        if workers < 1:
            raise ValueError(
                "process_group must hold this process, but got a group without it; "
                "make layers only on the workers that share"
            )
        return workers > 1

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and variance to normalize ``x`` with: in training those of all workers' ``x``."""
        if not self.is_shared:
            return super().moments(x)
        mean, var, count = SharedMoments.apply(x, self.process_group)
        if self.track_running_stats:
            self._track(mean, var, count)
        return mean, var

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized activations, in the dtype of ``x``; nothing to normalize still takes part."""
        if x.numel() or not self.is_shared:
            return super().forward(x)
        one = x.new_zeros(1, *[max(size, 1) for size in x.shape[1:]])
        check_input(one)
        if x.shape[1] != self.num_channels:
            raise ValueError(
                f"x must have this layer's {self.num_channels} channels on axis 1, but got {x.shape[1]} "
                f"channels in shape {tuple(x.shape)}; give an empty shard its channels too"
            )
        wide = widen(x)
        shape = 1, -1, *[1] * (x.dim() - 2)
        mean, var = (s.reshape(shape) for s in self.moments(wide))
        y = (wide - mean) * (var + self.eps).rsqrt()
        if self.affine:  # so that weight and bias get gradients, of zero, as on the other workers
            y = y * self.weight.reshape(shape) + self.bias.reshape(shape)
        return y.to(x.dtype)


def convert_sync_batch_norm(model: nn.Module, process_group: dist.ProcessGroup | None = None) -> nn.Module:
    """Replace each batch norm of a model, torch's or ours, by a :class:`SyncBatchNorm` of the same state.

    The model is changed in place, and parameters stay the same objects, so an optimizer keeps working.
    :class:`GhostBatchNorm` stays: its groups are part of what it is.

    Args:
        model: Any module; a single batch norm is replaced too, so use what is returned.
        process_group: The workers that share; None is all of them.

    Returns:
        ``model``, or its replacement if it is a batch norm itself.

    Source:
        As ``torch.nn.SyncBatchNorm.convert_sync_batchnorm``.

    Introduced in:
        ``notebooks/07_sync_batch_norm.md``

    Example:
        >>> convert_sync_batch_norm(nn.Sequential(nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4)))[1]
        SyncBatchNorm(4, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
    """
    made: dict[nn.Module, nn.Module] = {}  # a layer that stands in two places must stay one layer

    def convert(module: nn.Module) -> nn.Module:
        if module in made:
            return made[module]
        if type(module) in (BatchNorm, SyncBatchNorm) or isinstance(module, nn.modules.batchnorm._BatchNorm):
            made[module] = _synchronised(module, process_group)
        else:
            made[module] = module
            for name, child in module._modules.items():
                if child is not None:
                    module._modules[name] = convert(child)
        return made[module]

    return convert(model)


def _synchronised(layer: nn.Module, process_group: dist.ProcessGroup | None) -> SyncBatchNorm:
    settings = layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats
    new = SyncBatchNorm(*settings, process_group).train(layer.training)
    new._parameters.update(layer._parameters)
    new._buffers.update(layer._buffers)
    return new
