"""nbgrader's part of grading: its course folder, its gradebook and its feedback, without its way of running code."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from classroom.authoring import cells as copies
from classroom.authoring.release import Log
from classroom.authoring.sets import ExerciseSet

# Read by nbgrader's own commands, too, if they are called in this folder.
CONFIG = '''"""Written by `companion grade`. Outputs come from there: nbgrader itself must not run a submission."""

c = get_config()  # noqa: F821
part = "nbgrader.preprocessors.{}".format
c.CourseDirectory.ignore = ["*.md"]
c.Autograde.sanitize_preprocessors = [*map(part, ["DeduplicateIds", "OverwriteKernelspec", "OverwriteCells"])]
steps = map(part, ["LimitOutput", "SaveAutoGrades", "AssignLatePenalties"])
c.Autograde.autograde_preprocessors = ["classroom.grading.judged.OnlyJudged", *steps]
style = "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor"
c.GenerateFeedback.preprocessors = [*map(part, ["GetGrades", "ClearHiddenTests"]), style]
'''


class Grade:
    """One task's grade in the gradebook."""

    def __init__(self, record: Any) -> None:
        self.grade_id, self.score, self.needs_person = record.name, float(record.score), bool(record.needs_manual_grade)


class Course:
    """A course folder of nbgrader's, and one set in it.

    Args:
        folder: Made if it is not there; sets that it holds already stay in it.
        exercises: The set to grade.

    Raises:
        ValueError: If nbgrader refuses the set.
    """

    def __init__(self, folder: Path, exercises: ExerciseSet) -> None:
        self.folder, self.name, self.log = folder.resolve(), exercises.name, Log("grade")
        source = self.folder / "source" / self.name / f"{self.name}.ipynb"
        source.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(exercises.notebook, source)
        copies.write(self.folder / "nbgrader_config.py", CONFIG)
        with _nbgrader():
            from nbgrader.converters import GenerateAssignment

            self._convert(GenerateAssignment, "the set is refused (a changed set needs a new folder for its grades)")

    def submit(self, student: str, notebook: NotebookNode) -> None:
        """Hand in a notebook, with the outputs that running it gave."""
        path = self.folder / "submitted" / student / self.name / f"{self.name}.ipynb"
        copies.write(path, nbformat.writes(notebook))

    def grade(self) -> None:
        """Score what is handed in, and write the feedback; points that a person gave stay as they are."""
        with _nbgrader():
            from nbgrader.converters import Autograde, GenerateFeedback

            given = self._given_by_hand()
            self._convert(Autograde, "")
            self._keep(given)
            self._convert(GenerateFeedback, "")

    def grades(self, student: str) -> list[Grade]:
        """What the gradebook says of a student; nothing if nbgrader could not deal with the notebook."""
        if not (self.folder / "autograded" / student / self.name / f"{self.name}.ipynb").exists():
            return []  # what the gradebook has is from an earlier run
        with _nbgrader(), self._gradebook() as book:
            from nbgrader.api import MissingEntry

            try:
                return [Grade(grade) for grade in book.find_submission_notebook(self.name, self.name, student).grades]
            except MissingEntry:
                return []

    def feedback(self, student: str) -> Path:
        """Where a student's feedback is, if there is any."""
        return self.folder / "feedback" / student / self.name / f"{self.name}.html"

    def _convert(self, converter: type, refusal: str) -> None:
        from nbgrader.converters.base import NbGraderException
        from nbgrader.coursedir import CourseDirectory
        from traitlets.config import Config, PyFileConfigLoader

        config = Config(PyFileConfigLoader("nbgrader_config.py", path=str(self.folder)).load_config())
        config.CourseDirectory.root = str(self.folder)
        config.CourseDirectory.assignment_id = self.name
        course = CourseDirectory(config=config, log=self.log)
        try:
            converter(coursedir=course, config=config, log=self.log, force=True).start()
        except NbGraderException:
            if refusal:  # else it says that some could not be converted; their grades are missing
                raise ValueError(f"{self.name}: {refusal}: {self.log.reason()}") from None

    def _gradebook(self) -> Any:
        from nbgrader.api import Gradebook

        return Gradebook(f"sqlite:///{self.folder / 'gradebook.db'}")

    def _given_by_hand(self) -> dict[tuple[str, str], tuple[float | None, str]]:
        """For each grade that a person has settled: the automatic score, and the text that it was given for."""
        given = {}
        with self._gradebook() as book:
            for submission in book.notebook_submissions(self.name, self.name):
                texts = self._texts(submission.student.id)
                for grade in submission.grades:
                    if grade.manual_score is not None and not grade.needs_manual_grade:
                        given[submission.student.id, grade.name] = grade.auto_score, texts.get(grade.name, "")
        return given

    def _keep(self, given: dict[tuple[str, str], tuple[float | None, str]]) -> None:
        """Settle again what is as it was when a person gave the points; nbgrader would have it all looked at anew."""
        with self._gradebook() as book:
            for (student, name), before in given.items():
                grade = book.find_grade(name, self.name, self.name, student)
                if (grade.auto_score, self._texts(student).get(name, "")) == before:
                    grade.needs_manual_grade = False
            book.db.commit()

    def _texts(self, student: str) -> dict[str, str]:
        path = self.folder / "autograded" / student / self.name / f"{self.name}.ipynb"
        if not path.exists():
            return {}
        cells = nbformat.read(path, as_version=4).cells
        return {cell.metadata.nbgrader.grade_id: cell.source for cell in cells if "nbgrader" in cell.metadata}


@contextlib.contextmanager
def _nbgrader() -> Iterator[None]:
    """What nbgrader needs around it: it calls ``alembic`` by name, changes folders, and warns of its own libraries."""
    here, path = os.getcwd(), os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), path])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            os.environ["PATH"] = path
            os.chdir(here)
