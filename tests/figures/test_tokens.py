"""Chapter 4's interactive figure: what it refuses, and what it shows in a browser."""

from base64 import b64encode

import pytest
import torch

from companion import LayerNorm, Tokens

FULL = {"push": 12, "factor": 8}  # what the promises of all figures are tried with

SCHEMES = ("token", "sequence")


@pytest.mark.parametrize("values", [[], [[1.0, 2.0]], [[1.0], [2.0]], [[1.0, 2.0], [3.0]], [[1.0, 2.0], [3, None]], 3])
def test_values_that_are_no_sequence(values):
    with pytest.raises(ValueError, match="^values must be at least 2 channels .*, but got values=.*; give one list"):
        Tokens(values=values)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scheme", "batch"),
        ("channel", -1),
        ("channel", 0.5),
        ("position", -1),
        ("push", 13),
        ("push", float("nan")),
        ("factor", 0),
        ("factor", 9),
        ("eps", -1e-9),
    ],
)
def test_other_traits_refuse_and_keep_what_they_had(name, value):
    message = f"^{name} must be .*, but got {name}=.*; "
    with pytest.raises(ValueError, match=message):
        Tokens(**{name: value})
    figure = Tokens()
    with pytest.raises(ValueError, match=message):
        setattr(figure, name, value)
    assert repr(figure) == "Tokens()"


def edited(figure):
    """Return what goes in after the change."""
    x = torch.tensor(figure.values, dtype=torch.float64)
    x[:, figure.position] *= figure.factor
    x[figure.channel, figure.position] += figure.push
    return x


def torch_says(figure, x):
    """Return the outputs for a sequence of channels by positions, by torch's layer norm or ours."""
    if figure.scheme == "token":
        return torch.nn.functional.layer_norm(x.T, x.shape[:1], eps=figure.eps).T
    return LayerNorm(len(x), eps=figure.eps, affine=False)(x[None])[0]


def moved(figure):
    """Count the outputs that move, by torch's numbers: of the chosen token, of others, of earlier ones."""
    before = torch_says(figure, torch.tensor(figure.values, dtype=torch.float64))
    far = ((torch_says(figure, edited(figure)) - before).abs() >= 0.005).sum(0)
    own = int(far[figure.position])
    return own, int(far.sum()) - own, int(far[: figure.position].sum())


@pytest.mark.slow
def test_the_drawing_computes_what_torch_computes(show):
    draw = torch.Generator().manual_seed(0)
    figures = []
    for scheme in SCHEMES:
        for channels, positions in ((2, 2), (3, 7), (8, 4)):
            values = torch.randn(channels, positions, generator=draw, dtype=torch.float64) * 3 + 1
            push, exponent, eps = (torch.rand(3, generator=draw, dtype=torch.float64) * 2 - 1).tolist()
            settings = {"push": 12 * push, "factor": 4 ** abs(exponent), "eps": 10 ** (4 * eps - 4)}
            figures += [
                Tokens(values=values.tolist(), scheme=scheme, channel=1, position=positions // 2, **change)
                for change in ({}, settings, {"factor": 8}, {"push": -12})
            ]
    figures.append(Tokens(values=[[2.0] * 5] * 2))  # s is 0
    [shown] = show(Tokens())
    module = "data:text/javascript;base64," + b64encode(str(Tokens()._esm).encode()).decode()
    results = shown.page.evaluate(
        "async ([module, states]) => { const { compute } = await import(module); return states.map(compute); }",
        [module, [figure.state() for figure in figures]],
    )
    for figure, result in zip(figures, results, strict=True):
        x = edited(figure)
        expected = torch_says(figure, x)
        torch.testing.assert_close(torch.tensor(result["input"], dtype=torch.float64), x, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(
            torch.tensor(result["outputs"], dtype=torch.float64), expected, rtol=1e-10, atol=1e-10
        )
        assert (result["own"], result["others"], result["earlier"]) == moved(figure)
        rest = torch.cat([expected[:, : figure.position], expected[:, figure.position + 1 :]], dim=1)
        assert result["spread"]["now"] == pytest.approx(rest.std(correction=0).item(), abs=1e-10)


def number(text):
    return float(text.replace("−", "-"))


def told(figure, name):
    """Return a number of the readout."""
    return number(figure.locator(f"[data-name={name}]").inner_text())


def drawn(figure, kind):
    """Return the numbers in a table's cells."""
    return [number(text) for text in figure.locator(f".tk-{kind} .tk-cell text").all_text_contents()]


def marks(figure):
    """Return which cells are marked as moved."""
    cells = figure.locator(".tk-out .tk-cell circle")
    return [cell.get_attribute("visibility") == "visible" for cell in cells.all()]


def says(figure, text):
    figure.get_by_text(text).first.wait_for()


def slide(figure, name, key, times=1):
    figure.get_by_role("slider", name=name).focus()
    for _ in range(times):
        figure.page.keyboard.press(key)


@pytest.mark.slow
def test_an_outlier_squeezes_all_tokens_or_only_moves_its_own(show):
    [shown] = show(Tokens())
    slide(shown, "push the chosen entry", "End")
    python = Tokens(push=12)
    says(shown, "One entry of token 5 pushed by +12.0: all 48 outputs move, 42 of them other tokens’.")
    says(shown, "The other tokens are squeezed to")
    expected = torch_says(python, edited(python))
    assert drawn(shown, "in") == pytest.approx(edited(python).flatten().tolist(), abs=0.0501)
    assert drawn(shown, "out") == pytest.approx(expected.flatten().tolist(), abs=0.0501)
    assert marks(shown) == [True] * 48
    others = expected[:, [0, 1, 2, 3, 5, 6, 7]]
    assert told(shown, "now") == pytest.approx(others.std(correction=0).item(), abs=0.005)
    assert told(shown, "now") < 0.6 < told(shown, "before")

    shown.get_by_role("button", name="each token by itself").click()
    python.scheme = "token"
    says(shown, "One entry of token 5 pushed by +12.0: 6 of 48 outputs move, none of another token.")
    says(shown, "No other token hears of it.")
    assert drawn(shown, "out") == pytest.approx(torch_says(python, edited(python)).flatten().tolist(), abs=0.0501)
    assert marks(shown) == [place % 8 == 4 for place in range(48)]
    assert told(shown, "now") == told(shown, "before")
    assert told(shown, "m") == pytest.approx(edited(python)[:, 4].mean().item(), abs=0.005)


@pytest.mark.slow
def test_the_scale_of_a_token_counts_only_where_tokens_share(show):
    [shown] = show(Tokens(scheme="token"))
    slide(shown, "scale its whole token", "End")
    says(shown, "All of token 5 × 8: none of 48 outputs moves.")
    assert marks(shown) == [False] * 48
    shown.get_by_role("button", name="channels and positions together").click()
    own, others, _ = moved(Tokens(factor=8))
    says(shown, f"{own + others} outputs move, {others} of them other tokens’.")
    assert sum(marks(shown)) == own + others
    shown.get_by_role("button", name="reset").click()
    says(shown, "Push one entry, or scale a whole token: which outputs move?")


@pytest.mark.slow
def test_keys_and_clicks_choose_an_entry(show):
    [shown] = show(Tokens(push=4))
    shown.get_by_role("gridcell", name="channel 2, token 5").focus()
    for key in ("ArrowRight", "ArrowUp", "ArrowUp", "a"):  # there is no channel above the first
        shown.page.keyboard.press(key)
    says(shown, "One entry of token 6 pushed by +4.0")
    here = shown.get_by_role("gridcell", name="channel 1, token 6")
    assert here.get_attribute("aria-selected") == "true"
    assert here.evaluate("cell => cell === document.activeElement")
    assert "in 4.70, out" in here.get_attribute("aria-label")
    shown.get_by_role("gridcell", name="channel 6, token 1").click()
    says(shown, "One entry of token 1 pushed by +4.0")
    shown.locator("[aria-live=polite]").get_by_text("One entry of token 1").wait_for(state="attached")
    assert shown.locator("[aria-selected=true]").count() == 1
