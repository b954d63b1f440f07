"""The house style of figures: one colour and marker a scheme, bands that show every seed."""

from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

INK, MUTED, PAPER = "#22303C", "#7A8794", "#FFFFFF"


@dataclass(frozen=True)
class Scheme:
    """Looks of a normalization scheme in the whole book: never told apart by colour alone."""

    label: str
    color: str
    marker: str
    linestyle: str | tuple


# Okabe and Ito's palette, which readers with any of the common colour vision deficiencies can tell apart.
SCHEMES = {
    "none": Scheme("no normalization", "#7A8794", "s", (0, (5, 2))),
    "batch": Scheme("batch norm", "#0072B2", "o", "-"),
    "ghost": Scheme("ghost batch norm", "#56B4E9", "D", (0, (1, 1))),
    "layer": Scheme("layer norm", "#D55E00", "^", "-."),
    "group": Scheme("group norm", "#009E73", "v", (0, (3, 1, 1, 1))),
    "instance": Scheme("instance norm", "#CC79A7", "P", (0, (4, 1, 1, 1, 1, 1))),
    "weight": Scheme("weight norm", "#E69F00", "X", (0, (7, 2, 2, 2))),
}


def use_style() -> None:
    """Set matplotlib's defaults to the house style; axes say what they show, captions say the rest."""
    mpl.rcParams.update(
        {
            "figure.figsize": (7.2, 3.2),
            "figure.dpi": 130,
            "figure.facecolor": PAPER,
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": MUTED,
            "axes.labelcolor": INK,
            "axes.titlesize": 10,
            "axes.titlecolor": INK,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#E6EAEE",
            "grid.linewidth": 0.8,
            "text.color": INK,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
            "xtick.labelcolor": INK,
            "ytick.labelcolor": INK,
            "lines.linewidth": 2,
            "lines.markersize": 6,
            "legend.frameon": False,
            "image.cmap": "RdBu_r",
            "axes.prop_cycle": mpl.cycler(color=[scheme.color for scheme in SCHEMES.values()]),
        }
    )


def band(ax: Axes, x, values, scheme: str, label: str | None = None) -> None:
    """Draw the mean over seeds as a line, and all seeds, from least to greatest, as a band.

    A seed with a value that is not finite is left out from there on, ends in a cross, and is counted in the label.

    Shapes:
        - ``x``: ``(points,)``
        - ``values``: ``(points, seeds)``

    Args:
        ax: The axes to draw on.
        x: Where the points stand.
        values: One column a seed.
        scheme: A key of :data:`SCHEMES`.
        label: Text for the legend; the scheme's name by default.

    Raises:
        ValueError: If ``scheme`` is unknown, or the shapes do not fit.
    """
    style, x, values = _style(scheme), np.asarray(x, dtype=float), np.asarray(values, dtype=float)
    if values.ndim != 2 or len(values) != len(x):
        raise ValueError(f"values must have shape (points, seeds) with {len(x)} points, but got {values.shape}")
    alive = np.logical_and.accumulate(np.isfinite(values), axis=0)
    shown = np.ma.masked_array(values, ~alive)
    lost = ~alive[-1]
    label = (label or style.label) + (f" ({lost.sum()} of {lost.size} seeds diverged)" if lost.any() else "")
    ax.fill_between(x, shown.min(1), shown.max(1), color=style.color, alpha=0.18, linewidth=0)
    ax.plot(x, shown.mean(1), color=style.color, linestyle=style.linestyle, label=label)
    for seed in np.flatnonzero(lost & alive[0]):
        last = alive[:, seed].sum() - 1
        ax.plot(x[last], values[last, seed], "x", color=style.color)


def dots(ax: Axes, x, values, scheme: str, label: str | None = None) -> None:
    """Draw every seed as a small marker and the mean over seeds as a line with large ones.

    Points where a seed's value is not finite show the others, and no mean.

    Shapes:
        - ``x``: ``(points,)``
        - ``values``: ``(points, seeds)``
    """
    style, x, values = _style(scheme), np.asarray(x, dtype=float), np.asarray(values, dtype=float)
    if values.ndim != 2 or len(values) != len(x):
        raise ValueError(f"values must have shape (points, seeds) with {len(x)} points, but got {values.shape}")
    drawn = np.where(np.isfinite(values), values, np.nan)
    ax.plot(x, drawn, style.marker, color=style.color, markersize=3.5, alpha=0.5, markeredgewidth=0)
    ax.plot(
        x,
        drawn.mean(1),
        color=style.color,
        linestyle=style.linestyle,
        marker=style.marker,
        markeredgecolor=PAPER,
        markersize=8,
        label=label or style.label,
    )


def label_panels(axes, labels=None) -> None:
    """Write a, b, c … (or ``labels``) above the left corner of each of ``axes``."""
    axes = np.ravel(axes)
    for ax, text in zip(axes, labels or "abcdefghij", strict=False):
        ax.set_title(text, loc="left", fontweight="bold")


def _style(scheme: str) -> Scheme:
    if scheme not in SCHEMES:
        known = ", ".join(repr(known) for known in SCHEMES)
        raise ValueError(f"scheme must be one of {known}, but got {scheme!r}")
    return SCHEMES[scheme]
