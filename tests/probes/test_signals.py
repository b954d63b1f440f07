"""Signals and gradients by depth: closed forms, loops in NumPy's manner, and what must not be confused."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from companion.probes import signal_propagation

QUARTER_TURN = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


class Residual(nn.Module):
    """A linear branch beside a shortcut."""

    def __init__(self, weight):
        super().__init__()
        self.branch = nn.Linear(*weight.shape, bias=False).double()
        self.branch.weight.data = weight

    def forward(self, x):
        return x + self.branch(x)


def residual(weights):
    return nn.Sequential(*map(Residual, weights))


def steps(values):
    """Return what a number is multiplied by from block to block."""
    return values[1:] / values[:-1]


# Linear residual networks


def test_a_branch_that_turns_doubles_second_moment_and_squared_gradient_exactly():
    # x and Jx are perpendicular and of one length, so ‖x + Jx‖² = 2‖x‖²; the same for the transpose, on the way back
    model, x = residual([QUARTER_TURN] * 12), torch.randn(7, 2, dtype=torch.float64)
    direction = torch.randn(2, dtype=torch.float64)
    signals = signal_propagation(lambda: (model(x) @ direction).mean(), model, model)
    assert signals.names == tuple(map(str, range(12)))
    torch.testing.assert_close(
        steps(signals.second_moment), torch.full((11,), 2.0, dtype=torch.float64), rtol=1e-13, atol=0
    )
    torch.testing.assert_close(
        steps(signals.gradient).square(), torch.full((11,), 0.5, dtype=torch.float64), rtol=1e-13, atol=0
    )
    # forward, from the inputs; backward, from the loss: each example has the gradient direction / 7
    assert signals.second_moment[0].item() == pytest.approx(2 * x.square().mean().item(), rel=1e-13)
    assert signals.gradient[-1].item() == pytest.approx(direction.norm().item() / 7**0.5, rel=1e-13)


def test_random_branches_double_both_in_the_mean_over_initializations():
    depth, width, draws = 6, 16, 400
    forward, backward = [], []
    for _ in range(draws):
        weights = torch.randn(depth, width, width, dtype=torch.float64) / width**0.5
        model, x = residual(weights), torch.randn(4, width, dtype=torch.float64)
        signals = signal_propagation(lambda model=model, x=x: model(x).sum(), model, model)
        forward.append(signals.second_moment / x.square().mean())
        backward.append(signals.gradient.square() / signals.gradient[-1].square())
    for ratios, exponents in ((forward, range(1, depth + 1)), (backward, range(depth - 1, -1, -1))):
        found = torch.stack(ratios)
        expected = torch.tensor([2.0**k for k in exponents], dtype=torch.float64)
        error = found.std(0) / draws**0.5
        assert ((found.mean(0) - expected).abs() <= 4 * error + 1e-12).all(), found.mean(0)
        assert (error[expected > 1] < 0.1 * expected[expected > 1]).all()


# What each number is


def by_hand(h):
    """Return second moment, variance across neurons and across the batch, one number at a time."""
    rows = [[value for value in row.flatten().tolist()] for row in h]

    def variance(values):
        mean = math.fsum(values) / len(values)
        return math.fsum((value - mean) ** 2 for value in values) / len(values)

    def mean(values):
        values = list(values)
        return math.fsum(values) / len(values)

    columns = list(zip(*rows, strict=True))
    return mean(mean(v * v for v in row) for row in rows), mean(map(variance, rows)), mean(map(variance, columns))


@pytest.mark.parametrize("shape", [(5, 3), (4, 2, 6), (3, 2, 4, 5), (6,)])
def test_moments_equal_loops(shape):
    model = nn.Identity()
    x = (torch.randn(shape, dtype=torch.float64) * 3 + 1).requires_grad_()
    signals = signal_propagation(lambda: model(x).square().sum(), model)
    found = [signals.second_moment, signals.across_neurons, signals.across_batch]
    for value, expected in zip(found, by_hand(x.detach()), strict=True):
        assert value.item() == pytest.approx(expected, rel=1e-12, abs=1e-15)
    assert signals.names == ("model",)


def test_the_two_variances_are_not_the_same():
    # examples of one size and many directions, and examples of many sizes and one direction
    along = torch.arange(1.0, 5.0)[:, None].expand(4, 6)
    apart = torch.tensor([[1.0, -1.0]] * 4)
    model = nn.Identity()
    for x, neurons, batch in ((along, 0.0, 1.25), (apart, 1.0, 0.0)):
        x = x.clone().requires_grad_()
        signals = signal_propagation(lambda x=x: model(x).sum(), model)
        assert (signals.across_neurons.item(), signals.across_batch.item()) == (neurons, batch)


def test_gradients_equal_autograds():
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x, y = torch.randn(6, 4, dtype=torch.float64), torch.arange(6) % 3
    signals = signal_propagation(lambda: cross_entropy(model(x), y), model)
    outputs = [model[0](x)]
    outputs += [model[1](outputs[0])]
    outputs += [model[2](outputs[1])]
    loss = cross_entropy(outputs[-1], y)
    for value, h in zip(signals.gradient, outputs, strict=True):
        expected = torch.autograd.grad(loss, h, retain_graph=True)[0].norm()
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    loss.backward()
    for k in (0, 2):
        expected = math.hypot(model[k].weight.grad.norm().item(), model[k].bias.grad.norm().item())
        assert signals.parameter_gradient[k].item() == pytest.approx(expected, rel=1e-12)
    assert math.isnan(signals.parameter_gradient[1])  # a tanh has none


def test_the_gradient_of_the_output_by_finite_differences():
    # a change of a bias changes a layer's output for all examples alike
    model = nn.Sequential(nn.Linear(4, 1), nn.Tanh(), nn.Linear(1, 3)).double()
    x = torch.randn(1, 4, dtype=torch.float64).expand(2, 4)  # two equal examples, so that both have one gradient
    loss = lambda: model(x).square().mean()  # noqa: E731
    found = signal_propagation(loss, model).gradient[0].item()
    with torch.no_grad():
        values = []
        for step in (1e-5, -2e-5):
            model[0].bias += step
            values.append(loss().item())
    assert found == pytest.approx(abs(values[0] - values[1]) / 2e-5 / 2 * 2**0.5, rel=1e-7)


def test_what_an_in_place_layer_overwrites_was_seen_before():
    x, y = torch.randn(6, 4, dtype=torch.float64), torch.arange(6) % 3
    results = []
    for in_place in (False, True):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(in_place), nn.Linear(5, 3)).double()
        results.append(signal_propagation(lambda model=model: cross_entropy(model(x), y), model))
    assert str(results[0]) == str(results[1])
    assert results[0].gradient[0] < results[0].gradient[1]  # before the ReLU, and after it


def test_a_shared_layer_has_one_entry_a_call_and_one_gradient():
    layer = nn.Linear(3, 3, bias=False).double()
    model = nn.Sequential(layer, nn.Tanh(), layer)
    x = torch.randn(4, 3, dtype=torch.float64)
    signals = signal_propagation(lambda: model(x).square().sum(), model)
    assert signals.names == ("0", "1", "0")
    assert signals.second_moment[0] != signals.second_moment[2]
    model(x).square().sum().backward()
    expected = layer.weight.grad.norm().item()
    assert signals.parameter_gradient[[0, 2]].tolist() == pytest.approx([expected] * 2, rel=1e-12)


def test_before_frozen_layers_no_gradient_flows():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    x = torch.randn(5, 3)
    signals = signal_propagation(lambda: model(x).sum(), model)
    assert signals.gradient.isnan().tolist() == signals.parameter_gradient.isnan().tolist() == [True, False, False]
    model[2].requires_grad_(False)  # in between they let it pass
    signals = signal_propagation(lambda: model(x).sum(), model)
    assert signals.gradient.isnan().tolist() == [True, False, False]
    assert signals.parameter_gradient.isnan().tolist() == [True, False, True]


def test_attention_returns_several_tensors_and_its_inner_layer_is_not_called():
    model = nn.ModuleDict({"attention": nn.MultiheadAttention(4, 2, batch_first=True), "head": nn.Linear(4, 2)})
    x = torch.randn(3, 5, 4)
    loss = lambda: model["head"](model["attention"](x, x, x)[0]).square().mean()  # noqa: E731
    assert signal_propagation(loss, model).names == ("head",)
    signals = signal_propagation(loss, model, model.values())
    assert signals.names == ("attention", "head")
    expected = model["attention"](x, x, x)[0].square().mean().item()
    assert signals.second_moment[0].item() == pytest.approx(expected, rel=1e-5)


def test_a_layer_whose_weights_are_computed_is_one_layer():
    # the weights that are computed on the way have as many rows as there are channels: no batch
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(5, 3)
    signals = signal_propagation(lambda: model(x).sum(), model)
    assert signals.names == ("0", "1", "2")
    assert signals.second_moment[0].item() == pytest.approx(model[0](x).square().mean().item(), rel=1e-6)


def test_sparse_gradients_are_gradients():
    results = []
    for sparse in (False, True):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Embedding(9, 3, sparse=sparse), nn.Linear(3, 2)).double()
        loss = lambda model=model: model(torch.tensor([1, 4, 4])).square().sum()  # noqa: E731
        results.append(signal_propagation(loss, model))
    assert str(results[0]) == str(results[1]) and results[0].parameter_gradient[0] > 0


def test_squares_do_not_overflow_float32():
    model, x = nn.Linear(2, 2, bias=False), torch.eye(2) * 1e25
    nn.init.ones_(model.weight)
    signals = signal_propagation(lambda: model(x).sum() * 1e-20, model)
    assert signals.second_moment.item() == pytest.approx(1e50, rel=1e-6)


# What is refused


def test_layers_that_are_none_of_the_models_or_not_called():
    model, x = nn.Sequential(nn.Linear(2, 2), nn.ModuleList([nn.Linear(2, 2)])), torch.randn(3, 2)
    for layers in ([nn.Linear(1, 7)], [model[0], nn.Linear(1, 7)]):
        message = r"^layers must be modules of the model, but got \[Linear\(in_features=1, out_features=7, bias=True\)\]; take"
        with pytest.raises(ValueError, match=message):
            signal_propagation(lambda: model[0](x).sum(), model, layers)
    with pytest.raises(ValueError, match="^layers must be modules of the model, but got none; take"):
        signal_propagation(lambda: model[0](x).sum(), model, [])
    with pytest.raises(ValueError, match=r"^layers must be called by loss, but got 1\.0, which are not; "):
        signal_propagation(lambda: model[0](x).sum(), model, [model[0], model[1][0]])
    with pytest.raises(ValueError, match=r"^layers must be called by loss, but got 0, 1\.0, which are not; "):
        signal_propagation(lambda: torch.ones(1, requires_grad=True).sum(), model)


def test_no_gradient():
    model, x = nn.Linear(2, 2), torch.randn(3, 2)
    frozen = nn.Linear(2, 2).requires_grad_(False)
    for network, loss in (
        (model, lambda: model(x).detach().sum()),
        (model, lambda: model(x).sum().item()),
        (frozen, lambda: frozen(x).sum()),
    ):
        with pytest.raises(
            ValueError, match="^loss must have a gradient, but got .*; call the model in it, unfreeze par"
        ):
            signal_propagation(loss, network)


@pytest.mark.parametrize(("shape", "got"), [((1, 3), r"\(1, 4\)"), ((3,), r"\(4,\)")])
def test_a_batch_of_one_has_no_variance_across_it(shape, got):
    model = nn.Linear(3, 4)
    if shape == (3,):  # no batch at all: a vector of 4 would pass for 4 examples
        model = nn.Sequential(model, nn.Flatten(0), nn.Linear(4, 1), nn.Flatten(0))
        got = r"\(1,\)"
    with pytest.raises(ValueError, match=f"^a batch must hold 2 examples, but got {got} from .*; add some"):
        signal_propagation(lambda: model(torch.ones(shape)).sum(), model)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_layer_where_numbers_stop_being_finite_is_named(bad):
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    model[2].bias.data[0] = bad
    with pytest.raises(ValueError, match="^outputs must be finite, but got NaN or infinity from 2; look for NaN"):
        signal_propagation(lambda: model(torch.ones(3, 2)).sum(), model)
    fine = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="^loss must be one finite number, but got (nan|-?inf); take the mean"):
        signal_propagation(lambda: fine(torch.ones(3, 2)).sum() * bad, fine)
    with pytest.raises(ValueError, match="^loss must be one finite number, but got .*; take the mean"):
        signal_propagation(lambda: fine(torch.ones(3, 2)).sum(1), fine)
