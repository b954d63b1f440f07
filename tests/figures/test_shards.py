"""The interactive figure of chapter 7 normalizes as the package does, for each machine or for all."""

import math
import re

import pytest
import torch

from companion.figures import Shards
from companion.norms import standardize

FULL = {"machines": 4, "drifts": [5, -5, 5, -5]}  # what the promises of all figures are tried with

slow = pytest.mark.slow


def expected(state):
    """Return inputs, outputs, and the outputs of one machine with all, in float64."""
    shards = torch.tensor(state["values"], dtype=torch.float64).tensor_split(state["machines"])
    shards = [(shard + drift)[:, None] for shard, drift in zip(shards, state["drifts"], strict=False)]
    whole = torch.cat(shards)
    wanted = standardize(whole, len(whole), 1, state["eps"])
    own = torch.cat([standardize(shard, len(shard), 1, state["eps"]) for shard in shards])
    return whole[:, 0], (wanted if state["norm"] == "sync" else own)[:, 0], wanted[:, 0]


# Without a browser


@pytest.mark.parametrize("values", [[], [1.0] * 7, [math.nan] * 8, "abc", 3, None])
def test_values_that_are_no_batch(values):
    with pytest.raises(ValueError, match="^values must be at least 8 finite numbers, but got values=.*; take one"):
        Shards(values=values)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("machines", 0),
        ("machines", 5),
        ("machines", 1.5),
        ("norm", "group"),
        ("norm", None),
        ("drifts", [1, 2, 3]),
        ("drifts", [0, 0, 0, math.inf]),
        ("eps", -1e-9),
        ("eps", math.inf),
    ],
)
def test_settings_outside_their_range(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be .*, but got {name}="):
        Shards(**{name: value})
    figure = Shards()
    with pytest.raises(ValueError, match=f"^{name} must be"):
        setattr(figure, name, value)
    assert repr(figure) == "Shards()"


# In a browser


def read_off(figure, state):
    """Assert that the drawing shows these traits' numbers."""
    inputs, outputs, wanted = expected(state)
    shown = figure.locator("svg .sh-output[data-value]").evaluate_all("all => all.map(one => +one.dataset.value)")
    torch.testing.assert_close(torch.tensor(shown, dtype=torch.float64), outputs, rtol=0, atol=1e-10)
    off = (outputs - wanted).abs()
    marked = figure.locator("svg .sh-output[data-value]").evaluate_all("all => all.map(one => one.dataset.off)")
    assert marked == [str(bool(miss >= 0.005)).lower() for miss in off]
    parts = [inputs] if state["norm"] == "sync" else inputs.tensor_split(state["machines"])
    for name, numbers in (("m", [p.mean() for p in parts]), ("s", [p.std(correction=0) for p in parts])):
        text = figure.locator(f"[data-name={name}]").inner_text().replace("−", "-")
        assert [float(number) for number in text.split(",")] == pytest.approx([n.item() for n in numbers], abs=0.0051)
    shares = state["norm"] == "sync" and state["machines"] > 1
    assert figure.locator("[data-name=forward]").inner_text() == ("3" if shares else "0")
    assert figure.locator("[data-name=back]").inner_text() == ("2" if shares else "0")
    sentence = figure.locator(".fig-sentence").inner_text()
    if off.max() >= 0.005:
        assert f"off by up to {off.max():.2f}." in sentence
    else:
        assert "off by up to" not in sentence
    # a dot lies in its ring where there is nothing to miss
    gaps = figure.locator("svg .sh-output[data-value]").evaluate_all(
        "all => all.map(one => one.getAttribute('cx') - one.parentNode.querySelectorAll('.sh-wanted')"
        "[[...one.parentNode.querySelectorAll('.sh-output')].indexOf(one)].getAttribute('cx'))"
    )
    assert all(abs(gap) < 1 for gap, miss in zip(gaps, off, strict=True) if miss < 0.005)


CASES = [{"machines": machines, "norm": norm} for machines in (1, 2, 3, 4) for norm in ("local", "sync")]


@slow
@pytest.mark.parametrize(
    "changes",
    [
        *CASES,
        {"eps": 0.5},
        {"values": [0.0, 1, 5, 2, 8, 3, 1, 1, 4, -2, 0.5]},
        {"values": [0.0, 1, 5, 2, 8, 3, 1, 1, 4, -2, 0.5], "machines": 4, "norm": "sync"},
        {"values": [1.0] * 8, "drifts": [0, 0, 0, 0]},
    ],
)
def test_it_normalizes_as_the_package_does(changes, show):
    figure = Shards(**changes)
    [drawn] = show(figure)
    read_off(drawn, figure.state())


@slow
def test_buttons_choose_machines_and_norm(show):
    python = Shards()
    state = python.state()
    [figure] = show(python)
    for changes, name in [
        ({"machines": 4}, "4 machines"),
        ({"norm": "sync"}, "synchronised"),
        ({"machines": 1}, "1"),
        ({"norm": "local"}, "each for itself"),
        ({"machines": 3}, "3"),
    ]:
        state.update(changes)
        figure.get_by_role("button", name=name, exact=True).focus()
        figure.page.keyboard.press("Space")
        read_off(figure, state)
    figure.get_by_role("button", name="reset").click()
    read_off(figure, python.state())


@slow
def test_keys_and_a_drag_move_a_machine(show):
    python = Shards()
    state = python.state()
    [figure] = show(python)
    machine = figure.get_by_role("slider", name="drift of machine 2")
    machine.focus()
    for key in ("ArrowRight", "ArrowUp", "PageUp"):
        figure.page.keyboard.press(key)
    state["drifts"] = [-1.0, 2.6, 0.4, -0.6]
    read_off(figure, state)
    assert figure.locator(".fig-sentence").inner_text().startswith("Machine 2 drifts by +2.6: outputs are off by")
    assert machine.get_attribute("aria-valuenow") == "2.6"
    figure.page.keyboard.press("End")
    figure.page.keyboard.press("ArrowRight")
    state["drifts"][1] = 5
    read_off(figure, state)
    figure.get_by_role("button", name="synchronised").click()
    figure.get_by_text(re.compile("every output is what one machine would give")).first.wait_for()
    first = figure.get_by_role("slider", name="drift of machine 1")
    box = first.locator(".sh-face").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    figure.page.mouse.move(*middle)
    figure.page.mouse.down()
    figure.page.mouse.move(middle[0] + 100, middle[1] + 5, steps=4)
    figure.page.mouse.up()
    moved = float(first.get_attribute("aria-valuenow"))
    assert moved > 0
    read_off(figure, {**state, "norm": "sync", "drifts": [moved, 5, 0.4, -0.6]})


@slow
def test_two_figures_do_not_touch_each_other(show):
    first, second = show(Shards(), Shards(machines=4))
    first.get_by_role("button", name="synchronised").click()
    assert second.get_by_role("button", name="each for itself").get_attribute("aria-pressed") == "true"


@slow
@pytest.mark.parametrize("width", [320, 760])
@pytest.mark.parametrize("norm", ["local", "sync"])
def test_nothing_sticks_out_with_either_norm(show, width, norm):
    figure = Shards(machines=4, norm=norm, drifts=[5, -5, 5, -5])
    [drawn] = show(figure, viewport={"width": width, "height": 900})
    assert drawn.page.evaluate("document.documentElement.scrollWidth") <= width
    texts = drawn.locator("svg text").evaluate_all("all => all.map(one => one.getBoundingClientRect().right)")
    assert max(texts) <= width
