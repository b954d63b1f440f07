"""A claim's verdict follows from its numbers, and a text that states another one fails."""

import html
import json
import math
import re

import pytest

from companion import Claim, Measured, above, at_least, at_most, below, between, summarize
from companion.show.claims import MIME


def claim(values, criterion=None, **settings):
    return Claim("99a", "A <claim>.", "ioffe2015", [Measured("x < y", values, criterion)], **settings)


@pytest.mark.parametrize(
    ("criterion", "keeps", "breaks"),
    [
        (at_most(1), [0.5, 1.0], [0.5, 1.1]),
        (at_least(1), [1.0, 2.0], [0.9, 2.0]),
        (above(1), [1.1, 2.0], [1.0, 2.0]),
        (below(1), [0.5, 0.9], [0.5, 1.0]),
        (between(1, 2), [1.0, 2.0], [0.9, 1.5]),
        (at_most(1, of_mean=True), [0.5, 1.4], [0.5, 1.6]),
        (at_least(1, of_mean=True), [0.5, 1.6], [0.5, 1.4]),
    ],
)
def test_the_verdict_follows_from_the_values(criterion, keeps, breaks):
    assert claim(keeps, criterion).verdict == "holds"
    assert claim(breaks, criterion, stated=None).verdict == "does not hold here"


@pytest.mark.parametrize("criterion", [at_most(1), at_least(0), between(0, 1), at_most(1, of_mean=True)])
def test_nan_keeps_no_rule(criterion):
    assert claim([0.5, math.nan], criterion, stated=False).holds is False


@pytest.mark.parametrize(("values", "stated"), [([2.0], True), ([0.5], False)])
def test_a_text_that_states_the_wrong_verdict_fails_the_cell(values, stated):
    with pytest.raises(AssertionError, match="the text states otherwise"):
        claim(values, at_most(1), stated=stated)


def test_every_piece_of_evidence_must_keep_its_rule():
    evidence = [Measured("a", [0.5], at_most(1)), Measured("b", [2.0], at_most(1)), Measured("c", [9.0])]
    assert not Claim("99a", "A.", "ioffe2015", evidence, stated=False).holds
    assert Claim("99a", "A.", "ioffe2015", [evidence[0], evidence[2]]).holds


def test_a_verdict_needs_a_criterion():
    with pytest.raises(ValueError, match="nothing in its evidence has a criterion"):
        claim([1.0])
    assert claim([1.0], stated=None).verdict == "reported"


def test_evidence_needs_a_value():
    with pytest.raises(ValueError, match="at least one number, but got none"):
        Measured("x", [])


def test_stored_data_is_strict_json_and_complete():
    bundle = claim([0.123456789, math.inf], at_least(0), stated=True)._repr_mimebundle_()
    stored = json.loads(json.dumps(bundle[MIME], allow_nan=False))
    assert (stored["id"], stored["source"]) == ("99a", ["ioffe2015"])
    row = stored["evidence"][0]
    assert row["values"] == [0.123457, "inf"]
    assert (row["criterion"], row["met"], stored["verdict"]) == ("≥ 0, each", True, "holds")


@pytest.mark.parametrize(
    ("criterion", "bound"), [(at_most(1e-12), 1e-12), (between(-2, 2, of_mean=True), [-2.0, 2.0]), (above(0), 0.0)]
)
def test_the_rule_is_stored_as_data_too(criterion, bound):
    evidence = [Measured("x", [0.0, 1.0], criterion, over="runs", tie=0)]
    (row,) = Claim("99a", "A.", "ioffe2015", evidence, stated=None).to_dict()["evidence"]
    assert row["rule"] == {
        "comparator": criterion.text.removeprefix("mean ").split()[0],
        "bound": bound,
        "of": "mean" if criterion.of_mean else "each",
    }
    assert (row["over"], row["tie"]) == ("runs", 0)


def test_html_is_escaped():
    page = claim([1.0], at_most(1))._repr_html_()
    assert "A &lt;claim&gt;." in page
    assert "x &lt; y" in page


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([2.0], "2"),
        ([1.0, 3.0], "2 ± 1 (1 to 3, 2 seeds)"),
        ([1.0, math.inf], "1 (1 to 1, 1 of 2 seeds, 1 not finite)"),
        ([math.nan, math.nan], "none of 2 seeds finite"),
    ],
)
def test_a_summary_counts_what_is_not_finite(values, text):
    assert summarize(values) == text


def first_line(*evidence):
    page = Claim("99a", "A.", "ioffe2015", evidence, stated=None)._repr_html_()
    return html.unescape(re.sub("<[^>]+>", "", re.sub("<svg.*?</svg>", "", page.split("<details>")[0])))


def test_the_line_of_a_claim_is_about_what_fails_with_its_interval():
    kept, broken = (
        Measured("gain", [1.0, 2.0, 3.0], above(0)),
        Measured("loss", [1.0, 2.0, 3.0], above(2, of_mean=True)),
    )
    assert "loss: 2, 95 % interval -0.484 to 4.48, 3 seeds; criterion: mean > 2" in first_line(kept, broken)
    assert "gain: 1 to 3, 3 seeds; criterion: > 0, each" in first_line(kept, Measured("time", [7.0]))
    assert "time: 7; criterion: > 0" in first_line(Measured("time", [7.0], above(0)))
