"""Student versions: in step with their sources, without a solution or a hidden test, and never written over edits."""

import json
import os
import re
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from classroom.authoring.release import leaks, student_version, write_student_version
from classroom.authoring.sets import read_set, set_names
from classroom.authoring.workbook import fingerprint
from classroom.cli import main as command
from classroom.sandbox.limits import Limits

ROOT = Path(__file__).parents[2]
EXERCISES = ROOT / "notebooks" / "exercises"
REGION = re.compile(r"### BEGIN (SOLUTION|HIDDEN TESTS)\n((?:.*\n)*?) *### END \1")

each_set = pytest.mark.parametrize("name", set_names())


@pytest.fixture(scope="module")
def batch_norm():
    """Return the first set."""
    return read_set("01_batch_norm")


def changed(exercises, number, change):
    """Return a set with the text of one cell changed."""
    notebook = deepcopy(exercises.notebook)
    notebook.cells[number].source = change(notebook.cells[number].source)
    return replace(exercises, notebook=notebook)


def number_of(exercises, name):
    """Return the place of the cell with this grade_id."""
    names = [cell.metadata.get("nbgrader", {}).get("grade_id") for cell in exercises.notebook.cells]
    return names.index(name)


def student(name):
    """Return the student version that is committed."""
    return nbformat.read(EXERCISES / f"{name}.ipynb", as_version=4)


def secrets(name):
    """Return lines of solutions, hidden tests and written answers in a set's text twin that it does not also show."""
    text = (ROOT / "notebooks" / "solutions" / name / f"{name}.md").read_text(encoding="utf-8")
    hidden = [match[2] for match in REGION.finditer(text)]
    written = re.findall(r'\+\+\+ \{"nbgrader": \{"grade": true.*\}\}\n((?:(?!\+\+\+|```).*\n)*)', text)
    for part in hidden + written:
        text = text.replace(part, "")
    lines = {line.strip() for part in hidden + written for line in part.splitlines()}
    return [line for line in lines if len(line) > 8 and line not in text]


# What is committed


def test_every_set_has_a_student_version_and_nothing_else_has():
    assert {path.name for path in EXERCISES.iterdir()} - {"jupytext.toml", ".ipynb_checkpoints"} == {
        f"{name}.ipynb" for name in set_names()
    }


@each_set
def test_student_version_is_in_step_with_its_source(name):
    stored = (EXERCISES / f"{name}.ipynb").read_text(encoding="utf-8")
    assert stored == nbformat.writes(student_version(read_set(name))) + "\n", "run: make exercises"


@each_set
def test_no_solution_and_no_hidden_test_is_handed_out(name):
    stored = (EXERCISES / f"{name}.ipynb").read_text(encoding="utf-8")
    wanted = secrets(name)
    assert len(wanted) > 10
    for line in wanted:
        assert json.dumps(line)[1:-1] not in stored and json.dumps(line, ensure_ascii=False)[1:-1] not in stored
    assert not re.search(r"(BEGIN|END) [A-Z]", stored)


@each_set
def test_student_version_has_the_cells_of_its_source(name):
    source, handed_out = read_set(name).notebook, student(name)
    assert [cell.id for cell in handed_out.cells] == [cell.id for cell in source.cells]  # grading matches by them
    assert handed_out.metadata.kernelspec == source.metadata.kernelspec
    for cell, original in zip(handed_out.cells, source.cells, strict=True):
        known, wanted = cell.metadata.get("nbgrader", {}), original.metadata.get("nbgrader", {})
        assert {**known, **wanted} == known
        if not wanted.get("solution"):
            assert cell.source == REGION.sub("", original.source).strip()
        elif cell.cell_type == "code":
            assert "raise NotImplementedError()" in cell.source
        else:
            assert cell.source == "YOUR ANSWER HERE"
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


@pytest.mark.slow
@each_set
def test_exactly_the_tests_of_an_unanswered_set_fail(name):
    notebook = student(name)
    environment = {**os.environ, "COMPANION_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    options = {"kernel_name": "python3", "allow_errors": True, "startup_timeout": 600}
    NotebookClient(notebook, timeout=None, **options).execute(env=environment)  # a dead kernel is noticed
    for cell in notebook.cells:
        raised = [output.ename for output in cell.get("outputs", []) if output.output_type == "error"]
        is_test = cell.metadata.get("nbgrader", {}).get("grade") and cell.cell_type == "code"
        assert raised == (["NotImplementedError"] if is_test else []), cell.source
        if is_test:
            answer = cell.metadata.nbgrader.grade_id.removesuffix("-test")
            assert cell.outputs[0].traceback == [f"{answer} is not answered yet."]


# What would be handed out


PLANTS = {
    "in another cell": lambda notebook, line: notebook.cells[0].update(source=f"Psst: {line}"),
    "in metadata": lambda notebook, line: notebook.cells[0].metadata.update(note=line),
    "in the notebook's metadata": lambda notebook, line: notebook.metadata.update({line: 1}),
    "in an output": lambda notebook, line: notebook.cells[1].update(
        outputs=[nbformat.v4.new_output("stream", text=f"first\n    {line}\n")]
    ),
}


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
@pytest.mark.parametrize(
    "line",
    [
        "hat = (x - x.mean(0)) / std",
        "check_backward(backward, examples=8, channels=2, seed=11)",
        "The network runs in training mode, so batch norm takes mean and variance from the batch, "
        "and the image's neighbours in the batch move them.",
        "### END HIDDEN TESTS",
    ],
)
def test_a_planted_leak_is_found(plant, line, batch_norm):
    notebook = student("01_batch_norm")
    assert leaks(notebook, batch_norm.notebook) == []
    plant(notebook, line)
    (found,) = leaks(notebook, batch_norm.notebook)
    assert line in found


BROKEN = {
    "BEGIN HIDDEN TESTS": ("BEGIN HIDEN TESTS", "this would be handed out: '### BEGIN HIDEN TESTS'"),
    "END HIDDEN TESTS": ("the end", "nbgrader refuses the source: RuntimeError: No end hidden tests statement found"),
}


@pytest.mark.parametrize("right", BROKEN)
def test_a_set_that_would_leak_is_not_released(right, batch_norm, tmp_path):
    wrong, message = BROKEN[right]
    broken = changed(batch_norm, number_of(batch_norm, "backward-test"), lambda text: text.replace(right, wrong))
    with pytest.raises(ValueError, match=f"^01_batch_norm: {re.escape(message)}"):
        write_student_version(broken, tmp_path / "student.ipynb")
    assert list(tmp_path.iterdir()) == []


def test_a_solution_repeated_in_a_statement_is_not_released(batch_norm):
    # openly shown in the source is shown on purpose, but a copy in an output or a stub is not
    number = number_of(batch_norm, "backward")
    text = batch_norm.notebook.cells[number].source
    (line,) = [line for line in text.splitlines() if "grad_x =" in line]
    shown = changed(batch_norm, number - 1, lambda text: f"{text}\n{line}")
    assert student_version(shown).cells[number - 1].source.endswith(line)
    stub = student_version(batch_norm)
    stub.cells[number].source += f"\n{line}"
    assert leaks(stub, batch_norm.notebook) == [line.strip()]


# Writing


def save(path, change):
    """Change a notebook as an editor does that writes its own bytes."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    change(notebook)
    path.write_text(json.dumps(notebook, indent=4, sort_keys=True), encoding="utf-8")


def edit(notebook):
    """Edit a notebook as its reader does."""
    notebook["cells"][3]["source"] = "def standardize_batch(x, eps):\n    return x"


def run(notebook):
    """Change a notebook as running and saving do: outputs, counts, and an empty cell at its end."""
    notebook["metadata"]["language_info"] = {"name": "python", "version": "3.12"}
    notebook["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "hello"}]
    notebook["cells"][1]["execution_count"] = 7
    notebook["cells"].append({**notebook["cells"][1], "id": "last", "outputs": [], "source": []})


def test_a_release_is_written_once_and_follows_its_source(batch_norm, tmp_path):
    path = tmp_path / "sub" / "student.ipynb"
    assert write_student_version(batch_norm, path) == "written"
    assert os.listdir(path.parent) == ["student.ipynb"]  # and no text twin
    first = path.read_bytes()
    assert write_student_version(batch_norm, path) == "up to date"
    assert path.read_bytes() == first
    assert write_student_version(changed(batch_norm, 0, lambda text: text + "\nGood luck!"), path) == "renewed"
    assert b"Good luck!" in path.read_bytes()


def test_an_edited_release_is_never_replaced_unasked(batch_norm, tmp_path):
    path = tmp_path / "student.ipynb"
    write_student_version(batch_norm, path)
    save(path, edit)
    edited = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"student\.ipynb was edited since it was made"):
        write_student_version(batch_norm, path)
    assert path.read_bytes() == edited
    assert write_student_version(batch_norm, path, force=True) == "renewed"


@pytest.mark.parametrize("text", ["", "not a notebook", "[]", '{"cells": [{}]}', '{"cells": []}', "\udcff"])
def test_a_file_that_is_no_release_of_ours_is_left_alone(text, batch_norm, tmp_path):
    path = tmp_path / "student.ipynb"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(FileExistsError):
        write_student_version(batch_norm, path)
    assert path.read_bytes() == text.encode(errors="surrogateescape")


def test_a_release_that_was_run_and_saved_is_not_edited(batch_norm, tmp_path):
    path = tmp_path / "student.ipynb"
    write_student_version(batch_norm, path)
    save(path, run)
    assert write_student_version(batch_norm, path) == "renewed"


def test_fingerprints_differ_where_cells_do(batch_norm):
    notebook = json.loads(nbformat.writes(batch_norm.notebook))
    first = fingerprint(notebook)
    run(notebook)
    assert fingerprint(notebook) == first
    edit(notebook)
    assert fingerprint(notebook) != first


# The command


def test_the_command_makes_a_folder_for_each_set(tmp_path, capsys):
    assert command(["release", "01", "--to", str(tmp_path)]) == 0
    path = tmp_path / "01_batch_norm" / "01_batch_norm.ipynb"
    assert path.read_bytes() == (EXERCISES / "01_batch_norm.ipynb").read_bytes()
    assert capsys.readouterr().out == f"{path}: written\n"


def test_the_command_takes_sets_of_ones_own(batch_norm, tmp_path, capsys):
    own = tmp_path / "own" / "quiz"
    own.mkdir(parents=True)
    nbformat.write(batch_norm.notebook, own / "quiz.ipynb")
    (own / "quiz.md").write_text("### BEGIN HIDDEN TESTS\n")
    assert (
        command(["release", "--all", "--flat", "--source", str(tmp_path / "own"), "--to", str(tmp_path / "out")]) == 0
    )
    assert os.listdir(tmp_path / "out") == ["quiz.ipynb"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a set, or --all; there are: 01_batch_norm"),
        (["77"], "no exercise set is called '77'"),
        (["01", "--source", "nowhere"], "there is no folder nowhere"),
        (["01", "--to", "/dev/null"], "Not a directory"),
    ],
)
def test_what_goes_wrong_is_said_in_one_line(arguments, message, capsys):
    assert command(["release", *arguments]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1 and said.err.startswith("companion release: ") and message in said.err


def test_sets_after_one_that_fails_are_released(batch_norm, tmp_path, capsys):
    for name, text in [("a", "BEGIN HIDEN TESTS"), ("b", "BEGIN HIDDEN TESTS")]:
        (tmp_path / name).mkdir()
        exercises = changed(batch_norm, 4, lambda source, text=text: source.replace("BEGIN HIDDEN TESTS", text))
        nbformat.write(exercises.notebook, tmp_path / name / f"{name}.ipynb")
    assert command(["release", "--all", "--flat", "--source", str(tmp_path), "--to", str(tmp_path / "out")]) == 1
    assert os.listdir(tmp_path / "out") == ["b.ipynb"]
    assert "a: this would be handed out" in capsys.readouterr().err


def test_options_of_grading_arrive(monkeypatch):
    asked = {}
    monkeypatch.setattr(
        "classroom.grading.whole_class.grade_class", lambda folder, **options: asked.update(options, of=folder)
    )
    limits = ["--seconds", "3", "--minutes", "0.5", "--memory", "1.5"]
    where = ["class", "--set", "01", "--source", "own", "--to", "out"]
    assert command(["grade", *where, *limits, "--jobs", "1", "--isolation", "none"]) == 0
    assert asked.pop("limits") == Limits(seconds=3, seconds_in_all=30, memory=3 * 2**29)
    assert asked == {
        "of": Path("class"),
        "exercises": "01",
        "sets": Path("own"),
        "out": Path("out"),
        "jobs": 1,
        "isolation": "none",
    }


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_a_class_that_is_not_there_is_named_in_one_line(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command(["grade", folder, "--isolation", "none"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("companion grade: ") and said.count("\n") == 1


def test_the_command_is_installed():
    result = subprocess.run([Path(sys.executable).with_name("companion"), "--help"], capture_output=True, text=True)
    assert result.returncode == 0 and all(word in result.stdout for word in ("release", "grade", "workbook"))


def test_make_passes_its_variables_on():
    plan = ["make", "--no-print-directory", "-n", "release", "SET=01_batch_norm", "OUT=a folder", "SOURCE=mine"]
    environment = {**os.environ, "MAKEFLAGS": ""}
    said = subprocess.run(plan, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout
    assert said.splitlines()[-1].endswith('companion release 01_batch_norm --to "a folder" --source "mine"')
