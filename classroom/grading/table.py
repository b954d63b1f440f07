"""The table of a graded class: a row for each student, for the terminal and as a CSV."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from classroom.authoring.sets import ExerciseSet

COLUMNS = ("total", "max", "needs manual grading", "status", "reason", "remarks", "isolated")


@dataclass
class Row:
    """A student's line in the table."""

    student: str
    file: str
    points: dict[str, float]  # of each task
    highest: float
    by_hand: list[str]  # tasks that need a person
    status: str  # "graded", "graded with trouble" or "not graded"
    status_reason: str
    remarks: list[str]
    isolated: bool

    @property
    def total(self) -> float:
        """Return the sum of the points."""
        return sum(self.points.values())

    def line(self, width: int) -> str:
        """Return the row for the terminal."""
        by_hand = f", {', '.join(self.by_hand)} to be graded by hand" if self.by_hand else ""
        notes = "; ".join(filter(None, [self.status_reason, *self.remarks]))
        notes = f"  [{self.status}] {notes}" if notes else ""
        return f"{self.student:{width}}  {self.total:g} of {self.highest:g}{by_hand}{notes}"


def write_table(path: Path, exercises: ExerciseSet, rows: list[Row]) -> None:
    """Write the rows as a CSV that spreadsheets open."""
    tasks = [task.name for task in exercises.tasks]
    with path.open("w", encoding="utf-8-sig", newline="") as file:  # the mark tells spreadsheets that it is UTF-8
        table = csv.writer(file)
        table.writerow(["student", "file", "set", *tasks, *COLUMNS])
        for row in rows:
            texts = row.status, row.status_reason, " ".join(row.remarks), "yes" if row.isolated else "no"
            points = [f"{row.points[task]:g}" for task in tasks]
            numbers = [*points, f"{row.total:g}", f"{row.highest:g}", " ".join(row.by_hand)]
            table.writerow([*_harmless(row.student, row.file, exercises.name), *numbers, *_harmless(*texts)])


def _harmless(*texts: str) -> Iterator[str]:
    """Return texts that no spreadsheet takes for a formula."""
    return (f"'{text}" if text[:1] in "=+-@\t\r" and text else text for text in texts)
