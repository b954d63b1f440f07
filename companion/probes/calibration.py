r"""Calibration of uncertainties: intervals should cover as often as they say, probabilities come true as often."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal

from companion.norms.sharing import check_positive_int
from companion.probes.scores import check_predictions, to_float64


@dataclass(frozen=True)
class Reliability:
    """Outcome of predictions, sorted into bins by their confidence; all three tensors are ``(bins,)``.

    ``confidence`` and ``accuracy`` are means, NaN in a bin whose ``count`` is 0.
    """

    confidence: Tensor
    accuracy: Tensor
    count: Tensor

    @property
    def expected_calibration_error(self) -> float:
        r"""Distance of accuracy from confidence, :math:`\sum_b \frac{n_b}{N} |\mathrm{acc}_b - \mathrm{conf}_b|`."""
        gaps = (self.accuracy - self.confidence).abs() * self.count
        return (gaps.nansum() / self.count.sum()).item()


def interval_coverage(y: Any, mean: Any, std: Any, levels: Sequence[float] = (0.5, 0.8, 0.9, 0.95)) -> Tensor:
    r"""Return the share of targets inside the central interval of a normal prediction, for each level.

    .. math:: \frac1N \sum_i \big[\,|y_i - m_i| \le \sigma_i\,\Phi^{-1}(\tfrac{1 + \ell}{2})\,\big]

    Calibrated predictions cover a share :math:`\ell`, whatever their width: it takes a score to tell which
    of two calibrated ones is better.

    Shapes:
        - ``y``, ``mean``: any, the same; ``std``: the same, or one number
        - the result: ``(len(levels),)``

    Args:
        y, mean, std: Targets, means and standard deviations.
        levels: The shares :math:`\ell` to be covered, between 0 and 1.

    Raises:
        ValueError: As :func:`companion.gaussian_crps`, and for a level outside its range.

    Introduced in:
        ``notebooks/15_monte_carlo_batch_norm.md``

    Example:
        >>> interval_coverage([0.0, 1.0, 2.0, 3.0], [0.0] * 4, 1.0, levels=[0.5, 0.9])
        tensor([0.2500, 0.5000], dtype=torch.float64)
    """
    y, mean, std = check_predictions(y, mean, std)
    levels = to_float64("levels", levels).to(y.device)
    if levels.dim() != 1 or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"levels must be numbers between 0 and 1, but got {levels.tolist()}; try [0.5, 0.9]")
    half = Normal(torch.zeros_like(levels), 1.0).icdf((1 + levels) / 2)
    inside = (y - mean).abs().flatten() <= half[:, None] * std.flatten()
    return inside.to(torch.float64).mean(1)


def reliability(probabilities: Any, labels: Any, bins: int = 10) -> Reliability:
    r"""Measure, for each degree of confidence, if a classifier that is sure to 80 % is right in 80 % of cases.

    The confidence is the largest probability; bins have equal width, :math:`[0, 1/B), \dots, [1 - 1/B, 1]`.

    Shapes:
        - ``probabilities``: ``(N, K)``; ``labels``: ``(N,)``, class numbers

    Args:
        probabilities: At least 0, of sum 1 for each example.
        labels: The true classes.
        bins: Their number :math:`B`.

    Raises:
        ValueError: If ``probabilities`` are none, shapes do not fit, or a label is no class.

    Source:
        Guo et al. (2017), for the expected calibration error.

    Introduced in:
        ``notebooks/15_monte_carlo_batch_norm.md``

    Example:
        >>> found = reliability([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]], [0, 0, 1], bins=2)
        >>> found.count.tolist(), found.accuracy[1].item(), round(found.expected_calibration_error, 4)
        ([0.0, 3.0], 0.6666666666666666, 0.1333)
    """
    check_positive_int("bins", bins)
    probabilities = to_float64("probabilities", probabilities)
    labels = torch.as_tensor(labels, device=probabilities.device)
    if probabilities.dim() != 2 or not probabilities.numel() or labels.shape != probabilities.shape[:1]:
        raise ValueError(
            f"probabilities must be (N, K) and labels (N,), but got {tuple(probabilities.shape)} and "
            f"{tuple(labels.shape)}; one row, and one class number, an example"
        )
    if (probabilities < 0).any() or ((probabilities.sum(1) - 1).abs() > 1e-3).any():
        raise ValueError("probabilities must be at least 0, with sum 1 in each row, but got others; take the softmax")
    if labels.is_floating_point() or (labels < 0).any() or (labels >= probabilities.shape[1]).any():
        raise ValueError(f"labels must be whole numbers from 0 to {probabilities.shape[1] - 1}, but got others")
    confidence, guess = probabilities.max(1)
    place = (confidence * bins).long().clamp(max=bins - 1)
    count, sure, right = (
        torch.zeros(bins, dtype=torch.float64, device=place.device).index_add_(0, place, values.to(torch.float64))
        for values in (torch.ones_like(confidence), confidence, guess == labels)
    )
    return Reliability(sure / count, right / count, count)
