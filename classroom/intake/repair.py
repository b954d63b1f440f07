"""Bring a submitted notebook back into a shape that can be graded, without losing a word of it."""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

from nbformat import NotebookNode, v4

from classroom.authoring.cells import copy_cell, name_of, text_of

MAGIC = re.compile(r"^[%!].*$", re.M)


def repair_notebook(submission: NotebookNode, released: NotebookNode) -> tuple[NotebookNode, list[str]]:
    """Give a submission every graded cell of the version that was handed out, once, and each test behind its answer.

    Args:
        submission: Any notebook.
        released: The student version of its set.

    Returns:
        The notebook, without outputs, and remarks for student and instructor on what had to be done.
    """
    return Repair(submission, released).notebook()


def defined_names(cell: NotebookNode) -> set[str]:
    """Return the names that a code cell defines at its top level."""
    if cell.cell_type != "code":
        return set()
    try:
        statements = ast.parse(MAGIC.sub("", cell.source)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    names = {statement.name for statement in statements if isinstance(statement, ast.FunctionDef | ast.ClassDef)}
    targets = [target for statement in statements if isinstance(statement, ast.Assign) for target in statement.targets]
    return names | {target.id for target in targets if isinstance(target, ast.Name)}


@dataclass
class SubmittedCell:
    """A cell of a submission, and its place in the repaired notebook."""

    node: NotebookNode
    position: tuple[float, int, int]  # its index; then, of what was put back behind that cell, the released index
    name: str = ""  # of the graded cell that it is
    released_index: int = -1  # of the released cell that it is
    removed: bool = False

    @property
    def text(self) -> str:
        """Return the cell's text without the spaces that editors add or take away."""
        return text_of(self.node)

    @property
    def is_own(self) -> bool:
        """Return whether the student added it: it is no cell that was handed out."""
        return not self.name and self.released_index < 0


class Repair:
    """One repair: each step marks cells, and the last one puts them in order."""

    def __init__(self, submission: NotebookNode, released: NotebookNode) -> None:
        self.released, self.remarks = released, []
        self._remark = self.remarks.append
        self.names = {name_of(node): index for index, node in enumerate(released.cells) if name_of(node)}
        known = [name if name in self.names else "" for name in map(name_of, submission.cells)]
        nodes = map(copy_cell, submission.cells)
        self.cells = [SubmittedCell(node, (index, 0, 0), known[index]) for index, node in enumerate(nodes)]
        self._recognize()
        self.tests = {name: self._take_tests(name) for name in self.names if self._is_test(name)}
        for name in self.names:
            if self._marks(name)["solution"]:
                (self._keep_written if self._marks(name)["grade"] else self._keep_code)(name)
            elif not self._is_test(name):
                self._keep_locked(name)
        self._keep_given()
        for name, indices in self.tests.items():
            self._put_test(name, indices)

    def notebook(self) -> tuple[NotebookNode, list[str]]:
        """Return the repaired notebook and the remarks."""
        nodes, ids = [], set()
        for cell in sorted((cell for cell in self.cells if not cell.removed), key=lambda cell: cell.position):
            if cell.name:
                cell.node.metadata["nbgrader"] = self._marks(cell.name)
            while cell.node.id in ids:
                cell.node.id = f"again-{len(ids)}"
            ids.add(cell.node.id)
            nodes.append(cell.node)
        return v4.new_notebook(cells=nodes, metadata=self.released.metadata), self.remarks

    def _recognize(self) -> None:
        """Find cells whose nbgrader metadata are gone: by their id, by what they define, or by their text."""
        missing = [name for name in self.names if not self._named(name)]
        for index, node in enumerate(self.released.cells):
            name, own = name_of(node), [cell for cell in self.cells if cell.is_own]
            same = self._named(name) if name else []
            same = same or [cell for cell in own if cell.node.id == node.id and cell.node.cell_type == node.cell_type]
            if not name or self._is_test(name):
                same = same or [cell for cell in own if cell.text == text_of(node)]
            for cell in same[: None if name else 1]:
                cell.released_index, cell.name = index, name
        for name in missing:
            own = [cell for cell in self.cells if cell.is_own and name in defined_names(cell.node)]
            if own and not self._named(name) and self._marks(name)["solution"] and not self._marks(name)["grade"]:
                own[-1].released_index, own[-1].name = self.names[name], name
        if found := [name for name in missing if self._named(name)]:
            self._remark(f"The marks of the graded cells were gone; recognised by their text: {', '.join(found)}.")

    def _take_tests(self, name: str) -> list[float]:
        """Take out the submitted copies of a test cell, and return where they stood."""
        copies = self._named(name)
        if len(copies) > 1:
            self._remark(f"The test cell {name} was there {len(copies)} times; it is run once.")
        edited = [cell for cell in copies if cell.text != self._text(name)]
        for cell in copies:
            cell.removed, cell.name = True, ""
        for cell in edited:
            # An answer that was written into the test's cell is still an answer.
            cell.removed, cell.released_index = not defined_names(cell.node) & set(self.names), -1
        if edited:
            self._remark(f"The test cell {name} was edited; it is run as it was handed out.")
        return [cell.position[0] for cell in copies]

    def _keep_code(self, name: str) -> None:
        """Keep one answer in code: the last before its test, in its own cell or else in another."""
        copies = self._named(name)
        if any(cell.node.cell_type != "code" for cell in copies):
            self._remark(f"The cell {name} was not a code cell any more; it is run as one.")
        edited = [cell for cell in copies if cell.text != self._text(name)]
        others = [cell for cell in self.cells if not cell.name and not cell.removed and cell.text != self._text(name)]
        others = [cell for cell in others if name in defined_names(cell.node)]
        if not edited and others:
            edited = others
            self._remark(f"The answer {name} stands in another cell than its own, and is taken from there.")
        if len(copies) > 1:
            self._remark(f"The cell {name} was there {len(copies)} times; the last answer before its test counts.")
        first_test = min(self.tests.get(f"{name}-test", []), default=float("inf"))
        keeper = ([cell for cell in edited if cell.position[0] < first_test] or edited or copies)[-1:]
        for cell in copies:
            cell.name, cell.released_index = "", -1
            cell.removed = cell.text == self._text(name)  # a copy without an answer
        if keeper:
            self._become(keeper[0], name)
        else:
            self._remark(f"The cell {name} was missing; it is put back, without an answer.")
            self._put_back(self.names[name])

    def _keep_written(self, name: str) -> None:
        """Keep a written answer, wherever near its cell it stands."""
        copies = self._named(name)
        written = [cell for cell in copies if cell.text and cell.text != self._text(name)]
        beside = [] if written else self._beside(name, copies)
        texts = list(dict.fromkeys(cell.node.source for cell in written + beside))
        texts += [] if texts else self._added_to_statement(name)
        if beside or (texts and not written):
            self._remark(f"The answer {name} stood beside its cell, and was moved into it.")
        if len(written) > 1:
            self._remark(f"The answer {name} was there {len(written)} times; the texts now stand in one cell.")
        for cell in copies + beside:
            cell.removed, cell.name = True, ""
        if copies or beside:
            keeper = (written + beside + copies)[0]
            keeper.node.source = "\n\n".join(texts) or self._node(name).source
            self._become(keeper, name)
        else:
            self._put_back(self.names[name], "\n\n".join(texts))
            if not texts:
                self._remark(f"The cell {name} was missing; it is put back, without an answer.")

    def _beside(self, name: str, copies: Sequence[SubmittedCell]) -> list[SubmittedCell]:
        """Return the student's own text cells next to a written answer's cell, or to the task's if that is gone."""
        starts = copies or [cell for cell in self.cells if cell.released_index == self.names[name] - 1]
        found = []
        for start in starts[:1]:
            at = self.cells.index(start)
            for side in (reversed(self.cells[:at]) if copies else [], self.cells[at + 1 :]):
                for cell in side:
                    if not cell.is_own or cell.removed or cell.node.cell_type == "code":
                        break
                    found.append(cell)
        return sorted((cell for cell in found if cell.text), key=lambda cell: cell.position)

    def _added_to_statement(self, name: str) -> list[str]:
        """Return the lines that were typed into the text of the task, as one text, if there are any."""
        index = self.names[name] - 1
        lines = self.released.cells[index].source.splitlines() if index >= 0 else []
        same = [cell.node for cell in self.cells if cell.released_index == index >= 0]
        texts = [node.source for node in same if node.cell_type == "markdown"]
        added = [line for line in "".join(texts[:1]).splitlines() if line.strip() and line not in lines]
        return ["\n".join(added)] if added else []

    def _keep_locked(self, name: str) -> None:
        """Keep one copy of a cell that is not to be edited, as it was handed out."""
        copies = self._named(name)
        for cell in copies[1:]:
            cell.removed = True
        if not copies:
            self._put_back(self.names[name])
            self._remark(f"The cell {name} was missing; it is put back.")
        elif copies[0].text != self._text(name):
            copies[0].node.source = self._node(name).source
            self._remark(f"The cell {name} was edited; it is run as it was handed out.")

    def _keep_given(self) -> None:
        """Put back code that was handed out and is gone, such as imports; where it was edited, it stays so."""
        for index, node in enumerate(self.released.cells):
            names = defined_names(node)
            there = [cell for cell in self.cells if cell.released_index == index]
            there += [cell for cell in self.cells if names and names <= defined_names(cell.node)]
            if node.cell_type == "code" and not name_of(node) and not there:
                self._put_back(index)
                self._remark("A code cell that was given was missing; it is put back.")

    def _put_test(self, name: str, indices: Sequence[float]) -> None:
        """Put a test in where the student had it, or behind the last of the cells that come before it."""
        index, kept = self.names[name], [cell for cell in self.cells if not cell.removed]
        before = [cell for cell in kept if 0 <= cell.released_index < index and cell.node.cell_type == "code"]
        if not indices:  # then no later definition is cut off
            before += [cell for cell in kept if name.removesuffix("-test") in defined_names(cell.node)]
            self._remark(f"The test cell {name} was missing; it is put back.")
        last = max((cell.position[0] for cell in before), default=-1.0)
        position = (max(min(indices, default=-1.0), last), 1, index)
        if indices and min(indices) < last:
            self._remark(f"The test cell {name} stood before cells that it needs; it is run behind them.")
        self.cells.append(SubmittedCell(copy_cell(self._node(name)), position, name, index))

    def _put_back(self, index: int, source: str = "") -> None:
        """Put a released cell back, behind the last kept one that was handed out before it."""
        earlier = [cell for cell in self.cells if 0 <= cell.released_index < index and not cell.removed]
        behind = max(earlier, key=lambda cell: cell.released_index).position[0] if earlier else -1.0
        node = copy_cell(self.released.cells[index])
        node.source = source or node.source
        self.cells.append(SubmittedCell(node, (behind, 1, index), name_of(self.released.cells[index]), index))

    def _become(self, cell: SubmittedCell, name: str) -> None:
        """Make a cell the graded one of that name, whatever kind of cell it was."""
        cell.node = copy_cell(cell.node, self._node(name).cell_type)
        cell.name, cell.released_index, cell.removed = name, self.names[name], False

    def _named(self, name: str) -> list[SubmittedCell]:
        return [cell for cell in self.cells if cell.name == name]

    def _node(self, name: str) -> NotebookNode:
        return self.released.cells[self.names[name]]

    def _marks(self, name: str) -> NotebookNode:
        return self._node(name).metadata["nbgrader"]

    def _is_test(self, name: str) -> bool:
        return self._marks(name)["grade"] and not self._marks(name)["solution"]

    def _text(self, name: str) -> str:
        return text_of(self._node(name))
