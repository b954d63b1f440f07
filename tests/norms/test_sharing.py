"""Groups of examples and channels share a mean and a variance, and nothing else."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from companion.norms import moments, normalize, standardize
from companion.norms.sharing import check_positive_int

torch.set_num_threads(1)
assert_close = torch.testing.assert_close
EXACT = {"rtol": 0, "atol": 1e-12}  # float64: rounding is 1e-15, a wrong formula is far above
SHAPES = [(8, 6), (8, 6, 5), (8, 6, 4, 3), (8, 6, 3, 2, 2)]


def draw(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def divisors(n):
    return [d for d in range(1, n + 1) if n % d == 0]


def plain_loop(x, examples, channels, eps):
    y = torch.empty_like(x)
    for n, c in product(range(0, x.shape[0], examples), range(0, x.shape[1], channels)):
        group = x[n : n + examples, c : c + channels]
        values = group.flatten().tolist()
        mean = sum(values) / len(values)
        var = sum((value - mean) ** 2 for value in values) / len(values)
        y[n : n + examples, c : c + channels] = (group - mean) / (var + eps) ** 0.5
    return y


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    positions=st.lists(st.integers(1, 3), max_size=3),
    eps=st.sampled_from([1e-5, 0.1]),
)
def test_standardize_is_the_plain_loop_for_all_groups_that_divide(shape, positions, eps):
    x = 3 + 2 * draw(*shape, *positions)
    for examples, channels in product(divisors(shape[0]), divisors(shape[1])):
        if examples * channels * x.shape[2:].numel() > 1:
            assert_close(standardize(x, examples, channels, eps), plain_loop(x, examples, channels, eps), **EXACT)


SCHEMES = {
    "batch": (8, 1, lambda x: F.batch_norm(x, None, None, training=True)),
    "ghost": (4, 1, lambda x: torch.cat([F.batch_norm(ghost, None, None, training=True) for ghost in x.split(4)])),
    "layer": (1, 6, lambda x: F.group_norm(x, 1)),
    "group": (1, 2, lambda x: F.group_norm(x, 3)),
    "instance": (1, 1, F.instance_norm),
}


@pytest.mark.parametrize(
    ("scheme", "shape"),
    [
        # Without positions a group of instance norm is one value, an error.
        (scheme, shape)
        for scheme, shape in product(SCHEMES, SHAPES)
        if (scheme, len(shape)) != ("instance", 2)
    ],
    ids=str,
)
def test_two_whole_numbers_make_torchs_scheme(scheme, shape):
    examples, channels, oracle = SCHEMES[scheme]
    x, cotangent = draw(*shape).requires_grad_(), draw(*shape, seed=1)
    got, want = standardize(x, examples, channels), oracle(x)
    assert_close(got, want, **EXACT)
    assert_close(*(torch.autograd.grad(y, x, cotangent)[0] for y in (got, want)), **EXACT)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_group_has_mean_0_and_variance_1(shape):
    for examples, channels in [(8, 1), (2, 1), (1, 6), (4, 3)]:
        mean, var = moments(standardize(3 + 2 * draw(*shape), examples, channels, eps=0.0), examples, channels)
        assert mean.shape == var.shape == (8 // examples, 6 // channels)
        assert_close(mean, torch.zeros_like(mean), **EXACT)
        assert_close(var, torch.ones_like(var), **EXACT)


def test_standardize_forgets_scale_and_offset_of_each_group():
    x = draw(8, 6, 5)
    scale, offset = draw(4, 1, 3, 1, 1).exp(), draw(4, 1, 3, 1, 1, seed=1)
    other = (x.reshape(4, 2, 3, 2, 5) * scale + offset).reshape(x.shape)
    assert_close(standardize(other, 2, 2, eps=0.0), standardize(x, 2, 2, eps=0.0), **EXACT)


def test_groups_do_not_mix():
    x, spoiled = draw(8, 6, 5), draw(8, 6, 5)
    spoiled[2, 4, 1] = torch.nan
    inside = torch.zeros(8, 6, 5, dtype=torch.bool)
    inside[2:4, 3:6] = True
    got = standardize(spoiled, 2, 3)
    assert got[inside].isnan().all()
    assert torch.equal(got[~inside], standardize(x, 2, 3)[~inside])


def test_gradients_to_second_order_are_those_of_finite_differences():
    x = draw(4, 4, 2).requires_grad_()
    for examples, channels in [(4, 1), (2, 2), (1, 4)]:

        def function(x, examples=examples, channels=channels):
            return standardize(x, examples, channels, eps=0.1)

        assert torch.autograd.gradcheck(function, x)
        assert torch.autograd.gradgradcheck(function, x)


# One rounding of a result below 4 to the dtype: 4 eps / 2; float32 adds the rounding of the statistics.
ROUNDING = {torch.float32: 4e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
def test_narrow_dtypes_lose_one_rounding(dtype):
    x = draw(8, 6, 5, dtype=dtype)
    got = standardize(x, 4, 3)
    assert got.dtype == dtype
    assert_close(got.double(), standardize(x.double(), 4, 3), rtol=0, atol=ROUNDING[dtype])
    assert moments(x, 4, 3)[0].dtype == moments(x, 4, 3)[1].dtype == torch.float32


def test_half_precision_gradients_are_rounded_once():
    x, cotangent = draw(64, 2, dtype=torch.float16), draw(64, 2, dtype=torch.float16, seed=1)
    # In groups of two the gradients through x, mean and variance cancel almost entirely.
    got, want = (
        torch.autograd.grad(standardize(v, 1, 2, 1e-3), v, cotangent.to(v.dtype))[0]
        for v in (x.requires_grad_(), x.detach().double().requires_grad_())
    )
    assert_close(got.double(), want, rtol=1e-3, atol=1e-4)


def test_half_precision_statistics_are_taken_in_float32():
    wide = (2000 * draw(64, 2, dtype=torch.float16)).requires_grad_()
    assert moments(wide, 64, 1)[1].min() > torch.finfo(torch.float16).max  # the variance itself would overflow
    assert standardize(wide, 64, 1).isfinite().all()
    many = torch.ones(4096, 1, dtype=torch.bfloat16)
    many[1::2] = 3  # a running bfloat16 sum stops growing at 256
    assert moments(many, 4096, 1)[0].item() == 2


def test_two_passes_survive_a_large_mean():
    x = 1e4 + draw(1000, 1)
    _, var = moments(x.float(), 1000, 1)
    one_pass = x.float().square().mean() - x.float().mean() ** 2
    want = x.var(correction=0).float()
    assert abs(var.squeeze() - want) < 1e-3 * want  # x itself is rounded to 1e-3
    assert abs(one_pass - want) > want  # what the two passes are for


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.transpose(0, 1),
        lambda x: x[::2],
        lambda x: x.flip(1),
        lambda x: x.transpose(2, 3),
        lambda x: x[:1].expand(4, -1, -1, -1),
        lambda x: x.to(memory_format=torch.channels_last),
    ],
)
def test_strides_do_not_matter(view):
    x = view(draw(6, 6, 4, 2))
    for examples, channels in [(len(x), 1), (1, 6), (1, 3)]:
        want = standardize(x.clone(memory_format=torch.contiguous_format), examples, channels)
        assert_close(standardize(x, examples, channels), want, **EXACT)


def test_channels_last_stays_channels_last():
    x = draw(6, 6, 4, 2).to(memory_format=torch.channels_last)
    assert standardize(x, 6, 1).is_contiguous(memory_format=torch.channels_last)


def test_normalize_scales_and_shifts_each_channel():
    x, weight, bias = draw(8, 6, 5), draw(6), draw(6, seed=1)
    mean, var = moments(x, 1, 2)
    want = F.group_norm(x, 3, weight, bias)
    assert_close(normalize(x, mean, var, 1e-5, weight, bias), want, **EXACT)
    assert_close(normalize(x, mean, var, 1e-5, weight), want - bias[:, None], **EXACT)
    assert_close(normalize(x, mean, var, 1e-5, bias=bias), F.group_norm(x, 3, None, bias), **EXACT)


def test_normalize_rounds_once():
    x, weight, bias = (draw(*shape, dtype=torch.float16) for shape in [(8, 6), (6,), (6,)])
    mean, var = moments(x, 8, 1)
    wide = normalize(x.float(), mean, var, 1e-5, weight.float(), bias.float())
    assert torch.equal(normalize(x, mean, var, 1e-5, weight, bias), wide.half())


@pytest.mark.parametrize(
    ("x", "examples", "channels", "eps", "error", "message"),
    [
        (
            torch.ones(8, 6),
            3,
            1,
            1e-5,
            ValueError,
            "examples must divide the number of examples, but got examples=3 and 8",
        ),
        (
            torch.ones(8, 6),
            1,
            4,
            1e-5,
            ValueError,
            "channels must divide the number of channels, but got channels=4 and 6",
        ),
        (torch.ones(8, 6), 16, 1, 1e-5, ValueError, "examples must divide .* examples=16 and 8"),
        (torch.ones(8, 6), 0, 1, 1e-5, ValueError, "examples must be a positive whole number .*, but got 0"),
        (torch.ones(8, 6), 1, -2, 1e-5, ValueError, "channels must be a positive whole number .*, but got -2"),
        (torch.ones(8, 6), 2.0, 1, 1e-5, ValueError, "examples must be a positive whole number .*, but got 2.0"),
        (torch.ones(8, 6), 1, True, 1e-5, ValueError, "channels must be a positive whole number .*, but got True"),
        (torch.ones(8, 6), 1, None, 1e-5, ValueError, "channels must be a positive whole number .*, but got None"),
        (torch.ones(8, 6), 8, 1, -1e-5, ValueError, "eps must be a finite number, at least 0, but got eps=-1e-05"),
        (torch.ones(8, 6), 8, 1, float("nan"), ValueError, "eps must be .* but got eps=nan"),
        (torch.ones(8, 6), 8, 1, "0.1", ValueError, "eps must be .* but got eps='0.1'"),
        (torch.ones(8, 6), 1, 1, 1e-5, ValueError, r"at least 2 values .* got 1 .*\(8, 6\).*larger batch or .eval\(\)"),
        (torch.ones(8, 6, 1, 1), 1, 1, 1e-5, ValueError, r"at least 2 values .*\(8, 6, 1, 1\)"),
        (torch.ones(1, 6), 1, 1, 1e-5, ValueError, r"at least 2 values .*\(1, 6\)"),
        (torch.ones(8), 8, 1, 1e-5, ValueError, r"at least 2 axes, but got shape \(8,\)"),
        (torch.tensor(1.0), 1, 1, 1e-5, ValueError, r"at least 2 axes, but got shape \(\)"),
        (torch.ones(0, 6), 1, 1, 1e-5, ValueError, r"at least one value, but got the empty shape \(0, 6\)"),
        (torch.ones(8, 6, 0), 1, 1, 1e-5, ValueError, r"at least one value, but got the empty shape \(8, 6, 0\)"),
        (torch.ones(8, 6, dtype=torch.long), 8, 1, 1e-5, TypeError, "floating-point numbers, but got torch.int64"),
        (torch.ones(8, 6, dtype=torch.bool), 8, 1, 1e-5, TypeError, "floating-point numbers, but got torch.bool"),
        (
            torch.ones(8, 6, dtype=torch.cfloat),
            8,
            1,
            1e-5,
            TypeError,
            "floating-point numbers, but got torch.complex64",
        ),
    ],
)
def test_standardize_names_the_value_the_rule_and_a_fix(x, examples, channels, eps, error, message):
    with pytest.raises(error, match=message) as caught:
        standardize(x, examples, channels, eps)
    assert "; " in str(caught.value), "no fix"


@pytest.mark.parametrize(("mean", "var"), [((3, 1), (3, 1)), ((8, 4), (8, 4)), ((8, 1), (1, 6)), ((6,), (6,))])
def test_normalize_names_shapes_that_do_not_fit(mean, var):
    with pytest.raises(ValueError, match=r"shape \(A, B\).* but got .* for x of shape \(8, 6, 5\); take them from"):
        normalize(torch.ones(8, 6, 5), torch.zeros(mean), torch.ones(var))


@pytest.mark.parametrize("value", [3, np.int64(3), np.int32(3), np.uint8(3)], ids=repr)
def test_integers_of_numpy_are_whole_numbers(value):
    assert check_positive_int("n", value) == 3 and type(check_positive_int("n", value)) is int


@pytest.mark.parametrize(
    "value", [True, np.True_, 3.0, np.float64(3), np.int64(0), -1, "3", None, torch.tensor(3), np.array(3)], ids=repr
)
def test_anything_else_is_no_positive_whole_number(value):
    with pytest.raises(ValueError, match=r"^n must be a positive whole number \(int\), but got .*; 1 is the least"):
        check_positive_int("n", value)
