r"""A start from the data: once, before training, weight norm does what batch norm does at every step.

.. math:: g = \frac{1}{\sigma[t]}, \qquad b = -\frac{\mu[t]}{\sigma[t]}
"""

import copy

import torch
from torch import Tensor, nn

from companion.norms.sharing import moments, widen
from companion.norms.weight import MeanOnlyBatchNorm, weight_normed

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)  # those whose weight has its output channels on axis 0


@torch.no_grad()
def data_dependent_init(model: nn.Module, batch: Tensor) -> None:
    r"""Give every unit with weight norm mean 0 and variance 1 over a batch: set each ``g`` and offset, in place.

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
        >>> from companion.norms import weight_norm
        >>> model = weight_norm(nn.Linear(1, 1))
        >>> data_dependent_init(model, torch.tensor([[1.0], [3.0]]))
        >>> model(torch.tensor([[1.0], [3.0]])).abs().round(decimals=3).tolist()
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
        _check_first(layer in unset, name)
        unset.remove(layer)
        out = _scaled(layer, args, kwargs, name)
        changed.append(f"{name}parametrizations.weight.original0")
        if layer.bias is None:
            waiting.append((name, out))
        else:
            changed.append(f"{name}bias")
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
    _check_called([f"{names[layer]}weight" for layer in unset])
    own, new = model.state_dict(), twin.state_dict()
    for name in changed:
        own[name].copy_(new[name])


def _settable(model: nn.Module, names: dict[nn.Module, str]) -> list[nn.Module]:
    """Return the layers with weight norm, if eqs 5 and 6 can be met for each of them."""
    layers = []
    for path, layer, name in weight_normed(model):
        if not isinstance(layer, LAYERS) or name != "weight":
            raise TypeError(
                "data-dependent initialisation knows the weights of Linear and Conv1d/2d/3d, but got "
                f"{name} of {type(layer).__name__} ({path or 'the model itself'}); set its g by hand"
            )
        dim = layer.parametrizations.weight[0].dim
        if dim != 0:
            raise ValueError(
                f"each output channel must have its own g (dim=0), but got dim={dim} for "
                f"{names[layer]}weight; call weight_norm with dim=0"
            )
        layers.append(layer)
    tensors = [layer.parametrizations.weight.original0 for layer in layers]
    tensors += [layer.bias for layer in layers if layer.bias is not None]
    if len(set(map(id, tensors))) < len(tensors):
        raise ValueError(
            "each layer must have a g and a bias of its own, but some layers share theirs; "
            "no value suits both: untie them"
        )
    return layers


def _scaled(layer: nn.Module, args: tuple, kwargs: dict, name: str) -> Tensor:
    """Set the ``g`` of a layer, and its bias if it has one, from what goes in; return what then comes out."""
    g = layer.parametrizations.weight.original0
    g.fill_(1)
    if layer.bias is not None:
        layer.bias.zero_()
    mean, deviation = _statistics(layer, layer.forward(*args, **kwargs), name)
    g.copy_((1 / deviation).view_as(g))
    if layer.bias is not None:
        layer.bias.copy_(-mean / deviation)
    return layer.forward(*args, **kwargs)


def _statistics(layer: nn.Module, t: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each output channel over everything else, both ``(C,)``."""
    if isinstance(layer, nn.Linear):
        t = t.reshape(-1, t.shape[-1])  # a token counts as an example
    elif t.dim() < layer.weight.dim():
        t = t[None]  # torch's convolutions take a single example without its axis
    mean, var = (statistic[0] for statistic in moments(t, t.shape[0], 1))
    deviation = var.sqrt()
    rounding = 10 * torch.finfo(t.dtype).eps * t.abs().amax([0, *range(2, t.dim())])
    varies = deviation > rounding  # False for NaN
    if not varies.all():
        raise ValueError(
            f"each unit must vary over the batch, but {int((~varies).sum())} of {len(varies)} of "
            f"{name}weight do not (or are not finite); take more examples, or draw v again"
        )
    return mean, deviation


def _check_settled(waiting: list[tuple[str, Tensor]]) -> None:
    if waiting:
        raise ValueError(
            f"{waiting[0][0]}bias must be there to take off the mean, but it is None and no "
            "MeanOnlyBatchNorm follows; make the layer with bias=True"
        )


def _check_first(is_first: bool, name: str) -> None:
    if not is_first:
        raise ValueError(
            f"each layer must be used once, but {name}weight is used again in one pass: no g suits "
            "both uses; leave weight norm off this layer, or set its g by hand"
        )


def _check_called(missed: list[str]) -> None:
    if missed:
        raise ValueError(
            f"each layer must be used once, but the pass did not call {', '.join(missed)}; give a batch that "
            "reaches it, or leave weight norm off"
        )
