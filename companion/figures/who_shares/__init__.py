"""Chapter 2's interactive figure: who shares a mean and a variance."""

import operator
import random

import traitlets

from companion.figures.base import (
    Checked,
    InteractiveFigure,
    description,
    divisors,
    eps_trait,
    listed,
    number,
    require,
    whole,
)


def _block(values) -> list[list[list[float]]]:
    block = [[[number()(value) for value in strip] for strip in row] for row in values]
    counts = {(len(row), len(strip)) for row in block for strip in row}
    return require(block, lambda block: len(counts) == 1 and min(counts.pop()) > 0 and all(block))


def _entry(entry) -> list[int]:
    return require([number(0, kind=operator.index)(place) for place in entry], lambda entry: len(entry) == 3)


def _made_up() -> list[list[list[float]]]:
    """Make six examples, six channels, four positions: contrasts differ by example, offsets by channel."""
    draw = random.Random(11).random
    gains, offsets = [0.4 + 1.2 * draw() for _ in range(6)], [3 * draw() - 1.5 for _ in range(6)]
    return [
        [[round(gain * (offset + 2.4 * (draw() - 0.5)), 1) for _ in range(4)] for offset in offsets] for gain in gains
    ]


class WhoShares(InteractiveFigure):
    """A block of examples × channels × positions: choose who shares, and see who moves with whom.

    In each group of ``examples`` × ``channels`` × all positions, with its mean m and standard deviation s::

        out = (h − m) / √(s² + ε)

    Args:
        values: The block h, ``(N, C, positions)``, as nested lists or an array.
        examples: How many consecutive examples share a mean and a variance; divides N.
        channels: How many consecutive channels share them; divides C.
        chosen: The entry whose group is shown: example, channel and position, counted from 0.
        eps: ε, which keeps the division finite where all values of a group are equal.

    Raises:
        ValueError: If a value breaks its rule.

    Numerics:
        Float64; s² divides by the number of values.

    Source:
        UDL figure 11.14 shows the schemes; Wu and He (2018), equation 7. First in chapter 2.

    Example:
        >>> WhoShares(examples=1, channels=6)
        WhoShares(channels=6, examples=1)
        >>> WhoShares(examples=4)
        Traceback (most recent call last):
        ...
        ValueError: examples must divide the 6 examples of values, but got examples=4; take 1, 2, 3 or 6
    """

    alt = description(
        "Interactive figure: a block of examples by channels, each a tile of positions, before and after "
        "normalization. Two sliders say how many examples and how many channels share a mean and a variance; the "
        "group of a chosen entry is outlined, and moving the entry's value moves the outputs of its group only."
    )
    values = Checked(_made_up(), _block, "a block of finite numbers, (N, C, positions)", "nest three lists")
    examples = whole(6, low=1, fix="take a divisor of N")
    channels = whole(1, low=1, fix="take a divisor of C")
    chosen = Checked([2, 3, 1], _entry, "three whole numbers: example, channel, position", "count from 0")
    eps = eps_trait()

    def __init__(self, **traits) -> None:
        if "values" in traits:  # a block of another size: batch norm, and the first entry, always fit
            block = type(self).values.validate(self, traits["values"])
            traits = {"examples": len(block), "chosen": [0, 0, 0], **traits, "values": block}
        super().__init__(**traits)

    @traitlets.validate("values", "examples", "channels", "chosen")
    def _fits(self, proposal):
        """Return the proposed value, if the block can be cut as asked and has the chosen entry."""
        state = {name: getattr(self, name) for name in ("values", "examples", "channels", "chosen")}
        state[proposal["trait"].name] = proposal["value"]
        block = state["values"]
        sizes = len(block), len(block[0]), len(block[0][0])
        for name, size in zip(("examples", "channels"), sizes, strict=False):
            if size % state[name]:
                raise ValueError(
                    f"{name} must divide the {size} {name} of values, but got {name}={state[name]}; "
                    f"take {listed(divisors(size))}"
                )
        if any(place >= size for place, size in zip(state["chosen"], sizes, strict=True)):
            raise ValueError(
                f"chosen must lie in the block of {' x '.join(map(str, sizes))} values, "
                f"but got chosen={state['chosen']}; count from 0"
            )
        return proposal["value"]
