"""Notebooks that are laid out for somebody, and how to tell whether that somebody has edited one since."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any


def fingerprint(notebook: dict[str, Any]) -> str:
    """A number that changes when somebody edits a cell, and not when a notebook is run or saved.

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


def read(path: Path) -> dict[str, Any] | None:
    """The notebook in a file as plain data, or None where there is a file that does not hold one."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        fingerprint(notebook)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return notebook


def write(path: Path, text: str) -> None:
    """Write a file as a whole or not at all, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8", newline="\n")
    os.replace(unfinished, path)
