"""Monte Carlo batch norm on the UCI tables, beside the paper's submission; ``book/tools/uci_table.py`` stores it."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from companion.studies.uci.tables import load_uci
from companion.studies.uci.trials import run_trials

# Normalised CRPS and predictive log-likelihood of MCBN in the ICLR 2018 submission of Teye et al.
SUBMISSION = {
    "boston": (8.50, 10.49),
    "concrete": (3.91, -36.36),
    "energy": (5.75, 10.89),
    "kin8nm": (2.85, 1.68),
    "power-plant": (0.24, 0.33),
    "protein": (2.66, 2.56),
    "wine-red": (0.26, 0.19),
    "yacht": (-56.39, 45.58),
}
# Epochs, and the bounds of the precision in units of the targets to the power of -2.
SETTINGS = {
    "yacht": (200, (0.01, 100)),
    "boston": (200, (0.01, 10)),
    "energy": (100, (0.01, 100)),
    "concrete": (100, (0.001, 10)),
    "wine-red": (100, (0.01, 10)),
    "kin8nm": (100, (10, 1000)),
    "power-plant": (50, (0.01, 10)),
    "protein": (20, (0.001, 10)),
}


def run_uci(
    names: Iterable[str] = tuple(SETTINGS),
    batch_sizes: Sequence[int] = (32, 128),
    seed: int = 100,
    show_progress: bool = True,
) -> Iterator[dict]:
    """Run the trials of each UCI table at each batch size, and yield a row of what they found, one by one.

    All twenty splits of a table are trained together (five for ``protein``). Smaller tables come first.

    Args:
        names: The tables.
        batch_sizes: Rows in a batch, in training and for Monte Carlo batch norm.
        seed: As for :func:`run_trials`.
        show_progress: Whether to show a bar meanwhile, in a notebook.

    Raises:
        ValueError, FileNotFoundError, ConnectionError: As :func:`load_uci` does.

    Introduced in:
        ``notebooks/15_monte_carlo_batch_norm.md``
    """
    for name in names:
        table = load_uci(name)
        epochs, bounds = SETTINGS[name]
        for batch_size in batch_sizes:
            start = time.process_time()
            trials = run_trials(
                table,
                batch_size=batch_size,
                epochs=epochs,
                precision_bounds=bounds,
                seed=seed,
                show_progress=show_progress,
            )
            at_bound = float((trials.precision > 0.999 * bounds[1]).double().mean())
            yield {**trials.row(), "at_bound": at_bound, "cpu_seconds": round(time.process_time() - start, 1)}


def compare_with_submission(rows: Iterable[Mapping]) -> str:
    """Write two tables in Markdown: the normalised scores beside the submission's, and what else was measured.

    Args:
        rows: What :func:`run_uci` gives.

    Introduced in:
        ``notebooks/15_monte_carlo_batch_norm.md``
    """
    rows = list(rows)
    scores = [
        "| table | M | CRPS | p | PLL | p | submission's CRPS | PLL |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    rest = [
        "| table | M | epochs | splits | RMSE, MCBN | RMSE, eval mode | rank correlation | in 90 % interval, MCBN "
        "| constant | τ at its upper bound | CPU seconds |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        head = f"| {row['name']} | {row['batch_size']} "
        crps, log_likelihood = SUBMISSION.get(row["name"], (float("nan"),) * 2)
        scores.append(
            f"{head}| {_score(row, 'crps')} | {_score(row, 'log_likelihood')} | {crps:.2f} | {log_likelihood:.2f} |"
        )
        rest.append(
            f"{head}| {row['epochs']} | {row['splits']} | {row['rmse']:.3g} | {row['rmse_deterministic']:.3g} "
            f"| {row['rank_correlation']:.2f} | {100 * row['coverage']:.0f} % | {100 * row['coverage_constant']:.0f} % "
            f"| {100 * row['at_bound']:.0f} % | {row['cpu_seconds']:.0f} |"
        )
    return "\n".join([*scores, "", *rest, ""]).replace("| -", "| −")


def _score(row: Mapping, name: str) -> str:
    plain, corrected = row[f"{name}_p"], row[f"{name}_p_corrected"]
    return f"{row[name]:.2f} ± {row[f'{name}_error']:.2f} | {plain:.1g} ({corrected:.1g})"
