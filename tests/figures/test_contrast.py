"""Chapter 6's interactive figure: what it refuses, and that its drawing shows what torch computes."""

from base64 import b64encode

import numpy as np
import pytest
import torch
from torch.nn import functional

from companion.figures.contrast import Contrast

FULL = {
    "images": np.random.default_rng(0).normal(size=(5, 3, 6, 6)),
    "chosen": 4,
    "contrast": 2.0,
    "tint": 0.8,
}  # what the promises of all figures are tried with


def light(state):
    """Return the batch that the figure shows, and the plain one, in float64: both (N, 3, height, width)."""
    plain = torch.tensor(state["images"], dtype=torch.float64)
    gains = state["contrast"] * torch.tensor([1 + state["tint"], 1, 1 - state["tint"]], dtype=torch.float64)
    changed = plain.clone()
    changed[state["chosen"]] = gains[:, None, None] * plain[state["chosen"]] + state["brightness"]
    return changed, plain


def torch_says(state):
    """Return what torch's own functions make of a batch, and how far each image's output moved: {scheme: (N,)}."""
    eps = state["eps"]
    schemes = {
        "batch": lambda x: functional.batch_norm(x, None, None, training=True, eps=eps),
        "layer": lambda x: functional.group_norm(x, 1, eps=eps),
        "instance": lambda x: functional.instance_norm(x, eps=eps),
    }
    changed, plain = light(state)
    outputs = {name: scheme(changed) for name, scheme in schemes.items()}
    moved = {
        name: (outputs[name] - scheme(plain)).square().mean((1, 2, 3)).sqrt().tolist()
        for name, scheme in schemes.items()
    }
    return outputs, moved


def test_text_is_short():
    assert repr(Contrast()) == "Contrast()"
    assert repr(Contrast(images=np.zeros((4, 3, 8, 8)), chosen=3)) == "Contrast(chosen=3, images=<4 x 3 x 8 x 8>)"


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 3, 2, 2)),
        np.zeros((2, 1, 2, 2)),
        np.zeros((2, 3, 1, 1)),
        np.zeros((2, 3, 4)),
        3,
        None,
        "ab",
        np.full((2, 3, 2, 2), np.nan),
        [[[[1.0, 2.0]]] * 3, [[[1.0]]] * 3],
    ],
)
def test_images_that_are_no_batch(images):
    with pytest.raises(ValueError, match=r"^images must be finite numbers of shape .*, but got images=.*; repeat"):
        Contrast(images=images)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("chosen", -1),
        ("chosen", 3),
        ("chosen", 0.5),
        ("contrast", -0.1),
        ("contrast", None),
        ("tint", 1.5),
        ("tint", "red"),
        ("brightness", float("inf")),
        ("eps", -1e-9),
        ("eps", float("nan")),
    ],
)
def test_other_traits_refuse_and_keep_what_they_had(name, value):
    message = f"^{name} must be .*, but got {name}=.*; "
    with pytest.raises(ValueError, match=message):
        Contrast(**{name: value})
    figure = Contrast()
    with pytest.raises(ValueError, match=message):
        setattr(figure, name, value)
    assert repr(figure) == "Contrast()"


def test_tensors_and_arrays_are_images_too():
    images = torch.rand(2, 3, 4, 5)
    assert Contrast(images=images).images == Contrast(images=images.numpy()).images == images.tolist()


# In a browser


def evaluate(figure, function, state):
    """Call one of the module's functions in the page."""
    module = "data:text/javascript;base64," + b64encode(str(Contrast()._esm).encode()).decode()
    return figure.page.evaluate(f"async ([module, state]) => (await import(module)).{function}(state)", [module, state])


def said(figure):
    """Return what the marks below the tiles say: {scheme: how far each image's output moved}."""
    notes = [note.replace("still", "0").removeprefix("moved ") for note in figure.locator(".ct-note").all_inner_texts()]
    count = len(notes) // 4
    rows = [notes[start : start + count] for start in range(count, 4 * count, count)]
    return {name: [float(note) for note in row] for name, row in zip(("batch", "layer", "instance"), rows, strict=True)}


@pytest.mark.slow
def test_the_drawing_computes_what_torch_computes(show):
    draw = torch.Generator().manual_seed(0)

    def uniform(low, high, size=()):
        return (low + (high - low) * torch.rand(size, generator=draw, dtype=torch.float64)).tolist()

    states = [
        {
            "images": uniform(0, 1, (count, 3, height, width)),
            "chosen": count - 1,
            "contrast": uniform(0, 3),
            "brightness": uniform(-1, 1),
            "tint": uniform(-1, 1),
            "eps": eps,
        }
        for count, height, width in ((2, 1, 2), (3, 4, 5), (6, 8, 8))
        for eps in (1e-12, 1e-5, 0.1)
    ]
    states.append(Contrast(contrast=0.0, brightness=0.5).state())  # equal values: s is 0
    [figure] = show(Contrast())
    for state in states:
        result = evaluate(figure, "compute", state)
        outputs, moved = torch_says(state)
        for name, output in outputs.items():
            assert np.ravel(result["outputs"][name]) == pytest.approx(output.flatten().numpy(), rel=1e-9, abs=1e-9)
            assert result["moved"][name] == pytest.approx(moved[name], rel=1e-9, abs=1e-9)


@pytest.mark.slow
def test_contrast_and_brightness_move_batch_norm_only(show):
    [figure] = show(Contrast())
    assert said(figure) == {"batch": [0, 0, 0], "layer": [0, 0, 0], "instance": [0, 0, 0]}
    state = Contrast().state()
    for name, value in (("contrast", 1.5), ("brightness", 0.1)):
        control = figure.get_by_role("slider", name=name)
        control.focus()
        for _ in range(40):
            if float(control.input_value()) == value:
                break
            figure.page.keyboard.press("ArrowRight")
        state[name] = value
        _, moved = torch_says(state)
        for scheme, shown in said(figure).items():
            assert shown == pytest.approx(moved[scheme], abs=0.0051)
    assert min(said(figure)["batch"]) > 0
    assert said(figure)["layer"] == said(figure)["instance"] == [0, 0, 0]
    words = "Image 1 changed. Outputs that moved: batch norm all 3, layer norm none, instance norm none."
    figure.locator(".fig-sentence").get_by_text(words).wait_for()
    figure.locator("[aria-live=polite]").get_by_text(words).wait_for(state="attached")


@pytest.mark.slow
def test_a_tint_moves_layer_norm_too_and_reset_takes_it_back(show):
    [figure] = show(Contrast())
    figure.get_by_role("button", name="image 3").click()
    tint = figure.get_by_role("slider", name="tint")
    tint.focus()
    figure.page.keyboard.press("End")
    assert tint.get_attribute("aria-valuetext") == "+0.80"
    _, moved = torch_says({**Contrast().state(), "chosen": 2, "tint": 0.8})
    shown = said(figure)
    for scheme in shown:
        assert shown[scheme] == pytest.approx(moved[scheme], abs=0.0051)
    assert shown["layer"][:2] == [0, 0]
    assert shown["layer"][2] > 0.1
    assert shown["instance"] == [0, 0, 0]
    name = f"image 3 after layer norm, moved by {shown['layer'][2]:.2f}"
    assert figure.get_by_role("img", name=name).count() == 1
    figure.get_by_role("button", name="reset").click()
    assert said(figure)["layer"] == [0, 0, 0]
    assert figure.get_by_role("button", name="image 1").get_attribute("aria-pressed") == "true"


@pytest.mark.slow
def test_the_tiles_are_painted_with_the_outputs(show):
    state = Contrast(contrast=0.6, tint=-0.3).state()
    [figure] = show(Contrast(**{name: state[name] for name in ("contrast", "tint")}))
    pixels = figure.locator("canvas").evaluate_all(
        "all => all.map(one => [...one.getContext('2d').getImageData(0, 0, one.width, one.height).data])"
    )
    outputs, _ = torch_says(state)
    rows = [light(state)[0], *(0.5 + output / 5 for output in outputs.values())]
    for painted, image in zip(pixels, [image for row in rows for image in row], strict=True):
        expected = 255 * image.clamp(0, 1).movedim(0, -1).reshape(-1, 3).numpy()
        assert np.abs(np.reshape(painted, (-1, 4))[:, :3] - expected).max() <= 0.51


@pytest.mark.slow
def test_two_figures_do_not_touch_each_other_and_python_is_followed_by_number_of_images(show):
    first, second = show(Contrast(), Contrast(images=np.random.default_rng(0).random((5, 3, 8, 8)), chosen=4))
    first.get_by_role("slider", name="contrast").focus()
    first.page.keyboard.press("End")
    assert min(said(first)["batch"]) > 0
    assert said(second)["batch"] == [0] * 5
    assert second.get_by_role("button", name="image 5").get_attribute("aria-pressed") == "true"
