"""Grade a class: every submission ends with a score or a named reason, whatever one of them does."""

import shutil
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from classroom.authoring.release import student_version
from classroom.authoring.sets import ExerciseSet, read_set, set_of
from classroom.grading.submission import Job, Outcome, grade_one, not_graded
from classroom.grading.table import Row, write_table
from classroom.intake.submissions import Submission, Unreadable, collect, read_submission
from classroom.nbgrader import Course
from classroom.sandbox.isolation import find_isolation, isolation_error
from classroom.sandbox.limits import Limits


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
    found = find_isolation(isolation)
    chosen = read_set(exercises, sets) if exercises else _recognize(folder, sets)
    submissions = collect(folder, chosen.name)
    if not submissions:
        raise ValueError(f"there is no notebook in {folder}")
    show(f"{chosen.name}: {len(submissions)} submissions, {chosen.points:g} points, graded in {out}")
    if found == "none":
        show(f"NOT ISOLATED: submissions can read your files and use your network ({isolation_error(isolation)}).")

    course, released = Course(out, chosen.name, chosen.notebook), student_version(chosen)
    _keep_originals(out, chosen.name, submissions)
    own = chosen.path.parent
    private = [folder, out, own.parent if own.name == chosen.name else own]
    work = [Job(each, chosen, released, found, limits or Limits(), private) for each in submissions]
    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        done = list(zip(work, pool.map(_grade, work), strict=True))
    for job, outcome in done:
        course.submit(job.submission.student, outcome.notebook)
    course.grade()

    rows = [_row(job, outcome, course, folder) for job, outcome in done]
    write_table(out / f"{chosen.name}.csv", chosen, rows)
    width = max(len(row.student) for row in rows)
    counts = ", ".join(f"{count} {status}" for status, count in Counter(row.status for row in rows).items())
    for line in [*(row.line(width) for row in rows), f"{counts}; {out / chosen.name}.csv"]:
        show(line)
    return rows


def _check_folders(folder: Path, out: Path) -> None:
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    if folder.is_relative_to(out) or out.is_relative_to(folder):
        raise ValueError(f"grades must not be written where the submissions are: {out} and {folder}")


def _recognize(folder: Path, sets: Path | None) -> ExerciseSet:
    """Return the set that the submissions belong to."""
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


def _keep_originals(out: Path, name: str, submissions: list[Submission]) -> None:
    """Copy what was handed in, untouched."""
    for submission in submissions:
        to = out / "originals" / submission.student / name
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir(parents=True)
        for index, path in enumerate([submission.path, *submission.others]):
            with suppress(OSError):
                same = to / path.name
                shutil.copy2(path, to / f"{index}-{path.name}" if same.exists() else same, follow_symlinks=False)


def _grade(job: Job) -> Outcome:
    try:
        return grade_one(job)
    except Exception as error:  # such as no more processes to be had: the others still have a chance
        return not_graded(job.released, error)


def _row(job: Job, outcome: Outcome, course: Course, folder: Path) -> Row:
    """Return a student's row, from the job's outcome and the gradebook."""
    submission, exercises = job.submission, job.exercises
    grades = {grade.grade_id: grade for grade in course.grades(submission.student)}
    error, remarks = outcome.error, list(outcome.remarks)
    if not grades or not course.feedback(submission.student).exists():
        error = error or "nbgrader could not deal with the notebook"
    if submission.others:
        names = ", ".join(path.name for path in submission.others)
        remarks.append(f"Of several notebooks {submission.path.name} was graded, not {names}.")
    problems = outcome.stopped + outcome.check_errors
    return Row(
        student=submission.student,
        file=str(submission.path.relative_to(folder)).encode("utf-8", "backslashreplace").decode(),
        points={task.name: grades[task.grade_id].score if grades else 0.0 for task in exercises.tasks},
        highest=exercises.points,
        by_hand=[task.name for task in exercises.tasks if grades and grades[task.grade_id].needs_person],
        status="not graded" if error else "graded with trouble" if problems else "graded",
        status_reason="; ".join(filter(None, [error, *problems])),
        remarks=remarks,
        isolated=job.isolation != "none",
    )
