"""Train one network from many seeds at once, so that error bars cost little."""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from companion.lab.data import TENSORS, Dataset
from companion.lab.session import get_device
from companion.norms.sharing import check_positive_int
from companion.show.progress import track

SGD = partial(torch.optim.SGD, momentum=0.9)
WINDOW = 20  # steps that a training loss is averaged over, since single batches scatter


@dataclass(frozen=True, repr=False)
class Fit:
    """Result of training, one column a seed. A seed that diverged is NaN from there on, and named in ``repr``.

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
        """Return the steps until the loss, averaged over the last ``window`` steps, falls to ``target``: ``(seeds,)``.

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
    seeds = tuple(range(seeds)) if isinstance(seeds, Integral) else tuple(seeds)
    device = get_device()
    data = _side_by_side(data, seeds, device)
    _check_sizes(steps, batch_size, data)
    networks = [_build(build, seed).to(device) for seed in seeds]
    template = copy.deepcopy(networks[0]).train()
    state = stack_module_state(networks)  # parameters and buffers
    each = torch.vmap(lambda p, b, x: functional_call(template, (p, b), (x,)), randomness="different")
    run = partial(each, *state)
    updater = optimizer(list(state[0].values()), lr=learning_rate)
    batches = _batches(seeds, data.x.shape[1], batch_size, steps)
    batches = track(batches, steps, f"{len(seeds)} seeds, rate {learning_rate:g}", show_progress)
    losses = _collect(_train(run, updater, data, batches), stop_at)
    template.eval()
    for index, network in enumerate(networks):
        _unstack(network, index, *state)
    return Fit(seeds, *_mark_diverged(losses, steps, _test_error(run, data)), tuple(networks))


def sweep(
    build: Callable[[], nn.Module], data: Dataset, learning_rates: Iterable[float], **settings
) -> dict[float, Fit]:
    """Train at each of ``learning_rates``: ``{learning_rate: fit(build, data, learning_rate=…, **settings)}``."""
    return {rate: fit(build, data, learning_rate=rate, **settings) for rate in learning_rates}


def _side_by_side(data: Dataset | Sequence[Dataset], seeds: tuple[int, ...], device: torch.device) -> Dataset:
    """Return one data set on ``device`` whose tensors have a leading axis of seeds."""
    if not seeds:
        raise ValueError("seeds must name at least one seed, but got none")
    sets = [data] if isinstance(data, Dataset) else list(data)
    if not isinstance(data, Dataset) and len(sets) != len(seeds):
        raise ValueError(f"data must be one set, or one for each seed, but got {len(sets)} for {len(seeds)} seeds")
    parts = {}
    for name in TENSORS:
        shapes = sorted({tuple(getattr(one, name).shape) for one in sets})
        if len(shapes) > 1:
            raise ValueError(f"{name} must have one shape in all sets, to be trained together, but got {shapes}")
        stacked = torch.stack([getattr(one, name) for one in sets]).to(device)
        parts[name] = stacked.expand(len(seeds), *shapes[0])  # a set that all seeds share is there once
    return replace(sets[0], **parts)


def _check_sizes(steps: int, batch_size: int, data: Dataset) -> None:
    check_positive_int("steps", steps)
    check_positive_int("batch_size", batch_size)
    examples = data.x.shape[1]
    if batch_size > examples:
        raise ValueError(
            f"batch_size must lie between 1 and the {examples} training examples of {data.name}, but got {batch_size}"
        )


def _build(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _batches(seeds: tuple[int, ...], examples: int, batch_size: int, steps: int) -> Iterable[Tensor]:
    """Yield for each step the chosen examples' numbers, ``(seeds, batch_size)``."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    per_epoch = examples // batch_size
    for step in range(steps):
        if step % per_epoch == 0:
            orders = torch.stack([torch.randperm(examples, generator=generator) for generator in generators])
        start = step % per_epoch * batch_size
        yield orders[:, start : start + batch_size]


def _train(run: Callable, updater: torch.optim.Optimizer, data: Dataset, batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """Take a step for each batch, and yield the losses before it, ``(seeds,)``."""
    column = torch.arange(len(data.x), device=data.x.device)[:, None]
    for batch in batches:
        rows = column, batch.to(data.x.device)
        loss = _loss(run(data.x[rows]), data.y[rows])
        updater.zero_grad()
        loss.sum().backward()
        updater.step()
        yield loss.detach()


def _collect(losses: Iterable[Tensor], stop_at: float | None) -> list[Tensor]:
    """Return the losses up to where every seed has diverged or, with ``stop_at``, has been there."""
    seen: list[Tensor] = []
    arrived = torch.tensor(False)
    for loss in losses:
        seen.append(loss)
        if stop_at is not None and len(seen) >= WINDOW:
            arrived = arrived | (torch.stack(seen[-WINDOW:]).mean(0) <= stop_at)
        if arrived.all() or not loss.isfinite().any():
            break
    return seen


def _loss(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the mean loss of each seed's batch, ``(seeds,)``: cross-entropy for classes, else squared error."""
    if y.is_floating_point():
        each = (outputs.squeeze(-1) - y).square()
    else:
        each = nn.functional.cross_entropy(outputs.flatten(0, 1), y.flatten(), reduction="none").view(y.shape)
    return each.mean(1)


def _test_error(run: Callable, data: Dataset) -> Tensor:
    """Return the error of each seed on its test examples, ``(seeds,)``."""
    with torch.no_grad():
        outputs = run(data.x_test)
    if data.is_classification:
        return 100 * (outputs.argmax(-1) != data.y_test).float().mean(1).cpu()
    return (outputs.squeeze(-1) - data.y_test).square().mean(1).cpu()


def _unstack(network: nn.Module, index: int, parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> None:
    state = {name: tensor[index].detach() for name, tensor in {**parameters, **buffers}.items()}
    network.load_state_dict(state)
    network.cpu().eval()


def _mark_diverged(losses: list[Tensor], steps: int, error: Tensor) -> tuple[Tensor, Tensor]:
    """Put NaN from the first loss that is not finite on: what follows it says nothing about the seed."""
    loss = torch.stack(losses).cpu()
    if not loss[-1].isfinite().any():  # training broke off
        loss = nn.functional.pad(loss, (0, 0, 0, steps - len(loss)), value=torch.nan)
    lost = (~loss.isfinite()).cumsum(0) > 0
    return loss.masked_fill(lost, torch.nan), error.masked_fill(lost[-1], torch.nan)
