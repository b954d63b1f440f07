"""Every criterion is fixed in ``claims.lock`` before it is tested; whoever moves, deletes or forgets one is told so."""

import json
import sys
from pathlib import Path

import pytest

from companion import Claim, Measured, above, at_least, at_most
from companion.show.claims import MIME

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book/tools"))

import claims  # noqa: E402
import evidence  # noqa: E402
import lock  # noqa: E402
import stored  # noqa: E402


def chapter(folder, name, *found, code="1 + 1"):
    """Write an executed chapter that stores claims."""
    outputs = [{"output_type": "display_data", "data": {MIME: claim.to_dict()}} for claim in found]
    cells = [
        {"cell_type": "markdown", "source": "# Title", "metadata": {}},
        {"cell_type": "code", "source": "seeds = [3, 4]", "metadata": {"tags": ["parameters"]}, "outputs": []},
        {"cell_type": "code", "source": code, "metadata": {}, "outputs": outputs},
    ]
    folder.mkdir(exist_ok=True, parents=True)
    (folder / f"{name}.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")


def claim(key="01a", rule=None, values=(2.0, 3.0), quantity="gain", **settings):
    return Claim(key, "It gains.", "ioffe2015", [Measured(quantity, values, rule or at_least(1), tie=0)], **settings)


def replication(folder, seeds, values, name="01_a", key="01a", rule=None, stated=None):
    """A replication of the chapter as it stands in ``folder``."""
    code = stored.version(stored.chapters(folder)[name])
    run = {"version": code, "seeds": seeds, "commit": "abc", "date": "2026-01-02", "errors": [], "seconds": 1}
    run |= {"machine": "Linux x86_64, cpu", "packages": {"numpy": "2.0"}}
    return {"chapters": {name: {**run, "claims": [claim(key, rule, values, stated=stated).to_dict()]}}}


@pytest.fixture
def tree(tmp_path):
    """A project of two claims, locked."""
    chapter(tmp_path / "notebooks", "01_a", claim())
    chapter(tmp_path / "notebooks", "02_b", claim("02a", above(0)))
    claims.main(["--root", str(tmp_path)])
    return tmp_path


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def wrong(tree):
    """What is out of step, apart from replications, which the tree has none of."""
    return [text for text in claims.complaints(tree) if "replicate" not in text]


def lines(tree):
    return {(line["id"], line["quantity"]): line for line in lock.read(tree / "claims.lock")}


def test_a_line_holds_the_whole_criterion(tree):
    assert wrong(tree) == []
    line = lines(tree)["01a", "gain"]
    assert [line[name] for name in lock.RULE] == ["≥", 1.0, "each", 2, "seeds"]
    assert (line["status"], line["seen"]) == ("exploratory", ["3:5"])


def test_a_second_command_changes_no_byte(tree):
    before = (tree / "claims.lock").read_bytes()
    claims.main(["--root", str(tree)])
    assert (tree / "claims.lock").read_bytes() == before


def test_a_moved_threshold_is_named(tree):
    chapter(tree / "notebooks", "01_a", claim(rule=at_least(0.5)))
    (text,) = wrong(tree)
    assert "01a, 'gain': the chapter asks ≥ 0.5, each of 2 seeds, but claims.lock holds ≥ 1, each of 2 seeds" in text
    with pytest.raises(SystemExit, match="01a, 'gain'"):
        claims.main(["--root", str(tree)])


def test_fewer_seeds_and_a_mean_instead_of_each_are_named(tree):
    chapter(tree / "notebooks", "01_a", claim(values=[2.0]))
    chapter(tree / "notebooks", "02_b", claim("02a", above(0, of_mean=True)))
    assert [text[:3] for text in wrong(tree)] == ["01a", "02a"]


def test_a_deleted_line_is_named_even_if_its_claim_went_too(tree):
    path = tree / "claims.lock"
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:-1]), encoding="utf-8")
    assert any("02a, 'gain': has no line" in text for text in wrong(tree))
    (tree / "notebooks/02_b.ipynb").unlink()
    (text,) = wrong(tree)
    assert "its head knows 2 lines, there are 1: a line was deleted" in text
    with pytest.raises(SystemExit, match="a line was deleted"):
        claims.main(["--root", str(tree)])


def test_a_line_edited_by_hand_is_named(tree):
    edit(tree / "claims.lock", '"bound": 1.0', '"bound": 0.5')
    assert any("the line of 01a, 'gain' was edited by hand" in text for text in wrong(tree))


def test_a_claim_without_a_line_is_named(tree):
    chapter(tree / "notebooks", "03_c", claim("03a"))
    assert wrong(tree) == ["03a, 'gain': has no line in claims.lock: run make claims"]


def test_a_line_without_a_claim_is_named(tree):
    (tree / "notebooks/02_b.ipynb").unlink()
    (text,) = wrong(tree)
    assert "02a, 'gain': is in claims.lock, but no chapter states it" in text


def test_a_missing_lock_is_named(tree):
    (tree / "claims.lock").unlink()
    assert "claims.lock is missing" in wrong(tree)[0]


def test_a_change_needs_a_reason_and_keeps_its_history(tree):
    with pytest.raises(SystemExit, match="a change needs a reason"):
        claims.main(["--root", str(tree), "--open", "01a"])
    with pytest.raises(SystemExit, match="no line of 09z"):
        claims.main(["--root", str(tree), "--open", "09z", "--reason", "why"])
    claims.main(["--root", str(tree), "--open", "01a", "--reason", "points, not shares"])
    assert "01a, 'gain': its line in claims.lock is open" in wrong(tree)[0]
    chapter(tree / "notebooks", "01_a", claim(rule=at_least(0.5)))
    claims.main(["--root", str(tree)])
    assert wrong(tree) == []
    (old,) = lines(tree)["01a", "gain"]["history"]
    assert (old["rule"], old["reason"], old["status"]) == ("≥ 1, each of 2 seeds", "points, not shares", "exploratory")
    assert old["date"] == claims.today()


def test_a_line_that_was_opened_and_not_changed_is_as_before(tree):
    before = (tree / "claims.lock").read_bytes()
    claims.main(["--root", str(tree), "--open", "01a", "--reason", "why"])
    claims.main(["--root", str(tree)])
    assert (tree / "claims.lock").read_bytes() == before


def test_a_quantity_under_another_name_leaves_the_old_line_withdrawn(tree):
    claims.main(["--root", str(tree), "--open", "01a", "--reason", "a better name"])
    chapter(tree / "notebooks", "01_a", claim(quantity="gain, points"))
    claims.main(["--root", str(tree)])
    assert wrong(tree) == []
    old, new = lines(tree)["01a", "gain"], lines(tree)["01a", "gain, points"]
    assert (old["status"], old["history"][0]["reason"], new["status"]) == ("withdrawn", "a better name", "exploratory")
    before = (tree / "claims.lock").read_bytes()
    claims.main(["--root", str(tree)])
    assert (tree / "claims.lock").read_bytes() == before


def test_two_quantities_of_one_name_are_two_lines(tmp_path):
    pair = [Measured("gain", [2.0], at_least(1)), Measured("gain", [3.0], at_least(2))]
    chapter(tmp_path / "notebooks", "01_a", Claim("01a", "It gains.", "ioffe2015", pair))
    claims.main(["--root", str(tmp_path)])
    assert [line["bound"] for line in lock.read(tmp_path / "claims.lock")] == [1.0, 2.0]
    assert wrong(tmp_path) == []


def test_outputs_of_an_older_companion_are_named(tmp_path):
    chapter(tmp_path / "notebooks", "01_a", claim())
    edit(tmp_path / "notebooks/01_a.ipynb", '"rule"', '"old"')
    with pytest.raises(SystemExit, match="01_a stores no rule for claim 01a: run make notebooks"):
        claims.main(["--root", str(tmp_path)])


def test_after_a_merge_the_other_branchs_chapters_are_taken_as_they_are(tree, tmp_path):
    chapter(tmp_path / "notebooks", "03_c", claim("03a"))
    claims.main(["--root", str(tree)])
    claims.main(["--root", str(tree), "--open", "03a", "--reason", "why"])
    chapter(tmp_path / "notebooks", "03_c", claim("03a", at_least(0.5)))
    claims.main(["--root", str(tree)])
    both = (tree / "claims.lock").read_bytes()
    (tree / "other.lock").write_bytes(both)
    lock.write(tree / "claims.lock", [line for line in lock.read(tree / "claims.lock") if line["id"] < "03"])
    claims.main(["--root", str(tree), "--take", str(tree / "other.lock")])
    assert (tree / "claims.lock").read_bytes() == both
    assert lines(tree)["03a", "gain"]["history"]


def test_another_lock_that_is_missing_or_edited_is_named(tree):
    other = tree / "other.lock"
    with pytest.raises(SystemExit, match="other.lock is missing"):
        claims.main(["--root", str(tree), "--take", str(other)])
    other.write_bytes((tree / "claims.lock").read_bytes())
    edit(other, '"bound": 1.0', '"bound": 0.5')
    with pytest.raises(SystemExit, match="other.lock: the line of 01a, 'gain' was edited by hand"):
        claims.main(["--root", str(tree), "--take", str(other)])


# From exploratory to confirmatory.


def confirm(tree, seeds, values):
    """The line of 01a after a replication with these values."""
    (tree / "pages").mkdir(exist_ok=True)
    run = replication(tree / "notebooks", seeds, values)
    (tree / "pages/replication.json").write_text(json.dumps(run), encoding="utf-8")
    claims.main(["--root", str(tree)])
    return lines(tree)["01a", "gain"]


def test_unseen_seeds_that_agree_confirm(tree):
    line = confirm(tree, list(range(1000, 1010)), [2.0] * 10)
    assert (line["status"], line["tested"]["seeds"], line["tested"]["met"]) == ("confirmatory", "1000:1010", True)


@pytest.mark.parametrize("seeds", [list(range(4, 14)), list(range(1000, 1009))])
def test_seen_seeds_and_few_seeds_confirm_nothing(tree, seeds):
    line = confirm(tree, seeds, [2.0] * len(seeds))
    assert line["status"] == "exploratory"
    assert "tested" not in line


def test_seeds_that_disagree_are_noted_and_cannot_be_used_again(tree):
    seeds = list(range(1000, 1010))
    line = confirm(tree, seeds, [2.0] * 9 + [0.0])
    assert (line["status"], line["tested"]["met"], line["seen"]) == ("exploratory", False, ["3:5", "1000:1010"])
    assert confirm(tree, seeds, [2.0] * 10)["status"] == "exploratory"
    assert confirm(tree, list(range(2000, 2010)), [2.0] * 10)["status"] == "confirmatory"


def test_a_changed_criterion_is_exploratory_again(tree):
    confirm(tree, list(range(1000, 1010)), [2.0] * 10)
    claims.main(["--root", str(tree), "--open", "01a", "--reason", "why"])
    chapter(tree / "notebooks", "01_a", claim(rule=at_least(0.5)))
    line = confirm(tree, list(range(1000, 1010)), [2.0] * 10)
    assert (line["status"], line["history"][0]["status"]) == ("exploratory", "confirmatory")


# A replication must be of the chapters as they stand.


@pytest.fixture
def replicated(tree):
    """The chapters, and a replication of one of them."""
    (tree / "notebooks/02_b.ipynb").unlink()
    return tree / "notebooks", replication(tree / "notebooks", list(range(1000, 1010)), [2.0] * 10)


def test_a_replication_of_the_chapters_as_they_stand_is_whole(replicated):
    assert lock.stale(replicated[1], replicated[0]) == []


def test_a_replication_of_another_version_is_named(replicated):
    notebooks, run = replicated
    chapter(notebooks, "01_a", claim(), code="1 + 2")
    assert lock.stale(run, notebooks) == [
        "01_a: its replication is of another version of the chapter: make replicate CHAPTERS=01"
    ]


def test_missing_short_and_foreign_replications_are_named(replicated):
    notebooks, run = replicated
    run["chapters"]["01_a"]["seeds"] = [1, 2]
    run["chapters"]["04_gone"] = {}
    chapter(notebooks, "02_b", claim("02a"))
    texts = lock.stale(run, notebooks)
    assert any("01_a: was replicated on 2 seeds, fewer than 10" in text for text in texts)
    assert any("02_b: was never replicated: make replicate CHAPTERS=02" in text for text in texts)
    assert not any("never replicated" in text for text in lock.stale(run, notebooks, allow_new=True))
    assert any("04_gone: is in the replication, but there is no such chapter" in text for text in texts)


def test_a_replication_without_one_of_the_claims_is_named(replicated):
    notebooks, run = replicated
    run["chapters"]["01_a"]["claims"] = []
    assert "do not share the claims 01a" in lock.stale(run, notebooks)[0]


def test_the_text_of_a_chapter_and_its_outputs_are_not_its_version(tree):
    (cells,) = (cells for name, cells in stored.chapters(tree / "notebooks").items() if name == "01_a")
    other = json.loads(json.dumps(cells))
    other[0]["source"], other[2]["outputs"] = "# Another title", []
    other[2]["source"] = "# A remark.\n" + other[2]["source"].replace(", ", ",\n    ")
    other.append({"cell_type": "code", "source": "companion.Prediction(['a', 'b'])\ncompanion.Guesses('01.1')"})
    assert stored.version(other) == stored.version(cells)
    other[-1]["source"] = "companion.fit(['a', 'b'])"
    assert stored.version(other) != stored.version(cells)


# On the page.


def test_what_fails_stands_first_then_what_was_changed(tree):
    claims.main(["--root", str(tree), "--open", "02a", "--reason", "about the mean"])
    chapter(tree / "notebooks", "02_b", claim("02a", above(0, of_mean=True)))
    chapter(tree / "notebooks", "03_c", claim("03a", at_least(9), stated=False))
    claims.main(["--root", str(tree)])
    rows = evidence.rows(tree)
    assert [(row["id"], row["part"]) for row in rows] == [("03a", "failed"), ("02a", "changed"), ("01a", "rest")]
    assert rows[1]["history"][0]["reason"] == "about the mean"
    assert evidence.overview(rows) == ["No chapter has been run again on unseen seeds yet: make replicate."]


def test_unseen_seeds_have_the_last_word(tree):
    (tree / "pages/published.json").parent.mkdir()
    (tree / "pages/published.json").write_text('{"01a": "14 times"}', encoding="utf-8")
    confirm(tree, list(range(1000, 1020)), [2.0] * 17 + [0.5, -1.0, 0.5])
    row = evidence.rows(tree)[0]
    assert (row["id"], row["on_page"], row["verdict"], row["part"]) == ("01a", "holds", "does not hold here", "failed")
    assert (row["published"], row["status"]) == ("14 times", "exploratory")
    assert (
        row["evidence"][0]["unseen"]
        == "1.7 (1.33 to 2.07); 17 of 20 seeds keep it (64 to 95 %); ahead in 19 (76 to 99 %)"
    )
    assert "0 of 1 criteria came out there as on the chapters' pages." in evidence.overview(evidence.rows(tree))


def test_a_replication_of_another_version_is_not_shown(tree):
    confirm(tree, list(range(1000, 1010)), [2.0] * 10)
    assert evidence.rows(tree)[0]["evidence"][0]["unseen"].endswith("by a coin's toss, 1 in 1,024")
    chapter(tree / "notebooks", "01_a", claim(), code="1 + 2")
    assert {part["unseen"] for row in evidence.rows(tree) for part in row["evidence"]} == {None}


# In the notebook.


def test_a_cell_whose_criterion_moved_fails(tree, monkeypatch):
    monkeypatch.chdir(tree / "notebooks")
    claim()
    with pytest.raises(
        AssertionError, match="'gain' in claim 01a is ≥ 0.5 for each, but claims.lock holds ≥ 1 for each"
    ):
        claim(rule=at_least(0.5))
    claims.main(["--root", str(tree), "--open", "01a", "--reason", "why"])
    claim(rule=at_least(0.5))


def test_a_reader_may_add_claims_and_seeds_and_needs_no_lock(tree, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tree / "notebooks")
    claim(values=[2.0] * 7)
    claim("99a")
    claim(quantity="gain at another rate", rule=at_least(0))
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    claim(rule=at_least(0.5))


def test_a_replication_records_what_fails(tree, monkeypatch):
    monkeypatch.chdir(tree)
    monkeypatch.setenv("COMPANION_REPLICATION", "1")
    assert claim(values=[0.0]).verdict == "does not hold here"
    assert claim(rule=at_most(9), stated=False).holds


# The project's own.


def test_chapters_and_lock_are_in_step():
    assert (
        lock.tampered(ROOT / "claims.lock")
        + lock.differences(lock.read(ROOT / "claims.lock"), stored.criteria(ROOT / "notebooks"))
        == []
    )


def test_the_replication_is_of_the_chapters_as_they_stand():
    assert lock.stale(claims.load_replication(ROOT / "pages/replication.json"), ROOT / "notebooks") == []


def test_the_page_names_a_command_for_each_list_of_seeds():
    alike = {"01_a": {"seeds": [6, 7]}, "02_b": {"seeds": [6, 7]}}
    assert evidence._command("6:8", alike) == "make replicate SEEDS=6:8"
    apart = alike | {"03_c": {"seeds": [8, 9]}}
    assert evidence._command("6:8", apart) == 'make replicate SEEDS=6:8 CHAPTERS="01 02"'
    assert evidence._command("8:10", apart) == 'make replicate SEEDS=8:10 CHAPTERS="03"'
