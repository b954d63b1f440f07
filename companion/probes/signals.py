r"""Sizes of a signal on its way through a network, and of the gradient on its way back.

"The variance of the activations" may mean two things: over the neurons of an example, as in the theory of
initialization, or over the examples of a batch, for one neuron. In deep networks they part.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from companion.probes.borrowing import borrowed, evaluate, first_tensor, name_layers, norm, trained


@dataclass(frozen=True)
class Signals:
    r"""The outputs of layers, and the gradients there, one entry a call, in the order of calls.

    Shapes:
        - all but ``names``: ``(calls,)``, float64

    Args:
        names: The layers' names in the model; a layer that is called twice is there twice.
        second_moment: The mean of :math:`h^2` over examples and neurons.
        across_neurons: The variance over the neurons of an example, averaged over examples.
        across_batch: The variance over the examples, for one neuron, averaged over neurons.
        gradient: The length of the loss's gradient with respect to what the layer puts out; NaN where none
            flows, as before frozen layers.
        parameter_gradient: The same for all parameters of the layer together; NaN if it has none to train.
    """

    names: tuple[str, ...]
    second_moment: Tensor
    across_neurons: Tensor
    across_batch: Tensor
    gradient: Tensor
    parameter_gradient: Tensor


def signal_propagation(
    loss: Callable[[], Tensor], model: nn.Module, layers: Iterable[nn.Module] | None = None
) -> Signals:
    r"""Measure what each layer puts out, and the gradients there, in one pass forward and back.

    .. math:: \frac{1}{ND} \sum_{i,d} h_{id}^2, \qquad
        \frac1N \sum_i \operatorname{var}_d h_{id}, \qquad \frac1D \sum_d \operatorname{var}_i h_{id}

    for the outputs :math:`h` of :math:`N` examples, :math:`D` neurons each: the second moment, the variance
    across neurons and the variance across the batch. Both variances are biased. A neuron is one number of
    an example's output, so each position of a channel is one.

    Shapes:
        - outputs of layers: ``(N, ...)``, examples on the first axis; of several tensors the first counts

    Args:
        loss: Computes the loss by calling the model, as in ``lambda: cross_entropy(model(x), y)``.
        model: The network, in the mode that is asked about.
        layers: The modules to watch, such as the blocks of a residual network. None: all without children, as far
            as they are called.

    Returns:
        :class:`Signals`.

    Raises:
        ValueError: If layers are not part of the model, or not called; the batch has one example; an output
            or the loss is not finite; the loss is not one number, or has no gradient.

    Numerics:
        Statistics and lengths are computed in float64. Parameters, buffers, modes, gradients, hooks and
        torch's random state are left as they were, bit for bit.

    Source:
        UDL figure 11.6; De and Smith (2020).

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU()).double()
        >>> _ = nn.init.constant_(model[0].weight, 1.0)
        >>> x = torch.tensor([[1.0, 2.0], [-3.0, 0.0]], dtype=torch.float64)
        >>> signals = signal_propagation(lambda: model(x).mean(), model)
        >>> signals.names, signals.second_moment.tolist(), signals.across_batch.tolist()
        (('0', '1'), [9.0, 4.5], [9.0, 2.25])
    """
    inner = "parametrizations"  # what computes a layer's weights is part of the layer
    leaves = (module for name, module in model.named_modules() if inner not in name and {*module._modules} <= {inner})
    names = name_layers(model, leaves if layers is None else layers)
    called, rows, edges = [], [], []

    def record(layer: nn.Module, _: object, output: object) -> None:
        h = first_tensor(output, names[layer])
        if not h.dim() or len(h) < 2:
            raise ValueError(f"a batch must hold 2 examples, but got {tuple(h.shape)} from {names[layer]}; add some")
        wide = h.detach().double().reshape(len(h), -1)
        called.append(layer)
        rows.append([wide.square().mean(), *(wide.var(axis, correction=0).mean() for axis in (1, 0))])
        edges.append(get_gradient_edge(h) if h.requires_grad else None)  # now: what follows may overwrite h

    with borrowed(model):
        for layer in names:
            layer.register_forward_hook(record)
        value = evaluate(loss)
        missing = [name for layer, name in names.items() if layer not in called]
        if missing and (layers is not None or not called):
            raise ValueError(f"layers must be called by loss, but got {', '.join(missing)}, which are not; leave out")
        wanted = [*filter(None, edges), *trained(*names)]
        found = dict(zip(wanted, torch.autograd.grad(value, wanted, allow_unused=True), strict=True))
    for layer, row, edge in zip(called, rows, edges, strict=True):
        own = trained(layer)
        row += [norm([found[edge]]) if edge else torch.nan, norm(found[p] for p in own) if own else torch.nan]
    return Signals(tuple(names[layer] for layer in called), *torch.tensor(rows, dtype=torch.float64).T)
