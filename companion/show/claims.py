"""A claim is an object: what is stated, by whom, what was measured, what would count, and the verdict."""

import html
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from companion.show.strip import LEGEND, dot_strip, nearest, unseen_values

MIME = "application/vnd.udl-companion.claim+json"
LOCK = "claims.lock"  # every criterion of the book, fixed before it is tested; it stands in the project's root
KEEPS = {
    "≤": np.less_equal,
    "≥": np.greater_equal,
    ">": np.greater,
    "<": np.less,
    "between": lambda values, bounds: (bounds[0] <= values) & (values <= bounds[1]),
}


@dataclass(frozen=True)
class Criterion:
    """A rule that measured values keep or break, and its text: made by :func:`at_most` and the like."""

    comparator: str
    bound: float | tuple[float, float]
    of_mean: bool = False

    @property
    def text(self) -> str:
        """The rule in words, such as ``mean ≥ 2``."""
        bounds = np.atleast_1d(self.bound)
        rule = f"{self.comparator} {' and '.join(f'{bound:g}' for bound in bounds)}"
        return f"mean {rule}" if self.of_mean else rule

    def met_by(self, values: np.ndarray) -> bool:
        """Return True if every value (or the mean) keeps the rule; a value that is NaN never does."""
        return bool(np.all(KEEPS[self.comparator](values.mean() if self.of_mean else values, self.bound)))

    def to_dict(self) -> dict:
        """Return the rule as plain data, as ``claims.lock`` holds it."""
        bound = [float(value) for value in np.atleast_1d(self.bound)]
        return {
            "comparator": self.comparator,
            "bound": bound if len(bound) > 1 else bound[0],
            "of": "mean" if self.of_mean else "each",
        }


def at_most(bound: float, of_mean: bool = False) -> Criterion:
    """Make the rule that every value (or the mean over seeds) is at most ``bound``."""
    return Criterion("≤", bound, of_mean)


def at_least(bound: float, of_mean: bool = False) -> Criterion:
    """Make the rule that every value (or the mean over seeds) is at least ``bound``."""
    return Criterion("≥", bound, of_mean)


def above(bound: float, of_mean: bool = False) -> Criterion:
    """Make the rule that every value (or the mean over seeds) is greater than ``bound``."""
    return Criterion(">", bound, of_mean)


def below(bound: float, of_mean: bool = False) -> Criterion:
    """Make the rule that every value (or the mean over seeds) is less than ``bound``."""
    return Criterion("<", bound, of_mean)


def between(low: float, high: float, of_mean: bool = False) -> Criterion:
    """Make the rule that every value (or the mean over seeds) lies between ``low`` and ``high``."""
    return Criterion("between", (low, high), of_mean)


def summarize(values, over: str = "seeds") -> str:
    """Write mean ± standard error and range of several values; what is not finite is counted, not averaged.

    Args:
        values: One number, or one for each of the things that ``over`` names.
        over: What the values differ in, for the text.

    Example:
        >>> summarize([1.0, 2.0, 3.0])
        '2 ± 0.58 (1 to 3, 3 seeds)'
        >>> summarize([1.0, float("nan"), 3.0])
        '2 ± 1 (1 to 3, 2 of 3 seeds, 1 not finite)'
        >>> summarize([2.5e-15])
        '2.5e-15'
    """
    values = _values(values)
    finite = values[np.isfinite(values)]
    if len(values) == 1:
        return f"{values[0]:.3g}"
    if len(finite) == 0:
        return f"none of {len(values)} {over} finite"
    count = f"{len(values)} {over}"
    if len(finite) < len(values):
        count = f"{len(finite)} of {count}, {len(values) - len(finite)} not finite"
    spread = f" ± {finite.std(ddof=1) / np.sqrt(len(finite)):.2g}" if len(finite) > 1 else ""
    return f"{finite.mean():.3g}{spread} ({finite.min():.3g} to {finite.max():.3g}, {count})"


@dataclass(frozen=True)
class Measured:
    """One measured quantity: a value for each seed (or whatever ``over`` names) and the rule to keep, if any.

    Where two things are compared, ``tie`` is the value at which neither is ahead: 0 for a difference, 1 for a ratio.
    """

    quantity: str
    values: Sequence[float]
    criterion: Criterion | None = None
    over: str = "seeds"
    tie: float | None = None

    def __post_init__(self) -> None:
        if _values(self.values).size == 0:
            raise ValueError(f"values of {self.quantity!r} must hold at least one number, but got none")

    @property
    def met(self) -> bool | None:
        """True if the rule is kept; None where there is none."""
        return None if self.criterion is None else self.criterion.met_by(_values(self.values))

    def to_dict(self) -> dict:
        """Return the row as plain data; JSON knows no NaN and no infinity, so those become text."""
        values = _values(self.values)
        rule = None
        if self.criterion is not None:
            each = len(values) > 1 and not self.criterion.of_mean
            rule = self.criterion.text + (", each" if each else "")
        return {
            "quantity": self.quantity,
            "values": [float(f"{value:.6g}") if np.isfinite(value) else str(value) for value in values],
            "summary": summarize(values, self.over),
            "criterion": rule,
            "met": self.met,
            "rule": None if self.criterion is None else self.criterion.to_dict(),
            "over": self.over,
            "tie": self.tie,
        }


@dataclass(frozen=True)
class Claim:
    """A statement, tested: shows as a small table, stores its data, and fails the cell where the text is wrong.

    Args:
        id: Chapter and letter, such as ``"01c"``.
        statement: What is claimed, one sentence.
        source: Key of the bibliography, or several.
        evidence: What was measured.
        stated: What the text around it says: True, it holds; False, it does not hold here; None, the
            numbers are only reported.

    Raises:
        AssertionError: If the verdict is not the one that the text states, or a criterion not the one that
            ``claims.lock`` holds (looked for in the working folder and those above it; without one, nothing is
            compared). With ``COMPANION_REPLICATION`` set, the claim is recorded as it comes out.
        ValueError: If the text states a verdict, but no evidence has a criterion.

    Example:
        >>> ratio = Measured("steps with / without", [0.6, 0.7], at_most(0.75))
        >>> print(Claim("01c", "Batch norm trains in fewer steps.", "ioffe2015", [ratio]))
        01c  Batch norm trains in fewer steps.  HOLDS
             steps with / without: 0.65 ± 0.05 (0.6 to 0.7, 2 seeds); criterion: ≤ 0.75, each; met
             source: ioffe2015
    """

    id: str
    statement: str
    source: str | Sequence[str]
    evidence: Sequence[Measured]
    stated: bool | None = True
    sources: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", (self.source,) if isinstance(self.source, str) else tuple(self.source))
        if self.stated is not None and self.holds is None:
            raise ValueError(f"claim {self.id} states a verdict, but nothing in its evidence has a criterion: add one")
        if os.environ.get("COMPANION_REPLICATION"):
            return
        self._compare_with(_locked_rules())
        if self.stated is not None and self.holds is not self.stated:
            raise AssertionError(f"the text states otherwise (stated={self.stated}):\n{self}")

    def _compare_with(self, locked: dict[tuple[str, str], list[dict]]) -> None:
        """Fail where a criterion has moved; what the lock does not know is an experiment of the reader's own."""
        for measured in self.evidence:
            fixed = locked.get((self.id, measured.quantity))
            rule = measured.criterion and measured.criterion.to_dict()
            if rule and fixed and rule not in fixed:
                raise AssertionError(
                    f"the criterion of {measured.quantity!r} in claim {self.id} is {_words(rule)}, but {LOCK} "
                    f"holds {' or '.join(map(_words, fixed))}: put it back, or say first why it changes, with "
                    f"make claims OPEN={self.id} REASON=…"
                )

    @property
    def holds(self) -> bool | None:
        """True if every rule is kept; None where no evidence has one."""
        tested = [measured.met for measured in self.evidence if measured.met is not None]
        return all(tested) if tested else None

    @property
    def verdict(self) -> str:
        """``holds``, ``does not hold here`` or ``reported``."""
        return {True: "holds", False: "does not hold here", None: "reported"}[self.holds]

    def to_dict(self) -> dict:
        """Return the data stored in the notebook, and collected by the book's page "What we verified"."""
        return {
            "id": self.id,
            "statement": self.statement,
            "source": list(self.sources),
            "evidence": [measured.to_dict() for measured in self.evidence],
            "verdict": self.verdict,
            "stated": self.stated,
        }

    def __repr__(self) -> str:
        lines = [f"{self.id}  {self.statement}  {self.verdict.upper()}"]
        for row in self.to_dict()["evidence"]:
            rule = f"; criterion: {row['criterion']}; {'met' if row['met'] else 'not met'}" if row["criterion"] else ""
            lines.append(f"     {row['quantity']}: {row['summary']}{rule}")
        return "\n".join([*lines, f"     source: {', '.join(self.sources)}"])

    def _repr_html_(self) -> str:
        color = {True: "#009E73", False: "#D55E00", None: "#7A8794"}[self.holds]
        sign = {True: "✓ holds", False: "✗ does not hold here", None: "reported"}[self.holds]
        rows = self.to_dict()["evidence"]
        table = "".join(_html_row(self.id, row) for row in rows)
        below = html.escape(f"source: {', '.join(self.sources)}") + (f"<br>{LEGEND}" if "<svg" in table else "")
        return (
            f'<div style="border-left:4px solid {color};padding:.4em .9em;margin:.4em 0;max-width:46em">'
            f"<div><strong>{html.escape(self.id)}</strong>&ensp;{html.escape(self.statement)}&ensp;"
            f'<strong style="color:{color};white-space:nowrap">{sign}</strong></div>'
            f"<div>{_headline(self.id, rows[self._decisive()])}</div>"
            '<details><summary>All that was measured</summary><table style="margin:.4em 0;font-size:.92em"><thead><tr>'
            + "".join(f'<th scope="col" style="{_CELL}">{name}</th>' for name in _COLUMNS)
            + f"</tr></thead><tbody>{table}</tbody></table>"
            f'<div style="font-size:.85em;opacity:.75">{below}</div></details></div>'
        )

    def _decisive(self) -> int:
        """Return the place of the evidence that a line must show: what fails, else the first that was tested."""
        met = [measured.met for measured in self.evidence]
        return met.index(False) if False in met else met.index(True) if True in met else 0

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        return {"text/plain": repr(self), "text/html": self._repr_html_(), MIME: self.to_dict()}


_CELL = "text-align:left;vertical-align:top;padding:.1em 1.2em .1em 0"
_COLUMNS = ("measured", "effect: mean ± s.e. (range)", "criterion", "")


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Return the interval that covers the mean of normal values in ``level`` of all samples (Student's t).

    Example:
        >>> [round(end, 2) for end in mean_interval([1.0, 2.0, 3.0])]
        [-0.48, 4.48]
    """
    from scipy.stats import t  # takes half a second, and only a page with claims needs it

    values = _values(values)
    known = len(values) > 1
    reach = t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5 if known else np.inf
    return float(values.mean() - reach), float(values.mean() + reach)


def _headline(claim: str, row: dict) -> str:
    """Effect, interval and criterion in a line, with the strip that shows how close it is."""
    values = np.array(row["values"], dtype=float)
    effect, several = f"{values.min():.3g}", len(values) > 1
    if several and row["rule"] and row["rule"]["of"] == "each":
        effect += f" to {values.max():.3g}"
    elif several:
        effect = "{:.3g}, 95 % interval {:.3g} to {:.3g}".format(values.mean(), *mean_interval(values))
    effect += f", {len(values)} {row['over']}" * several + f"; criterion: {row['criterion']}" * bool(row["rule"])
    strip = dot_strip(row, unseen_values(claim, row)) if row["rule"] and several else ""
    return html.escape(f"{row['quantity']}: {effect}") + strip


def _html_row(claim: str, row: dict) -> str:
    met = {True: "✓", False: "✗", None: ""}[row["met"]]
    cells = [html.escape(text) for text in (row["quantity"], row["summary"], row["criterion"] or "none", met)]
    if row["rule"] and len(row["values"]) > 1:
        cells[1] += dot_strip(row, unseen_values(claim, row))
    return "<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells) + "</tr>"


def _values(values) -> np.ndarray:
    return np.atleast_1d(np.asarray(values, dtype=float)).ravel()


def _locked_rules() -> dict[tuple[str, str], list[dict]]:
    """The criteria in the nearest ``claims.lock``, by claim and quantity; lines that are open may change."""
    path = nearest(LOCK)
    rules = {}
    for line in path.read_text(encoding="utf-8").splitlines()[1:] if path else ():
        entry = json.loads(line)
        if entry["status"] in ("exploratory", "confirmatory"):
            rule = {name: entry[name] for name in ("comparator", "bound", "of")}
            rules.setdefault((entry["id"], entry["quantity"]), []).append(rule)
    return rules


def _words(rule: dict) -> str:
    bounds = " and ".join(f"{bound:g}" for bound in np.atleast_1d(rule["bound"]))
    return f"{rule['comparator']} {bounds} for {'the mean' if rule['of'] == 'mean' else 'each'}"
