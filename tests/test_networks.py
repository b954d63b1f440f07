"""Networks have the stated layers, start with the stated variance, and differ by the scheme alone."""

from functools import partial

import pytest
import torch
from torch import nn

from companion import BatchNorm, GroupNorm, cnn, mlp


def test_an_mlp_has_depth_hidden_layers():
    network = mlp(40, 10, width=7, depth=3, norm=BatchNorm)
    kinds = [type(layer).__name__ for layer in network]
    assert kinds == ["Flatten"] + ["Linear", "BatchNorm", "ReLU"] * 3 + ["Linear"]
    assert [layer.out_features for layer in network if isinstance(layer, nn.Linear)] == [7, 7, 7, 10]


def test_every_other_convolution_halves_the_positions():
    shapes = []
    network = cnn(3, 10, widths=(4, 5, 6))
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape)))
    network(torch.zeros(2, 3, 8, 8))
    assert shapes == [(2, 4, 8, 8), (2, 5, 4, 4), (2, 6, 2, 2)]


@pytest.mark.parametrize("build", [partial(mlp, 40, 10, width=64), partial(cnn, 1, 10, dimensions=1)])
def test_schemes_start_from_the_same_weights(build):
    weights = []
    for norm in (None, BatchNorm, partial(GroupNorm, 2)):
        torch.manual_seed(0)
        layers = [m for m in build(norm=norm).modules() if isinstance(m, nn.Linear | nn.Conv1d)]
        weights.append([layer.weight for layer in layers])
    assert all(torch.equal(a, b) for other in weights[1:] for a, b in zip(weights[0], other, strict=True))


def test_hidden_weights_have_variance_two_over_fan_in_and_the_last_one_over():
    torch.manual_seed(0)
    layers = [m for m in mlp(400, 100, width=400, depth=2) if isinstance(m, nn.Linear)]
    scaled = [layer.weight.var().item() * 400 for layer in layers]
    assert scaled == pytest.approx([2, 2, 1], rel=0.05)
    torch.manual_seed(0)
    convolution = cnn(50, 10, widths=(100,))[0]
    assert convolution.weight.var().item() * 50 * 9 == pytest.approx(2, rel=0.05)


def test_a_bias_stands_only_where_no_normalization_follows():
    with_bias = [m.bias is not None for m in mlp(4, 2, width=3, depth=2, norm=BatchNorm) if isinstance(m, nn.Linear)]
    assert with_bias == [False, False, True]
    assert all(m.bias is not None for m in mlp(4, 2, width=3, depth=2) if isinstance(m, nn.Linear))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mlp(0, 10), "inputs must be a whole number of at least 1, but got 0"),
        (lambda: mlp(4, 10, depth=-1), "depth must be .* but got -1"),
        (lambda: mlp(4, 10, width=1.5), "width must be .* but got 1.5"),
        (lambda: cnn(1, 10, widths=(4, 0)), r"widths\[1\] must be .* but got 0"),
        (lambda: cnn(1, 10, widths=()), "at least one convolution"),
        (lambda: cnn(1, 10, dimensions=3), "dimensions must be 1 .* or 2 .* but got 3"),
    ],
)
def test_bad_sizes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
