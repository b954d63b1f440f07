"""What a reader sees: figures, interactive figures, claims, progress."""

from companion.show.batch_mates import BatchMates
from companion.show.claims import Claim, Criterion, Measured, above, at_least, at_most, below, between, summarize
from companion.show.explore import Explorable
from companion.show.plot import INK, MUTED, SCHEMES, band, dots, label_panels, use_style
from companion.show.progress import track

__all__ = [
    "INK",
    "MUTED",
    "SCHEMES",
    "BatchMates",
    "Claim",
    "Criterion",
    "Explorable",
    "Measured",
    "above",
    "at_least",
    "at_most",
    "band",
    "below",
    "between",
    "dots",
    "label_panels",
    "summarize",
    "track",
    "use_style",
]
