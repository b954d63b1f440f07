"""Sphinx extension: the directive ``{ledger}`` tables every claim: what its chapter and what unseen seeds found.

It reads the executed notebooks, claims.lock, pages/replication.json and pages/published.json at every build.
"""

import json
import re
import sys
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from evidence import collect, overview, rows

PAGE = "pages/verified"
COLUMNS = {"Claim": 30, "Verdict": 14, "Criterion": 12, "On the page": 22, "On unseen seeds": 22}  # and their widths
PARTS = {"failed": "What does not hold", "changed": "What was changed", "rest": "What holds, and what is reported"}
SHOWN = re.compile(r"<div><strong>(\d\d[a-z])</strong>")  # how a claim begins in a chapter

__all__ = ["collect"]


class Ledger(SphinxDirective):
    """Insert what can be said of all claims together, and three tables of them: a row for each criterion."""

    def run(self):
        """Build the page; it is read again at every build, since any notebook may have changed."""
        self.env.note_reread()
        claims = rows(Path(self.env.srcdir))
        if not claims:
            return [nodes.paragraph(text="No chapter stores a claim yet.")]
        said = [nodes.list_item("", nodes.paragraph(text=text)) for text in overview(claims)]
        download = nodes.paragraph("", "All of this page, and every measured value: ")
        download += nodes.reference("", "verified.json", refuri="verified.json", internal=True)
        return [nodes.bullet_list("", *said), download, *filter(None, (self.part(key, claims) for key in PARTS))]

    def part(self, key, claims):
        """Return a section with the table of one kind of claims, or nothing where there are none."""
        chosen = [claim for claim in claims if claim["part"] == key]
        if not chosen:
            return None
        group = nodes.tgroup(cols=len(COLUMNS))
        group += [nodes.colspec(colwidth=width) for width in COLUMNS.values()]
        group += nodes.thead("", nodes.row("", *(nodes.entry("", nodes.paragraph(text=name)) for name in COLUMNS)))
        group += nodes.tbody("", *(row for claim in chosen for row in self.rows(claim)))
        title = nodes.title(text=PARTS[key])
        return nodes.section("", title, nodes.table("", group, classes=["ledger"]), ids=[nodes.make_id(PARTS[key])])

    def rows(self, claim):
        """Return one row for each piece of evidence; what belongs to the claim as a whole spans them all."""
        found, span = [], len(claim["evidence"]) - 1
        for index, part in enumerate(claim["evidence"]):
            cells = [
                cell(part["criterion"] or "none", classes=["criterion"]),
                cell(f"{part['quantity']}: {part['summary']}", classes=["on-page"]),
                cell(part["unseen"] or "not run yet", classes=["unseen"]),
            ]
            if index == 0:
                cells = [self.statement(claim, span), self.verdict(claim, span), *cells]
            found.append(nodes.row("", *cells))
        return found

    def statement(self, claim, span):
        """Return the cell of the statement, its chapter, its source, what that found, and what the rule was before."""
        key = f"claim-{claim['id']}"
        first = nodes.paragraph("", "", nodes.reference("", claim["id"], refuri=f"#{key}", internal=True))
        first += nodes.Text(f" {claim['statement']}")
        entry = nodes.entry("", first, ids=[key], **({"morerows": span} if span else {}))
        address = f"../notebooks/{Path(claim['chapter']).stem}.html#{key}"
        run_in = nodes.reference("", claim["title"], refuri=address, internal=True)
        entry += nodes.paragraph("", "Run in ", run_in, classes=["small"])
        if claim["source"]:
            found = f": {claim['published']}" if claim["published"] else ""
            text = f"After {{cite:t}}`{','.join(claim['source'])}`{found}"  # MyST resolves the citation
            self.state.nested_parse(StringList([text], "ledger"), self.content_offset, entry)
        for old in claim["history"]:
            text = f"Changed {old['date']}: was {old['rule']} ({old['status']}). {old['reason']}"
            entry += nodes.paragraph(text=text, classes=["changed"])
        return entry

    def verdict(self, claim, span):
        """Return the verdict of record, and what it rests on."""
        entry = cell(claim["verdict"], span, paragraph=[nodes.make_id(claim["verdict"])], classes=["verdict"])
        if claim["on_page"] != claim["verdict"]:
            entry += nodes.paragraph(text=f"On the page: {claim['on_page']}")
        entry += nodes.paragraph(text=claim["status"])
        return entry


def cell(text, span=0, paragraph=(), **attributes):
    """Return a cell that holds a text as it stands and spans so many more rows."""
    attributes |= {"morerows": span} if span else {}
    return nodes.entry("", nodes.paragraph(text=text, classes=list(paragraph)), **attributes)


def link_back(app, doctree, name):
    """Give each claim in a chapter an anchor, and a link to its row on the page."""
    for raw in doctree.findall(nodes.raw):
        if name.startswith("notebooks/") and SHOWN.search(raw.astext()):
            there = app.builder.get_relative_uri(name, PAGE)
            link = rf'<div id="claim-\1"><strong><a href="{there}#claim-\1">\1</a></strong>'
            raw.children = [nodes.Text(SHOWN.sub(link, raw.astext()))]


def write_data(app, exception):
    """Put the page's data beside it."""
    folder = Path(app.outdir) / PAGE
    if exception is None and folder.parent.is_dir():
        text = json.dumps(rows(Path(app.srcdir)), ensure_ascii=False, indent=1)
        folder.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


def setup(app):
    """Register the directive."""
    app.add_directive("ledger", Ledger)
    app.connect("doctree-resolved", link_back)
    app.connect("build-finished", write_data)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
