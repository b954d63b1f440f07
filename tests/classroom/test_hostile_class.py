"""A class of 24 submissions, most of them broken or worse, graded in one command: each ends as the table says."""

import contextlib
import csv
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from classroom.authoring.sets import read_set
from classroom.intake.submissions import student_id
from classroom.sandbox.isolation import MARK, find_isolation, isolation_error

ROOT = Path(__file__).parents[2]
SET = "01_batch_norm"
FOLDER = ROOT / "notebooks" / "solutions" / SET

# torch fits under this memory, and little more. By default there are 64 processes, and a megabyte of output.
LIMITS = ("--memory", "0.5")
FULL, NONE = (2, 2, 3, 3), (0, 0, 0, 0)


def released():
    return nbformat.read(ROOT / "notebooks" / "exercises" / f"{SET}.ipynb", as_version=4)


def solved():
    """Fill the solution's answers into the student version."""
    answers = {name(cell): cell.source for cell in nbformat.read(FOLDER / f"{SET}.ipynb", as_version=4).cells}
    notebook = released()
    for cell in notebook.cells:
        if name(cell) and not name(cell).endswith("-test"):
            lines = answers[name(cell)].splitlines()
            cell.source = "\n".join(line for line in lines if "### " not in line)
    return notebook


def name(cell):
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


def place(notebook, wanted):
    return next(index for index, cell in enumerate(notebook.cells) if name(cell) == wanted)


def code(source):
    return nbformat.v4.new_code_cell(source)


def with_cell(source, at=2):
    """Return the solution with one cell more, behind the first task's text."""
    notebook = solved()
    notebook.cells.insert(at, code(source))
    return notebook


def without(*wanted):
    notebook = solved()
    notebook.cells = [cell for cell in notebook.cells if name(cell) not in wanted]
    return notebook


def with_answer(wanted, source):
    notebook = solved()
    notebook.cells[place(notebook, wanted)].source = source
    return notebook


def stubs_with(source):
    """Return the empty student version, with a cell at its start that ought to gain nothing."""
    notebook = released()
    notebook.cells.insert(2, code(source))
    return notebook


def loops_in_the_second_task():
    return with_answer("batches_until", "def batches_until(momentum, within):\n    while True:\n        pass")


def duplicated():
    notebook = solved()
    for wanted in ("standardize_batch", "standardize_batch-test"):
        at = place(notebook, wanted)
        notebook.cells.insert(at + 1, nbformat.from_dict(notebook.cells[at]))
    return notebook


def edited_tests():
    notebook = released()
    for cell in notebook.cells:
        if name(cell).endswith("-test"):
            cell.source = "assert True"
    return notebook


def reordered():
    """Put every test before its answer, and the last task before the first."""
    notebook = solved()
    pairs = [(place(notebook, f"{each}-test"), place(notebook, each)) for each in ("standardize_batch", "backward")]
    for test, answer in pairs:
        notebook.cells[test], notebook.cells[answer] = notebook.cells[answer], notebook.cells[test]
    notebook.cells = notebook.cells[:2] + notebook.cells[8:] + notebook.cells[2:8]
    return notebook


def stripped():
    notebook = solved()
    for index, cell in enumerate(notebook.cells):
        cell.metadata, cell.id = nbformat.from_dict({}), f"cell-{index}"
    return notebook


def wrong_kernel():
    notebook = solved()
    notebook.metadata.kernelspec = {"name": "conda-env-udl-py", "display_name": "R", "language": "R"}
    return notebook


def wrong_in_one_task():
    return with_answer("standardize_batch", "def standardize_batch(x, eps):\n    return x - x.mean(0)")


READ_THE_SOLUTION = f"""
import glob, json, os, companion
found = []
for folder in ({str(ROOT)!r}, os.path.dirname(os.path.dirname(companion.__file__)), os.getcwd(), "/", "/tmp"):
    for path in ("/notebooks/solutions/*/*.ipynb", "/**/{SET}.ipynb"):
        found += glob.glob(folder + path, recursive=folder != "/")
for cell in json.load(open(found[0]))["cells"]:
    if "BEGIN SOLUTION" in "".join(cell["source"]):
        exec("".join(cell["source"]))
"""
# It stops by itself at twice the limit.
HOG = "import torch\nkept = [torch.ones(2**20) for piece in range(256)]"
CHILDREN = "import subprocess\nfor child in range(50):\n    subprocess.Popen(['sleep', '600'])"
REPLACED = {
    "numpy": "import numpy as np, torch\nnp.allclose = torch.allclose = torch.equal = lambda *a, **k: True",
    "companion": "import companion\nfrom companion import checks\n"
    "from companion.checks import batch_norm, comparing\n"
    "companion.check_batch_norm = checks.check_batch_norm = batch_norm.check_batch_norm = lambda *a, **k: None\n"
    "batch_norm.check_backward = batch_norm.expect_call = comparing.expect = comparing.expect_call = lambda *a, **k: None",
    "observe": "from companion.checks import batch_norm, comparing, observing\n"
    "for module in (batch_norm, comparing, observing):\n"
    "    for name in [name for name, part in vars(module).items() if callable(part) and name[:2] != '__']:\n"
    "        setattr(module, name, lambda *a, **k: a[2] if a[2:] else None)",
}

# File name: the notebook, or the bytes of a file; the points of the four tasks that a machine grades; how it went; and
# what the reason or the remarks must say.
CLASS = {
    "all right.ipynb": (solved, FULL, "graded", ""),
    "nothing done.ipynb": (released, NONE, "graded", ""),
    "one mistake.ipynb": (wrong_in_one_task, (0, 2, 3, 3), "graded", ""),
    "endless.ipynb": (loops_in_the_second_task, (2, 0, 3, 3), "graded", ""),
    "endless cell.ipynb": (lambda: with_cell("while True: pass"), FULL, "graded with trouble", "stopped after"),
    "children.ipynb": (lambda: with_cell(CHILDREN), FULL, "graded", ""),
    "hog.ipynb": (lambda: with_cell(HOG), FULL, "graded", ""),
    "exit.ipynb": (lambda: with_cell("import os\nos._exit(0)"), FULL, "graded with trouble", "ended its process"),
    "exit in an answer.ipynb": (
        lambda: with_answer("backward", "import os\ndef backward(*a): os._exit(0)"),
        (2, 2, 0, 3),
        "graded with trouble",
        "ended its process",
    ),
    "talks.ipynb": (lambda: with_cell("for i in range(3000): print('much ' * 1000)"), FULL, "graded", ""),
    "deleted.ipynb": (
        lambda: without("standardize_batch-test", "Repaired-test", "backward", "explain"),
        (2, 2, 0, 3),
        "graded",
        "The test cell Repaired-test was missing; it is put back.",
    ),
    "duplicated.ipynb": (duplicated, FULL, "graded", "The test cell standardize_batch-test was there 2 times"),
    "edited.ipynb": (edited_tests, NONE, "graded", "The test cell backward-test was edited"),
    "reordered.ipynb": (reordered, FULL, "graded", "backward-test stood before cells that it needs"),
    "stripped.ipynb": (stripped, FULL, "graded", "The marks of the graded cells were gone"),
    "numpy.ipynb": (lambda: stubs_with(REPLACED["numpy"]), NONE, "graded", ""),
    "companion.ipynb": (lambda: stubs_with(REPLACED["companion"]), NONE, "graded", ""),
    "observe.ipynb": (lambda: stubs_with(REPLACED["observe"]), NONE, "graded", ""),
    "replaced, but right.ipynb": (lambda: with_cell("\n".join(REPLACED.values())), FULL, "graded", ""),
    "reads.ipynb": (lambda: with_cell(READ_THE_SOLUTION, at=99), FULL, "graded", ""),
    "reads only.ipynb": (lambda: stubs_with(READ_THE_SOLUTION), NONE, "graded", ""),
    "no notebook.ipynb": (b"<html>Please log in</html>", NONE, "not graded", "the file is not a notebook (not JSON)"),
    "kernel.ipynb": (wrong_kernel, FULL, "graded", ""),
    "Ңұрлан Ö. 李.ipynb": (solved, FULL, "graded", ""),
}
TASKS = ("standardize_batch", "batches_until", "backward", "Repaired")
# Harmless ones are graded in the same way where nothing isolates them.
HARMLESS = ("all right.ipynb", "nothing done.ipynb", "one mistake.ipynb", "stripped.ipynb", "no notebook.ipynb")


def write_class(folder, files):
    folder.mkdir()
    for file in files:
        made = CLASS[file][0]
        (folder / file).write_bytes(made if isinstance(made, bytes) else json.dumps(made()).encode())


def grade(folder, out, isolation, *limits):
    """Grade in one command, and return what it printed; of all that it starts, nothing is left."""
    mark = f"class-{os.getpid()}-{isolation}-"
    command = [sys.executable, "-m", "classroom.cli", "grade", folder, "--to", out]
    done = subprocess.run(
        [*command, "--isolation", isolation, *LIMITS, *limits],
        env=os.environ | {MARK: mark},
        capture_output=True,
        text=True,
    )
    left = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            left += [process] if process.environ().get(MARK, "").startswith(mark) else []
    assert left == []
    assert done.returncode == 0, done.stderr
    return done


def check_class(files, folder, out, isolated):
    with (out / f"{SET}.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(files)
    for file in files:
        _, points, status, said = CLASS[file]
        row = rows[file]
        assert tuple(float(row[task]) for task in TASKS) == points, (file, row)
        assert row["status"] == status, (file, row)
        assert said in row["reason"] + row["remarks"], (file, row)
        assert float(row["total"]) == sum(points) and row["max"] == "12"
        # The written answer waits for a person, unless there is none.
        answered = file not in ("deleted.ipynb", "no notebook.ipynb") and CLASS[file][0] != released
        answered = answered and "stubs_with" not in getattr(CLASS[file][0], "__code__", answered_by).co_names
        assert row["needs manual grading"] == ("explain" if answered and file != "edited.ipynb" else ""), (file, row)
        assert row["isolated"] == ("yes" if isolated else "no")
        kept = out / "originals" / row["student"] / SET / file
        assert kept.read_bytes() == (folder / file).read_bytes()


def answered_by():
    """Return a function that builds no notebook, for entries that are none."""


def secrets():
    """Return the lines of the hidden tests."""
    lines, inside = set(), False
    for line in "\n".join(cell.source for cell in read_set(SET).notebook.cells).splitlines():
        if "### BEGIN HIDDEN" in line or "### END HIDDEN" in line:
            inside = "BEGIN" in line
        elif inside:
            lines.add(line.strip())
    assert lines
    return lines


@pytest.fixture(scope="module")
def harmless(tmp_path_factory):
    """Grade the harmless ones without isolation, with the default limits of time; return also the seconds it took."""
    place = tmp_path_factory.mktemp("harmless")
    folder, out = place / "class", place / "graded"
    write_class(folder, HARMLESS)
    started = time.monotonic()
    done = grade(folder, out, "none")
    return folder, out, done, time.monotonic() - started


@pytest.mark.slow
def test_a_class_of_24_is_graded_in_one_command(harmless, tmp_path, missing):
    if find_isolation() == "none":
        missing(f"no isolation: {isolation_error()}")
    assert len(CLASS) == 24
    folder, out = tmp_path / "class", tmp_path / "graded"
    write_class(folder, CLASS)
    # A cell has about the time that a whole submission takes here and now, and a notebook six times that.
    seconds = max(10, math.ceil(harmless[-1] / len(HARMLESS)))
    done = grade(folder, out, "required", "--seconds", str(seconds), "--minutes", str(seconds / 10))
    assert "NOT ISOLATED" not in done.stdout
    assert len(done.stdout.splitlines()) == 24 + 2
    check_class(CLASS, folder, out, isolated=True)
    for student, source in REPLACED.items():  # the mischief was done
        notebook = nbformat.read(out / "autograded" / student / SET / f"{SET}.ipynb", as_version=4)
        assert [cell.outputs for cell in notebook.cells if cell.source == source] == [[]]
    assert f"stopped after {seconds} s" in (out / f"{SET}.csv").read_text(encoding="utf-8-sig")

    for file in CLASS:
        path = out / "feedback" / student_id(Path(file).stem) / SET / f"{SET}.html"
        feedback = path.read_text(encoding="utf-8")
        assert not [line for line in secrets() if line in feedback], file
        assert "HIDDEN TESTS" not in feedback
        assert path.stat().st_size < 3_000_000, file
    for file, (_, _, _, said) in CLASS.items():
        feedback = (out / "feedback" / student_id(Path(file).stem) / SET / f"{SET}.html").read_text(encoding="utf-8")
        assert said.split(";")[0] in feedback, file
    feedback = (out / "feedback" / "one mistake" / SET / f"{SET}.html").read_text(encoding="utf-8")
    assert "The mean is subtracted, but nothing is divided." in feedback


@pytest.mark.slow
def test_without_isolation_it_says_so_and_grades_the_same(harmless):
    folder, out, done, _ = harmless
    assert "NOT ISOLATED: submissions can read your files and use your network" in done.stdout
    check_class(HARMLESS, folder, out, isolated=False)
