"""The loss along a direction, and how a layer's gradient shifts: closed forms, Hessians, finite differences."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from companion.norms import BatchNorm
from companion.probes import gradient_shift, loss_along

STEPS = [0.05, 0.1, -0.2]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


class Quadratic(nn.Module):
    """Half of w'Hw, plus a linear part, in two parameters."""

    def __init__(self, n=6):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(n // 2)), nn.Parameter(torch.randn(1, n - n // 2))
        h = torch.randn(n, n)
        self.register_buffer("h", h + h.T)
        self.register_buffer("c", torch.randn(n))

    def forward(self):
        w = torch.cat([self.a, self.b.flatten()])
        return w @ self.h @ w / 2 + self.c @ w


class Plus(nn.Module):
    """A shortcut beside two layers with batch norm."""

    def __init__(self, width):
        super().__init__()
        self.up, self.norm, self.down = nn.Linear(width, 7), BatchNorm(7), nn.Linear(7, width)

    def forward(self, x):
        return x + self.down(self.norm(self.up(x)).tanh())


def network():
    return nn.Sequential(nn.Linear(4, 6), Plus(6), Plus(6), nn.Linear(6, 3)).double()


def loss_of(model, count=9):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    return lambda: cross_entropy(model(x), torch.arange(count) % 3)


# Along a direction


def test_a_quadratic_in_closed_form():
    model = Quadratic().double()
    w = torch.cat([model.a, model.b.flatten()]).detach()
    g = model.h @ w + model.c
    walk = loss_along(model, model, STEPS)
    for index, t in enumerate(STEPS):
        expected = model().item() - t * (g @ g) + t * t * (g @ model.h @ g) / 2
        torch.testing.assert_close(walk.loss[index], expected.detach(), rtol=1e-12, atol=1e-12)
    length = (model.h @ g).norm()
    torch.testing.assert_close(
        walk.gradient_change, torch.tensor(STEPS, dtype=torch.float64).abs() * length, rtol=1e-12, atol=0
    )
    torch.testing.assert_close(walk.smoothness, (length / g.norm()).expand(3), rtol=1e-12, atol=0)
    assert walk.start_loss == model().item()
    assert walk.gradient_norm == pytest.approx(g.norm().item(), rel=1e-12)
    everything = [walk.start_loss, *walk.loss.tolist()]
    assert walk.loss_range == max(everything) - min(everything)
    # the largest eigenvalue bounds it, and is reached along its eigenvector
    values, vectors = torch.linalg.eigh(model.h)
    top = values.abs().argmax()
    assert (walk.smoothness <= values.abs().max() + 1e-12).all()
    parts = vectors[:, top][:3], vectors[:, top][3:][None]
    found = loss_along(model, model, [0.7], parts).smoothness.item()
    assert found == pytest.approx(values[top].abs().item(), rel=1e-12)


def test_the_start_belongs_to_the_range():
    model = Quadratic().double()
    walk = loss_along(model, model, [1e-4, 2e-4])
    assert walk.loss_range == walk.start_loss - walk.loss[-1].item() > 0


@pytest.mark.parametrize("own", [False, True], ids=["along the gradient", "along another direction"])
def test_short_steps_agree_with_hessian_vector_products(own):
    model = network()
    loss, parameters = loss_of(model), list(model.parameters())
    gradient = torch.autograd.grad(loss(), parameters, create_graph=True)
    direction = [torch.randn_like(p) for p in parameters] if own else [-g.detach() for g in gradient]
    product = torch.autograd.grad(sum((g * d).sum() for g, d in zip(gradient, direction, strict=True)), parameters)
    expected = math.hypot(*(part.norm().item() for part in product))
    length = math.hypot(*(d.norm().item() for d in direction))
    walk = loss_along(loss, model, [1e-5, -1e-5], direction if own else None)
    assert walk.smoothness.tolist() == pytest.approx([expected / length] * 2, rel=1e-3)
    assert walk.smoothness.mean().item() == pytest.approx(expected / length, rel=1e-5)
    # the slope of the loss is the gradient's part along the direction: -‖g‖² along minus itself
    slope = (walk.loss[0] - walk.loss[1]).item() / 2e-5
    inner = sum((g * d).sum().item() for g, d in zip(gradient, direction, strict=True))
    assert slope == pytest.approx(inner, rel=1e-6)
    if not own:
        assert slope == pytest.approx(-(walk.gradient_norm**2), rel=1e-6)


def test_every_point_of_a_walk_equals_a_model_that_stands_there():
    model = network()
    walk = loss_along(loss_of(model), model, [0.3, 2.0])
    loss_of(model)().backward()
    for step, value, change in zip(walk.steps.tolist(), walk.loss, walk.gradient_change, strict=True):
        other = copy.deepcopy(model)
        with torch.no_grad():
            for p, q in zip(other.parameters(), model.parameters(), strict=True):
                p -= step * q.grad
                p.grad = None
        loss = loss_of(other)()
        loss.backward()
        assert value.item() == pytest.approx(loss.item(), rel=1e-13)
        parts = [p.grad - q.grad for p, q in zip(other.parameters(), model.parameters(), strict=True)]
        assert change.item() == pytest.approx(math.hypot(*(part.norm().item() for part in parts)), rel=1e-12)


def test_dropout_masks_do_not_change_along_the_walk():
    model = nn.Sequential(nn.Linear(4, 30), nn.Dropout(0.5), nn.Linear(30, 3)).double()
    walk = loss_along(loss_of(model), model, [1e-9])
    assert walk.gradient_change.item() < 1e-6  # other masks would change it by its own size
    assert walk.gradient_norm > 0.1


def test_frozen_parameters_stay_where_they_are_and_count_for_nothing():
    model = network()
    free = copy.deepcopy(model)
    for p in model[0].parameters():
        p.requires_grad_(False)
    parameters = [p for p in model.parameters() if p.requires_grad]
    expected = math.hypot(*(g.norm().item() for g in torch.autograd.grad(loss_of(model)(), parameters)))
    walk = loss_along(loss_of(model), model, STEPS)
    assert walk.gradient_norm == pytest.approx(expected, rel=1e-12)
    assert walk.gradient_norm < loss_along(loss_of(free), free, STEPS).gradient_norm


def test_a_shared_parameter_moves_once():
    layer = nn.Linear(4, 4, bias=False).double()
    model = nn.Sequential(layer, layer)
    x = torch.randn(5, 4, dtype=torch.float64)
    loss = lambda: model(x).square().mean()  # noqa: E731
    (gradient,) = torch.autograd.grad(loss(), [layer.weight])
    walk = loss_along(loss, model, [0.1])
    layer.weight.data -= 0.1 * gradient
    assert walk.loss.item() == pytest.approx(loss().item(), rel=1e-13)


def test_parameters_that_the_loss_leaves_out_do_not_move():
    model = nn.ModuleList([nn.Linear(2, 1, bias=False), nn.Linear(2, 1)]).double()
    walk = loss_along(lambda: model[0].weight.square().sum(), model, [0.25])
    assert walk.smoothness.item() == pytest.approx(2, rel=1e-12)


def test_sparse_gradients_are_gradients():
    results = []
    for sparse in (False, True):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Embedding(9, 3, sparse=sparse), nn.Linear(3, 2)).double()
        loss = lambda model=model: model(torch.tensor([1, 4, 4])).square().sum()  # noqa: E731
        results.append((loss_along(loss, model, [0.1, 0.2]), gradient_shift(loss, model, model[1], [model[0]], 0.1)))
        results[-1] += (gradient_shift(loss, model, model[0], [model[1]], 0.1),)
    assert str(results[0]) == str(results[1])


def test_where_the_loss_is_not_finite_the_walk_says_infinity():
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.ones_(model.weight)
    walk = loss_along(lambda: -model.weight.log().sum(), model, [0.5, -2.0])  # the logarithm of 1 + t
    assert walk.loss.tolist() == [pytest.approx(-math.log(1.5)), math.inf]
    assert walk.gradient_change[0].isfinite()
    assert walk.loss_range == math.inf
    over = loss_along(lambda: model.weight.exp().sum(), model, [-1000.0])
    assert over.loss.item() == over.gradient_change.item() == over.smoothness.item() == math.inf


# The shift of a gradient


def test_a_product_of_three_numbers_in_closed_form():
    # L = abc: the gradient of c is ab; after a step on a and b it is (a - ηbc)(b - ηac)
    model = nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(3))).double()
    a, b, c, rate = 2.0, -0.5, 3.0, 0.1
    for layer, value in zip(model, (a, b, c), strict=True):
        nn.init.constant_(layer.weight, value)
    loss = lambda: model(torch.ones(1, 1, dtype=torch.float64)).sum()  # noqa: E731
    moved = (a - rate * b * c) * (b - rate * a * c)
    shift = gradient_shift(loss, model, model[2], model[:2], rate)
    assert (shift.gradient_norm, shift.difference) == pytest.approx((abs(a * b), abs(moved - a * b)), rel=1e-13)
    assert shift.cosine == pytest.approx(math.copysign(1, moved * a * b), rel=1e-13)
    only = gradient_shift(loss, model, model[2], [model[1]], rate)
    assert only.difference == pytest.approx(abs(a * (b - rate * a * c) - a * b), rel=1e-12)
    # later layers and the layer itself stay: for b only a moves
    middle = gradient_shift(loss, model, model[1], [model[0]], rate)
    assert middle.difference == pytest.approx(abs((a - rate * b * c) * c - a * c), rel=1e-12)


@pytest.mark.parametrize("which", [1, 2, 3])
def test_the_shift_equals_two_models_side_by_side(which):
    model, rate = network(), 0.7
    other = copy.deepcopy(model)
    shift = gradient_shift(loss_of(model), model, model[which], model[:which], rate)
    loss_of(other)().backward()
    before = torch.cat([p.grad.flatten() for p in other[which].parameters()])
    with torch.no_grad():
        for p in other[:which].parameters():
            p -= rate * p.grad
    after = torch.cat([g.flatten() for g in torch.autograd.grad(loss_of(other)(), list(other[which].parameters()))])
    assert shift.gradient_norm == pytest.approx(before.norm().item(), rel=1e-12)
    assert shift.difference == pytest.approx((after - before).norm().item(), rel=1e-11)
    assert shift.cosine == pytest.approx((after @ before / after.norm() / before.norm()).item(), rel=1e-12)
    assert shift.difference > 1e-3 and shift.cosine < 1 - 1e-6


def test_small_rates_agree_with_the_mixed_second_derivative():
    model = network()
    loss, own, earlier = loss_of(model), list(model[3].parameters()), list(model[:3].parameters())
    gradient = torch.autograd.grad(loss(), [*own, *earlier], create_graph=True)
    step = [g.detach() for g in gradient[len(own) :]]
    columns = []
    for part in gradient[: len(own)]:
        for value in part.flatten():
            row = torch.autograd.grad(value, earlier, retain_graph=True, allow_unused=True)
            columns.append(sum((r * s).sum() for r, s in zip(row, step, strict=True) if r is not None))
    expected = torch.stack(columns).norm().item()
    assert gradient_shift(loss, model, model[3], model[:3], 1e-5).difference / 1e-5 == pytest.approx(expected, rel=1e-3)


def test_dropout_masks_do_not_change_between_before_and_after():
    model = nn.Sequential(nn.Linear(4, 30), nn.Dropout(0.5), nn.Linear(30, 3)).double()
    shift = gradient_shift(loss_of(model), model, model[2], [model[0]], 1e-9)
    assert shift.difference < 1e-6 < shift.gradient_norm  # other masks would change it by its own size


def test_what_a_layer_shares_with_the_earlier_ones_stays():
    shared = nn.Linear(3, 3, bias=False).double()
    model = nn.Sequential(nn.Linear(3, 3, bias=False).double(), shared, nn.Tanh(), shared)
    x = torch.randn(4, 3, dtype=torch.float64)
    loss = lambda: model(x).square().sum()  # noqa: E731
    both = gradient_shift(loss, model, model[3], model[:3], 0.1)
    assert both == gradient_shift(loss, model, model[3], [model[0]], 0.1)


def test_a_frozen_earlier_layer_does_not_move():
    model = network()
    model[0].requires_grad_(False)
    shift = gradient_shift(loss_of(model), model, model[3], model[:3], 0.5)
    assert shift == gradient_shift(loss_of(model), model, model[3], model[1:3], 0.5)


# What is refused


@pytest.mark.parametrize("steps", [[], [0.0], [0.1, 0.0], [math.nan], [0.1, math.inf]])
def test_steps_that_are_none(steps):
    model = Quadratic()
    with pytest.raises(ValueError, match=r"^steps must be finite numbers other than 0, but got \[.*\]; try"):
        loss_along(model, model, steps)


def test_a_direction_that_does_not_fit_or_goes_nowhere():
    model = Quadratic()
    wrong = [
        [torch.ones(3)],
        [torch.ones(3), torch.ones(3)],
        [torch.zeros(3), torch.zeros(1, 3)],
        [torch.ones(3), torch.full((1, 3), math.inf)],
    ]
    for direction in wrong:
        with pytest.raises(ValueError, match="^direction must fit parameters and not be zero, but got length "):
            loss_along(model, model, [0.1], direction)
    flat = nn.Linear(1, 1, bias=False)
    with pytest.raises(ValueError, match=r"^direction must fit .* not be zero, but got length 0\.0; "):
        loss_along(lambda: (flat.weight * 0).sum(), flat, [0.1])


def calls(model, loss):
    return [lambda: loss_along(loss, model, [0.1]), lambda: gradient_shift(loss, model, model[1], [model[0]], 0.1)]


@pytest.mark.parametrize("index", [0, 1])
def test_no_gradient_or_no_number(index):
    model, x = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), torch.ones(3, 2)
    for loss in (lambda: model(x).detach().sum(), lambda: 1.0):
        with pytest.raises(ValueError, match="^loss must have a gradient, but got .*; call the model in it"):
            calls(model, loss)[index]()
    for loss in (lambda: model(x).sum(1), lambda: model(x).sum() * math.nan):
        with pytest.raises(ValueError, match="^loss must be one finite number, but got .*; take the mean"):
            calls(model, loss)[index]()
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="^(loss must have a gradient, but got|layers must have parameters to train)"):
        calls(model, lambda: model(x).sum())[index]()


def test_layers_of_the_shift():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    loss = lambda: model(torch.ones(3, 2)).sum()  # noqa: E731
    for layer, earlier in ((nn.Linear(2, 2), [model[0]]), (model[2], [nn.Linear(2, 2)]), (model[2], [])):
        with pytest.raises(ValueError, match="^layers must be modules of the model, but got .*; take them from"):
            gradient_shift(loss, model, layer, earlier, 0.1)
    for layer, earlier, counts in ((model[1], [model[0]], "0, earlier 2"), (model[2], [model[1]], "2, earlier 0")):
        with pytest.raises(ValueError, match=f"^layers must have parameters to train, but got {counts}; unfreeze"):
            gradient_shift(loss, model, layer, earlier, 0.1)


@pytest.mark.parametrize("rate", [math.nan, math.inf])
def test_a_rate_at_which_the_loss_is_no_number(rate):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises(ValueError, match="^loss must be one finite number, but got (nan|inf); "):
        gradient_shift(lambda: model(torch.ones(3, 2)).square().sum(), model, model[1], [model[0]], rate)
