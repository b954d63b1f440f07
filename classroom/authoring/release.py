"""Student versions of exercise sets: made by nbgrader, then searched for what a student must not get."""

import logging
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from classroom.authoring import cells as copies
from classroom.authoring.sets import ExerciseSet

SECRET = re.compile(r"^.*BEGIN (SOLUTION|HIDDEN TESTS|MARK SCHEME).*\n(?:.*\n)*?.*END \1.*$", re.M)
MARKER = re.compile(r"#+ *(?:BEGIN|END) [A-Z]|\b(?:BEGIN|END) (?:SOLUTION|HIDDEN|MARK)")  # misspelt ones too
SHORTEST = 6  # characters: a shorter line than `y = x*x`, such as `else:`, says nothing
NAME = "companion"  # of our part of a student version's metadata


def student_version(exercises: ExerciseSet) -> NotebookNode:
    """What a student gets: stubs in place of solutions, no hidden test, no output.

    Cells keep their ids, and the same source always gives the same bytes.

    Raises:
        ValueError: If nbgrader refuses the source, or if a solution, a hidden test or a marker would be handed
            out; the message says which.
    """
    notebook = _generate(exercises)
    found = leaks(notebook, exercises.notebook)
    if found:
        raise ValueError(f"{exercises.name}: this would be handed out: {found[0]!r}")
    return notebook


def write_student_version(exercises: ExerciseSet, path: Path, force: bool = False) -> str:
    """Write a set's student version.

    Args:
        exercises: The set.
        path: The file to write.
        force: Whether to replace a file that somebody has edited.

    Returns:
        ``"written"``, ``"renewed"`` or ``"up to date"``.

    Raises:
        ValueError: As :func:`student_version`.
        FileExistsError: If the file was edited after it was released, or is no release of ours.
    """
    notebook = student_version(exercises)
    text = nbformat.writes(notebook) + "\n"
    if not path.exists():
        copies.write(path, text)
        return "written"
    if path.read_text(encoding="utf-8", errors="replace") == text:
        return "up to date"
    if not force and not _is_as_released(path):
        raise FileExistsError(f"{path} was edited since it was made (--force replaces it)")
    copies.write(path, text)
    return "renewed"


def leaks(notebook: NotebookNode, source: NotebookNode) -> list[str]:
    """What a notebook shows of the solutions and hidden tests in its source, and markers that are left.

    Sources of cells, metadata and outputs are searched; a line that the source also shows openly is no secret.
    """
    shown, secret = [], []
    for cell in source.cells:
        meant = cell.metadata.get("nbgrader", {})
        whole = meant.get("solution", False) and not SECRET.search(cell.source)  # as a written answer is
        hidden = [cell.source] if whole else [match[0] for match in SECRET.finditer(cell.source)]
        shown.append("" if whole else SECRET.sub("", cell.source))
        secret += [line.strip() for text in hidden for line in text.splitlines() if not MARKER.search(line)]
    openly = "\n".join(shown)
    wanted = {line for line in secret if len(line) >= SHORTEST and line not in openly}
    texts = list(_texts(notebook))
    found = [line for line in dict.fromkeys(secret) if line in wanted and any(line in text for text in texts)]
    return found + [line for text in texts for line in text.splitlines() if MARKER.search(line)]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _texts(key)
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def _generate(exercises: ExerciseSet) -> NotebookNode:
    # Imported here: it takes seconds, and JupyterLab's set-up has no nbgrader.
    from nbgrader.converters import GenerateAssignment
    from nbgrader.converters.base import NbGraderException
    from nbgrader.coursedir import CourseDirectory
    from nbgrader.preprocessors import SaveCells
    from traitlets.config import Config

    with tempfile.TemporaryDirectory() as folder:
        course, name = Path(folder), exercises.name
        (course / "source" / name).mkdir(parents=True)
        nbformat.write(exercises.notebook, course / "source" / name / f"{name}.ipynb")
        config = Config()
        config.CourseDirectory.root = folder
        config.CourseDirectory.assignment_id = name
        config.CourseDirectory.ignore = ["*.md"]  # a set's text twin, with its solutions, would be copied along
        steps = GenerateAssignment.preprocessors.default()
        config.GenerateAssignment.preprocessors = [step for step in steps if step is not SaveCells]
        config.GenerateAssignment.no_database = True
        log = Log("release")
        try:
            GenerateAssignment(coursedir=CourseDirectory(config=config, log=log), config=config, log=log).start()
        except NbGraderException:
            raise ValueError(f"{name}: nbgrader refuses the source: {log.reason()}") from None
        notebook = nbformat.read(course / "release" / name / f"{name}.ipynb", as_version=4)
    notebook.metadata.pop("jupytext", None)  # a student version has no text twin
    notebook.metadata[NAME] = {"set": exercises.name, "released": copies.fingerprint(notebook)}
    return notebook


class Log(logging.Logger):
    """A log that shows nothing and knows the last error: nbgrader's own exceptions do not say what happened."""

    def __init__(self, name: str) -> None:
        super().__init__(name, logging.ERROR)
        self.messages: list[str] = []

    def handle(self, record: logging.LogRecord) -> None:
        """Keep a message."""
        self.messages.append(record.getMessage())

    def reason(self) -> str:
        """The message of the first exception that was logged with its traceback."""
        traceback = next((text for text in self.messages if text.startswith("Traceback")), "it does not say why")
        return traceback.rstrip().splitlines()[-1]


def _is_as_released(path: Path) -> bool:
    notebook = copies.read(path)
    if notebook is None:
        return False
    mark = notebook.get("metadata", {}).get(NAME, {})
    return mark.get("released") == copies.fingerprint(notebook)
