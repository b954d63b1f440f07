"""Trials on many splits are honest: nothing of a test row is seen before, and each split is what it would be alone."""

import json
import math
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from companion import mlp
from companion.studies.uci import published as uci_trials
from companion.studies.uci.published import SETTINGS, SUBMISSION, compare_with_submission, run_uci
from companion.studies.uci.scoring import mid_ranks
from companion.studies.uci.tables import SOURCES, Table, standard_splits
from companion.studies.uci.trials import SCORES, Trials, run_trials

sys.path.insert(0, str(Path(__file__).parents[2] / "book" / "tools"))
import uci_table

QUICK = {"batch_size": 16, "epochs": 3, "precision_bounds": (0.1, 100.0), "width": 8, "num_samples": 20}


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setenv("COMPANION_DEVICE", "cpu")


def table(rows=60, count=3):
    draw = np.random.RandomState(0)
    x = draw.randn(rows, 4)
    return Table("toy", x, x[:, 0] ** 2 + 0.3 * draw.randn(rows), standard_splits(rows, count))


@pytest.fixture(scope="module")
def trials():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPANION_DEVICE", "cpu")
        return run_trials(table(), seed=5, **QUICK)


def trained_alone(x, y, seed, epochs=3, batch_size=16):
    """Train one network in a plain loop."""
    torch.manual_seed(seed)
    network = mlp(x.shape[1], 1, width=8, depth=2, norm=nn.BatchNorm1d)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-6)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        for start in range(0, len(x) - batch_size + 1, batch_size):
            batch = order[start : start + batch_size]
            optimizer.zero_grad()
            (network(x[batch])[:, 0] - y[batch]).square().mean().backward()
            optimizer.step()
    return network


@torch.no_grad()
def passes(network, data, x, seed, batch_size=16, num_samples=20):
    """Return Monte Carlo batch norm by a plain loop: ``(T, N)``."""
    generator = torch.Generator().manual_seed(seed)
    batches = [torch.randperm(len(data), generator=generator)[:batch_size] for _ in range(num_samples)]
    layers = [layer for layer in network if isinstance(layer, nn.BatchNorm1d)]
    for layer in layers:
        layer.momentum = 1.0
    answers = []
    for batch in batches:
        network.train()
        network(data[batch])
        for layer in layers:
            layer.running_var *= (batch_size - 1) / batch_size
        answers.append(network.eval()(x)[:, 0])
    return torch.stack(answers)


def crps(y, mean, std):
    z = (y - mean) / std
    return std * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / math.sqrt(math.pi))


def test_a_split_is_what_a_plain_run_of_it_alone_gives(trials):
    data, column = table(), 1
    seed = 5 + column
    train, test = data.splits[column]
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed)).numpy()
    kept = int(0.8 * len(train))

    def run(rows, asked):
        x, y = data.x[rows], data.y[rows]
        inputs = torch.tensor((data.x - x.mean(0)) / x.std(0), dtype=torch.float32)
        targets = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)
        network = trained_alone(inputs[rows], targets, seed)
        drawn = passes(network, inputs[rows], inputs[asked], seed).double().numpy() * y.std() + y.mean()
        return drawn.mean(0), drawn.std(0), drawn

    rows, asked = train[order[:kept]], train[order[kept:]]
    mean, spread, _ = run(rows, asked)
    grid = np.exp(np.linspace(math.log(0.1), math.log(100), 20_000))[:, None]
    scores = [crps(data.y[asked], mean, np.sqrt(own + 1 / grid)).mean(1) for own in (spread**2, 0 * spread)]
    precision, constant = (grid[score.argmin()].item() for score in scores)
    assert trials.precision[column].item() == pytest.approx(precision, rel=0.01)
    assert trials.constant_std[column].item() == pytest.approx(constant**-0.5, rel=0.01)

    mean, spread, drawn = run(train, test)
    y = data.y[test]
    np.testing.assert_allclose(trials.mean[column], mean, atol=1e-4)
    np.testing.assert_allclose(trials.spread[column], spread, atol=1e-4)
    np.testing.assert_array_equal(trials.y[column], y)
    noise, flat = float(trials.precision[column]) ** -0.5, float(trials.constant_std[column])
    std, error = np.sqrt(spread**2 + noise**2), np.abs(y - mean)
    log_constant = stats.norm.logpdf(y, mean, flat).mean()
    log_best = (-0.5 * np.log(2 * np.pi * error**2) - 0.5).mean()
    mixture = np.log(stats.norm.pdf(y, drawn, noise).mean(0)).mean()
    reached = {
        "crps": (crps(y, mean, std).mean(), crps(y, mean, flat).mean(), 0.594944 * error.mean()),
        "log_likelihood": (mixture, log_constant, log_best),
        "gaussian_log_likelihood": (stats.norm.logpdf(y, mean, std).mean(), log_constant, log_best),
    }
    assert reached.keys() == SCORES.keys()
    for name, (score, at_constant, best) in reached.items():
        expected = 100 * (score - at_constant) / (best - at_constant)
        assert getattr(trials, name)[column].item() == pytest.approx(expected, abs=0.1)
        for end, value in (("", score), ("_constant", at_constant), ("_best", best)):
            assert trials.raw[name + end][column].item() == pytest.approx(value, rel=1e-3, abs=1e-4)
    assert trials.rmse[column].item() == pytest.approx(np.sqrt((error**2).mean()), rel=1e-3)
    assert trials.rank_correlation[column].item() == pytest.approx(stats.spearmanr(spread, error).statistic, abs=1e-9)
    assert trials.coverage[column].item() == pytest.approx((error <= 1.6448536 * std).mean())
    assert trials.coverage_constant[column].item() == pytest.approx((error <= 1.6448536 * flat).mean())


def test_what_a_split_is_tested_on_is_not_seen_before(trials):
    data = table()
    test = data.splits[0][1]
    y, x = data.y.copy(), data.x.copy()
    y[test] += 100
    other = run_trials(replace(data, y=y), seed=5, **QUICK)
    assert torch.equal(other.mean[0], trials.mean[0]) and torch.equal(other.precision[0], trials.precision[0])
    assert not torch.equal(other.mean[1], trials.mean[1])  # there they are training rows
    x[test[0]] += 100
    other = run_trials(replace(data, x=x), seed=5, **QUICK)
    assert torch.equal(other.mean[0][1:], trials.mean[0][1:]) and torch.equal(other.precision[0], trials.precision[0])
    assert not torch.equal(other.mean[0][0], trials.mean[0][0])


def test_a_single_sample_has_no_spread_and_scores_as_the_constant_does():
    alone = run_trials(table(), **{**QUICK, "num_samples": 1})
    assert not alone.spread.any()
    for name in SCORES:
        torch.testing.assert_close(getattr(alone, name), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-9)


def test_units_do_not_matter_to_normalised_scores(trials):
    data = table()
    scaled = Table("toy", 1e3 * data.x - 7, 50 * data.y + 1e3, data.splits)
    bounds = tuple(bound / 50**2 for bound in QUICK["precision_bounds"])
    other = run_trials(scaled, seed=5, **{**QUICK, "precision_bounds": bounds})
    for name in SCORES:
        torch.testing.assert_close(getattr(other, name), getattr(trials, name), rtol=0, atol=0.1)
    torch.testing.assert_close(other.rmse / 50, trials.rmse, rtol=1e-3, atol=0)


def test_precisions_stay_within_their_bounds():
    narrow = run_trials(table(), **{**QUICK, "precision_bounds": (30.0, 40.0)})
    assert ((narrow.precision >= 30) & (narrow.precision <= 40)).all()
    assert ((narrow.constant_std**-2 >= 30 - 1e-9) & (narrow.constant_std**-2 <= 40 + 1e-9)).all()


def test_the_same_seed_gives_the_same_trials_and_another_does_not(trials):
    again, other = (run_trials(table(), seed=seed, **QUICK) for seed in (5, 6))
    assert torch.equal(again.crps, trials.crps) and not torch.equal(other.crps, trials.crps)


def test_torchs_global_generator_is_left_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    run_trials(table(), **QUICK)
    assert torch.equal(torch.rand(3), expected)


def test_a_column_that_never_varies_does_no_harm():
    data = table()
    flat = np.column_stack([data.x, np.full(60, 3.0)])
    assert run_trials(replace(data, x=flat), **QUICK).crps.isfinite().all()


def fake(**scores):
    """Return trials with these scores, and nothing else of interest."""
    splits = len(next(iter(scores.values())))
    names = (
        "crps",
        "log_likelihood",
        "gaussian_log_likelihood",
        "rmse",
        "rmse_deterministic",
        "rank_correlation",
        "coverage",
        "coverage_constant",
        "precision",
        "constant_std",
        "y",
        "mean",
        "spread",
    )
    parts = {name: torch.zeros(splits, dtype=torch.float64) for name in names}
    return Trials(name="fake", batch_size=8, epochs=1, test_share=0.1, raw={}, **{**parts, **scores})


def test_equal_values_share_a_rank():
    values = torch.tensor([3.0, 1.0, 2.0, 1.0, 2.0, 1.0, -4.0], dtype=torch.float64)
    np.testing.assert_array_equal(mid_ranks(values) + 0.5, stats.rankdata(values))


def test_p_is_that_of_a_t_test_and_the_corrected_one_is_larger():
    score = 1 + torch.randn(20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    few = fake(crps=torch.zeros(20, dtype=torch.float64) + 2, log_likelihood=score)
    result = stats.ttest_1samp(score, 0)
    assert few.p_value("log_likelihood") == pytest.approx(result.pvalue, rel=1e-9)
    t = result.statistic * math.sqrt(1 / 20) / math.sqrt(1 / 20 + 0.1 / 0.9)
    assert few.p_value("log_likelihood", corrected=True) == pytest.approx(2 * stats.t.sf(abs(t), 19), rel=1e-9)
    assert fake(crps=-score).p_value() == pytest.approx(result.pvalue, rel=1e-9)
    with pytest.raises(ValueError, match="name must be one of 'crps', 'log_likelihood', .* but got 'rmse'"):
        few.p_value("rmse")


def test_a_row_says_mean_error_and_p(trials):
    row = trials.row()
    assert row["name"] == "toy" and row["batch_size"] == 16 and row["epochs"] == 3 and row["splits"] == 3
    assert row["crps"] == trials.crps.mean().item()
    assert row["crps_error"] == pytest.approx(stats.sem(trials.crps))
    assert row["crps_p"] == trials.p_value() < row["crps_p_corrected"] == trials.p_value(corrected=True)
    assert json.loads(json.dumps(row)) == row
    assert repr(trials) == "Trials(toy, 3 splits, batches of 16, 3 epochs)"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs must be a positive whole number .*, but got 0"),
        ({"batch_size": 44}, ValueError, "between 1 and the 43 training examples of toy, but got 44"),
        ({"learning_rate": 1e37}, RuntimeError, "toy: .*diverged at step .* at learning_rate=1e.37; try a smaller"),
        ({"table": table(count=1)}, ValueError, "at least 2 splits, to say how they differ, but got 1"),
    ],
    ids=["no epoch", "large batch", "large rate", "one split"],
)
def test_what_can_not_be_run_is_said(change, error, message):
    with pytest.raises(error, match=message):
        run_trials(**{"table": table(), **QUICK, **change})


@pytest.fixture
def uci(monkeypatch):
    """Return two tables under real names, with networks that train in a blink."""
    monkeypatch.setattr(uci_trials, "load_uci", lambda name: replace(table(), name=name))
    quick = {key: QUICK[key] for key in ("width", "num_samples")}
    monkeypatch.setattr(uci_trials, "run_trials", partial(run_trials, **quick))
    settings = {"yacht": (2, (0.1, 100)), "boston": (3, (0.1, 100))}
    monkeypatch.setattr(uci_trials, "SETTINGS", settings)
    monkeypatch.setattr(uci_table, "SETTINGS", settings)


def test_the_tables_are_run_at_each_batch_size_with_their_own_settings(uci):
    rows = list(run_uci(["yacht", "boston"], [16, 8]))
    assert [(row["name"], row["batch_size"], row["epochs"]) for row in rows] == [
        ("yacht", 16, 2),
        ("yacht", 8, 2),
        ("boston", 16, 3),
        ("boston", 8, 3),
    ]


def test_the_command_stores_rows_and_writes_the_page_that_shows_them(uci, tmp_path, capsys):
    stored, page = tmp_path / "rows.json", tmp_path / "page.md"
    page.write_text(f"# Title\n\n{uci_table.BEGIN}old\n{uci_table.END}\nThe end.\n")
    uci_table.main(["yacht", "--batch-sizes", "16", "--rows", str(stored), "--page", str(page)])
    uci_table.main(["boston", "--batch-sizes", "16", "--rows", str(stored), "--page", str(page)])
    rows = json.loads(stored.read_text())
    assert [row["name"] for row in rows] == ["yacht", "boston"]
    assert compare_with_submission(rows) in page.read_text() and "old" not in page.read_text()
    assert page.read_text().startswith("# Title\n") and page.read_text().endswith("The end.\n")
    before = page.read_text()
    uci_table.main(["--no-run", "--rows", str(stored), "--page", str(page)])
    assert page.read_text() == before
    assert compare_with_submission(rows) in capsys.readouterr().out
    with pytest.raises(SystemExit):
        uci_table.main(["naval"])
    assert "no table of the name naval; there are yacht" in capsys.readouterr().err


def test_every_table_has_settings_and_a_number_of_the_submission():
    assert set(SETTINGS) == set(SUBMISSION) == set(SOURCES)


def test_the_page_shows_what_is_stored_and_all_that_should_be(root):
    rows = json.loads((root / "pages" / "uci.json").read_text(encoding="utf-8"))
    page = (root / "pages" / "uci.md").read_text(encoding="utf-8")
    between = page.split(uci_table.BEGIN)[1].split(uci_table.END)[0]
    assert between == f"\n{compare_with_submission(rows)}\n"
    assert {(row["name"], row["batch_size"]) for row in rows} >= {(name, m) for name in SETTINGS for m in (32, 128)}
    for row in rows:
        assert row["epochs"] == SETTINGS[row["name"]][0] and row["splits"] == SOURCES[row["name"]].splits


def test_the_comparison_prints_both_numbers_and_p():
    rows = [{**fake(crps=torch.tensor([1.0, 2.0, 3.0])).row(), "name": "yacht", "at_bound": 0.5, "cpu_seconds": 7.0}]
    text = compare_with_submission(rows)
    assert "| yacht | 8 | 2.00 ± 0.58 | 0.07 (" in text and "| −56.39 | 45.58 |" in text and "| 50 % | 7 |" in text
