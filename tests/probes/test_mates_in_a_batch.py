"""The noise of batch mates: by hand, its law, and what makes none."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from companion.norms import BatchNorm, GroupNorm
from companion.probes import batch_noise, excess_loss


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def network(norm):
    return nn.Sequential(nn.Linear(3, 8), norm, nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 4)).double()


def draw(*shape):
    return torch.randn(shape, dtype=torch.float64)


# Its own batch


def test_the_outputs_are_those_of_each_batch_by_hand():
    x, mates = draw(1, 3), draw(5, 7, 3)
    layer = BatchNorm(3).double()
    found = batch_noise(layer, x, mates)
    assert found.shape == (5, 1, 3)
    for got, others in zip(found, mates, strict=True):
        batch = torch.cat([x, others])
        expected = (x - batch.mean(0)) / (batch.var(0, correction=0) + 1e-5).sqrt()
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    without = (x - mates[0].mean(0)) / (mates[0].var(0, correction=0) + 1e-5).sqrt()
    assert (found[0] - without).abs().max() > 1e-2  # the example is part of its batch


def test_several_examples_sit_in_one_batch_and_mates_may_come_one_by_one():
    model, x, mates = network(nn.BatchNorm1d(8)).eval(), draw(2, 3), draw(4, 6, 3)
    model[1].train()
    expected = torch.stack([model[1](model[0](torch.cat([x, others])))[:2] for others in mates]).detach()
    found = batch_noise(model, x, iter(mates), model[1])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert not found.requires_grad
    sizes = batch_noise(model, x, [draw(3, 3), draw(30, 3)])  # batches of two sizes
    assert sizes.shape == (2, 2, 4)


def test_mates_that_are_drawn_on_the_way_are_not_all_the_same():
    # each measurement begins with the same random numbers, which must not be those of the mates
    data = draw(50, 3)
    mates = (data[torch.randint(50, (7,))] for _ in range(3))
    found = batch_noise(BatchNorm(3).double(), draw(1, 3), mates)
    assert (found[0] - found[1]).abs().max() > 1e-3 and (found[1] - found[2]).abs().max() > 1e-3


def test_noise_falls_as_one_over_the_batch_and_other_schemes_make_none():
    x, data = draw(1, 3), draw(4000, 3)
    spread = {}
    for name, norm in (("batch", nn.BatchNorm1d(8)), ("group", GroupNorm(2, 8)), ("none", nn.Identity())):
        model = network(norm)
        for size in (8, 128):
            mates = data[torch.randint(4000, (300, size - 1))]
            spread[name, size] = batch_noise(model, x, mates, model[1]).var(0).mean().item()
    assert 10 < spread["batch", 8] / spread["batch", 128] < 30  # 16 in the limit
    assert max(spread[name, size] for name, size in spread if name != "batch") < 1e-25


def test_dropout_adds_no_noise_of_its_own_and_evaluation_mode_has_none():
    model, x, mates = network(nn.BatchNorm1d(8)), draw(1, 3), draw(6, 9, 3)
    assert batch_noise(model, x, mates).var(0).max() > 1e-4
    assert batch_noise(model, x, mates[:1].expand(6, 9, 3)).var(0).max() < 1e-25
    assert batch_noise(model.eval(), x, mates).var(0).max() < 1e-25


def test_of_a_shared_layer_the_first_call_counts_and_what_is_overwritten_was_seen_before():
    layer, relu = nn.Linear(3, 3).double(), nn.ReLU(inplace=True)
    model = nn.Sequential(layer, relu, layer)
    x, mates = draw(1, 3), draw(2, 4, 3)
    torch.testing.assert_close(
        batch_noise(model, x, mates, layer), layer(x).detach().expand(2, 1, 3), rtol=1e-12, atol=0
    )


# An independent batch


def test_the_excess_equals_that_of_statistics_by_hand():
    data, x, y = draw(12, 3), draw(5, 3), torch.arange(5) % 3
    layer = BatchNorm(3, eps=0).double()
    layer.weight.data, layer.bias.data = draw(3).abs(), draw(3)
    found = excess_loss(lambda f: cross_entropy(f, y), layer, data, x, 4, 6, seed=3)
    assert found.shape == (6,)

    def loss(batch):
        return cross_entropy((x - batch.mean(0)) / batch.std(0, correction=0) * layer.weight + layer.bias, y)

    generator = torch.Generator().manual_seed(3)
    expected = [loss(data[torch.randperm(12, generator=generator)[:4]]) - loss(data) for _ in range(6)]
    torch.testing.assert_close(found, torch.stack(expected).detach(), rtol=1e-10, atol=1e-12)
    assert not torch.equal(found, excess_loss(lambda f: cross_entropy(f, y), layer, data, x, 4, 6, seed=4))


def test_the_excess_of_a_squared_norm_is_one_over_the_batch():
    # E (x - m_B)² = s² + s²/M for the mean alone; the divisor adds to it, to first order 3/M for normal numbers
    data, x = draw(4096, 20), draw(500, 20)
    layer = BatchNorm(20, eps=0).double()
    means = [
        excess_loss(lambda f: f.square().mean(), layer, data, x, size, 200).mean().item() for size in (16, 64, 256)
    ]
    assert 3 < means[0] / means[1] < 5.5 and 3 < means[1] / means[2] < 5.5
    assert means[2] == pytest.approx(4 / 256, rel=0.2)
    everything = excess_loss(lambda f: f.square().mean(), layer, data, x, 4096, 1)
    assert everything.abs().max() < 1e-12


# What is refused


def test_a_batch_of_one_has_no_mates():
    layer, x = nn.BatchNorm1d(3).double(), draw(1, 3)
    with pytest.raises(ValueError, match="^mates must be one example or more, but got none: a batch of one; add"):
        batch_noise(layer, x, draw(5, 0, 3))
    with pytest.raises(ValueError, match="^a group needs at least 2 values to have a variance, but got 1"):
        excess_loss(lambda f: f.sum(), layer, draw(9, 3), x, 1)


def test_layers_that_are_none_are_not_called_or_keep_no_examples():
    model = nn.Sequential(nn.Linear(3, 2), nn.Flatten(0))
    with pytest.raises(ValueError, match=r"^layers must be modules of the model, but got \[ReLU\(\)\]; take them"):
        batch_noise(model, torch.ones(1, 3), torch.ones(2, 4, 3), nn.ReLU())
    with pytest.raises(ValueError, match=r"^model must put out a row an example, but got \[\(10,\)\]; watch another"):
        batch_noise(model, torch.ones(1, 3), torch.ones(2, 4, 3))
    idle = nn.Linear(3, 3)
    idle.unused = nn.ReLU()
    with pytest.raises(ValueError, match=r"^unused must put out a row an example, but got no call; watch another"):
        batch_noise(idle, torch.ones(1, 3), torch.ones(2, 4, 3), idle.unused)
    with pytest.raises(ValueError, match="^model must have a batch norm layer, but got one with no norm layer"):
        excess_loss(lambda f: f.sum(), idle, torch.ones(9, 3), torch.ones(1, 3), 4)


def test_nan():
    layer = nn.BatchNorm1d(3)
    with pytest.raises(ValueError, match="^outputs must be finite, but got NaN or infinity from model; look for NaN"):
        batch_noise(layer, torch.full((1, 3), torch.nan), torch.ones(2, 4, 3))
    with pytest.raises(ValueError, match="^data must hold finite numbers, but got NaN"):
        excess_loss(lambda f: f.sum(), layer, torch.full((9, 3), torch.nan), torch.ones(1, 3), 4)

    class Nothing(nn.Module):
        """A model that puts out no tensor."""

        def forward(self, x):
            return None

    with pytest.raises(ValueError, match="^outputs must be finite, but got no tensor from model"):
        batch_noise(Nothing(), torch.ones(1, 3), torch.ones(2, 4, 3))
