"""Digits on walls: the same for the same seed, each digit in its image, and out of a linear model's reach."""

import pytest
import torch

from companion import load_data, street_digits
from companion.lab.walls import _glyphs


def test_images_are_colours_and_the_same_for_the_same_seed():
    x, y = street_digits(200, seed=3)
    assert x.shape == (200, 3, 32, 32) and x.dtype == torch.float32
    assert x.min() >= 0 and x.max() <= 1
    assert set(y.tolist()) == set(range(10))
    again = street_digits(200, seed=3)
    assert torch.equal(x, again[0]) and torch.equal(y, again[1])
    assert not torch.equal(x, street_digits(200, seed=4)[0])


def test_a_set_is_made_once_and_changing_a_copy_changes_no_other(monkeypatch):
    first = load_data("street_digits", seed=5)
    kept = first.x.clone(), first.y.clone()
    first.x.zero_(), first.y.zero_()
    monkeypatch.setattr("companion.lab.walls.grid_sample", None)  # nothing can be made from here on
    again = load_data("street_digits", seed=5)
    assert torch.equal(again.x, kept[0]) and torch.equal(again.y, kept[1])


def test_every_font_draws_ten_digits_that_differ():
    drawn = _glyphs().flatten(2)
    apart = (drawn[:, :, None] - drawn[:, None]).abs().mean(-1) + torch.eye(10)
    assert apart.min() > 0.01
    assert drawn.mean(-1).min() > 0.03


def test_photographs_are_two_domains_with_the_same_digits():
    (temple, y), (flower, z) = (street_digits(500, photograph=index) for index in (0, 1))
    assert torch.equal(y, z)
    means = [x.mean((0, 2, 3)) for x in (temple, flower)]
    assert (means[0] - means[1]).abs().max() > 0.05


def test_a_linear_model_stays_near_chance_and_the_digits_are_there():
    x, y = street_digits(4000)
    x_test, y_test = street_digits(1000, seed=1)
    target = torch.nn.functional.one_hot(y, 10).double()
    features = [(part.flatten(1).double() - x.mean()) for part in (x, x_test)]
    ridge = features[0].T @ features[0] + 100 * torch.eye(3 * 32 * 32, dtype=torch.float64)
    linear = torch.linalg.solve(ridge, features[0].T @ target)
    right = ((features[1] @ linear).argmax(1) == y_test).double().mean()
    assert right < 0.25  # chance is 0.1

    # Whoever knows the glyphs reads most of them: the mask is what differs from the wall in every channel alike.
    grey = (x_test - x_test.mean((2, 3), keepdim=True)).abs().mean(1)
    middle = torch.nn.functional.interpolate(grey[:, None], (48, 48))[:, 0, :, 11:37].flatten(1)
    glyphs = _glyphs().mean(0).flatten(1)
    scores = torch.corrcoef(torch.cat([glyphs, middle]))[10:, :10]
    assert (scores.argmax(1) == y_test).double().mean() > 0.25


@pytest.mark.parametrize(("count", "photograph"), [(0, 0), (-1, 0), (1, 2), (1, "flower")])
def test_what_cannot_be_made(count, photograph):
    with pytest.raises(ValueError, match=f"but got {count} and {photograph}"):
        street_digits(count, photograph=photograph)
