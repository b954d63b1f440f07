"""A learner's own copies of the chapters and exercises, laid out once and never overwritten where edited."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classroom.authoring.cells import write_file

# Fingerprints of what was laid out: a copy with another one was edited. Without the record, all that differs was.
RECORD = ".laid_out.json"
# Without a file here, JupyterLab would pair these notebooks with texts if a folder above, or the user, asks for it.
UNPAIRED = ".jupytext.toml"


@dataclass(frozen=True)
class LaidOut:
    """One notebook of a workbook, and its status after laying out."""

    path: Path
    status: str


def lay_out(notebooks: Path, workbook: Path) -> list[LaidOut]:
    """Copy the chapters and exercises in ``notebooks`` to ``workbook``, and leave there what was edited.

    Args:
        notebooks: A folder with ``NN_chapter.ipynb`` and ``exercises/NN_chapter.ipynb``.
        workbook: The learner's folder; it is made if it is not there.

    Returns:
        The status of each notebook: ``"added"``; ``"renewed"``, where the book has a new version and the copy
        was not edited; ``"kept"``, where it was edited, or may have been; or ``"up to date"``, edited or not.

    Raises:
        FileNotFoundError: If there are no chapters in ``notebooks``.
    """
    chapters = sorted(notebooks.glob("[0-9]*.ipynb"))
    if not chapters:
        raise FileNotFoundError(f"{notebooks} must hold the chapters, but there is no NN_name.ipynb in it")
    record = _read_record(workbook / RECORD)
    report = []
    for source in [*chapters, *sorted(notebooks.glob("exercises/[0-9]*.ipynb"))]:
        name = source.relative_to(notebooks).as_posix()
        text = source.read_text(encoding="utf-8")
        new = fingerprint(json.loads(text))
        status = _status(workbook / name, new, record.get(name))
        if status in ("added", "renewed"):
            write_file(workbook / name, text)
        if status != "kept":
            record[name] = new
        report.append(LaidOut(workbook / name, status))
    write_file(workbook / RECORD, json.dumps(record, indent=1, sort_keys=True) + "\n")
    if not (workbook / UNPAIRED).exists():
        write_file(workbook / UNPAIRED, "# Notebooks here are not paired with texts.\n")
    return report


def fingerprint(notebook: dict[str, Any]) -> str:
    """Return a number that changes when somebody edits a cell, and not when a notebook is run or saved.

    Saving changes metadata and the order of keys, running changes outputs, and the last run adds an empty cell.

    Example:
        >>> cell = {"cell_type": "code", "source": "1 + 1"}
        >>> fingerprint({"cells": [cell]}) == fingerprint({"cells": [{**cell, "outputs": ["2"]}]})
        True
        >>> fingerprint({"cells": [cell]}) == fingerprint({"cells": [{**cell, "source": "1 + 2"}]})
        False
    """
    sources = [(cell["cell_type"], "".join(cell["source"]).strip()) for cell in notebook["cells"]]
    kept = [[kind, source] for kind, source in sources if source]
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()


def read_notebook(path: Path) -> tuple[dict[str, Any], str]:
    """Read a notebook as plain data, and its fingerprint; both are empty if the file does not hold one."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        return notebook, fingerprint(notebook)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}, ""


def _status(path: Path, new: str, recorded: str | None) -> str:
    if not path.exists() and not path.is_symlink():
        return "added"
    _, found = read_notebook(path)
    if new in (found, recorded):
        return "up to date"
    return "renewed" if found and found == recorded else "kept"


def _read_record(path: Path) -> dict[str, str]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
