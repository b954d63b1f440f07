"""Weight norm is torch's, its gradients are the paper's; the initialisation does what it says, or says why not."""

import copy
from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.utils import parametrizations, parametrize

from companion.norms import (
    BatchNorm,
    MeanOnlyBatchNorm,
    WeightNorm,
    data_dependent_init,
    fold_weight_norm,
    standardize,
    weight_norm,
)

torch.set_num_threads(1)

EXACT = {"rtol": 1e-12, "atol": 1e-12}  # float64: rounding is 1e-15, a wrong formula is far above
assert_same = partial(torch.testing.assert_close, **EXACT)
assert_equal = partial(torch.testing.assert_close, rtol=0, atol=0)

LAYERS = {  # a layer, and the shape of what goes in
    "linear": (partial(nn.Linear, 6, 5), (8, 6)),
    "tokens": (partial(nn.Linear, 6, 5), (4, 7, 6)),
    "conv1d": (partial(nn.Conv1d, 6, 5, 3), (8, 6, 7)),
    "conv2d": (partial(nn.Conv2d, 6, 4, 3, groups=2), (8, 6, 5, 4)),
    "conv3d": (partial(nn.Conv3d, 6, 5, 2), (8, 6, 3, 3, 3)),
}
each_layer = pytest.mark.parametrize("kind", LAYERS)


def draw(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def make(kind, dtype=torch.float64, seed=0, **kwargs):
    """Make a layer with drawn weights, and an input."""
    build, shape = LAYERS[kind]
    layer = build(**kwargs).to(dtype)
    with torch.no_grad():
        for place, parameter in enumerate(layer.parameters()):
            parameter.copy_(draw(*parameter.shape, seed=10 * seed + place))
    return layer, draw(*shape, dtype=dtype, seed=seed + 5)


def split(model, dim=0):
    """Put weight norm on all that it is made for."""
    for layer in list(model.modules()):
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            weight_norm(layer, dim=dim)
    return model


def g_and_v(layer):
    return layer.parametrizations.weight.original0, layer.parametrizations.weight.original1


def step(layer, x):
    """Return output and gradients, for the same cotangent whichever layer it is."""
    x = x.clone().requires_grad_()
    y = layer(x)
    return y, *torch.autograd.grad(y, [x, *layer.parameters()], draw(*y.shape, dtype=y.dtype, seed=9))


def mean_and_variance(out, channel=1):
    """Return the largest departures from mean 0 and variance 1 over all but the channels."""
    flat = out.detach().movedim(channel, 0).flatten(1)
    return flat.mean(1).abs().max().item(), (flat.var(1, correction=0) - 1).abs().max().item()


def seen(model, x):
    """Return what each layer with weight norm, or mean-only batch norm, puts out: {name: output}."""
    outputs, hooks = {}, []
    for name, layer in model.named_modules():
        if isinstance(layer, MeanOnlyBatchNorm) or parametrize.is_parametrized(layer):
            hook = partial(lambda name, _, args, out: outputs.update({name: out}), name)
            hooks.append(layer.register_forward_hook(hook))
    model(x)
    for hook in hooks:
        hook.remove()
    return outputs


# The reparameterisation


@each_layer
@pytest.mark.parametrize("dim", [0, 1, None])
def test_it_is_torchs(kind, dim):
    layer, x = make(kind)
    ours, theirs = weight_norm(copy.deepcopy(layer), dim=dim), parametrizations.weight_norm(copy.deepcopy(layer))
    if dim != 0:
        theirs = parametrizations.weight_norm(copy.deepcopy(layer), dim=dim)
    assert [(k, v.shape) for k, v in ours.state_dict().items()] == [
        (k, v.shape) for k, v in theirs.state_dict().items()
    ]
    assert_same(step(ours, x), step(theirs, x))
    with torch.no_grad():
        for module in (ours, theirs):
            for place, parameter in enumerate(module.parameters()):
                parameter.copy_(draw(*parameter.shape, seed=20 + place))
    assert_same(step(ours, x), step(theirs, x))


@each_layer
@pytest.mark.parametrize("dim", [0, None])
def test_states_go_both_ways(kind, dim):
    first, x = make(kind)
    second, _ = make(kind, seed=1)
    for source, target in ((weight_norm, parametrizations.weight_norm), (parametrizations.weight_norm, weight_norm)):
        one, other = source(copy.deepcopy(first), dim=dim), target(copy.deepcopy(second), dim=dim)
        other.load_state_dict(one.state_dict())
        assert_same(step(other, x), step(one, x))


@each_layer
def test_splitting_and_folding_change_nothing(kind):
    layer, x = make(kind)
    before, weight = layer(x), layer.weight.detach().clone()
    assert weight_norm(layer) is layer
    assert_same(layer(x), before)
    g, v = g_and_v(layer)
    assert_same(v, weight)
    assert_same(g.flatten(), weight.flatten(1).norm(dim=1))
    with torch.no_grad():
        g.mul_(-2)
    during = layer(x)
    assert fold_weight_norm(layer) is layer
    assert_equal(layer(x), during)  # to the last bit
    assert type(layer) is LAYERS[kind][0].func
    assert [name for name, _ in layer.named_parameters()] == ["bias", "weight"] or set(layer.state_dict()) == {
        "bias",
        "weight",
    }
    assert layer.weight.requires_grad and layer.weight.is_leaf


def test_the_optimizers_parameters_are_g_and_v():
    layer, x = make("linear")
    weight_norm(layer)
    names = {name for name, _ in layer.named_parameters()}
    assert names == {"bias", "parametrizations.weight.original0", "parametrizations.weight.original1"}
    torch.optim.SGD(layer.parameters(), lr=0.1).zero_grad()
    layer(x).square().sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())


@pytest.mark.parametrize("context", [torch.no_grad, torch.enable_grad])
@pytest.mark.parametrize("learned", [True, False])
def test_folding_leaves_a_parameter_and_what_was_frozen_frozen(context, learned):
    model = split(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    model.requires_grad_(learned)
    with context():
        fold_weight_norm(model)
    assert isinstance(model[0].weight, nn.Parameter) and isinstance(model[2].weight, nn.Parameter)
    assert not dict(model.named_buffers())
    assert {p.requires_grad for p in model.parameters()} == {learned}


def test_folding_leaves_other_parametrizations():
    model = nn.Sequential(weight_norm(nn.Linear(4, 3)), parametrizations.orthogonal(nn.Linear(3, 3)))
    fold_weight_norm(model)
    assert not parametrize.is_parametrized(model[0]) and parametrize.is_parametrized(model[1])


def test_another_parameter_and_transposed_convolutions_can_be_split():
    layer = nn.LSTM(3, 4)
    x, before = torch.ones(2, 1, 3), None
    before = layer(x)[0]
    weight_norm(layer, "weight_hh_l0")
    torch.testing.assert_close(layer(x)[0], before)
    transposed = weight_norm(nn.ConvTranspose2d(3, 5, 2), dim=1)
    assert g_and_v(transposed)[0].shape == (1, 5, 1, 1)
    norm = weight_norm(nn.BatchNorm1d(4))  # a vector: each entry by itself, as in torch
    assert_equal(norm.weight.detach(), torch.ones(4))
    assert g_and_v(norm)[0].shape == (4,)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    shape=st.lists(st.integers(1, 4), min_size=2, max_size=5),
    scale=st.floats(1e-3, 1e3),
    dim=st.sampled_from([0, 1, None]),
    seed=st.integers(0, 99),
)
def test_gradients_are_the_papers_for_any_shape(shape, scale, dim, seed):
    """Equation 3, and v's gradient across v: not if the norm were taken as a constant."""
    norm, v = WeightNorm(dim), (scale * draw(*shape, seed=seed)).requires_grad_()
    g = draw(*norm.length(v.detach()).shape, seed=seed + 1).requires_grad_()
    upstream = draw(*shape, seed=seed + 2)
    grad_g, grad_v = torch.autograd.grad(norm(g, v), (g, v), upstream)
    rows = (lambda t: t.reshape(1, -1)) if dim is None else (lambda t: t.movedim(dim, 0).reshape(t.shape[dim], -1))
    unit, up, lengths = rows(v) / rows(v).norm(dim=1, keepdim=True), rows(upstream), rows(v).norm(dim=1, keepdim=True)
    along = (up * unit).sum(1, keepdim=True)
    assert_same(grad_g.reshape(-1), along.flatten())
    want = g.reshape(-1, 1) / lengths * (up - along * unit)
    torch.testing.assert_close(rows(grad_v), want, rtol=1e-9, atol=1e-12 / scale)
    off = (rows(grad_v) * rows(v)).sum(1).abs()
    assert (off <= 1e-12 * (1 + (g.reshape(-1) * up.norm(dim=1)).abs())).all()


@pytest.mark.parametrize(
    ("optimizer", "grows"),
    [(partial(torch.optim.SGD, lr=0.3), True), (partial(torch.optim.SGD, lr=0.3, weight_decay=0.5), False)],
)
def test_plain_gradient_descent_lengthens_v_by_pythagoras(optimizer, grows):
    layer, x = make("linear")
    weight_norm(layer)
    _, v = g_and_v(layer)
    updater, kept = optimizer(layer.parameters()), []
    for _ in range(5):
        before = v.detach().clone()
        updater.zero_grad()
        layer(x).sin().sum().backward()
        updater.step()
        squares = [t.square().sum(1) for t in (v.detach(), before, v.detach() - before)]
        kept.append(torch.allclose(squares[0], squares[1] + squares[2], **EXACT))
    assert all(kept) is grows


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_narrow_numbers_are_computed_in_float32_and_rounded_once(dtype):
    g, v = draw(5, 1, dtype=dtype), draw(5, 6, dtype=dtype, seed=1)
    got, want = WeightNorm()(g, v), WeightNorm()(g.double(), v.double())
    assert got.dtype == dtype
    close = torch.finfo(dtype).eps
    torch.testing.assert_close(got.double(), want, rtol=2 * close, atol=close)


def test_a_v_of_zero_gives_nan_as_in_torch():
    for norm in (weight_norm, parametrizations.weight_norm):
        layer = norm(nn.Linear(3, 2))
        with torch.no_grad():
            g_and_v(layer)[1][0] = 0
        assert layer.weight[0].isnan().all() and layer.weight[1].isfinite().all()


def test_stacked_seeds_come_out_as_run_one_by_one():
    alone = [
        split(nn.Sequential(nn.Linear(6, 5), MeanOnlyBatchNorm(5), nn.ReLU(), nn.Linear(5, 2))).double()
        for _ in range(3)
    ]
    for network in alone:
        network(draw(8, 6))
    parameters, buffers = stack_module_state(copy.deepcopy(alone))
    template, x = copy.deepcopy(alone[0]), draw(3, 8, 6)
    y = vmap(lambda p, b, x: functional_call(template, (p, b), (x,)))(parameters, buffers, x)
    cotangent = draw(8, 2, seed=3)
    grads = torch.autograd.grad(y, list(parameters.values()), cotangent.expand(3, 8, 2))
    want = [network(one) for network, one in zip(alone, x, strict=True)]
    for one in want:
        one.backward(cotangent)
    assert_same(y, torch.stack(want))
    for name, got in zip(parameters, grads, strict=True):
        assert_same(got, torch.stack([dict(network.named_parameters())[name].grad for network in alone]))
    for name, got in buffers.items():
        assert_same(got, torch.stack([dict(network.named_buffers())[name] for network in alone]))


def test_compiled_is_eager():
    torch._dynamo.reset()
    layer, x = make("linear")
    weight_norm(layer)
    assert_same(step(torch.compile(layer, fullgraph=True, backend="aot_eager"), x), step(layer, x))


def test_copies_are_independent():
    layer, x = make("linear")
    twin = copy.deepcopy(weight_norm(layer))
    assert_equal(twin(x), layer(x))
    with torch.no_grad():
        g_and_v(twin)[0].zero_()
    assert g_and_v(layer)[0].abs().min() > 0


# Mean-only batch norm


@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 5), (8, 6, 4, 3), (1, 6, 2)], ids=str)
@pytest.mark.parametrize("momentum", [0, 0.1, 1, None])
def test_it_is_batch_norm_times_the_deviation(shape, momentum):
    layer, reference = (build(6, momentum=momentum).double() for build in (MeanOnlyBatchNorm, BatchNorm))
    with torch.no_grad():
        layer.bias.copy_(draw(6, seed=3))
    column = [-1 if axis == 1 else 1 for axis in range(len(shape))]
    for seed in range(3):
        x = 3 * draw(*shape, seed=seed) + 5
        reference(x)
        others = [axis for axis in range(len(shape)) if axis != 1]
        mean = x.mean(others, keepdim=True)
        assert_same(layer(x), x - mean + layer.bias.view(column))
        deviation = (x.var(others, correction=0, keepdim=True) + 1e-5).sqrt()
        assert_same(layer(x.clone()) - layer.bias.view(column), standardize(x, shape[0], 1) * deviation)
        with torch.no_grad():  # the second call counted too
            reference(x)
        assert_same(layer.running_mean, reference.running_mean)
        assert_equal(layer.num_batches_tracked, reference.num_batches_tracked)
    layer.eval()
    before = copy.deepcopy(layer.state_dict())
    x = draw(1, *shape[1:], seed=7)
    assert_same(layer(x), x - layer.running_mean.view(column) + layer.bias.view(column))
    assert_equal(layer.state_dict(), before)


def test_its_gradient_goes_through_the_mean():
    layer = MeanOnlyBatchNorm(3).double()
    assert torch.autograd.gradcheck(layer, draw(4, 3, 2).requires_grad_())
    x = draw(4, 3).requires_grad_()
    (grad,) = torch.autograd.grad(layer(x).square().sum() / 2, x)
    assert_same(grad, (x - x.mean(0)).detach())
    assert_same(grad.sum(0), torch.zeros(3, dtype=torch.float64))  # not if the mean were a constant
    assert layer.running_mean.grad_fn is None


def test_its_state_and_text():
    layer = MeanOnlyBatchNorm(6, momentum=None)
    assert list(layer.state_dict()) == ["bias", "running_mean", "num_batches_tracked"]
    assert repr(layer) == "MeanOnlyBatchNorm(6, momentum=None)"
    layer(draw(8, 6, dtype=torch.float32))
    layer.reset_parameters()
    assert_equal(layer.state_dict(), MeanOnlyBatchNorm(6).state_dict())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_its_mean_is_taken_in_float32(dtype):
    x = draw(4096, 2, dtype=dtype) + 8
    layer = MeanOnlyBatchNorm(2)
    assert layer(x).dtype == dtype
    torch.testing.assert_close(layer.running_mean, 0.1 * x.float().mean(0))


# Data-dependent initialisation


def network(norm=None, dtype=torch.float64):
    """Return seven layers, as in the chapter, and a batch."""
    sizes = [6] + [12] * 6
    layers = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for inputs, width in pairwise(sizes):
            layers += [nn.Linear(inputs, width, bias=norm is None), *([norm(width)] if norm else []), nn.ReLU()]
        model = nn.Sequential(*layers, nn.Linear(12, 3)).to(dtype)
    return split(model), 2 * draw(100, 6, dtype=dtype) + 1


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=str)
def test_every_layer_has_mean_0_and_variance_1(dtype, close):
    model, x = network(dtype=dtype)
    data_dependent_init(model, x)
    outputs = seen(model, x)
    assert len(outputs) == 7
    for out in outputs.values():
        assert max(mean_and_variance(out)) <= close


@each_layer
def test_every_kind_of_layer(kind):
    layer, x = make(kind)
    weight_norm(layer)
    v = g_and_v(layer)[1].detach().clone()
    data_dependent_init(layer, x)
    assert max(mean_and_variance(layer(x), channel=-1 if kind == "tokens" else 1)) <= 1e-12
    assert_equal(g_and_v(layer)[1].detach(), v)
    assert (g_and_v(layer)[0] > 0).all()


def test_it_is_equations_5_and_6_whatever_g_and_b_were():
    layer, x = make("linear")
    weight_norm(layer)
    with torch.no_grad():
        g_and_v(layer)[0].mul_(torch.tensor([[-3.0], [0.0], [1.0], [2.0], [5.0]]))
    data_dependent_init(layer, x)
    v = g_and_v(layer)[1]
    t = x @ (v / v.norm(dim=1, keepdim=True)).T
    mean, deviation = t.mean(0), t.std(0, correction=0)  # the biased variance: with N - 1 it is not 1
    assert_same(g_and_v(layer)[0].flatten(), 1 / deviation)
    assert_same(layer.bias, -mean / deviation)


def test_a_layer_sees_what_the_layers_before_it_give_after_their_update():
    model, x = network()
    stale = copy.deepcopy(model)
    data_dependent_init(model, x)
    for layer in (stale[0], stale[2]):  # each alone, with inputs from before: not the same
        data_dependent_init(layer, x if layer is stale[0] else copy.deepcopy(network()[0])[:2](x))
    assert_same(g_and_v(stale[0])[0], g_and_v(model[0])[0])
    assert (g_and_v(stale[2])[0] - g_and_v(model[2])[0]).abs().max() > 1e-3


@pytest.mark.parametrize("training", [True, False])
def test_mean_only_batch_norm_takes_the_mean_where_there_is_no_bias(training):
    model, x = network(MeanOnlyBatchNorm)
    model.train(training)
    data_dependent_init(model, x)
    for mode in (False, True):  # evaluation first: the running mean starts at this batch's
        outputs = [out for name, out in seen(model.train(mode), x).items() if name in mean_only(model)]
        assert len(outputs) == 6
        for out in outputs:
            assert max(mean_and_variance(out)) <= 1e-12
    assert max(mean_and_variance(model(x))) <= 1e-12


def mean_only(model):
    return {name for name, layer in model.named_modules() if isinstance(layer, MeanOnlyBatchNorm)}


def test_convolutions_with_mean_only_batch_norm():
    model = split(nn.Sequential(nn.Conv1d(2, 4, 3, bias=False), MeanOnlyBatchNorm(4), nn.ReLU(), nn.Conv1d(4, 3, 3)))
    model.double()
    x = draw(16, 2, 9)
    data_dependent_init(model, x)
    for name in ("1", "3"):
        assert max(mean_and_variance(seen(model, x)[name])) <= 1e-12


def test_all_else_is_left_as_it_was():
    model, x = network()
    model = nn.Sequential(model, BatchNorm(3), nn.Dropout(0.5), MeanOnlyBatchNorm(3)).double()
    calls = []
    model.register_forward_hook(lambda *_: calls.append("mine"))
    model[0][4].eval()
    model(x).sum().backward()
    grads = [p.grad.clone() for p in model.parameters()]
    untouched = {
        name: tensor.clone()
        for name, tensor in model.state_dict().items()
        if not name.startswith("0.") or name.endswith("original1")
    }
    modes = [module.training for module in model.modules()]
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    data_dependent_init(model, x)
    assert_equal(torch.rand(2), expected)
    assert_equal([p.grad for p in model.parameters()], grads)
    assert [module.training for module in model.modules()] == modes
    assert all(p.requires_grad for p in model.parameters())
    assert_equal({name: model.state_dict()[name] for name in untouched}, untouched)
    assert sum(len(module._forward_hooks) for module in model.modules()) == 1


def test_what_ones_own_hook_makes_of_an_output_is_what_the_next_layer_sees():
    model, x = network()
    model[0].register_forward_hook(lambda _, args, out: 3 * out + 1)
    data_dependent_init(model, x)
    first = model[0].forward(x)  # without hooks
    assert max(mean_and_variance(first)) <= 1e-12
    assert max(mean_and_variance(model[:3](x))) <= 1e-12


def test_an_assigned_weight_is_copied():
    layer, weight = weight_norm(nn.Linear(3, 2)), torch.ones(2, 3)
    layer.weight = weight
    weight.zero_()
    torch.testing.assert_close(layer.weight.detach(), torch.ones(2, 3))


def test_parameters_stay_the_optimizers():
    model, x = network()
    before = [id(p) for p in model.parameters()]
    data_dependent_init(model, x)
    assert [id(p) for p in model.parameters()] == before


# Errors: the value, the rule, and the fix


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: weight_norm(nn.ReLU()), "parameter of the layer, but got name='weight' for ReLU, which has: none"),
        (
            lambda: weight_norm(nn.Sequential(nn.Linear(2, 2))),
            "name='weight' for Sequential, .*each layer of a network",
        ),
        (lambda: weight_norm(nn.Linear(2, 2), "w"), "name='w' for Linear, which has: weight, bias"),
        (lambda: weight_norm(nn.Linear(2, 2, bias=False), "bias"), "name='bias' for Linear, which has: weight"),
        *(
            (
                partial(lambda norm: weight_norm(norm(nn.Linear(2, 2))), norm),
                "weight must be a plain parameter, but that of ParametrizedLinear is parametrized already; call fold_weight",
            )
            for norm in (weight_norm, parametrizations.weight_norm)
        ),
        *(
            (
                partial(lambda dim: weight_norm(nn.Linear(2, 2), dim=dim), dim),
                f"dim must be .* 0 to 1, but got dim={dim!r}",
            )
            for dim in (2, -1, 1.0, True, "0")
        ),
        (lambda: weight_norm(zero(nn.Linear(3, 2))), "length above 0, but got 1 of 2 without.*draw the weights first"),
        (lambda: weight_norm(zero(nn.Linear(3, 2), torch.nan)), "length above 0, but got 1 of 2 without"),
        (lambda: fold_weight_norm(nn.Linear(2, 2)), "must have a layer with weight norm, but Linear has none"),
        *(
            (partial(MeanOnlyBatchNorm, c), f"number of channels must be a positive whole number .*, but got {c}")
            for c in (0, 2.0)
        ),
        *(
            (partial(MeanOnlyBatchNorm, 3, m), f"momentum must be None or a number in .0, 1., but got momentum={m!r}")
            for m in (-0.1, 1.1, torch.nan, "0.1")
        ),
    ],
)
def test_what_breaks_a_rule_is_named_with_a_fix(act, message):
    with pytest.raises(ValueError, match=f"{message}.*") as caught:
        act()
    assert "; " in str(caught.value), "no fix"


def zero(layer, value=0.0):
    with torch.no_grad():
        layer.weight[0] = value
    return layer


def test_a_zero_weight_leaves_the_layer_as_it_was():
    layer = zero(nn.Linear(3, 2))
    with pytest.raises(ValueError, match="no direction"):
        weight_norm(layer)
    assert not parametrize.is_parametrized(layer) and layer.weight.shape == (2, 3)
    assert isinstance(layer.weight, nn.Parameter)


def test_a_zero_weight_cannot_be_assigned():
    layer = weight_norm(nn.Linear(3, 2))
    with pytest.raises(ValueError, match="got 2 of 2 without"):
        layer.weight = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.ones(1, 6), ValueError, r"at least 2 values, but got 1 .*\(1, 6\); use a larger batch or .eval\(\)"),
        (torch.ones(1, 6, 1), ValueError, r"at least 2 values, but got 1 .*\(1, 6, 1\)"),
        (torch.ones(8, 5), ValueError, r"6 channels on axis 1, but got 5"),
        (torch.ones(6), ValueError, r"at least 2 axes"),
        (torch.ones(0, 6), ValueError, r"at least one value"),
        (torch.ones(8, 6, dtype=torch.int32), TypeError, r"got torch.int32"),
    ],
)
def test_mean_only_batch_norm_refuses(x, error, message):
    layer = MeanOnlyBatchNorm(6)
    with pytest.raises(error, match=message) as caught:
        layer(x)
    assert "; " in str(caught.value)
    assert_equal(layer.state_dict(), MeanOnlyBatchNorm(6).state_dict())


def test_mean_only_batch_norm_evaluates_a_batch_of_one():
    assert MeanOnlyBatchNorm(6).eval()(torch.ones(1, 6)).shape == (1, 6)


class Twice(nn.Module):
    """A network that uses one layer twice."""

    def __init__(self):
        super().__init__()
        self.layer = weight_norm(nn.Linear(6, 6))

    def forward(self, x):
        return self.layer(self.layer(x))


class Never(nn.Module):
    """A network with a layer that it does not use."""

    def __init__(self):
        super().__init__()
        self.used, self.spare = weight_norm(nn.Linear(6, 6)), weight_norm(nn.Linear(6, 6))

    def forward(self, x):
        return self.used(x)


def tied():
    model = nn.Sequential(weight_norm(nn.Linear(6, 6)), weight_norm(nn.Linear(6, 6)))
    model[1].bias = model[0].bias
    return model


def dead():
    """Return a unit that no example gets through."""
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))
    nn.init.constant_(model[0].bias, -1e3)
    return nn.Sequential(model[0], model[1], weight_norm(model[2]))


NO_OFFSET = r"bias must be there to take off the mean, but it is None and no MeanOnlyBatchNorm follows.*bias=True"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: nn.Linear(6, 2),
            ValueError,
            "must have a layer with weight norm, but Linear has none; call weight_norm",
        ),
        (lambda: weight_norm(nn.Linear(6, 2, bias=False)), ValueError, f"^{NO_OFFSET}"),
        (lambda: split(nn.Sequential(nn.Linear(6, 2, bias=False), nn.Linear(2, 2))), ValueError, rf"^0\.{NO_OFFSET}"),
        (
            lambda: split(nn.Sequential(nn.Linear(6, 2, bias=False), nn.ReLU(), MeanOnlyBatchNorm(2))),
            ValueError,
            NO_OFFSET,
        ),
        (Twice, ValueError, r"used once, but layer\.weight is used again in one pass.*; leave weight norm off"),
        (Never, ValueError, r"used once, but the pass did not call spare\.weight; give a batch"),
        (tied, ValueError, "a g and a bias of its own, but some layers share theirs; .*untie"),
        (
            dead,
            ValueError,
            r"must vary over the batch, but 2 of 2 of 2\.weight do not .*; take more examples, or draw v",
        ),
        (
            lambda: weight_norm(nn.Linear(6, 6), dim=1),
            ValueError,
            r"its own g \(dim=0\), but got dim=1 for weight; call",
        ),
        (lambda: weight_norm(nn.Linear(6, 6), dim=None), ValueError, r"its own g \(dim=0\), but got dim=None"),
        (
            lambda: nn.Sequential(weight_norm(nn.Bilinear(6, 6, 2))),
            TypeError,
            r"but got weight of .*Bilinear \(0\); set",
        ),
        (lambda: weight_norm(nn.BatchNorm1d(6)), TypeError, r"but got weight of .*BatchNorm1d \(the model itself\)"),
        (lambda: weight_norm(nn.RNN(6, 6), "weight_hh_l0"), TypeError, "but got weight_hh_l0 of .*RNN"),
    ],
)
def test_initialisation_that_cannot_be_says_why_and_changes_nothing(make, error, message):
    model = make()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(error, match=message) as caught:
        data_dependent_init(model, draw(20, 6, dtype=torch.float32))
    assert "; " in str(caught.value)
    assert_equal(model.state_dict(), before)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.ones(20, 6), r"must vary over the batch, but 2 of 2 of weight do not"),
        (torch.full((20, 6), 0.1), r"must vary over the batch"),  # rounding of the mean is no variance
        (torch.full((20, 6), torch.nan), r"do not \(or are not finite\)"),
        (torch.ones(1, 6), "a group needs at least 2 values to have a variance, but got 1"),
        (torch.ones(0, 6), "at least one value, but got the empty shape"),
    ],
)
def test_a_batch_that_tells_nothing_is_refused(x, message):
    model = weight_norm(nn.Linear(6, 2))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=message):
        data_dependent_init(model, x)
    assert_equal(model.state_dict(), before)
