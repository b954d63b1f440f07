"""One split of a table: as a network takes it, and what Monte Carlo batch norm scores on its test rows."""

import torch
from torch import Tensor, nn

from companion.lab.data import Dataset
from companion.lab.networks import recompute_statistics
from companion.probes import (
    best_crps,
    best_log_likelihood,
    best_precision,
    gaussian_crps,
    gaussian_log_likelihood,
    interval_coverage,
    mixture_log_likelihood,
    normalized_score,
)
from companion.studies.uci.tables import Table

COVERAGE = 0.9  # of test points that an interval of this level should hold


class Split:
    """One split of a table, as a network takes it, and the way back to the units of the targets."""

    def __init__(self, table: Table, train, test) -> None:
        x, y = torch.as_tensor(table.x), torch.as_tensor(table.y)
        train, test = torch.as_tensor(train), torch.as_tensor(test)
        std = x[train].std(0, correction=0)
        x = (x - x[train].mean(0)) / torch.where(std > 0, std, 1.0)  # a column that never varies says nothing
        self.mean, self.std = y[train].mean(), y[train].std(correction=0)
        self.y_test = y[test]
        scaled = (y - self.mean) / self.std
        parts = (x[train], scaled[train], x[test], scaled[test])
        self.data = Dataset(table.name, *(part.float() for part in parts))

    def in_units(self, outputs: Tensor) -> Tensor:
        """Return a network's outputs, ``(…, rows, 1)``, in the units of the targets: ``(…, rows)``."""
        return outputs.squeeze(-1).double() * self.std + self.mean


def choose_noise(y: Tensor, samples: Tensor, bounds: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Return the precision of MCBN's noise and the constant standard deviation that have the smallest CRPS."""
    mean, variance = samples.mean(0), samples.var(0, correction=0)
    constant = best_precision(y, mean, torch.zeros_like(variance), bounds=bounds)
    precision = best_precision(y, mean, variance, bounds=bounds)
    return torch.tensor(precision, dtype=torch.float64), torch.tensor(constant, dtype=torch.float64) ** -0.5


def mid_ranks(values: Tensor) -> Tensor:
    """Return ranks from 0.5 on, ``(N,)``; equal values, which tables with repeated rows have, share their mean."""
    _, place, count = values.unique(return_inverse=True, return_counts=True)
    return (count.cumsum(0) - count / 2).double()[place]


@torch.no_grad()
def score_split(split: Split, samples: Tensor, network: nn.Module, precision: Tensor, constant: Tensor) -> dict:
    """Return all that :class:`companion.studies.uci.trials.Trials` has to say of one split."""
    y, noise = split.y_test, precision**-0.5
    mean, spread = samples.mean(0), samples.std(0, correction=0)
    std = (spread.square() + noise.square()).sqrt()
    flat = torch.full_like(mean, float(constant))
    log_constant, log_best = gaussian_log_likelihood(y, mean, flat), best_log_likelihood(y, mean)
    triples = {
        "crps": (gaussian_crps(y, mean, std), gaussian_crps(y, mean, flat), best_crps(y, mean)),
        "log_likelihood": (mixture_log_likelihood(y, samples, noise), log_constant, log_best),
        "gaussian_log_likelihood": (gaussian_log_likelihood(y, mean, std), log_constant, log_best),
    }
    raw = {
        name + end: part.mean()
        for name, triple in triples.items()
        for end, part in zip(("", "_constant", "_best"), triple, strict=True)
    }
    settled = recompute_statistics(network, split.data.x)
    deterministic = split.in_units(settled(split.data.x_test))
    ranks = torch.stack([mid_ranks(spread), mid_ranks((y - mean).abs())])
    return {
        **{name: torch.tensor(normalized_score(*triple), dtype=torch.float64) for name, triple in triples.items()},
        "raw": raw,
        "rmse": (y - mean).square().mean().sqrt(),
        "rmse_deterministic": (y - deterministic).square().mean().sqrt(),
        "rank_correlation": torch.corrcoef(ranks)[0, 1],
        "coverage": interval_coverage(y, mean, std, [COVERAGE])[0],
        "coverage_constant": interval_coverage(y, mean, flat, [COVERAGE])[0],
        "precision": precision,
        "constant_std": constant,
        "y": y,
        "mean": mean,
        "spread": spread,
    }
