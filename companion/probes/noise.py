r"""Noise of the targets: the precision, or the one standard deviation, that scores best."""

import math
from typing import Any

import torch

from companion.probes.scores import check_predictions, gaussian_crps, gaussian_log_likelihood

GRIDS = 200, *[20] * 7  # points, each time between the neighbours of the best before


def best_constant_std(y: Any, mean: Any, score: str = "crps", bounds: tuple[float, float] | None = None) -> float:
    r"""Return the one standard deviation, the same for all points, that scores best: the baseline to beat.

    Choose it on validation data. For CRPS it is where :math:`e^{-e^2/2\sigma^2}` is :math:`1/\sqrt2` in the
    mean, for the log-likelihood where :math:`\sigma^2` is the mean of :math:`e^2`.

    Args:
        y, mean: Any shape, the same.
        score: ``"crps"`` or ``"log_likelihood"``.
        bounds: The least and the largest that are allowed. None: a millionth of the largest error, and
            twice that error.

    Raises:
        ValueError: As :func:`best_precision`, and if all errors are zero.

    Source:
        Teye et al. (2018), who call the baseline CUBN.

    Introduced in:
        ``notebooks/15_monte_carlo_batch_norm.md``

    Example:
        >>> round(best_constant_std([1.0, -1.0], [0.0, 0.0]), 4), round(1 / math.log(2) ** 0.5, 4)
        (1.2011, 1.2011)
    """
    y, mean, _ = check_predictions(y, mean, 0.0)
    largest = (y - mean).abs().max().item()
    if not largest:
        raise ValueError("y and mean must differ somewhere, but all errors are zero; no uncertainty is needed")
    low, high = _bounds((1e-6 * largest, 2 * largest) if bounds is None else bounds)
    return best_precision(y, mean, 0.0, (high**-2, low**-2), score) ** -0.5


def best_precision(y: Any, mean: Any, variance: Any, bounds: tuple[float, float], score: str = "crps") -> float:
    r"""Return the noise's precision :math:`\tau` for which predictions score best.

    .. math:: \arg\min_\tau \frac1N \sum_i \mathrm{CRPS}\big(y_i;\; m_i, \sqrt{v_i + 1/\tau}\big)

    Choose it on validation data. Bounds are part of the method: where the variances :math:`v` are as large as
    the errors or larger, the best is no noise at all, and the log-likelihood of a *mixture* of samples
    with so narrow a noise has no lower end.

    Args:
        y, mean: Any shape, the same.
        variance: :math:`v`, what the samples have; the same shape, or one number, at least 0.
        bounds: The least and the largest :math:`\tau` that are allowed, above 0.
        score: ``"crps"``, or ``"log_likelihood"`` for the normal log-likelihood.

    Raises:
        ValueError: As :func:`gaussian_crps`; if bounds are not two finite numbers above 0, the larger one
            last; for another ``score``.

    Numerics:
        The best of 200 precisions in geometric progression, then of finer ones around it, as there may be
        more than one minimum.

    Introduced in:
        ``notebooks/15_monte_carlo_batch_norm.md``

    Example:
        >>> round(best_precision([1.0, -1.0], [0.0, 0.0], variance=0.0, bounds=(0.01, 100.0)), 4)
        0.6931
    """
    y, mean, variance = (part.flatten() for part in check_predictions(y, mean, variance, names=("mean", "variance")))
    losses = {"crps": gaussian_crps, "log_likelihood": lambda *args: -gaussian_log_likelihood(*args)}
    if score not in losses:
        raise ValueError(f"score must be one of {', '.join(losses)}, but got {score!r}")
    low, high = least, most = _bounds(bounds)
    for points in GRIDS:
        taus = torch.logspace(math.log10(low), math.log10(high), points, dtype=torch.float64, device=y.device)
        stds = (variance.expand(y.shape) + 1 / taus[:, None]).sqrt()
        place = int(losses[score](y.expand(stds.shape), mean.expand(stds.shape), stds).mean(1).argmin())
        low, high = taus[max(place - 1, 0)].item(), taus[min(place + 1, points - 1)].item()
    return min(max(taus[place].item(), least), most)


def _bounds(bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = map(float, bounds)
    if not 0 < low < high < math.inf:
        raise ValueError(f"bounds must be two finite numbers above 0, the larger one last, but got {bounds}")
    return low, high
