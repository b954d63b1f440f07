"""The interactive figure of chapter 9 walks as NumPy does in float64, and as torch's SGD."""

import math
import re
from base64 import b64encode

import numpy as np
import pytest
import torch

from companion.figures import Spiral

FULL = {"mode": "growing", "steps": 200}  # what the promises of all figures are tried with

slow = pytest.mark.slow


def walk(start, rate, decay, mode, steps):
    """Return the places of gradient descent, (steps + 1, 2), without the figure's code: by complex numbers."""
    w = complex(*start)
    places = [w]
    keep = 1 - rate * decay
    for step in range(steps):
        angle = np.angle(w)
        slope = -2 * np.sin(2 * angle) + 1.5 * np.cos(3 * angle)
        gradient = 1j * slope * w / abs(w) ** 2
        if mode == "growing":
            w = w - rate / keep ** (2 * step + 1) * gradient
        else:
            w = (keep if mode == "decay" else 1) * w - rate * gradient
        places.append(w)
    return np.array([[w.real, w.imag] for w in places])


def torch_walk(start, rate, decay, steps):
    """Return the same by autograd and torch's SGD, with weight decay."""
    w = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=rate, weight_decay=decay)
    places = [w.detach().clone()]
    for _ in range(steps):
        angle = torch.atan2(w[1], w[0])
        optimizer.zero_grad()
        (torch.cos(2 * angle) + 0.5 * torch.sin(3 * angle)).backward()
        optimizer.step()
        places.append(w.detach().clone())
    return torch.stack(places).numpy()


# Without a browser


@pytest.mark.parametrize("start", [[0, 0], [1], [1, 2, 3], [math.nan, 1], [1e3, 0], "ab", None, 3, [1e-3, 1e-3]])
def test_places_that_are_no_start(start):
    with pytest.raises(ValueError, match="^start must be two finite numbers, not both zero, but got start=.*; try"):
        Spiral(start=start)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rate", 0),
        ("rate", -0.1),
        ("rate", 3),
        ("rate", math.nan),
        ("rate", "much"),
        ("decay", -0.1),
        ("decay", 0.5),
        ("decay", math.inf),
        ("mode", "plain"),
        ("mode", ["decay"]),
        ("steps", 0),
        ("steps", 201),
        ("steps", 1.5),
    ],
)
def test_other_traits_refuse_and_keep_what_they_had(name, value):
    message = f"^{name} must be .*, but got {name}=.*; "
    with pytest.raises(ValueError, match=message):
        Spiral(**{name: value})
    figure = Spiral()
    with pytest.raises(ValueError, match=message):
        setattr(figure, name, value)
    assert repr(figure) == "Spiral()"


def test_weights_shrink_but_never_through_the_origin():
    # what the ranges are for: a step of decay leaves some of the weights
    figure = Spiral(rate=2, decay=0.4)
    assert figure.rate * figure.decay < 1


# In a browser


@pytest.fixture
def computed(show):
    """Call an exported function of the drawing's module with each of several states."""
    [figure] = show(Spiral())
    module = "data:text/javascript;base64," + b64encode(str(Spiral()._esm).encode()).decode()

    def computed(function, states):
        script = (
            "async ([module, name, states]) => { const all = await import(module); "
            "return states.map(state => all[name](state)); }"
        )
        return figure.page.evaluate(script, [module, function, states])

    return computed


# Walks that do not jump from valley to valley, where rounding would grow.
CALM = [
    {"start": start, "rate": rate, "decay": decay, "mode": mode, "steps": 60}
    for start, rate, decay in [
        ([-0.9, 0.3], 0.5, 0.1),
        ([1.0, 0.2], 0.1, 0.2),
        ([0.3, 1.0], 0.3, 0.2),
        ([0.3, 1.0], 1.5, 0.3),
        ([-3.0, -2.0], 0.2, 0.1),
        ([0.8, 0.6], 0.05, 0.0),
    ]
    for mode in ("constant", "decay", "growing")
]


@slow
def test_it_walks_as_numpy_does(computed):
    for state, found in zip(CALM, computed("walk", CALM), strict=True):
        expected = walk(**state)
        scale = np.abs(expected).max(1, keepdims=True)
        assert np.abs((np.array(found["places"]) - expected) / scale).max() < 1e-10, state
        assert len(found["rates"]) == state["steps"]


@slow
def test_it_walks_as_torch_does_with_weight_decay(computed):
    states = [state for state in CALM if state["mode"] == "decay"]
    for state, found in zip(states, computed("walk", states), strict=True):
        expected = torch_walk(state["start"], state["rate"], state["decay"], state["steps"])
        np.testing.assert_allclose(found["places"], expected, rtol=0, atol=1e-10)


@slow
def test_the_charts_show_angle_length_and_effective_rate(computed):
    for state, found in zip(CALM, computed("chart", CALM), strict=True):
        places = walk(**state)
        lengths = np.hypot(*places.T)
        np.testing.assert_allclose(found["lengths"], lengths, rtol=1e-10)
        turned = np.angle(np.exp(1j * (np.radians(found["angles"]) - np.arctan2(places[:, 1], places[:, 0]))))
        assert np.abs(turned).max() < 1e-10
        # the effective rate is the tangent of each step's turn by the slope there
        before = np.arctan2(places[:-1, 1], places[:-1, 0])
        turn = np.angle(np.exp(1j * (np.arctan2(places[1:, 1], places[1:, 0]) - before)))
        slope = -2 * np.sin(2 * before) + 1.5 * np.cos(3 * before)
        np.testing.assert_allclose(np.tan(turn), -np.array(found["effective"]) * slope, rtol=0, atol=1e-9)
        if state["mode"] == "constant":
            assert (np.diff(found["lengths"]) >= -1e-15).all()


@slow
def test_a_growing_rate_turns_the_weights_as_decay_does(computed):
    states = [state for state in CALM if state["mode"] == "growing"]
    assert max(computed("parted", states)) < 1e-6
    jumping = {"start": [1.0, 0.2], "rate": 0.5, "decay": 0.1, "steps": 200}
    apart = np.unwrap([np.arctan2(*walk(**jumping, mode=mode).T[::-1]) for mode in ("decay", "growing")], axis=0)
    assert np.abs(apart[0] - apart[1]).max() > 1e-3
    assert computed("parted", [jumping])[0] > 1e-3


def told(figure, name, place):
    """Return a number of the readout."""
    return float(figure.locator(f"[data-name={name}]").nth(place).inner_text().replace("−", "-").rstrip("°"))


def read_off(figure, state):
    """Assert that the readout is that of the walk from this state."""
    places = walk(**state)
    for place, spot in ((0, places[0]), (1, places[-1])):
        angle = np.arctan2(spot[1], spot[0])
        assert told(figure, "length", place) == pytest.approx(np.hypot(*spot), rel=6e-3)
        assert told(figure, "angle", place) == pytest.approx(np.degrees(angle), abs=0.5001)
        assert told(figure, "loss", place) == pytest.approx(np.cos(2 * angle) + 0.5 * np.sin(3 * angle), abs=5.1e-3)


@slow
def test_modes_and_sliders_change_the_walk(show):
    state = {"start": [-0.9, 0.3], "rate": 0.5, "decay": 0.1, "mode": "constant", "steps": 60}
    [figure] = show(Spiral())
    read_off(figure, state)
    figure.get_by_text(re.compile("^60 steps: length 0.949 → 1.80, effective rate 0.556 → 0.155")).first.wait_for()
    for name, mode in [("weight decay", "decay"), ("growing rate", "growing")]:
        figure.get_by_role("button", name=name).click()
        read_off(figure, {**state, "mode": mode})
        assert figure.locator("[aria-pressed=true]").inner_text() == name
    figure.get_by_text(re.compile("same angles as with weight decay, step for step")).first.wait_for()
    figure.get_by_role("slider", name="steps").focus()
    figure.page.keyboard.press("ArrowRight")
    read_off(figure, {**state, "mode": "growing", "steps": 61})
    figure.get_by_role("slider", name="learning rate").focus()
    figure.page.keyboard.press("Home")
    read_off(figure, {**state, "mode": "growing", "steps": 61, "rate": 0.01})
    figure.get_by_role("button", name="reset").click()
    read_off(figure, state)
    figure.get_by_role("slider", name="weight decay").focus()
    figure.page.keyboard.press("ArrowRight")  # moving it switches it on
    read_off(figure, {**state, "mode": "decay", "decay": 0.11})


@slow
def test_keys_and_a_drag_move_the_start(show):
    state = {"start": [-0.9, 0.3], "rate": 0.5, "decay": 0.1, "mode": "constant", "steps": 60}
    [figure] = show(Spiral())
    start = figure.get_by_role("button", name=re.compile("^start: "))
    start.focus()
    for key in ("ArrowRight", "ArrowUp", "Shift+ArrowUp"):
        figure.page.keyboard.press(key)
    read_off(figure, {**state, "start": [-0.85, 0.36]})
    figure.get_by_role("button", name="start: −0.85, 0.36; arrow keys move it").wait_for()
    box = start.locator(".sp-face").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    figure.page.mouse.move(*middle)
    figure.page.mouse.down()
    figure.page.mouse.move(middle[0] + 120, middle[1] - 40, steps=5)
    figure.page.mouse.up()
    label = figure.locator(".sp-start").get_attribute("aria-label").replace("−", "-")
    moved = [float(found) for found in re.findall(r"-?[\d.]+", label)[:2]]
    assert moved[0] > -0.5 and moved[1] > 0.45
    read_off(figure, {**state, "start": moved})


@slow
def test_the_start_can_not_be_moved_into_the_origin(show):
    [figure] = show(Spiral(start=[0.05, 0]))
    figure.get_by_role("button", name=re.compile("^start: ")).focus()
    figure.page.keyboard.press("ArrowLeft")
    figure.get_by_role("button", name="start: 0.05, 0.00; arrow keys move it").wait_for()
