"""Time to grade a class: 10, 20 and 40 submissions of one set, two at a time."""

import shutil
import sys
import tempfile
import time
from pathlib import Path

import nbformat

from classroom.authoring.sets import read_set
from classroom.grading.whole_class import grade_class
from classroom.sandbox.isolation import find_isolation

SET = "01_batch_norm"


def main(sizes: list[int]) -> None:
    """Grade classes of these sizes, every submission the solution, and print a table."""
    exercises = read_set(SET)
    print(f"{SET}, {len(exercises.tasks)} tasks, two jobs, isolation: {find_isolation()}")
    print("submissions  seconds  per submission")
    with tempfile.TemporaryDirectory() as place:
        for size in sizes:
            folder, out = Path(place) / "class", Path(place) / "graded"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(out, ignore_errors=True)
            folder.mkdir()
            for index in range(size):
                nbformat.write(exercises.notebook, folder / f"student{index:02}.ipynb")
            started = time.perf_counter()
            rows = grade_class(folder, out, SET, jobs=2, show=lambda line: None)
            seconds = time.perf_counter() - started
            best = sum(task.points for task in exercises.tasks if not task.manual)
            assert all(row.total == best for row in rows), "a solution has lost points"
            print(f"{size:11}  {seconds:7.1f}  {seconds / size:14.2f}", flush=True)


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [10, 20, 40])
