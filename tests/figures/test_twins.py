"""Chapter 10's interactive figure: what it refuses, and that its two runs are those that torch computes."""

from base64 import b64encode

import numpy as np
import pytest
import torch
from torch.nn import functional

from companion.figures.twins import Twins
from companion.probes import equivalent_schedule

FULL = {"weight_decay": 0.005, "eps": 1e-4}  # what the promises of all figures are tried with


def torch_runs(state):
    """Return losses, outputs and length of the first layer's weights of both runs, in float64, with autograd."""
    points, units = (torch.tensor(state[name], dtype=torch.float64) for name in ("points", "units"))
    x, y = points[:, :2], points[:, 2].long()
    trained = ["first"] + ["last"] * (not state["last_fixed"]) + ["gamma", "delta"] * (not state["affine_fixed"])
    eta, lam, mu = (state[name] for name in ("learning_rate", "weight_decay", "momentum"))
    schedule = equivalent_schedule(eta, lam, mu)
    runs = {}
    for name, twin in (("decay", False), ("twin", True)):
        p = {
            "first": units[:, :2],
            "last": units[:, 2:],
            "gamma": torch.ones(len(units)),
            "delta": torch.zeros(len(units)),
        }
        p = {key: value.double() for key, value in p.items()}
        v = {key: torch.zeros_like(p[key]) for key in trained}
        if twin and state["pushed"]:
            v = {key: schedule.initial_momentum(p[key]) for key in trained}
        losses, outputs, lengths = [], [], []
        for step in range(state["steps"] + 1):
            p |= {key: p[key].detach().requires_grad_() for key in trained}
            h = x @ p["first"].T
            if state["normalized"]:
                h = (h - h.mean(0)) / (h.var(0, correction=0) + state["eps"]).sqrt()
            outputs.append(torch.relu(p["gamma"] * h + p["delta"]) @ p["last"])
            losses.append(functional.cross_entropy(outputs[-1], y))
            lengths.append(p["first"].norm().item())
            for key, g in zip(trained, torch.autograd.grad(losses[-1], [p[key] for key in trained]), strict=True):
                weights = p[key].detach()
                v[key] = mu * v[key] + g + (0 if twin else lam) * weights
                p[key] = weights - (schedule.rate(step) if twin else eta) * v[key]
        runs[name] = torch.stack(losses).detach().numpy(), torch.stack(outputs).detach().numpy(), lengths
    return runs


def test_text_is_short():
    assert repr(Twins()) == "Twins()"
    text = repr(Twins(points=[[0, 1, 2], [1, 0, 0]], units=np.ones((4, 5)), eps=0.1))
    assert text == "Twins(eps=0.1, points=[[0.0, 1.0, 2.0], [1.0, 0.0, 0.0]], units=<4 x 5>)"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("points", [[1.0, 2.0, 0]]),
        ("points", [[1.0, 2.0], [3.0, 4.0]]),
        ("points", [[1, 2, 3], [1, 2, 0]]),
        ("points", [[np.nan, 2, 1], [1, 2, 0]]),
        ("points", None),
        ("units", []),
        ("units", [[1.0] * 4]),
        ("units", [[np.inf] * 5]),
        ("learning_rate", 0),
        ("learning_rate", None),
        ("momentum", 1),
        ("momentum", -0.1),
        ("weight_decay", -1),
        ("weight_decay", float("nan")),
        ("eps", -1e-9),
        ("steps", 0),
        ("steps", 1.5),
        ("normalized", "yes"),
        ("pushed", None),
        ("last_fixed", 2),
        ("affine_fixed", []),
    ],
)
def test_traits_refuse_and_keep_what_they_had(name, value):
    message = f"^{name} must be .*, but got {name}=.*; "
    with pytest.raises(ValueError, match=message):
        Twins(**{name: value})
    figure = Twins()
    with pytest.raises(ValueError, match=message):
        setattr(figure, name, value)
    assert repr(figure) == "Twins()"


def test_no_rate_without_a_real_root():
    for numbers in (
        {"weight_decay": 0.1},
        {"learning_rate": 5.0},
        {"momentum": 0.99},
        {"momentum": 0, "weight_decay": 2},
    ):
        with pytest.raises(ValueError, match=r"^weight_decay \* learning_rate must be at most .*; lower one$"):
            Twins(**numbers)
    assert Twins(momentum=0.0, weight_decay=0.1).weight_decay == 0.1  # both at once


def test_the_state_at_first():
    state = Twins().state()
    assert len(state["points"]) == 30
    assert {row[2] for row in state["points"]} == {0, 1, 2}
    assert np.shape(state["units"]) == (8, 5)


# In a browser


def evaluate(figure, state):
    """Call the module's arithmetic in the page."""
    module = "data:text/javascript;base64," + b64encode(str(Twins()._esm).encode()).decode()
    return figure.page.evaluate("async ([module, state]) => (await import(module)).compute(state)", [module, state])


def said(figure):
    return figure.locator(".fig-sentence").inner_text()


@pytest.mark.slow
def test_the_drawing_computes_what_torch_computes(show):
    draw = np.random.default_rng(0)
    points = np.column_stack([draw.normal(size=(20, 2)), draw.integers(0, 3, 20)]).tolist()
    other = {"points": points, "units": draw.normal(size=(5, 5)).tolist()}
    [figure] = show(Twins())
    for changes in (
        {},
        {"momentum": 0.0, "weight_decay": 0.01},
        {"momentum": 0.5, "weight_decay": 0.001, "learning_rate": 0.2},
        {"pushed": False},
        {"eps": 1e-3},
        {"last_fixed": False, "weight_decay": 0.001},
        {"affine_fixed": False, "weight_decay": 0.001},
        {"normalized": False, "momentum": 0.5},
        {"steps": 40, **other},
        {"steps": 40, "eps": 0.1, "normalized": True, "last_fixed": False, "affine_fixed": False, **other},
    ):
        state = Twins(**{"steps": 60, **changes}).state()
        result, runs = evaluate(figure, state), torch_runs(state)
        for name, (losses, _, lengths) in runs.items():
            assert result[name]["loss"] == pytest.approx(losses, rel=1e-9, abs=1e-9), (changes, name)
            assert result[name]["length"] == pytest.approx(lengths, rel=1e-9), (changes, name)
        schedule = equivalent_schedule(*(state[name] for name in ("learning_rate", "weight_decay", "momentum")))
        rates = [schedule.rate(step) for step in range(state["steps"])]
        assert result["twin"]["rate"] == pytest.approx(rates, rel=1e-9)
        assert result["growth"] == pytest.approx(rates[-1] / rates[0], rel=1e-9)
        gap = abs(runs["decay"][1] - runs["twin"][1]).max((1, 2))
        assert result["gap"] == pytest.approx(gap, rel=1e-6, abs=1e-9)


@pytest.mark.slow
def test_while_all_conditions_hold_the_runs_are_the_same(show):
    [figure] = show(Twins())
    for momentum, weight_decay in ((0, 0.01), (0.5, 0.01), (0.9, 0.0), (0.9, 0.001), (0.9, 0.005)):
        result = evaluate(figure, Twins(momentum=momentum, weight_decay=weight_decay).state())
        assert max(result["gap"]) < 1e-9
        assert result["decay"]["loss"] == pytest.approx(result["twin"]["loss"], rel=0, abs=1e-9)
    assert result["growth"] > 1e10


@pytest.mark.slow
def test_each_switch_parts_them_and_reset_brings_them_back(show):
    [figure] = show(Twins())
    together = said(figure)
    assert "stay the same to the 12th decimal" in together or "stay the same to the 13th decimal" in together
    for name, trait, words in (
        ("batch norm", "normalized", "There is no batch norm."),
        ("push at the start", "pushed", "The twin's momentum starts at rest."),
        ("last layer fixed", "last_fixed", "The last layer is trained."),
        ("γ, δ fixed", "affine_fixed", "Γ and δ are trained."),
    ):
        switch = figure.get_by_role("button", name=name)
        assert switch.get_attribute("aria-pressed") == "true"
        switch.focus()
        figure.page.keyboard.press("Space")
        assert switch.get_attribute("aria-pressed") == "false"
        assert max(evaluate(figure, Twins(**{trait: False}).state())["gap"]) > 0.01
        assert said(figure).startswith("The runs part")
        assert figure.locator(".fig-remark").inner_text().casefold() == words.casefold()
        figure.get_by_role("button", name="reset").click()
        assert said(figure) == together


@pytest.mark.slow
def test_the_numbers_shown_are_those_of_torch(show):
    [figure] = show(Twins(momentum=0.5, weight_decay=0.001))
    runs = torch_runs(Twins(momentum=0.5, weight_decay=0.001).state())
    lengths = figure.locator("output[data-name=length]").all_inner_texts()
    assert [float(text) for text in lengths] == pytest.approx([runs["decay"][2][-1], runs["twin"][2][-1]], abs=0.051)
    rates = [float(text) for text in figure.locator("output[data-name=rate]").all_inner_texts()]
    assert rates == pytest.approx([0.5, equivalent_schedule(0.5, 0.001, 0.5).rate(299)], abs=0.0051)


@pytest.mark.slow
def test_sliders_keep_the_root_real(show):
    [figure] = show(Twins(momentum=0.5, weight_decay=0.01))
    momentum, decay = (figure.get_by_role("slider", name=name) for name in ("momentum", "weight decay"))
    assert decay.input_value() == "0.01"
    momentum.focus()
    figure.page.keyboard.press("End")
    assert momentum.input_value() == "0.9"
    assert decay.input_value() == decay.get_attribute("max") == "0.005"
    epsilon = figure.get_by_role("slider", name="in the variance")
    epsilon.focus()
    figure.page.keyboard.press("End")
    assert epsilon.get_attribute("aria-valuetext") == "0.01"
    figure.locator("[aria-live=polite]").get_by_text("ε is not 0.").wait_for(state="attached")


@pytest.mark.slow
def test_a_run_that_overflows_is_said_so(show):
    [figure] = show(Twins(learning_rate=50.0, momentum=0.0, weight_decay=0.015, normalized=False, last_fixed=False))
    assert "no number any more" in said(figure)


@pytest.mark.slow
def test_another_epsilon_is_one_more_place_on_its_slider(show):
    first, second = show(Twins(), Twins(eps=1e-3))
    places = [figure.get_by_role("slider", name="in the variance").get_attribute("max") for figure in (first, second)]
    assert places == ["4", "5"]
