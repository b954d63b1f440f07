"""Weight decay as a growing rate: the algebra, and the same functions step by step."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from companion.norms import BatchNorm
from companion.probes import EquivalentSchedule, equivalent_schedule, replace_weight_decay

SETTINGS = [(0.1, 5e-4, 0.9), (0.1, 0.1, 0.0), (0.4, 0.05, 0.5), (1.0, 0.99, 0.0), (0.1, 0.0, 0.9), (2.0, 0.0, 0.0)]


@pytest.mark.parametrize(("rate", "decay", "momentum"), SETTINGS)
def test_alpha_is_the_larger_root(rate, decay, momentum):
    alpha = equivalent_schedule(rate, decay, momentum).alpha
    roots = np.roots([1, -(1 + momentum - decay * rate), momentum])
    assert alpha == pytest.approx(max(roots.real), rel=1e-12)
    assert 0 < alpha <= 1


def test_alpha_keeps_its_digits_where_decay_is_tiny():
    # 1 - alpha = product / (1 - momentum) to first order; the textbook formula has no digit of it left
    assert 1 - equivalent_schedule(1.0, 1e-12, 0.9).alpha == pytest.approx(1e-11, rel=1e-4)


def test_without_momentum_alpha_is_what_decay_leaves():
    assert equivalent_schedule(0.5, 0.5).alpha == 0.75


def test_rate_and_growth():
    schedule = equivalent_schedule(0.1, 0.1, 0.5)
    assert schedule.rate(0) == pytest.approx(0.1 / schedule.alpha, rel=1e-15)
    assert schedule.rate(8) / schedule.rate(7) == pytest.approx(schedule.growth, rel=1e-13)
    assert equivalent_schedule(0.1, 0.0, 0.9).rate(10**6) == 0.1


def test_the_initial_momentum_is_a_step_that_shrinks_the_weights():
    schedule = equivalent_schedule(0.1, 0.1, 0.5)
    weights = torch.randn(3, dtype=torch.float64, requires_grad=True)
    start = schedule.initial_momentum(weights)
    assert not start.requires_grad
    before = weights.detach() + schedule.rate(-1) * start  # one step back
    torch.testing.assert_close(before, schedule.alpha * weights.detach(), rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize(("rate", "decay", "momentum"), [(0.1, 0.1, 0.5), (0.1, 5e-4, 0.9), (1.0, 0.99, 0.0)])
def test_the_first_rate_that_overflows(dtype, rate, decay, momentum):
    schedule = equivalent_schedule(rate, decay, momentum)
    step = schedule.overflow_step(dtype)
    largest = torch.finfo(dtype).max
    assert schedule.rate(step - 1) <= largest < schedule.rate(step)
    assert math.isfinite(schedule.rate(step - 1))


def test_nothing_overflows_without_decay_and_at_once_where_the_rate_is_too_large():
    assert equivalent_schedule(0.1, 0.0).overflow_step() == math.inf
    assert equivalent_schedule(1e5, 1e-6).overflow_step(torch.float16) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", -0.1),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("weight_decay", -1e-4),
        ("weight_decay", math.nan),
        ("weight_decay", math.inf),
        ("momentum", -0.1),
        ("momentum", 1.0),
        ("momentum", math.nan),
    ],
)
def test_numbers_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be .*, but got {name}={value}; try"):
        equivalent_schedule(**{"learning_rate": 0.1, "weight_decay": 1e-3, "momentum": 0.9, name: value})


@pytest.mark.parametrize(("rate", "decay", "momentum"), [(0.1, 0.2, 0.9), (1.0, 1.0, 0.0), (10.0, 4.0, 0.5)])
def test_complex_roots(rate, decay, momentum):
    message = r"^learning_rate \* weight_decay must be at most .* but got [0-9.]+; lower one of the three"
    with pytest.raises(ValueError, match=message):
        equivalent_schedule(rate, decay, momentum)


# On a network


def network(eps=0.0):
    torch.manual_seed(0)
    hidden = [nn.Linear(6, 12, bias=False), BatchNorm(12, eps=eps, affine=False), nn.ReLU()]
    model = nn.Sequential(*hidden, nn.Linear(12, 12, bias=False), BatchNorm(12, eps=eps, affine=False), nn.ReLU())
    return nn.Sequential(*model, nn.Linear(12, 4)).double()


def make(model, **settings):
    """Make SGD for the invariant weights; the last layer stays."""
    return torch.optim.SGD([model[0].weight, model[3].weight], **settings)


def train(model, optimizer, steps, scheduler=None):
    """Train, and return the logits after each step."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(steps, 20, 6, generator=generator, dtype=torch.float64)
    y = torch.randint(4, (steps, 20), generator=generator)
    logits = []
    for batch, labels in zip(x, y, strict=True):
        optimizer.zero_grad()
        cross_entropy(model(batch), labels).backward()
        optimizer.step()
        if scheduler:
            scheduler.step()
        with torch.no_grad():
            logits.append(model(x[0]))
    return torch.stack(logits)


@pytest.mark.parametrize(("rate", "decay", "momentum"), [(0.1, 0.05, 0.0), (0.05, 0.05, 0.5), (0.02, 0.02, 0.9)])
def test_the_same_functions_as_with_weight_decay(rate, decay, momentum):
    decayed, grown = network(), network()
    optimizer = make(grown, lr=rate, weight_decay=decay, momentum=momentum)
    scheduler = replace_weight_decay(optimizer)
    expected = train(decayed, make(decayed, lr=rate, weight_decay=decay, momentum=momentum), 200)
    got = train(grown, optimizer, 200, scheduler)
    assert (got - expected).abs().max() < 1e-9
    assert (expected[-1] - expected[0]).abs().max() > 0.1  # it trained
    schedule = equivalent_schedule(rate, decay, momentum)
    assert scheduler.get_last_lr()[0] == pytest.approx(schedule.rate(200), rel=1e-12)
    ratio = grown[0].weight / decayed[0].weight
    torch.testing.assert_close(ratio, torch.full_like(ratio, schedule.alpha**-200), rtol=1e-8, atol=0)
    # the growing rate is what does it
    constant = network()
    assert (train(constant, make(constant, lr=rate, momentum=momentum), 200) - expected).abs().max() > 1e-2


@pytest.mark.parametrize("break_it", ["initial momentum", "epsilon", "decay of the last layer"])
def test_each_condition_is_needed(break_it):
    eps = 1e-2 if break_it == "epsilon" else 0.0
    decayed, grown = network(eps), network(eps)
    settings = {"lr": 0.05, "weight_decay": 0.05, "momentum": 0.9}
    optimizers = [make(decayed, **settings), make(grown, **settings)]
    if break_it == "decay of the last layer":
        for model, optimizer in zip((decayed, grown), optimizers, strict=True):
            optimizer.param_groups[0]["params"].append(model[6].weight)
    scheduler = replace_weight_decay(optimizers[1])
    if break_it == "initial momentum":
        optimizers[1].state.clear()
    difference = train(grown, optimizers[1], 100, scheduler) - train(decayed, optimizers[0], 100)
    assert difference.abs().max() > 1e-3


def test_it_can_take_over_from_a_run_with_weight_decay():
    settings = {"lr": 0.05, "weight_decay": 0.02, "momentum": 0.9}
    model = network()
    optimizer = make(model, **settings)
    train(model, optimizer, 30)
    other = copy.deepcopy(model)
    taken_over = make(other, **settings)
    taken_over.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    scheduler = replace_weight_decay(taken_over)
    difference = train(other, taken_over, 100, scheduler) - train(model, optimizer, 100)
    assert difference.abs().max() < 1e-9


def test_groups_have_schedules_of_their_own():
    model = network()
    groups = [
        {"params": [model[0].weight], "weight_decay": 0.05},
        {"params": [model[3].weight], "lr": 0.2},
        {"params": [model[6].weight, model[6].bias], "weight_decay": 0.0},
    ]
    decayed, grown = network(), model
    names = [["0.weight"], ["3.weight"], ["6.weight", "6.bias"]]
    there = dict(decayed.named_parameters())
    copied = [{**group, "params": [there[name] for name in row]} for group, row in zip(groups, names, strict=True)]
    settings = {"lr": 0.05, "weight_decay": 0.01, "momentum": 0.5}
    optimizer = torch.optim.SGD(groups, **settings)
    scheduler = replace_weight_decay(optimizer)
    difference = train(grown, optimizer, 100, scheduler) - train(decayed, torch.optim.SGD(copied, **settings), 100)
    assert difference.abs().max() < 1e-9


@pytest.mark.parametrize(
    "options",
    [
        {"dampening": 0.1, "momentum": 0.5},
        {"nesterov": True, "momentum": 0.5},
        {"maximize": True},
        {"lr": torch.tensor(0.1)},
    ],
)
def test_optimizers_that_move_otherwise_are_refused_and_left_alone(options):
    optimizer = make(network(), **{"lr": 0.1, "weight_decay": 1e-3, **options})
    with pytest.raises(ValueError, match="must be .* but got .*; "):
        replace_weight_decay(optimizer)
    assert optimizer.param_groups[0]["weight_decay"] == 1e-3
    assert not optimizer.state


def test_a_scheduler_or_another_optimizer_is_refused():
    optimizer = make(network(), lr=0.1)
    torch.optim.lr_scheduler.StepLR(optimizer, 10)
    with pytest.raises(ValueError, match="^the rate must be a number without a scheduler"):
        replace_weight_decay(optimizer)
    with pytest.raises(TypeError, match=r"^optimizer must be torch.optim.SGD, but got Adam; "):
        replace_weight_decay(torch.optim.Adam([torch.ones(1)]))


def test_a_schedule_is_data():
    schedule = equivalent_schedule(0.1, 5e-4, 0.9)
    assert schedule == EquivalentSchedule(0.1, 0.9, schedule.alpha)
    with pytest.raises(AttributeError):
        schedule.alpha = 1.0
