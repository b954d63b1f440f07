"""A workbook is laid out completely, follows the book, and never loses what its owner wrote."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classroom.authoring.workbook import RECORD, lay_out
from classroom.cli import main as command

ROOT = Path(__file__).parents[2]
NAMES = ["01_one.ipynb", "02_two.ipynb", "exercises/01_one.ipynb"]


def write(path, *sources):
    """Write a notebook with an output that is stored."""
    cells = [nbformat.v4.new_code_cell(source, id=f"cell-{index}") for index, source in enumerate(sources)]
    cells[0].outputs = [nbformat.v4.new_output("stream", text="stored")]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


def save(path, change):
    """Change a notebook as JupyterLab does, which writes bytes of its own."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    change(notebook["cells"])
    notebook["metadata"]["language_info"] = {"name": "python"}
    path.write_text(json.dumps(notebook, indent=4, sort_keys=True), encoding="utf-8")


def edit(cells):
    """Edit a notebook as its reader does."""
    cells[1]["source"] = ["my own work"]


def run(cells):
    """Change a notebook as running does: outputs, counts, and an empty cell at its end."""
    cells[0]["outputs"] = []
    cells[0]["execution_count"] = 3
    cells.append(
        {"id": "new", "cell_type": "code", "source": "", "outputs": [], "execution_count": None, "metadata": {}}
    )


def contents(folder):
    """Return the bytes of every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fates(notebooks, workbook):
    """Return what became of each notebook, by its name."""
    return {laid.path.relative_to(workbook).as_posix(): laid.status for laid in lay_out(notebooks, workbook)}


@pytest.fixture
def notebooks(tmp_path):
    """Make a small book: two chapters and one exercise set, with texts and solutions beside them."""
    folder = tmp_path / "notebooks"
    for name in NAMES:
        write(folder / name, name, "a task")
    for other in ("01_one.md", "solutions/01_one/01_one.ipynb", "exercises/jupytext.toml", "exercises/.x/01.ipynb"):
        (folder / other).parent.mkdir(parents=True, exist_ok=True)
        (folder / other).write_text("not for learners")
    return folder


@pytest.fixture
def workbook(tmp_path, notebooks):
    """Lay out a workbook once."""
    lay_out(notebooks, tmp_path / "workbook")
    return tmp_path / "workbook"


def test_the_first_time_all_is_copied_and_nothing_else(notebooks, tmp_path):
    workbook = tmp_path / "work" / "book"
    assert fates(notebooks, workbook) == dict.fromkeys(NAMES, "added")
    laid = contents(workbook)
    assert {name for name in laid if not name.startswith(".")} == set(NAMES)
    assert all(laid[name] == (notebooks / name).read_bytes() for name in NAMES)
    assert not any(b"not for learners" in text for text in laid.values())


def test_the_second_time_nothing_changes(notebooks, workbook):
    before = contents(workbook)
    assert fates(notebooks, workbook) == dict.fromkeys(NAMES, "up to date")
    assert contents(workbook) == before


def test_what_is_new_is_added(notebooks, workbook):
    write(notebooks / "exercises/02_two.ipynb", "new")
    (workbook / "01_one.ipynb").unlink()
    found = fates(notebooks, workbook)
    assert {name for name, fate in found.items() if fate == "added"} == {"exercises/02_two.ipynb", "01_one.ipynb"}


@pytest.mark.parametrize("change", [run, lambda cells: None], ids=["run", "saved"])
def test_an_unedited_copy_follows_the_book(change, notebooks, workbook):
    save(workbook / "01_one.ipynb", change)
    assert fates(notebooks, workbook)["01_one.ipynb"] == "up to date"
    write(notebooks / "01_one.ipynb", "better", "a task")
    assert fates(notebooks, workbook)["01_one.ipynb"] == "renewed"
    assert (workbook / "01_one.ipynb").read_bytes() == (notebooks / "01_one.ipynb").read_bytes()
    assert fates(notebooks, workbook)["01_one.ipynb"] == "up to date"


def test_an_edited_copy_is_kept_whatever_the_book_does(notebooks, workbook):
    mine = workbook / "exercises/01_one.ipynb"
    save(mine, edit)
    edited = mine.read_bytes()
    assert fates(notebooks, workbook)["exercises/01_one.ipynb"] == "up to date"  # nothing newer to tell of
    for version in range(3):
        write(notebooks / "exercises/01_one.ipynb", f"version {version}", "a task")
        assert fates(notebooks, workbook)["exercises/01_one.ipynb"] == "kept"
        assert mine.read_bytes() == edited
    mine.rename(mine.with_name("mine.ipynb"))
    assert fates(notebooks, workbook)["exercises/01_one.ipynb"] == "added"
    assert mine.with_name("mine.ipynb").read_bytes() == edited


def test_an_emptied_cell_is_an_edit(notebooks, workbook):
    save(workbook / "01_one.ipynb", lambda cells: cells[1].update(source=""))
    write(notebooks / "01_one.ipynb", "better", "a task")
    assert fates(notebooks, workbook)["01_one.ipynb"] == "kept"


@pytest.mark.parametrize("record", [None, "", "[1]", "{", '{"01_one.ipynb": 3}', "\udcff"])
def test_without_its_record_nothing_is_overwritten(record, notebooks, workbook):
    save(workbook / "02_two.ipynb", edit)
    edited = (workbook / "02_two.ipynb").read_bytes()
    (workbook / RECORD).unlink()
    if record is not None:
        (workbook / RECORD).write_bytes(record.encode(errors="surrogateescape"))
    write(notebooks / "01_one.ipynb", "better", "a task")
    old = (workbook / "01_one.ipynb").read_bytes()
    wanted = {"01_one.ipynb": "kept", "02_two.ipynb": "kept", "exercises/01_one.ipynb": "up to date"}
    assert fates(notebooks, workbook) == wanted
    assert (workbook / "02_two.ipynb").read_bytes() == edited
    assert (workbook / "01_one.ipynb").read_bytes() == old  # an old version, or edited: who knows
    write(notebooks / "exercises/01_one.ipynb", "better", "a task")
    assert fates(notebooks, workbook)["exercises/01_one.ipynb"] == "renewed"  # what was known is recorded again


@pytest.mark.parametrize("text", ["", "half a notebook {", "[]", '{"cells": [1]}', '{"cells": {"a": 1}}'])
def test_a_copy_that_cannot_be_read_is_left_alone(text, notebooks, workbook):
    (workbook / "01_one.ipynb").write_text(text)
    write(notebooks / "01_one.ipynb", "better", "a task")
    assert fates(notebooks, workbook)["01_one.ipynb"] == "kept"
    assert (workbook / "01_one.ipynb").read_text() == text


def test_folders_and_links_in_the_way_are_left_alone(notebooks, tmp_path):
    workbook = tmp_path / "workbook"
    (workbook / "01_one.ipynb").mkdir(parents=True)
    (workbook / "02_two.ipynb").symlink_to(tmp_path / "nowhere")
    assert set(fates(notebooks, workbook).values()) == {"kept", "added"}
    assert (workbook / "01_one.ipynb").is_dir() and (workbook / "02_two.ipynb").is_symlink()


steps = st.lists(st.sampled_from(["edit", "run", "book", "lay out", "record lost", "removed"]), max_size=12)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_whatever_happens_no_edit_is_lost(tmp_path_factory, events):
    folder = tmp_path_factory.mktemp("book")
    notebooks, workbook = folder / "notebooks", folder / "workbook"
    mine, typed, version = workbook / "01_one.ipynb", None, 0
    write(notebooks / "01_one.ipynb", "version 0", "a task")
    lay_out(notebooks, workbook)
    for index, event in enumerate(events):
        if event == "edit" and mine.exists():
            typed = f"typed {index}"
            save(mine, lambda cells, typed=typed: cells[1].update(source=typed))
        elif event == "run" and mine.exists():
            save(mine, run)
        elif event == "book":
            version += 1
            write(notebooks / "01_one.ipynb", f"version {version}", "a task")
        elif event == "record lost":
            (workbook / RECORD).unlink(missing_ok=True)
        elif event == "removed":
            mine.unlink(missing_ok=True)
            typed = None
        elif event == "lay out":
            lay_out(notebooks, workbook)
        assert typed is None or typed in mine.read_text(encoding="utf-8")
    lay_out(notebooks, workbook)
    assert mine.exists()
    assert "record lost" in events or typed or f"version {version}" in mine.read_text(encoding="utf-8")


# The command


def test_the_command_says_what_it_kept(notebooks, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("classroom.cli.CHECKOUT", tmp_path)
    workbook = tmp_path / "mine"
    assert command(["workbook", str(workbook)]) == 0
    assert capsys.readouterr().out == f"{workbook}: 3 notebooks, 3 added, 0 renewed\n"
    save(workbook / "01_one.ipynb", edit)
    write(notebooks / "01_one.ipynb", "better", "a task")
    assert command(["workbook", str(workbook)]) == 0
    summary, kept = capsys.readouterr().out.splitlines()
    assert summary.endswith("0 added, 0 renewed")
    assert kept.startswith(f"{workbook / '01_one.ipynb'}: kept, since you edited it")


def test_a_missing_book_is_named_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("classroom.cli.CHECKOUT", tmp_path)
    assert command(["workbook", str(tmp_path / "w")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "must hold the chapters" in said
    assert not (tmp_path / "w").exists()


def test_a_folder_that_cannot_be_made_is_named_in_one_line(capsys):
    assert command(["workbook", "/dev/null/w"]) == 1
    assert capsys.readouterr().err.startswith("companion workbook: ")


LACKING = ["nbgrader", "sphinx", "pytest"]
WITHOUT = "import sys; sys.modules.update(dict.fromkeys({})); from classroom.cli import main; sys.exit(main())"


def without(*arguments):
    """Run the command where there is only what JupyterLab's set-up installs."""
    command = [sys.executable, "-c", WITHOUT.format(LACKING), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_workbook_needs_nothing_that_jupyterlabs_setup_lacks(tmp_path):
    result = without("workbook", str(tmp_path / "w"))
    assert result.returncode == 0 and " added, 0 renewed" in result.stdout, result.stderr


def test_what_is_missing_for_releasing_is_named_in_one_line(tmp_path):
    result = without("release", "01", "--to", str(tmp_path / "r"))
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert result.stderr.startswith("companion release needs nbgrader"), result.stderr


# The real book


@pytest.fixture(scope="module")
def laid(tmp_path_factory):
    """Lay out the book's own workbook, beside pages/ as in the repository, below a folder that pairs all notebooks."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "jupytext.toml").write_text('formats = "ipynb,md:myst"\n')
    shutil.copytree(ROOT / "pages", folder / "pages")
    lay_out(ROOT / "notebooks", folder / "workbook")
    return folder / "workbook"


def test_links_between_chapters_and_exercises_lead_somewhere(laid):
    for path in laid.rglob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown":
                prose = re.sub(r"`[^`]*`|\$[^$]*\$", "", cell.source)
                for target in re.findall(r"\]\(([^)#\s]+\.(?:ipynb|md))", prose):
                    assert "://" in target or (path.parent / target).is_file(), f"{path.name}: {target}"


def test_no_solution_is_laid_out(laid):
    assert not any(b"### BEGIN" in text for text in contents(laid).values())


@pytest.mark.parametrize("folder", ["workbook", "exercises"])
def test_jupytext_leaves_copies_alone(folder, laid, tmp_path):
    path = laid / "01_batch_norm.ipynb"
    if folder == "exercises":  # of the repository, whose folder above does ask for pairs
        shutil.copytree(ROOT / "notebooks" / "exercises", tmp_path / "exercises")
        shutil.copy(ROOT / "notebooks" / "jupytext.toml", tmp_path)
        path = tmp_path / "exercises" / "01_batch_norm.ipynb"
    before = path.read_bytes()
    command = [sys.executable, "-m", "jupytext", "--sync", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HOME": str(tmp_path)})
    assert "is not a paired notebook" in said.stdout + said.stderr
    assert path.read_bytes() == before and not path.with_suffix(".md").exists()
