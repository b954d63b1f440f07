"""One submission, read, repaired and judged in a process of its own, so that it can harm no other."""

import multiprocessing
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from nbformat import NotebookNode, v4

from classroom.authoring.sets import ExerciseSet
from classroom.grading.execute import Cell, Verdict, judge
from classroom.intake.pieces import copy_cell, name_of
from classroom.intake.repairs import repair
from classroom.intake.submissions import Submission, Unreadable, read_submission
from classroom.sandbox.limits import Limits
from classroom.sandbox.session import STARTING


@dataclass
class Attempt:
    """What became of a submission."""

    notebook: NotebookNode  # repaired, with outputs; the empty student version if nothing could be made of it
    remarks: list[str] = field(default_factory=list)  # what was repaired
    trouble: list[str] = field(default_factory=list)  # what had to be stopped
    failed: str = ""  # why it is not graded


def attempt(
    submission: Submission,
    exercises: ExerciseSet,
    released: NotebookNode,
    isolation: str,
    limits: Limits,
    private: Sequence[Path],
) -> Attempt:
    """Run a submission in a process of its own, and wait for it; for whatever goes wrong there is a reason.

    Args:
        submission: Where it is.
        exercises: The set's source.
        released: Its student version.
        isolation: What :func:`classroom.sandbox.processes.find_isolation` gives.
        limits: What the submission may use.
        private: Folders to hide from it.
    """
    # A fork of a process that has torch already is there at once; macOS does not fork safely.
    context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
    if sys.platform == "linux":
        context.set_forkserver_preload([__name__, "torch._dynamo"])  # torch imports that one late, in every fork
    ours, theirs = context.Pipe(duplex=False)
    arguments = (theirs, submission, exercises, released, isolation, limits, private)
    process = context.Process(target=_work, args=arguments, daemon=True)
    process.start()
    theirs.close()
    patience = STARTING * (limits.restarts + 1) + limits.seconds_in_all + 60
    try:
        made = ours.recv() if ours.poll(patience) else None
    except EOFError:
        made = None
    process.kill()
    process.join()
    made = "the grader's own process broke down on it" if made is None else made
    return failed(released, made) if isinstance(made, str) else made


def judged(cell: NotebookNode) -> None:
    """Mark a cell's outputs as ours: nbgrader takes a test without outputs for one that was passed."""
    cell.metadata["companion"] = {"judged": True}


def _work(answer: Connection, submission: Submission, *more: object) -> None:
    torch.set_num_threads(1)
    try:
        answer.send(_attempt(submission, *more))
    except Exception as error:  # a fault of ours must not cost the others their grades
        answer.send(f"the grader itself failed on it ({type(error).__name__}: {error})")


def _attempt(
    submission: Submission,
    exercises: ExerciseSet,
    released: NotebookNode,
    isolation: str,
    limits: Limits,
    private: Sequence[Path],
) -> Attempt:
    try:
        notebook, remarks = repair(read_submission(submission.path), released)
    except Unreadable as error:
        return failed(released, str(error))
    tests = {name_of(cell): cell.source for cell in exercises.notebook.cells if name_of(cell).endswith("-test")}
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    cells = [Cell(tests.get(name_of(cell), cell.source), _answer(name_of(cell), tests)) for cell in code]
    verdict = judge(cells, isolation, limits, private)
    for number, (cell, outputs) in enumerate(zip(code, verdict.outputs, strict=True), 1):
        cell.execution_count = number  # as remarks count them
        cell.outputs = [NotebookNode(output) for output in outputs]
        if verdict.passed.get(_answer(name_of(cell), tests)) or outputs:
            judged(cell)
    return _finished(notebook, remarks, verdict)


def _answer(name: str, tests: dict[str, str]) -> str:
    return name.removesuffix("-test") if name in tests else ""


def _finished(notebook: NotebookNode, remarks: list[str], verdict: Verdict) -> Attempt:
    _say(notebook, [*remarks, *(f"{text[:1].upper()}{text[1:]}." for text in verdict.trouble)])
    return Attempt(notebook, remarks, verdict.trouble + verdict.doubt)


def failed(released: NotebookNode, reason: str) -> Attempt:
    """An attempt of which nothing came: the empty student version, and why."""
    notebook = v4.new_notebook(cells=[copy_cell(cell) for cell in released.cells], metadata=released.metadata)
    for cell, original in zip(notebook.cells, released.cells, strict=True):
        if name_of(original):
            cell.metadata["nbgrader"] = original.metadata["nbgrader"]
        if name_of(original).endswith("-test"):
            error = {"ename": "NotGraded", "evalue": reason, "traceback": [f"NotGraded: {reason}"]}
            cell.outputs = [NotebookNode(output_type="error", **error)]
            judged(cell)
    _say(notebook, [f"Your submission could not be graded: {reason}. What follows is the empty exercise."])
    return Attempt(notebook, failed=reason)


def _say(notebook: NotebookNode, remarks: list[str]) -> None:
    """Put remarks at the top, for the feedback."""
    if remarks:
        lines = "\n".join(f"- {remark.replace('<', '&lt;')}" for remark in remarks)
        notebook.cells.insert(0, v4.new_markdown_cell(f"**Remarks from grading**\n\n{lines}"))
