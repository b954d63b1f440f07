"""Cells and files of notebooks: name, compare and copy a cell; write a file as a whole or not at all."""

import os
from pathlib import Path

from nbformat import NotebookNode, v4


def name_of(cell: NotebookNode) -> str:
    """Return the name that nbgrader knows a cell by, or nothing."""
    name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
    return name if isinstance(name, str) else ""


def text_of(cell: NotebookNode) -> str:
    """Return a cell's text without the spaces that editors add or take away."""
    return "\n".join(line.rstrip() for line in cell.source.strip().splitlines())


def copy_cell(cell: NotebookNode, kind: str = "") -> NotebookNode:
    """Copy a cell's id and source, without outputs and metadata.

    Args:
        cell: The cell.
        kind: ``"code"``, ``"markdown"`` or ``"raw"``; by default the cell's own.
    """
    make = {"code": v4.new_code_cell, "markdown": v4.new_markdown_cell, "raw": v4.new_raw_cell}
    return make[kind or cell.cell_type](cell.source, id=cell.id)


def write_file(path: Path, text: str) -> None:
    """Write a file as a whole or not at all, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8", newline="\n")
    os.replace(unfinished, path)
