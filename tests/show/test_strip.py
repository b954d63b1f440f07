"""A claim shows each seed as a dot beside its bound, on the page and on seeds that nobody had seen."""

import json
import re

import pytest

from companion import Claim, Measured, above, at_least, at_most, between
from companion.show.strip import WIDTH, dot_strip


def row(values, criterion, quantity="gain"):
    return Claim("99a", "A.", "ioffe2015", [Measured(quantity, values, criterion)], stated=None).to_dict()["evidence"][
        0
    ]


def drawn(svg):
    """Places on the axis: of the page's dots, of those on unseen seeds, of bounds; and the shaded stretch."""
    here = re.findall(r'<circle cx="([-\d.e]+)" cy="8"', svg)
    there = re.findall(r'<circle cx="([-\d.e]+)" cy="19"', svg)
    bounds = re.findall(r'd="M([-\d.e]+) 0', svg)
    shade = re.search(r'<rect x="([-\d.e]+)" width="([-\d.e]+)"', svg).groups()
    return *([float(place) for place in places] for places in (here, there, bounds)), tuple(map(float, shade))


def test_places_are_in_proportion_and_within_the_picture():
    here, there, (bound,), _ = drawn(dot_strip(row([1.0, 2.0], at_most(3)), [0.0, 4.0]))
    assert (there, here, bound) == ([6, WIDTH - 6], [58, 110], 162)


def test_what_is_positive_over_more_than_two_decades_has_a_logarithmic_axis():
    here, _, (bound,), _ = drawn(dot_strip(row([1e-16, 1e-14], at_most(1e-12)), []))
    assert here == [6, (6 + bound) / 2]
    here, *_ = drawn(dot_strip(row([0.0, 1e-14], at_most(1e-12)), []))
    assert here[1] - here[0] < 3  # zero has no logarithm


@pytest.mark.parametrize("criterion", [at_most(2), above(2), at_least(2), between(2, 3), at_most(2, of_mean=True)])
def test_what_lies_in_the_shade_keeps_the_rule(criterion):
    values = [1.0, 1.5, 2.5, 4.0]
    here, _, _, (left, width) = drawn(dot_strip(row(values, criterion), []))
    for value, place in zip(values, here, strict=True):
        assert (left <= place <= left + width) == row([value], criterion)["met"]


def test_what_is_not_finite_is_said_and_not_drawn():
    svg = dot_strip(row([1.0, float("nan"), float("inf")], at_most(2)), ["inf", "nan"])
    assert [len(places) for places in drawn(svg)[:2]] == [1, 0]
    label = re.search('aria-label="([^"]*)"', svg)[1]
    assert (
        label
        == "here: 1 value from 1 to 1, 2 not finite; unseen seeds: none finite, 2 not finite; criterion: ≤ 2, each"
    )


def test_equal_values_at_their_bound_are_drawn():
    assert drawn(dot_strip(row([0.0, 0.0], at_most(0)), []))[0] == [6, 6]


def test_the_text_alternative_is_escaped_and_colours_are_the_pages():
    svg = dot_strip(row([1.0, 2.0], above(0)), [])
    assert "criterion: &gt; 0, each" in svg
    assert set(re.findall(r'(?:fill|stroke)="([^"]*)"', svg)) == {"currentColor"}  # light or dark


@pytest.fixture
def replication(tmp_path, monkeypatch):
    """A project with a replication, seen from the folder of its chapters."""
    part = row([0.5] * 20, above(0))
    run = {"claims": [{"id": "99a", "evidence": [part]}]}
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "replication.json").write_text(json.dumps({"chapters": {"99_x": run}}))
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")


def page(values, criterion, quantity="gain"):
    return Claim("99a", "A.", "ioffe2015", [Measured(quantity, values, criterion)], stated=None)._repr_html_()


def test_a_claim_shows_the_unseen_seeds_of_the_replication(replication):
    first_line, table = page([0.4, 0.6], above(0)).split("<details>")
    assert len(drawn(first_line)[1]) == len(drawn(table)[1]) == 20


@pytest.mark.parametrize("other", [{"criterion": above(0.1)}, {"criterion": above(0), "quantity": "loss"}])
def test_seeds_that_were_asked_something_else_are_not_shown(replication, other):
    assert drawn(page([0.4, 0.6], **other))[1] == []


def test_without_a_replication_there_are_the_pages_own_dots(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here, there, *_ = drawn(page([0.4, 0.6], above(0)).split("<details>")[0])
    assert (len(here), len(there)) == (2, 0)


@pytest.mark.parametrize(("values", "criterion"), [([0.4, 0.6], None), ([0.4], above(0))])
def test_a_single_value_or_no_criterion_has_no_strip(values, criterion):
    html = page(values, criterion)
    assert "<svg" not in html
    assert "bound" not in html
