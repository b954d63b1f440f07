"""nbgrader, as far as it is used: student versions, a course folder, its gradebook and feedback.

No other module imports it, and it never runs a submission. The course folder's nbgrader_config.py names a class here.
"""

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode, v4
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import Autograde, GenerateAssignment, GenerateFeedback
from nbgrader.converters.base import NbGraderException
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import NbGraderPreprocessor, SaveCells
from nbgrader.utils import is_grade
from traitlets.config import Config, PyFileConfigLoader

# Read by nbgrader's own commands, too, if they are called in this folder.
CONFIG = '''"""Written by `companion grade`. Outputs come from there: nbgrader itself must not run a submission."""

c = get_config()  # noqa: F821
part = "nbgrader.preprocessors.{}".format
c.CourseDirectory.ignore = ["*.md"]
c.Autograde.sanitize_preprocessors = [*map(part, ["DeduplicateIds", "OverwriteKernelspec", "OverwriteCells"])]
steps = map(part, ["LimitOutput", "SaveAutoGrades", "AssignLatePenalties"])
c.Autograde.autograde_preprocessors = ["classroom.nbgrader.FailUnexecuted", *steps]
style = "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor"
c.GenerateFeedback.preprocessors = [*map(part, ["GetGrades", "ClearHiddenTests"]), style]
'''


def generate_student_version(name: str, source: NotebookNode) -> NotebookNode:
    """Return a set's notebook with stubs in place of solutions, without hidden tests and outputs.

    Raises:
        ValueError: If nbgrader refuses the source.
    """
    steps = [step for step in GenerateAssignment.preprocessors.default() if step is not SaveCells]
    config = Config({"GenerateAssignment": {"preprocessors": steps, "no_database": True}})
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder, "source", name, f"{name}.ipynb"), source)
        _convert(GenerateAssignment, folder, name, config, "nbgrader refuses the source")
        return nbformat.read(Path(folder, "release", name, f"{name}.ipynb"), as_version=4)


class FailUnexecuted(NbGraderPreprocessor):
    """Step of autograding that fails every test `companion grade` has not run."""

    def preprocess_cell(self, cell: NotebookNode, resources: Any, index: int) -> tuple[NotebookNode, Any]:
        """Put an error into a test cell without our mark."""
        if cell.cell_type == "code" and is_grade(cell) and not cell.metadata.get("companion", {}).get("executed"):
            kind, error = "NotExecuted", "this notebook was not run; use `companion grade`"
            cell.outputs = [v4.new_output("error", ename=kind, evalue=error, traceback=[f"{kind}: {error}"])]
        return cell, resources


class Grade:
    """One task's grade in the gradebook."""

    def __init__(self, record: Any) -> None:
        self.grade_id, self.score, self.needs_person = record.name, float(record.score), bool(record.needs_manual_grade)


class Course:
    """A course folder of nbgrader's, and one set in it.

    Args:
        folder: Made if it is not there; sets that it holds already stay in it.
        name: Of the set to grade.
        source: The set's notebook, with solutions and hidden tests.

    Raises:
        ValueError: If nbgrader refuses the set.
    """

    def __init__(self, folder: Path, name: str, source: NotebookNode) -> None:
        self.folder, self.name = folder.resolve(), name
        _write(self._path("source"), source)
        (self.folder / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
        self._convert(GenerateAssignment, "the set is refused (a changed set needs a new folder for its grades)")

    def submit(self, student: str, notebook: NotebookNode) -> None:
        """Hand in a notebook, with the outputs that running it gave."""
        _write(self._path("submitted", student), notebook)

    def grade(self) -> None:
        """Score what is handed in, and write the feedback; points that a person gave stay as they are."""
        given = self._given_by_hand()
        self._convert(Autograde)
        self._keep(given)
        self._convert(GenerateFeedback)

    def grades(self, student: str) -> list[Grade]:
        """Return what the gradebook has of a student; nothing if nbgrader could not deal with the notebook."""
        with self._gradebook() as book, contextlib.suppress(MissingEntry):
            if self._path("autograded", student).exists():  # else what the gradebook has is from an earlier run
                return [Grade(grade) for grade in book.find_submission_notebook(self.name, self.name, student).grades]
        return []

    def feedback(self, student: str) -> Path:
        """Return the path of a student's feedback, which is there if there is any."""
        return self._path("feedback", student, ".html")

    def _path(self, step: str, student: str = "", suffix: str = ".ipynb") -> Path:
        return self.folder / step / student / self.name / f"{self.name}{suffix}"

    def _convert(self, converter: type, refusal: str = "") -> None:
        config = Config(PyFileConfigLoader("nbgrader_config.py", path=str(self.folder)).load_config())
        _convert(converter, str(self.folder), self.name, config, refusal)

    @contextlib.contextmanager
    def _gradebook(self) -> Iterator[Gradebook]:
        with _surroundings(), Gradebook(f"sqlite:///{self.folder / 'gradebook.db'}") as book:
            yield book

    def _given_by_hand(self) -> dict[tuple[str, str], tuple[float | None, str]]:
        """Return the automatic score and the text of each answer that a person has given points for."""
        given = {}
        with self._gradebook() as book:
            for submission in book.notebook_submissions(self.name, self.name):
                texts = self._texts(submission.student.id)
                for grade in submission.grades:
                    if grade.manual_score is not None and not grade.needs_manual_grade:
                        given[submission.student.id, grade.name] = grade.auto_score, texts.get(grade.name, "")
        return given

    def _keep(self, given: dict[tuple[str, str], tuple[float | None, str]]) -> None:
        """Keep a person's points where the answer has not changed since; nbgrader would ask for all of them again."""
        with self._gradebook() as book:
            for (student, name), before in given.items():
                grade = book.find_grade(name, self.name, self.name, student)
                if (grade.auto_score, self._texts(student).get(name, "")) == before:
                    grade.needs_manual_grade = False
            book.db.commit()

    def _texts(self, student: str) -> dict[str, str]:
        path = self._path("autograded", student)
        cells = nbformat.read(path, as_version=4).cells if path.exists() else []
        return {cell.metadata.nbgrader.grade_id: cell.source for cell in cells if "nbgrader" in cell.metadata}


def _convert(converter: type, folder: str, name: str, config: Config, refusal: str) -> None:
    """Run one of nbgrader's converters on a set; if it fails, raise the ``refusal``, or nothing where that is empty."""
    config.CourseDirectory.root, config.CourseDirectory.assignment_id = folder, name
    log, kept = logging.Logger("companion", logging.ERROR), BufferingHandler(sys.maxsize)
    log.addHandler(kept)  # and shown nowhere
    try:
        with _surroundings():
            course = CourseDirectory(config=config, log=log)
            converter(coursedir=course, config=config, log=log, force=True).start()
    except NbGraderException:
        if refusal:  # else it says that some could not be converted; their grades are missing
            messages = [record.getMessage() for record in kept.buffer]  # the exception does not say what happened
            error = next((text for text in messages if text.startswith("Traceback")), "it does not say why")
            raise ValueError(f"{name}: {refusal}: {error.rstrip().splitlines()[-1]}") from None


@contextlib.contextmanager
def _surroundings() -> Iterator[None]:
    """Give nbgrader what it needs: it calls ``alembic`` by name, changes folders, and warns of its own libraries."""
    path = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), path])
    try:
        with warnings.catch_warnings(action="ignore"), contextlib.chdir("."):
            yield
    finally:
        os.environ["PATH"] = path


def _write(path: Path, notebook: NotebookNode) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
