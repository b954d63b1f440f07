r"""Weight norm: nothing of the activations is normalized; a weight vector is split into length and direction.

.. math:: w = \frac{g}{\lVert v \rVert} \, v
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from companion.norms.layers import Norm
from companion.norms.sharing import widen


class WeightNorm(nn.Module):
    r"""The reparameterisation itself, for ``torch.nn.utils.parametrize``: a length ``g`` and a direction ``v``.

    .. math:: w = \frac{g}{\lVert v \rVert} \, v

    :func:`weight_norm` puts it on a layer.

    Shapes:
        - ``v`` and the result: that of the weight
        - ``g``: the same with size 1 on all axes but ``dim``; ``()`` if ``dim`` is None

    Args:
        dim: The axis of the weight along which each entry has its own ``g``; None gives the whole weight one.

    Raises:
        ValueError: When a weight is split that has a vector of length 0, since that has no direction.

    Numerics:
        Computed in float32 or wider. Nothing keeps ``v`` from becoming 0; that gives NaN, as in torch. Plain
        gradient descent can't get there, since it never makes ``v`` shorter.

    Source:
        Salimans and Kingma (2016), equation 2. Equal: ``torch.nn.utils.parametrizations.weight_norm``.

    Introduced in:
        ``notebooks/08_weight_norm.md``

    Example:
        >>> WeightNorm()(torch.tensor([[10.0]]), torch.tensor([[3.0, 4.0]]))
        tensor([[6., 8.]])
    """

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        """Return the weight."""
        wide = widen(v)
        return (wide * (widen(g) / self.length(wide))).to(v.dtype)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return a pair ``g``, ``v`` that gives ``weight``: its length, and a copy of itself."""
        length = self.length(widen(weight))
        if not (length > 0).all():
            raise ValueError(
                f"each weight vector must have a length above 0, but got {int((~(length > 0)).sum())} of "
                f"{length.numel()} without; a zero vector has no direction: draw the weights first"
            )
        return length.to(weight.dtype), weight.clone()

    def length(self, v: Tensor) -> Tensor:
        r"""Return the norm :math:`\lVert v \rVert` of each vector, in the shape of ``g``."""
        if self.dim is None:
            return v.norm()
        others = [axis for axis in range(v.dim()) if axis != self.dim]
        return torch.linalg.vector_norm(v, dim=others, keepdim=True) if others else v.abs()

    def extra_repr(self) -> str:
        """Return the argument."""
        return f"dim={self.dim}"


def weight_norm(module: nn.Module, name: str = "weight", dim: int | None = 0) -> nn.Module:
    r"""Split a layer's weight into ``g`` and ``v``, in place; what the layer computes stays as it is.

    .. math:: g = \lVert w \rVert, \qquad v = w

    The layer then has the parameters ``parametrizations.weight.original0`` (:math:`g`) and ``original1``
    (:math:`v`), and computes ``weight`` from them at each use. Give those to the optimizer, not the old weight.

    Args:
        module: A linear or convolutional layer, or any module with a parameter of that ``name``.
        name: The parameter to split.
        dim: The axis along which each entry has its own ``g``: 0, the output channels, for ``nn.Linear`` and
            ``nn.Conv1d/2d/3d``; 1 for transposed convolutions; None for one ``g`` in all.

    Returns:
        The module.

    Raises:
        ValueError: If there is no such parameter or axis, if it is split already, or if a vector is 0.

    Source:
        Salimans and Kingma (2016), section 2. The state dict interchanges with that of
        ``torch.nn.utils.parametrizations.weight_norm``.

    Introduced in:
        ``notebooks/08_weight_norm.md``

    Example:
        >>> sorted(dict(weight_norm(nn.Linear(3, 2)).named_parameters()))
        ['bias', 'parametrizations.weight.original0', 'parametrizations.weight.original1']
    """
    if parametrize.is_parametrized(module, name):
        raise ValueError(
            f"{name} must be a plain parameter, but that of {type(module).__name__} is parametrized "
            "already; call fold_weight_norm first, or leave it as it is"
        )
    parameters = dict(module.named_parameters(recurse=False))
    if name not in parameters:
        known = ", ".join(parameters) or "none"
        raise ValueError(
            f"name must be a parameter of the layer, but got name={name!r} for {type(module).__name__}, "
            f"which has: {known}; call weight_norm on each layer of a network"
        )
    axes = parameters[name].dim()
    if dim is not None and (isinstance(dim, bool) or not isinstance(dim, int) or not 0 <= dim < axes):
        raise ValueError(
            f"dim must be None or an axis of the weight, 0 to {axes - 1}, but got dim={dim!r}; "
            "0 is that of the output channels"
        )
    parametrize.register_parametrization(module, name, WeightNorm(dim))
    return module


def fold_weight_norm(model: nn.Module) -> nn.Module:
    r"""Replace each ``g`` and ``v`` in a model by the plain weight they give, in place.

    The model computes the same as before, to the last bit, without the price of weight norm.

    Args:
        model: A layer or a whole network. Other parametrizations stay.

    Returns:
        The model.

    Raises:
        ValueError: If nothing in it has weight norm.

    Introduced in:
        ``notebooks/08_weight_norm.md``

    Example:
        >>> sorted(dict(fold_weight_norm(weight_norm(nn.Linear(3, 2))).named_parameters()))
        ['bias', 'weight']
    """
    for _, module, name in weight_normed(model):
        weight = getattr(module, name).detach()
        learned = module.parametrizations[name].original1.requires_grad
        parametrize.remove_parametrizations(module, name)
        # torch makes a buffer of what needs no gradient, under no_grad too.
        setattr(module, name, nn.Parameter(weight, learned))
    return model


class MeanOnlyBatchNorm(Norm):
    r"""Batch norm without the division: each channel's mean comes off, and an offset is learned.

    .. math:: y = x - m + \delta

    Made to follow a layer with weight norm and no bias. Training uses the batch's mean :math:`m`, over all
    examples and positions, and moves the running mean towards it; evaluation uses the running mean.

    Shapes:
        - input and output: ``(N, C, *positions)``

    Args:
        num_features: The number of channels ``C``.
        momentum: The weight of the *new* batch in the running mean, in [0, 1]; None averages all batches.

    Raises:
        ValueError: For an argument outside its range, input of another number of channels, and in training for
            a single value per channel, of which nothing but :math:`\delta` could come out.
        TypeError: For input that is not of floating point.

    Numerics:
        Computed in float32 or wider, then rounded to the dtype of ``x`` or the buffer.

    Source:
        Salimans and Kingma (2016), section 4.

    Introduced in:
        ``notebooks/08_weight_norm.md``

    Example:
        >>> layer = MeanOnlyBatchNorm(1)
        >>> layer(torch.tensor([[1.0], [5.0]])).tolist(), layer.running_mean
        ([[-2.0], [2.0]], tensor([0.3000]))
    """

    def __init__(self, num_features: int, momentum: float | None = 0.1) -> None:
        super().__init__(num_features, eps=0.0, affine=False)
        if momentum is not None and (not isinstance(momentum, int | float) or not 0 <= momentum <= 1):
            raise ValueError(
                f"momentum must be None or a number in [0, 1], but got momentum={momentum!r}; torch takes 0.1"
            )
        self.num_features, self.momentum = self.num_channels, momentum
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def reset_parameters(self) -> None:
        """Return to the state of a new layer."""
        nn.init.zeros_(self.bias)
        self.running_mean.zero_()
        self.num_batches_tracked.zero_()

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"{self.num_features}, momentum={self.momentum}"

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean to take off, and 1 for a variance: :meth:`forward` is that of the other schemes."""
        if not self.training:
            mean = self.running_mean
        elif x.shape[1] == x.numel():
            raise ValueError(
                "the mean must be that of at least 2 values, but got 1 per channel for x of shape "
                f"{tuple(x.shape)}; use a larger batch or .eval()"
            )
        else:
            mean = x.mean([0, *range(2, x.dim())])
            self._track(mean)
        return mean[None], torch.ones_like(mean)[None]

    @torch.no_grad()
    def _track(self, mean: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        share = 1 / self.num_batches_tracked.to(mean.dtype) if self.momentum is None else self.momentum
        self.running_mean.copy_((1 - share) * self.running_mean.to(mean.dtype) + share * mean)


def weight_normed(model: nn.Module) -> list[tuple[str, nn.Module, str]]:
    """Return all that has weight norm in a model: name of the module, module, name of its parameter."""
    found = [
        (path, module, name)
        for path, module in model.named_modules()
        if parametrize.is_parametrized(module)
        for name, chain in module.parametrizations.items()
        if any(isinstance(link, WeightNorm) for link in chain)
    ]
    if not found:
        raise ValueError(
            f"the model must have a layer with weight norm, but {type(model).__name__} has none; "
            "call weight_norm on its layers"
        )
    return found
