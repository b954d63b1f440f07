"""A toy chapter that is added as pages/contributing.md says is green, and edits six existing files at most.

Its new files are the tree in ``zebra``; what it edits stands in EDITS.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOY = Path(__file__).with_name("zebra")
NAME = "99_zebra"
NOTEBOOKS = [f"notebooks/{NAME}.ipynb", f"notebooks/solutions/{NAME}/{NAME}.ipynb"]
GUIDE = Path(__file__).parents[2] / "pages" / "contributing.md"

# For each file what is found in it, the first time, and what stands there then.
EDITS = {
    "_toc.yml": [
        (r"(?=  - caption: Exercises)", f"  - caption: Toys\n    chapters:\n      - file: notebooks/{NAME}\n"),
        (r"(?=      - file: pages/instructors)", f"      - file: notebooks/exercises/{NAME}\n"),
    ],
    "companion/__init__.py": [
        (r'(?<="probes": """\n)', "        count_stripes\n"),
        (r'(?<="figures": """\n)', "        Zebra\n"),
    ],
    "companion/probes/__init__.py": [
        (r"(?=from companion\.probes\.uncertainty )", "from companion.probes.stripes import count_stripes\n")
    ],
    "companion/figures/__init__.py": [(r"\Z", "from companion.figures.zebra import Zebra\n")],
    "references.bib": [
        (
            r"\Z",
            "\n@misc{zebra2026,\n  author = {Zebra, Ann},\n  title = {Stripes},\n  year = {2026},\n  url = {https://example.org/zebra},\n}\n",
        )
    ],
    "pages/instructors.md": [
        (r"\[15\]\(\.\./notebooks/15", f"[99](../notebooks/{NAME}.ipynb), \\g<0>"),
        (r"\[15\]\(\.\./notebooks/exercises/15", f"[99](../notebooks/exercises/{NAME}.ipynb), \\g<0>"),
    ],
}
WRITTEN = {"README.md", "companion/README.md", "claims.lock"}  # by make notebooks, by make claims

pytestmark = pytest.mark.slow


def contents(folder):
    """Return the bytes of all files in a folder, by their paths in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def run(clone, *command):
    """Run one of the environment's commands in the clone, on the clone's own package."""
    program = Path(sys.executable).with_name(command[0])
    environment = {**os.environ, "PYTHONPATH": str(clone), "OMP_NUM_THREADS": "1", "COMPANION_DEVICE": "cpu"}
    result = subprocess.run([program, *command[1:]], cwd=clone, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def clone(checkout, tmp_path_factory):
    """Return a clone with the toy chapter, before any command."""
    clone = tmp_path_factory.mktemp("toy") / "clone"
    shutil.copytree(checkout, clone)
    shutil.copytree(TOY, clone, dirs_exist_ok=True)
    for name, edits in EDITS.items():
        text = (clone / name).read_text(encoding="utf-8")
        for pattern, new in edits:
            text, found = re.subn(pattern, new, text, count=1)
            assert found, f"{pattern} in {name}"
        (clone / name).write_text(text, encoding="utf-8")
    return clone


@pytest.fixture(scope="module")
def made(clone):
    """Return the clone after what ``make notebooks`` and ``make claims`` do, for the toy's two notebooks."""
    texts = [name.replace(".ipynb", ".md") for name in NOTEBOOKS]
    run(clone, "python", "-m", "jupytext", "--quiet", "--sync", *texts)
    run(clone, "python", "book/tools/execute.py", "--limit", "30", *NOTEBOOKS)
    run(clone, "python", "-m", "jupytext", "--quiet", "--sync", *NOTEBOOKS)
    run(clone, "python", "book/tools/facts.py")
    run(clone, "companion", "release", NAME, "--flat", "--to", "notebooks/exercises")
    run(clone, "python", "book/tools/claims.py")
    return clone


def test_a_chapter_edits_six_files_at_most(made, checkout):
    before, after = contents(checkout), contents(made)
    changed = {name for name, text in before.items() if after[name] != text}
    assert changed == {*EDITS, *WRITTEN}
    assert len(EDITS) <= 6


def test_the_guide_names_what_is_edited_and_what_is_new(made, checkout):
    guide = GUIDE.read_text(encoding="utf-8")
    listed = re.findall(r"^- \[ \] `([^`]+)`", guide.split("## Edit")[1].split("\n## ")[0], re.M)
    assert listed == list(EDITS)
    new = guide.split("## Make")[1].split("\n## ")[0]
    named = " ".join(re.findall(r"^\| `([^`]+)` \|", new, re.M))
    for word, chosen in [("NN_name", NAME), ("name", "zebra"), ("quantity", "stripes")]:
        named = named.replace(word, chosen)
    assert set(named.split()) == set(contents(TOY))


def plan(folder, *told):
    """Return what ``make notebooks`` would do in a folder whose environment is installed."""
    command = ["make", "--no-print-directory", "-n", "-o", ".venv/test.stamp", "notebooks", *told]
    environment = {**os.environ, "MAKEFLAGS": ""}
    return subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout


def test_make_notebooks_takes_the_same_steps(made):
    tools = re.findall(r"jupytext|book/tools/\w+\.py|companion release", plan(made, f"NOTEBOOKS={NOTEBOOKS[0]}"))
    assert tools == ["jupytext", "book/tools/execute.py", "jupytext", "book/tools/facts.py", "companion release"]


def test_make_notebooks_takes_a_new_text_that_has_no_notebook_yet(clone, tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt", f"notebooks/{NAME}.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(clone / name, tmp_path / name)
    steps = plan(tmp_path)
    assert f"--sync notebooks/{NAME}.md\n" in steps and f"execute.py  notebooks/{NAME}.ipynb\n" in steps


def test_style_rooms_and_pairs_are_green(made):
    run(made, "ruff", "check", ".")
    run(made, "ruff", "format", "--check", ".")
    run(made, "lint-imports", "--no-cache")
    run(made, "python", "book/tools/pairs.py")
    run(made, "python", "book/tools/claims.py", "--check")


def test_what_every_chapter_set_and_page_promises_is_green(made):
    run(made, "jupyter-book", "build", ".", "--all", "-W", "-n", "--keep-going")
    book = ["tests/book/test_notebooks.py", "tests/book/test_facts.py", "tests/book/test_book.py"]
    classroom = ["tests/classroom/test_release.py", "tests/classroom/test_instructors.py"]
    companion = ["tests/checks", "tests/figures", "tests/probes/test_stripes.py", "tests/house/test_rooms.py"]
    doctests = ["--doctest-modules", "companion/probes/stripes.py", "companion/figures/zebra"]
    own = f"{NAME} or zebra or stripes or facts or plans or every_public_name"
    site = "in_the_contents or lists_every_claim or adds_up or lead_somewhere"
    told = ["-q", "-p", "no:cacheprovider", "-m", "not slow", "-k", f"{own} or {site}"]
    outputs = ["--nbval", "--nbval-current-env", *NOTEBOOKS]  # executed once more, and compared with what is stored
    said = run(made, "python", "-m", "pytest", *told, *doctests, *outputs, *book, *classroom, *companion)
    assert int(re.search(r"(\d+) passed", said)[1]) >= 70


def test_a_student_gets_stubs(made):
    student = json.loads((made / "notebooks" / "exercises" / f"{NAME}.ipynb").read_text(encoding="utf-8"))
    text = "".join("".join(cell["source"]) for cell in student["cells"])
    assert text.count("raise NotImplementedError()") >= 2 and "groupby(values" not in text
