"""Train one network from many seeds at once, so that error bars cost little."""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from companion.lab.data import Dataset
from companion.lab.session import get_device
from companion.show.progress import track

SGD = partial(torch.optim.SGD, momentum=0.9)
WINDOW = 20  # steps that a training loss is averaged over, since single batches scatter


@dataclass(frozen=True, repr=False)
class Fit:
    """What training left: one column a seed. A seed that diverged is NaN from there on, and named in ``repr``.

    Shapes:
        - ``loss``: ``(steps, seeds)``, the loss of each mini-batch before its step
        - ``test_error``: ``(seeds,)``, per cent of test examples misclassified, or the mean squared error
    """

    seeds: tuple[int, ...]
    loss: Tensor
    test_error: Tensor
    networks: tuple[nn.Module, ...]

    @property
    def diverged(self) -> dict[int, int]:
        """The seeds that diverged, each with the first step whose loss was not finite."""
        finite = self.loss.isfinite()
        return {
            seed: int(finite[:, column].int().argmin())
            for column, seed in enumerate(self.seeds)
            if not finite[:, column].all()
        }

    def steps_to(self, target: float, window: int = WINDOW) -> Tensor:
        """Steps until the loss, averaged over the last ``window`` steps, falls to ``target``: ``(seeds,)``.

        A seed that never gets there has ``inf``. Raises ValueError if there are fewer than ``window`` steps.
        """
        if not 1 <= window <= len(self.loss):
            raise ValueError(f"window must lie between 1 and the {len(self.loss)} steps trained, but got {window}")
        averaged = self.loss.unfold(0, window, 1).mean(-1)
        reached = averaged <= target
        steps = reached.int().argmax(0).to(self.loss.dtype) + window
        return torch.where(reached.any(0), steps, torch.inf)

    def __repr__(self) -> str:
        lost = "".join(f", seed {seed} diverged at step {step}" for seed, step in self.diverged.items())
        return f"Fit({len(self.seeds)} seeds, {len(self.loss)} steps{lost})"


def fit(
    build: Callable[[], nn.Module],
    data: Dataset | Sequence[Dataset],
    *,
    learning_rate: float,
    steps: int,
    batch_size: int = 100,
    seeds: int | Sequence[int] = 5,
    optimizer: Callable[..., torch.optim.Optimizer] = SGD,
    stop_at: float | None = None,
    show_progress: bool = True,
) -> Fit:
    """Train the network that ``build`` makes, once for each seed, all seeds in one pass.

    The networks are independent: their weights stand side by side in tensors with a leading axis of
    seeds, and ``torch.func.vmap`` runs them together. A seed fixes its network's initial weights and
    the order of its batches, both drawn on the CPU so that every device sees the same ones. Each
    epoch is a new random order; a last batch smaller than ``batch_size`` is left out.

    Args:
        build: Makes one network; called once a seed, with torch's global generator at that seed.
        data: What to train and test on; or a list, one for each seed, all of the same shapes (splits of
            one set, say). Targets of floating point mean regression.
        learning_rate: Handed to ``optimizer`` as ``lr``.
        steps: Number of mini-batches, at most.
        batch_size: Number of examples in each.
        seeds: Which seeds, or how many (0, 1, …).
        optimizer: Makes the optimizer from ``(parameters, lr=…)``; must treat every entry alone, as
            SGD and Adam do, or seeds would mix. The default is SGD with momentum 0.9.
        stop_at: Stop when every seed's loss, averaged over 20 steps, has been at or below this.
        show_progress: Whether to show a bar meanwhile, in a notebook; it leaves nothing behind.

    Returns:
        A :class:`Fit` with the trained networks, on the CPU and in evaluation mode.

    Raises:
        ValueError: If there is no seed or no step, the batch is larger than the data, or a list of data does
            not have one for each seed, of one shape.
    """
    seeds = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    own = not isinstance(data, Dataset)  # each seed its own data
    if own:
        data = _side_by_side(data, seeds)
    examples = data.x.shape[1 if own else 0]
    _check(seeds, steps, batch_size, data.name, examples)
    device = get_device()
    data = data.to(device)
    column = torch.arange(len(seeds), device=device)[:, None]
    networks = [_build(build, seed).to(device) for seed in seeds]
    template = copy.deepcopy(networks[0]).train()
    parameters, buffers = stack_module_state(networks)
    run = torch.vmap(lambda p, b, x: functional_call(template, (p, b), (x,)), in_dims=(0, 0, 0), randomness="different")
    updater = optimizer(list(parameters.values()), lr=learning_rate)
    batches = _batches(seeds, examples, batch_size, steps)
    losses: list[Tensor] = []
    arrived = torch.zeros(len(seeds), dtype=torch.bool, device=device)
    for batch in track(batches, steps, f"{len(seeds)} seeds, rate {learning_rate:g}", show_progress):
        batch = (column, batch.to(device)) if own else batch.to(device)
        loss = _loss(run(parameters, buffers, data.x[batch]), data.y[batch])
        updater.zero_grad()
        loss.sum().backward()
        updater.step()
        losses.append(loss.detach())
        if not losses[-1].isfinite().any():
            break
        if stop_at is not None and len(losses) >= WINDOW:
            arrived |= torch.stack(losses[-WINDOW:]).mean(0) <= stop_at
            if arrived.all():
                steps = len(losses)
                break
    template.eval()
    for index, network in enumerate(networks):
        _unstack(network, index, parameters, buffers)
    x_test = data.x_test if own else data.x_test.expand(len(seeds), *data.x_test.shape)
    error = _test_error(run, parameters, buffers, x_test, data.y_test)
    return Fit(seeds, *_mark_diverged(losses, steps, error), tuple(networks))


def sweep(
    build: Callable[[], nn.Module], data: Dataset, learning_rates: Iterable[float], **settings
) -> dict[float, Fit]:
    """Train at each of ``learning_rates``: ``{learning_rate: fit(build, data, learning_rate=…, **settings)}``."""
    return {rate: fit(build, data, learning_rate=rate, **settings) for rate in learning_rates}


def _side_by_side(data: Sequence[Dataset], seeds: tuple[int, ...]) -> Dataset:
    """One data set whose tensors have a leading axis of seeds."""
    data = list(data)
    if not data or len(data) != len(seeds):
        raise ValueError(f"data must be one set, or one for each seed, but got {len(data)} for {len(seeds)} seeds")
    parts = {}
    for name in ("x", "y", "x_test", "y_test"):
        shapes = sorted({tuple(getattr(part, name).shape) for part in data})
        if len(shapes) > 1:
            raise ValueError(f"{name} must have one shape in all sets, to be trained together, but got {shapes}")
        parts[name] = torch.stack([getattr(part, name) for part in data])
    return replace(data[0], **parts)


def _check(seeds: tuple[int, ...], steps: int, batch_size: int, name: str, examples: int) -> None:
    if not seeds:
        raise ValueError("seeds must name at least one seed, but got none")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, but got {steps}")
    if not 1 <= batch_size <= examples:
        raise ValueError(
            f"batch_size must lie between 1 and the {examples} training examples of {name}, but got {batch_size}"
        )


def _build(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _batches(seeds: tuple[int, ...], examples: int, batch_size: int, steps: int) -> Iterable[Tensor]:
    """For each step the chosen examples' numbers, ``(seeds, batch_size)``."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    per_epoch = examples // batch_size
    for step in range(steps):
        if step % per_epoch == 0:
            orders = torch.stack([torch.randperm(examples, generator=generator) for generator in generators])
        start = step % per_epoch * batch_size
        yield orders[:, start : start + batch_size]


def _loss(outputs: Tensor, y: Tensor) -> Tensor:
    """Mean loss of each seed's batch, ``(seeds,)``: cross-entropy for classes, else squared error."""
    if y.is_floating_point():
        each = (outputs.squeeze(-1) - y).square()
    else:
        each = nn.functional.cross_entropy(outputs.flatten(0, 1), y.flatten(), reduction="none").view(y.shape)
    return each.mean(1)


def _test_error(run, parameters, buffers, x: Tensor, y: Tensor) -> Tensor:
    """The error of each seed, ``(seeds,)``; ``x`` has a leading axis of seeds, ``y`` may have one."""
    with torch.no_grad():
        outputs = run(parameters, buffers, x)
    if y.is_floating_point():
        return (outputs.squeeze(-1) - y).square().mean(1).cpu()
    return 100 * (outputs.argmax(-1) != y).float().mean(1).cpu()


def _unstack(network: nn.Module, index: int, parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> None:
    state = {name: tensor[index].detach() for name, tensor in {**parameters, **buffers}.items()}
    network.load_state_dict(state)
    network.cpu().eval()


def _mark_diverged(losses: list[Tensor], steps: int, error: Tensor) -> tuple[Tensor, Tensor]:
    """NaN from the first loss that is not finite on: what follows it says nothing about the seed."""
    seen = torch.stack(losses).cpu()
    loss = nn.functional.pad(seen, (0, 0, 0, steps - len(seen)), value=torch.nan)
    lost = (~loss.isfinite()).cumsum(0) > 0
    return loss.masked_fill(lost, torch.nan), error.masked_fill(lost[-1], torch.nan)
