"""Sphinx extension: folds the worked solution under each task of an exercise page, and tables the sets."""

import json
import re
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

PAGES = "notebooks/exercises/"
HIDDEN = re.compile(r"^.*BEGIN (HIDDEN TESTS|MARK SCHEME).*\n(?:.*\n)*?.*END \1.*\n?", re.M)
MARKER = re.compile(r"^.*(?:BEGIN|END) SOLUTION.*\n?", re.M)
INTRODUCTION = """\
This page shows what a learner gets, with a worked solution folded under each task.
The tasks belong to the chapter [](../{name}.ipynb).
To solve them, run `make lab` and open `workbook/exercises/{name}.ipynb`."""


def cells_of(root, name):
    """Return the cells of a set's source, as they are stored."""
    path = Path(root) / "notebooks" / "solutions" / name / f"{name}.ipynb"
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def source(root, name):
    """Return the cells of a set's source: their kind, their text, and what nbgrader knows of them."""
    cells = cells_of(root, name)
    return [(cell["cell_type"], "".join(cell["source"]), cell["metadata"].get("nbgrader", {})) for cell in cells]


def worked(root, name):
    """Return each task's worked solution as folded Markdown, by the grade_id of the cell that it belongs below."""
    folded = {}
    for kind, text, task in source(root, name):
        if not task.get("solution"):
            continue
        text = MARKER.sub("", HIDDEN.sub("", text)).strip("\n")
        code = kind == "code"
        body = f"```python\n{text}\n```" if code else text
        summary = "Worked solution" if code else "A good answer"
        below = f"{task['grade_id']}-test" if code else task["grade_id"]
        folded[below] = f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"
    return folded


def with_solutions(root, name, text):
    """Return a student version as a notebook's text, with solutions folded in and the outputs of given code."""
    notebook = json.loads(text)
    folded, cells = worked(root, name), []
    given = {cell["id"]: cell for cell in cells_of(root, name) if "nbgrader" not in cell["metadata"]}
    for index, cell in enumerate(notebook["cells"]):
        cells.append(given.get(cell["id"], cell))
        if index == 0:
            cells.append(markdown("introduction", INTRODUCTION.format(name=name)))
        task = cell["metadata"].get("nbgrader", {}).get("grade_id")
        if task in folded:
            cells.append(markdown(f"{cell['id']}-worked", folded.pop(task)))
    if folded:
        raise ValueError(f"{name}: no cell of the student version is called {' or '.join(folded)}; run make exercises")
    return json.dumps({**notebook, "cells": cells})


def markdown(name, text):
    """Return a cell of Markdown."""
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": text}


def add_solutions(app, docname, content):
    """Change what Sphinx has read of an exercise page."""
    if docname.startswith(PAGES):
        content[0] = with_solutions(app.srcdir, docname.removeprefix(PAGES), content[0])


class ExerciseSets(SphinxDirective):
    """Directive for the table of all sets: tasks, points and minutes."""

    def run(self):
        """Write the table in Markdown, so that MyST resolves its links; read again at every build."""
        self.env.note_reread()
        lines = ["| set | tasks | points by checks | points by a person | minutes |", "|---|---|---|---|---|"]
        folder = Path(self.env.srcdir) / "notebooks" / "solutions"
        lines += [row(self.env.srcdir, path.stem) for path in sorted(folder.glob("*/[0-9]*.ipynb"))]
        parent = nodes.container()
        self.state.nested_parse(StringList(lines, "exercise-sets"), self.content_offset, parent)
        return parent.children


def row(root, name):
    """Return one set's line of the table."""
    cells = source(root, name)
    points = {person: 0 for person in (False, True)}
    tasks = [task for _, _, task in cells if task.get("grade")]
    for task in tasks:
        points[task["solution"]] += task["points"]
    (minutes,) = re.findall(r"about (\d+) minutes", cells[0][1])
    title = f"[{name}](/notebooks/exercises/{name}.ipynb)"
    return f"| {title} | {len(tasks)} | {points[False]:g} | {points[True]:g} | {minutes} |"


def setup(app):
    """Connect to Sphinx."""
    app.connect("source-read", add_solutions)
    app.add_directive("exercise-sets", ExerciseSets)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
