"""Directions of weights: a gradient's two parts, and the rate that a direction feels."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from companion.norms import BatchNorm
from companion.probes import effective_rate, radial_and_tangential


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def network():
    """Return one hidden layer before batch norm, no parameter 0 or 1."""
    model = nn.Sequential(nn.Linear(5, 8, bias=False), BatchNorm(8, eps=0), nn.ReLU(), nn.Linear(8, 4)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return model


def loss_of(model):
    """Return the mean cross-entropy on made-up data."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(16, 5, generator=generator, dtype=torch.float64)
    return cross_entropy(model(x), torch.arange(16) % 4)


# Along the weights, and the rest


@pytest.mark.parametrize(("shape", "dim"), [((7,), None), ((4, 5), None), ((4, 5), 1), ((4, 3, 2, 2), (1, 2, 3))])
def test_the_parts_add_up_and_are_perpendicular(shape, dim):
    v, w = torch.randn(2, *shape, dtype=torch.float64)
    radial, tangential = radial_and_tangential(v, w, dim)
    torch.testing.assert_close(radial + tangential, v, rtol=0, atol=1e-14)
    inner = (tangential * w).sum(dim) if dim is not None else (tangential * w).sum()
    assert inner.abs().max() < 1e-13
    ratio = radial / w
    across = ratio if dim is None else ratio.flatten(1).T
    torch.testing.assert_close(across, across[0].expand_as(across) if dim else ratio.mean().expand_as(ratio))


def test_the_gradient_of_an_invariant_loss_has_no_radial_part_and_of_another_it_has():
    model = network()
    loss_of(model).backward()
    for name, parameter in model.named_parameters():
        radial, tangential = radial_and_tangential(parameter.grad, parameter)
        share = radial.norm() / tangential.norm()
        assert share < 1e-12 if name == "0.weight" else share > 1e-4, name
    radial, tangential = radial_and_tangential(model[0].weight.grad, model[0].weight, dim=1)
    assert (radial.norm(dim=1) < 1e-12 * tangential.norm(dim=1)).all()


def test_parts_are_detached_and_of_the_wider_dtype():
    w = torch.ones(2, dtype=torch.float64, requires_grad=True)
    radial, tangential = radial_and_tangential(torch.ones(2), w)
    assert radial.dtype == tangential.dtype == torch.float64
    assert not radial.requires_grad and not tangential.requires_grad


def test_shapes_that_differ_and_weights_of_no_direction():
    with pytest.raises(ValueError, match=r"^vector and weights must have one shape, but got \(2,\) and \(3,\); "):
        radial_and_tangential(torch.ones(2), torch.ones(3))
    for call in (lambda w: radial_and_tangential(w, w, 1), lambda w: effective_rate(0.1, w, 1)):
        for none in (0.0, torch.nan):
            with pytest.raises(ValueError, match="^weights must have a direction, but got 1 of length 0 or not a numb"):
                call(torch.tensor([[1.0, 0.0], [none, none]]))


# The effective rate


def test_the_effective_rate_does_not_change_when_rate_and_squared_length_grow_alike():
    w = torch.randn(3, 4)
    assert effective_rate(0.1, w).item() == pytest.approx(0.1 / w.double().square().sum().item(), rel=1e-12)
    assert effective_rate(0.1 * 16, 4 * w).item() == pytest.approx(effective_rate(0.1, w).item(), rel=1e-12)
    assert effective_rate(0.1, w, dim=1).shape == (3,)
    assert effective_rate(1.0, torch.tensor([3e30, 4e30])).item() == pytest.approx(4e-62, rel=1e-6)


@pytest.mark.parametrize("rate", [-0.1, float("nan"), float("inf"), "0.1"])
def test_a_rate_that_is_none(rate):
    with pytest.raises(ValueError, match="^learning_rate must be a finite number, at least 0, but got .*; try 0.1"):
        effective_rate(rate, torch.ones(2))


def test_steps_of_one_effective_rate_turn_the_weights_alike():
    # what makes it the effective rate: long weights at a large rate go through the same directions
    model = network()
    large = copy.deepcopy(model)
    with torch.no_grad():
        large[0].weight *= 3
    for one, rate in ((model, 0.1), (large, 0.9)):
        optimizer = torch.optim.SGD([one[0].weight], lr=rate)
        for _ in range(20):
            optimizer.zero_grad()
            loss_of(one).backward()
            optimizer.step()
    torch.testing.assert_close(large[0].weight, 3 * model[0].weight, rtol=1e-12, atol=1e-12)
