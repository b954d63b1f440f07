r"""Weight norm: nothing of the activations is normalized; a weight vector is split into length and direction.

.. math:: w = \frac{g}{\lVert v \rVert} \, v
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from companion.norms.layers import Norm
from companion.norms.sharing import moments, widen

__all__ = ["MeanOnlyBatchNorm", "WeightNorm", "data_dependent_init", "fold_weight_norm", "weight_norm"]

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)  # those whose weight has its output channels on axis 0


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
        """The weight."""
        wide = widen(v)
        return (wide * (widen(g) / self.length(wide))).to(v.dtype)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """A pair ``g``, ``v`` that gives ``weight``: its length, and a copy of itself."""
        length = self.length(widen(weight))
        if not (length > 0).all():
            raise ValueError(
                f"each weight vector must have a length above 0, but got {int((~(length > 0)).sum())} of "
                f"{length.numel()} without; a zero vector has no direction: draw the weights first"
            )
        return length.to(weight.dtype), weight.clone()

    def length(self, v: Tensor) -> Tensor:
        r"""The norm :math:`\lVert v \rVert` of each vector, in the shape of ``g``."""
        if self.dim is None:
            return v.norm()
        others = [axis for axis in range(v.dim()) if axis != self.dim]
        return torch.linalg.vector_norm(v, dim=others, keepdim=True) if others else v.abs()

    def extra_repr(self) -> str:
        """The argument."""
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
        raise ValueError(f"{name} must be a plain parameter, but that of {type(module).__name__} is parametrized "
                         "already; call fold_weight_norm first, or leave it as it is")
    parameters = dict(module.named_parameters(recurse=False))
    if name not in parameters:
        known = ", ".join(parameters) or "none"
        raise ValueError(f"name must be a parameter of the layer, but got name={name!r} for {type(module).__name__}, "
                         f"which has: {known}; call weight_norm on each layer of a network")
    axes = parameters[name].dim()
    if dim is not None and (isinstance(dim, bool) or not isinstance(dim, int) or not 0 <= dim < axes):
        raise ValueError(f"dim must be None or an axis of the weight, 0 to {axes - 1}, but got dim={dim!r}; "
                         "0 is that of the output channels")
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
    for _, module, name in _found(model):
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
            raise ValueError(f"momentum must be None or a number in [0, 1], but got momentum={momentum!r}; "
                             "torch takes 0.1")
        self.num_features, self.momentum = num_features, momentum
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def reset_parameters(self) -> None:
        """Return to the state of a new layer."""
        nn.init.zeros_(self.bias)
        self.running_mean.zero_()
        self.num_batches_tracked.zero_()

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.num_features}, momentum={self.momentum}"

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean to take off, and 1 for a variance: :meth:`forward` is that of the other schemes."""
        if not self.training:
            mean = self.running_mean
        elif x.shape[1] == x.numel():
            raise ValueError("the mean must be that of at least 2 values, but got 1 per channel for x of shape "
                             f"{tuple(x.shape)}; use a larger batch or .eval()")
        else:
            mean = x.mean([0, *range(2, x.dim())])
            self._track(mean)
        return mean[None], torch.ones_like(mean)[None]

    @torch.no_grad()
    def _track(self, mean: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        share = 1 / self.num_batches_tracked.to(mean.dtype) if self.momentum is None else self.momentum
        self.running_mean.copy_((1 - share) * self.running_mean.to(mean.dtype) + share * mean)


@torch.no_grad()
def data_dependent_init(model: nn.Module, batch: Tensor) -> None:
    r"""Give every unit with weight norm mean 0 and variance 1 over a batch: sets each ``g`` and offset, in place.

    .. math:: t = \frac{v \cdot x}{\lVert v \rVert}, \quad g = \frac{1}{\sigma[t]}, \quad b = -\frac{\mu[t]}{\sigma[t]}

    with the mean :math:`\mu[t]` and the standard deviation :math:`\sigma[t]` over the batch.

    Each layer gets the batch after the layers before it were set, all in one pass. Where a layer has no
    bias, the :class:`MeanOnlyBatchNorm` right behind it takes the mean off, starts its running mean there, and
    its offset :math:`\delta` becomes 0. The directions ``v`` stay.

    The pass is made with a copy of the model, in its mode, without gradients: running statistics of other
    layers, hooks and torch's random numbers are left as they were, and after an error ``g`` and ``b`` are too.

    Args:
        model: A network with :func:`weight_norm` on linear or convolutional layers.
        batch: What the network takes, from the training data: some hundred examples.

    Raises:
        TypeError: If a layer of another kind has weight norm.
        ValueError: If nothing has weight norm; if its axis is not the output channels'; if a layer has no offset to
            set; if a layer is used twice or never, or shares its weights; if a unit is constant over the batch.

    Numerics:
        Statistics in float32 or wider, with the biased variance and no :math:`\epsilon`: a unit that does not
        vary beyond rounding is an error, since no ``g`` would help it.

    Source:
        Salimans and Kingma (2016), section 3, equations 5 and 6.

    Introduced in:
        ``notebooks/08_weight_norm.md``

    Example:
        >>> model = weight_norm(nn.Linear(1, 1))
        >>> data_dependent_init(model, torch.tensor([[1.0], [3.0]]))
        >>> model(torch.tensor([[1.0], [3.0]])).abs().tolist()
        [[1.0], [1.0]]
    """
    twin = copy.deepcopy(model)
    names = {module: f"{name}." if name else "" for name, module in twin.named_modules()}
    unset = _settable(twin, names)
    changed: list[str] = []  # names of the tensors that were set
    waiting: list[tuple[str, Tensor]] = []  # the layer whose mean is still in its output, and that output

    def set_scale(layer, args, kwargs, _):
        name = names[layer]
        _check_settled(waiting)
        if layer not in unset:
            raise ValueError(f"each layer must be used once, but {name}weight is used again in one pass: no g suits "
                             "both uses; leave weight norm off this layer, or set its g by hand")
        unset.remove(layer)
        g = layer.parametrizations.weight.original0
        g.fill_(1)
        changed.append(f"{name}parametrizations.weight.original0")
        if layer.bias is not None:
            layer.bias.zero_()
            changed.append(f"{name}bias")
        mean, deviation = _statistics(layer, layer.forward(*args, **kwargs), name)
        g.copy_((1 / deviation).view_as(g))
        if layer.bias is not None:
            layer.bias.copy_(-mean / deviation)
        out = layer.forward(*args, **kwargs)
        if layer.bias is None:
            waiting.append((name, out))
        return out

    def set_mean(layer, args, _):
        if not waiting or args[0] is not waiting[0][1]:
            return None
        waiting.clear()
        layer.bias.zero_()
        layer.running_mean.copy_(widen(args[0]).mean([0, *range(2, args[0].dim())]))
        changed.extend(f"{names[layer]}{tensor}" for tensor in ("bias", "running_mean"))
        return copy.deepcopy(layer).eval()(args[0])

    for layer in list(unset):
        layer.register_forward_hook(set_scale, prepend=True, with_kwargs=True)
    for layer in names:
        if isinstance(layer, MeanOnlyBatchNorm):
            layer.register_forward_hook(set_mean, prepend=True)
    with torch.random.fork_rng([batch.device] if batch.is_cuda else []):
        twin(batch)
    _check_settled(waiting)
    if unset:
        missed = ", ".join(f"{names[layer]}weight" for layer in unset)
        raise ValueError(f"each layer must be used once, but the pass did not call {missed}; give a batch that "
                         "reaches it, or leave weight norm off")
    own, new = model.state_dict(), twin.state_dict()
    for name in changed:
        own[name].copy_(new[name])


def _found(model: nn.Module) -> list[tuple[str, nn.Module, str]]:
    """All that has weight norm in a model: name of the module, module, name of its parameter."""
    found = [
        (path, module, name)
        for path, module in model.named_modules()
        if parametrize.is_parametrized(module)
        for name, chain in module.parametrizations.items()
        if any(isinstance(link, WeightNorm) for link in chain)
    ]
    if not found:
        raise ValueError(f"the model must have a layer with weight norm, but {type(model).__name__} has none; "
                         "call weight_norm on its layers")
    return found


def _settable(model: nn.Module, names: dict[nn.Module, str]) -> list[nn.Module]:
    """The layers with weight norm, if eqs 5 and 6 can be met for each of them."""
    layers = []
    for path, layer, name in _found(model):
        if not isinstance(layer, LAYERS) or name != "weight":
            raise TypeError("data-dependent initialisation knows the weights of Linear and Conv1d/2d/3d, but got "
                            f"{name} of {type(layer).__name__} ({path or 'the model itself'}); set its g by hand")
        dim = layer.parametrizations.weight[0].dim
        if dim != 0:
            raise ValueError(f"each output channel must have its own g (dim=0), but got dim={dim} for "
                             f"{names[layer]}weight; call weight_norm with dim=0")
        layers.append(layer)
    tensors = [layer.parametrizations.weight.original0 for layer in layers]
    tensors += [layer.bias for layer in layers if layer.bias is not None]
    if len(set(map(id, tensors))) < len(tensors):
        raise ValueError("each layer must have a g and a bias of its own, but some layers share theirs; "
                         "no value suits both: untie them")
    return layers


def _statistics(layer: nn.Module, t: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each output channel over everything else, both ``(C,)``."""
    if isinstance(layer, nn.Linear):
        t = t.reshape(-1, t.shape[-1])  # a token counts as an example
    elif t.dim() < layer.weight.dim():
        t = t[None]  # torch's convolutions take a single example without its axis
    mean, var = (statistic[0] for statistic in moments(t, t.shape[0], 1))
    deviation = var.sqrt()
    rounding = 10 * torch.finfo(t.dtype).eps * t.abs().amax([0, *range(2, t.dim())])
    varies = deviation > rounding  # False for NaN
    if not varies.all():
        raise ValueError(f"each unit must vary over the batch, but {int((~varies).sum())} of {len(varies)} of "
                         f"{name}weight do not (or are not finite); take more examples, or draw v again")
    return mean, deviation


def _check_settled(waiting: list[tuple[str, Tensor]]) -> None:
    if waiting:
        raise ValueError(f"{waiting[0][0]}bias must be there to take off the mean, but it is None and no "
                         "MeanOnlyBatchNorm follows; make the layer with bias=True")
