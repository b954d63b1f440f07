"""A learner's own copies of the chapters and exercises, laid out once and never overwritten where edited."""

import json
from dataclasses import dataclass
from pathlib import Path

from classroom.authoring import cells as copies

# What was laid out, by fingerprint: a copy with another one was edited. Without the record, all that differs was.
RECORD = ".laid_out.json"
# Without a file here, JupyterLab would pair these notebooks with texts if a folder above, or the user, asks for it.
UNPAIRED = ".jupytext.toml"


@dataclass(frozen=True)
class Laid:
    """What became of one notebook."""

    path: Path
    fate: str


def lay_out(notebooks: Path, workbook: Path) -> list[Laid]:
    """Copy the chapters and exercises in ``notebooks`` to ``workbook``, where what was edited stays.

    Args:
        notebooks: A folder with ``NN_chapter.ipynb`` and ``exercises/NN_chapter.ipynb``.
        workbook: The learner's folder; it is made if it is not there.

    Returns:
        What became of each notebook: ``"added"``; ``"renewed"``, where the book has a new version and the copy
        was not edited; ``"kept"``, where it was edited, or may have been; or ``"up to date"``, edited or not.

    Raises:
        FileNotFoundError: If there are no chapters in ``notebooks``.
    """
    chapters = sorted(notebooks.glob("[0-9]*.ipynb"))
    if not chapters:
        raise FileNotFoundError(f"{notebooks} must hold the chapters, but there is no NN_name.ipynb in it")
    record = _recorded(workbook / RECORD)
    report = []
    for source in [*chapters, *sorted(notebooks.glob("exercises/[0-9]*.ipynb"))]:
        name = source.relative_to(notebooks).as_posix()
        text = source.read_text(encoding="utf-8")
        laid = copies.fingerprint(json.loads(text))
        fate = _fate(workbook / name, laid, record.get(name))
        if fate in ("added", "renewed"):
            copies.write(workbook / name, text)
        if fate != "kept":
            record[name] = laid
        report.append(Laid(workbook / name, fate))
    copies.write(workbook / RECORD, json.dumps(record, indent=1, sort_keys=True) + "\n")
    if not (workbook / UNPAIRED).exists():
        copies.write(workbook / UNPAIRED, "# Notebooks here are not paired with texts.\n")
    return report


def _fate(path: Path, new: str, recorded: str | None) -> str:
    if not path.exists() and not path.is_symlink():
        return "added"
    notebook = copies.read(path)
    found = None if notebook is None else copies.fingerprint(notebook)
    if new in (found, recorded):
        return "up to date"
    return "renewed" if found is not None and found == recorded else "kept"


def _recorded(path: Path) -> dict[str, str]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
