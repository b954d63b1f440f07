"""The cells of a submitted notebook, on their way into one that can be graded."""

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass

from nbformat import NotebookNode, v4

MAGIC = re.compile(r"^[%!].*$", re.M)


@dataclass
class Piece:
    """A submitted cell on its way, and where it goes."""

    cell: NotebookNode
    place: tuple[float, int, int]  # the cell's number; then what was put back behind it, in the source's order
    name: str = ""  # of the graded cell that it is
    twin: int = -1  # the number of the released cell that it is
    dropped: bool = False

    @property
    def text(self) -> str:
        """The cell's text, without what editors add or take away."""
        return text_of(self.cell)


def copy_cell(cell: NotebookNode) -> NotebookNode:
    """A cell's kind and source, without outputs and metadata."""
    make = {"code": v4.new_code_cell, "markdown": v4.new_markdown_cell, "raw": v4.new_raw_cell}[cell.cell_type]
    return make(cell.source, id=cell.id)


def name_of(cell: NotebookNode) -> str:
    """The name that nbgrader knows a cell by, or nothing."""
    name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
    return name if isinstance(name, str) else ""


def text_of(cell: NotebookNode) -> str:
    """A cell's text, without the spaces that editors add or take away."""
    return "\n".join(line.rstrip() for line in cell.source.strip().splitlines())


def defined(piece: Piece) -> set[str]:
    """The names that a code cell defines at its top level."""
    if piece.cell.cell_type != "code":
        return set()
    try:
        return set(_names(ast.parse(MAGIC.sub("", piece.cell.source)).body))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()


def _names(statements: Iterable[ast.stmt]) -> Iterable[str]:
    for statement in statements:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            yield statement.name
        elif isinstance(statement, ast.Assign):
            yield from (target.id for target in statement.targets if isinstance(target, ast.Name))
