"""Sphinx extension: a paragraph that begins with "**Figure 9.1.**" is the caption of the figure above it."""

import re

from docutils import nodes

BEGINS = re.compile(r"Figure \d+\.\d+\.\Z")


def mark_captions(app, document):
    """Mark captions for the style sheet."""
    for paragraph in document.findall(nodes.paragraph):
        first = next((child for child in paragraph.children if child.astext()), None)  # MyST may begin with nothing
        if isinstance(first, nodes.strong) and BEGINS.match(first.astext()):
            paragraph["classes"].append("figure-caption")


def setup(app):
    """Connect to Sphinx."""
    app.connect("doctree-read", mark_captions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
