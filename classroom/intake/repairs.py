"""Bring a submitted notebook back into a shape that can be graded, without losing a word of it."""

from collections.abc import Sequence

from nbformat import NotebookNode, v4

from classroom.intake.pieces import Piece, copy_cell, defined, name_of, text_of


def repair(submission: NotebookNode, released: NotebookNode) -> tuple[NotebookNode, list[str]]:
    """A submission with every graded cell of the version that was handed out, once, and each test behind its answer.

    Args:
        submission: Any notebook.
        released: The student version of its set.

    Returns:
        The notebook, without outputs, and remarks for student and instructor on what had to be done.
    """
    return Repair(submission, released).notebook()


class Repair:
    """One repair: each step marks pieces, and the last one puts them in order."""

    def __init__(self, submission: NotebookNode, released: NotebookNode) -> None:
        self.released, self.remarks = released, []
        self.names = {name_of(cell): number for number, cell in enumerate(released.cells) if name_of(cell)}
        self.pieces = [Piece(copy_cell(cell), (number, 0, 0)) for number, cell in enumerate(submission.cells)]
        for piece, cell in zip(self.pieces, submission.cells, strict=True):
            piece.name = name_of(cell) if name_of(cell) in self.names else ""
        self._recognize()
        self.tests = {name: self._take_tests(name) for name in self.names if self._is_test(name)}
        for name in self.names:
            if self._about(name)["solution"]:
                (self._keep_written if self._about(name)["grade"] else self._keep_code)(name)
            elif not self._is_test(name):
                self._keep_locked(name)
        self._keep_given()
        for name, places in self.tests.items():
            self._put_test(name, places)

    def notebook(self) -> tuple[NotebookNode, list[str]]:
        """The repaired notebook and the remarks."""
        cells, ids = [], set()
        for piece in sorted((piece for piece in self.pieces if not piece.dropped), key=lambda piece: piece.place):
            if piece.name:
                piece.cell.metadata["nbgrader"] = self.released.cells[self.names[piece.name]].metadata["nbgrader"]
            while piece.cell.id in ids:
                piece.cell.id = f"again-{len(ids)}"
            ids.add(piece.cell.id)
            cells.append(piece.cell)
        return v4.new_notebook(cells=cells, metadata=self.released.metadata), self.remarks

    def _recognize(self) -> None:
        """Find cells whose nbgrader metadata are gone: by their id, by what they define, or by their text."""
        missing = [name for name in self.names if not any(piece.name == name for piece in self.pieces)]
        for number, cell in enumerate(self.released.cells):
            same = [piece for piece in self.pieces if name_of(cell) and piece.name == name_of(cell)]
            free = [piece for piece in self.pieces if not piece.name and piece.twin < 0]
            same = same or [
                piece for piece in free if piece.cell.id == cell.id and piece.cell.cell_type == cell.cell_type
            ]
            if not name_of(cell) or self._is_test(name_of(cell)):
                same = same or [piece for piece in free if piece.text == text_of(cell)]
            for piece in same[: None if name_of(cell) else 1]:
                piece.twin, piece.name = number, name_of(cell)
        for name in missing:
            free = [piece for piece in self.pieces if not piece.name and piece.twin < 0]
            if not any(piece.name == name for piece in self.pieces) and self._is_code(name):
                for piece in [piece for piece in free if name in defined(piece)][-1:]:
                    piece.twin, piece.name = self.names[name], name
        found = [name for name in missing if any(piece.name == name for piece in self.pieces)]
        if found:
            self.remarks.append(
                f"The marks of the graded cells were gone; recognised by their text: {', '.join(found)}."
            )

    def _take_tests(self, name: str) -> list[float]:
        """Take out the submitted copies of a test cell, and say where they stood."""
        copies = [piece for piece in self.pieces if piece.name == name]
        if len(copies) > 1:
            self.remarks.append(f"The test cell {name} was there {len(copies)} times; it is run once.")
        edited = [piece for piece in copies if piece.text != self._text(name)]
        for piece in copies:
            piece.dropped, piece.name = True, ""
        for piece in edited:
            # An answer that was written into the test's cell is still an answer.
            piece.dropped, piece.twin = not defined(piece) & set(self.names), -1
        if edited:
            self.remarks.append(f"The test cell {name} was edited; it is run as it was handed out.")
        return [piece.place[0] for piece in copies]

    def _keep_code(self, name: str) -> None:
        copies = [piece for piece in self.pieces if piece.name == name]
        if any(piece.cell.cell_type != "code" for piece in copies):
            self.remarks.append(f"The cell {name} was not a code cell any more; it is run as one.")
        edited = [piece for piece in copies if piece.text != self._text(name)]
        elsewhere = [piece for piece in self.pieces if not piece.name and not piece.dropped and name in defined(piece)]
        elsewhere = [piece for piece in elsewhere if piece.text != self._text(name)]
        if not edited and elsewhere:
            edited = elsewhere
            self.remarks.append(f"The answer {name} stands in another cell than its own, and is taken from there.")
        if len(copies) > 1:
            self.remarks.append(
                f"The cell {name} was there {len(copies)} times; the last answer before its test counts."
            )
        first_test = min(self.tests.get(f"{name}-test", []), default=float("inf"))
        keeper = ([piece for piece in edited if piece.place[0] < first_test] or edited or copies)[-1:]
        for piece in copies:
            piece.name, piece.twin = "", -1
            piece.dropped = piece.text == self._text(name)  # a copy without an answer
        if not keeper:
            self.remarks.append(f"The cell {name} was missing; it is put back, without an answer.")
            return self._put_back(name)
        self._be(keeper[0], name)

    def _keep_written(self, name: str) -> None:
        """Keep a written answer, wherever near its cell it stands."""
        copies = [piece for piece in self.pieces if piece.name == name]
        written = [piece for piece in copies if piece.text and piece.text != self._text(name)]
        beside = [] if written else self._beside(name, copies)
        texts = list(dict.fromkeys(piece.cell.source for piece in written + beside))
        texts += [] if texts else self._added_to_statement(name)
        if beside or (texts and not written):
            self.remarks.append(f"The answer {name} stood beside its cell, and was moved into it.")
        if len(written) > 1:
            self.remarks.append(f"The answer {name} was there {len(written)} times; the texts now stand in one cell.")
        for piece in copies + beside:
            piece.dropped, piece.name = True, ""
        if copies or beside:
            keeper = (written + beside + copies)[0]
            keeper.cell.source = "\n\n".join(texts) or self.released.cells[self.names[name]].source
            self._be(keeper, name)
        else:
            self._put_back(name, "\n\n".join(texts))
            if not texts:
                self.remarks.append(f"The cell {name} was missing; it is put back, without an answer.")

    def _beside(self, name: str, copies: Sequence[Piece]) -> list[Piece]:
        """The student's own text cells next to a written answer's cell, or to the task's text where that is gone."""
        starts = copies or [piece for piece in self.pieces if piece.twin == self.names[name] - 1]
        found = []
        for start in starts[:1]:
            at = self.pieces.index(start)
            for side in (reversed(self.pieces[:at]) if copies else [], self.pieces[at + 1 :]):
                for piece in side:
                    if piece.twin >= 0 or piece.name or piece.dropped or piece.cell.cell_type == "code":
                        break
                    found.append(piece)
        return sorted((piece for piece in found if piece.text), key=lambda piece: piece.place)

    def _added_to_statement(self, name: str) -> list[str]:
        """What was typed into the text of the task."""
        number = self.names[name] - 1
        lines = self.released.cells[number].source.splitlines() if number >= 0 else []
        for piece in self.pieces:
            if piece.twin == number >= 0 and piece.cell.cell_type == "markdown":
                added = [line for line in piece.cell.source.splitlines() if line.strip() and line not in lines]
                return ["\n".join(added)] if added else []
        return []

    def _keep_locked(self, name: str) -> None:
        copies = [piece for piece in self.pieces if piece.name == name]
        for piece in copies[1:]:
            piece.dropped = True
        if not copies:
            self._put_back(name)
            self.remarks.append(f"The cell {name} was missing; it is put back.")
        elif copies[0].text != self._text(name):
            copies[0].cell.source = self.released.cells[self.names[name]].source
            self.remarks.append(f"The cell {name} was edited; it is run as it was handed out.")

    def _keep_given(self) -> None:
        """Put back code that was handed out and is gone, such as imports; where it was edited, it stays so."""
        for number, cell in enumerate(self.released.cells):
            names = defined(Piece(copy_cell(cell), (number, 0, 0)))
            there = any(piece.twin == number or (names and names <= defined(piece)) for piece in self.pieces)
            if cell.cell_type == "code" and not name_of(cell) and not there:
                self._put_back_cell(number)
                self.remarks.append("A code cell that was given was missing; it is put back.")

    def _put_test(self, name: str, places: Sequence[float]) -> None:
        """Put a test in where the student had it, or behind the last of the cells that come before it."""
        number = self.names[name]
        before = [
            piece.place[0]
            for piece in self.pieces
            if 0 <= piece.twin < number and not piece.dropped and piece.cell.cell_type == "code"
        ]
        if not places:  # then no later definition is cut off
            answer = name.removesuffix("-test")
            before += [piece.place[0] for piece in self.pieces if not piece.dropped and answer in defined(piece)]
            self.remarks.append(f"The test cell {name} was missing; it is put back.")
        last = max(before, default=-1.0)
        place = (max(min(places, default=-1.0), last), 1, number)
        if places and min(places) < last:
            self.remarks.append(f"The test cell {name} stood before cells that it needs; it is run behind them.")
        self.pieces.append(Piece(copy_cell(self.released.cells[number]), place, name, number))

    def _put_back(self, name: str, source: str = "") -> None:
        self._put_back_cell(self.names[name], name, source)

    def _put_back_cell(self, number: int, name: str = "", source: str = "") -> None:
        earlier = [piece for piece in self.pieces if 0 <= piece.twin < number and not piece.dropped]
        behind = max(earlier, key=lambda piece: piece.twin).place[0] if earlier else -1.0
        cell = copy_cell(self.released.cells[number])
        cell.source = source or cell.source
        self.pieces.append(Piece(cell, (behind, 1, number), name, number))

    def _be(self, piece: Piece, name: str) -> None:
        """Make a piece the cell of that name, whatever kind of cell it has become."""
        kind = self.released.cells[self.names[name]].cell_type
        if piece.cell.cell_type != kind:
            make = {"code": v4.new_code_cell, "markdown": v4.new_markdown_cell}[kind]
            piece.cell = make(piece.cell.source, id=piece.cell.id)
        piece.name, piece.twin, piece.dropped = name, self.names[name], False

    def _about(self, name: str) -> NotebookNode:
        return self.released.cells[self.names[name]].metadata["nbgrader"]

    def _is_test(self, name: str) -> bool:
        return self._about(name)["grade"] and not self._about(name)["solution"]

    def _is_code(self, name: str) -> bool:
        return self._about(name)["solution"] and not self._about(name)["grade"]

    def _text(self, name: str) -> str:
        return text_of(self.released.cells[self.names[name]])
