"""Chapter 15's interactive figure: what it refuses, and that its passes are those of ``MonteCarloBatchNorm``."""

import copy
from base64 import b64encode

import numpy as np
import pytest
import torch
from torch import nn

from companion.figures.doubt import CASES, Doubt
from companion.probes import MonteCarloBatchNorm, gaussian_crps

FULL = {"passes": 200, "noise": 0.35, "case": 1}  # what the promises of all figures are tried with

slow = pytest.mark.slow


def changed(**parts):
    """Return the first case of the default with other parts."""
    return [{**copy.deepcopy(CASES[0]), **parts}]


def test_text_is_short():
    assert repr(Doubt()) == "Doubt()"
    figure = Doubt(cases=changed(name="mine"), passes=5, noise=0.1)
    assert repr(figure) == "Doubt(cases=<mine>, noise=0.1, passes=5)"


@pytest.mark.parametrize(
    "cases",
    [
        [],
        None,
        3,
        [{}],
        [{**CASES[0], "more": 1}],
        changed(points=[[0, 1]]),
        changed(held_out=[]),
        changed(points=[[0, 1, 2]] * 5),
        changed(points=[[0, float("nan")]] * 5),
        changed(weights=CASES[0]["weights"][1:]),
        changed(weights=[]),
        changed(scales=CASES[0]["scales"][:1]),
        changed(offsets=CASES[0]["offsets"][:2]),
        changed(scales=[[float("inf")] * 12] * 2),
        [CASES[0], *changed(points=CASES[0]["points"][1:])],
    ],
)
def test_cases_that_are_no_networks(cases):
    with pytest.raises(ValueError, match=r"(?s)^cases must be a list of networks .*, but got cases=.*; give each"):
        Doubt(cases=cases)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("case", -1),
        ("case", 2),
        ("case", 0.5),
        ("batch_size", 1),
        ("batch_size", 61),
        ("batch_size", 32.0),
        ("passes", 0),
        ("passes", 501),
        ("passes", None),
        ("noise", -0.1),
        ("noise", float("nan")),
        ("draw", 0),
        ("draw", 1001),
        ("eps", -1e-9),
        ("eps", float("inf")),
    ],
)
def test_other_traits_refuse_and_keep_what_they_had(name, value):
    message = f"^{name} must .*, but got {name}=.*; "
    with pytest.raises(ValueError, match=message):
        Doubt(**{name: value})
    figure = Doubt()
    with pytest.raises(ValueError, match=message):
        setattr(figure, name, value)
    assert repr(figure) == "Doubt()"


# In a browser


def call(figure, function, *arguments):
    """Call a function of the module in the page."""
    module = "data:text/javascript;base64," + b64encode(str(Doubt()._esm).encode()).decode()
    run = "async ([module, name, values]) => (await import(module))[name](...values)"
    return figure.page.evaluate(run, [module, function, arguments])


def said(figure):
    return figure.locator(".fig-sentence").inner_text()


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def as_network(case, eps):
    """Return a case as a network of torch's own layers, in float64."""
    layers = []
    for weight, scale, offset in zip(case["weights"], case["scales"], case["offsets"], strict=False):
        linear = nn.Linear(len(weight[0]), len(weight), bias=False)
        norm = nn.BatchNorm1d(len(weight), eps=eps)
        linear.weight.data, norm.weight.data, norm.bias.data = map(double, (weight, scale, offset))
        layers += [linear, norm, nn.ReLU()]
    last = nn.Linear(len(case["weights"][-1][0]), 1)
    last.weight.data, last.bias.data = double(case["weights"][-1]), double(case["offsets"][-1])
    return nn.Sequential(*layers, last).double().eval()


def expected(figure, state):
    """Return the answers that torch's network gives, normalised with the batches that the figure draws."""
    case = state["cases"][state["case"]]
    network = as_network(case, state["eps"])
    points, held_out = (double(case[name]) for name in ("points", "held_out"))
    low, high = points[:, 0].min(), points[:, 0].max()
    room = 0.15 * (high - low)
    x = torch.linspace(low - room, high + room, 121, dtype=torch.float64)
    queries = torch.cat([x, held_out[:, 0]])[:, None]
    answers = []
    for number in range(state["passes"]):
        drawn = call(figure, "batch", state, number)
        assert len(set(drawn)) == state["batch_size"]
        one = MonteCarloBatchNorm(network, points[drawn, :1], state["batch_size"], num_samples=1)
        answers.append(one.samples(queries)[0, :, 0])
    return x, torch.stack(answers), held_out


@slow
def test_the_drawing_computes_what_the_package_computes(show):
    [figure] = show(Doubt())
    rng = np.random.default_rng(0)
    deep = [rng.normal(size=shape).tolist() for shape in ((5, 1), (4, 5), (3, 4), (1, 3))]
    other = changed(
        weights=deep, scales=[[1.0] * size for size in (5, 4, 3)], offsets=[[0.1] * size for size in (5, 4, 3, 1)]
    )
    for changes in (
        {},
        {"passes": 7, "batch_size": 5, "draw": 3},
        {"case": 1, "noise": 0.3, "passes": 12},
        {"passes": 1},
        {"batch_size": 60, "passes": 3, "noise": 0.1},
        {"cases": other, "eps": 0.2, "passes": 9},
        {"cases": changed(weights=[deep[0], [[1.0] * 5]], scales=[[2.0] * 5], offsets=[[0.3] * 5, [0.0]])},
    ):
        state = Doubt(**changes).state()
        result = call(figure, "compute", state)
        x, answers, held_out = expected(figure, state)
        assert result["x"] == pytest.approx(x.tolist(), abs=1e-12)
        assert np.array(result["samples"]) == pytest.approx(answers[:, :121].numpy(), abs=1e-9)
        mean, spread = answers.mean(0), answers.std(0, correction=0)
        total = (spread.square() + state["noise"] ** 2).sqrt()
        assert result["mean"] == pytest.approx(mean[:121].tolist(), abs=1e-9)
        assert result["spread"] == pytest.approx(spread[:121].tolist(), abs=1e-9)
        assert result["total"] == pytest.approx(total[:121].tolist(), abs=1e-9)
        assert result["typical"] == pytest.approx(float(spread[121:].mean()), abs=1e-9)
        assert result["widest"]["spread"] == pytest.approx(float(spread[:121].max()), abs=1e-9)
        error = held_out[:, 1] - mean[121:]
        if state["passes"] > 1 and state["batch_size"] < 60:
            assert result["inside"] == (error.abs() <= 2 * total[121:]).tolist()
        assert result["crps"] == pytest.approx(float(gaussian_crps(error, 0 * error, total[121:]).mean()), abs=1e-9)


@slow
def test_batches_are_random_and_a_larger_one_begins_with_a_smaller(show):
    [figure] = show(Doubt())
    small, large = Doubt(batch_size=8).state(), Doubt(batch_size=50).state()
    assert call(figure, "batch", large, 4)[:8] == call(figure, "batch", small, 4)
    first = [tuple(call(figure, "batch", Doubt(batch_size=8, draw=draw).state(), 0)) for draw in range(1, 6)]
    assert len(set(first)) == 5
    counts = np.bincount(np.concatenate([call(figure, "batch", large, number) for number in range(60)]), minlength=60)
    assert abs(counts - 50).max() <= 14  # 60 batches of 50 out of 60: standard deviation 2.9


@slow
def test_numbers_and_words_follow_the_keyboard(show):
    [figure] = show(Doubt())
    start = said(figure)
    assert start.startswith("50 passes with batches of 32 spread by ")
    size = figure.get_by_role("slider", name="points in a batch")
    size.focus()
    figure.page.keyboard.press("End")
    assert said(figure) == "Batches of all 60 points: all passes are the same one."
    typical = figure.locator("output[data-name=typical]")
    assert typical.inner_text() == "0.00"
    size.focus()
    figure.page.keyboard.press("ArrowLeft")
    assert said(figure).startswith("Batches of 32 instead of 60: the passes spread by ")
    passes = figure.get_by_role("slider", name="passes", exact=True)
    passes.focus()
    figure.page.keyboard.press("Home")
    assert said(figure) == "One pass: one answer, and no sign of doubt."
    figure.get_by_role("button", name="reset").click()
    assert said(figure) == start
    result = call(figure, "compute", Doubt().state())
    assert typical.inner_text() == f"{result['typical']:.2f}"
    assert figure.locator("output[data-name=inside]").inner_text() == f"{sum(result['inside'])} of 30"
    assert figure.locator("output[data-name=crps]").inner_text() == f"{result['crps']:.3f}"
    outside = figure.locator(".do-held[data-inside=false]")
    assert outside.count() == result["inside"].count(False) + 1  # one in the key


@slow
def test_noise_is_added_to_the_band_and_not_to_the_passes(show):
    [figure] = show(Doubt(case=1))
    typical, inside = (figure.locator(f"output[data-name={name}]") for name in ("typical", "inside"))
    before, few = typical.inner_text(), inside.inner_text()
    noise = figure.get_by_role("slider", name="noise added")
    noise.focus()
    for _ in range(8):
        figure.page.keyboard.press("ArrowRight")
    assert noise.get_attribute("aria-valuetext") == "0.40"
    assert typical.inner_text() == before
    assert "a noise of 0.40 is added" in said(figure)
    assert int(inside.inner_text().split()[0]) > int(few.split()[0])
    figure.locator("[aria-live=polite]").get_by_text("a noise of 0.40 is added").wait_for(state="attached")


@slow
def test_other_data_and_other_batches(show):
    [figure] = show(Doubt())
    figure.get_by_role("button", name="much noise").click()
    assert said(figure).startswith("“much noise”: the passes spread")
    assert figure.get_by_role("button", name="much noise").get_attribute("aria-pressed") == "true"
    figure.get_by_role("button", name="draw other batches").click()
    assert said(figure).startswith("Other batches: the passes spread")
