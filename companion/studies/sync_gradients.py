"""Work of each worker of chapter 7: gradients of one step, what travels, and training, with three norms.

``torchrun --standalone --nproc-per-node 4 -m companion.studies.sync_gradients --out FOLDER``
"""

import argparse
import os
import signal
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from companion.lab.data import load_data
from companion.lab.networks import cnn, mlp
from companion.norms import BatchNorm, GroupNorm, SyncBatchNorm
from companion.studies.workers import joined

SHARDS = ["16,16", "20,12", "32,0", "11,11,10", "20,8,4", "8,8,8,8", "20,6,4,2"]
NORMS = ("local", "sync", "group")


def norm_layer(name: str, group=None):
    """Return a norm for each channel count: batch norm of a worker's own examples or of all workers', or group norm."""
    layers = {"local": BatchNorm, "sync": partial(SyncBatchNorm, process_group=group), "group": partial(GroupNorm, 4)}
    return layers[name]


def drifting_batch(seed: int, examples: int = 32) -> tuple[Tensor, Tensor]:
    """Draw signals whose level rises from the first example to the last, ``(examples, 1, 40)``, and random classes."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(examples, 1, 40, generator=generator, dtype=torch.float64)
    y = torch.randint(10, (examples,), generator=generator)
    return x + torch.arange(examples)[:, None, None] / 10, y


def network(seed: int, norm) -> nn.Module:
    """Make the network of the gradients, in float64."""
    torch.manual_seed(seed)
    return cnn(1, 10, widths=(8, 8), dimensions=1, norm=norm).double()


def share(x: Tensor, sizes: list[int], rank: int) -> Tensor:
    """Return the examples of one worker: ``sizes`` says how many each of them has."""
    return x.split(sizes)[rank]


def gradients(seed: int, sizes: list[int], norm: str, group, device) -> dict[str, Tensor]:
    """The gradient of the whole batch's mean loss, and the running statistics, from this worker's examples."""
    x, y = (share(part, sizes, dist.get_rank(group)).to(device) for part in drifting_batch(seed, sum(sizes)))
    model = network(seed, norm_layer(norm, group)).to(device)
    (F.cross_entropy(model(x), y, reduction="sum") / sum(sizes)).backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    dist.all_reduce(gradient, group=group)
    running = [b for name, b in model.named_buffers() if "running" in name]
    return {"gradient": gradient.cpu(), "running": torch.cat(running).cpu() if running else torch.empty(0)}


@contextmanager
def counted():
    """Count the numbers that are handed to ``all_reduce``: a list that grows by one entry a call."""
    numbers, send = [], dist.all_reduce

    def all_reduce(tensor, *args, **kwargs):
        numbers.append(tensor.numel())
        return send(tensor, *args, **kwargs)

    with mock.patch.object(dist, "all_reduce", all_reduce):
        yield numbers


def traffic(channels: int, examples: int, group, device) -> dict[str, int]:
    """Count the numbers that one synchronised layer sends forward and back, with ``examples`` of 40 positions each."""
    x = torch.randn(examples, channels, 40, device=device, requires_grad=True)
    layer = SyncBatchNorm(channels, process_group=group).to(device)
    with counted() as forward:
        y = layer(x)
    with counted() as back:
        y.square().sum().backward()
    return {"forward": sum(forward), "back": sum(back), "activations": x.numel()}


def side_by_side(networks: list[nn.Sequential], norm: str, group) -> nn.Sequential:
    """Put several `mlp` into one network, which costs no more messages than one: each has its block of channels."""
    count, layers = len(networks), []
    for parts in zip(*networks, strict=True):
        if isinstance(parts[0], nn.Linear):
            outputs, inputs = parts[0].weight.shape
            bias = parts[0].bias is not None
            layer = nn.Conv1d(count * inputs, count * outputs, 1, groups=count, bias=bias)
            layer.weight.data = torch.cat([part.weight.data for part in parts])[..., None]
            if bias:
                layer.bias.data = torch.cat([part.bias.data for part in parts])
            channels = count * outputs
        elif isinstance(parts[0], nn.Identity):  # stands where the norm belongs
            layer = GroupNorm(4 * count, channels) if norm == "group" else norm_layer(norm, group)(channels)
        elif isinstance(parts[0], nn.ReLU):
            layer = nn.ReLU()
        else:
            continue  # flattening is done where the inputs are put side by side
        layers.append(layer)
    return nn.Sequential(*layers).double()


def train(seeds: list[int], norm: str, group, data, steps: int, batch_size: int, rate: float, device) -> dict:
    """Train data-parallel, each worker on its slice of every batch, sorted by class; loss and error of each seed."""
    rank, workers, count = dist.get_rank(group), dist.get_world_size(group), len(seeds)
    x, y, x_test, y_test = data
    networks = []
    for seed in seeds:
        torch.manual_seed(seed)
        networks.append(mlp(64, 10, width=32, depth=3, norm=nn.Identity))
    model = side_by_side(networks, norm, group).to(device)
    parallel = nn.parallel.DistributedDataParallel(model, process_group=group)
    generators, losses = [torch.Generator().manual_seed(seed) for seed in seeds], []
    for _ in range(steps):
        batch = torch.stack([torch.randperm(len(x), generator=g)[:batch_size] for g in generators]).to(device)
        batch = batch.gather(1, y[batch].argsort(dim=1, stable=True))  # low digits to the first worker
        mine = batch.tensor_split(workers, 1)[rank]
        inputs = x[mine].flatten(2).transpose(0, 1).reshape(mine.shape[1], -1, 1)
        outputs = parallel(inputs).reshape(-1, count, 10)
        loss = F.cross_entropy(outputs.permute(0, 2, 1), y[mine].T, reduction="none").sum(0) * (workers / batch_size)
        model.zero_grad()
        loss.sum().backward()  # leaves the average of all workers' gradients: hence the factor workers
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= rate * parameter.grad
        losses.append(loss.detach() / workers)
    losses = torch.stack(losses)
    dist.all_reduce(losses, group=group)
    with torch.no_grad():
        outputs = model.eval()(x_test.flatten(1).repeat(1, count)[..., None]).reshape(len(x_test), count, 10)
    wrong = outputs.argmax(2) != y_test[:, None]
    return {"loss": losses.cpu(), "test_error": 100 * wrong.double().mean(0).cpu()}


def digits(device) -> list[Tensor]:
    """Load the data in the first worker, and send them to the others."""
    if dist.get_rank() == 0:
        loaded = load_data("digits")
        parts = [loaded.x.double(), loaded.y, loaded.x_test.double(), loaded.y_test]
    else:
        shapes = [(1000, 1, 8, 8), (1000,), (797, 1, 8, 8), (797,)]
        parts = [torch.empty(s, dtype=torch.float64 if len(s) > 1 else torch.int64) for s in shapes]
    parts = [part.to(device) for part in parts]
    for part in parts:
        dist.broadcast(part, 0)
    return parts


def work(options: argparse.Namespace, device) -> dict:
    """Run all experiments, each by the first so many workers that it is for; return what this worker found."""
    rank, world = dist.get_rank(), dist.get_world_size()
    groups = {workers: dist.new_group(range(workers)) for workers in range(1, world + 1)}
    if rank == options.lose:
        os.kill(os.getpid(), signal.SIGKILL)
    found: dict = {"gradients": {}, "traffic": {}, "training": {}}
    for text in options.shards:
        sizes = [int(size) for size in text.split(",")]
        if rank < len(sizes) <= world:
            for norm in NORMS if min(sizes) else ["sync"]:  # the others want at least one example
                for seed in options.seeds:
                    key = f"{text} {norm} {seed}"
                    found["gradients"][key] = gradients(seed, sizes, norm, groups[len(sizes)], device)
    for examples in options.examples:
        found["traffic"][examples] = traffic(options.channels, examples, groups[world], device)
    data = digits(device) if options.steps else None
    for workers in options.workers if options.steps else []:
        if rank < workers <= world:
            for norm in NORMS:
                settings = data, options.steps, options.batch_size, options.rate, device
                found["training"][f"{workers} {norm}"] = train(options.seeds, norm, groups[workers], *settings)
    return found


def main() -> None:
    """Read the options, join the others, work, leave the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[100])
    parser.add_argument("--shards", nargs="*", default=SHARDS)
    parser.add_argument("--examples", type=int, nargs="*", default=[8, 32, 128, 512])
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--lose", type=int, help="the rank of a worker that is killed while the others wait for it")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with joined() as device:
        torch.save(work(options, device), options.out / f"{dist.get_rank()}.pt")


if __name__ == "__main__":
    main()
