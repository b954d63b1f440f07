"""Exercise sets: find them, and read which tasks they hold."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from classroom.authoring.cells import name_of


class SetError(ValueError):
    """Error about a set that is not there, or that is no set; its message is one for the command line."""


@dataclass(frozen=True)
class Task:
    """A cell that earns points: its answer's name, its points, and whether a person gives them."""

    name: str
    points: float
    manual: bool
    grade_id: str


@dataclass(frozen=True)
class ExerciseSet:
    """A set's source: the notebook with solutions and hidden tests."""

    name: str
    path: Path
    notebook: NotebookNode
    tasks: tuple[Task, ...]

    @property
    def points(self) -> float:
        """Return the most points that one can score."""
        return sum(task.points for task in self.tasks)


def solutions_folder(folder: str | Path | None = None) -> Path:
    """Return the folder that holds a folder for each set: the one given, or this checkout's, below ``notebooks``.

    Raises:
        SetError: If there is no such folder.
    """
    found = Path(folder) if folder else Path(__file__).parents[2] / "notebooks" / "solutions"
    if not found.is_dir():
        hint = "" if folder else " Install companion from a checkout (pip install -e .), or name the sets' folder."
        raise SetError(f"there is no folder {found} of exercise sets.{hint}")
    return found


def set_names(folder: str | Path | None = None) -> list[str]:
    """Return the names of all sets in a folder (see :func:`solutions_folder`), in order."""
    paths = solutions_folder(folder).glob("[!.]*/*.ipynb")
    return sorted(path.stem for path in paths if path.stem == path.parent.name)


def find_set(name: str | Path, folder: str | Path | None = None) -> Path:
    """Return the path of a set's source, given its name, the start of it (``01``), its folder or that path itself."""
    for path in (Path(name), Path(name, f"{Path(name).name}.ipynb")):
        if path.suffix == ".ipynb" and path.is_file():
            return path
    names = set_names(folder)
    matching = [each for each in names if each == str(name)] or [each for each in names if each.startswith(str(name))]
    if len(matching) != 1:
        what = "no exercise set" if not matching else "more than one exercise set"
        raise SetError(f"{what} is called {str(name)!r}. There are: {', '.join(names) or 'none'}.")
    return solutions_folder(folder) / matching[0] / f"{matching[0]}.ipynb"


def read_set(name: str | Path, folder: str | Path | None = None) -> ExerciseSet:
    """Read a set, given its name or its path (see :func:`find_set`).

    Raises:
        SetError: If it is not found, or is not a notebook with graded cells.

    Example:
        >>> from classroom.authoring.sets import read_set
        >>> [task.name for task in read_set("01_batch_norm").tasks]
        ['standardize_batch', 'batches_until', 'backward', 'Repaired', 'explain']
    """
    path = find_set(name, folder)
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:
        raise SetError(f"{path} cannot be read as a notebook: {type(error).__name__}") from error
    tasks = []
    for cell in notebook.cells:
        about = cell.metadata.get("nbgrader", {})
        if about.get("grade"):
            name = about["grade_id"].removesuffix("-test")
            tasks.append(Task(name, float(about["points"]), bool(about["solution"]), about["grade_id"]))
    if not tasks:
        raise SetError(f"{path} has no graded cell, so it is no exercise set.")
    return ExerciseSet(path.stem, path, notebook, tuple(tasks))


def set_of(notebook: NotebookNode, folder: str | Path | None = None) -> str | None:
    """Return the set that shares most names of graded cells with a submission, or None if none shares any."""
    names = {name_of(cell) for cell in notebook.cells} - {""}
    sources = ((name, read_set(name, folder).notebook) for name in set_names(folder))
    shared = Counter(name for name, source in sources for cell in source.cells if name_of(cell) in names)
    return max(shared, key=shared.get, default=None)
