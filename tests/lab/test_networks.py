"""Networks have the stated layers, start with the stated variance, and differ by the scheme alone."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from companion import BatchNorm, GhostBatchNorm, GroupNorm, LayerNorm, cnn, mlp, recompute_statistics


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
        (lambda: mlp(0, 10), "inputs must be a positive whole number .*, but got 0"),
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


@pytest.mark.parametrize("kind", [nn.BatchNorm1d, BatchNorm, partial(GhostBatchNorm, ghost_batch_size=2)])
def test_recomputed_statistics_are_those_of_the_data_under_the_weights(kind):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 3, bias=False), kind(3), nn.ReLU(), nn.Linear(3, 4), kind(4)).double()
    x, stale = torch.randn(12, 5, dtype=torch.float64) + 2, copy.deepcopy(network.state_dict())
    new = recompute_statistics(network, x)
    first = network[0](x)
    torch.testing.assert_close(new[1].running_mean, first.mean(0), rtol=0, atol=1e-12)
    torch.testing.assert_close(new[1].running_var, first.var(0), rtol=0, atol=1e-12)
    second = network[3](nn.functional.batch_norm(first, None, None, training=True).relu())
    torch.testing.assert_close(new[4].running_mean, second.mean(0), rtol=0, atol=1e-12)
    halves = recompute_statistics(network, x, batch_size=6)
    torch.testing.assert_close(halves[1].running_var, (first[:6].var(0) + first[6:].var(0)) / 2, rtol=0, atol=1e-12)
    assert not new.training and new[1].momentum == 0.1
    assert getattr(new[1], "ghost_batch_size", 2) == 2
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in stale.items())


def test_a_network_without_running_statistics_comes_back_as_it_is():
    network = mlp(4, 2, width=3, depth=1, norm=LayerNorm)
    new, x = recompute_statistics(network, torch.ones(3, 4)), torch.randn(5, 4)
    assert new is not network and not new.training
    assert torch.equal(new(x), network(x))


@pytest.mark.parametrize("batch_size", [0, -1, 2.5])
def test_recomputing_refuses_a_batch_size_that_is_none(batch_size):
    with pytest.raises(ValueError, match=f"batch_size must be a positive whole number .*, but got {batch_size}"):
        recompute_statistics(nn.BatchNorm1d(2), torch.zeros(3, 2), batch_size=batch_size)


def test_sizes_may_be_integers_of_numpy():
    two, four = np.int64(2), np.int32(4)
    assert repr(mlp(four, two, width=four, depth=two)) == repr(mlp(4, 2, width=4, depth=2))
    assert repr(cnn(two, two, widths=(four, two))) == repr(cnn(2, 2, widths=(4, 2)))
    assert recompute_statistics(nn.BatchNorm1d(2), torch.randn(8, 2), batch_size=four).num_batches_tracked == 2
