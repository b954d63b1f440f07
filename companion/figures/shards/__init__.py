"""Chapter 7's interactive figure: a batch on several machines, each with a mean of its own, or all with one."""

from companion.figures.base import Checked, InteractiveFigure, array, description, eps_trait, one_of, whole

MOST = 4  # machines
_BATCH = [-0.9, 0.4, 1.3, -0.2, 0.7, -1.5, 0.1, 1.8, -0.6, 0.9, 0.3, -1.1]
_BATCH += [1.0, -0.4, 0.2, -1.8, 1.5, 0.6, -0.7, 0.0, 1.2, -1.2, 0.5, -0.3]


class Shards(InteractiveFigure):
    """One unit's values on one to four machines: whose mean and standard deviation normalize them?

    With ``"local"`` each machine takes m and s of its own examples, with ``"sync"`` those of all::

        out = (h − m) / √(s² + ε)

    Args:
        values: The values h, at least 8, in the order in which they are dealt out: neighbours share a machine.
        machines: How many, from 1 to 4.
        norm: ``"local"`` or ``"sync"``.
        drifts: What is added to the values of each of the four machines.
        eps: ε, which keeps the division finite where all values of a machine are equal.

    Raises:
        ValueError: If a value breaks its rule.

    Numerics:
        Float64; s² divides by the number of examples.

    Source:
        UDL section 11.4. First in chapter 7.

    Example:
        >>> Shards(machines=4)
        Shards(machines=4)
        >>> Shards(machines=5)
        Traceback (most recent call last):
        ...
        ValueError: machines must be a whole number from 1 to 4, but got machines=5; start with 2
    """

    alt = description(
        "Interactive figure: the values of one unit lie on one to four machines, a row for each. Below, their "
        "normalized outputs, beside rings where one machine that holds all would put them. With statistics of each "
        "machine's own the outputs miss the rings; with synchronised ones they lie in them, however a machine drifts."
    )
    values = Checked(
        _BATCH,
        array(1, lambda count: count >= 2 * MOST),
        f"at least {2 * MOST} finite numbers",
        "take one unit's column, h[:24, 0]",
    )
    machines = whole(2, low=1, high=MOST, fix="start with 2")
    norm = one_of("local", "sync")
    drifts = Checked(
        [-1.0, 1.4, 0.4, -0.6],
        array(1, lambda count: count == MOST),
        f"{MOST} finite numbers",
        "one for each machine, used or not",
    )
    eps = eps_trait()
