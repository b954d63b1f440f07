"""Tools for a notebook's text: plots in the house style, claims, progress."""

from companion.show.claims import Claim, Criterion, Measured, above, at_least, at_most, below, between, summarize
from companion.show.plot import INK, MUTED, SCHEMES, band, dots, label_panels, use_style
from companion.show.progress import track
