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


def test_loading_twice_gives_the_same_split(data):
    again = load_data(data.name)
    assert all(torch.equal(getattr(data, part), getattr(again, part)) for part in ("x", "y", "x_test", "y_test"))


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
    load_data("mnist1d")
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="one of 'mnist1d', 'digits', 'diabetes', but got 'cifar'"):
        load_data("cifar")
