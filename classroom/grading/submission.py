"""Read, repair and run one submission in a process of its own, so that it can harm no other."""

import multiprocessing
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from nbformat import NotebookNode, v4

from classroom.authoring.cells import copy_cell, name_of
from classroom.authoring.sets import ExerciseSet
from classroom.grading.execute import Cell, error_output, run_notebook
from classroom.intake.repair import repair_notebook
from classroom.intake.submissions import Submission, Unreadable, read_submission
from classroom.sandbox.limits import Limits
from classroom.sandbox.process import STARTING


@dataclass(frozen=True)
class Job:
    """A submission to grade, and all that is needed for it."""

    submission: Submission
    exercises: ExerciseSet
    released: NotebookNode  # the set's student version
    isolation: str  # as find_isolation returns it
    limits: Limits
    private: Sequence[Path]  # folders to hide from the submission


@dataclass
class Outcome:
    """Outcome of a job."""

    notebook: NotebookNode  # repaired, with outputs; the empty student version if nothing could be made of it
    remarks: list[str] = field(default_factory=list)  # on what was repaired
    stopped: list[str] = field(default_factory=list)  # cells that had to be stopped
    check_errors: list[str] = field(default_factory=list)  # checks that failed by themselves
    error: str = ""  # why it is not graded


def grade_one(job: Job) -> Outcome:
    """Run a submission in a process of its own, and wait for it; whatever goes wrong is in the outcome's error."""
    # A fork of a process that has torch already is there at once; macOS does not fork safely.
    context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
    context.set_forkserver_preload([__name__, "torch._dynamo"])  # torch imports that one late, in every fork
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, job), daemon=True)
    process.start()
    theirs.close()
    patience = STARTING * (job.limits.restarts + 1) + job.limits.seconds_in_all + 60
    try:
        outcome = ours.recv() if ours.poll(patience) else None
    except EOFError:
        outcome = None
    process.kill()
    process.join()
    return outcome or not_graded(job.released, "the grader's own process broke down on it")


def not_graded(released: NotebookNode, error: str | Exception) -> Outcome:
    """Return the outcome of a job that failed as a whole: the empty student version, and the error.

    Args:
        released: The student version.
        error: Why, in words; or the exception, if it is a fault of the grader's own.
    """
    if isinstance(error, Exception):
        error = f"the grader itself failed on it ({type(error).__name__}: {error})"
    notebook = v4.new_notebook(cells=[copy_cell(cell) for cell in released.cells], metadata=released.metadata)
    for cell, original in zip(notebook.cells, released.cells, strict=True):
        if name_of(original):
            cell.metadata["nbgrader"] = original.metadata["nbgrader"]
        if name_of(original).endswith("-test"):
            cell.outputs = [NotebookNode(error_output("NotGraded", error))]
            mark_executed(cell)
    _add_remarks(notebook, [f"Your submission could not be graded: {error}. What follows is the empty exercise."])
    return Outcome(notebook, error=error)


def mark_executed(cell: NotebookNode) -> None:
    """Mark a cell's outputs as ours, for :class:`classroom.nbgrader.FailUnexecuted`.

    Without it, nbgrader takes a test without outputs for one that was passed.
    """
    cell.metadata["companion"] = {"executed": True}


def _work(answer: Connection, job: Job) -> None:
    torch.set_num_threads(1)
    try:
        answer.send(_grade(job))
    except Exception as error:  # a fault of ours must not cost the others their grades
        answer.send(not_graded(job.released, error))


def _grade(job: Job) -> Outcome:
    try:
        notebook, remarks = repair_notebook(read_submission(job.submission.path), job.released)
    except Unreadable as error:
        return not_graded(job.released, str(error))
    sources = [(name_of(cell), cell.source) for cell in job.exercises.notebook.cells]
    tests = {name: Cell(source, name.removesuffix("-test")) for name, source in sources if name.endswith("-test")}
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    cells = [tests.get(name_of(cell)) or Cell(cell.source) for cell in code]
    results = run_notebook(cells, job.isolation, job.limits, job.private)
    for index, (cell, ran, outputs) in enumerate(zip(code, cells, results.outputs, strict=True)):
        cell.execution_count = index + 1  # as remarks count them
        cell.outputs = [NotebookNode(output) for output in outputs]
        if results.passed.get(ran.tests) or outputs:
            mark_executed(cell)
    _add_remarks(notebook, [*remarks, *(f"{text[:1].upper()}{text[1:]}." for text in results.stopped)])
    return Outcome(notebook, remarks, results.stopped, results.check_errors)


def _add_remarks(notebook: NotebookNode, remarks: list[str]) -> None:
    """Put remarks at the top, for the feedback."""
    if remarks:
        lines = "\n".join(f"- {remark.replace('<', '&lt;')}" for remark in remarks)
        notebook.cells.insert(0, v4.new_markdown_cell(f"**Remarks from grading**\n\n{lines}"))
