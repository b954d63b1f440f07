"""Monte Carlo batch norm beside the paper's plain loop: CPU time, and the most memory held at a time.

Run ``make bench``, or ``python benchmarks/monte_carlo_batch_norm.py``. Both draw their mini-batches; times are
medians of runs in turns, on one thread; memory counts the tensors that torch's operators make, the samples too.
Columns: ``kept`` is ours when the statistics of the mini-batches are there already; the ratio is without that.
"""

import argparse
import statistics
import time
import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from companion.probes import MonteCarloBatchNorm, mc_batch_norm, mc_batch_norm_by_loop

# Rows and features as in the UCI sets of these names; the network of Teye et al. (2018) has two layers of 50.
TABLES = {"yacht": (277, 31, 6), "kin8nm": (7372, 820, 8)}
IMAGES = (1000, 797, (1, 8, 8))  # as scikit-learn's digits


def table_network(features: int) -> nn.Module:
    """Make a network with two hidden layers of 50."""
    hidden = [nn.Linear(features, 50), nn.BatchNorm1d(50), nn.ReLU(), nn.Linear(50, 50), nn.BatchNorm1d(50), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(50, 1))


def image_network() -> nn.Module:
    """Make a network with two convolutions of 16 channels."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


class Held(TorchDispatchMode):
    """Account of live bytes: at each operator, the storages made inside that are still there; ``peak`` is the most."""

    def __init__(self) -> None:
        super().__init__()
        self.made, self.peak = {}, 0

    def __torch_dispatch__(self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        """Call the operator, and count."""
        self._add((args, kwargs), came_in=True)
        result = func(*args, **kwargs or {})
        self.made = {key: entry for key, entry in self.made.items() if entry[0]() is not None}
        self._add(result)
        self.peak = max(self.peak, sum(size for _, size in self.made.values()))
        return result

    def _add(self, values: object, came_in: bool = False) -> None:
        for tensor in filter(torch.is_tensor, tree_leaves(values)):
            storage = tensor.untyped_storage()
            size = 0 if came_in else storage.nbytes()
            self.made.setdefault(storage.data_ptr(), (weakref.ref(storage), size))


def seconds(run: Callable) -> float:
    """Return the CPU seconds of a call, which other processes on the machine disturb less than a clock's."""
    start = time.process_time()
    run()
    return time.process_time() - start


def mebibytes(run: Callable) -> float:
    """Return the most that a call's tensors hold at a time."""
    with Held() as held:
        kept = run()
    del kept
    return held.peak / 2**20


def compare(model: nn.Module, data: Tensor, x: Tensor, batch_size: int, num_samples: int, repeats: int) -> list[float]:
    """Return CPU seconds of the loop, of ours, and of ours with kept statistics; then mebibytes of the first two."""
    sampler = MonteCarloBatchNorm(model, data, batch_size, num_samples)
    runs = [
        lambda: mc_batch_norm_by_loop(model, data, x, batch_size, num_samples),
        lambda: mc_batch_norm(model, data, x, batch_size, num_samples),
        lambda: sampler.samples(x),
    ]
    memory = [mebibytes(run) for run in runs[:2]]  # which also warms up
    times = zip(*[[seconds(run) for run in runs] for _ in range(repeats)], strict=True)
    return [*map(statistics.median, times), *memory]


def main() -> None:
    """Print one row for each size, batch size M and number of samples T."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9, help="runs of each, in turns")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cases = [
        (name, table_network(d), torch.randn(rows, d), torch.randn(queries, d), (32, 128), (10, 100, 500))
        for name, (rows, queries, d) in TABLES.items()
    ]
    rows, queries, shape = IMAGES
    cases.append(("digits", image_network(), torch.randn(rows, *shape), torch.randn(queries, *shape), (32, 128), (20,)))
    print(f"{'size':8}{'M':>5}{'T':>5} | {'loop':>9}{'ours':>9}{'kept':>9}{'ratio':>7} | {'loop':>9}{'ours':>9}")
    print(f"{'':18} | {'ms':>9}{'ms':>9}{'ms':>9}{'':7} | {'MiB':>9}{'MiB':>9}")
    for name, model, data, x, batch_sizes, counts in cases:
        for batch_size in batch_sizes:
            for count in counts:
                loop, ours, kept, *memory = compare(model, data, x, batch_size, count, repeats)
                print(
                    f"{name:8}{batch_size:5}{count:5} | {1e3 * loop:9.1f}{1e3 * ours:9.1f}{1e3 * kept:9.1f}"
                    f"{ours / loop:7.2f} | {memory[0]:9.2f}{memory[1]:9.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
