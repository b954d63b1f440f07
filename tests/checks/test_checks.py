"""Every check accepts right answers and rejects the usual wrong ones, by name."""

from functools import partial
from math import inf

import pytest
import torch
from torch import nn

from companion.checks import MISTAKES, CompactBatchNorm, check_batch_norm, compare_batch_norm
from companion.norms import BatchNorm, GhostBatchNorm, GroupNorm

torch.set_num_threads(1)

RESPECTS = [
    "train forward",
    "input gradient",
    "running mean",
    "running variance",
    "eval",
    "eval with gradients on",
    "train under no_grad",
]
POSITIONS = [(), (4,), (3, 4), (2, 3, 2)]
# What each mistake spoils, and nothing else. A mode read off the gradients is right whenever they go with it.
SPOILED = {
    "running var / n": {"running variance", "eval", "eval with gradients on"},
    "mode from grad": {"eval with gradients on", "train under no_grad"},
    "stats detached": {"input gradient"},
    "forward / (n-1)": {"train forward", "input gradient", "train under no_grad"},
    "running mean from 1": {"running mean", "eval", "eval with gradients on"},
    "one-pass variance": {"train forward", "input gradient", "train under no_grad"},
    "graph kept": {"eval with gradients on"},
}


class OtherBatchNorm(nn.Module):
    """A right answer in another style: NumPy's names, reciprocals, running statistics by difference."""

    def __init__(self, num_features):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.running_mean = nn.Parameter(torch.zeros(num_features), requires_grad=False)
        self.running_var = nn.Parameter(torch.ones(num_features), requires_grad=False)

    def forward(self, x):
        axes = (0, *range(2, x.ndim))
        shape = (1, -1, *[1] * (x.ndim - 2))
        if self.training:
            mean, var = torch.mean(x, axis=axes), torch.var(x, axis=axes, correction=0)
            n = x.numel() / x.shape[1]
            self.running_mean.data += 0.1 * (mean - self.running_mean).data
            self.running_var.data += 0.1 * (var * n / (n - 1) - self.running_var).data
        else:
            mean, var = self.running_mean, self.running_var
        scale = self.weight * torch.rsqrt(var + 1e-5)
        return (x - mean.reshape(shape)) * scale.reshape(shape) + self.bias.reshape(shape)


RIGHT = {
    "companion": BatchNorm,
    "one ghost": lambda channels: GhostBatchNorm(channels, 8),
    "compact": CompactBatchNorm,
    "NumPy's style": OtherBatchNorm,
}


@pytest.mark.parametrize("right", RIGHT)
@pytest.mark.parametrize("positions", POSITIONS, ids=str)
def test_right_answers_are_accepted(right, positions):
    misses = compare_batch_norm(RIGHT[right], positions)
    assert list(misses) == RESPECTS
    assert max(misses.values()) <= 5e-13  # half the tolerance: another machine may round otherwise
    assert check_batch_norm(RIGHT[right], positions) is None


@pytest.mark.parametrize("positions", POSITIONS, ids=str)
def test_torch_misses_nothing(positions):
    layer = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[len(positions)]
    assert compare_batch_norm(layer, positions) == dict.fromkeys(RESPECTS, 0.0)


@pytest.mark.parametrize("label", MISTAKES)
@pytest.mark.parametrize("positions", POSITIONS, ids=str)
def test_a_mistake_spoils_what_it_should_and_nothing_else(label, positions):
    misses = compare_batch_norm(MISTAKES[label], positions)
    spoiled = [misses.pop(respect) for respect in SPOILED[label]]
    if label == "one-pass variance":
        assert min(spoiled) > 2e-11
        assert misses["running mean"] <= 5e-13  # the running variance is spoiled too, but less and less surely
    else:
        assert min(spoiled) > 1e-3
        assert max(misses.values()) <= 5e-13


def test_every_respect_is_spoiled_by_a_mistake():
    assert len(MISTAKES) == 7
    assert set().union(*SPOILED.values()) == set(RESPECTS)


@pytest.mark.parametrize("positions", POSITIONS, ids=str)
@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("running var / n", "^running variance: off by .* divided by n - 1"),
        ("mode from grad", "^train under no_grad: off by .*Is the mode self.training"),
        ("stats detached", "^input gradient: off by .*Neither may be detached"),
        ("forward / (n-1)", "^train forward: off by .*divided by n, not n - 1"),
        ("running mean from 1", "^running mean: off by .*Does it start at 0"),
        ("one-pass variance", "^train forward: off by .*mean of squared deviations"),
        ("graph kept", "^eval with gradients on: the layer raised RuntimeError.*detached before they are stored"),
    ],
)
def test_the_check_names_the_mistake(label, message, positions):
    with pytest.raises(AssertionError, match=message):
        check_batch_norm(MISTAKES[label], positions)


def altered(**pieces):
    """Return the compact batch norm with some methods or attributes replaced."""
    return type("Altered", (CompactBatchNorm,), pieces)


def forward_with(standardize):
    def forward(self, x):
        if not self.training:
            return CompactBatchNorm.forward(self, x)
        CompactBatchNorm.forward(self, x)  # keeps the running statistics right
        return self.weight * standardize(x) + self.bias

    return altered(forward=forward)


def forget_running_statistics(self, name, value):
    pass


def raise_in_evaluation(self, x):
    if not self.training:
        raise NotImplementedError("later")
    return CompactBatchNorm.forward(self, x)


def nan_where_evaluated(self, x):
    return CompactBatchNorm.forward(self, x) if self.training else x * torch.nan


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (altered(uses_batch=lambda self: True), r"^eval: off by .*\.eval\(\) use the running statistics"),
        (partial(CompactBatchNorm, momentum=0.9), "^running mean: off by .*momentum the weight of the new"),
        (altered(store=forget_running_statistics), "^running mean: off by "),
        (partial(CompactBatchNorm, eps=0.0), "^train forward: off by .*eps"),
        (
            forward_with(lambda x: (x - x.mean(0)) / (x.std(0, correction=0) + 1e-5)),
            "^train forward: .*inside the square",
        ),
        (
            forward_with(lambda x: (x - x.mean(1, True)) / (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt()),
            "^train forward: off by .*each channel's own",
        ),
        (partial(nn.BatchNorm1d, momentum=None), "^running mean: off by "),
        (
            partial(nn.BatchNorm1d, affine=False),
            "^train forward: the layer raised AttributeError.*weight and bias there",
        ),
        (partial(nn.BatchNorm1d, track_running_stats=False), "^running mean: the layer raised "),
        (partial(GroupNorm, 1), "^train forward: off by "),
        (forward_with(lambda x: x.detach().float()), "^train forward: off by "),
        (altered(forward=lambda self, x: None), "^train forward: the layer raised "),
        (
            altered(forward=lambda self, x: x[:1]),
            "^train forward: off by inf. Is the result a tensor of the shape of x",
        ),
        (altered(forward=lambda self, x: x * torch.nan), "^train forward: off by inf. .*without NaN"),
        (altered(forward=raise_in_evaluation), "^eval: the layer raised NotImplementedError"),
        (lambda channels: 1 / 0, "^train forward: the layer raised ZeroDivisionError"),
    ],
)
def test_other_wrong_answers_are_rejected_by_name(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_batch_norm(wrong)
    assert max(compare_batch_norm(wrong).values()) > 1e-7


def test_the_layers_own_error_is_kept():
    with pytest.raises(AssertionError) as caught:
        check_batch_norm(altered(forward=raise_in_evaluation))
    assert str(caught.value.answers_error) == "later"


@pytest.mark.parametrize("wrong", [altered(forward=raise_in_evaluation), altered(forward=nan_where_evaluated)])
def test_what_raises_or_is_nan_does_not_spoil_the_other_respects(wrong):
    misses = compare_batch_norm(wrong)
    assert [respect for respect, miss in misses.items() if miss == inf] == ["eval", "eval with gradients on"]
    assert max(miss for miss in misses.values() if miss < inf) <= 5e-13


def test_a_kept_graph_is_found_in_plain_attributes_too():
    def __init__(self, channels):
        CompactBatchNorm.__init__(self, channels)
        del self.running_mean, self.running_var
        self.running_mean, self.running_var = torch.zeros(channels), torch.ones(channels)

    misses = compare_batch_norm(altered(__init__=__init__, store=MISTAKES["graph kept"].store))
    assert [respect for respect, miss in misses.items() if miss > 1e-12] == ["eval with gradients on"]


def test_an_unused_graph_is_found_by_its_flag():
    def forward(self, x):
        if self.training:
            return CompactBatchNorm.forward(self, x)
        mean, var = self.running_mean.detach(), self.running_var.detach()
        return self.weight * (x - mean) / (var + self.eps).sqrt() + self.bias

    misses = compare_batch_norm(altered(forward=forward, store=MISTAKES["graph kept"].store))
    assert [respect for respect, miss in misses.items() if miss > 1e-12] == ["eval with gradients on"]


def test_comparisons_repeat_and_leave_the_surroundings_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    with torch.no_grad():
        misses = compare_batch_norm(BatchNorm)
        assert not torch.is_grad_enabled()
    assert misses == compare_batch_norm(BatchNorm)
    assert max(misses.values()) <= 5e-13
    assert torch.equal(torch.get_rng_state(), state)
    compare_batch_norm(lambda channels: 1 / 0)
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("function", [compare_batch_norm, check_batch_norm])
def test_too_many_positions_are_an_error_of_the_caller(function):
    with pytest.raises(ValueError, match=r"at most three sizes, but got positions=\(2, 2, 2, 2\)"):
        function(BatchNorm, (2, 2, 2, 2))


def test_the_compact_batch_norm_takes_positions():
    x = torch.randn(4, 3, 2, 5)
    torch.testing.assert_close(CompactBatchNorm(3)(x), nn.BatchNorm2d(3)(x))


@pytest.mark.parametrize("mistake", MISTAKES.values())
def test_a_mistake_says_what_it_is_in_one_line(mistake):
    assert mistake.__doc__.endswith(".")
    assert "\n" not in mistake.__doc__
