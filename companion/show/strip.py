"""A strip of dots beside a claim: one for each seed, and the bound, so that one sees how close it is."""

import html
import json
from pathlib import Path

import numpy as np

WIDTH = 220
LEGEND = "● here, ○ on seeds that nobody had seen, | bound, shaded: where the criterion is kept"


def nearest(name: str) -> Path | None:
    """Return the path of a file in the working folder or the nearest one above it; None if there is none."""
    here = Path.cwd()
    return next((folder / name for folder in (here, *here.parents) if (folder / name).is_file()), None)


def unseen_values(claim: str, row: dict) -> list:
    """Return what the stored replication measured for a claim's row, under the same rule; nothing if it did not."""
    path = nearest("pages/replication.json")
    runs = json.loads(path.read_text(encoding="utf-8"))["chapters"].values() if path else ()
    parts = (part for run in runs for found in run["claims"] if found["id"] == claim for part in found["evidence"])
    wanted = row["quantity"], row["rule"]
    return next((part["values"] for part in parts if (part["quantity"], part["rule"]) == wanted), [])


def dot_strip(row: dict, unseen: list) -> str:
    """Return a row's values, those on unseen seeds and the bound as an SVG with a text alternative.

    The axis is logarithmic where everything is positive and spans more than two decades; a value that is not
    finite has no place on it, and is said in words.
    """
    given = [np.array(values, dtype=float) for values in (row["values"], unseen)]
    here, there = (values[np.isfinite(values)] for values in given)
    bounds = np.atleast_1d(row["rule"]["bound"]).astype(float)
    least, most = (pick([*here, *there, *bounds]) for pick in (min, max))
    place = np.log10 if least > 0 and most > 100 * least else np.asarray
    low, span = place(least), place(most) - place(least) or 1
    x = [np.round(6 + (WIDTH - 12) * (place(values) - low) / span, 1) for values in (here, there, bounds)]
    sign = row["rule"]["comparator"]
    left, right = 0 if sign in "<≤" else x[2][0], WIDTH if sign in ">≥" else x[2][-1]
    said = [
        f"{name}: {_range(values)}" for name, values in zip(("here", "unseen seeds"), given, strict=True) if len(values)
    ]
    marks = [f'<rect x="{left}" width="{right - left:.1f}" height="26" fill="currentColor" opacity=".1"/>']
    marks += [f'<path d="M{at} 0V26" stroke="currentColor" stroke-width="1.5"/>' for at in x[2]]
    marks += [f'<circle cx="{at}" cy="8" r="3" fill="currentColor" opacity=".7"/>' for at in x[0]]
    marks += [f'<circle cx="{at}" cy="19" r="2.5" fill="none" stroke="currentColor" opacity=".6"/>' for at in x[1]]
    return (
        f'<svg role="img" viewBox="0 0 {WIDTH} 26" width="{WIDTH}" height="26" style="display:block;max-width:100%" '
        f'aria-label="{html.escape("; ".join([*said, "criterion: " + row["criterion"]]))}">{"".join(marks)}</svg>'
    )


def _range(values: np.ndarray) -> str:
    finite = values[np.isfinite(values)]
    count = "1 value" if len(finite) == 1 else f"{len(finite)} values"
    text = f"{count} from {finite.min():.3g} to {finite.max():.3g}" if len(finite) else "none finite"
    return text + (f", {len(values) - len(finite)} not finite" if len(finite) < len(values) else "")
