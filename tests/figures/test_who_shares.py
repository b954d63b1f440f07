"""The interactive figure of chapter 2 outlines the entries that share, for every setting of its sliders."""

import re
from base64 import b64encode
from itertools import product

import numpy as np
import pytest
import torch

from companion.figures import WhoShares
from companion.norms import standardize

FULL = {"examples": 2, "channels": 3}  # what the promises of all figures are tried with

WAYS = [1, 2, 3, 6]
CHOSEN = [(0, 0, 0), (2, 3, 1), (5, 5, 3)]
SCHEMES = {"batch": (6, 1), "ghost batch": (3, 1), "layer": (1, 6), "group": (1, 3), "instance": (1, 1)}

slow = pytest.mark.slow


def block(figure):
    """Return the figure's values, float64."""
    return torch.tensor(figure.values, dtype=torch.float64)


def mates(values, examples, channels, entry):
    """Return keys of the outputs of ``standardize`` that move when one entry does."""
    nudged = values.clone()
    nudged[tuple(entry)] += 0.7
    moved = standardize(nudged, examples, channels) - standardize(values, examples, channels)
    return {",".join(map(str, place)) for place in moved.abs().gt(1e-9).nonzero().tolist()}


def every_entry(values):
    """Return all places of a block."""
    return [list(place) for place in product(*map(range, values.shape))]


# Without a browser


@pytest.mark.parametrize(
    "values",
    [[], [[]], [[[]]], [[1.0]], [[[1.0], [2.0, 3.0]]], [[[1.0]], [[1.0], [2.0]]], [[[float("nan")]]], "abc", 3],
)
def test_values_that_are_no_block(values):
    with pytest.raises(ValueError, match="^values must be a block of finite numbers.*but got values=.*; nest"):
        WhoShares(values=values)


@pytest.mark.parametrize("name", ["examples", "channels"])
def test_what_does_not_divide_is_refused_with_what_does(name):
    with pytest.raises(ValueError, match=f"^{name} must divide the 6 {name} of values, but got {name}=4; take 1, 2, 3"):
        WhoShares(**{name: 4})
    figure = WhoShares()
    with pytest.raises(ValueError, match=f"^{name} must divide"):
        setattr(figure, name, 4)
    assert repr(figure) == "WhoShares()"


@pytest.mark.parametrize("entry", [[6, 0, 0], [0, 6, 0], [0, 0, 4]])
def test_an_entry_outside_the_block_is_refused(entry):
    with pytest.raises(ValueError, match="^chosen must lie in the block of 6 x 6 x 4 values, but got chosen="):
        WhoShares(chosen=entry)


@pytest.mark.parametrize("entry", [[0, 0], [0, 0, 0, 0], [-1, 0, 0], [0.5, 0, 0], None])
def test_what_is_no_entry_is_refused(entry):
    with pytest.raises(ValueError, match="^chosen must be three whole numbers"):
        WhoShares(chosen=entry)


def test_a_block_of_another_size_starts_with_batch_norm():
    figure = WhoShares(values=np.arange(24.0).reshape(4, 3, 2))
    assert (figure.examples, figure.channels, figure.chosen) == (4, 1, [0, 0, 0])
    assert WhoShares(values=np.ones((2, 1, 1))).examples == 2


# In a browser


@pytest.fixture
def computed(show):
    """Call an exported function of the drawing's module with each of several lists of arguments."""
    [figure] = show(WhoShares())
    module = "data:text/javascript;base64," + b64encode(str(WhoShares()._esm).encode()).decode()

    def computed(function, calls):
        script = (
            "async ([module, name, calls]) => { const all = await import(module); "
            "return calls.map(call => all[name](...call)); }"
        )
        return figure.page.evaluate(script, [module, function, calls])

    return computed


@slow
def test_it_standardizes_as_the_package_does(computed):
    generator = torch.Generator().manual_seed(0)
    blocks = [torch.randn(shape, generator=generator, dtype=torch.float64) * 3 + 1 for shape in [(6, 6, 4), (4, 6, 3)]]
    cases = [
        (values, examples, channels, eps)
        for values in blocks
        for examples, channels in product(range(1, 7), repeat=2)
        if len(values) % examples == 0 and 6 % channels == 0
        for eps in (1e-5, 0.1)
    ]
    states = [
        [{"values": values.tolist(), "examples": examples, "channels": channels, "eps": eps, "chosen": [0, 0, 0]}]
        for values, examples, channels, eps in cases
    ]
    for (values, examples, channels, eps), out in zip(cases, computed("standardize", states), strict=True):
        expected = standardize(values, examples, channels, eps)
        torch.testing.assert_close(torch.tensor(out, dtype=torch.float64), expected, rtol=0, atol=1e-10)


@slow
@pytest.mark.parametrize(("examples", "channels"), list(product(WAYS, WAYS)))
def test_those_that_share_are_those_that_move_together_for_every_entry(examples, channels, computed):
    figure = WhoShares(examples=examples, channels=channels)
    values = block(figure)
    places = every_entry(values)
    for place, found in zip(places, computed("sharers", [[figure.state(), place] for place in places]), strict=True):
        assert {",".join(map(str, entry)) for entry in found} == mates(values, examples, channels, place)


def drawn(figure, panel=0):
    """Return keys of the entries that a panel marks as sharing."""
    return set(
        figure.locator("svg > g")
        .nth(panel)
        .locator("[data-shares=true]")
        .evaluate_all("cells => cells.map(cell => cell.dataset.entry)")
    )


def outputs(figure):
    """Return what the right panel shows, in the order of the block."""
    texts = (
        figure.locator("svg > g")
        .nth(1)
        .locator(".ws-cell")
        .evaluate_all("cells => cells.map(cell => Number(cell.dataset.value))")
    )
    return torch.tensor(texts, dtype=torch.float64).reshape(6, 6, 4)


@slow
@pytest.mark.parametrize("chosen", CHOSEN)
def test_every_slider_position_draws_those_that_share(chosen, show):
    python = WhoShares(examples=1, channels=1, chosen=chosen)
    values = block(python)
    [figure] = show(python)
    for examples in WAYS:
        figure.get_by_role("slider", name="channels that share").focus()
        figure.page.keyboard.press("Home")
        for channels in WAYS:
            expected = mates(values, examples, channels, chosen)
            assert drawn(figure, 0) == drawn(figure, 1) == expected
            torch.testing.assert_close(outputs(figure), standardize(values, examples, channels), rtol=0, atol=1e-10)
            assert figure.locator("[data-name=n]").inner_text() == str(len(expected))
            figure.get_by_text(re.compile(f"^{len(expected)} entries share: ")).first.wait_for()
            named = [name for name, numbers in SCHEMES.items() if numbers == (examples, channels)]
            pressed = figure.locator("[aria-pressed=true]").all_inner_texts()
            kinds = {"ghost batch"} if channels == 1 and 1 < examples < 6 else set()
            kinds |= {"group"} if examples == 1 and 1 < channels < 6 else set()
            assert set(pressed) == set(named) | kinds
            wide, high = (
                float(figure.locator(".ws-outline").first.get_attribute(side)) for side in ("width", "height")
            )
            assert wide / high == pytest.approx(channels / examples)
            figure.get_by_role("slider", name="channels that share").focus()
            figure.page.keyboard.press("ArrowRight")
        figure.get_by_role("slider", name="examples that share").focus()
        figure.page.keyboard.press("ArrowRight")


@slow
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_name_sets_its_two_numbers(scheme, show):
    python = WhoShares()
    [figure] = show(python)
    figure.get_by_role("button", name=scheme, exact=True).click()
    assert drawn(figure) == mates(block(python), *SCHEMES[scheme], python.chosen)
    figure.get_by_text(re.compile(f"^{scheme} norm", re.I)).first.wait_for()


@slow
def test_a_setting_without_a_name_says_so(show):
    [figure] = show(WhoShares(examples=2, channels=2))
    figure.get_by_text("This one has no name.").first.wait_for()
    assert figure.locator("[aria-pressed=true]").count() == 0


@slow
def test_moving_one_input_counts_the_outputs_that_move(show):
    python = WhoShares(examples=2, channels=3)
    [figure] = show(python)
    figure.get_by_role("slider", name="of the entry with the ring").focus()
    before = block(python)
    for _ in range(3):
        figure.page.keyboard.press("ArrowRight")
    after = before.clone()
    after[tuple(python.chosen)] += 0.3
    expected = standardize(after, 2, 3)
    torch.testing.assert_close(outputs(figure), expected, rtol=0, atol=1e-9)
    count = int((expected - standardize(before, 2, 3)).abs().gt(1e-9).sum())
    assert count == 24
    figure.get_by_text(f"One input moved by +0.3: {count} outputs moved, {144 - count} did not.").first.wait_for()
    figure.get_by_role("button", name="reset").click()
    torch.testing.assert_close(outputs(figure), standardize(before, 2, 3), rtol=0, atol=1e-10)


@slow
def test_an_entry_is_chosen_by_click_and_by_keys(show):
    python = WhoShares()
    [figure] = show(python)
    figure.locator("svg > g").first.locator("[data-entry='4,0,2']").click()
    assert drawn(figure) == mates(block(python), 6, 1, [4, 0, 2])
    figure.get_by_role("button", name=re.compile("^example 5, channel 1, position 3")).first.focus()
    for key in ("ArrowRight", "ArrowUp", "PageUp", "ArrowUp"):
        figure.page.keyboard.press(key)
    figure.get_by_role("button", name=re.compile("^example 3, channel 2, position 2")).first.wait_for()
    assert drawn(figure) == mates(block(python), 6, 1, [2, 1, 1])
