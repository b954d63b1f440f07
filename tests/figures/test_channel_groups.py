"""Chapter 5's interactive figure: what it refuses, and that its drawing shows what torch computes."""

from base64 import b64encode

import numpy as np
import pytest
import torch
from torch.nn import functional

from companion import ChannelGroups

FULL = {
    "values": 5 * np.random.default_rng(0).normal(size=(16, 40)),
    "gain": 3.0,
}  # what the promises of all figures are tried with


def torch_says(state):
    """Return what torch's group norm makes of the channels, how far each output moved, and each channel's loudness."""
    plain = torch.tensor(state["values"], dtype=torch.float64)[None]
    changed = plain.clone()
    changed[0, state["channel"]] *= state["gain"]
    output, before = (functional.group_norm(x, state["groups"], eps=state["eps"])[0] for x in (changed, plain))
    moved = (output - before).square().mean(1).sqrt()
    loud, levelled = (x.std(1, correction=0) for x in (changed[0], output))
    return {"input": changed[0], "output": output, "before": before, "moved": moved, "loud": loud, "levelled": levelled}


def test_text_is_short():
    assert repr(ChannelGroups()) == "ChannelGroups()"
    figure = ChannelGroups(values=np.zeros((12, 5)), groups=3, channel=11, gain=2)
    assert repr(figure) == "ChannelGroups(channel=11, gain=2.0, groups=3, values=<12 x 5>)"


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((1, 4)),
        np.zeros((8, 1)),
        np.zeros(8),
        np.zeros((2, 2, 2)),
        3,
        None,
        "ab",
        [[1.0, 2.0], [1.0]],
        np.full((8, 4), np.nan),
    ],
)
def test_values_that_are_no_channels(values):
    with pytest.raises(ValueError, match=r"(?s)^values must be finite numbers of .*, but got values=.*; take one"):
        ChannelGroups(values=values)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("groups", 0),
        ("groups", 3),
        ("groups", 16),
        ("groups", 2.0),
        ("channel", -1),
        ("channel", 8),
        ("channel", 0.5),
        ("gain", -0.1),
        ("gain", None),
        ("gain", float("inf")),
        ("eps", -1e-9),
        ("eps", float("nan")),
    ],
)
def test_other_traits_refuse_and_keep_what_they_had(name, value):
    message = f"^{name} must .*, but got {name}=.*; "
    with pytest.raises(ValueError, match=message):
        ChannelGroups(**{name: value})
    figure = ChannelGroups()
    with pytest.raises(ValueError, match=message):
        setattr(figure, name, value)
    assert repr(figure) == "ChannelGroups()"


def test_new_values_must_suit_the_groups_and_the_channel():
    figure = ChannelGroups(groups=4, channel=5)
    for channels in (6, 4):
        with pytest.raises(ValueError, match=f"^values must have .*, but got {channels} channels; make"):
            figure.values = np.zeros((channels, 3))
    figure.values = np.zeros((12, 3))
    assert len(figure.values) == 12


def test_tensors_and_arrays_are_values_too():
    values = torch.rand(4, 6)
    assert ChannelGroups(values=values).values == ChannelGroups(values=values.numpy()).values == values.tolist()


# In a browser


def evaluate(figure, function, *arguments):
    """Call one of the module's functions in the page."""
    module = "data:text/javascript;base64," + b64encode(str(ChannelGroups()._esm).encode()).decode()
    return figure.page.evaluate(
        f"async ([module, ...given]) => (await import(module)).{function}(...given)", [module, *arguments]
    )


def numbers(figure, kind):
    """Return the loudness of each channel as the drawing writes it."""
    return [float(text.replace("−", "-")) for text in figure.locator(f".cg-{kind}").all_text_contents()]


def is_moved(figure):
    return [row.get_attribute("data-moved") == "true" for row in figure.locator(".cg-row").all()]


@pytest.mark.slow
def test_the_drawing_computes_what_torch_computes(show):
    draw = np.random.default_rng(0)
    states = [
        {
            "values": (draw.normal(size=shape) * draw.uniform(0.1, 3, (shape[0], 1)) + draw.normal()).tolist(),
            "groups": groups,
            "channel": shape[0] - 1,
            "gain": draw.uniform(0, 3),
            "eps": eps,
        }
        for shape in ((2, 2), (12, 7), (16, 40))
        for groups in (1, 2, shape[0])
        for eps in (1e-12, 1e-5, 0.1)
    ]
    states.append(ChannelGroups(groups=8, gain=0.0).state())  # a channel of equal values: s is 0
    [figure] = show(ChannelGroups())
    for state in states:
        result = evaluate(figure, "compute", state)
        for name, expected in torch_says(state).items():
            assert np.ravel(result[name]) == pytest.approx(expected.flatten().numpy(), rel=1e-9, abs=1e-9), name


@pytest.mark.slow
@pytest.mark.parametrize("groups", [1, 2, 4, 8])
def test_a_louder_channel_moves_its_group_and_no_other(show, groups):
    [figure] = show(ChannelGroups())
    figure.get_by_role("button", name=str(groups), exact=True).click()
    assert is_moved(figure) == [False] * 8
    loudness = figure.get_by_role("slider", name="its loudness")
    loudness.focus()
    figure.page.keyboard.press("End")
    assert loudness.get_attribute("aria-valuetext") == "× 3.0"
    expected = torch_says({**ChannelGroups().state(), "groups": groups, "gain": 3.0})
    size = 8 // groups
    assert is_moved(figure) == [1 // size == channel // size and groups < 8 for channel in range(8)]
    assert numbers(figure, "loud") == pytest.approx(expected["loud"].tolist(), abs=0.0051)
    assert numbers(figure, "levelled") == pytest.approx(expected["levelled"].tolist(), abs=0.0051)
    said = {
        1: "8 outputs moved, none stayed",
        2: "4 outputs moved, 4 stayed",
        4: "2 outputs moved, 6 stayed",
        8: "no output moved",
    }[groups]
    said = f"Channel 2 is 3.0 times as loud: {said}."
    figure.locator(".fig-sentence").get_by_text(said).wait_for()
    figure.locator("[aria-live=polite]").get_by_text(said).wait_for(state="attached")


@pytest.mark.slow
def test_instance_norm_levels_all_and_reset_takes_it_back(show):
    [figure] = show(ChannelGroups(groups=4))
    figure.get_by_role("button", name="8", exact=True).press("Enter")
    assert set(numbers(figure, "levelled")) == {1.0}
    figure.get_by_role("button", name="reset").press("Enter")
    expected = torch_says(ChannelGroups(groups=4).state())["levelled"]
    assert numbers(figure, "levelled") == pytest.approx(expected.tolist(), abs=0.0051)
    assert figure.get_by_role("button", name="4", exact=True).get_attribute("aria-pressed") == "true"


@pytest.mark.slow
def test_a_click_or_a_key_chooses_the_channel(show):
    [figure] = show(ChannelGroups(gain=2.0))
    chosen = figure.locator('.cg-row[data-chosen="true"] .cg-name')
    slider = figure.get_by_role("slider", name="channel", exact=True)
    figure.locator(".cg-row").nth(5).click()
    assert (chosen.text_content(), slider.input_value()) == ("6", "6")
    slider.focus()
    figure.page.keyboard.press("End")
    assert chosen.text_content() == slider.get_attribute("max") == "8"
    assert is_moved(figure) == [False] * 4 + [True] * 4


@pytest.mark.slow
def test_curves_are_drawn_from_the_outputs(show):
    state = ChannelGroups(groups=4, gain=1.5).state()
    [figure] = show(ChannelGroups(groups=4, gain=1.5))
    expected = torch_says(state)
    limit = expected["before"].abs().max().item()
    for row, output in zip(figure.locator(".cg-row").all(), expected["output"], strict=True):
        points = row.locator(".cg-out").get_attribute("d").removeprefix("M").split("L")
        middle = float(row.locator("line").last.get_attribute("y1"))
        heights = [(middle - float(point.split()[1])) / 10.5 * limit for point in points]
        assert heights == pytest.approx(output.tolist(), abs=0.06 / 10.5 * limit)


@pytest.mark.slow
def test_two_figures_do_not_touch_each_other_and_each_has_the_divisors_of_its_channels(show):
    first, second = show(ChannelGroups(), ChannelGroups(values=np.random.default_rng(0).random((6, 9)), groups=3))
    first.get_by_role("slider", name="its loudness").focus()
    first.page.keyboard.press("End")
    assert sum(is_moved(first)) == 4
    assert is_moved(second) == [False] * 6
    assert second.locator(".fig-choice button").all_inner_texts() == ["1", "2", "3", "6"]
