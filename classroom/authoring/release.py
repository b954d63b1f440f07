"""Student versions of exercise sets: made by nbgrader, then searched for what a student must not get."""

import itertools
import re
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from classroom.authoring.cells import write_file
from classroom.authoring.sets import ExerciseSet
from classroom.authoring.workbook import fingerprint, read_notebook
from classroom.nbgrader import generate_student_version

SECRET = re.compile(r"^.*BEGIN (SOLUTION|HIDDEN TESTS|MARK SCHEME).*\n(?:.*\n)*?.*END \1.*$", re.M)
MARKER = re.compile(r"#+ *(?:BEGIN|END) [A-Z]|\b(?:BEGIN|END) (?:SOLUTION|HIDDEN|MARK)")  # misspelt ones too
SHORTEST = 6  # characters: a shorter line than `y = x*x`, such as `else:`, says nothing
OURS = "companion"  # the name of our part of a student version's metadata


def student_version(exercises: ExerciseSet) -> NotebookNode:
    """Return the notebook that a student gets: stubs in place of solutions, no hidden test, no output.

    Cells keep their ids, and the same source always gives the same bytes.

    Raises:
        ValueError: If nbgrader refuses the source, or if a solution, a hidden test or a marker would be handed
            out; the message says which.
    """
    notebook = generate_student_version(exercises.name, exercises.notebook)
    notebook.metadata.pop("jupytext", None)  # a student version has no text twin
    notebook.metadata[OURS] = {"set": exercises.name, "released": fingerprint(notebook)}
    if found := leaks(notebook, exercises.notebook):
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
    text = nbformat.writes(student_version(exercises)) + "\n"
    is_new = not path.exists()
    if not is_new and path.read_text(encoding="utf-8", errors="replace") == text:
        return "up to date"
    if not (is_new or force or _is_as_released(path)):
        raise FileExistsError(f"{path} was edited since it was made (--force replaces it)")
    write_file(path, text)
    return "written" if is_new else "renewed"


def leaks(notebook: NotebookNode, source: NotebookNode) -> list[str]:
    """Find what a notebook shows of the solutions and hidden tests in its source, and markers that are left.

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
    texts = _texts(notebook)
    found = [line for line in dict.fromkeys(secret) if line in wanted and any(line in text for text in texts)]
    return found + [line for text in texts for line in text.splitlines() if MARKER.search(line)]


def _texts(value: Any) -> list[str]:
    """Return every text in plain data, keys included."""
    if isinstance(value, str):
        return [value]
    parts = itertools.chain(*value.items()) if isinstance(value, dict) else value
    return [text for part in parts for text in _texts(part)] if isinstance(value, dict | list) else []


def _is_as_released(path: Path) -> bool:
    notebook, found = read_notebook(path)
    return notebook.get("metadata", {}).get(OURS, {}).get("released") == found
