"""Small real data sets, split and normalised the same way every time, without a download."""

import random
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from companion.lab.walls import street_digits

TENSORS = ("x", "y", "x_test", "y_test")
SEEDS = 2**31  # what every generator in use takes
_made = lru_cache(maxsize=2)(street_digits)  # what is handed out is normalised, and so a copy


@dataclass(frozen=True)
class Dataset:
    """A data set, split once and normalised with the training examples' mean and standard deviation.

    Shapes:
        - ``x``: ``(examples, channels, *positions)`` or ``(examples, features)``, float32
        - ``y``: ``(examples,)``, class numbers (int64) or normalised targets (float32)
        - ``x_test``, ``y_test``: the same for the examples held out
    """

    name: str
    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor

    @property
    def is_classification(self) -> bool:
        """True if ``y`` holds class numbers."""
        return not self.y.is_floating_point()

    def to(self, device: torch.device | str) -> "Dataset":
        """Return the same data on ``device``."""
        return replace(self, **{name: getattr(self, name).to(device) for name in TENSORS})


def load_data(name: str, seed: int = 0) -> Dataset:
    r"""Load one of the data sets that need no download.

    =================  =============================  ===================  =======  ===============
    name               what                           shape of ``x``       classes  training + test
    =================  =============================  ===================  =======  ===============
    ``mnist1d``        generated 1-D "digits"         ``(N, 40)``          10       4000 + 1000
    ``digits``         handwritten digits, 8 by 8     ``(N, 1, 8, 8)``     10       1000 + 797
    ``street_digits``  digits on walls, in colour     ``(N, 3, 32, 32)``   10       4000 + 1000
    ``diabetes``       ten measurements, one outcome  ``(N, 10)``          none     342 + 100
    =================  =============================  ===================  =======  ===============

    Inputs become :math:`(x - m)/s` with the training set's :math:`m` and :math:`s`: one pair for
    signals and images, one pair a feature for tables; a table's targets likewise. The same seed gives the same data and
    the same split every time.

    Args:
        name: ``"mnist1d"``, ``"digits"``, ``"street_digits"`` (see :func:`street_digits`) or ``"diabetes"``.
        seed: Another seed draws other generated data, or another split; 0 is what the chapters show.

    Returns:
        A :class:`Dataset` on the CPU.

    Raises:
        ValueError: If there is no data set of that name, or ``seed`` is not a whole number, 0 or more.

    Source:
        ``mnist1d``: Greydanus and Kobak (2024), https://arxiv.org/abs/2011.14439. ``digits``, ``diabetes``:
        bundled with scikit-learn.

    Example:
        >>> data = load_data("digits")
        >>> tuple(data.x.shape), len(data.y_test)
        ((1000, 1, 8, 8), 797)
    """
    if name not in _LOADERS:
        known = ", ".join(repr(known) for known in _LOADERS)
        raise ValueError(f"name must be one of {known}, but got {name!r}")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < SEEDS:
        raise ValueError(f"seed must be a whole number from 0 to {SEEDS - 1}, but got {seed!r}; 0 is the usual")
    return _LOADERS[name](int(seed))


def _mnist1d(seed: int) -> Dataset:
    from mnist1d.data import get_dataset_args, make_dataset

    # Generating the data seeds the global generators: the caller's are put back.
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        settings = get_dataset_args()
        settings.seed += seed
        raw = make_dataset(settings)
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
    return _normalised("mnist1d", raw["x"], raw["y"], raw["x_test"], raw["y_test"])


def _street_digits(seed: int) -> Dataset:
    x, y = _made(5000, seed)
    return _normalised("street_digits", *_split(x.numpy(), y.numpy(), test=1000, seed=seed))


def _digits(seed: int) -> Dataset:
    from sklearn.datasets import load_digits

    raw = load_digits()
    return _normalised("digits", *_split(raw.images[:, None], raw.target, test=797, seed=seed))


def _diabetes(seed: int) -> Dataset:
    from sklearn.datasets import load_diabetes

    raw = load_diabetes(scaled=False)
    return _normalised("diabetes", *_split(raw.data, raw.target.astype(float), test=100, seed=seed), per_feature=True)


def _split(x: np.ndarray, y: np.ndarray, test: int, seed: int) -> tuple[np.ndarray, ...]:
    """Hold out ``test`` examples, the same ones for the same seed: ``(x, y, x_test, y_test)``."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).numpy()
    train, held_out = order[:-test], order[-test:]
    return x[train], y[train], x[held_out], y[held_out]


def _normalised(name, x, y, x_test, y_test, per_feature: bool = False) -> Dataset:
    axis = 0 if per_feature else None
    mean, std = x.mean(axis), x.std(axis)
    inputs = [torch.tensor((part - mean) / std, dtype=torch.float32) for part in (x, x_test)]
    if np.issubdtype(y.dtype, np.integer):
        targets = [torch.tensor(part, dtype=torch.int64) for part in (y, y_test)]
    else:
        targets = [torch.tensor((part - y.mean()) / y.std(), dtype=torch.float32) for part in (y, y_test)]
    return Dataset(name, inputs[0], targets[0], inputs[1], targets[1])


_LOADERS = {"mnist1d": _mnist1d, "digits": _digits, "street_digits": _street_digits, "diabetes": _diabetes}
