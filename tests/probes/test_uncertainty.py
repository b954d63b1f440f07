"""Monte Carlo batch norm is a plain loop over mini-batches, is faster, keeps to its chunks, and leaves no trace."""

import copy
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from companion.norms import BatchNorm, GhostBatchNorm, GroupNorm, SyncBatchNorm, moments
from companion.probes import MonteCarloBatchNorm, ghost_passes, mc_batch_norm, mc_batch_norm_by_loop, uncertainty
from companion.probes.ghost_passes import GhostPass

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from monte_carlo_batch_norm import Held

M, T = 8, 7
BARS = {torch.float32: 1e-6, torch.float64: 1e-12}  # of the largest output


class Branches(nn.Module):
    """A residual, nested network with one batch norm that serves twice, and a reshape by the number of examples."""

    def __init__(self, norm=nn.BatchNorm2d):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.Sequential(norm(6), nn.ReLU()))
        self.conv1, self.conv2, self.shared = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1), norm(6)
        self.never = norm(6)
        self.head = nn.Linear(6 * 16, 3)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.shared(self.conv2(self.shared(self.conv1(x)).relu()))
        return self.head(x.view(x.shape[0], -1))


class Tokens(nn.Module):
    """Batch norm over all tokens of all examples: (N, L, C) becomes (N L, C), or (L N, C) in another order."""

    def __init__(self, time_first):
        super().__init__()
        self.time_first = time_first
        self.up, self.norm, self.down = nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Linear(6, 1)

    def forward(self, x):
        x = self.up(x)
        if self.time_first:
            x = x.transpose(0, 1)
        x = self.norm(x.reshape(-1, 6)).reshape(x.shape).relu()
        return self.down(x).mean(0 if self.time_first else 1).squeeze(-1)


class Activated(nn.BatchNorm1d):
    """A class of a user's own that does more than batch norm."""

    def forward(self, x):
        return super().forward(x).tanh()


class Written(nn.BatchNorm1d):
    """A class of a user's own that calls the function itself."""

    def forward(self, x):
        mean, var = self.running_mean, self.running_var
        return F.batch_norm(x, mean, var, self.weight, self.bias, self.training, self.momentum, self.eps)


class OursActivated(BatchNorm):
    def forward(self, x):
        return super().forward(x).tanh()


def table(norm, width=10):
    return nn.Sequential(
        nn.Linear(4, width),
        norm(width),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(width, width),
        norm(width),
        nn.ReLU(),
        nn.Linear(width, 1),
    )


def convolutions(convolution, norm, pool):
    return nn.Sequential(
        convolution(2, 5, 3),
        norm(5),
        nn.ReLU(),
        convolution(5, 4, 3),
        norm(4),
        nn.ReLU(),
        pool(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


def frozen():
    model = table(nn.BatchNorm1d)
    for parameter in model[1].eval().parameters():
        parameter.requires_grad_(False)
    return model


def parametrized():
    model = table(nn.BatchNorm1d)
    nn.utils.parametrize.register_parametrization(model[1], "weight", nn.Softplus())
    return model


ROWS = (4,)
CASES = {
    "1-d, tables": (lambda: table(nn.BatchNorm1d), ROWS),
    "1-d, signals": (lambda: convolutions(nn.Conv1d, nn.BatchNorm1d, nn.AdaptiveAvgPool1d), (2, 9)),
    "2-d": (lambda: convolutions(nn.Conv2d, nn.BatchNorm2d, nn.AdaptiveAvgPool2d), (2, 7, 6)),
    "3-d": (lambda: convolutions(nn.Conv3d, nn.BatchNorm3d, nn.AdaptiveAvgPool3d), (2, 6, 5, 6)),
    "nested, shared, residual": (Branches, (2, 4, 4)),
    "nested, shared, ours": (lambda: Branches(BatchNorm), (2, 4, 4)),
    "a layer alone": (lambda: nn.BatchNorm1d(4), ROWS),
    "no scale": (lambda: table(lambda c: nn.BatchNorm1d(c, affine=False, eps=0.1)), ROWS),
    "momentum None": (lambda: table(lambda c: nn.BatchNorm1d(c, momentum=None)), ROWS),
    "frozen": (frozen, ROWS),
    "parametrized": (parametrized, ROWS),
    "derived": (lambda: table(Activated), ROWS),
    "derived, function": (lambda: table(Written), ROWS),
    "synchronised": (lambda: table(nn.SyncBatchNorm), ROWS),
    "ours": (lambda: table(BatchNorm), ROWS),
    "ours, derived": (lambda: table(OursActivated), ROWS),
    "ours, ghosts": (lambda: table(lambda c: GhostBatchNorm(c, M)), ROWS),
    "ours, synchronised": (lambda: table(SyncBatchNorm), ROWS),
    "with other norms": (lambda: nn.Sequential(GroupNorm(2, 4), nn.LayerNorm(4), *table(nn.BatchNorm1d)), ROWS),
    "tokens": (lambda: Tokens(False), (5, 3)),
    "tokens, time first": (lambda: Tokens(True), (5, 3)),
}


def batch_norms(model):
    return [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm | BatchNorm)]


def made(case="1-d, tables", dtype=torch.float64, examples=40, queries=11):
    """Return a network that looks trained, its training inputs and some queries."""
    make, shape = CASES[case]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = make().to(dtype)
        for layer in batch_norms(model):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            if layer.weight is not None and not nn.utils.parametrize.is_parametrized(layer):
                nn.init.normal_(layer.weight, 1, 0.3), nn.init.normal_(layer.bias, 0, 0.3)
        data, x = torch.randn(examples, *shape, dtype=dtype), torch.randn(queries, *shape, dtype=dtype)
    return model, data, x


def drawn(examples, count=T, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randperm(examples, generator=generator)[:M] for _ in range(count)]


def plain_loop(model, data, x, count=T):
    return mc_batch_norm_by_loop(model, data, x, M, count)


@torch.no_grad()
def careful_loop(model, data, x, count=T):
    """Loop over layers that may be called twice: hooks note each call's statistics, and put them in place."""
    model, outputs, calls = copy.deepcopy(model).eval(), [], []

    def note(layer, args):
        calls.append([s[0] for s in moments(args[0], len(args[0]), 1)])
        place(layer, calls[-1])

    def place(layer, pair):
        layer.running_mean.copy_(pair[0])
        layer.running_var.copy_(pair[1])

    for batch in drawn(len(data), count):
        for hook, inputs in (note, data[batch]), (lambda layer, args: place(layer, calls.pop(0)), x):
            handles = [layer.register_forward_pre_hook(hook) for layer in batch_norms(model)]
            y = model(inputs)
            for handle in handles:
                handle.remove()
        outputs.append(y)
    return torch.stack(outputs)


def error(samples, expected):
    assert samples.shape == expected.shape and samples.dtype == expected.dtype
    return ((samples - expected).abs().max() / expected.abs().max()).item()


# --- equal to a plain loop


@pytest.mark.parametrize("dtype", BARS)
@pytest.mark.parametrize("case", [case for case in CASES if "shared" not in case])
def test_samples_are_those_of_a_plain_loop(case, dtype):
    model, data, x = made(case, dtype)
    assert error(mc_batch_norm(model, data, x, M, T), plain_loop(model, data, x)) <= BARS[dtype]


@pytest.mark.parametrize("dtype", BARS)
@pytest.mark.parametrize("case", CASES)
def test_samples_are_those_of_a_loop_that_sets_the_statistics_of_each_call(case, dtype):
    model, data, x = made(case, dtype)
    assert error(mc_batch_norm(model, data, x, M, T), careful_loop(model, data, x)) <= BARS[dtype]


def unbiased(x, examples, channels):
    mean, var = moments(x, examples, channels)
    n = x.numel() / mean.numel()
    return mean, var * n / (n - 1)


def of_the_queries(self, x):
    self.statistics.append(moments(x, x.shape[0] // self.ghosts, 1) if len(x) > 1 else self.given[0])
    return self.statistics[-1]


def trained(self, x, mean, var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    self.moments(x)
    return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)


def a_tenth(self, x, mean, var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    m, v = self.moments(x)
    h = x.unflatten(0, (self.ghosts, -1))
    m, v = (0.9 * old + 0.1 * new[:, None] for old, new in ((mean, m), (var, v)))
    return ((h - m) / (v + eps).sqrt() * weight + bias).flatten(0, 1)


@pytest.mark.parametrize(
    ("place", "name", "mistake"),
    [
        (ghost_passes, "moments", unbiased),
        (GhostPass, "moments", of_the_queries),
        (GhostPass, "batch_norm", trained),
        (GhostPass, "batch_norm", a_tenth),
        (uncertainty, "_agree", lambda alone, among: True),  # time first: mini-batches lie in each other's way
    ],
)
def test_a_planted_mistake_is_found(place, name, mistake, monkeypatch):
    model, data, x = made("tokens, time first" if name == "_agree" else "1-d, tables")
    monkeypatch.setattr(place, name, mistake)
    assert error(mc_batch_norm(model, data, x, M, T), plain_loop(model, data, x)) > 1e-3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_agrees_as_far_as_it_has_digits(dtype):
    model, data, x = made()
    samples = mc_batch_norm(model.to(dtype), data.to(dtype), x.to(dtype), M, T)
    exact = mc_batch_norm(model.double(), data.to(dtype).double(), x.to(dtype).double(), M, T)
    assert samples.dtype == dtype and error(samples.double(), exact) < 20 * torch.finfo(dtype).eps


def test_inputs_may_be_channels_last():
    model, data, x = made("2-d")
    expected = mc_batch_norm(model, data, x, M, T)
    laid_out = [part.to(memory_format=torch.channels_last) for part in (data, x)]
    assert error(mc_batch_norm(model, *laid_out, M, T), expected) <= 1e-12


def test_a_compiled_model_gives_the_same():
    model, data, x = made()
    compiled = torch.compile(model, backend="eager")
    assert error(mc_batch_norm(compiled, data, x, M, T), mc_batch_norm(model, data, x, M, T)) <= 1e-12


def test_a_model_that_draws_noise_of_its_own_gets_through():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def forward(self, x):
            return self.norm(x + torch.randn_like(x))

    sampler = MonteCarloBatchNorm(Noisy(), torch.randn(20, 4), M, T)
    assert sampler.apart and sampler.samples(torch.zeros(3, 4)).shape == (T, 3, 4)


# --- drawing, keeping, chunks


def test_mini_batches_have_no_row_twice_and_all_rows_come():
    model, data, _ = made()
    batches = MonteCarloBatchNorm(model, data, M, 200).batches
    assert batches.shape == (200, M)
    assert all(len(set(batch.tolist())) == M for batch in batches)
    counts = batches.flatten().bincount(minlength=len(data))
    assert (counts - 200 * M / len(data)).abs().max() < 5 * (200 * M / len(data)) ** 0.5


def test_the_seed_decides_and_more_samples_only_add_to_fewer():
    model, data, x = made()
    some = mc_batch_norm(model, data, x, M, 3)
    assert torch.equal(some, mc_batch_norm(model, data, x, M, 3, seed=0))
    assert not torch.equal(some, mc_batch_norm(model, data, x, M, 3, seed=1))
    assert error(mc_batch_norm(model, data, x, M, 9)[:3], some) <= 1e-12


@pytest.mark.parametrize("case", ["2-d", "tokens, time first"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_samples_will_do(case, count):
    model, data, x = made(case)
    assert error(mc_batch_norm(model, data, x, M, count), plain_loop(model, data, x, count)) <= 1e-12
    assert error(mc_batch_norm(model, data, x[:1], M, count), plain_loop(model, data, x[:1], count)) <= 1e-12


def test_all_of_the_data_as_a_mini_batch_leaves_nothing_to_chance():
    model, data, x = made()
    samples = mc_batch_norm(model, data, x, len(data), 5)
    assert (samples - samples[0]).abs().max() <= 1e-12


def test_statistics_are_kept_and_queries_do_not_need_the_data():
    model, data, x = made("nested, shared, residual")
    expected = careful_loop(model, data, x)
    sampler = MonteCarloBatchNorm(model, data, M, T)
    assert [tuple(mean.shape) for mean, _ in sampler.statistics] == [(T, 6)] * 3
    data.fill_(torch.nan)
    first = sampler.samples(x)
    assert torch.equal(first, sampler.samples(x)) and error(first, expected) <= 1e-12
    assert error(sampler.samples(x[4:6]), expected[:, 4:6]) <= 1e-12


@pytest.mark.parametrize("case", ["1-d, tables", "2-d", "nested, shared, ours", "tokens, time first"])
@pytest.mark.parametrize("chunk_size", [1, M - 1, M, 2 * M, 3 * M + 1, 10**6])
def test_chunks_do_not_change_the_result(case, chunk_size):
    model, data, x = made(case)
    expected = careful_loop(model, data, x)
    assert error(mc_batch_norm(model, data, x, M, T, chunk_size=chunk_size), expected) <= 1e-12


@pytest.mark.parametrize("case", ["1-d, tables", "2-d", "tokens, time first"])
@pytest.mark.parametrize("chunk_size", [1, M, 3 * M + 1, 50, 10**6])
def test_no_pass_takes_more_than_a_chunk_and_a_larger_mini_batch_goes_alone(case, chunk_size):
    model, data, x = made(case)
    sizes = []
    model.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    sampler = MonteCarloBatchNorm(model, data, M, T, chunk_size=chunk_size)
    assert max(sizes) <= max(M, chunk_size)
    assert sampler.apart or M * T <= sum(sizes) <= M * (T + 3)  # three to see that they may go together
    sizes.clear()
    sampler.samples(x)
    assert max(sizes) <= chunk_size and sum(sizes) == T * len(x)
    if not sampler.apart and chunk_size >= T * len(x):
        assert len(sizes) == 1


@pytest.mark.parametrize(("case", "widest"), [("1-d, tables", 10), ("2-d", 5 * 5 * 4), ("tokens", 5 * 6), ("ours", 10)])
def test_a_chunk_that_nobody_states_fills_the_widest_layer_with_a_known_count(case, widest, monkeypatch):
    model, data, _ = made(case)
    assert MonteCarloBatchNorm(model, data, M, T).chunk_size == uncertainty.CHUNK["cpu"] // widest
    monkeypatch.setitem(uncertainty.CHUNK, "cpu", 1)
    assert MonteCarloBatchNorm(model, data, M, T).chunk_size == 1


# --- memory


@pytest.mark.parametrize("case", ["1-d, tables", "1-d, signals", "2-d", "nested, shared, residual", "ours", "tokens"])
@pytest.mark.parametrize("chunk_size", [M, 3 * M, 20 * M])
def test_a_pass_holds_what_the_network_holds_for_a_chunk_of_examples(case, chunk_size, monkeypatch):
    model, data, x = made(case, examples=60, queries=100)
    rows = torch.cat([data, x])
    with torch.no_grad(), Held() as plain:
        model.eval()(rows[torch.arange(chunk_size)])
    peaks = []

    def watched(*args, method=MonteCarloBatchNorm._pass):
        with Held() as held:
            result = method(*args)
        peaks.append(held.peak)
        return result

    monkeypatch.setattr(MonteCarloBatchNorm, "_pass", watched)
    mc_batch_norm(model, data, x, M, 20, chunk_size=chunk_size)
    # with given statistics scale and shift are two operators, where torch has one: some activations stand twice
    assert 0.8 * plain.peak < max(peaks) < 1.5 * plain.peak


PROCESS = """
import resource, sys, torch
from torch import nn
from companion.probes import mc_batch_norm
torch.set_num_threads(1)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
model = nn.Sequential(nn.Linear(8, 2000), nn.BatchNorm1d(2000), nn.ReLU(), nn.Linear(2000, 1))
data, x = torch.randn(500, 8), torch.randn(300, 8)
mc_batch_norm(model, data[:40], x[:1], 32, 1)
before = peak()
mc_batch_norm(model, data, x, 32, 100, chunk_size=int(sys.argv[1]))
print(peak() - before)
"""


@pytest.mark.slow
def test_a_process_grows_by_no_more_than_a_chunk_and_what_is_kept():
    kept = 2 * 2 * 100 * 2000 * 4  # mean and variance of 100 mini-batches, in parts and together
    for chunk_size in 512, 4096:
        chunk = 4 * chunk_size * 2000 * 4  # activations of the widest layer, four times at most
        run = subprocess.run(
            [sys.executable, "-c", PROCESS, str(chunk_size)], capture_output=True, text=True, check=True
        )
        assert int(run.stdout) <= 1.25 * (chunk + kept), chunk_size


# --- no trace


def everything(model):
    """Return all that a model is: values, versions, modes, hooks and other attributes, in their order."""
    parts = []
    for name, module in model.named_modules():
        attributes = {key: value for key, value in vars(module).items() if key not in ("_parameters", "_buffers")}
        parts.append((name, id(module), type(module), module.training, list(attributes), str(attributes)))
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        values = tensor.detach().numpy().tobytes()
        parts.append((name, id(tensor), tensor.data_ptr(), tensor._version, tensor.requires_grad, tensor.grad, values))
    return parts


def hooked(case):
    """Return a model in a mixture of modes, with hooks of the user's own, in the middle of training."""
    model, data, x = made(case)
    model.train()
    next(model.children(), model).eval()
    layer = batch_norms(model)[0]
    layer.register_forward_hook(lambda module, args, y: None)
    layer.register_forward_pre_hook(lambda module, args: None)
    model(data).sum().backward()
    return model, data, x


@pytest.mark.parametrize("case", CASES)
def test_the_model_and_the_random_state_come_back_as_they_were(case):
    model, data, x = hooked(case)
    before, state, rows = everything(model), torch.get_rng_state(), data.clone()
    samples = MonteCarloBatchNorm(model, data, M, T, seed=5).samples(x)
    assert everything(model) == before and torch.equal(torch.get_rng_state(), state) and torch.equal(data, rows)
    assert not samples.requires_grad and torch.is_grad_enabled()


@pytest.mark.parametrize("case", ["1-d, tables", "nested, shared, residual", "nested, shared, ours", "ours, ghosts"])
@pytest.mark.parametrize("call", [1, 2, 3, 5])
@pytest.mark.parametrize("raised", [RuntimeError, KeyboardInterrupt])
def test_an_error_in_the_middle_leaves_no_trace(case, call, raised):
    model, data, x = hooked(case)
    calls = []

    def stumble(module, args):
        torch.rand(1)
        calls.append(module)
        if len(calls) >= call:
            raise raised("in the middle")

    list(model.modules())[-1].register_forward_pre_hook(stumble)
    before, state = everything(model), torch.get_rng_state()
    with pytest.raises(raised, match="in the middle"):
        mc_batch_norm(model, data, x, M, T, chunk_size=2 * M)
    assert everything(model) == before and torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled() and "moments" not in vars(batch_norms(model)[0])


def test_what_a_user_set_on_a_layer_of_ours_comes_back():
    model, data, x = made("ours")
    layer = batch_norms(model)[0]
    layer.moments = own = lambda x: moments(x, 1, 2)
    MonteCarloBatchNorm(model, data, M, T).samples(x)
    assert layer.moments is own


def test_modes_are_set_without_calling_train_or_eval():
    class Merging(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def train(self, mode=True):
            raise AssertionError("a model may change its weights here, as some adapters do")

        def forward(self, x):
            assert not self.training
            return self.norm(x)

    model = Merging()
    mc_batch_norm(model, torch.randn(9, 4), torch.randn(2, 4), M)
    assert model.training


# --- what samples say


def test_regression_is_mean_and_covariance_of_the_samples_plus_noise():
    model, data, x = made("2-d")
    sampler = MonteCarloBatchNorm(model, data, M, T)
    f, found = sampler.samples(x), sampler.regress(x, precision=4.0)
    assert found.mean.shape == (len(x), 3) and found.covariance.shape == (len(x), 3, 3)
    torch.testing.assert_close(found.mean, f.mean(0))
    for place in range(len(x)):
        expected = torch.cov(f[:, place].T, correction=0) + torch.eye(3) / 4
        torch.testing.assert_close(found.covariance[place], expected)
    torch.testing.assert_close(found.variance, f.var(0, correction=0) + 0.25)


@pytest.mark.parametrize("case", ["1-d, tables", "tokens"])
def test_one_target_may_come_with_or_without_an_axis(case):
    model, data, x = made(case)
    found = MonteCarloBatchNorm(model, data, M, T).regress(x, precision=torch.tensor(2.0))
    assert found.mean.shape == (len(x), 1) and found.covariance.shape == (len(x), 1, 1)
    alone = MonteCarloBatchNorm(model, data, M, 1).regress(x, precision=2.0)
    assert torch.equal(alone.covariance, torch.full((len(x), 1, 1), 0.5, dtype=torch.float64))


def test_classification_is_the_mean_of_probabilities_its_entropy_and_the_disagreement():
    model, data, x = made("2-d")
    sampler = MonteCarloBatchNorm(model, data, M, T)
    each, found = sampler.samples(x).softmax(-1), sampler.classify(x)
    entropies = torch.distributions.Categorical(probs=each).entropy()
    torch.testing.assert_close(found.probabilities, each.mean(0))
    torch.testing.assert_close(found.entropy, torch.distributions.Categorical(probs=each.mean(0)).entropy())
    torch.testing.assert_close(found.mutual_information, found.entropy - entropies.mean(0))
    assert (found.mutual_information > 0).all()
    alone = MonteCarloBatchNorm(model, data, M, 1).classify(x)
    assert alone.mutual_information.abs().max() < 1e-12


def test_a_class_without_probability_has_no_entropy():
    class Sure(nn.BatchNorm1d):
        def forward(self, x):
            return super().forward(x) * 0 + torch.tensor([0.0, 1e5])

    found = MonteCarloBatchNorm(Sure(2), torch.randn(9, 2), M, 3).classify(torch.randn(4, 2))
    assert found.entropy.tolist() == [0.0] * 4 and found.mutual_information.tolist() == [0.0] * 4


# --- errors


class Answers(nn.Module):
    """Network that calls batch norm as often as it is told, and answers as it is told."""

    def __init__(self, answer=lambda y: y, times=lambda x: 1):
        super().__init__()
        self.norm, self.answer, self.times = nn.BatchNorm1d(4), answer, times

    def forward(self, x):
        for _ in range(self.times(x)):
            x = self.norm(x)
        return self.answer(x)


NAN = torch.full((9, 4), torch.nan)
ROWS_9 = torch.arange(36.0).reshape(9, 4)


@pytest.mark.parametrize(
    ("model", "options", "kind", "message"),
    [
        (nn.Linear(4, 1), {}, ValueError, "must have a batch norm layer, but got one with no norm layer; take a model"),
        (nn.Sequential(nn.LayerNorm(4), GroupNorm(1, 4)), {}, ValueError, "with GroupNorm, LayerNorm; take a model"),
        (nn.InstanceNorm1d(4), {}, ValueError, "must have a batch norm layer, but got one with InstanceNorm1d"),
        (nn.BatchNorm1d(4, track_running_stats=False), {}, ValueError, "keep running statistics, but model has none"),
        (nn.Sequential(nn.BatchNorm1d(4), BatchNorm(4, track_running_stats=False)), {}, ValueError, "but 1 has none"),
        (nn.LazyBatchNorm1d(), {}, ValueError, "must know its sizes, but got lazy layers .*; call it once"),
        (lambda x: x, {}, TypeError, "model must be a torch.nn.Module, but got function; hand over the network"),
        (Answers(), {"batch_size": 10}, ValueError, "got batch_size=10 and 9 examples; take a smaller one"),
        (Answers(), {"batch_size": 0}, ValueError, "batch_size must be a positive whole number .int., but got 0"),
        (Answers(), {"batch_size": 1}, ValueError, "a group needs at least 2 values to have a variance, but got 1"),
        (Answers(), {"num_samples": 0}, ValueError, "num_samples must be a positive whole number .int., but got 0"),
        (Answers(), {"num_samples": 2.5}, ValueError, "num_samples must be a positive whole number .int., but got 2.5"),
        (Answers(), {"chunk_size": -1}, ValueError, "chunk_size must be a positive whole number .int., but got -1"),
        (Answers(), {"data": NAN}, ValueError, "data must hold finite numbers, but got NaN or infinity; leave such"),
        (Answers(), {"data": ROWS_9.numpy()}, TypeError, "data must be a tensor, but got ndarray; convert it"),
        (Answers(), {"data": ROWS_9[:0]}, ValueError, r"data must hold at least one example, but got shape \(0, 4\)"),
        (Answers(), {"x": NAN}, ValueError, "x must hold finite numbers, but got NaN or infinity; leave such"),
        (Answers(), {"x": ROWS_9[:0]}, ValueError, r"x must hold at least one example, but got shape \(0, 4\)"),
        (Answers(lambda y: (y, y)), {}, TypeError, "model must return one tensor, but got tuple; wrap it"),
        (Answers(torch.sum), {}, ValueError, r"one result an example, but got \(\) for 4 examples; keep them"),
        (Answers(torch.t), {"batch_size": 5}, ValueError, r"one result an example, but got \(4, 5\) for 5 examples"),
        (Answers(times=lambda x: 0), {}, ValueError, "model must call a batch norm layer, but called none"),
        (
            Answers(times=lambda x: len(x)),
            {"x": ROWS_9[:1]},
            ValueError,
            "as often for queries as for data, 4 times, but got 1;",
        ),
        (Answers(times=lambda x: 1 + (x[0, 0] < 0)), {}, ValueError, "for queries as for data, 1 times, but got 2;"),
    ],
)
def test_errors_name_value_rule_and_fix(model, options, kind, message):
    arguments = {"data": ROWS_9, "x": -ROWS_9 - 1, "batch_size": 4, "num_samples": 1, **options}
    with pytest.raises(kind, match=message):
        mc_batch_norm(model, **arguments)


def test_weights_that_are_not_finite_are_refused():
    model, data, _ = made()
    nn.init.constant_(model[0].weight, torch.inf)
    with pytest.raises(ValueError, match="statistics of the drawn mini-batches must be finite"):
        MonteCarloBatchNorm(model, data, M, T)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_scripted_batch_norm_is_refused_as_it_cannot_be_answered():
    model, data, _ = made()
    for hidden in torch.jit.script(model), nn.Sequential(torch.jit.script(model[:3]), nn.BatchNorm1d(10)):
        with pytest.raises(TypeError, match="must not be compiled by torch.jit, but got"):
            MonteCarloBatchNorm(hidden, data, M, T)


@pytest.mark.parametrize("precision", [0, -1.0, torch.inf, torch.nan])
def test_a_precision_is_a_finite_number_above_0(precision):
    model, data, x = made()
    with pytest.raises(ValueError, match="precision must be a finite number above 0, but got"):
        MonteCarloBatchNorm(model, data, M, T).regress(x, precision)


def test_outputs_must_suit_the_question():
    images = MonteCarloBatchNorm(nn.BatchNorm2d(2), torch.randn(9, 2, 3, 3), M, T)
    table = MonteCarloBatchNorm(*made()[:2], M, T)
    with pytest.raises(ValueError, match=r"must put out \(N,\) or \(N, D\), but got \(5, 2, 3, 3\); use samples"):
        images.regress(torch.randn(5, 2, 3, 3), 1.0)
    with pytest.raises(ValueError, match=r"must put out logits \(N, K\), K at least 2, but got \(11, 1\); use samples"):
        table.classify(made()[2])


# --- speed


def ratio(rows, queries, features, repeats=9):
    """Return CPU seconds of ours over those of a plain loop, drawing included: the median of pairs."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(features, 50),
        nn.BatchNorm1d(50),
        nn.ReLU(),
        nn.Linear(50, 50),
        nn.BatchNorm1d(50),
        nn.ReLU(),
        nn.Linear(50, 1),
    )
    data, x = torch.randn(rows, features), torch.randn(queries, features)
    bare = copy.deepcopy(model)
    for layer in batch_norms(bare):
        layer.momentum = 1.0

    @torch.no_grad()
    def loop():
        outputs = []
        for _ in range(500):
            bare.train()
            bare(data[torch.randperm(rows)[:32]])
            bare.eval()
            outputs.append(bare(x))
        return torch.stack(outputs)

    def seconds(run):
        start = time.process_time()
        run()
        return time.process_time() - start

    loop(), mc_batch_norm(model, data, x, 32, 500)
    pairs = [(seconds(lambda: mc_batch_norm(model, data, x, 32, 500)), seconds(loop)) for _ in range(repeats)]
    return statistics.median(ours / plain for ours, plain in pairs)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "bar"), [((7372, 820, 8), 1.1), ((277, 31, 6), 0.5)], ids=["as kin8nm", "as yacht"])
def test_it_is_no_slower_than_a_plain_loop(size, bar):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert ratio(*size) <= bar
    finally:
        torch.set_num_threads(threads)


# --- on a GPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("case", CASES)
def test_a_gpu_gives_the_same_in_the_memory_of_a_chunk(case):
    model, data, x = made(case, examples=2000, queries=1000)
    expected = mc_batch_norm(model, data, x, M, T)
    with torch.no_grad(), Held() as plain:
        model.eval()(x)
    state = torch.cuda.get_rng_state()
    model.cuda()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    samples = mc_batch_norm(model, data, x, M, T, chunk_size=len(x))
    assert samples.is_cuda and torch.equal(torch.cuda.get_rng_state(), state)
    assert error(samples.cpu(), expected) <= 1e-9
    kept = samples.numel() * samples.element_size()
    assert torch.cuda.max_memory_allocated() - before <= 2**24 + kept + 1.5 * plain.peak
