"""Sphinx extension: the directive ``{ledger}`` tables every claim that the executed notebooks store."""

import json
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

MIME = "application/vnd.udl-companion.claim+json"
COLUMNS = {"": 6, "Claim": 36, "Effect": 30, "Criterion": 16, "Verdict": 12}  # and their widths


def collect(folder):
    """Return all claims stored in the chapters in ``folder``, by id, each with its chapter's file name and title."""
    claims = {}
    for path in sorted(Path(folder).glob("[0-9]*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        title = next(line for cell in cells for line in "".join(cell["source"]).splitlines() if line.startswith("# "))
        for output in (output for cell in cells for output in cell.get("outputs", [])):
            claim = output.get("data", {}).get(MIME)
            if claim is None:
                continue
            if claim["id"] in claims:
                raise ValueError(f"claim {claim['id']} is stored twice, the second time in {path.name}")
            claims[claim["id"]] = {**claim, "chapter": path.name, "title": title.removeprefix("# ")}
    return [claims[key] for key in sorted(claims)]


class Ledger(SphinxDirective):
    """Insert the table of all claims: a row for each piece of evidence, and one for each claim."""

    def run(self):
        """Build the table; the page is read again at every build, since any notebook may have changed."""
        self.env.note_reread()
        claims = collect(Path(self.env.srcdir) / "notebooks")
        if not claims:
            return [nodes.paragraph(text="No chapter stores a claim yet.")]
        group = nodes.tgroup(cols=len(COLUMNS))
        group += [nodes.colspec(colwidth=width) for width in COLUMNS.values()]
        heads = [nodes.entry("", nodes.paragraph(text=name)) for name in COLUMNS]
        group += nodes.thead("", nodes.row("", *heads))
        group += nodes.tbody("", *(row for claim in claims for row in self.rows(claim)))
        return [nodes.table("", group, classes=["ledger"])]

    def rows(self, claim):
        """Return one row for each piece of evidence; what belongs to the claim as a whole spans them all."""
        rows = []
        for number, part in enumerate(claim["evidence"]):
            effect = cell(f"{part['quantity']}: {part['summary']}")
            rule = cell(part["criterion"] or "none")
            if number > 0:
                rows.append(nodes.row("", effect, rule))
                continue
            span = len(claim["evidence"]) - 1
            verdict = cell(claim["verdict"], span, classes=[nodes.make_id(claim["verdict"])])
            rows.append(nodes.row("", cell(claim["id"], span), self.statement(claim, span), effect, rule, verdict))
        return rows

    def statement(self, claim, span):
        """Return the cells that say the claim, its source and its chapter."""
        entry = cell(claim["statement"], span)
        source = f"{{cite:t}}`{','.join(claim['source'])}`; run in " if claim["source"] else ""
        text = f"{source}[{claim['title']}](/notebooks/{claim['chapter']})"  # MyST resolves citation and link
        self.state.nested_parse(StringList([text], "ledger"), self.content_offset, entry)
        return entry


def cell(text, span=0, **attributes):
    """Return a cell that holds a text as it stands and spans so many more rows."""
    return nodes.entry("", nodes.paragraph(text=text, **attributes), **({"morerows": span} if span else {}))


def setup(app):
    """Register the directive."""
    app.add_directive("ledger", Ledger)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
