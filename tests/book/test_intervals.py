"""Intervals agree with scipy and closed forms, cover what they promise, and corrections are Holm's."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[2] / "book/tools"))

import intervals


def rule(comparator, bound, of="each"):
    return {"comparator": comparator, "bound": bound, "of": of}


def test_the_interval_of_a_mean_is_scipys():
    values = np.random.default_rng(0).normal(3, 2, size=20)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert intervals.mean_interval(values) == pytest.approx(tuple(expected))


def test_the_interval_of_a_mean_by_hand():
    # Two values: the mean ± tan(0.475 π) × half their distance, since t with one degree of freedom is Cauchy's.
    half = math.tan(0.475 * math.pi)
    assert intervals.mean_interval([1.0, 3.0]) == pytest.approx((2 - half, 2 + half))


def test_one_value_says_nothing_and_equal_values_say_all():
    assert intervals.mean_interval([2.0]) == (-math.inf, math.inf)
    assert intervals.mean_interval([2.0, 2.0, 2.0]) == (2.0, 2.0)


@pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (17, 20), (20, 20), (1, 2)])
def test_the_interval_of_a_share_is_wilsons_formula(k, n):
    z = stats.norm.ppf(0.975)
    center = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    assert intervals.share_interval(k, n) == pytest.approx((center - half, center + half), abs=1e-9)


def test_intervals_of_means_cover():
    draws = np.random.default_rng(1).normal(0.7, 3, size=(2000, 20))
    bounds = np.array([intervals.mean_interval(draw) for draw in draws])
    covered = ((bounds[:, 0] <= 0.7) & (bounds[:, 1] >= 0.7)).mean()
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 2000)


def test_intervals_of_shares_cover_on_average_over_shares():
    rng = np.random.default_rng(2)
    shares = rng.uniform(size=2000)
    bounds = [intervals.share_interval(int(rng.binomial(20, share)), 20) for share in shares]
    covered = np.mean([low <= share <= high for share, (low, high) in zip(shares, bounds, strict=True)])
    assert 0.94 < covered < 0.97


def test_tests_of_true_null_hypotheses_err_as_seldom_as_they_say():
    draws = np.random.default_rng(3).normal(size=(2000, 20))
    for of, ceiling in (("mean", 0.07), ("each", 0.05)):
        p = np.array([intervals.p_value(draw, rule(">", 0.0, of)) for draw in draws])
        assert (p < 0.05).mean() < ceiling
    assert abs(np.mean([intervals.p_value(draw, rule("<", 0.0, "mean")) < 0.5 for draw in draws]) - 0.5) < 0.04


@pytest.mark.parametrize(
    ("values", "asked", "expected"),
    [
        ([1.0] * 5, rule(">", 0.0), 1 / 32),
        ([1.0] * 20, rule(">", 0.0), 2.0**-20),
        ([1.0, -1.0], rule(">", 0.0), 0.75),
        ([math.nan] * 3, rule(">", 0.0, "mean"), 1.0),
        ([1.0, math.nan], rule(">", 0.0), 0.75),
        ([2.0, 2.0], rule(">", 1.0, "mean"), 0.0),
        ([2.0, 2.0], rule(">", 2.0, "mean"), 1.0),
    ],
)
def test_what_a_rule_is_worth(values, asked, expected):
    assert intervals.p_value(values, asked) == pytest.approx(expected)


def test_a_mean_between_two_bounds_must_be_inside_both():
    values = np.random.default_rng(4).normal(1.5, 1, size=12)
    above, below = (intervals.p_value(values, rule(sign, bound, "mean")) for sign, bound in ((">", -2.0), ("<", 2.0)))
    assert intervals.p_value(values, rule("between", [-2.0, 2.0], "mean")) == max(above, below)


def test_holms_correction_by_hand():
    assert intervals.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert intervals.holm([0.9, 0.8]) == [1.0, 1.0]
    assert intervals.holm([]) == []


def test_holms_correction_keeps_the_chance_of_any_error_small():
    p = np.random.default_rng(5).uniform(size=(2000, 15))
    assert np.mean([min(intervals.holm(row)) < 0.05 for row in p]) < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 2000)


def test_a_description_counts_who_keeps_the_rule_and_who_is_ahead():
    said = intervals.describe([0.5, 3.0, 4.0, -1.0], rule("≥", 2.0), tie=0)
    assert (said["met"], said["ahead"], said["n"]) == (2, 3, 4)
    assert said["ahead_interval"] == intervals.share_interval(3, 4)
    assert "ahead" not in intervals.describe([0.5, 3.0], rule("≥", 2.0))
    assert intervals.describe([0.5, 0.7], rule("<", 1.0))["ahead"] == 2


def test_identities_show_their_largest_departure():
    said = intervals.describe([1e-14, 3e-13], rule("≤", 1e-12))
    assert (said["rounding"], said["largest"], said["met"]) == (True, 3e-13, 2)
    assert "p" not in said


def test_what_is_not_finite_keeps_no_rule_and_has_no_interval():
    said = intervals.describe([1.0, math.nan], rule(">", 0.0))
    assert (said["finite"], said["met"], "mean_interval" in said) == (1, 1, False)


@pytest.mark.parametrize(
    ("comparator", "bound", "of", "rounding"),
    [("≤", 1e-12, "each", True), ("≤", 0.0, "each", True), ("<", 0.0, "mean", False), ("≤", -2.0, "each", False)],
)
def test_a_mean_below_zero_is_not_about_rounding(comparator, bound, of, rounding):
    assert intervals.about_rounding({"comparator": comparator, "bound": bound, "of": of}) is rounding
