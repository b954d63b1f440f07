"""Data sets have their shapes, are normalised by the training part alone, and come out the same every time."""

import random

import numpy as np
import pytest
import torch
from mnist1d.data import get_dataset_args, make_dataset
from sklearn.datasets import load_diabetes, load_digits

from companion.lab import load_data

SHAPES = {
    "mnist1d": ((4000, 40), (1000, 40)),
    "street_digits": ((4000, 3, 32, 32), (1000, 3, 32, 32)),
    "digits": ((1000, 1, 8, 8), (797, 1, 8, 8)),
    "diabetes": ((342, 10), (100, 10)),
}


@pytest.fixture(scope="module", params=SHAPES)
def data(request):
    return load_data(request.param)


def test_shapes_are_the_documented_ones(data):
    assert (tuple(data.x.shape), tuple(data.x_test.shape)) == SHAPES[data.name]
    assert (len(data.y), len(data.y_test)) == (len(data.x), len(data.x_test))


def test_training_inputs_have_mean_zero_and_deviation_one(data):
    axis = 0 if data.name == "diabetes" else None
    x = data.x.double().numpy()
    np.testing.assert_allclose(x.mean(axis), 0, atol=1e-6)
    np.testing.assert_allclose(x.std(axis), 1, atol=1e-6)


def test_the_test_part_has_no_say_in_the_normalisation(data):
    assert abs(data.x_test.double().mean()) > 1e-6


def test_classes_are_whole_numbers_and_targets_normalised(data):
    if data.is_classification:
        assert data.y.dtype == data.y_test.dtype == torch.int64
        assert set(data.y.tolist()) == set(data.y_test.tolist()) == set(range(10))
    else:
        assert abs(data.y.mean()) < 1e-6
        assert abs(data.y.std(correction=0) - 1) < 1e-6


PARTS = ("x", "y", "x_test", "y_test")


def test_loading_twice_gives_the_same_split(data):
    again = load_data(data.name, seed=0)
    assert all(torch.equal(getattr(data, part), getattr(again, part)) for part in PARTS)


@pytest.mark.parametrize("name", SHAPES)
def test_another_seed_gives_other_data_and_always_the_same(name):
    other, again = (load_data(name, seed=1000) for _ in range(2))
    assert (tuple(other.x.shape), tuple(other.x_test.shape)) == SHAPES[name]
    assert all(torch.equal(getattr(other, part), getattr(again, part)) for part in PARTS)
    usual = load_data(name)
    assert not any(torch.equal(getattr(other, part), getattr(usual, part)) for part in ("x", "x_test"))


# Weighted sums of what the chapters have always been given.
SUMS = {"mnist1d": -164.257991, "digits": -21.178602, "diabetes": -56.669749}


@pytest.mark.parametrize("name", SUMS)
def test_seed_0_is_the_data_that_the_chapters_show(name):
    data = load_data(name)
    weights = torch.linspace(-1, 1, data.x.numel(), dtype=torch.float64)
    assert (data.x.double().flatten() @ weights).item() == pytest.approx(SUMS[name], rel=1e-6)


@pytest.mark.parametrize("seed", [-1, 2**31, 1.0, True, "0", None])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(ValueError, match="seed must be a whole number .* but got"):
        load_data("digits", seed=seed)


@pytest.mark.parametrize(
    ("name", "source"),
    [("digits", lambda: load_digits().images), ("diabetes", lambda: load_diabetes(scaled=False).data)],
)
def test_a_split_uses_each_example_once(name, source):
    data, source = load_data(name), source()
    split = torch.cat([data.x, data.x_test]).double().flatten(1).numpy()
    source = source.reshape(len(source), -1)
    # Undo the normalisation by matching mean and deviation, then compare rows in the order of a random projection.
    axis = 0 if name == "diabetes" else None
    restored = (split - split.mean(axis)) * source.std(axis) / split.std(axis) + source.mean(axis)
    projection = np.random.default_rng(0).normal(size=source.shape[1])
    rows = [values[np.argsort(values @ projection)] for values in (restored, source)]
    np.testing.assert_allclose(*rows, atol=1e-3)


def test_mnist1d_is_its_authors_default_data_set():
    raw, data = make_dataset(get_dataset_args()), load_data("mnist1d")
    assert np.array_equal(raw["y"], data.y.numpy())
    assert np.corrcoef(raw["x"].ravel(), data.x.numpy().ravel())[0, 1] > 1 - 1e-9


def test_generating_data_leaves_the_global_generators_alone():
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    expected = random.random(), np.random.rand(), torch.rand(1)
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    load_data("mnist1d"), load_data("street_digits")
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="one of 'mnist1d', 'digits', 'street_digits', 'diabetes', but got 'cifar'"):
        load_data("cifar")
