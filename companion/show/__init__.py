"""What a reader sees: figures, interactive figures, claims, progress."""

from companion.show.batch_mates import BatchMates
from companion.show.channel_groups import ChannelGroups
from companion.show.claims import Claim, Criterion, Measured, above, at_least, at_most, below, between, summarize
from companion.show.contrast import Contrast
from companion.show.doubt import Doubt
from companion.show.explore import Explorable
from companion.show.ghosts import Ghosts
from companion.show.plot import INK, MUTED, SCHEMES, band, dots, label_panels, use_style
from companion.show.progress import track
from companion.show.shards import Shards
from companion.show.spiral import Spiral
from companion.show.tokens import Tokens
from companion.show.twins import Twins
from companion.show.weight_split import WeightSplit
from companion.show.who_shares import WhoShares

__all__ = [
    "INK",
    "MUTED",
    "SCHEMES",
    "BatchMates",
    "ChannelGroups",
    "Claim",
    "Contrast",
    "Criterion",
    "Doubt",
    "Explorable",
    "Ghosts",
    "Measured",
    "Shards",
    "Spiral",
    "Tokens",
    "Twins",
    "WeightSplit",
    "WhoShares",
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
