"""Chapter 5's interactive figure: divide one image's channels into groups, and see whose loudness is levelled."""

import numpy as np
import traitlets

from companion.figures.base import (
    Checked,
    InteractiveFigure,
    array,
    description,
    divisors,
    eps_trait,
    listed,
    real,
    require_index,
    whole,
)

# Eight channels of twelve positions: waves whose loudness and offset differ.
_LOUDNESS = np.array([0.4, 2.0, 0.8, 1.2, 0.3, 0.6, 1.6, 1.0])[:, None]
_WAVES = np.sin(np.arange(1, 9)[:, None] + np.arange(12) * np.linspace(0.5, 1.6, 8)[:, None])
_SIGNAL = (_LOUDNESS * (_WAVES + 0.2 * np.cos(np.arange(8))[:, None])).round(2)


class ChannelGroups(InteractiveFigure):
    r"""One image's channels under group norm: choose the number of groups, turn one channel up, see who moves.

    The C / G channels of a group share the mean m and the standard deviation s over all their positions::

        out = (x − m) / √(s² + ε)

    Args:
        values: Activations of one image, shape ``(C, positions)``, at least two of each.
        groups: The number of groups G, a divisor of C: 1 is layer norm, C is instance norm.
        channel: Number of the channel whose loudness changes, from 0.
        gain: What that channel is multiplied by.
        eps: ε, which keeps the division finite where all values are equal.

    Raises:
        ValueError: If a value breaks its rule.

    Numerics:
        Float64; s² divides by the number of values. ε makes a very quiet channel come out a little quieter.

    Source:
        UDL figure 11.14; Wu and He (2018), equation 7. First in chapter 5.

    Example:
        >>> ChannelGroups(groups=4)
        ChannelGroups(groups=4)
        >>> ChannelGroups(groups=3)
        Traceback (most recent call last):
        ...
        ValueError: groups must divide the number of channels, but got groups=3 for 8 channels; try 1, 2, 4 or 8
    """

    alt = description(
        "Interactive figure: the channels of one image as small curves, before and after group norm. Channels of a "
        "group are divided by the same number and keep their relations; making one louder moves its group only. With "
        "as many groups as channels, all come out equally loud."
    )
    values = Checked(
        _SIGNAL,
        array(2, lambda channels, positions: channels >= 2 and positions >= 2),
        "finite numbers of shape (C, positions), at least 2 of each",
        "take one image, x[0].flatten(1)",
    )
    groups = whole(2, low=1, fix="1 is layer norm")
    channel = whole(1, low=0, fix="count the channels from 0")
    gain = real(1.0, low=0, fix="1 leaves the channel as it is")
    eps = eps_trait()

    @traitlets.validate("groups")
    def _divides(self, proposal) -> int:
        groups, channels = proposal["value"], len(self.values)
        if channels % groups:
            raise ValueError(
                f"groups must divide the number of channels, but got groups={groups} for {channels} channels; "
                f"try {listed(divisors(channels))}"
            )
        return groups

    @traitlets.validate("channel")
    def _there(self, proposal) -> int:
        return require_index("channel", proposal["value"], len(self.values), "channels")

    @traitlets.validate("values")
    def _fit(self, proposal) -> list:
        if len(proposal["value"]) % self.groups or len(proposal["value"]) <= self.channel:
            raise ValueError(
                f"values must have a number of channels that groups={self.groups} divides and that is more than "
                f"channel={self.channel}, but got {len(proposal['value'])} channels; make a new figure"
            )
        return proposal["value"]
