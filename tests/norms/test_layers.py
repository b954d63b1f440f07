"""Each layer is torch's, in whatever torch does with it; ghost batch norm is torch's, chunk by chunk."""

import copy
import pickle
import shutil
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, grad, jacrev, stack_module_state, vmap

from companion.norms import BatchNorm, GhostBatchNorm, GroupNorm, InstanceNorm, LayerNorm

torch.set_num_threads(1)

SHAPES = [(8, 6), (8, 6, 5), (8, 6, 4, 3), (8, 6, 3, 2, 2)]
MOMENTA = [0, 0.1, 1, None]
EXACT = {"rtol": 1e-12, "atol": 1e-12}  # float64: rounding is 1e-15, a wrong formula is far above
# Torch in float64 is the oracle for every dtype, since its gradients of weights in half precision are coarse.
# Float32: some 1e-7, summed over up to 96 values. The half dtypes: computed in float32, then rounded by at most
# eps / 2, once for an output and once a step for a buffer, that is 2 eps after three steps.
CLOSE = {
    torch.float64: EXACT,
    torch.float32: {"rtol": 1e-5, "atol": 1e-5},
    torch.float16: {"rtol": 2e-3, "atol": 2e-3},
    torch.bfloat16: {"rtol": 1.6e-2, "atol": 1.6e-2},
}
assert_close = partial(torch.testing.assert_close, equal_nan=True)
assert_same = partial(assert_close, **EXACT)


def torch_batch_norm(shape):
    return (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[len(shape) - 2]


def torch_instance_norm(shape):
    return partial((nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[len(shape) - 3], affine=True)


def draw(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def batches(*shape, dtype=torch.float64, steps=3):
    return [draw(*shape, dtype=dtype, seed=step) + step for step in range(steps)]


def same_state(*layers, seed=0):
    """Give the layers one random scale and offset."""
    for layer in layers:
        for offset, parameter in enumerate(layer.parameters()):
            nn.init.normal_(parameter, 1, generator=torch.Generator().manual_seed(seed + offset))
    return layers


def step(layer, x):
    """Return output and gradients, for the same cotangent whichever layer it is."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = layer(x)
    cotangent = draw(*x.shape, seed=9).bfloat16().to(y.dtype)  # bfloat16 numbers this size are exact in every dtype
    return y, *torch.autograd.grad(y, [x, *layer.parameters()], cotangent)


def buffers(layer):
    return dict(layer.named_buffers())


def double(values):
    return {k: v.double() for k, v in values.items()} if isinstance(values, dict) else [v.double() for v in values]


def with_oracle(ours, theirs, dtype):
    """Return ours in ``dtype`` and theirs in float64, with the same scale and offset."""
    same_state(ours.to(dtype))
    theirs.double().load_state_dict(ours.state_dict())
    return ours, theirs


STATELESS = {
    "layer": (LayerNorm, lambda shape: partial(nn.GroupNorm, 1)),
    "group": (partial(GroupNorm, 3), lambda shape: partial(nn.GroupNorm, 3)),
    "instance": (InstanceNorm, torch_instance_norm),
}
LAYERS = {
    "batch": BatchNorm,
    "ghost": lambda channels, **kwargs: GhostBatchNorm(channels, 4, **kwargs),
    **{name: make_ours for name, (make_ours, _) in STATELESS.items()},
}


# Forward, gradients, running statistics


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("tracking", "momentum"), [(False, 0.1), *product([True], MOMENTA)])
def test_batch_norm_is_torchs(shape, dtype, affine, tracking, momentum):
    ours, theirs = with_oracle(
        *(
            make(6, eps=1e-3, momentum=momentum, affine=affine, track_running_stats=tracking)
            for make in (BatchNorm, torch_batch_norm(shape))
        ),
        dtype,
    )
    for x in batches(*shape, dtype=dtype):
        got = step(ours, x)
        assert {t.dtype for t in got} == {dtype}
        assert_close(double(got), list(step(theirs, x.double())), **CLOSE[dtype])
        assert_close(double(buffers(ours)), double(buffers(theirs)), **CLOSE[dtype])
    theirs.load_state_dict(ours.state_dict())  # evaluation starts from equal statistics
    before = copy.deepcopy(buffers(ours))
    x = draw(3, *shape[1:], dtype=dtype)
    assert_close(double(step(ours.eval(), x)), list(step(theirs.eval(), x.double())), **CLOSE[dtype])
    assert_close(buffers(ours), before, rtol=0, atol=0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
@pytest.mark.parametrize("ghost_batch_size", [2, 4, 8])
@pytest.mark.parametrize("momentum", MOMENTA)
def test_ghost_batch_norm_is_torchs_over_successive_chunks(shape, dtype, ghost_batch_size, momentum):
    ours = GhostBatchNorm(6, ghost_batch_size, eps=1e-3, momentum=momentum)
    theirs = torch_batch_norm(shape)(6, eps=1e-3, momentum=momentum)
    with_oracle(ours, theirs, dtype)

    def chunk_by_chunk(x):
        return torch.cat([theirs(chunk) for chunk in x.split(ghost_batch_size)])

    chunk_by_chunk.parameters = theirs.parameters
    for x in batches(*shape, dtype=dtype):
        assert_close(double(step(ours, x)), list(step(chunk_by_chunk, x.double())), **CLOSE[dtype])
        assert_close(double(buffers(ours)), double(buffers(theirs)), **CLOSE[dtype])
    theirs.load_state_dict(ours.state_dict())
    for n in (1, 3, 8):  # evaluation has no ghosts
        x = draw(n, *shape[1:], dtype=dtype)
        assert_close(ours.eval()(x).double(), theirs.eval()(x.double()), **CLOSE[dtype])


def test_ghost_batch_norm_without_running_statistics_evaluates_ghosts():
    ours, theirs = GhostBatchNorm(6, 4, track_running_stats=False).double().eval(), nn.BatchNorm1d(6).double()
    x = draw(8, 6)
    assert_same(ours(x), torch.cat([theirs(chunk) for chunk in x.split(4)]))


@pytest.mark.parametrize(
    ("scheme", "shape"),
    [(scheme, shape) for scheme, shape in product(STATELESS, SHAPES) if (scheme, len(shape)) != ("instance", 2)],
    ids=str,
)
@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize("affine", [True, False])
def test_the_other_schemes_are_torchs_in_both_modes(scheme, shape, dtype, affine):
    make_ours, make_theirs = STATELESS[scheme]
    ours, theirs = (make(6, eps=1e-3, affine=affine) for make in (make_ours, make_theirs(shape)))
    with_oracle(ours, theirs, dtype)
    x = draw(*shape, dtype=dtype)
    for training in (True, False):
        ours.train(training), theirs.train(training)
        assert_close(double(step(ours, x)), list(step(theirs, x.double())), **CLOSE[dtype])


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    n=st.integers(2, 7),
    channels=st.integers(1, 5),
    positions=st.lists(st.integers(1, 4), max_size=3),
    momentum=st.sampled_from(MOMENTA),
    eps=st.floats(1e-8, 1),
)
def test_batch_norm_is_torchs_for_any_shape(n, channels, positions, momentum, eps):
    shape = (n, channels, *positions)
    ours, theirs = (make(channels, eps, momentum).double() for make in (BatchNorm, torch_batch_norm(shape)))
    for x in batches(*shape):
        # Two examples with almost equal values amplify rounding by up to 1 / sqrt(eps) = 1e4.
        assert_close(step(ours, x), step(theirs, x), rtol=1e-8, atol=1e-8)
        assert_same(buffers(ours), buffers(theirs))


@pytest.mark.parametrize("scheme", LAYERS)
def test_gradients_to_second_order_are_those_of_finite_differences(scheme):
    (layer,) = same_state(LAYERS[scheme](6, eps=0.1).double())

    def function(x, weight, bias):
        return functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    inputs = (draw(4, 6, 2).requires_grad_(), *layer.parameters())
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_momentum_none_is_the_average_of_all_batches():
    layer, xs = BatchNorm(6, momentum=None).double(), batches(8, 6, steps=5)
    for x in xs:
        layer(x)
    assert_same(layer.running_mean, torch.stack([x.mean(0) for x in xs]).mean(0))
    assert_same(layer.running_var, torch.stack([x.var(0) for x in xs]).mean(0))


def test_batch_norm_is_ghost_batch_norm_with_one_ghost():
    batch, ghost = BatchNorm(6), GhostBatchNorm(6, 8)
    x = draw(8, 6, dtype=torch.float32)
    assert torch.equal(batch(x), ghost(x))
    assert_close(batch.state_dict(), ghost.state_dict(), rtol=0, atol=0)


def test_tracking_can_be_turned_off_later_as_in_torch():
    ours, theirs = BatchNorm(6).double(), nn.BatchNorm1d(6).double()
    ours.track_running_stats = theirs.track_running_stats = False
    for training in (True, False):
        ours.train(training), theirs.train(training)
        assert_same(ours(draw(8, 6)), theirs(draw(8, 6)))
        assert_same(buffers(ours), buffers(theirs))


def test_running_statistics_can_be_removed_later_as_in_torch():
    ours, theirs = BatchNorm(6).double().eval(), nn.BatchNorm1d(6).double().eval()
    for layer in (ours, theirs):
        layer.running_mean = layer.running_var = None
    assert_same(ours(draw(8, 6)), theirs(draw(8, 6)))


# Numbers that are not: NaN, infinity, large means


@pytest.mark.parametrize("momentum", MOMENTA)
@pytest.mark.parametrize("ghost_batch_size", [4, 8])
def test_nan_and_infinity_spread_as_in_torch(momentum, ghost_batch_size):
    ours = GhostBatchNorm(6, ghost_batch_size, momentum=momentum).double()
    theirs = nn.BatchNorm1d(6, momentum=momentum).double()
    for layer in (ours, theirs):
        layer.running_mean[3], layer.running_var[4], layer.running_mean[5] = torch.inf, torch.inf, torch.nan
    x = draw(8, 6)
    assert_same(ours.eval()(x), theirs.eval()(x))
    x[1, 0], x[2, 1], x[3, 2] = torch.nan, torch.inf, -torch.inf
    for _ in range(2):
        assert_same(ours.train()(x), torch.cat([theirs.train()(chunk) for chunk in x.split(ghost_batch_size)]))
        assert_same(buffers(ours), buffers(theirs))
    assert_same(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize("scheme", STATELESS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_nan_and_infinity_stay_in_their_group(scheme, value):
    make_ours, make_theirs = STATELESS[scheme]
    x = draw(8, 6, 5)
    x[2, 4, 1] = value
    got, want = make_ours(6).double()(x), make_theirs(x.shape)(6).double()(x)
    assert_same(got.isnan(), want.isnan())


def test_a_large_mean_costs_float32_no_more_than_its_own_rounding():
    x = 1e4 + draw(500, 6)
    layer, wide = BatchNorm(6), BatchNorm(6).double()
    # x in float32 is off by up to 5e-4.
    assert_close(layer(x.float()).double(), wide(x), rtol=0, atol=4e-3)
    assert_close(layer.running_var.double(), wide.running_var, rtol=1e-4, atol=0)


def test_eps_may_be_zero():
    x = draw(8, 6)
    assert_same(BatchNorm(6, eps=0).double()(x).var(0, correction=0), torch.ones(6, dtype=torch.float64))


def test_affine_is_applied_before_the_one_rounding():
    x = draw(8, 6, dtype=torch.bfloat16)
    (layer,) = same_state(BatchNorm(6).bfloat16())
    assert torch.equal(layer(x), copy.deepcopy(layer).float()(x.float()).bfloat16())


def test_half_precision_buffers_are_rounded_once():
    layer, x = BatchNorm(500).half(), draw(8, 500, dtype=torch.float16)
    layer.running_mean.copy_(draw(500, seed=1))
    want = 0.9 * layer.running_mean.float() + 0.1 * x.float().mean(0)
    layer(x)
    assert torch.equal(layer.running_mean, want.half())


def test_half_precision_buffers_are_computed_in_float32():
    ours, theirs = BatchNorm(6).half(), nn.BatchNorm1d(6).half()
    for layer in (ours, theirs):
        layer(300 * draw(8, 6, dtype=torch.float16))  # the squares overflow float16
    assert ours.running_var.dtype == torch.float16
    assert ours.running_var.isfinite().all()
    assert_close(buffers(ours), buffers(theirs), **CLOSE[torch.float16])


@pytest.mark.parametrize("scheme", LAYERS)
def test_strides_do_not_matter(scheme):
    (layer,) = same_state(LAYERS[scheme](6).double())
    x = draw(6, 8, 4, 6)
    for view in (x.transpose(0, 1), x.permute(1, 3, 0, 2), draw(16, 6, 4, 4)[::2], draw(8, 6, 4, 1).expand(8, 6, 4, 4)):
        assert_same(step(layer, view), step(layer, view.contiguous()))
    last = draw(8, 6, 4, 3).to(memory_format=torch.channels_last)
    assert layer(last).is_contiguous(memory_format=torch.channels_last)
    assert_same(step(layer, last), step(layer, last.contiguous()))


# State


def exchangeable(shape):
    yield BatchNorm, torch_batch_norm(shape)
    yield partial(BatchNorm, affine=False), partial(torch_batch_norm(shape), affine=False)
    yield partial(BatchNorm, track_running_stats=False), partial(torch_batch_norm(shape), track_running_stats=False)
    yield lambda c: GhostBatchNorm(c, 4), torch_batch_norm(shape)
    yield LayerNorm, partial(nn.GroupNorm, 1)
    yield partial(GroupNorm, 3), partial(nn.GroupNorm, 3)
    if len(shape) > 2:
        yield InstanceNorm, torch_instance_norm(shape)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_state_dicts_interchange_with_torchs_both_ways(shape, dtype):
    for make_ours, make_theirs in exchangeable(shape):
        for make_source, make_target in [(make_ours, make_theirs), (make_theirs, make_ours)]:
            source, target = make_source(6).to(dtype), make_target(6).to(dtype)
            same_state(source)
            for x in batches(*shape, dtype=dtype):
                source(x)
            state = source.state_dict()
            assert [(k, v.shape, v.dtype) for k, v in state.items()] == [
                (k, v.shape, v.dtype) for k, v in target.state_dict().items()
            ]
            target.load_state_dict(state)
            x = draw(8, *shape[1:], dtype=dtype)
            assert_close(target.eval()(x), source.eval()(x), **CLOSE[dtype])


@pytest.mark.parametrize("scheme", LAYERS)
def test_copies_and_pickles_are_equal_and_independent(scheme):
    (layer,) = same_state(LAYERS[scheme](6).double())
    layer(draw(8, 6, 5))
    state = copy.deepcopy(layer.state_dict())
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert_same(twin.state_dict(), state)
        assert_same(twin(draw(8, 6, 5)), copy.deepcopy(layer)(draw(8, 6, 5)))
        for tensor in twin.state_dict().values():
            tensor.zero_()
        assert_same(layer.state_dict(), state)


@pytest.mark.parametrize("scheme", LAYERS)
def test_reset_makes_a_layer_new(scheme):
    (layer,) = same_state(LAYERS[scheme](6))
    layer(draw(8, 6, 5, dtype=torch.float32))
    layer.reset_parameters()
    assert_same(layer.state_dict(), LAYERS[scheme](6).state_dict())


def test_reset_running_stats_keeps_scale_and_offset():
    (layer,) = same_state(BatchNorm(6))
    layer(draw(8, 6, dtype=torch.float32))
    layer.reset_running_stats()
    assert_same(buffers(layer), buffers(BatchNorm(6)))
    assert not torch.equal(layer.weight, torch.ones(6))


@pytest.mark.parametrize("track", [True, False])
def test_reset_works_without_scale_and_running_statistics(track):
    layer = BatchNorm(6, affine=False, track_running_stats=track)
    layer.reset_parameters()
    assert set(layer.state_dict()) == set(nn.BatchNorm1d(6, affine=False, track_running_stats=track).state_dict())


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (BatchNorm(6), "BatchNorm(6, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)"),
        (
            GhostBatchNorm(6, 4, momentum=None, affine=False),
            "GhostBatchNorm(6, eps=1e-05, momentum=None, affine=False, track_running_stats=True, ghost_batch_size=4)",
        ),
        (LayerNorm(6), "LayerNorm(6, eps=1e-05, affine=True)"),
        (GroupNorm(3, 6, eps=0.1), "GroupNorm(3, 6, eps=0.1, affine=True)"),
        (InstanceNorm(6, affine=False), "InstanceNorm(6, eps=1e-05, affine=False)"),
    ],
)
def test_a_layer_prints_its_arguments(layer, text):
    assert repr(layer) == text


@pytest.mark.parametrize("momentum", MOMENTA)
def test_buffers_keep_no_graph(momentum):
    layer = GhostBatchNorm(6, 4, momentum=momentum).double()
    for x in batches(8, 6):
        layer(x.requires_grad_() * 2).sum().backward()
        assert all(not b.requires_grad and b.grad_fn is None for b in layer.buffers())
    layer.eval()(x).sum().backward()  # would enter the graphs of the training steps, which are gone


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_the_mode_is_training_and_nothing_else(context):
    ours, theirs = BatchNorm(6).double(), nn.BatchNorm1d(6).double()
    for layer in (ours, theirs):
        with context():
            layer.first = layer(draw(8, 6))
        layer.eval()
    assert_same(ours.first, theirs.first)
    assert_same(buffers(ours), buffers(theirs))
    assert_same(step(ours, draw(3, 6)), step(theirs, draw(3, 6)))


# torch.func, torch.compile, autocast


@pytest.mark.parametrize(
    ("scheme", "kwargs"),
    [
        *((scheme, {}) for scheme in LAYERS),
        *product(["batch", "ghost"], [*({"momentum": m} for m in (0, 1, None)), {"track_running_stats": False}]),
    ],
    ids=str,
)
def test_stacked_seeds_come_out_as_run_one_by_one(scheme, kwargs):
    alone = [same_state(LAYERS[scheme](6, **kwargs).double(), seed=seed)[0] for seed in (0, 10, 20)]
    for seed, layer in enumerate(alone):
        layer(draw(8, 6, 5, seed=seed))  # so that the running statistics differ
    together = copy.deepcopy(alone)
    parameters, stacked = stack_module_state(together)
    template = copy.deepcopy(alone[0]).to("meta")
    cotangent = draw(8, 6, 5, seed=7)
    for training, i in [(True, 0), (True, 1), (False, 2)]:
        for layer in (template, *alone):
            layer.train(training).zero_grad()
        x = torch.stack([draw(8, 6, 5, seed=seed + 3 * i) for seed in range(3)])
        y = vmap(lambda p, b, x: functional_call(template, (p, b), (x,)))(parameters, stacked, x)
        grads = torch.autograd.grad(y, list(parameters.values()), cotangent.expand(3, 8, 6, 5))
        want = [layer(one) for layer, one in zip(alone, x, strict=True)]
        for one in want:
            one.backward(cotangent)
        assert_same(y, torch.stack(want))
        for name, got in zip(parameters, grads, strict=True):
            assert_same(got, torch.stack([layer.get_parameter(name).grad for layer in alone]))
        for name, got in stacked.items():
            assert_same(got, torch.stack([layer.get_buffer(name) for layer in alone]))
            assert not got.requires_grad


@pytest.mark.parametrize(
    "make", [nn.BatchNorm1d, BatchNorm, partial(BatchNorm, momentum=None), partial(GhostBatchNorm, ghost_batch_size=4)]
)
def test_seeds_cannot_share_running_statistics(make):
    layer = make(6)
    with pytest.raises(RuntimeError, match="vmap|batched"):
        vmap(layer)(draw(3, 8, 6, dtype=torch.float32))
    assert_same(layer.running_mean, torch.zeros(6))
    assert vmap(layer.eval())(draw(3, 8, 6, dtype=torch.float32)).shape == (3, 8, 6)  # only read


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (BatchNorm(6).eval(), nn.BatchNorm1d(6).eval()),
        (BatchNorm(6, track_running_stats=False), nn.BatchNorm1d(6, track_running_stats=False)),
        (LayerNorm(6), nn.GroupNorm(1, 6)),
        (GroupNorm(3, 6), nn.GroupNorm(3, 6)),
        (InstanceNorm(6), nn.InstanceNorm1d(6, affine=True)),
    ],
)
def test_functional_derivatives_are_torchs(ours, theirs):
    x = draw(4, 6, 2)
    ours, theirs = same_state(ours.double(), theirs.double())
    assert_same(jacrev(ours)(x), torch.autograd.functional.jacobian(theirs, x))

    def loss(layer, parameters):
        return functional_call(layer, parameters, (x,)).sin().sum()

    parameters = {name: p.detach() for name, p in ours.named_parameters()}
    assert_same(grad(partial(loss, ours))(parameters), grad(partial(loss, theirs))(parameters))


@pytest.mark.parametrize("make", [nn.BatchNorm1d, BatchNorm])
def test_a_functional_derivative_cannot_change_running_statistics(make):
    layer = make(6)
    with pytest.raises(RuntimeError, match="mutate a captured Tensor"):
        grad(lambda x: layer(x).sum())(draw(8, 6, dtype=torch.float32))


def compare_with_compiled(layer, backend, close, modes=(True, False)):
    torch._dynamo.reset()
    eager = copy.deepcopy(layer)
    compiled = torch.compile(layer, fullgraph=True, backend=backend)
    for training in modes:
        for module in (eager, compiled):
            module.train(training)
        for x in batches(8, 6, 5, dtype=layer.weight.dtype, steps=2):
            assert_close(step(compiled, x), step(eager, x), **close)
            assert_close(buffers(layer), buffers(eager), **close)


@pytest.mark.parametrize("scheme", LAYERS)
def test_compiled_is_eager(scheme):
    compare_with_compiled(*same_state(LAYERS[scheme](6).double()), "aot_eager", EXACT)


@pytest.mark.parametrize("number", [np.int64, np.int32], ids=str)
def test_sizes_may_be_integers_of_numpy(number):
    pairs = [
        (BatchNorm(number(6)), BatchNorm(6)),
        (GhostBatchNorm(number(6), number(4)), GhostBatchNorm(6, 4)),
        (GroupNorm(number(2), number(6)), GroupNorm(2, 6)),
        (InstanceNorm(number(6)), InstanceNorm(6)),
    ]
    for layer, plain in pairs:
        assert repr(layer) == repr(plain) and layer.state_dict().keys() == plain.state_dict().keys()
        compare_with_compiled(layer.double(), "aot_eager", EXACT)


def test_a_compiled_cumulative_average_is_eager():
    compare_with_compiled(BatchNorm(6, momentum=None).double(), "aot_eager", EXACT)


def test_compiled_batch_sizes_may_vary():
    torch._dynamo.reset()
    layer = BatchNorm(6).double()
    eager, compiled = copy.deepcopy(layer), torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=True)
    for n in (8, 5, 3):
        assert_same(compiled(draw(n, 6, 5)), eager(draw(n, 6, 5)))
    assert_same(buffers(layer), buffers(eager))


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch's own, in its compiler
def test_compiled_to_machine_code_is_eager(missing):
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        missing("torch.compile needs a C++ compiler")
    if " " in torch.__file__:
        pytest.skip("torch's compiler does not quote paths: it cannot link from a folder with a space in its name")
    compare_with_compiled(*same_state(GhostBatchNorm(6, 4)), "inductor", CLOSE[torch.float32], modes=[True])


@pytest.mark.parametrize("scheme", LAYERS)
def test_autocast_gives_bfloat16_computed_in_float32(scheme):
    (layer,) = same_state(LAYERS[scheme](6))
    linear, x = nn.Linear(5, 5), draw(8, 6, 5, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = linear(x)
        y = layer(hidden)
    assert hidden.dtype == y.dtype == torch.bfloat16
    assert torch.equal(y, layer(hidden.float()).bfloat16())
    assert all(b.dtype == torch.float32 for b in layer.buffers() if b.is_floating_point())
    y.sum().backward()
    assert layer.weight.grad.dtype == linear.weight.grad.dtype == torch.float32


# Errors: the value, the rule, and the fix where there is one


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GroupNorm(3, 8), "num_groups must divide the number of channels, but got num_groups=3 and 8 channels"),
        (lambda: GroupNorm(16, 8), "num_groups must divide .* num_groups=16 and 8 channels"),
        (lambda: GroupNorm(0, 8), "num_groups must be a positive whole number .*, but got 0"),
        (lambda: GroupNorm(2.0, 8), "num_groups must be a positive whole number .*, but got 2.0"),
        (lambda: GhostBatchNorm(8, 0), "ghost_batch_size must be a positive whole number .*, but got 0"),
        (lambda: GhostBatchNorm(8, "4"), "ghost_batch_size must be a positive whole number .*, but got '4'"),
        (lambda: GhostBatchNorm(8, True), "ghost_batch_size must be a positive whole number .*, but got True"),
        *(
            (partial(make, c), f"number of channels must be a positive whole number .*, but got {c}")
            for make, c in product([BatchNorm, LayerNorm, InstanceNorm, partial(GroupNorm, 1)], [0, -1, 2.0, None])
        ),
        *(
            (partial(make, 8, eps=eps), f"eps must be a finite number, at least 0, but got eps={eps}")
            for make, eps in product([BatchNorm, LayerNorm, partial(GroupNorm, 1)], [-1e-5, torch.nan, torch.inf])
        ),
        *(
            (partial(BatchNorm, 8, momentum=m), f"momentum must be None or a number in .0, 1., but got momentum={m!r}")
            for m in [-0.1, 1.1, torch.nan, "0.1"]
        ),
    ],
)
def test_an_argument_outside_its_range_is_named_with_a_fix(make, message):
    with pytest.raises(ValueError, match=f"{message}.*; .+"):
        make()


@pytest.mark.parametrize(
    ("layer", "x", "error", "message"),
    [
        (
            BatchNorm(6),
            torch.ones(1, 6),
            ValueError,
            r"at least 2 values .* got 1 .*\(1, 6\).*larger batch or .eval\(\)",
        ),
        (BatchNorm(6, track_running_stats=False).eval(), torch.ones(1, 6, 1), ValueError, r"at least 2 .*\(1, 6, 1\)"),
        (GhostBatchNorm(6, 1), torch.ones(8, 6), ValueError, r"at least 2 values .* got 1 .*\(8, 6\).*larger groups"),
        (InstanceNorm(6), torch.ones(8, 6), ValueError, r"at least 2 values .* got 1 .*\(8, 6\).*positions"),
        (InstanceNorm(6).eval(), torch.ones(8, 6, 1), ValueError, r"at least 2 values .*\(8, 6, 1\)"),
        (GroupNorm(6, 6), torch.ones(8, 6), ValueError, r"at least 2 values .*\(8, 6\)"),
        (LayerNorm(1), torch.ones(8, 1), ValueError, r"at least 2 values .*\(8, 1\)"),
        (
            GhostBatchNorm(6, 3),
            torch.ones(8, 6),
            ValueError,
            r"ghost_batch_size must divide the batch, but got ghost_batch_size=3 and 8 examples; drop .* or use .eval\(\)",
        ),
        *(
            (layer, x, error, message)
            for layer, (x, error, message) in product(
                [
                    BatchNorm(6),
                    BatchNorm(6).eval(),
                    GhostBatchNorm(6, 4),
                    LayerNorm(6),
                    GroupNorm(3, 6),
                    InstanceNorm(6),
                ],
                [
                    (torch.ones(8, 5), ValueError, r"6 channels on axis 1, but got 5 channels in shape \(8, 5\)"),
                    (torch.ones(8, 5, 6), ValueError, r"6 channels on axis 1, but got 5 channels in shape \(8, 5, 6\)"),
                    (torch.ones(6), ValueError, r"at least 2 axes, but got shape \(6,\)"),
                    (torch.tensor(1.0), ValueError, r"at least 2 axes, but got shape \(\)"),
                    (torch.ones(0, 6), ValueError, r"at least one value, but got the empty shape \(0, 6\)"),
                    (torch.ones(8, 6, 0), ValueError, r"at least one value, but got the empty shape \(8, 6, 0\)"),
                    (
                        torch.ones(8, 6, 4, dtype=torch.int32),
                        TypeError,
                        r"got torch.int32; convert it with x.float\(\)",
                    ),
                    (torch.ones(8, 6, 4, dtype=torch.bool), TypeError, "floating-point numbers, but got torch.bool"),
                    (
                        torch.ones(8, 6, 4, dtype=torch.cdouble),
                        TypeError,
                        "floating-point numbers, but got torch.complex128",
                    ),
                ],
            )
        ),
    ],
)
def test_an_input_that_breaks_a_rule_is_named_with_a_fix(layer, x, error, message):
    layer = copy.deepcopy(layer)
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(error, match=message) as caught:
        layer(x)
    assert "; " in str(caught.value), "no fix"
    assert_same(layer.state_dict(), before)


def test_evaluation_takes_a_batch_of_one():
    assert BatchNorm(6).eval()(torch.ones(1, 6)).shape == (1, 6)
