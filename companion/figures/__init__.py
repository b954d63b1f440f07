"""Interactive figures that move with a kernel and without one: one folder a figure, drawn with what ``kit`` shares."""

from companion.figures.batch_mates import BatchMates
from companion.figures.channel_groups import ChannelGroups
from companion.figures.contrast import Contrast
from companion.figures.doubt import Doubt
from companion.figures.ghosts import Ghosts
from companion.figures.guesses import Guesses
from companion.figures.prediction import Prediction
from companion.figures.scatter import Scatter
from companion.figures.shards import Shards
from companion.figures.spiral import Spiral
from companion.figures.tokens import Tokens
from companion.figures.twins import Twins
from companion.figures.weight_split import WeightSplit
from companion.figures.who_shares import WhoShares
