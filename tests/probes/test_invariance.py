"""Probes of scale invariance: they tell invariant weights from others, and leave no trace."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, layer_norm

from companion.norms import BatchNorm, GroupNorm, LayerNorm
from companion.probes import is_scale_invariant, scale_invariant_parameters, scale_sensitivity

DTYPES = [torch.float32, torch.float64]
TINY = 1e-30  # torch's own batch norm refuses an epsilon of 0


class ResidualNet(nn.Module):
    """conv-BN-ReLU-conv-BN beside a shortcut, then a classifier: what a residual network repeats."""

    def __init__(self, bias=False, eps=1e-5):
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1)
        self.conv1, self.norm1 = nn.Conv2d(6, 6, 3, padding=1, bias=bias), nn.BatchNorm2d(6, eps=eps)
        self.conv2, self.norm2 = nn.Conv2d(6, 6, 3, padding=1, bias=bias), nn.BatchNorm2d(6, eps=eps)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = self.stem(x)
        branch = self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))
        return self.head(self.drop((x + branch).relu().mean((2, 3))))


class Block(nn.Module):
    """A transformer's block, normalized before or after its two branches."""

    def __init__(self, pre, eps=1e-5):
        super().__init__()
        self.pre = pre
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm1, self.norm2 = nn.LayerNorm(8, eps=eps), nn.LayerNorm(8, eps=eps)
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)

    def attend(self, x):
        return self.attention(x, x, x, need_weights=False)[0]

    def forward(self, x):
        if self.pre:
            x = x + self.attend(self.norm1(x))
            return x + self.down(self.up(self.norm2(x)).relu())
        x = self.norm1(x + self.attend(x))
        return self.norm2(x + self.down(self.up(x).relu()))


class Transformer(nn.Module):
    """Embedding, two blocks, a last norm, a classifier."""

    def __init__(self, pre, eps=1e-5):
        super().__init__()
        self.embedding = nn.Linear(5, 8)
        self.blocks = nn.Sequential(Block(pre, eps), Block(pre, eps))
        self.norm = nn.LayerNorm(8, eps=eps)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.norm(self.blocks(self.embedding(x))).mean(1))


def disturbed(model, dtype=torch.float64):
    """Return the model with no parameter left at 0 or 1."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model.to(dtype)


def loss_of(model, *shape, dtype=torch.float64):
    """Return the mean cross-entropy of a model on made-up data."""
    generator = torch.Generator().manual_seed(2)
    x, y = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype), torch.arange(shape[0]) % 4
    return lambda: cross_entropy(model(x), y)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


# Which parameters are invariant


@pytest.mark.parametrize("dtype", DTYPES)
def test_of_a_residual_block_only_the_convolutions_before_a_norm_are_invariant(dtype):
    model = disturbed(ResidualNet(), dtype)
    found = scale_invariant_parameters(loss_of(model, 16, 1, 6, 6, dtype=dtype), model)
    assert list(found) == [name for name, _ in model.named_parameters()]
    assert {name for name, invariant in found.items() if invariant} == {"conv1.weight", "conv2.weight"}


def test_in_evaluation_mode_nothing_is_invariant():
    model = disturbed(ResidualNet()).eval()
    assert not any(scale_invariant_parameters(loss_of(model, 16, 1, 6, 6), model).values())


def test_a_bias_before_batch_norm_does_nothing_at_all():
    model = disturbed(ResidualNet(bias=True))
    loss = loss_of(model, 16, 1, 6, 6)
    assert scale_sensitivity(loss, model.conv1.bias, model=model) < 1e-12
    assert not is_scale_invariant(loss, model.stem.bias, model=model)


def test_scale_and_offset_before_a_relu_and_a_norm_are_invariant_together_only():
    model = disturbed(ResidualNet(eps=TINY))
    loss = loss_of(model, 16, 1, 6, 6)
    together = [model.norm1.weight, model.norm1.bias]
    assert scale_sensitivity(loss, together, model=model) < 1e-12
    assert all(scale_sensitivity(loss, one, model=model) > 1e-3 for one in together)
    # where an offset starts, at zero, the scale is invariant alone
    nn.init.zeros_(model.norm1.bias)
    assert scale_sensitivity(loss, model.norm1.weight, model=model) < 1e-12
    # after the second norm comes the shortcut
    together = [model.norm2.weight, model.norm2.bias]
    assert scale_sensitivity(loss, together, model=model) > 1e-3


def test_after_batch_norm_each_unit_is_invariant_after_layer_norm_only_all_together():
    for norm, each in [(BatchNorm(8, eps=0), True), (GroupNorm(2, 8, eps=0), False), (LayerNorm(8, eps=0), False)]:
        model = disturbed(nn.Sequential(nn.Linear(5, 8, bias=False), norm, nn.Linear(8, 4)))
        loss = loss_of(model, 16, 5)
        weights = model[0].weight
        assert scale_sensitivity(loss, weights, model=model) < 1e-12
        units = [scale_sensitivity(loss, weights[unit], model=model) for unit in range(8)]
        assert max(units) < 1e-12 if each else min(units) > 1e-3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pre", [True, False])
def test_no_weight_of_a_transformer_is_invariant_alone(pre, dtype):
    # the shortcut carries the stream past every branch, and queries and keys set the softmax's temperature
    model = disturbed(Transformer(pre), dtype)
    found = scale_invariant_parameters(loss_of(model, 6, 7, 5, dtype=dtype), model)
    # with normalization first, embedding and offset are alone on the stream, but branches add to it
    assert not any(found.values()), found


def writers(model, last=("attention.out_proj", "down")):
    """Return all that adds to the stream of a transformer: the embedding, and the last layer of each branch."""
    return [p for name, p in model.named_parameters() if name.startswith("embedding") or any(x in name for x in last)]


def test_what_writes_to_the_stream_of_a_pre_norm_transformer_is_invariant_together():
    model = disturbed(Transformer(pre=True, eps=0))
    loss = loss_of(model, 6, 7, 5)
    assert len(writers(model)) == 10
    assert scale_sensitivity(loss, writers(model)) < 1e-12
    assert scale_sensitivity(loss, writers(model, last=("down",))) > 1e-3
    after = disturbed(Transformer(pre=False, eps=0))
    assert scale_sensitivity(loss_of(after, 6, 7, 5), writers(after)) > 1e-3


def test_queries_and_keys_are_invariant_where_they_are_normalized():
    x = torch.randn(3, 7, 8, dtype=torch.float64)
    query, key, value = (nn.Linear(8, 8, bias=False).double() for _ in range(3))

    def loss(norm):
        q, k = (norm(project(x)) for project in (query, key))
        weights = (q @ k.transpose(1, 2)).softmax(-1)
        return (weights @ value(x)).square().mean()

    plain, normed = (lambda: loss(lambda q: q)), (lambda: loss(lambda q: layer_norm(q, [8], eps=0.0)))
    for project in (query, key):
        assert scale_sensitivity(plain, project.weight) > 1e-3
        assert scale_sensitivity(normed, project.weight) < 1e-12
    assert scale_sensitivity(normed, value.weight) > 1e-3


# What is measured


def test_the_change_is_relative_and_the_largest_of_all_factors():
    w = torch.tensor([2.0, 1.0])
    assert scale_sensitivity(lambda: w.sum(), w) == 9.0
    assert scale_sensitivity(lambda: w.sum(), w, factors=(0.5,)) == 0.5
    assert scale_sensitivity(lambda: -w.sum(), w, factors=(0.25, 1.5)) == 0.75
    assert scale_sensitivity(lambda: 1000 * w.sum(), w) == 9.0
    assert scale_sensitivity(lambda: w.sum().item(), w) == 9.0


def test_several_tensors_are_multiplied_together_and_each_once():
    a, b = torch.tensor([2.0]), torch.tensor([4.0])
    assert scale_sensitivity(lambda: a / b, [a, b]) == 0
    assert scale_sensitivity(lambda: a / b, [a, a]) == 9
    assert scale_sensitivity(lambda: a / b, iter([a, b])) == 0


def test_epsilon_shows_in_the_sensitivity_and_not_in_the_default_verdict():
    model = disturbed(ResidualNet(eps=1e-5))
    loss = loss_of(model, 16, 1, 6, 6)
    assert 1e-8 < scale_sensitivity(loss, model.conv1.weight, model=model) < 1e-3
    assert is_scale_invariant(loss, model.conv1.weight, model=model)
    assert not is_scale_invariant(loss, model.conv1.weight, 1e-9, model=model)
    exact = disturbed(ResidualNet(eps=TINY))
    assert is_scale_invariant(loss_of(exact, 16, 1, 6, 6), exact.conv1.weight, 1e-9, model=exact)


def test_offsets_that_start_at_zero_are_not_taken_for_invariant():
    model = nn.Sequential(nn.Linear(5, 8, bias=False), nn.BatchNorm1d(8), nn.Linear(8, 4))
    nn.init.zeros_(model[2].bias)
    found = scale_invariant_parameters(loss_of(model, 16, 5, dtype=torch.float32), model)
    assert found == {"0.weight": True, "1.weight": False, "1.bias": False, "2.weight": False, "2.bias": False}
    assert not model[1].bias.any() and not model[2].bias.any()


def test_what_the_loss_does_not_depend_on_is_invariant():
    w, unused = torch.ones(2), torch.zeros(3)
    assert scale_sensitivity(lambda: w.sum(), unused) == 0


def test_a_loss_that_overflows_is_not_invariant():
    w = torch.tensor([1e38])
    assert scale_sensitivity(lambda: w.sum(), w) == torch.inf
    assert not is_scale_invariant(lambda: w.sum(), w)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_default_tolerance_leaves_room_for_the_rounding_of_each_dtype(dtype):
    w = torch.randn(64, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert is_scale_invariant(lambda: (w / w.norm())[:8].sum(), w)
    assert not is_scale_invariant(lambda: w.norm(), w)


# No trace


def traces(model):
    """Return all that a probe could have changed, bit for bit."""
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return state, torch.get_rng_state()


def assert_same(before, after):
    assert torch.equal(before[1], after[1])
    for name, tensor in before[0].items():
        assert tensor.numpy().tobytes() == after[0][name].numpy().tobytes(), name


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_statistics_and_random_numbers_come_back_bit_for_bit(dtype):
    model = disturbed(ResidualNet(), dtype)
    with torch.no_grad():
        # a denormal number, multiplied and divided, would not come back
        model.conv1.weight[0, 0, 0] = torch.tensor([-0.0, 1e-41, 0.1], dtype=dtype)
    loss = loss_of(model, 16, 1, 6, 6, dtype=dtype)
    before = traces(model)
    scale_sensitivity(loss, model.parameters(), factors=(1e-3, 3.7), model=model)
    scale_invariant_parameters(loss, model)
    assert_same(before, traces(model))
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("calls", [1, 2, 3])
@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_they_come_back_after_an_exception_too(calls, kind):
    model = disturbed(ResidualNet())
    loss, called = loss_of(model, 16, 1, 6, 6), []

    def failing():
        called.append(loss())
        if len(called) == calls:
            raise kind
        return called[-1]

    before = traces(model)
    with pytest.raises(kind):
        scale_sensitivity(failing, model.parameters(), model=model)
    assert_same(before, traces(model))


def test_without_the_model_its_running_statistics_move():
    # why `model` is an argument at all
    model = disturbed(ResidualNet())
    before = model.norm1.running_mean.clone()
    scale_sensitivity(loss_of(model, 16, 1, 6, 6), model.conv1.weight)
    assert not torch.equal(model.norm1.running_mean, before)


def test_each_call_sees_the_same_dropout_masks_and_statistics():
    model = disturbed(ResidualNet())
    loss = loss_of(model, 16, 1, 6, 6)
    assert loss() != loss()  # dropout is on
    assert scale_sensitivity(loss, model.conv1.weight, factors=(1.0,), model=model) == 0

    def running():
        loss()
        return model.norm1.running_mean.square().sum()

    assert scale_sensitivity(running, model.head.weight, model=model) == 0


def test_a_graph_made_before_can_still_be_used():
    w = torch.tensor([3.0, 4.0], requires_grad=True)
    earlier = w.square().sum()
    scale_sensitivity(lambda: w[0] / w.norm(), w)
    earlier.backward()
    assert w.grad.tolist() == [6.0, 8.0]


def test_a_row_can_be_probed_through_a_view():
    layer = nn.Linear(3, 2)
    before = layer.weight.detach().clone()
    assert scale_sensitivity(lambda: layer.weight[1].abs().sum(), layer.weight[0]) == 0
    assert scale_sensitivity(lambda: layer.weight[1].abs().sum(), layer.weight[1]) == pytest.approx(9)
    assert torch.equal(layer.weight, before)


# What is refused


@pytest.mark.parametrize("factors", [(), (0.0,), (-1.0,), (float("nan"),), (float("inf"),), ("2",)])
def test_factors_that_are_none(factors):
    w = torch.ones(2)
    with pytest.raises(ValueError, match="^factors must be one or more finite numbers above 0, but got .*; try"):
        scale_sensitivity(lambda: w.sum(), w, factors)


@pytest.mark.parametrize("weights", [[], torch.zeros(0), [torch.zeros(0)]])
def test_no_weights(weights):
    with pytest.raises(ValueError, match="^weights must hold at least one number, but got none; "):
        scale_sensitivity(lambda: 1.0, weights)


@pytest.mark.parametrize("weights", [torch.tensor([1, 2]), [torch.ones(2), "w"], [1.0]])
def test_weights_that_are_no_floating_point_tensors(weights):
    with pytest.raises(TypeError, match="^weights must be tensors of floating-point numbers, but got .*; convert"):
        scale_sensitivity(lambda: 1.0, weights)


def test_weights_that_are_computed_are_refused_not_found_invariant():
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    loss = lambda: layer(torch.ones(3)).square().sum()  # noqa: E731
    for weights in (layer.weight, layer.weight[0], 2 * torch.ones(2, requires_grad=True)):
        with pytest.raises(ValueError, match="^weights must be stored tensors, but got one that .* computed, .*; hand"):
            scale_sensitivity(loss, weights)
    gains, directions = layer.parametrizations.weight.parameters()
    assert scale_sensitivity(loss, directions) < 1e-5 < scale_sensitivity(loss, gains)


@pytest.mark.parametrize("base", [0.0, float("nan"), float("inf")])
def test_a_loss_that_has_no_relative_change(base):
    with pytest.raises(ValueError, match="^the loss must be finite and other than zero.*but got .*; take other"):
        scale_sensitivity(lambda: torch.tensor(base), torch.ones(2))


def test_a_loss_of_several_numbers():
    with pytest.raises(ValueError, match=r"^loss must return one number, but got shape \(2,\); take the mean"):
        scale_sensitivity(lambda: torch.ones(2), torch.ones(2))


@pytest.mark.parametrize("tolerance", [-1e-3, float("nan"), float("inf"), "1e-3"])
def test_a_tolerance_that_is_none(tolerance):
    with pytest.raises(ValueError, match="^tolerance must be None or a finite number, at least 0, but got .*; try"):
        is_scale_invariant(lambda: 1.0, torch.ones(2), tolerance)


def test_a_model_without_parameters():
    with pytest.raises(ValueError, match="^model must have at least one parameter, but got none; "):
        scale_invariant_parameters(lambda: 1.0, nn.ReLU())
