"""Chapter 1's interactive figure: what it refuses, and what it takes."""

import numpy as np
import pytest

from companion.figures import BatchMates

FULL = {"gamma": 3, "values": [4.9, -4.9, 9]}  # what the promises of all figures are tried with


@pytest.mark.parametrize("values", [[], [1.0], [1.0, float("nan")], [1.0, float("inf")], 3, "ab", None, [[1.0, 2.0]]])
def test_values_that_are_no_batch(values):
    with pytest.raises(ValueError, match="^values must be at least 2 finite numbers, but got values=.*; give yours"):
        BatchMates(values=values)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gamma", float("nan")),
        ("delta", "much"),
        ("eps", -1e-9),
        ("eps", float("inf")),
        ("momentum", 1.1),
        ("momentum", -0.1),
        ("mode", "test"),
        ("mode", ["train"]),
        ("running_mean", None),
        ("running_var", -1.0),
        ("steps", -1),
        ("steps", 1.5),
    ],
)
def test_other_traits_refuse_and_keep_what_they_had(name, value):
    message = f"^{name} must be .*, but got {name}=.*; "
    with pytest.raises(ValueError, match=message):
        BatchMates(**{name: value})
    figure = BatchMates()
    with pytest.raises(ValueError, match=message):
        setattr(figure, name, value)
    assert repr(figure) == "BatchMates()"


def test_arrays_and_tuples_are_batches_too():
    for values in (np.arange(3.0), np.arange(3, dtype=np.float32), (0, 1, 2), iter([0, 1, 2])):
        assert BatchMates(values=values).values == [0.0, 1.0, 2.0]


def test_figures_do_not_share_their_default_batch():
    BatchMates().values.append(9.0)
    assert 9.0 not in BatchMates().values
