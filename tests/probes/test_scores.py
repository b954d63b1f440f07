"""Scores agree with numerical integration and closed forms, their bests are best, and calibration is counted right."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate, optimize, stats
from torch import nn

from companion.probes import (
    MonteCarloBatchNorm,
    best_constant_std,
    best_crps,
    best_log_likelihood,
    best_precision,
    gaussian_crps,
    gaussian_log_likelihood,
    interval_coverage,
    mixture_log_likelihood,
    normalized_score,
    reliability,
)


def some(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def squared_gaps(y, mean, std):
    """Return the integral that defines CRPS, part by part around the mean and up to the target from either side."""
    predicted, far = stats.norm(mean, std), 40 * std + abs(y - mean)
    places = [mean + std * step for step in (-40, -8, -3, 0, 3, 8, 40)]
    total = 0.0
    for gap, low, high in (predicted.cdf, y - far, y), (predicted.sf, y, y + far):
        ends = [low, *(place for place in places if low < place < high), high]
        for left, right in pairwise(ends):
            total += integrate.quad(lambda u, gap=gap: gap(u) ** 2, left, right, epsabs=1e-13, epsrel=1e-12)[0]
    return total


# --- CRPS


@pytest.mark.parametrize("error", [-30.0, -3.0, -0.2, 0.0, 1e-6, 0.7, 5.0])
@pytest.mark.parametrize("std", [1e-3, 0.5, 1.0, 20.0])
def test_crps_is_the_integral_of_squared_gaps(error, std):
    found = gaussian_crps(0.3 + error, 0.3, std).item()
    assert found == pytest.approx(squared_gaps(0.3 + error, 0.3, std), rel=1e-9, abs=1e-12)


def test_crps_is_a_mean_distance_less_half_of_the_mean_distance_of_two_draws():
    # Gneiting and Raftery's other form, by the quantiles of a fine grid
    draws = stats.norm.ppf((np.arange(4000) + 0.5) / 4000) * 1.7 - 0.4
    ranks = 2 * np.arange(1, 4001) - 4001
    spread = 2 * (ranks * draws).sum() / 4000**2
    for y in -5.0, -0.4, 1.0, 9.0:
        assert gaussian_crps(y, -0.4, 1.7).item() == pytest.approx(np.abs(draws - y).mean() - spread / 2, abs=2e-3)


def test_crps_without_uncertainty_is_the_absolute_error():
    y = some(50)
    np.testing.assert_array_equal(gaussian_crps(y, np.zeros(50), 0.0), np.abs(y))
    np.testing.assert_allclose(gaussian_crps(y, np.zeros(50), 1e-9), np.abs(y), rtol=0, atol=1e-9)
    assert gaussian_crps(2.0, 2.0, 0.0).item() == 0 and gaussian_crps(1e300, -1e300, 0.0).item() == 2e300


def test_crps_has_the_unit_of_the_target_and_no_side():
    y, mean, std = some(9), some(9, seed=1), np.abs(some(9, seed=2))
    np.testing.assert_allclose(gaussian_crps(7 * y + 3, 7 * mean + 3, 7 * std), 7 * gaussian_crps(y, mean, std))
    np.testing.assert_allclose(gaussian_crps(mean, y, std), gaussian_crps(y, mean, std))


@pytest.mark.parametrize("score", [gaussian_crps, lambda *args: -gaussian_log_likelihood(*args)])
@pytest.mark.parametrize(("mean", "std"), [(0.1, 1.0), (0.0, 1.2), (-0.2, 0.8)])
def test_scores_are_proper(score, mean, std):
    # in expectation over targets from N(0, 1), no other prediction does better
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    expected = [(weights * score(nodes, np.full(80, m), s).numpy()).sum() for m, s in ((0.0, 1.0), (mean, std))]
    assert expected[0] < expected[1]


# --- log-likelihoods


def test_gaussian_log_likelihood_is_the_log_density_also_far_out():
    y, mean, std = 50 * some(99), some(99, seed=1), 0.01 + np.abs(some(99, seed=2))
    np.testing.assert_allclose(gaussian_log_likelihood(y, mean, std), stats.norm.logpdf(y, mean, std), rtol=1e-12)


def test_mixture_log_likelihood_is_the_log_of_the_mean_density():
    y, samples, std = some(9), some(6, 9, seed=1), 0.3 + np.abs(some(9, seed=2))
    expected = np.log(stats.norm.pdf(y, samples, std).mean(0))
    np.testing.assert_allclose(mixture_log_likelihood(y, samples, std), expected, rtol=1e-12)
    np.testing.assert_allclose(
        mixture_log_likelihood(y, samples, 0.5), mixture_log_likelihood(y, samples, np.full(9, 0.5)), rtol=1e-12
    )


def test_a_mixture_is_a_density():
    samples = some(5, 1)
    density = lambda y: math.exp(mixture_log_likelihood([y], samples, 0.2).item())  # noqa: E731
    assert integrate.quad(density, -10, 10, points=samples[:, 0].tolist(), limit=200)[0] == pytest.approx(1, abs=1e-9)


def test_a_mixture_of_equal_samples_is_one_normal_and_far_samples_do_not_underflow():
    y, mean = some(9), some(9, seed=1)
    np.testing.assert_allclose(
        mixture_log_likelihood(y, np.tile(mean, (4, 1)), 0.3), gaussian_log_likelihood(y, mean, 0.3), rtol=1e-12
    )
    assert mixture_log_likelihood([1000.0], [[0.0], [1.0]], 0.01).item() == pytest.approx(-4990006096, rel=1e-6)


# --- the best there is


def test_best_crps_is_the_least_over_all_standard_deviations():
    y, mean = 3 * some(20), some(20, seed=1)
    for error, best in zip(np.abs(y - mean), best_crps(y, mean).tolist(), strict=True):
        found = optimize.minimize_scalar(
            lambda s, error=error: gaussian_crps(error, 0.0, s).item(),
            bounds=(error / 50, 50 * error),
            method="bounded",
            options={"xatol": 1e-12},
        )
        assert found.fun == pytest.approx(best, rel=1e-9)
        assert found.x == pytest.approx(error / math.sqrt(math.log(2)), rel=1e-4)
    assert best_crps(1.0, 0.0).item() == pytest.approx(0.5949, abs=5e-5)


@pytest.mark.parametrize("z", [0.1, 0.8, 1.0, 3.0])
def test_the_derivative_of_crps_is_the_one_that_the_docstring_says(z):
    std = torch.tensor(1 / z, dtype=torch.float64, requires_grad=True)
    y, h = 1.0, 1e-5
    numerical = (gaussian_crps(y, 0.0, std + h) - gaussian_crps(y, 0.0, std - h)).item() / (2 * h)
    stated = (math.sqrt(2) * math.exp(-z * z / 2) - 1) / math.sqrt(math.pi)
    assert numerical == pytest.approx(stated, abs=1e-9)


def test_best_log_likelihood_is_the_largest_over_all_standard_deviations():
    y, mean = some(20), some(20, seed=1)
    best, error = best_log_likelihood(y, mean).numpy(), np.abs(y - mean)
    np.testing.assert_allclose(best, -0.5 - np.log(error) - 0.5 * math.log(2 * math.pi))
    for factor in 0.5, 0.99, 1.01, 2:
        assert (gaussian_log_likelihood(y, mean, factor * error).numpy() < best).all()


def test_the_floor_of_the_best_log_likelihood_counts_where_the_error_is_below():
    found = best_log_likelihood([0.0, 0.0, 2.0], [0.0, 1e-9, 0.0], floor=1e-6).tolist()
    assert found[0] == pytest.approx(6 * math.log(10) - 0.5 * math.log(2 * math.pi))
    assert found[1] == pytest.approx(found[0], abs=1e-6)
    assert found[2] == pytest.approx(-0.5 - math.log(2) - 0.5 * math.log(2 * math.pi))


# --- the noise that scores best


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("score", ["crps", "log_likelihood"])
def test_the_best_constant_is_where_its_equation_holds(score, seed):
    error = some(200, seed=seed) * np.exp(some(200, seed=seed + 9))
    std = best_constant_std(error, np.zeros(200), score)
    if score == "crps":
        root = optimize.brentq(lambda s: np.exp(-(error**2) / (2 * s * s)).mean() - 2**-0.5, 1e-3, 1e3, xtol=1e-12)
        assert std == pytest.approx(root, rel=1e-5)
    else:
        assert std == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)


@pytest.mark.parametrize("score", ["crps", "log_likelihood"])
def test_the_best_precision_is_the_best_of_a_fine_grid(score):
    y, variance = 2 * some(300), np.exp(some(300, seed=1))
    loss = {"crps": gaussian_crps, "log_likelihood": lambda *args: -gaussian_log_likelihood(*args)}[score]
    at = lambda tau: loss(y, np.zeros(300), np.sqrt(variance + 1 / tau)).mean().item()  # noqa: E731
    found = best_precision(y, np.zeros(300), variance, (1e-2, 1e2), score)
    grid = np.geomspace(1e-2, 1e2, 2000)
    values = [at(tau) for tau in grid]
    assert at(found) <= min(values) + 1e-12
    assert found == pytest.approx(grid[np.argmin(values)], rel=0.01)


def test_without_samples_variance_the_best_precision_is_that_of_the_best_constant():
    y, mean = some(50), some(50, seed=1)
    for score in "crps", "log_likelihood":
        precision = best_precision(y, mean, np.zeros(50), (1e-4, 1e4), score)
        assert precision**-0.5 == pytest.approx(best_constant_std(y, mean, score), rel=1e-6)


def test_bounds_hold_where_the_best_lies_outside():
    y = some(50)
    zeros, wide = np.zeros(50), np.full(50, 100.0)
    assert best_precision(y, zeros, wide, (0.5, 20.0)) == 20
    assert best_precision(100 * y, zeros, 0.0, (0.5, 20.0)) == 0.5
    assert best_constant_std(y, zeros, bounds=(3.0, 4.0)) == pytest.approx(3)
    assert best_constant_std(y, zeros, bounds=(1e-3, 1e-2)) == pytest.approx(1e-2)


def test_a_precision_tuned_by_crps_lets_a_mixture_explode_unless_it_is_bounded():
    # the trap: samples that spread more than the errors leave nothing to the noise
    y, samples = some(200), 1.3 * some(20, 200, seed=1)
    mean, variance = samples.mean(0), samples.var(0)
    scores = [
        mixture_log_likelihood(y, samples, best_precision(y, mean, variance, (0.1, most)) ** -0.5).mean().item()
        for most in (10.0, 1e8)
    ]
    assert scores[0] > -3 and scores[1] < -1000


# --- normalized


def test_normalized_scores_are_0_for_the_constant_and_100_for_the_best():
    y, mean, std = some(50), some(50, seed=1), np.abs(some(50, seed=2)) + 0.1
    constant, best = gaussian_crps(y, mean, best_constant_std(y, mean)), best_crps(y, mean)
    assert normalized_score(constant, constant, best) == 0 and normalized_score(best, constant, best) == 100
    score = gaussian_crps(y, mean, std)
    found = normalized_score(score, constant, best)
    assert found == pytest.approx(
        100 * (constant.mean() - score.mean()).item() / (constant.mean() - best.mean()).item()
    )
    assert found < 0, "this std says nothing about the error"
    constant = gaussian_log_likelihood(y, mean, best_constant_std(y, mean, "log_likelihood"))
    best = best_log_likelihood(y, mean)
    assert normalized_score((constant + best) / 2, constant, best) == pytest.approx(50)


# --- calibration


def test_intervals_of_a_right_prediction_cover_as_often_as_they_say():
    generator = np.random.default_rng(0)
    std = np.exp(generator.normal(size=100_000))
    y = 3 + std * generator.normal(size=100_000)
    levels = [0.1, 0.5, 0.9, 0.99]
    for factor in 1.0, 0.5, 2.0:
        found = interval_coverage(y, np.full(100_000, 3.0), factor * std, levels).numpy()
        expected = 2 * stats.norm.cdf(factor * stats.norm.ppf((1 + np.array(levels)) / 2)) - 1
        np.testing.assert_allclose(found, expected, atol=0.006)


def test_coverage_counts_points_on_the_border_and_takes_one_std_for_all():
    half = stats.norm.ppf(0.75)
    assert interval_coverage([half - 1e-9, half + 1e-9], [0.0, 0.0], 1.0, [0.5]).tolist() == [0.5]
    assert interval_coverage([0.0, 1.0], [0.0, 0.0], 0.0, [0.5]).tolist() == [0.5]


def test_reliability_counts_by_hand():
    probabilities = [[0.95, 0.05], [0.1, 0.9], [0.45, 0.55], [0.6, 0.4], [1.0, 0.0]]
    found = reliability(probabilities, [0, 0, 1, 1, 0], bins=10)
    assert found.count.tolist() == [0, 0, 0, 0, 0, 1, 1, 0, 0, 3]
    assert found.confidence[9].item() == pytest.approx((0.95 + 0.9 + 1) / 3) and found.accuracy[9].item() == 2 / 3
    assert found.accuracy[5:7].tolist() == [1, 0] and found.confidence[5:7].tolist() == [0.55, 0.6]
    assert found.accuracy[:5].isnan().all() and found.confidence[7].isnan()
    by_hand = (3 * abs(2.85 / 3 - 2 / 3) + 0.45 + 0.6) / 5
    assert found.expected_calibration_error == pytest.approx(by_hand)


def test_labels_drawn_from_the_probabilities_are_reliable_and_sharpened_ones_are_not():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(100_000, 4, generator=generator)
    labels = logits.softmax(1).multinomial(1, generator=generator)[:, 0]
    right, sharp = reliability(logits.softmax(1), labels), reliability((3 * logits).softmax(1), labels)
    assert right.expected_calibration_error < 0.01 < 0.1 < sharp.expected_calibration_error
    filled = right.count > 1000
    assert (right.accuracy - right.confidence)[filled].abs().max() < 0.05
    assert (sharp.accuracy < sharp.confidence)[sharp.count > 100].all()


# --- what goes in, and errors


def test_numbers_lists_arrays_and_tensors_that_need_gradients_go_in_and_float64_comes_out():
    expected = gaussian_crps(0.1, 0.3, 0.7).item()
    for kind in (list, np.array, torch.tensor, lambda v: torch.tensor(v, dtype=torch.float64, requires_grad=True)):
        found = gaussian_crps(kind([0.1]), kind([0.3]), kind([0.7]))
        assert found.dtype == torch.float64 and not found.requires_grad
        assert found.item() == pytest.approx(expected, rel=1e-7)
    assert gaussian_crps([1], [0], 1).item() == gaussian_crps(1.0, 0.0, 1.0).item()


def test_a_float32_input_is_not_computed_in_float32():
    y = torch.tensor([1.0], dtype=torch.float32)
    assert gaussian_crps(y, 0 * y, y).item() == gaussian_crps(1.0, 0.0, 1.0).item()


def test_scores_take_what_monte_carlo_batch_norm_gives():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        data, model = torch.randn(30, 3), nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1), nn.Flatten(0))
    sampler, y = MonteCarloBatchNorm(model, data, 8, 20), data[:, 0]
    found = sampler.regress(data, precision=2.0)
    mean, std = found.mean[:, 0], found.variance[:, 0].sqrt()
    assert gaussian_crps(y, mean, std).shape == mixture_log_likelihood(y, sampler.samples(data), 0.7).shape == (30,)
    with pytest.raises(ValueError, match=r"got \(30,\), \(30, 1\) and \(30, 1\); squeeze an axis of size 1"):
        gaussian_crps(y, found.mean, found.variance)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gaussian_crps([1.0, 2.0], [1.0], 1.0), r"y, mean and std must hold .* got \(2,\), \(1,\) and \(\)"),
        (lambda: gaussian_crps([1.0], [1.0], [[1.0]]), r"but got \(1,\), \(1,\) and \(1, 1\); squeeze"),
        (lambda: gaussian_crps([], [], 1.0), r"but got \(0,\), \(0,\)"),
        (lambda: gaussian_crps([math.nan], [1.0], 1.0), "y must hold finite numbers, but got NaN or infinity; look"),
        (lambda: gaussian_crps([1.0], [1.0], math.inf), "std must hold finite numbers, but got NaN or infinity; look"),
        (lambda: gaussian_crps([1.0], [1.0], [-0.5]), "std must be at least 0, but got -0.5; is it a variance's root?"),
        (lambda: gaussian_log_likelihood([1.0], [1.0], 0.0), "std must be above 0, but got 0; is it"),
        (lambda: mixture_log_likelihood([1.0], [[1.0]], 0), "std must be above 0, but got 0; is it"),
        (lambda: mixture_log_likelihood([1.0], [1.0, 2.0], 1), r"y, each sample and std must hold .* got \(1,\), \(\)"),
        (lambda: mixture_log_likelihood([1.0], np.ones((0, 1)), 1), r"samples must have shape .*, but got \(0, 1\)"),
        (lambda: mixture_log_likelihood([1.0], 1.0, 1), r"T at least 1, but got \(\); stack the samples"),
        (lambda: best_log_likelihood([1.0], [1.0], floor=0), "floor must be above 0, but got 0"),
        (lambda: normalized_score([1.0], [2.0], [2.0]), "best and constant must differ in the mean, but both are 2.0"),
        (lambda: normalized_score([math.inf], [2.0], [1.0]), "score must hold finite numbers"),
        (lambda: best_constant_std([1.0], [1.0]), "y and mean must differ somewhere, but all errors are zero"),
        (lambda: best_constant_std([1.0], [0.0], bounds=(0, 1)), r"bounds must be two finite .* but got \(0, 1\)"),
        (lambda: best_precision([1.0], [0.0], 0.0, (2, 1)), r"bounds must be two finite .* but got \(2, 1\)"),
        (lambda: best_precision([1.0], [0.0], -1.0, (1, 2)), "variance must be at least 0, but got -1"),
        (lambda: best_precision([1.0], [0.0], 0.0, (1, 2), "rmse"), "score must be one of crps, log_likelihood, but"),
        (lambda: interval_coverage([1.0], [0.0], 1.0, [90]), r"levels must be .* between 0 and 1, but got \[90.0\]"),
        (lambda: interval_coverage([1.0], [0.0], 1.0, 0.9), "levels must be numbers between 0 and 1, but got 0.9"),
        (lambda: reliability([[0.5, 0.6]], [0]), "probabilities must be at least 0, with sum 1 in each row"),
        (lambda: reliability([[-0.5, 1.5]], [0]), "probabilities must be at least 0, with sum 1 in each row"),
        (lambda: reliability([[0.5, 0.5]], [2]), "labels must be whole numbers from 0 to 1, but got others"),
        (lambda: reliability([[0.5, 0.5]], [0.0]), "labels must be whole numbers from 0 to 1, but got others"),
        (lambda: reliability([[0.5, 0.5]], [[0]]), r"but got \(1, 2\) and \(1, 1\); one row"),
        (lambda: reliability([[0.5, 0.5]], [0], bins=0), "bins must be a positive whole number"),
    ],
)
def test_errors_name_value_rule_and_fix(call, message):
    with pytest.raises(ValueError, match=message):
        call()
