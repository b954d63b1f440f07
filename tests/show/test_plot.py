"""Figures tell schemes apart without colour, and show what diverged."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from companion.show import SCHEMES, band, dots, label_panels, use_style


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_no_two_schemes_share_a_colour_a_marker_or_a_line():
    for name in ("color", "marker", "linestyle", "label"):
        assert len({getattr(scheme, name) for scheme in SCHEMES.values()}) == len(SCHEMES), name


def test_a_band_holds_every_seed(ax):
    values = np.array([[1.0, 2, 6], [0, 3, 3]])
    band(ax, [0, 1], values, "batch")
    low, high = ax.collections[0].get_datalim(ax.transData).intervaly
    assert (low, high) == (0, 6)
    assert ax.lines[0].get_ydata().tolist() == [3, 2]


def test_a_diverged_seed_leaves_the_mean_and_is_counted(ax):
    values = np.array([[1.0, 3], [1, np.nan], [1, 3]])
    band(ax, [0, 1, 2], values, "none")
    assert ax.lines[0].get_ydata().tolist() == [2, 1, 1]
    assert ax.lines[0].get_label() == "no normalization (1 of 2 seeds diverged)"
    assert (ax.lines[1].get_xdata()[0], ax.lines[1].get_ydata()[0]) == (0, 3)


def test_dots_show_each_seed_but_no_mean_of_what_is_not_finite(ax):
    dots(ax, [0, 1], np.array([[1.0, 3], [1, np.inf]]), "layer")
    assert np.isfinite(np.concatenate([line.get_ydata() for line in ax.lines[:2]])).sum() == 3
    np.testing.assert_array_equal(ax.lines[2].get_ydata(), [2, np.nan])


@pytest.mark.parametrize("draw", [band, dots])
def test_bad_input_is_named(ax, draw):
    with pytest.raises(ValueError, match=r"\(points, seeds\) with 3 points, but got \(2, 3\)"):
        draw(ax, [0, 1, 2], np.zeros((2, 3)), "batch")
    with pytest.raises(ValueError, match="scheme must be one of 'none', 'batch'.* but got 'bn'"):
        draw(ax, [0], np.zeros((1, 3)), "bn")


def test_the_style_draws_no_box():
    with plt.rc_context():
        use_style()
        assert not plt.rcParams["axes.spines.right"]


def test_panels_are_lettered():
    figure, axes = plt.subplots(1, 2)
    label_panels(axes)
    assert [ax.get_title(loc="left") for ax in axes] == ["a", "b"]
    plt.close(figure)
