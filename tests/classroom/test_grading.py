"""Every set grades: the solution gets full marks, the empty student version none; and what the instructor sees."""

import csv
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from classroom.authoring.release import student_version
from classroom.authoring.sets import SetError, read_set, set_names, set_of
from classroom.grading import whole_class
from classroom.grading.submission import Outcome, mark_executed
from classroom.grading.whole_class import grade_class
from classroom.intake.repair import repair_notebook
from classroom.intake.submissions import read_submission
from classroom.nbgrader import Course
from classroom.sandbox.isolation import find_isolation
from classroom.sandbox.limits import Limits

ROOT = Path(__file__).parents[2]
SETS = set_names()


def name(cell):
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


def hidden_lines(exercises):
    """Return the lines that stand in a hidden test and nowhere else, but for those that say nothing."""
    lines, shown, inside = set(), set(), False
    for line in "\n".join(cell.source for cell in exercises.notebook.cells).splitlines():
        if "### BEGIN HIDDEN" in line or "### END HIDDEN" in line:
            inside = "BEGIN" in line
        else:
            (lines if inside else shown).add(line.strip())
    assert lines
    return {line for line in lines - shown if len(line) > 5}


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """Return one course folder for all sets, as in a term."""
    return tmp_path_factory.mktemp("course")


@pytest.mark.slow
@pytest.mark.parametrize("which", SETS)
def test_the_solution_gets_full_marks_and_the_empty_version_none(which, course, tmp_path):
    exercises, folder, said = read_set(which), tmp_path / "class", []
    folder.mkdir()
    nbformat.write(exercises.notebook, folder / "solution.ipynb")
    nbformat.write(student_version(exercises), folder / "empty.ipynb")
    rows = {row.student: row for row in grade_class(folder, course, show=said.append)}
    assert len(said) == 4 + (find_isolation() == "none")
    by_machine = {task.name: task.points for task in exercises.tasks if not task.manual}
    manual = [task.name for task in exercises.tasks if task.manual]
    solution, empty = rows["solution"], rows["empty"]
    assert solution.points == by_machine | dict.fromkeys(manual, 0.0)
    assert solution.by_hand == manual and solution.status == "graded" and solution.status_reason == ""
    assert empty.total == 0 and empty.by_hand == [] and empty.status == "graded"
    assert empty.remarks == [] and empty.status_reason == ""

    notebook = nbformat.read(course / "autograded" / "empty" / which / f"{which}.ipynb", as_version=4)
    for cell in notebook.cells:
        if name(cell).endswith("-test"):
            assert [output.ename for output in cell.outputs] == ["NotImplementedError"]
    for path in course.glob(f"feedback/*/{which}/*.html"):
        text = path.read_text(encoding="utf-8")
        assert "HIDDEN TESTS" not in text
        assert not [line for line in hidden_lines(exercises) if line in text]


@pytest.mark.parametrize("which", SETS)
def test_a_submission_is_recognised_by_its_graded_cells(which):
    assert set_of(nbformat.read(ROOT / "notebooks" / "exercises" / f"{which}.ipynb", as_version=4)) == which


def test_a_notebook_without_graded_cells_belongs_to_no_set():
    assert set_of(v4.new_notebook(cells=[v4.new_code_cell("1")])) is None


def test_a_set_is_found_by_its_name_its_start_and_its_path(tmp_path):
    path = ROOT / "notebooks" / "solutions" / "01_batch_norm"
    for wanted in ("01_batch_norm", "01", path, path / "01_batch_norm.ipynb"):
        assert read_set(wanted).name == "01_batch_norm"
    assert read_set("01").points == 12
    with pytest.raises(SetError, match="no exercise set is called '99'. There are: 01_batch_norm"):
        read_set("99")
    with pytest.raises(SetError, match="more than one exercise set is called '0'"):
        read_set("0")
    with pytest.raises(SetError, match="there is no folder"):
        read_set("01", tmp_path / "nowhere")
    (tmp_path / "x.ipynb").write_text("{")
    with pytest.raises(SetError, match="cannot be read as a notebook"):
        read_set(tmp_path / "x.ipynb")
    nbformat.write(v4.new_notebook(), tmp_path / "x.ipynb")
    with pytest.raises(SetError, match="has no graded cell"):
        read_set(tmp_path / "x.ipynb")


@pytest.fixture
def without_running(monkeypatch):
    """Grade without running anything: each submission passes as it is."""

    def grade_one(job):
        notebook, _ = repair_notebook(read_submission(job.submission.path), job.released)
        for cell in notebook.cells:
            mark_executed(cell)
        return Outcome(notebook, remarks=["=1+1"], stopped=["stopped"])

    monkeypatch.setattr(whole_class, "grade_one", grade_one)


@pytest.mark.slow
def test_the_table_says_all_and_is_no_formula(without_running, tmp_path):
    folder, said = tmp_path / "class", []
    (folder / "Zoë").mkdir(parents=True)
    notebook = student_version(read_set("01"))
    nbformat.write(notebook, folder / "Zoë" / "first.ipynb")
    nbformat.write(notebook, folder / "Zoë" / "second.ipynb")
    nbformat.write(notebook, folder / "=A1.ipynb")
    rows = grade_class(folder, isolation="none", show=said.append)
    assert "NOT ISOLATED" in said[1]
    out = tmp_path / "class-graded"
    with (out / "01_batch_norm.csv").open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == [
        "student",
        "file",
        "set",
        "standardize_batch",
        "batches_until",
        "backward",
        "Repaired",
        "explain",
        "total",
        "max",
        "needs manual grading",
        "status",
        "reason",
        "remarks",
        "isolated",
    ]
    odd, zoe = table
    assert odd["student"] == "%3DA1" and odd["file"] == "'=A1.ipynb" and odd["remarks"] == "'=1+1"
    assert zoe["student"] == "Zoë" and zoe["total"] == "10" and zoe["max"] == "12" and zoe["isolated"] == "no"
    assert zoe["status"] == "graded with trouble" and zoe["reason"] == "stopped"
    assert "second.ipynb was graded, not first.ipynb" in zoe["remarks"]
    assert sorted(path.name for path in (out / "originals" / "Zoë" / "01_batch_norm").iterdir()) == [
        "first.ipynb",
        "second.ipynb",
    ]
    assert "10 of 12" in rows[1].line(5)
    # What was put into the folder by hand has not been run: it scores nothing, whoever calls nbgrader.
    stray = out / "submitted" / "stray" / "01_batch_norm"
    stray.mkdir(parents=True)
    nbformat.write(notebook, stray / "01_batch_norm.ipynb")
    course = Course(out, "01_batch_norm", read_set("01").notebook)
    course.grade()
    assert sum(grade.score for grade in course.grades("stray")) == 0
    assert sum(grade.score for grade in course.grades("Zoë")) == 10
    assert course.grades("nobody") == []


@pytest.mark.slow
def test_a_fault_of_the_graders_own_costs_the_others_nothing(monkeypatch, tmp_path):
    def grade_one(job):
        if job.submission.student == "odd":
            raise OSError("no more processes")
        return Outcome(repair_notebook(read_submission(job.submission.path), job.released)[0])

    monkeypatch.setattr(whole_class, "grade_one", grade_one)
    for student in ("odd", "other"):
        nbformat.write(student_version(read_set("01")), tmp_path / f"{student}.ipynb")
    odd, other = grade_class(tmp_path, isolation="none", show=lambda line: None)
    assert (
        odd.status == "not graded"
        and odd.status_reason == "the grader itself failed on it (OSError: no more processes)"
    )
    assert other.status == "graded"


@pytest.mark.slow
def test_points_that_a_person_gave_outlast_a_second_run(without_running, tmp_path):
    folder, exercises = tmp_path / "class", read_set("01")
    folder.mkdir()

    def hand_in(student, answer):
        notebook = student_version(exercises)
        next(cell for cell in notebook.cells if name(cell) == "explain").source = answer
        nbformat.write(notebook, folder / f"{student}.ipynb")

    def rows():
        return {row.student: row for row in grade_class(folder, isolation="none", show=lambda line: None)}

    for student in ("Ann", "Bob", "Cem"):
        hand_in(student, "The mode is wrong.")
    assert all(row.by_hand == ["explain"] for row in rows().values())
    course = Course(tmp_path / "class-graded", exercises.name, exercises.notebook)
    with course._gradebook() as book:  # as formgrader does it
        for student in ("Ann", "Bob"):
            given = book.find_grade("explain", exercises.name, exercises.name, student)
            given.manual_score, given.needs_manual_grade = 1.5, False
        book.db.commit()
    hand_in("Bob", "The mode is wrong, call eval().")
    (folder / "Cem.ipynb").unlink()
    again = rows()
    assert set(again) == {"Ann", "Bob"}
    assert again["Ann"].points["explain"] == 1.5 and again["Ann"].by_hand == []
    assert again["Bob"].points["explain"] == 1.5 and again["Bob"].by_hand == ["explain"]  # its text is another
    assert course.grades("Cem")


def test_what_cannot_be_graded_is_one_clear_error(tmp_path):
    empty, mixed = tmp_path / "empty", tmp_path / "mixed"
    for folder in (empty, mixed, empty / "inner"):
        folder.mkdir()
    for message, arguments in [
        ("there is no folder", (tmp_path / "nowhere",)),
        ("no notebook in .* has a graded cell", (empty,)),
        ("there is no notebook in", (empty, None, "01")),
        ("no exercise set is called", (empty, None, "99")),
        ("must not be written where the submissions are", (empty, empty)),
        ("must not be written where the submissions are", (empty, empty / "inner")),
        ("must not be written where the submissions are", (empty, tmp_path)),
    ]:
        with pytest.raises(ValueError, match=message):
            grade_class(*arguments, isolation="none", show=lambda line: None)
    for which in SETS[:2]:
        nbformat.write(nbformat.read(ROOT / "notebooks" / "exercises" / f"{which}.ipynb", 4), mixed / f"{which}.ipynb")
    with pytest.raises(ValueError, match=r"several sets: .* \(1\), .* \(1\); name the one to grade"):
        grade_class(mixed, isolation="none")
    assert not (tmp_path / "empty-graded").exists()


def test_the_defaults_leave_room_for_an_honest_notebook():
    limits = Limits()
    assert limits.seconds >= 60 and limits.seconds_in_all >= 300 and limits.memory >= 2 * 2**30
