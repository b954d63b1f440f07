"""The small networks that experiments train: the scheme of normalization is the only thing that varies."""

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init  # torch's own draws, one more with a bias, would give schemes other weights

from companion.norms.sharing import check_positive_int

Norm = Callable[[int], nn.Module]


def mlp(inputs: int, outputs: int, width: int = 100, depth: int = 6, norm: Norm | None = None) -> nn.Sequential:
    r"""Make a fully connected network: ``depth`` times linear, ``norm``, ReLU, then a linear layer.

    Weights start from He's normal distribution, variance :math:`2 / \text{fan-in}` (the last layer, which no
    ReLU follows: :math:`1 / \text{fan-in}`), and offsets at zero.

    Shapes:
        - input: ``(N, inputs)``; more axes after the first are flattened
        - output: ``(N, outputs)``

    Args:
        inputs: Number of input features.
        outputs: Number of classes or targets.
        width: Number of hidden units in each layer.
        depth: Number of hidden layers.
        norm: Makes the normalization layer, called with the number of channels (``BatchNorm``, say).
            None leaves it out.

    Raises:
        ValueError: If a size is not a positive whole number.

    Example:
        >>> import torch
        >>> mlp(40, 10, width=8, depth=2)(torch.zeros(3, 40)).shape
        torch.Size([3, 10])
    """
    for name, size in (("inputs", inputs), ("outputs", outputs), ("width", width), ("depth", depth)):
        check_positive_int(name, size)
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in in [inputs] + [width] * (depth - 1):
        layers += _block(skip_init(nn.Linear, fan_in, width, bias=norm is None), width, norm)
    return nn.Sequential(*layers, _start(skip_init(nn.Linear, width, outputs), gain=1.0))


def cnn(
    inputs: int, outputs: int, widths: Sequence[int] = (16, 16, 16), dimensions: int = 2, norm: Norm | None = None
) -> nn.Sequential:
    r"""Make a convolutional network: for each of ``widths`` a convolution, ``norm``, ReLU; then mean, and linear.

    The mean is that over positions. Kernels have size 3; all convolutions but the first halve the number of
    positions along each axis.
    Weights start from He's normal distribution, variance :math:`2 / \text{fan-in}` (the last layer, which no
    ReLU follows: :math:`1 / \text{fan-in}`), and offsets at zero.

    Shapes:
        - input: ``(N, inputs, *positions)`` with ``dimensions`` axes of positions
        - output: ``(N, outputs)``

    Args:
        inputs: Number of input channels.
        outputs: Number of classes or targets.
        widths: Number of channels after each convolution.
        dimensions: 1 for signals, 2 for images.
        norm: Makes the normalization layer, called with the number of channels. None leaves it out.

    Raises:
        ValueError: If a size is not a positive whole number, or ``dimensions`` is neither 1 nor 2.

    Example:
        >>> import torch
        >>> cnn(1, 10, widths=(4, 8))(torch.zeros(3, 1, 8, 8)).shape
        torch.Size([3, 10])
    """
    if dimensions not in (1, 2):
        raise ValueError(f"dimensions must be 1 (signals) or 2 (images), but got {dimensions}")
    if not widths:
        raise ValueError("widths must name at least one convolution, but got none")
    names = ["inputs", "outputs", *(f"widths[{index}]" for index in range(len(widths)))]
    for name, size in zip(names, [inputs, outputs, *widths], strict=True):
        check_positive_int(name, size)
    convolution = (nn.Conv1d, nn.Conv2d)[dimensions - 1]
    pool = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)[dimensions - 1]
    layers: list[nn.Module] = []
    for index, (fan_in, width) in enumerate(zip([inputs, *widths], widths, strict=False)):
        stride = 1 if index == 0 else 2
        bias = norm is None
        layers += _block(skip_init(convolution, fan_in, width, 3, stride, padding=1, bias=bias), width, norm)
    return nn.Sequential(*layers, pool(1), nn.Flatten(), _start(skip_init(nn.Linear, widths[-1], outputs), gain=1.0))


@torch.no_grad()
def recompute_statistics(network: nn.Module, x: Tensor, batch_size: int | None = None) -> nn.Module:
    """Copy a network, in evaluation mode, with the running statistics that ``x`` has under its weights.

    Running statistics left by training lag behind the weights, and are noisy where batches are small. A network
    without any comes back as it is.

    Shapes:
        - ``x``: as the network takes it

    Args:
        network: Any network with running statistics, torch's or ours; ghosts become as large as a batch.
        x: The training examples.
        batch_size: How many examples at a time; the batches' statistics are averaged. None takes all at once.

    Raises:
        ValueError: If ``batch_size`` is not a positive whole number.

    Introduced in:
        ``notebooks/01_batch_norm.md``

    Example:
        >>> network = recompute_statistics(nn.BatchNorm1d(1), torch.tensor([[1.0], [3.0]]))
        >>> network.running_mean, network.running_var
        (tensor([2.]), tensor([2.]))
    """
    batch_size = len(x) if batch_size is None else batch_size
    batch_size = check_positive_int("batch_size", batch_size)
    network = copy.deepcopy(network).train()
    layers = [layer for layer in network.modules() if getattr(layer, "running_mean", None) is not None]
    settings = [
        {name: getattr(layer, name) for name in ("momentum", "ghost_batch_size") if hasattr(layer, name)}
        for layer in layers
    ]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
    for batch in x.split(batch_size):
        for layer in layers:
            if hasattr(layer, "ghost_batch_size"):
                layer.ghost_batch_size = len(batch)
        network(batch)
    for layer, kept in zip(layers, settings, strict=True):
        vars(layer).update(kept)
    return network.eval()


def _block(weights: nn.Module, width: int, norm: Norm | None) -> list[nn.Module]:
    # The normalization's own offset makes a bias before it redundant: the mean takes it out again.
    return [_start(weights, gain=math.sqrt(2)), *([norm(width)] if norm else []), nn.ReLU()]


def _start(layer: nn.Module, gain: float) -> nn.Module:
    """Draw weights of variance gain²/fan-in: 2 makes up for the half that a ReLU cuts off, 1 is for a layer without."""
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
