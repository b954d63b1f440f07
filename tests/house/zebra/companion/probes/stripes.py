"""Changes of sign along a row."""

import torch
from torch import Tensor


def count_stripes(x: Tensor) -> Tensor:
    """Return how many stripes each row has: stretches of neighbours with one sign.

    Args:
        x: Values ``(*rows, positions)``; zero counts as negative.

    Returns:
        Whole numbers ``(*rows)``, from 1.

    Source:
        Prince (2023). First in ``notebooks/99_zebra.ipynb``.

    Example:
        >>> count_stripes(torch.tensor([3.0, 1.0, -2.0, 5.0]))
        tensor(3)
    """
    positive = x > 0
    return 1 + torch.count_nonzero(positive[..., 1:] != positive[..., :-1], dim=-1)
