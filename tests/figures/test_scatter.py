"""Chapter 14's interactive figure: what it refuses, and that its logits are those of torch's batch norm."""

from base64 import b64encode

import numpy as np
import pytest
import torch
from torch import nn

from companion.figures.scatter import POINTS, UNITS, Scatter
from companion.probes import batch_noise, mc_batch_norm

FULL = {
    "batch_size": 2,
    "own": False,
    "example": [2.5, -1.5],
    "draw": 1000,
}  # what all figures' promises are tried with

slow = pytest.mark.slow
SIZES = [4, 8, 16, 32, 64, 128, 256, 512]


def test_text_is_short():
    assert repr(Scatter()) == "Scatter()"
    assert repr(Scatter(units=[[1, 2, 1, 0, 1]] * 3, batch_size=8)) == "Scatter(batch_size=8, units=<3 x 5>)"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("points", []),
        ("points", POINTS[:7]),
        ("points", [[0, 1]] * 9),
        ("points", [[0, 1, float("nan")]] * 9),
        ("units", []),
        ("units", [[1, 2, 3, 4]]),
        ("units", None),
        ("bias", float("inf")),
        ("example", [1]),
        ("example", [1, float("nan")]),
        ("batch_size", 1),
        ("batch_size", 513),
        ("batch_size", 32.0),
        ("own", 2),
        ("own", None),
        ("draw", 0),
        ("draw", 1001),
    ],
)
def test_traits_refuse_and_keep_what_they_had(name, value):
    message = f"(?s)^{name} must be .*, but got {name}=.*; "
    with pytest.raises(ValueError, match=message):
        Scatter(**{name: value})
    figure = Scatter()
    with pytest.raises(ValueError, match=message):
        setattr(figure, name, value)
    assert repr(figure) == "Scatter()"


# In a browser


def run(figure, code, *values):
    """Run code in the page that finds the module as ``it`` and what it is given as ``values``."""
    module = "data:text/javascript;base64," + b64encode(str(Scatter()._esm).encode()).decode()
    return figure.page.evaluate(
        f"async ([module, values]) => {{ const it = await import(module); return {code}; }}", [module, values]
    )


def compute(figure, state):
    return run(figure, "it.compute(values[0])", state)


def batches(figure, state, count, size):
    """Return the points of the first batches."""
    code = "[...Array(values[1]).keys()].map(index => it.mates(values[0], index, values[2]))"
    return run(figure, code, state, count, size)


def said(figure):
    return figure.locator(".fig-sentence").inner_text()


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def as_network(state):
    """Return the figure's network in torch's own layers, in float64."""
    units = double(state["units"])
    network = nn.Sequential(
        nn.Linear(2, len(units), bias=False),
        nn.BatchNorm1d(len(units), eps=state["eps"]),
        nn.ReLU(),
        nn.Linear(len(units), 1),
    ).double()
    network[0].weight.data, network[1].weight.data, network[1].bias.data = units[:, :2], units[:, 2], units[:, 3]
    network[3].weight.data, network[3].bias.data = units[None, :, 4], double([state["bias"]])
    return network


def expected(figure, state, size):
    """Return the logits that torch gives the example in the figure's batches of a size."""
    network, points, example = as_network(state), double(state["points"])[:, :2], double([state["example"]])
    drawn = points[torch.tensor(batches(figure, state, 300, size))]
    if state["own"]:
        return batch_noise(network, example, drawn[:, : size - 1]).flatten()
    return torch.cat([mc_batch_norm(network, batch, example, size, num_samples=1).flatten() for batch in drawn])


@slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"own": False, "draw": 7},
        {"batch_size": 2, "example": [3.0, -2.5]},
        {"batch_size": 100, "eps": 0.3, "own": False, "bias": -2.0},
        {"units": [[100.0, 3.0, -2.0, 0.5, 1.5], [0.1, -0.4, 0.7, -0.3, -2.0]], "example": [0.3, 0.2]},
        {"points": [[1000 + 0.1 * i, (0.3 * i) % 1, i % 2] for i in range(9)], "example": [1000.5, 0.5]},
    ],
    ids=str,
)
def test_the_drawing_computes_what_the_package_computes(changes, show):
    [figure] = show(Scatter())
    state = Scatter(**changes).state()
    result = compute(figure, state)
    size = state["batch_size"]
    assert result["sizes"] == sorted({*SIZES, size})
    for one in {size, 4}:
        logits, place = expected(figure, state, one), result["sizes"].index(one)
        assert result["logits"][place] == pytest.approx(logits.tolist(), abs=1e-9, rel=1e-9)
        assert result["spreads"][place] == pytest.approx(float(logits.std(correction=0)), abs=1e-9, rel=1e-9)
    points, example = double(state["points"])[:, :2], double([state["example"]])
    calm = mc_batch_norm(as_network(state), points, example, len(points), num_samples=1)
    assert result["calm"] == pytest.approx(float(calm), abs=1e-9, rel=1e-9)


@slow
def test_batches_are_random_and_a_larger_one_begins_with_a_smaller(show):
    [figure] = show(Scatter())
    state = Scatter().state()
    large = batches(figure, state, 60, 512)
    assert large[4][:8] == batches(figure, state, 5, 8)[4]
    assert len({tuple(batch[:8]) for batch in large}) == 60
    assert batches(figure, {**state, "draw": 2}, 1, 512)[0] not in large
    counts = np.bincount(np.concatenate(large), minlength=160)
    assert len(counts) == 160 and abs(counts - 192).max() <= 75  # expected 192, standard deviation 14


@slow
def test_words_numbers_and_bars_follow_the_keyboard(show):
    [figure] = show(Scatter())
    start, result = said(figure), compute(figure, Scatter().state())
    spread = figure.locator("output[data-name=spread]")
    assert start == f"In 300 batches of 32 the logit has a standard deviation of {spread.inner_text()}."
    assert spread.inner_text() == f"{result['spreads'][3]:.2f}"
    count = "all => all.map(one => Number(one.dataset.count)).reduce((a, b) => a + b)"
    figure.get_by_role("slider", name="examples in a batch").focus()
    for key in ("Home", "End", "ArrowLeft"):
        figure.page.keyboard.press(key)
        assert figure.locator(".sc-bar").evaluate_all(count) == 300
    now, before = result["spreads"][6], result["spreads"][7]
    went = f"the scatter goes from {before:.2f} to {now:.2f}, times {now / before:.2f}."
    assert said(figure) == f"From batches of 512 to 256: {went}"
    figure.get_by_role("button", name="others only").click()
    assert said(figure).startswith("The batches are without the example: the scatter goes from ")
    figure.get_by_role("button", name="draw other batches").click()
    assert said(figure).startswith("In 300 batches of 256 the logit has a standard deviation of ")
    figure.get_by_role("button", name="reset").click()
    assert said(figure) == start


@slow
def test_moving_the_example_moves_its_logit_and_batches_that_change_its_class_are_counted(show):
    [figure] = show(Scatter(example=[0.9, 0.1], batch_size=16))
    result = compute(figure, Scatter(example=[0.9, 0.1], batch_size=16).state())
    turned = sum((logit < 0) != (result["calm"] < 0) for logit in result["logits"][2])
    assert figure.locator("output[data-name=turned]").inner_text() == str(turned) and turned > 0
    assert figure.locator(".fig-remark").inner_text().startswith(f"{turned} of 300 batches put it into the other class")
    calm = figure.locator("output[data-name=calm]")
    before = calm.inner_text()
    figure.locator(".fig-handle").focus()
    figure.page.keyboard.press("ArrowUp")
    moved = compute(figure, Scatter(example=[0.9, 0.2], batch_size=16).state())
    assert calm.inner_text() == f"{moved['calm']:.2f}".replace("-", "−") != before


def test_the_default_network_tells_the_classes_apart():
    h = np.array(POINTS)[:, :2] @ np.array(UNITS)[:, :2].T
    scale, offset, last = np.array(UNITS)[:, 2:].T
    logits = np.maximum(0, scale * (h - h.mean(0)) / h.std(0) + offset) @ last + Scatter().bias
    assert ((logits > 0) == np.array(POINTS)[:, 2]).mean() > 0.95
