"""Grade a class: every submission ends with a score or a named reason, whatever one of them does."""

import csv
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from classroom.authoring.release import student_version
from classroom.authoring.sets import ExerciseSet, read_set, set_of
from classroom.grading.nbgrader import Course
from classroom.grading.submission import Attempt, attempt, failed
from classroom.intake.submissions import Submission, Unreadable, collect, read_submission
from classroom.sandbox.isolation import find_isolation, why_not_isolated
from classroom.sandbox.limits import Limits

COLUMNS = ("total", "max", "needs manual grading", "status", "reason", "remarks", "isolated")


@dataclass
class Row:
    """A student's line in the table."""

    student: str
    file: str
    points: dict[str, float]  # of each task
    total: float
    highest: float
    by_hand: list[str]  # tasks that need a person
    status: str  # "graded", "graded with trouble" or "not graded"
    reason: str
    remarks: list[str]
    isolated: bool

    def line(self, width: int) -> str:
        """The row for the terminal."""
        by_hand = f", {', '.join(self.by_hand)} to be graded by hand" if self.by_hand else ""
        said = "; ".join(filter(None, [self.reason, *self.remarks]))
        reason = f"  [{self.status}] {said}" if said else ""
        return f"{self.student:{width}}  {self.total:g} of {self.highest:g}{by_hand}{reason}"


def grade_class(
    folder: Path,
    out: Path | None = None,
    exercises: str | Path | None = None,
    *,
    sets: Path | None = None,
    limits: Limits | None = None,
    jobs: int = 2,
    isolation: str = "auto",
    show: Callable[[str], None] = print,
) -> list[Row]:
    """Grade a folder of submissions with nbgrader, and write its gradebook, feedback and a CSV.

    Everything is graded anew each time; points that a person gave are kept.

    Args:
        folder: The submissions (see :func:`classroom.intake.submissions.collect`).
        out: nbgrader's course folder, for any number of sets; by default ``<folder>-graded`` beside the folder.
        exercises: The set; by default the one whose graded cells most submissions have.
        sets: The folder of all sets, if not this checkout's.
        limits: What a submission may use.
        jobs: How many are run at a time.
        isolation: ``"required"``, ``"auto"`` or ``"none"``.
        show: Called with each line of the report.

    Returns:
        A row for each student.

    Raises:
        ValueError: If there is nothing to grade, or no way to grade it; never because of what one submission does.
    """
    folder = folder.resolve()
    out = (out or folder.with_name(f"{folder.name}-graded")).resolve()
    _check_folders(folder, out)
    place = find_isolation(isolation)
    chosen = read_set(exercises, sets) if exercises else _recognize(folder, sets)
    submissions = collect(folder, chosen.name)
    if not submissions:
        raise ValueError(f"there is no notebook in {folder}")

    show(f"{chosen.name}: {len(submissions)} submissions, {chosen.points:g} points, graded in {out}")
    if place == "none":
        show(f"NOT ISOLATED: submissions can read your files and use your network ({why_not_isolated(isolation)}).")
    course, released = Course(out, chosen), student_version(chosen)
    _keep_originals(out, chosen.name, submissions)
    own = chosen.path.parent
    private = [folder, out, own.parent if own.name == chosen.name else own]

    def run(submission: Submission) -> Attempt:
        try:
            return attempt(submission, chosen, released, place, limits or Limits(), private)
        except Exception as error:  # such as no more processes to be had: the others still have a chance
            return failed(released, f"the grader itself failed on it ({type(error).__name__}: {error})")

    width = max(len(submission.student) for submission in submissions)
    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        attempts = list(pool.map(run, submissions))
    for submission, made in zip(submissions, attempts, strict=True):
        course.submit(submission.student, made.notebook)
    course.grade()
    rows = []
    for submission, made in zip(submissions, attempts, strict=True):
        rows.append(_row(chosen, course, folder, submission, made, place != "none"))
        show(rows[-1].line(width))
    _write_table(out / f"{chosen.name}.csv", chosen, rows)
    count = Counter(row.status for row in rows)
    show(", ".join(f"{number} {status}" for status, number in count.items()) + f"; {out / chosen.name}.csv")
    return rows


def _recognize(folder: Path, sets: Path | None) -> ExerciseSet:
    """The set that most submissions belong to."""
    votes: Counter[str] = Counter()
    for submission in collect(folder, ""):
        for path in (submission.path, *submission.others):
            with suppress(Unreadable):
                votes.update(filter(None, [set_of(read_submission(path), sets)]))
    if not votes:
        raise ValueError(f"no notebook in {folder} has a graded cell of a set; name the set")
    if len(votes) > 1:
        names = ", ".join(f"{name} ({count})" for name, count in votes.most_common())
        raise ValueError(f"{folder} holds submissions of several sets: {names}; name the one to grade")
    return read_set(next(iter(votes)), sets)


def _check_folders(folder: Path, out: Path) -> None:
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    if folder == out or folder.is_relative_to(out) or out.is_relative_to(folder):
        raise ValueError(f"grades must not be written where the submissions are: {out} and {folder}")


def _keep_originals(out: Path, name: str, submissions: list[Submission]) -> None:
    """Copy what was handed in, untouched."""
    for submission in submissions:
        to = out / "originals" / submission.student / name
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir(parents=True)
        for number, path in enumerate([submission.path, *submission.others]):
            with suppress(OSError):
                same = to / path.name
                shutil.copy2(path, to / f"{number}-{path.name}" if same.exists() else same, follow_symlinks=False)


def _row(
    exercises: ExerciseSet, course: Course, folder: Path, submission: Submission, made: Attempt, isolated: bool
) -> Row:
    grades = {grade.grade_id: grade for grade in course.grades(submission.student)}
    points = {task.name: grades[task.grade_id].score if grades else 0.0 for task in exercises.tasks}
    by_hand = [task.name for task in exercises.tasks if grades and grades[task.grade_id].needs_person]
    reasons, remarks = list(made.trouble), list(made.remarks)
    if not grades or not course.feedback(submission.student).exists():
        made.failed = made.failed or "nbgrader could not deal with the notebook"
    if made.failed:
        reasons.insert(0, made.failed)
    if submission.others:
        names = ", ".join(path.name for path in submission.others)
        remarks.append(f"Of several notebooks {submission.path.name} was graded, not {names}.")
    status = "not graded" if made.failed else "graded with trouble" if made.trouble else "graded"
    file = str(submission.path.relative_to(folder)).encode("utf-8", "backslashreplace").decode()
    total = sum(points.values())
    reason = "; ".join(reasons)
    return Row(submission.student, file, points, total, exercises.points, by_hand, status, reason, remarks, isolated)


def _write_table(path: Path, exercises: ExerciseSet, rows: list[Row]) -> None:
    tasks = [task.name for task in exercises.tasks]
    with path.open("w", encoding="utf-8-sig", newline="") as file:  # the mark tells spreadsheets that it is UTF-8
        table = csv.writer(file)
        table.writerow(["student", "file", "set", *tasks, *COLUMNS])
        for row in rows:
            texts = row.status, row.reason, " ".join(row.remarks), "yes" if row.isolated else "no"
            points = [f"{row.points[task]:g}" for task in tasks]
            numbers = [*points, f"{row.total:g}", f"{row.highest:g}", " ".join(row.by_hand)]
            table.writerow([*_harmless(row.student, row.file, exercises.name), *numbers, *_harmless(*texts)])


def _harmless(*texts: str) -> Iterator[str]:
    """Texts that no spreadsheet takes for a formula."""
    return (f"'{text}" if text[:1] in "=+-@\t\r" and text else text for text in texts)
