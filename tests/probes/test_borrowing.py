"""Probes of training leave no trace: on any model, in any mode, also when they are interrupted."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from companion.norms import BatchNorm, GhostBatchNorm
from companion.probes import batch_noise, excess_loss, gradient_shift, loss_along, signal_propagation
from companion.probes.borrowing import borrowed


class ResidualBlock(nn.Module):
    """Block of a residual network, with an in-place ReLU and dropout."""

    def __init__(self, channels):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.norm2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.relu, self.drop = nn.ReLU(inplace=True), nn.Dropout(0.3)

    def forward(self, x):
        branch = self.norm2(self.conv2(self.drop(self.relu(self.norm1(self.conv1(x))))))
        return self.relu(x + branch)


class ResNet(nn.Module):
    """Stem, two blocks, mean over positions, classifier."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.blocks = nn.Sequential(ResidualBlock(4), ResidualBlock(4))
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.blocks(self.norm(self.stem(x))).mean((2, 3)))


class Block(nn.Module):
    """A transformer's block, normalized first; its attention returns a pair."""

    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, dropout=0.1, batch_first=True)
        self.branch = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(0.1), nn.Linear(2 * width, width)
        )

    def forward(self, x):
        h = self.norm1(x)
        x = x + self.attention(h, h, h)[0]
        return x + self.branch(self.norm2(x))


class Transformer(nn.Module):
    """Tokens, two blocks, mean over positions, classifier."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Linear(3, 8)
        self.blocks = nn.ModuleList([Block(8), Block(8)])
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        h = self.embedding(x)
        for block in self.blocks:
            h = block(h)
        return self.head(h.mean(1))


class Odd(nn.Module):
    """All that is hard to put back: a shared layer, frozen parameters, buffers moved and replaced, counters, hooks."""

    def __init__(self):
        super().__init__()
        self.first, self.shared, self.head = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.norm, self.ghosts, self.drop = BatchNorm(6), GhostBatchNorm(6, 4), nn.Dropout(0.5)
        self.drop.training = False  # a mode of its own
        self.other_drop = nn.Dropout(0.2)
        self.register_buffer("replaced", torch.zeros(1))
        self.register_buffer("moved", torch.zeros(1))
        self.calls, self.cache = 0, {}
        self.first.requires_grad_(False)
        self.head.bias.grad = torch.full((3,), 7.0)
        self.shared.weight.grad = torch.ones(6, 6)
        self.head.register_forward_hook(lambda module, args, out: out + 1)
        self.head.weight.register_hook(lambda grad: 2 * grad)
        with torch.no_grad():  # would not come back from arithmetic
            self.shared.weight[0, :3] = torch.tensor([-0.0, 1e-41, 0.1])

    def forward(self, x):
        self.calls += 1
        self.cache[self.calls] = x
        self.replaced = self.replaced + 1
        self.moved += 1
        h = self.norm(self.shared(self.first(x))).relu()
        h = self.ghosts(self.shared(h)).relu()
        return self.head(self.other_drop(self.drop(h)))


MODELS = {"ResNet": (ResNet, (8, 1, 5, 5)), "transformer": (Transformer, (8, 4, 3)), "odd": (Odd, (8, 5))}


def make(kind):
    """Make a model in training mode, inputs and labels."""
    torch.manual_seed(0)
    build, shape = MODELS[kind]
    model = build()
    return model, torch.randn(shape), torch.arange(shape[0]) % 3


def probes(model, x, y, between=lambda: None):
    """Return every probe, with a look at all that it calls; ``between`` runs in each loss."""

    def loss():
        between()
        return cross_entropy(model(x), y)

    linear = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    head = model.head
    return {
        "signal_propagation": lambda: signal_propagation(loss, model),
        "loss_along": lambda: loss_along(loss, model, [0.1, -0.3]),
        "gradient_shift": lambda: gradient_shift(loss, model, head, linear[:-1], 0.1),
        "batch_noise": lambda: batch_noise(model, x[:1], x[1:].expand(3, *x[1:].shape)),
        "batch_noise at a layer": lambda: batch_noise(model, x[:1], x[1:].expand(3, *x[1:].shape), head),
        "excess_loss": lambda: excess_loss(
            lambda f: cross_entropy(f, y), model, x.repeat(2, *[1] * (x.dim() - 1)), x, 4, 3
        ),
    }


NAMES = list(probes(*make("ResNet")))


def bits(tensor):
    return tensor.detach().numpy().tobytes() if tensor is not None else None


def traces(model):
    """Return all that a probe could have changed, bit for bit, and which objects they are."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {
        "tensors": [(name, id(t), bits(t), t.requires_grad, t._version) for name, t in tensors],
        "gradients": [(name, id(p.grad), bits(p.grad)) for name, p in model.named_parameters()],
        "modes": [(name, module.training) for name, module in model.named_modules()],
        "hooks": [
            {key: list(map(id, held.values())) for key, held in vars(module).items() if "hooks" in key and held}
            for module in model.modules()
        ],
        "attributes": [list(vars(module)) for module in model.modules()],
        "counter": (getattr(model, "calls", 0), list(getattr(model, "cache", {}))),
        "random": bits(torch.get_rng_state()),
    }


def without_versions(before):
    """Leave out the tensors' versions: in-place changes of the model's own raise them, and nothing can lower them."""
    return {**before, "tensors": [row[:-1] for row in before["tensors"]]}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", NAMES)
def test_a_probe_leaves_the_model_and_random_numbers_bit_for_bit(name, kind, training):
    if (name, kind) == ("excess_loss", "transformer"):
        pytest.skip("has no batch norm")
    model, x, y = make(kind)
    model.train(training)
    before = traces(model)
    first = probes(model, x, y)[name]()
    assert without_versions(traces(model)) == without_versions(before)
    second = probes(model, x, y)[name]()
    assert str(first) == str(second)  # nothing it depends on has changed
    assert not x.requires_grad and x.grad is None


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_moved_behind_autograds_back(name):
    # so a graph that was made before the probe can still be used after it
    model, x, y = make("ResNet")
    earlier = cross_entropy(model(x), y)
    versions = [p._version for p in model.parameters()]
    probes(model, x, y)[name]()
    assert [p._version for p in model.parameters()] == versions
    earlier.backward()
    assert model.stem.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("calls", [1, 2, 3])
@pytest.mark.parametrize("where", ["before", "inside", "after"])
@pytest.mark.parametrize("name", NAMES)
def test_they_come_back_when_the_model_raises(name, where, calls, kind):
    model, x, y = make("odd")
    count = []

    def fail(*args):
        count.append(1)
        if len(count) == calls:
            model.head.bias.data.add_(1)  # as a probe was about to
            raise kind("stopped")

    if where == "before":
        model.register_forward_pre_hook(fail)
    elif where == "inside":
        model.ghosts.register_forward_hook(fail)
    else:
        model.register_forward_hook(fail)
    before = without_versions(traces(model))
    try:
        probes(model, x, y)[name]()
    except kind:
        assert len(count) >= calls
    else:
        assert len(count) < calls  # a probe that calls the model less often
    assert without_versions(traces(model)) == before


@pytest.mark.parametrize("name", ["signal_propagation", "loss_along", "gradient_shift"])
def test_they_come_back_when_the_gradient_raises(name):
    class Failing(torch.autograd.Function):
        """Operation that fails on the way back."""

        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            raise KeyboardInterrupt

    model, x, y = make("odd")
    model.norm.register_forward_hook(lambda module, args, out: Failing.apply(out))
    before = without_versions(traces(model))
    with pytest.raises(KeyboardInterrupt):
        probes(model, x, y)[name]()
    assert without_versions(traces(model)) == before


@pytest.mark.parametrize("name", ["signal_propagation", "loss_along", "gradient_shift"])
def test_gradients_are_on_inside_and_as_before_outside(name):
    model, x, y = make("ResNet")
    with torch.no_grad():
        probes(model, x, y)[name]()
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("name", ["signal_propagation", "loss_along", "gradient_shift"])
def test_a_gradient_that_a_loss_accumulates_does_not_stay(name):
    model, x, y = make("odd")

    def backward():
        cross_entropy(model(x), y).backward()  # adds to .grad, in place

    before = without_versions(traces(model))
    probes(model, x, y, between=backward)[name]()
    assert without_versions(traces(model)) == before


def test_the_model_can_be_put_back_between_two_measurements():
    model, x, _ = make("odd")
    copied = copy.deepcopy(model.state_dict())
    with borrowed(model) as rewind:
        first = model(x)
        model.first.weight.data.zero_()
        model.first.extra = 1
        model.eval()
        assert not torch.equal(model(x), first)
        rewind()
        assert torch.equal(model(x), first)  # weights, modes, statistics and dropout masks
        model.shared.bias.grad = torch.ones(6)
    assert model.shared.bias.grad is None and not hasattr(model.first, "extra")
    torch.testing.assert_close(model.state_dict(), copied, rtol=0, atol=0)


def test_a_removed_hook_is_there_again_and_its_handle_still_works():
    model = nn.Linear(2, 2)
    handle = model.register_forward_hook(lambda module, args, out: out + 1)
    with borrowed(model):
        model._forward_hooks.clear()
    assert len(model._forward_hooks) == 1
    handle.remove()
    assert not model._forward_hooks
