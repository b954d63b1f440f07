"""Chapter 8's interactive figure: what it refuses, and that its steps are those of torch's weight norm."""

import math
import re
from base64 import b64encode

import pytest
import torch
from torch import nn

from companion.figures.weight_split import WeightSplit

FULL = {
    "rate": 4.0,
    "v": [1.2, -2.0],
    "path": [[0.6, -0.2], [1.0, -1.0]],
}  # what the promises of all figures are tried with

slow = pytest.mark.slow
STEP = {"name": "take a step"}


class Torch:
    """The figure's unit as a layer of torch with its own weight norm, trained by torch's SGD."""

    def __init__(self, state):
        layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 1, bias=False).double())
        self.g, self.v = layer.parametrizations.weight.original0, layer.parametrizations.weight.original1
        with torch.no_grad():
            self.g.fill_(state["g"])
            self.v.copy_(torch.tensor([state["v"]], dtype=torch.float64))
        self.layer, self.target = layer, torch.tensor([state["target"]], dtype=torch.float64)
        learned = [self.v] if state["learns"] == "v" else [self.g, self.v]
        self.optimizer = torch.optim.SGD(learned, lr=state["rate"])

    def loss(self, w=None):
        return ((self.layer.weight if w is None else w) - self.target).square().sum() / 2

    def step(self):
        self.optimizer.zero_grad()
        self.loss().backward()
        self.optimizer.step()


# Without a browser


def test_text_is_short():
    assert repr(WeightSplit(v=(1, 2), learns="v")) == "WeightSplit(learns='v', v=[1.0, 2.0])"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("v", [0, 0]),
        ("v", [1.0]),
        ("v", [1.0, float("nan")]),
        ("v", None),
        ("v", "ab"),
        ("g", float("inf")),
        ("g", None),
        ("target", [1.0, 2.0, 3.0]),
        ("target", 3),
        ("rate", -0.1),
        ("rate", float("nan")),
        ("learns", "g"),
        ("learns", ["v"]),
        ("path", [[1.0]]),
        ("path", 3),
    ],
)
def test_what_it_refuses_and_that_it_keeps_what_it_had(name, value):
    message = f"^{name} must be .*, but got {name}=.*; "
    with pytest.raises(ValueError, match=message):
        WeightSplit(**{name: value})
    figure = WeightSplit()
    with pytest.raises(ValueError, match=message):
        setattr(figure, name, value)
    assert repr(figure) == "WeightSplit()"


def test_tensors_are_points_too():
    figure = WeightSplit(v=torch.tensor([1.0, 2.0]), target=torch.zeros(2).numpy())
    assert (figure.v, figure.target) == ([1.0, 2.0], [0.0, 0.0])


# In a browser


def evaluate(figure, function, *arguments):
    """Call one of the module's functions in the page."""
    module = "data:text/javascript;base64," + b64encode(str(WeightSplit()._esm).encode()).decode()
    return figure.page.evaluate(
        f"async ([module, given]) => (await import(module)).{function}(...given)", [module, arguments]
    )


def states():
    """Yield random states, and special ones: v along the target, g below 0, a step of 0."""
    generator = torch.Generator().manual_seed(0)
    for learns in ("both", "v"):
        for _ in range(6):
            v, target, rest = torch.randn(3, 2, generator=generator, dtype=torch.float64).tolist()
            yield {"v": v, "g": rest[0], "target": target, "rate": abs(rest[1]), "learns": learns, "path": []}
    yield {"v": [1.0, 1.0], "g": 2.0, "target": [3.0, 3.0], "rate": 0.5, "learns": "both", "path": []}
    yield {"v": [1.0, 2.0], "g": 0.0, "target": [3.0, 3.0], "rate": 0.0, "learns": "both", "path": []}


def cross(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


@slow
def test_the_drawing_computes_what_torch_computes(show):
    [figure] = show(WeightSplit())
    for state in states():
        result, unit = evaluate(figure, "compute", state), Torch(state)
        w = unit.layer.weight
        loss = unit.loss(w)
        grads = torch.autograd.grad(loss, (w, unit.g, unit.v))
        assert result["loss"] == pytest.approx(loss.item(), rel=1e-12, abs=1e-12)
        for name, expected in zip(("gradW", "gradG", "gradV"), grads, strict=True):
            got = torch.tensor(result[name], dtype=torch.float64).flatten()
            torch.testing.assert_close(got, expected.flatten(), rtol=1e-12, atol=1e-12)
        assert result["w"] == pytest.approx(w.flatten().tolist(), rel=1e-12, abs=1e-12)
        assert cross(result["gradV"], state["v"]) == pytest.approx(0, abs=1e-12)
        assert [a + b for a, b in zip(result["along"], result["across"], strict=True)] == pytest.approx(
            result["gradW"], rel=1e-12, abs=1e-12
        )
        unit.step()
        assert result["next"]["v"] == pytest.approx(unit.v.flatten().tolist(), rel=1e-12, abs=1e-12)
        assert result["next"]["g"] == pytest.approx(unit.g.item(), rel=1e-12, abs=1e-12)
        before, after = math.atan2(*reversed(state["v"])), math.atan2(*reversed(result["next"]["v"]))
        turned = abs(math.remainder(after - before, 2 * math.pi))
        assert result["turn"] == pytest.approx(math.degrees(turned), abs=1e-6)
        assert result["nextLength"] ** 2 == pytest.approx(
            result["length"] ** 2 + state["rate"] ** 2 * cross(result["gradV"], result["gradV"]), rel=1e-12
        )


def numbers(figure):
    """Return what the figure says now: {name: number}."""
    cells = figure.locator("output[data-name]").evaluate_all(
        "cells => cells.map(cell => [cell.dataset.name, cell.textContent])"
    )
    return {name: float(text.replace("−", "-")) for name, text in cells}


@slow
@pytest.mark.parametrize("learns", ["both", "v"])
@pytest.mark.parametrize("rate", [0.2, 1.0, 2.5])
def test_its_steps_are_those_of_torch(show, learns, rate):
    python = WeightSplit(learns=learns, rate=rate)
    unit, lengths = Torch(python.state()), []
    [figure] = show(python)
    for count in range(1, 6):
        figure.get_by_role("button", **STEP).click()
        unit.step()
        shown = numbers(figure)
        lengths.append(unit.v.norm().item())
        assert shown["length"] == pytest.approx(lengths[-1], abs=0.0051)
        assert shown["g"] == pytest.approx(unit.g.item(), abs=0.0051)
        assert shown["loss"] == pytest.approx(unit.loss().item(), abs=0.00051)
        effective = rate * (unit.g.item() / lengths[-1]) ** 2
        assert shown["effective"] == pytest.approx(effective, abs=0.00051)
        assert figure.locator(".wz-count").inner_text() == f"{count} step" + "s" * (count > 1)
        assert figure.locator(".fig-sentence").inner_text().startswith(f"Step {count}: v turned by ")
    assert lengths == sorted(lengths)
    assert (shown["g"] == python.g) is (learns == "v")


@slow
def test_a_length_that_has_run_away_takes_no_more_steps(show):
    [figure] = show(WeightSplit(rate=4.0))
    for _ in range(12):
        figure.get_by_role("button", **STEP).click()
    assert "passed 1000: reset" in figure.locator(".fig-sentence").inner_text()
    assert abs(numbers(figure)["g"]) <= 1000
    figure.get_by_role("button", name="reset").click()
    assert numbers(figure)["g"] == 1.5
    assert figure.locator(".wz-count").inner_text() == "0 steps"


def drawn(figure, name):
    """Return the box of a part of the drawing, in pixels from the middle of the svg."""
    box = figure.locator(f"[data-name={name}]").bounding_box()
    middle = figure.locator("svg").bounding_box()
    return [
        box["x"] + box["width"] / 2 - middle["x"] - middle["width"] / 2,
        middle["y"] + middle["height"] / 2 - box["y"] - box["height"] / 2,
    ]


@slow
def test_w_is_drawn_where_it_lies_and_stays_when_v_gets_longer(show):
    python = WeightSplit(v=[1.2, 0.9], g=2.0)
    [figure] = show(python)
    scale = 380 / 2 / 3
    for _ in range(3):
        assert drawn(figure, "w") == pytest.approx([1.6 * scale, 1.2 * scale], abs=1)
        figure.get_by_role("slider", name="v", exact=True).press("ArrowUp")
    assert numbers(figure)["length"] == pytest.approx(1.8)


@slow
def test_keys_turn_v_and_move_the_target(show):
    [figure] = show(WeightSplit(v=[1.0, 0.0]))
    v = figure.get_by_role("slider", name="v", exact=True)
    v.press("ArrowLeft")
    assert v.get_attribute("aria-valuetext") == "length 1.00, direction 5 degrees"
    v.press("Shift+ArrowRight")
    assert v.get_attribute("aria-valuetext") == "length 1.00, direction 4 degrees"
    for _ in range(20):
        v.press("ArrowDown")
    assert numbers(figure)["length"] == pytest.approx(0.2)
    target = figure.get_by_role("slider", name="target")
    target.press("ArrowRight")
    target.press("ArrowDown")
    assert target.get_attribute("aria-valuetext") == "at 1.50, 1.60"
    figure.locator(".fig-sentence").get_by_text("along v, it changes g").wait_for()


@slow
def test_v_can_be_dragged_and_starts_a_new_path(show):
    [figure] = show(WeightSplit(v=[1.0, 0.0]))
    figure.get_by_role("button", **STEP).click()
    assert figure.locator(".wz-stones").get_attribute("d") != ""
    box = figure.locator(".wz-v-handle .wz-tip").bounding_box()
    svg = figure.locator("svg").bounding_box()
    mouse, scale = figure.page.mouse, 380 / 2 / 3
    mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    mouse.down()
    mouse.move(svg["x"] + svg["width"] / 2 - 2 * scale, svg["y"] + 190, steps=5)
    mouse.up()
    v = figure.get_by_role("slider", name="v", exact=True)
    length, direction = map(float, re.findall(r"[\d.]+", v.get_attribute("aria-valuetext")))
    assert length == pytest.approx(2, abs=0.02)
    assert direction == pytest.approx(180, abs=1)
    assert figure.locator(".wz-count").inner_text() == "0 steps"
    assert figure.locator(".wz-stones").get_attribute("d") == ""


@slow
def test_what_is_learned_is_a_choice(show):
    [figure] = show(WeightSplit())
    figure.get_by_role("button", name="v only").click()
    figure.get_by_role("button", **STEP).click()
    assert numbers(figure)["g"] == 1.5
    figure.get_by_role("button", name="v and g").click()
    figure.get_by_role("button", **STEP).click()
    assert numbers(figure)["g"] != 1.5


@slow
def test_a_screen_reader_is_told(show):
    [figure] = show(WeightSplit())
    figure.get_by_role("button", **STEP).click()
    figure.locator("[aria-live=polite]").get_by_text("Step 1: v turned by").wait_for(state="attached")
