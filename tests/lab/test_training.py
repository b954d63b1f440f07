"""Training many seeds at once is training each alone; what diverges is reported."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from companion import BatchNorm, fit, mlp, sweep
from companion.lab import training
from companion.lab.data import Dataset

BUILD = partial(mlp, 6, 3, width=8, depth=2)


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setenv("COMPANION_DEVICE", "cpu")


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(90, 6, generator=generator, dtype=torch.float64)
    y = x[:, :3].argmax(1)
    return Dataset("toy", x[:60], y[:60], x[60:], y[60:])


def double(build):
    return lambda: build().double()


def alone(build, data, learning_rate, steps, batch_size, seed):
    """Train one seed with a plain loop; return losses and network."""
    torch.manual_seed(seed)
    network = build()
    optimizer = torch.optim.SGD(network.parameters(), lr=learning_rate, momentum=0.9)
    generator, losses, batches = torch.Generator().manual_seed(seed), [], []
    for _ in range(steps):
        batches = batches or list(torch.randperm(len(data.x), generator=generator).split(batch_size))
        batch = batches.pop(0)
        loss = nn.functional.cross_entropy(network(data.x[batch]), data.y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses), network.eval()


@pytest.mark.parametrize("norm", [None, BatchNorm, nn.BatchNorm1d])
def test_seeds_trained_together_are_seeds_trained_alone(data, norm):
    build = double(partial(BUILD, norm=norm))
    settings = {"learning_rate": 0.1, "steps": 9, "batch_size": 20}
    together = fit(build, data, seeds=[3, 8], **settings)
    for column, seed in enumerate(together.seeds):
        losses, network = alone(build, data, seed=seed, **settings)
        torch.testing.assert_close(together.loss[:, column], losses, rtol=0, atol=1e-12)
        for name, value in network.state_dict().items():
            torch.testing.assert_close(together.networks[column].state_dict()[name], value, rtol=0, atol=1e-12)
        wrong = 100 * (network(data.x_test).argmax(1) != data.y_test).double().mean()
        assert together.test_error[column].item() == pytest.approx(wrong.item(), abs=1e-4)


def permuted(data, seed):
    """Return the same examples, split in another way."""
    order = torch.randperm(90, generator=torch.Generator().manual_seed(seed))
    x, y = torch.cat([data.x, data.x_test])[order], torch.cat([data.y, data.y_test])[order]
    return Dataset("split", x[:60], y[:60], x[60:], y[60:])


@pytest.mark.parametrize("norm", [None, nn.BatchNorm1d])
def test_each_seed_may_have_data_of_its_own(data, norm):
    build = double(partial(BUILD, norm=norm))
    settings = {"learning_rate": 0.1, "steps": 9, "batch_size": 20}
    splits = [permuted(data, 1), permuted(data, 2)]
    together = fit(build, splits, seeds=[3, 8], **settings)
    for column, seed in enumerate(together.seeds):
        alone = fit(build, splits[column], seeds=[seed], **settings)
        torch.testing.assert_close(together.loss[:, [column]], alone.loss, rtol=0, atol=1e-12)
        torch.testing.assert_close(together.test_error[[column]], alone.test_error, rtol=0, atol=1e-4)
        for name, value in alone.networks[0].state_dict().items():
            torch.testing.assert_close(together.networks[column].state_dict()[name], value, rtol=0, atol=1e-12)
    swapped = fit(build, splits[::-1], seeds=[3, 8], **settings)
    assert not torch.allclose(swapped.loss, together.loss)


def test_data_of_their_own_serve_regression_too(data):
    def targets(part):
        return Dataset("r", part.x, part.x[:, 0].square(), part.x_test, part.x_test[:, 0].square())

    splits = [targets(permuted(data, seed)) for seed in (1, 2)]
    settings = {"learning_rate": 0.01, "steps": 5, "batch_size": 20}
    build = double(partial(mlp, 6, 1, width=8, depth=2))
    together = fit(build, splits, seeds=2, **settings)
    for seed in (0, 1):
        alone = fit(build, splits[seed], seeds=[seed], **settings)
        assert together.test_error[seed].item() == pytest.approx(alone.test_error.item(), abs=1e-12)


def test_data_of_their_own_must_be_as_many_as_seeds_and_of_one_shape(data):
    settings = {"learning_rate": 0.1, "steps": 2, "batch_size": 20}
    with pytest.raises(ValueError, match="one for each seed, but got 2 for 3 seeds"):
        fit(BUILD, [data, data], seeds=3, **settings)
    shorter = Dataset("shorter", data.x[:50], data.y[:50], data.x_test, data.y_test)
    with pytest.raises(ValueError, match=r"x must have one shape in all sets, .* got \[\(50, 6\), \(60, 6\)\]"):
        fit(BUILD, [data, shorter], seeds=2, **settings)
    with pytest.raises(ValueError, match="between 1 and the 60 training examples"):
        fit(BUILD, [data, data], seeds=2, learning_rate=0.1, steps=2, batch_size=61)


def test_the_same_seed_gives_the_same_run_and_another_does_not(data):
    settings = {"learning_rate": 0.1, "steps": 3, "batch_size": 20}
    runs = [fit(double(BUILD), data, seeds=[seed], **settings).loss for seed in (4, 4, 5)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_numbers_of_steps_and_seeds_may_be_integers_of_numpy(data):
    plain = fit(double(BUILD), data, learning_rate=0.1, steps=3, batch_size=20, seeds=2)
    same = fit(double(BUILD), data, learning_rate=0.1, steps=np.int64(3), batch_size=np.int64(20), seeds=np.int64(2))
    assert torch.equal(plain.loss, same.loss) and same.seeds == (0, 1)


def test_training_leaves_torchs_global_generator_alone(data):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    fit(double(BUILD), data, learning_rate=0.1, steps=2, batch_size=20, seeds=2)
    assert torch.equal(torch.rand(3), expected)


def test_every_epoch_uses_each_example_once():
    drawn = torch.stack(list(training._batches((7,), 60, 20, 6)))[:, 0].flatten().tolist()
    assert sorted(drawn[:60]) == sorted(drawn[60:]) == list(range(60))
    assert drawn[:60] != drawn[60:]


def test_a_seed_that_diverges_is_named_and_not_averaged_in(data):
    class Fragile(nn.Linear):
        """Network that is infinite from the third forward pass on, where it was drawn with a negative first weight."""

        def __init__(self):
            super().__init__(6, 3)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls.add_(1)
            bad = (self.calls > 2) & (self.fragile > 0)
            return super().forward(x) + torch.where(bad, torch.inf, 0.0)

    def build():
        layer = Fragile()
        layer.register_buffer("fragile", torch.rand(()).round())
        return layer.double()

    result = fit(build, data, learning_rate=0.1, steps=5, batch_size=20, seeds=8)
    fragile = [seed for seed, network in zip(result.seeds, result.networks, strict=True) if network.fragile]
    assert 0 < len(fragile) < 8
    assert result.diverged == {seed: 2 for seed in fragile}
    assert result.test_error.isnan().tolist() == [seed in fragile for seed in result.seeds]
    assert f"seed {fragile[0]} diverged at step 2" in repr(result)


def test_training_stops_when_every_seed_has_diverged(data):
    result = fit(lambda: nn.Linear(6, 3).double(), data, learning_rate=1e308, steps=50, batch_size=20, seeds=2)
    assert set(result.diverged) == {0, 1}
    assert result.loss.shape == (50, 2)
    assert result.loss[-1].isnan().all()
    assert torch.isinf(result.steps_to(0.0)).all()


def test_steps_to_counts_the_batches_seen(data):
    result = fit(double(BUILD), data, learning_rate=0.1, steps=10, batch_size=20, seeds=2)
    result.loss[:] = torch.tensor([[5.0, 4, 3, 2, 1, 1, 1, 1, 1, 1], [9.0] * 10]).T
    assert result.steps_to(2.0, window=1).tolist() == [4, torch.inf]
    assert result.steps_to(2.0, window=3).tolist() == [5, torch.inf]
    with pytest.raises(ValueError, match="between 1 and the 10 steps trained, but got 11"):
        result.steps_to(2.0, window=11)


def test_training_stops_when_every_seed_has_arrived(data):
    settings = {"learning_rate": 0.3, "steps": 200, "batch_size": 20, "seeds": 3}
    whole, short = fit(double(BUILD), data, **settings), fit(double(BUILD), data, stop_at=0.5, **settings)
    last = int(whole.steps_to(0.5).max())
    assert len(short.loss) == last < 200
    assert torch.equal(short.loss, whole.loss[:last])
    assert torch.equal(short.steps_to(0.5), whole.steps_to(0.5))


def test_regression_learns_the_squared_error(data):
    target = data.x @ torch.arange(1.0, 7, dtype=torch.float64)
    regression = Dataset("line", data.x, target, data.x_test, data.x_test @ torch.arange(1.0, 7, dtype=torch.float64))
    result = fit(lambda: nn.Linear(6, 1).double(), regression, learning_rate=0.05, steps=150, batch_size=20, seeds=2)
    assert (result.test_error < 1e-3).all()


def test_other_optimizers_keep_seeds_apart(data):
    settings = {"learning_rate": 0.01, "steps": 5, "batch_size": 20, "optimizer": torch.optim.Adam}
    both = fit(double(BUILD), data, seeds=[1, 2], **settings)
    one = fit(double(BUILD), data, seeds=[2], **settings)
    torch.testing.assert_close(both.loss[:, 1:], one.loss, rtol=0, atol=1e-12)


def test_a_sweep_has_a_fit_for_each_rate(data):
    results = sweep(double(BUILD), data, [0.1, 0.2], steps=2, batch_size=20, seeds=2)
    assert list(results) == [0.1, 0.2]
    one = fit(double(BUILD), data, learning_rate=0.2, steps=2, batch_size=20, seeds=2)
    assert torch.equal(results[0.2].loss, one.loss)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seeds": []}, "at least one seed"),
        ({"steps": 0}, "steps must be a positive whole number .*, but got 0"),
        ({"batch_size": 61}, "between 1 and the 60 training examples of toy, but got 61"),
        ({"batch_size": 0}, "batch_size must be a positive whole number .*, but got 0"),
    ],
)
def test_bad_settings_are_named(data, settings, message):
    with pytest.raises(ValueError, match=message):
        fit(double(BUILD), data, **{"learning_rate": 0.1, "steps": 1, "batch_size": 20, **settings})
