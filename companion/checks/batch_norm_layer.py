"""The check of a whole batch norm layer, for chapter 1 and its exercises: compared with torch's in float64."""

from collections.abc import Callable
from functools import partial
from math import inf, isnan

import torch
from torch import Tensor, nn

from companion.checks.observing import kind_of, observe
from companion.checks.showing import check

# On the data below, right answers differ from torch's by rounding, under 2e-13.
TOLERANCE = 1e-12
# One mean is 2000 times its spread: a one-pass variance then loses over six of its sixteen digits.
OFFSETS, SPREADS = (0.0, -2.0, 1e3, 0.5, 3.0), (1.0, 2.0, 0.5, 0.8, 1.5)
WEIGHT, BIAS = (1.5, -0.5, 0.6, 2.0, 0.3), (0.2, 1.0, -0.7, 0.0, 0.5)


def compare_batch_norm(make_layer: Callable[[int], nn.Module], positions: tuple[int, ...] = ()) -> dict[str, float]:
    r"""Measure how far a batch norm is from torch's in seven respects, each on fresh layers.

    .. math:: \max_i \frac{|a_i - b_i|}{\max(1, |b_i|)}

    over all values :math:`a_i` of the layer and :math:`b_i` of ``torch.nn.BatchNorm1d``, ``2d`` or
    ``3d``, in several training steps on small, drifting batches.

    Shapes:
        - the layer's input and output: ``(N, C, *positions)``

    Args:
        make_layer: Called with the number of channels; returns a module with ``weight``, ``bias``,
            ``running_mean`` and ``running_var``, and with torch's defaults for momentum and eps.
        positions: The sizes of up to three axes of positions.

    Returns:
        The miss in each respect; ``inf`` where the layer raises, or gives NaN or another shape.

    Numerics:
        Float64: a right layer misses by rounding, about 1e-13.

    Source:
        Ioffe and Szegedy (2015), algorithms 1 and 2, with torch's running variance.

    Introduced in:
        ``notebooks/01_batch_norm.md``

    Example:
        >>> for respect, miss in compare_batch_norm(torch.nn.BatchNorm1d).items():
        ...     print(f"{respect}: {miss}")
        train forward: 0.0
        input gradient: 0.0
        running mean: 0.0
        running variance: 0.0
        eval: 0.0
        eval with gradients on: 0.0
        train under no_grad: 0.0
    """
    make_torch_layer, misses = _torch_layer(positions), {}
    for respect in RESPECTS:
        try:
            misses[respect] = _miss(respect, make_layer, make_torch_layer, positions)
        except Exception:  # to raise is the largest miss; check_batch_norm shows the error
            misses[respect] = inf
    return misses


@check(right="It does what torch's layer does: in training, in evaluation and in its gradients.")
def check_batch_norm(make_layer: Callable[[int], nn.Module], positions: tuple[int, ...] = ()) -> None:
    """Check that a batch norm does what torch's does.

    Shapes, arguments and the seven respects are those of :func:`compare_batch_norm`.

    Prints a line if the layer misses in no respect.

    Raises:
        AssertionError: If the layer misses in any respect; the message names the likely mistake.

    Introduced in:
        ``notebooks/01_batch_norm.md``

    Example:
        >>> check_batch_norm(torch.nn.BatchNorm1d)
        BatchNorm1d: right. It does what torch's layer does: in training, in evaluation and in its gradients.
        >>> check_batch_norm(torch.nn.InstanceNorm1d)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        AssertionError: train forward: ...
    """
    # The mode comes second: a wrong one would look like wrong statistics later on.
    make_torch_layer, first = _torch_layer(positions), ("train forward", "train under no_grad")
    for respect in (*first, *(name for name in [*RESPECTS, *MORE_RESPECTS] if name not in first)):
        try:
            miss = _miss(respect, make_layer, make_torch_layer, positions)
        except Exception as error:
            if respect == first[0] and kind_of(error) == "NotImplementedError":
                raise  # nothing has been answered yet
            raise AssertionError(
                f"{respect}: the layer raised {kind_of(error)}. {_likely_mistake(respect, inf)}"
            ) from error
        if miss > TOLERANCE:
            raise AssertionError(f"{respect}: off by {miss:.1e}. {_likely_mistake(respect, miss)}")


def _likely_mistake(respect: str, miss: float) -> str:
    if respect != "train forward":
        return (RESPECTS | MORE_RESPECTS)[respect][1]
    if miss == inf:
        return "Is the result a tensor of the shape of x, without NaN? Are weight and bias there?"
    if miss > 1e-3:
        return "Is the variance divided by n, not n - 1? Is it each channel's own? Are weight and bias applied?"
    if miss > 1e-7:
        return "Is eps added to the variance, inside the square root? Is all computed in the dtype of x?"
    return "Is the variance the mean of squared deviations? E[x²] - E[x]² loses its digits where the mean is large."


def _torch_layer(positions: tuple[int, ...]) -> Callable[[int], nn.Module]:
    if len(positions) > 3:
        raise ValueError(f"positions must hold at most three sizes, but got positions={positions}")
    return (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[len(positions)]


def _miss(respect: str, make_layer: Callable, make_torch_layer: Callable, positions: tuple[int, ...]) -> float:
    got, want = (observe(measure, make, respect, list(positions)) for make in (make_layer, make_torch_layer))
    return max(_distance(a, b) for a, b in zip(got, want, strict=True))


def measure(make_layer: Callable[[int], nn.Module], respect: str, positions: list[int]) -> list[Tensor]:
    """Return what a fresh layer gives in one respect."""
    # Fresh layers and data for each respect: what one spoils, no other sees.
    with torch.enable_grad():
        return (RESPECTS | MORE_RESPECTS)[respect][0](_new(make_layer), *_data(tuple(positions)))


def _distance(got: Tensor, want: Tensor) -> float:
    if got.shape != want.shape:
        return inf
    distance = ((got - want).abs() / want.abs().clamp(min=1)).max().item()
    return inf if isnan(distance) else distance


def _new(make_layer: Callable[[int], nn.Module]) -> nn.Module:
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # reaches plain tensors too, which layer.to does not
    try:
        layer = make_layer(len(OFFSETS)).to(torch.float64).train()
    finally:
        torch.set_default_dtype(default)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(WEIGHT))
        layer.bias.copy_(torch.tensor(BIAS))
    return layer


def _data(positions: tuple[int, ...]) -> tuple[list[Tensor], Tensor]:
    """Return six drifting training batches of 8 examples, and a batch of 3 to evaluate."""
    generator = torch.Generator().manual_seed(0)
    channel = (-1, *[1] * len(positions))
    offsets, spreads = (torch.tensor(v, dtype=torch.float64).reshape(channel) for v in (OFFSETS, SPREADS))
    batches = []
    for step, size in enumerate((8, 8, 8, 8, 8, 8, 3)):
        noise = torch.randn(size, len(OFFSETS), *positions, generator=generator, dtype=torch.float64)
        # Multiples of 2^-20 add up exactly, so that the order of a layer's sums does not matter.
        batches.append(((offsets + spreads * (0.3 * step + noise)) * 2**20).round() / 2**20)
    return batches[:-1], batches[-1]


def _train_forward(layer: nn.Module, train: list[Tensor], test: Tensor) -> list[Tensor]:
    return [layer(x) for x in train]


def _input_gradient(layer: nn.Module, train: list[Tensor], test: Tensor) -> list[Tensor]:
    for x in train:
        y = layer(x.requires_grad_())
        y.backward(torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape))
    return [x.grad for x in train]


def _parameter_gradients(layer: nn.Module, train: list[Tensor], test: Tensor) -> list[Tensor]:
    _input_gradient(layer, train[:2], test)
    trained = [layer.weight.grad.clone(), layer.bias.grad.clone()]
    _input_gradient(layer.eval(), [test], test)  # adds to them
    return [*trained, layer.weight.grad, layer.bias.grad]


def _running(name: str, layer: nn.Module, train: list[Tensor], test: Tensor) -> list[Tensor]:
    _train_forward(layer, train, test)
    return [getattr(layer, name)]


def _eval(layer: nn.Module, train: list[Tensor], test: Tensor) -> list[Tensor]:
    _train_forward(layer, train, test)
    with torch.no_grad():
        return [layer.eval()(test)]


def _eval_with_gradients_on(layer: nn.Module, train: list[Tensor], test: Tensor) -> list[Tensor]:
    _input_gradient(layer, train, test)
    # Raises if a kept graph leads back into the training steps, whose graphs are gone.
    gradient = _input_gradient(layer.eval(), [test], test)
    keeps_graph = layer.running_mean.requires_grad or layer.running_var.requires_grad
    return [layer(test), *gradient, torch.tensor(float(keeps_graph))]


def _train_under_no_grad(layer: nn.Module, train: list[Tensor], test: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return _train_forward(layer, train, test)


# What to measure, and what to ask the author of a layer that misses.
RESPECTS = {
    "train forward": (_train_forward, ""),  # here the size of the miss tells the mistake
    "input gradient": (_input_gradient, "Are mean and variance part of the graph? Neither may be detached."),
    "running mean": (partial(_running, "running_mean"), "Does it start at 0? Is momentum the weight of the new mean?"),
    "running variance": (partial(_running, "running_var"), "Does it start at 1? Is the new variance divided by n - 1?"),
    "eval": (_eval, "Does .eval() use the running statistics, with self.training as the mode?"),
    "eval with gradients on": (_eval_with_gradients_on, "Are statistics detached before they are stored?"),
    "train under no_grad": (_train_under_no_grad, "Is the mode self.training? It must not be the state of autograd."),
}
# Checked as well, but no mistake of the chapter's comparison shows here.
MORE_RESPECTS = {
    "parameter gradients": (
        _parameter_gradients,
        "Do weight and bias take part as they are, in both modes? Neither may be detached or frozen.",
    )
}
