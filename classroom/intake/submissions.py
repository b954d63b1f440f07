"""Submissions in a folder: find each student's file, and read as much of it as can be read."""

import hashlib
import json
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode, v4

LARGEST = 100 * 2**20  # bytes of a notebook
PLAIN = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@ ")


class Unreadable(Exception):
    """Error about a file that is no notebook; the message completes "it is not graded: "."""


@dataclass
class Submission:
    """One student's work on one set."""

    student: str
    path: Path  # the file that is graded
    others: list[Path]  # kept, but not graded


def collect(folder: Path, exercises: str) -> list[Submission]:
    """Find the submissions in a folder, a student's newest first where there are several.

    A file in the folder itself is named after its student, as a learning platform hands files over; a folder in it is
    a student's, and may hold one for each set, as nbgrader's ``submitted`` does.

    Args:
        folder: The class's folder.
        exercises: The name of the set.
    """
    students: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        name, files = path.name, []
        if path.is_file() and path.suffix.lower() == ".ipynb":
            name, files = path.name[: -len(path.suffix)], [path]
        elif path.is_dir():
            inner = path / exercises if (path / exercises).is_dir() else path
            files = [file for file in inner.rglob("*.ipynb") if file.is_file() and not _is_hidden(file, inner)]
            # The name that it was handed out under, the newest, the last name.
            files.sort(key=lambda file: (file.stem == exercises, file.stat().st_mtime_ns, str(file)), reverse=True)
        if files:  # a file and a folder of the same name are the same student's
            earlier = students.get(student_id(name), [])
            first, *second = sorted(earlier[:1] + files[:1], key=lambda file: file.stat().st_mtime_ns, reverse=True)
            students[student_id(name)] = [first, *earlier[1:], *second, *files[1:]]
    return [Submission(student, files[0], files[1:]) for student, files in students.items()]


def student_id(name: str) -> str:
    """Return a name that nbgrader, every file system and every terminal take, and different for different names.

    Letters and digits of any script stay as they are; all else is written as in a web address.

    Example:
        >>> student_id("Zoë Müller"), student_id("a/b*"), student_id("100%")
        ('Zoë Müller', 'a%2Fb%2A', '100%25')
    """
    composed = unicodedata.is_normalized("NFC", name)
    kept = []
    for index, letter in enumerate(name):
        fine = letter in PLAIN or (composed and letter.isprintable() and unicodedata.category(letter)[0] in "LMN")
        fine = fine and not (letter in ". " and index in (0, len(name) - 1)) and not (letter == "-" and index == 0)
        kept.append(letter if fine else "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogateescape")))
    whole = "".join(kept)
    if len(whole.encode()) <= 150:
        return whole
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"{whole.encode()[:100].decode(errors='ignore')}%{digest}"  # no two digits and a letter: no clash


def read_submission(path: Path) -> NotebookNode:
    """Read a notebook as a student's tool wrote it, with whatever can be made of a damaged one.

    Raises:
        Unreadable: If it is no notebook.
    """
    if path.is_symlink():
        raise Unreadable("the file is a link to another one")
    try:
        if path.stat().st_size > LARGEST:
            raise Unreadable(f"the file is larger than {LARGEST >> 20} MB")
        data = path.read_bytes()
    except OSError as error:
        raise Unreadable(f"the file cannot be read ({error.strerror})") from error
    if not data.strip():
        raise Unreadable("the file is empty")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise Unreadable("the file is not a notebook (not JSON)") from None
    if isinstance(found, dict) and "worksheets" in found:
        try:
            found = nbformat.convert(nbformat.reads(data.decode(), as_version=3), 4)
        except Exception as error:
            raise Unreadable(f"the notebook's old format cannot be read ({type(error).__name__})") from error
    if not isinstance(found, dict) or not isinstance(found.get("cells"), list):
        raise Unreadable("the file is not a notebook (it has no cells)")
    return v4.new_notebook(cells=[_cell(cell) for cell in found["cells"] if isinstance(cell, dict)])


def _cell(cell: dict[str, Any]) -> NotebookNode:
    """Return a cell with what matters for grading: its kind, source, id, and what nbgrader calls it."""
    make = {"code": v4.new_code_cell, "raw": v4.new_raw_cell}.get(cell.get("cell_type"), v4.new_markdown_cell)
    source = cell.get("source", "")
    source = "".join(map(str, source)) if isinstance(source, list) else str(source)
    new = make(source.encode("utf-8", "replace").decode())
    kept = cell.get("id")
    if isinstance(kept, str) and 0 < len(kept) <= 64 and set(kept) <= PLAIN - set("@. "):
        new.id = kept
    match cell:
        case {"metadata": {"nbgrader": {"grade_id": str(name)}}}:
            new.metadata["nbgrader"] = {"grade_id": name}
    return new


def _is_hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)
