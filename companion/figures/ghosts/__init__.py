"""Chapter 3's interactive figure: one unit's batch cut into ghosts, and one example's output among changing company."""

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
    require_index,
    whole,
)

# 32 values with a longer tail upwards, as a hidden unit's often have.
_RANKS = (np.arange(32) * 13 % 32 + 0.5) / 32
_BATCH = (0.4 + np.log(_RANKS / (1 - _RANKS)) / 2 + 0.6 * _RANKS**2).round(2).tolist()


class Ghosts(InteractiveFigure):
    """A batch of one hidden unit's values, cut into ghosts: shuffle it, and see how one output depends on its company.

    Each ghost of ``ghost_size`` neighbours has a mean m and a standard deviation s of its own::

        out = (h − m) / √(s² + ε)

    A track shows all that the followed example's output was in 500 shuffles.

    Args:
        values: The values h, an even number of at least 4.
        ghost_size: How many examples share a mean and a standard deviation; at least 2, and a divisor of their number.
        followed: Number of the example whose output is followed, from 0.
        shuffle: Which of the 500 shuffles is shown, from 1; 0 is the order of ``values``.
        eps: ε, which keeps the division finite where all values of a ghost are equal.

    Raises:
        ValueError: If a value breaks its rule.

    Numerics:
        Float64; s² divides by the ghost size.

    Source:
        Hoffer et al. (2017); UDL figure 11.14. First in chapter 3.

    Example:
        >>> Ghosts(ghost_size=4)
        Ghosts(ghost_size=4)
        >>> Ghosts(ghost_size=5)
        Traceback (most recent call last):
        ...
        ValueError: ghost_size must divide the 32 values, but got ghost_size=5; try 2, 4, 8, 16 or 32
    """

    alt = description(
        "Interactive figure: one hidden unit's values for a batch of examples, cut into ghosts that each have a mean "
        "and a standard deviation of their own, and the outputs. Shuffling the batch gives one example other company "
        "and moves its output; a track of 500 shuffles widens as ghosts get smaller."
    )
    values = Checked(
        _BATCH,
        array(1, lambda count: count >= 4 and count % 2 == 0),
        "an even number of finite values, at least 4",
        "take one unit's column, h[:64, 0]",
    )
    ghost_size = whole(8, low=2, fix="take a divisor of the batch")
    followed = whole(0, low=0, fix="count the examples from 0")
    shuffle = whole(0, low=0, high=500, fix="0 is unshuffled")
    eps = eps_trait()

    def __init__(self, **traits) -> None:
        if "values" in traits and "ghost_size" not in traits:  # a batch of another size: one ghost always fits
            traits["ghost_size"] = len(type(self).values.validate(self, traits["values"]))
        super().__init__(**traits)

    @traitlets.validate("values", "ghost_size", "followed")
    def _fits(self, proposal):
        """Return the proposed value, if the batch can be cut as asked and has the example that is followed."""
        state = {name: getattr(self, name) for name in ("values", "ghost_size", "followed")}
        state[proposal["trait"].name] = proposal["value"]
        size = len(state["values"])
        if size % state["ghost_size"]:
            raise ValueError(
                f"ghost_size must divide the {size} values, but got ghost_size={state['ghost_size']}; "
                f"try {listed(divisors(size, least=2))}"
            )
        require_index("followed", state["followed"], size, "values")
        return proposal["value"]
