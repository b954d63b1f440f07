"""Chapters run again on other seeds: what they measure is stored, what fails is said, and the rest goes on."""

import json
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book/tools"))

import replicate  # noqa: E402
import stored  # noqa: E402

CLAIM = """
from companion import Claim, Measured, at_least
Claim("{key}", "It gains.", "ioffe2015", [Measured("gain", [0.5 * seed for seed in seeds], at_least(2))])
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """The program sets variables for the kernels that it starts; they end with the test."""
    for name in ("COMPANION_REPLICATION", "COMPANION_DEVICE", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def tree(tmp_path):
    """A project without chapters."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pages").mkdir()
    return tmp_path


def chapter(tree, name, *sources, seeds="seeds = list(range(100, 105))"):
    """Write a chapter that was not executed."""
    cells = [nbformat.v4.new_markdown_cell("# Title")]
    cells += [nbformat.v4.new_code_cell(seeds, metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tree / "notebooks" / f"{name}.ipynb")


def run(tree, *arguments, seeds="6:8"):
    """Run the command; what it stored, and what it complained of."""
    wrong = None
    try:
        replicate.main(["--root", str(tree), "--jobs", "1", "--seeds", seeds, *arguments])
    except SystemExit as error:
        wrong = error.code
    path = tree / "pages/replication.json"
    return json.loads(path.read_text(encoding="utf-8"))["chapters"] if path.exists() else {}, wrong


def values(found, name):
    return [part["values"] for claim in found[name]["claims"] for part in claim["evidence"]]


def test_two_chapters_on_two_seeds_store_what_they_measure(tree, capsys):
    chapter(tree, "01_a", CLAIM.format(key="01a"))
    chapter(tree, "02_b", CLAIM.format(key="02a"))
    before = {path: path.read_bytes() for path in (tree / "notebooks").iterdir()}
    found, wrong = run(tree)
    assert (values(found, "01_a"), values(found, "02_b"), wrong) == ([[3.0, 3.5]], [[3.0, 3.5]], None)
    kept = found["01_a"]
    assert (kept["seeds"], kept["errors"]) == ([6, 7], [])
    assert kept["version"] == stored.version(stored.chapters(tree / "notebooks")["01_a"])
    assert {"numpy", "torch", "python"} <= set(kept["packages"])
    assert {"commit", "date", "machine", "seconds"} <= set(kept)
    assert {path: path.read_bytes() for path in (tree / "notebooks").iterdir()} == before
    capsys.readouterr()
    again, wrong = run(tree)
    assert (again, wrong) == (found, None)
    assert "01_a: stored already\n02_b: stored already" in capsys.readouterr().out


def test_a_claim_that_fails_and_a_cell_that_raises_stop_nothing(tree):
    chapter(tree, "01_a", CLAIM.format(key="01a"), "raise RuntimeError('no such luck')", CLAIM.format(key="01b"))
    chapter(tree, "02_b", CLAIM.format(key="02a"))
    found, wrong = run(tree, seeds="1,2")  # a gain of 0.5 and 1: the claim does not hold
    assert [claim["verdict"] for claim in found["01_a"]["claims"]] == ["does not hold here"] * 2
    assert found["01_a"]["errors"] == ["cell 3 raised RuntimeError: no such luck"]
    assert "01_a: cell 3 raised RuntimeError: no such luck" in wrong
    assert values(found, "02_b") == [[0.5, 1.0]]


def test_a_chapter_that_stores_no_claim_or_dies_is_named_and_the_rest_runs(tree):
    chapter(tree, "01_a", "import os\nos._exit(1)", CLAIM.format(key="01a"))
    chapter(tree, "02_b", CLAIM.format(key="02a"))
    found, wrong = run(tree)
    assert list(found) == ["02_b"]
    assert "01_a: the run broke off: DeadKernelError" in wrong
    assert "01_a: stored no claim, so nothing is kept of this run" in wrong


def test_missing_chapters_and_those_without_seeds_are_named_and_the_rest_runs(tree):
    chapter(tree, "01_a", CLAIM.format(key="01a"))
    chapter(tree, "02_b", "1", seeds="steps = 3")
    found, wrong = run(tree, "--chapters", "01", "02_b", "99")
    assert list(found) == ["01_a"]
    assert "no chapter '99': there are 01, 02" in wrong
    assert "02_b: no cell tagged 'parameters' sets seeds" in wrong


@pytest.mark.parametrize("seeds", ["", "a:b", "5:5", "9:3", "1,1", "-3:2", "1.5", "1:2:3"])
def test_wrong_seeds_are_refused_before_anything_runs(tree, seeds):
    chapter(tree, "01_a", "raise RuntimeError")
    found, wrong = run(tree, f"--seeds={seeds}", "--chapters")
    assert found == {}
    assert f"seeds must read like 1000:1020 (the last is left out) or 3,5,8, but got {seeds!r}" in wrong


def test_a_chapters_own_seeds_are_refused(tree):
    chapter(tree, "01_a", CLAIM.format(key="01a"))
    found, wrong = run(tree, seeds="103:108")
    assert found == {}
    assert "01_a: seeds 103:105 are the chapter's own: a replication needs others" in wrong


def test_every_list_of_seeds_and_the_datas_seed_are_replaced():
    defaults = {"seeds": [1, 2], "table_seeds": [1, 2, 3], "data_seed": 0, "steps": 9}
    assert replicate.injected(defaults, [7, 8]) == {"seeds": [7, 8], "table_seeds": [7, 8], "data_seed": 7}


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")), ids=lambda path: path.stem)
def test_every_chapter_can_be_given_other_seeds(path):
    cells = stored.chapters(path.parent)[path.stem]
    assert replicate.injected(stored.parameters(cells), [1000, 1001])["seeds"] == [1000, 1001]


@pytest.mark.slow
def test_two_real_chapters_run_on_two_seeds(tmp_path):
    to = tmp_path / "replication.json"
    replicate.main(["--seeds", "1000:1002", "--chapters", "02", "09", "--jobs", "2", "--to", str(to)])
    found = json.loads(to.read_text(encoding="utf-8"))["chapters"]
    assert list(found) == ["02_schemes", "09_scale_invariance"]
    for name, kept in found.items():
        stored_ids = {claim["id"] for claim in stored.stored_claims(stored.chapters(ROOT / "notebooks")[name])}
        assert {claim["id"] for claim in kept["claims"]} == stored_ids
        over_seeds = [part for claim in kept["claims"] for part in claim["evidence"] if part["over"] == "seeds"]
        assert {len(part["values"]) for part in over_seeds} == {2}
