"""Chapter 4's interactive figure: whom does a token move?"""

from companion.figures.base import Checked, InteractiveFigure, array, description, eps_trait, one_of, real, whole


class Tokens(InteractiveFigure):
    """One sequence under layer norm: change one entry or one token, and see which outputs move.

    The chosen token h, a column of ``values``, is multiplied by ``factor``; then ``push`` is added to its entry in the
    chosen channel. ``scheme`` says who shares a mean and a variance: ``"token"``, all channels of one token (layer norm
    in transformers), or ``"sequence"``, all channels and positions (layer norm in UDL's figure 11.14)::

        out = (h − m) / √(s² + ε)

    Args:
        values: The sequence before the change, a list of channels, each a list of positions; at least 2 by 2.
        scheme: ``"sequence"`` or ``"token"``.
        channel, position: The chosen entry, counted from 0; the drawing counts from 1.
        push: What is added to the chosen entry, from -12 to 12.
        factor: What the chosen token is multiplied by, from 1/4 to 8.
        eps: ε, which keeps the division finite where all values of a group are equal.

    Raises:
        ValueError: If a value breaks its rule.

    Numerics:
        Float64; s² divides by the number of values, as in torch. An output counts as moved from 0.005 on.

    Source:
        UDL figure 11.14; Ba et al. (2016). First in chapter 4.

    Example:
        >>> Tokens(scheme="token", push=6)
        Tokens(push=6.0, scheme='token')
        >>> Tokens(values=[[1.0, 2.0]])
        Traceback (most recent call last):
        ...
        ValueError: values must be at least 2 channels of at least 2 finite numbers each, but got values=[[1.0, 2.0]]; \
give one list of positions a channel
    """

    alt = description(
        "Interactive figure: a sequence as two tables of channels by tokens, before and after layer norm. With one "
        "mean and variance for channels and positions together, a change in one token moves the outputs of all; with "
        "a mean and variance for each token by itself, only its own, and scaling a whole token moves none."
    )
    values = Checked(
        [
            [0.9, -0.3, 1.4, -1.1, 0.2, 0.7, -0.6, 1.0],
            [-1.2, 0.8, 0.1, 1.6, -0.7, -0.2, 1.3, -0.9],
            [0.4, 1.1, -0.8, 0.3, 1.2, -1.5, 0.5, -0.1],
            [-0.5, -1.4, 0.6, -0.2, -0.9, 1.0, 0.2, 1.5],
            [1.3, 0.2, -1.0, 0.9, 0.6, -0.4, -1.6, 0.3],
            [0.1, -0.7, 0.5, -1.3, 1.5, 0.8, -0.3, -1.1],
        ],
        array(2, lambda channels, positions: channels >= 2 and positions >= 2),
        "at least 2 channels of at least 2 finite numbers each",
        "give one list of positions a channel",
    )
    scheme = one_of("token", "sequence", default="sequence")
    channel = whole(1, low=0, fix="0 is the first channel")
    position = whole(4, low=0, fix="0 is the first token")
    push = real(0.0, low=-12, high=12, fix="0 changes nothing")
    factor = real(1.0, low=0.25, high=8, fix="1 changes nothing")
    eps = eps_trait()
