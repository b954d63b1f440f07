"""Chapter 3's interactive figure: what it refuses, and that its drawing shows what ``standardize`` computes."""

from base64 import b64encode

import numpy as np
import pytest
import torch

from companion import Ghosts, standardize

FULL = {
    "values": 5 * np.random.default_rng(0).normal(size=64),
    "ghost_size": 2,
}  # what the promises of all figures are tried with

slow = pytest.mark.slow
SHUFFLES = 500


def test_text_is_short():
    assert repr(Ghosts()) == "Ghosts()"
    figure = Ghosts(values=np.arange(64.0), ghost_size=4, followed=63, shuffle=2)
    assert repr(figure) == "Ghosts(followed=63, ghost_size=4, shuffle=2, values=<64>)"


@pytest.mark.parametrize(
    "values",
    [
        [],
        [1.0, 2.0],
        [1.0] * 5,
        np.zeros((4, 2)),
        [0.0, 1.0, 2.0, float("nan")],
        [0.0, 1.0, 2.0, float("inf")],
        3,
        None,
        "abcd",
    ],
)
def test_values_that_are_no_batch(values):
    with pytest.raises(ValueError, match=r"(?s)^values must be an even number of .*, but got values=.*; take one"):
        Ghosts(values=values)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ghost_size", 1),
        ("ghost_size", 0),
        ("ghost_size", 5),
        ("ghost_size", 64),
        ("ghost_size", 4.0),
        ("followed", -1),
        ("followed", 32),
        ("followed", 0.5),
        ("shuffle", -1),
        ("shuffle", 501),
        ("shuffle", None),
        ("eps", -1e-9),
        ("eps", float("nan")),
    ],
)
def test_other_traits_refuse_and_keep_what_they_had(name, value):
    message = f"^{name} must .*, but got {name}=.*; "
    with pytest.raises(ValueError, match=message):
        Ghosts(**{name: value})
    figure = Ghosts()
    with pytest.raises(ValueError, match=message):
        setattr(figure, name, value)
    assert repr(figure) == "Ghosts()"


def test_what_does_not_divide_is_refused_with_what_does():
    with pytest.raises(
        ValueError, match="^ghost_size must divide the 32 values, but got ghost_size=6; try 2, 4, 8, 16 or"
    ):
        Ghosts(ghost_size=6)
    figure = Ghosts(ghost_size=16)
    with pytest.raises(ValueError, match="^ghost_size must divide the 12 values"):
        figure.values = np.zeros(12)
    assert repr(figure) == "Ghosts(ghost_size=16)"


def test_a_batch_of_another_size_starts_as_one_ghost():
    assert Ghosts(values=torch.rand(12)).ghost_size == 12
    assert Ghosts(values=np.zeros(12), ghost_size=3).ghost_size == 3


# In a browser


def evaluate(figure, function, *arguments):
    """Call one of the module's functions in the page."""
    module = "data:text/javascript;base64," + b64encode(str(Ghosts()._esm).encode()).decode()
    return figure.page.evaluate(
        f"async ([module, ...given]) => (await import(module)).{function}(...given)", [module, *arguments]
    )


def package_says(values, examples, ghost_size, eps):
    """Return the outputs at each place, when ``examples`` stand there."""
    column = torch.tensor(values, dtype=torch.float64)[examples][:, None]
    return standardize(column, examples=ghost_size, channels=1, eps=eps)[:, 0]


def states():
    """Yield states of batches of several sizes, ghosts and ε."""
    draw = np.random.default_rng(0)
    for count in (4, 12, 64):
        values = (draw.normal(size=count) * 3 + 1).tolist()
        for ghost_size in (size for size in range(2, count + 1) if count % size == 0):
            for eps in (1e-5, 0.1):
                shuffle, followed = int(draw.integers(0, SHUFFLES + 1)), int(draw.integers(count))
                yield Ghosts(values=values, ghost_size=ghost_size, shuffle=shuffle, followed=followed, eps=eps).state()
    yield Ghosts(values=[2.0] * 6, ghost_size=3).state()  # nothing to tell apart: s is 0


@slow
def test_every_shuffle_is_an_order_and_all_orders_are_about_as_likely(show):
    [figure] = show(Ghosts())
    assert evaluate(figure, "order", 10, 0) == list(range(10))
    orders = np.array([evaluate(figure, "order", 8, shuffle) for shuffle in range(1, SHUFFLES + 1)])
    assert (np.sort(orders, axis=1) == np.arange(8)).all()
    assert len(np.unique(orders, axis=0)) > 480
    counts = np.array([np.bincount(column, minlength=8) for column in orders.T])  # of an example at a place
    assert np.abs(counts - SHUFFLES / 8).max() < 40  # five standard deviations
    assert evaluate(figure, "order", 8, 3) == orders[2].tolist()


@slow
def test_the_drawing_computes_what_the_package_computes(show):
    [figure] = show(Ghosts())
    for state in states():
        result = evaluate(figure, "compute", state)
        assert result["inputs"] == [state["values"][example] for example in result["examples"]]
        expected = package_says(state["values"], result["examples"], state["ghost_size"], state["eps"])
        assert result["outputs"] == pytest.approx(expected.tolist(), rel=1e-9, abs=1e-9)
        chunks = np.reshape(result["inputs"], (-1, state["ghost_size"]))
        assert [ghost["m"] for ghost in result["ghosts"]] == pytest.approx(chunks.mean(1), abs=1e-12)
        assert [ghost["s"] for ghost in result["ghosts"]] == pytest.approx(chunks.std(1), abs=1e-12)


@slow
def test_the_track_holds_the_followed_output_of_every_shuffle(show):
    [figure] = show(Ghosts())
    for state in (state for state in states() if len(state["values"]) == 12):
        seen = evaluate(figure, "track", state)
        assert len(seen) == SHUFFLES
        for shuffle in (1, 2, 77, SHUFFLES):
            examples = evaluate(figure, "order", 12, shuffle)
            outputs = package_says(state["values"], examples, state["ghost_size"], state["eps"])
            assert seen[shuffle - 1] == pytest.approx(outputs[examples.index(state["followed"])].item(), abs=1e-9)


@slow
def test_smaller_ghosts_widen_the_track_and_two_leave_plus_and_minus_one(show):
    [figure] = show(Ghosts())
    values = np.random.default_rng(1).permutation(np.linspace(-2, 2, 64)).tolist()
    middle = int(np.argsort(values)[32])
    spreads = [
        np.std(evaluate(figure, "track", {"values": values, "ghost_size": size, "followed": middle, "eps": 1e-12}))
        for size in (2, 4, 8, 16, 32, 64)
    ]
    assert (np.diff(spreads) < 0).all()
    assert spreads[-1] < 1e-12
    pair = evaluate(figure, "track", {"values": values, "ghost_size": 2, "followed": middle, "eps": 1e-12})
    assert np.abs(pair) == pytest.approx(1, abs=1e-6)


def number(figure, part, name):
    """Return a number of the readout."""
    cell = figure.locator(".fig-numbers > div").nth(["ghost", "followed", "past"].index(part))
    return float(cell.locator(f"[data-name={name}]").inner_text().replace("−", "-"))


def dots(figure, panel):
    """Return the values that a panel shows, by place."""
    found = figure.locator(f".gh-{panel} .fig-dot").evaluate_all(
        "dots => dots.map(dot => [Number(dot.dataset.place), Number(dot.dataset.value)])"
    )
    return [value for _, value in sorted(found)]


@slow
def test_the_screen_shows_what_was_computed(show):
    python = Ghosts(ghost_size=4, followed=9, shuffle=7)
    [figure] = show(python)
    result, seen = (evaluate(figure, name, python.state()) for name in ("compute", "track"))
    assert dots(figure, "in") == result["inputs"]
    assert dots(figure, "out") == result["outputs"]
    place = result["examples"].index(9)
    assert number(figure, "followed", "h") == pytest.approx(python.values[9], abs=0.0051)
    assert number(figure, "followed", "out") == pytest.approx(result["outputs"][place], abs=0.0051)
    assert number(figure, "ghost", "m") == pytest.approx(result["ghosts"][place // 4]["m"], abs=0.0051)
    assert number(figure, "ghost", "s") == pytest.approx(result["ghosts"][place // 4]["s"], abs=0.0051)
    assert number(figure, "past", "mean") == pytest.approx(np.mean(seen), abs=0.0051)
    assert number(figure, "past", "spread") == pytest.approx(np.std(seen), abs=0.0051)
    bars = figure.locator(".gh-bar").evaluate_all(
        "bars => bars.map(bar => [Number(bar.dataset.bin), Number(bar.dataset.count)])"
    )
    assert sum(count for _, count in bars) == SHUFFLES
    assert sum(bin * count for bin, count in bars) / 10 / SHUFFLES == pytest.approx(np.mean(seen), abs=0.05)
    assert figure.locator(".gh-in .fig-you").get_attribute("data-place") == str(place)
    assert figure.locator('.gh-in .fig-band[data-mine="true"]').count() == 1
    assert figure.locator(".gh-in .fig-band").count() == len(python.values) / 4


@slow
def test_a_dot_a_band_and_the_axis_share_one_scale(show):
    [figure] = show(Ghosts(ghost_size=8))
    panel = figure.locator(".gh-in")
    points = panel.locator(".fig-dot").evaluate_all(
        "dots => dots.map(dot => [Number(dot.dataset.value), Number(dot.getAttribute('cy'))])"
    )
    slope, start = np.polyfit(*np.array(points).T, 1)
    for band in panel.locator(".fig-band").all():
        m, s, y, height = (float(band.get_attribute(name)) for name in ("data-m", "data-s", "y", "height"))
        assert (y, height) == pytest.approx((start + slope * (m + s), -2 * slope * s), abs=1e-6)
    for text in panel.locator(".fig-tick").all():
        value = float(text.text_content().replace("−", "-"))
        assert float(text.get_attribute("y")) - 4 == pytest.approx(start + slope * value, abs=1e-6)


@slow
def test_a_shuffle_by_key_moves_the_output_and_says_from_where_to_where(show):
    python = Ghosts(ghost_size=4)
    [figure] = show(python)
    button = figure.get_by_role("button", name="shuffle the batch")
    before = number(figure, "followed", "out")
    for shuffle in (1, 2):
        button.press("Enter")
        state = {**python.state(), "shuffle": shuffle}
        assert dots(figure, "out") == evaluate(figure, "compute", state)["outputs"]
        after = number(figure, "followed", "out")
        text = f"New company: the output went from {before:.2f} to {after:.2f}".replace("-", "−")
        figure.locator(".fig-sentence").get_by_text(text).wait_for()
        figure.locator("[aria-live=polite]").get_by_text(text).wait_for(state="attached")
        before = after
    figure.get_by_role("button", name="reset").press("Enter")
    assert dots(figure, "in") == python.values


@slow
def test_after_the_last_shuffle_comes_the_first(show):
    [figure] = show(Ghosts(shuffle=SHUFFLES))
    figure.get_by_role("button", name="shuffle the batch").click()
    assert dots(figure, "in") == evaluate(figure, "compute", Ghosts(shuffle=1).state())["inputs"]


@slow
def test_one_ghost_is_the_whole_batch_and_stays(show):
    [figure] = show(Ghosts())
    slider = figure.get_by_role("slider", name="examples in a ghost")
    slider.focus()
    figure.page.keyboard.press("End")
    assert slider.get_attribute("aria-valuetext") == "32"
    assert number(figure, "past", "spread") == 0
    figure.get_by_text("its company is always the same").first.wait_for()
    figure.get_by_role("button", name="shuffle the batch").click()
    figure.locator(".fig-sentence").get_by_text("so it stayed").wait_for()
    slider.focus()
    figure.page.keyboard.press("Home")
    assert slider.get_attribute("aria-valuetext") == "2"
    assert np.abs(dots(figure, "out")) == pytest.approx(1, abs=0.01)


@slow
def test_another_example_is_followed_by_keys(show):
    [figure] = show(Ghosts())
    figure.get_by_role("slider", name="example followed").focus()
    figure.page.keyboard.press("End")
    assert figure.locator(".gh-in .fig-you").get_attribute("data-place") == "31"
    seen = evaluate(figure, "track", Ghosts(followed=31).state())
    assert number(figure, "past", "spread") == pytest.approx(np.std(seen), abs=0.0051)
