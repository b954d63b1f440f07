"""Sphinx extension: the directive ``{chapters}`` tables the chapters, and the contents number and name them.

All of it is read from the notebooks; see ``book/tools/facts.py``.
"""

import sys
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from facts import read_chapters

HEAD = """\
:::{list-table}
:header-rows: 1
:widths: 30 70

* - Chapter
  - What it shows"""
ROW = """\
* - {number}\\. [](/notebooks/{chapter.name}.ipynb)
  - {chapter.promise}."""


class Chapters(SphinxDirective):
    """Directive for the table of all chapters."""

    def run(self):
        """Write the table in Markdown, so that MyST resolves its links; read again at every build."""
        self.env.note_reread()
        rows = [ROW.format(number=chapter.number, chapter=chapter) for chapter in read_chapters(Path(self.env.srcdir))]
        parent = nodes.container()
        text = "\n".join([HEAD, *rows, ":::"])
        self.state.nested_parse(StringList(text.splitlines(), "chapters"), self.content_offset, parent)
        return parent.children


def title_contents(app, config):
    """Give each chapter, and its set of exercises, its number and title in the table of contents."""
    for chapter in read_chapters(Path(app.srcdir)):
        for folder in ("notebooks", "notebooks/exercises"):
            name = f"{folder}/{chapter.name}"
            if name in config.external_site_map:
                config.external_site_map[name].title = f"{chapter.number}. {chapter.title}"


def setup(app):
    """Connect to Sphinx."""
    app.add_directive("chapters", Chapters)
    app.connect("config-inited", title_contents, priority=950)  # after _toc.yml is read
    return {"parallel_read_safe": True, "parallel_write_safe": True}
