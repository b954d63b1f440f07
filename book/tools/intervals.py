"""Statistics of a few seeds: intervals, shares, and tests corrected for how many there are."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from companion.show.claims import mean_interval

ROUNDING = 1e-4  # a bound from above that is this small is about rounding, not about noise


def share_interval(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's interval for a share."""
    interval = stats.binomtest(successes, trials).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def keeps(values: Sequence[float], rule: dict) -> np.ndarray:
    """Return for each value whether it keeps the rule; one that is not a number never does."""
    values, bounds = np.asarray(values, dtype=float), np.atleast_1d(rule["bound"])
    compare = {"≤": np.less_equal, "≥": np.greater_equal, ">": np.greater, "<": np.less}
    if rule["comparator"] == "between":
        return (bounds[0] <= values) & (values <= bounds[1])
    return compare[rule["comparator"]](values, bounds[0])


def about_rounding(rule: dict) -> bool:
    """Return True if a rule bounds an identity's rounding: its values are not noisy, and the largest is of interest."""
    if rule["of"] == "mean" or rule["comparator"] not in ("≤", "<"):
        return False  # a mean below zero is about noisy values, however small the bound
    return 0 <= rule["bound"] <= ROUNDING


def p_value(values: Sequence[float], rule: dict) -> float:
    """Return the probability of values that keep the rule so clearly if the truth were at the wrong side of it.

    A rule about the mean: Student's t, one-sided; between two bounds, the larger of two. A rule about each: a sign
    test, that no more than half of all seeds keep it.
    """
    values = np.asarray(values, dtype=float)
    if rule["of"] == "each":
        return float(stats.binomtest(int(keeps(values, rule).sum()), len(values), 0.5, "greater").pvalue)
    if not np.isfinite(values).all():
        return 1.0
    if values.std() == 0:
        return float(not keeps(values, rule).all())
    if rule["comparator"] == "between":
        low, high = rule["bound"]
        return max(stats.ttest_1samp(values, low, alternative="greater").pvalue, _below(values, high))
    if rule["comparator"] in ("<", "≤"):
        return _below(values, rule["bound"])
    return float(stats.ttest_1samp(values, rule["bound"], alternative="greater").pvalue)


def _below(values: np.ndarray, bound: float) -> float:
    return float(stats.ttest_1samp(values, bound, alternative="less").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected after Holm: those below 5 % hold together with at most 5 % chance of any error."""
    order = np.argsort(p_values)
    scaled = np.asarray(p_values, dtype=float)[order] * np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return corrected.tolist()


def describe(values: Sequence[float], rule: dict | None, tie: float | None = None) -> dict:
    """Return what the values say of a rule: the mean, shares, who is ahead, each with its 95 % interval.

    Who is ahead is asked where a tie is given, or the bound is one (0 for a difference, 1 for a ratio).
    """
    values = np.asarray(values, dtype=float)
    finite = values[np.isfinite(values)]
    said = {"n": len(values), "finite": len(finite)}
    if len(finite):
        said |= {"mean": float(finite.mean()), "least": float(finite.min()), "largest": float(finite.max())}
    if len(finite) > 1 and len(finite) == len(values):
        said["mean_interval"] = mean_interval(values)
    if rule is None or len(values) == 1:
        return said
    met = int(keeps(values, rule).sum())
    said |= {"met": met, "met_interval": share_interval(met, len(values)), "rounding": about_rounding(rule)}
    if said["rounding"]:
        return said
    said["p"] = p_value(values, rule)
    if rule["comparator"] != "between" and (tie is not None or rule["bound"] in (0, 1)):
        side = ">" if rule["comparator"] in (">", "≥") else "<"
        ahead = int(keeps(values, {"comparator": side, "bound": rule["bound"] if tie is None else tie}).sum())
        said |= {"ahead": ahead, "ahead_interval": share_interval(ahead, len(values))}
    return said
