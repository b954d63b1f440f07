"""Chapter 1's interactive figure: drag a batch mate."""

from companion.figures.base import Checked, InteractiveFigure, array, description, eps_trait, one_of, real, whole


class BatchMates(InteractiveFigure):
    """One channel of a small batch under batch norm: drag a batch mate, and see your own output move.

    In ``"train"`` m and s are the batch's mean and standard deviation, in ``"eval"`` those of the running statistics::

        out = γ (h − m) / √(s² + ε) + δ

    Args:
        values: Pre-activations h of one channel, at least two; the first is "your" example.
        gamma, delta: Scale γ and offset δ (``weight`` and ``bias`` in torch).
        eps: ε, which keeps the division finite where all values are equal.
        momentum: Weight of the newest batch in the running statistics.
        mode: ``"train"`` or ``"eval"``.
        running_mean, running_var: The running statistics at the start.
        steps: Training steps taken so far (``num_batches_tracked`` in torch).

    Raises:
        ValueError: If a value breaks its rule.

    Numerics:
        Float64; s² divides by the number of examples, the running variance by one fewer, as in torch.

    Source:
        UDL section 11.4; Ioffe and Szegedy (2015). First in chapter 1.

    Example:
        >>> BatchMates(gamma=2)
        BatchMates(gamma=2.0)
        >>> BatchMates(values=[1.0])
        Traceback (most recent call last):
        ...
        ValueError: values must be at least 2 finite numbers, but got values=[1.0]; give yours, then mates
    """

    alt = description(
        "Interactive figure: the examples of a batch are dots on an axis, joined by curves to their batch-normalized "
        "outputs on an axis below. In training, moving one example moves every output; in evaluation, only its own."
    )
    values = Checked(
        [2.2, -1.4, 0.1, 0.9, 1.6, 3.0, 3.6, -0.4],
        array(1, lambda count: count >= 2),
        "at least 2 finite numbers",
        "give yours, then mates",
    )
    gamma = real(1.0, fix="batch norm starts with 1")
    delta = real(0.0, fix="batch norm starts with 0")
    eps = eps_trait()
    momentum = real(0.1, low=0, high=1, fix="torch takes 0.1")
    mode = one_of("train", "eval")
    running_mean = real(0.0, fix="torch starts with 0")
    running_var = real(1.0, low=0, fix="torch starts with 1")
    steps = whole(0, low=0, fix="torch starts with 0")
