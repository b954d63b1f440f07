r"""Scores of predictions that come with an uncertainty, and the best that they can be.

For a target :math:`y`, a predicted mean :math:`m` and standard deviation :math:`\sigma`, with :math:`e = y - m`.
Numbers, lists, arrays and tensors may go in; all is computed, and comes back, in float64.
"""

# In torch, not with scoringrules (0.10): its torch backend is right to 5e-8 only in float64, and its logarithmic
# scores are infinite where a density underflows. Tests compare with numerical integration and scipy.
import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal


def gaussian_crps(y: Any, mean: Any, std: Any) -> Tensor:
    r"""Return the continuous ranked probability score of a normal prediction: less is better, 0 is perfect.

    .. math:: \int \big(\Phi(\tfrac{u - m}{\sigma}) - [u \ge y]\big)^2 du
        = e\,\mathrm{erf}\frac{e}{\sigma\sqrt2} + \sigma\Big(\sqrt{\tfrac2\pi}\,e^{-e^2/2\sigma^2}
        - \tfrac{1}{\sqrt\pi}\Big)

    In the unit of ``y``. Without uncertainty, at :math:`\sigma = 0`, it is the absolute error.

    Shapes:
        - ``y``, ``mean`` and the result: any, the same
        - ``std``: the same, or one number

    Raises:
        ValueError: If shapes differ, a number is not finite, or ``std`` is negative.

    Source:
        Gneiting and Raftery (2007), section 4.2, with the sign of a loss.

    Introduced in:
        ``notebooks/15_monte_carlo_batch_norm.md``

    Example:
        >>> gaussian_crps([0.0, 2.0], [0.0, 0.0], [1.0, 0.0])
        tensor([0.2337, 2.0000], dtype=torch.float64)
    """
    y, mean, std = check_predictions(y, mean, std)
    error = y - mean
    z = error / std.clamp(min=torch.finfo(std.dtype).tiny)
    return error * torch.erf(z / math.sqrt(2)) + std * ((-z * z / 2).exp() * math.sqrt(2) - 1) / math.sqrt(math.pi)


def gaussian_log_likelihood(y: Any, mean: Any, std: Any) -> Tensor:
    r"""Return the logarithm of a normal prediction's density at the target: more is better, there is no best.

    .. math:: -\tfrac12 \log 2\pi\sigma^2 - e^2 / 2\sigma^2

    Shapes:
        - as for :func:`gaussian_crps`; nats

    Raises:
        ValueError: As :func:`gaussian_crps`, and for ``std`` of 0.

    Introduced in:
        ``notebooks/15_monte_carlo_batch_norm.md``

    Example:
        >>> gaussian_log_likelihood([0.0, 2.0], [0.0, 0.0], 1.0)
        tensor([-0.9189, -2.9189], dtype=torch.float64)
    """
    y, mean, std = check_predictions(y, mean, std, positive=True)
    return Normal(mean, std, validate_args=False).log_prob(y)


def mixture_log_likelihood(y: Any, samples: Any, std: Any) -> Tensor:
    r"""Return the logarithm of the density of :math:`T` equally likely normal distributions at the target.

    .. math:: \log \frac1T \sum_t \mathcal{N}(y;\; f_t, \sigma^2)

    Shapes:
        - ``y`` and the result: any; nats
        - ``samples``: one more axis, the first, for :math:`f_1 \dots f_T`
        - ``std``: as ``y``, or one number

    Raises:
        ValueError: As :func:`gaussian_log_likelihood`.

    Introduced in:
        ``notebooks/15_monte_carlo_batch_norm.md``

    Example:
        >>> mixture_log_likelihood([0.0], [[-1.0], [1.0]], 1.0)
        tensor([-1.4189], dtype=torch.float64)
    """
    samples = to_float64("samples", samples)
    if samples.dim() < 1 or not len(samples):
        raise ValueError(
            f"samples must have shape (T, *shape of y), T at least 1, but got {tuple(samples.shape)}; "
            "stack the samples along a new first axis"
        )
    y, _, std = check_predictions(y, samples[0], std, positive=True, names=("each sample", "std"))
    each = Normal(samples, std, validate_args=False).log_prob(y)
    return each.logsumexp(0) - math.log(len(samples))


def best_crps(y: Any, mean: Any) -> Tensor:
    r"""Return the least CRPS that a normal prediction of this mean can have, each point with its own :math:`\sigma`.

    .. math:: |e|\,\mathrm{erf}\sqrt{\ln 2 / 2} \approx 0.5949\,|e| \quad\text{at}\quad \sigma = |e| / \sqrt{\ln 2},

    for :math:`\partial_\sigma \mathrm{CRPS} = (\sqrt2\,e^{-e^2/2\sigma^2} - 1) / \sqrt\pi` grows with
    :math:`\sigma`, and is zero there.

    Shapes:
        - all: any, the same

    Raises:
        ValueError: As :func:`gaussian_crps`.

    Introduced in:
        ``notebooks/15_monte_carlo_batch_norm.md``

    Example:
        >>> best_crps([3.0], [1.0])
        tensor([1.1898], dtype=torch.float64)
    """
    y, mean, _ = check_predictions(y, mean, 0.0)
    return (y - mean).abs() * math.erf(math.sqrt(math.log(2) / 2))


def best_log_likelihood(y: Any, mean: Any, floor: float = 1e-12) -> Tensor:
    r"""Return the largest log-likelihood that a normal prediction of this mean can have: :math:`\sigma = |e|`.

    Args:
        y, mean: Any shape, the same.
        floor: The least :math:`\sigma`, above 0, since there is no best without an error. Each tenfold
            lower floor adds 2.3 nats to a point whose error is below both.

    Raises:
        ValueError: As :func:`gaussian_log_likelihood`.

    Introduced in:
        ``notebooks/15_monte_carlo_batch_norm.md``

    Example:
        >>> best_log_likelihood([2.0], [1.0])
        tensor([-1.4189], dtype=torch.float64)
    """
    y, mean, floor = check_predictions(y, mean, floor, positive=True, names=("mean", "floor"))
    return gaussian_log_likelihood(y, mean, torch.maximum((y - mean).abs(), floor))


def normalized_score(score: Any, constant: Any, best: Any) -> float:
    r"""Place a mean score between that of a constant uncertainty (0) and the best there is (100).

    .. math:: 100\, \frac{\bar{s} - \bar{s}_\text{constant}}{\bar{s}_\text{best} - \bar{s}_\text{constant}}

    Below 0 is worse than a constant. Serves losses such as CRPS and log-likelihoods alike.

    Raises:
        ValueError: If a number is not finite, or the constant is already the best.

    Source:
        Teye et al. (2018).

    Introduced in:
        ``notebooks/15_monte_carlo_batch_norm.md``

    Example:
        >>> normalized_score([1.0, 2.0], constant=[2.0, 2.0], best=[1.0, 1.0])
        50.0
    """
    named = {"score": score, "constant": constant, "best": best}
    score, constant, best = (to_float64(name, value).mean().item() for name, value in named.items())
    if best == constant:
        raise ValueError(f"best and constant must differ in the mean, but both are {best}; there is nothing to gain")
    return 100 * (score - constant) / (best - constant)


def check_predictions(
    y: Any, mean: Any, std: Any, positive: bool = False, names: tuple[str, str] = ("mean", "std")
) -> tuple[Tensor, Tensor, Tensor]:
    """Return all in float64, of equal shapes except for a ``std`` of one number."""
    y, mean, std = (to_float64(name, value) for name, value in zip(("y", *names), (y, mean, std), strict=True))
    if y.shape != mean.shape or std.shape not in (y.shape, ()) or not y.numel():
        raise ValueError(
            f"y, {names[0]} and {names[1]} must hold numbers in the same shape ({names[1]}: or one number), but got "
            f"{tuple(y.shape)}, {tuple(mean.shape)} and {tuple(std.shape)}; squeeze an axis of size 1"
        )
    if (std <= 0).any() if positive else (std < 0).any():
        least = "above 0" if positive else "at least 0"
        raise ValueError(f"{names[1]} must be {least}, but got {std.min().item():g}; is it a variance's root?")
    return y, mean, std


def to_float64(name: str, value: Any) -> Tensor:
    """Return finite numbers as a float64 tensor without a graph, or raise."""
    value = torch.as_tensor(value, dtype=torch.float64).detach()
    if not value.isfinite().all():
        raise ValueError(f"{name} must hold finite numbers, but got NaN or infinity; look where they come from")
    return value
