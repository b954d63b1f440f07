"""Regression on many splits of one table: is the uncertainty of Monte Carlo batch norm better than a constant?"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from companion.lab.networks import mlp
from companion.lab.training import fit
from companion.norms.sharing import check_positive_int
from companion.probes import MonteCarloBatchNorm
from companion.studies.uci.scoring import Split, choose_noise, score_split
from companion.studies.uci.tables import Table

SCORES = {"crps": "CRPS", "log_likelihood": "PLL", "gaussian_log_likelihood": "PLL of a Gaussian"}


@dataclass(frozen=True, repr=False)
class Trials:
    """Scores of Monte Carlo batch norm (MCBN) on each split of a table. In units of the targets where not normalised.

    ``crps``, ``log_likelihood`` (of the mixture of samples) and ``gaussian_log_likelihood`` are normalised: 0 is the
    constant uncertainty, 100 the best that any uncertainty could score around the same mean.

    Shapes:
        - all: ``(splits,)``, float64; ``y``, ``mean`` and ``spread`` ``(splits, test rows)``

    ``spread`` is the samples' standard deviation, without the noise of precision ``precision``; ``raw`` holds the
    scores behind the normalised ones, as ``crps``, ``crps_constant``, ``crps_best`` and likewise for the others.
    """

    name: str
    batch_size: int
    epochs: int
    test_share: float
    crps: Tensor
    log_likelihood: Tensor
    gaussian_log_likelihood: Tensor
    raw: Mapping[str, Tensor]
    rmse: Tensor
    rmse_deterministic: Tensor
    rank_correlation: Tensor
    coverage: Tensor
    coverage_constant: Tensor
    precision: Tensor
    constant_std: Tensor
    y: Tensor
    mean: Tensor
    spread: Tensor

    def p_value(self, name: str = "crps", corrected: bool = False) -> float:
        r"""Test over splits, by a two-sided t-test, that the mean of a normalised score is 0.

        Splits of one table share most of their rows, so they are not independent and the plain test is too sure of
        itself. ``corrected`` widens the variance of the mean from :math:`s^2/k` to :math:`s^2(1/k + n_2/n_1)`, for
        :math:`k` splits into :math:`n_1` training and :math:`n_2` test rows.

        Source:
            Nadeau and Bengio (2003), Inference for the generalization error.
        """
        if name not in SCORES:
            raise ValueError(f"name must be one of {', '.join(map(repr, SCORES))}, but got {name!r}")
        from scipy.special import stdtr

        score = getattr(self, name)
        share = 1 / len(score) + corrected * self.test_share / (1 - self.test_share)
        t = score.mean() / (score.std() * share**0.5)
        return float(2 * stdtr(len(score) - 1, -abs(float(t))))

    def row(self) -> dict[str, float | int | str]:
        """Return what a table has to say of these trials: for each normalised score its mean, standard error and p."""
        parts: dict[str, float | int | str] = {
            "name": self.name,
            "batch_size": self.batch_size,
            "epochs": self.epochs,
            "splits": len(self.crps),
        }
        for name in SCORES:
            score = getattr(self, name)
            parts[name] = float(score.mean())
            parts[f"{name}_error"] = float(score.std() / len(score) ** 0.5)
            parts[f"{name}_p"] = self.p_value(name)
            parts[f"{name}_p_corrected"] = self.p_value(name, corrected=True)
        rest = ("rmse", "rmse_deterministic", "rank_correlation", "coverage", "coverage_constant")
        return {**parts, **{name: float(getattr(self, name).mean()) for name in rest}}

    def __repr__(self) -> str:
        return f"Trials({self.name}, {len(self.crps)} splits, batches of {self.batch_size}, {self.epochs} epochs)"


def run_trials(
    table: Table,
    *,
    batch_size: int,
    epochs: int,
    precision_bounds: tuple[float, float],
    weight_decay: float = 1e-6,
    learning_rate: float = 1e-3,
    width: int = 50,
    depth: int = 2,
    num_samples: int = 500,
    seed: int = 0,
    show_progress: bool = True,
) -> Trials:
    r"""Train a network on each split, all splits together, and score its Monte Carlo batch norm on the test rows.

    Twice: first on four fifths of a split's training rows, to choose on the last fifth the noise precision
    :math:`\tau` of MCBN and the standard deviation of the constant uncertainty, each for the smallest CRPS; then
    again on all training rows, for the scores. Networks are :func:`companion.mlp` with ``torch.nn.BatchNorm1d``,
    trained by Adam on squared error; inputs and targets have mean 0 and variance 1 over the rows trained on.

    Args:
        table: The rows, and how to split them.
        batch_size: Rows in a batch, in training and for MCBN.
        epochs: Passes over the training rows.
        precision_bounds: Between which :math:`\tau` and the constant's precision may lie, in units of the targets to
            the power of -2. Part of the method: :math:`\tau` is chosen by CRPS, and one that ran off to infinity would
            leave a mixture of spikes, whose log-likelihood says nothing.
        weight_decay: Adam's, on all parameters.
        learning_rate: Adam's.
        width: Hidden units in a layer.
        depth: Hidden layers.
        num_samples: Batches that MCBN draws.
        seed: Seed of the first split's network, batches, validation fifth and samples; the next has the next.
        show_progress: Whether to show a bar meanwhile, in a notebook.

    Raises:
        ValueError: If batches are larger than four fifths of the training rows, or a number is out of range.
        RuntimeError: If a split's training diverged.

    Source:
        Teye, Azizpour and Smith (2018), https://arxiv.org/abs/1802.06455.

    Introduced in:
        ``notebooks/15_monte_carlo_batch_norm.md``
    """
    check_positive_int("epochs", epochs)
    if not len(table.splits) > 1:
        raise ValueError(f"table must have at least 2 splits, to say how they differ, but got {len(table.splits)}")
    seeds = range(seed, seed + len(table.splits))
    training = {
        "build": partial(mlp, table.x.shape[1], 1, width=width, depth=depth, norm=nn.BatchNorm1d),
        "optimizer": partial(torch.optim.Adam, weight_decay=weight_decay),
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "seeds": seeds,
        "show_progress": show_progress,
    }
    validation = [Split(table, *_hold_out(train, own)) for own, (train, _) in zip(seeds, table.splits, strict=True)]
    chosen = [
        choose_noise(split.y_test, samples, precision_bounds)
        for split, samples, _ in _sampled(validation, epochs, num_samples, training)
    ]
    splits = [Split(table, *rows) for rows in table.splits]
    sampled = _sampled(splits, epochs, num_samples, training)
    scored = [score_split(*parts, *noise) for parts, noise in zip(sampled, chosen, strict=True)]
    return _collect(table, batch_size, epochs, scored)


def _sampled(
    splits: list[Split], epochs: int, num_samples: int, training: dict
) -> Iterator[tuple[Split, Tensor, nn.Module]]:
    """Train a network on each split; yield the split, samples at its test rows, in their units, and the network."""
    batch_size = training["batch_size"]
    steps = epochs * max(1, len(splits[0].data.x) // batch_size)
    trained = fit(data=[split.data for split in splits], steps=steps, **training)
    if trained.diverged:
        rate = training["learning_rate"]
        raise RuntimeError(f"{splits[0].data.name}: {trained} at learning_rate={rate}; try a smaller one")
    for seed, split, network in zip(trained.seeds, splits, trained.networks, strict=True):
        sampler = MonteCarloBatchNorm(network, split.data.x, batch_size, num_samples, seed=seed)
        yield split, split.in_units(sampler.samples(split.data.x_test)), network


def _hold_out(rows, seed: int) -> tuple[Tensor, Tensor]:
    """Return four fifths of the rows, and the last fifth, in a random order."""
    rows = torch.as_tensor(rows)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    kept = int(0.8 * len(rows))
    return rows[order[:kept]], rows[order[kept:]]


def _collect(table: Table, batch_size: int, epochs: int, scored: list[dict]) -> Trials:
    raw = {name: torch.stack([one["raw"][name] for one in scored]) for name in scored[0]["raw"]}
    rest = {name: torch.stack([one[name] for one in scored]) for name in scored[0] if name != "raw"}
    test_share = len(table.splits[0][1]) / len(table.x)
    return Trials(table.name, batch_size, epochs, test_share, raw=raw, **rest)
