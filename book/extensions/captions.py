"""Sphinx extension: a paragraph that begins with "**Figure 9.1.**" is the caption of the figure above it."""

import re

from docutils import nodes
from sphinx.transforms import SphinxTransform

BEGINS = re.compile(r"Figure \d+\.\d+\.\Z")


class Captions(SphinxTransform):
    """Transform that marks captions for the style sheet, and gives each a name to link to: ``#figure-9-1``."""

    default_priority = 500

    def apply(self):
        """Mark every caption of the document."""
        for paragraph in self.document.findall(nodes.paragraph):
            first = paragraph.children[0] if paragraph.children else None
            if isinstance(first, nodes.strong) and BEGINS.match(first.astext()):
                paragraph["classes"].append("figure-caption")
                paragraph["ids"].append(nodes.make_id(first.astext()))


def setup(app):
    """Connect to Sphinx."""
    app.add_transform(Captions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
