"""Synchronised batch norm gives every worker what one process with the whole batch gets, and sends little for it."""

import copy
from functools import cache, partial

import pytest
import torch
from torch import nn

from companion.lab import mlp
from companion.norms import BatchNorm, GhostBatchNorm, LayerNorm, SyncBatchNorm, convert_sync_batch_norm
from companion.studies import sync_gradients
from companion.studies.sync_gradients import norm_layer, side_by_side
from companion.studies.workers import run_workers

torch.set_num_threads(1)

slow = pytest.mark.slow
EXACT = {"rtol": 1e-12, "atol": 1e-12}
assert_same = partial(torch.testing.assert_close, **EXACT)
SHAPE = (8, 3, 5)


def draw(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) * 2 + 1


# In one process


@pytest.mark.parametrize("settings", [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}])
def test_alone_it_is_batch_norm(settings):
    ours, theirs = SyncBatchNorm(3, **settings).double(), BatchNorm(3, **settings).double()
    for _ in range(2):
        x, x_too = draw(*SHAPE).requires_grad_(), draw(*SHAPE).requires_grad_()
        y, y_too = ours(x), theirs(x_too)
        assert torch.equal(y, y_too)
        assert torch.equal(*torch.autograd.grad(y.pow(3).sum(), x), *torch.autograd.grad(y_too.pow(3).sum(), x_too))
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert torch.equal(ours.eval()(x), theirs.eval()(x))
    with pytest.raises(ValueError, match="at least 2 values"):
        ours.train()(draw(1, 3))
    with pytest.raises(ValueError, match="at least one value"):
        ours(draw(0, 3))


def test_its_repr_is_batch_norms():
    assert repr(SyncBatchNorm(4)) == repr(BatchNorm(4)).replace("BatchNorm", "SyncBatchNorm")


@pytest.mark.parametrize(
    "made", [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, BatchNorm, SyncBatchNorm]
)
@pytest.mark.parametrize(
    "settings", [{}, {"eps": 0.1, "momentum": None, "affine": False}, {"momentum": 0.3}, {"track_running_stats": False}]
)
def test_converting_keeps_all_of_a_layer(made, settings):
    old = made(3, **settings).double().eval()
    for entry in old.state_dict().values():
        entry.add_(2)
    new = convert_sync_batch_norm(old)
    assert type(new) is SyncBatchNorm and not new.training
    assert (new.eps, new.momentum, new.affine, new.track_running_stats) == (
        old.eps,
        old.momentum,
        old.affine,
        old.track_running_stats,
    )
    assert new.state_dict().keys() == old.state_dict().keys()
    for name, entry in old.state_dict().items():
        assert torch.equal(new.state_dict()[name], entry) and new.state_dict()[name].dtype == entry.dtype


def test_converting_a_network_keeps_its_parameters_and_what_it_computes():
    shared = nn.BatchNorm1d(3)
    network = nn.Sequential(
        nn.Conv1d(3, 3, 1),
        shared,
        nn.Sequential(BatchNorm(3), nn.ReLU()),
        shared,
        GhostBatchNorm(3, 4),
        LayerNorm(3),
        nn.InstanceNorm1d(3, affine=True),
    )
    before = copy.deepcopy(network)
    parameters = list(network.parameters())
    converted = convert_sync_batch_norm(network)
    assert converted is network
    assert all(a is b for a, b in zip(converted.parameters(), parameters, strict=True))
    assert network[1] is network[3] and type(network[1]) is type(network[2][0]) is SyncBatchNorm
    assert [type(layer) for layer in network[4:]] == [GhostBatchNorm, LayerNorm, nn.InstanceNorm1d]
    x = draw(*SHAPE, dtype=torch.float32)
    torch.testing.assert_close(network(x), before(x), rtol=1e-5, atol=1e-5)
    network.load_state_dict(before.state_dict())


@pytest.mark.parametrize("norm", ["local", "sync", "group"])
def test_networks_side_by_side_are_each_what_they_are_alone(norm):
    seeds, x = [100, 101, 102], draw(8, 64)
    alone, bare = ([], [])
    for made, layer in ((alone, norm_layer(norm)), (bare, nn.Identity)):
        for seed in seeds:
            torch.manual_seed(seed)
            made.append(mlp(64, 10, width=32, depth=3, norm=layer).double())
    together = side_by_side(bare, norm, None)(x.repeat(1, 3)[..., None]).reshape(8, 3, 10)
    for place, network in enumerate(alone):
        assert_same(together[:, place], network(x))


SPLITS = ["32", "16,16", "20,12", "11,11,10", "8,8,8,8", "20,6,4,2"]


@cache
def gradients(workers):
    """Start workers once, and return what each of so many finds, for every split into as many shares."""
    splits = [split for split in SPLITS if split.count(",") + 1 == workers]
    settings = ["--seeds", "100", "--shards", *splits, "--examples", "--steps", "0"]
    return run_workers("companion.studies.sync_gradients", workers, settings)


@slow
@pytest.mark.parametrize("split", SPLITS)
def test_one_to_four_workers_find_the_gradient_of_one_process(split):
    x, y = sync_gradients.drifting_batch(100)
    model = sync_gradients.network(100, nn.BatchNorm1d)
    nn.functional.cross_entropy(model(x), y).backward()
    expected = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    for found in gradients(split.count(",") + 1):
        assert_same(found["gradients"][f"{split} sync 100"]["gradient"], expected)
        miss = (found["gradients"][f"{split} local 100"]["gradient"] - expected).abs().max()
        assert (miss > 1e-3) == ("," in split)


# On several workers: threads of this process would share its process group, so they are processes.

PROGRAM = '''
"""What the tests below ask of a worker: see `ask`."""
import sys
from pathlib import Path
from unittest import mock
import torch
import torch.distributed as dist
from companion.studies.workers import joined
from companion.norms import BatchNorm, SyncBatchNorm

def draw(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) * 2 + 1

def step(layer, x, sizes, rank, weights):
    """Output and gradients of this worker's share."""
    x, weights = x.split(sizes)[rank], weights.split(sizes)[rank]
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = layer(x)
    (y * weights).sum().backward()
    grads = torch.cat([p.grad for p in layer.parameters()]) if layer.affine else torch.empty(0)
    return {"y": y.detach(), "x": x.grad, "parameters": grads,
            "state": {name: value.clone() for name, value in layer.state_dict().items()}}

def work(rank, world):
    found = {}
    for name, (shape, sizes, dtype, make) in CASES.items():
        layer = SyncBatchNorm(shape[1]).to(dtype)
        with torch.no_grad():
            layer.weight += torch.arange(shape[1]).to(dtype)
        found[name] = step(layer, make(draw(*shape, dtype=dtype)), sizes, rank, draw(*shape, dtype=dtype, seed=1))
    for settings in SETTINGS:
        layer = SyncBatchNorm(3, **settings).double()
        for seed in range(3):
            result = step(layer, draw(8, 3, 5, seed=seed), [5, 2, 1], rank, draw(8, 3, 5, seed=9))
        result["eval"] = layer.eval()(draw(8, 3, 5))
        found[repr(settings)] = result
    # what is sent: every collective that there is
    sent = []
    names = [n for n in dir(dist) if n.startswith(("all_", "reduce", "broadcast", "gather", "send", "isend", "scatter"))
             and callable(getattr(dist, n))]
    layer = SyncBatchNorm(3)
    def spy(name, real):
        return lambda tensor, *a, **k: (sent.append((name, tensor.numel(), tensor.dtype)), real(tensor, *a, **k))[1]
    patches = [mock.patch.object(dist, n, spy(n, getattr(dist, n))) for n in names]
    for patch in patches:
        patch.start()
    found["sent"] = []
    for dtype in (torch.float64, torch.float32, torch.float16):
        for batch in (2, 50):
            x = draw(batch, 3, 5, dtype=dtype).requires_grad_()
            y = layer.to(dtype)(x)
            forward, sent[:] = list(sent), []
            y.sum().backward()
            found["sent"].append([str(dtype), [(n, c, str(d)) for n, c, d in forward],
                                  [(n, c, str(d)) for n, c, d in sent]])
            sent[:] = []
    layer.eval()(draw(4, 3, 5, dtype=torch.float16))
    SyncBatchNorm(3, track_running_stats=False).eval()(draw(4, 3, 5))
    found["sent in evaluation"] = len(sent)
    for patch in patches:
        patch.stop()
    # groups
    first = dist.new_group([0, 2])
    second = dist.new_group([1])
    mine = second if rank == 1 else first
    layer = SyncBatchNorm(3, process_group=mine).double()
    x = draw(8, 3, 5)
    part = {0: x[:3], 1: x[3:5], 2: x[5:]}[rank].clone().requires_grad_()
    y = layer(part)
    (y ** 3).sum().backward()
    found["group"] = {"y": y.detach(), "x": part.grad}
    # errors
    found["errors"] = []
    for shard in ([1, 0, 0], [0, 0, 0]):
        try:
            SyncBatchNorm(3)(draw(1, 3)[: shard[rank]])
        except ValueError as error:
            found["errors"].append(str(error))
    SyncBatchNorm(3)(draw(1, 3))  # three values in all
    for layer, x in ((SyncBatchNorm(3, process_group=first if rank == 1 else second), draw(4, 3)),
                     (SyncBatchNorm(3), draw(0, 4)), (SyncBatchNorm(3), draw(0))):
        try:
            if rank == 1 or layer.process_group is None:
                layer(x)
        except ValueError as error:
            found["errors"].append(str(error))
    # float16: statistics that float16 can't hold; a large offset, where one pass would lose all digits
    x = draw(3000, 1, 5, seed=rank).half() * 100
    found["half"] = {"x": x, "y": SyncBatchNorm(1)(x)}
    x = draw(64, 1, 5, dtype=torch.float32, seed=rank) + 3e4
    found["offset"] = {"x": x, "y": SyncBatchNorm(1)(x)}
    return found

same = lambda x: x
CASES = {
    "equal": ((9, 3, 5), [3, 3, 3], torch.float64, same),
    "unequal": ((9, 3, 5), [6, 2, 1], torch.float64, same),
    "empty": ((9, 3, 5), [6, 0, 3], torch.float64, same),
    "two empty": ((9, 3, 5), [0, 0, 9], torch.float64, same),
    "one example each, no positions": ((3, 4), [1, 1, 1], torch.float64, same),
    "empty, no positions": ((5, 4), [4, 1, 0], torch.float64, same),
    "images": ((9, 3, 4, 2), [4, 4, 1], torch.float64, same),
    "volumes": ((9, 3, 2, 2, 2), [5, 4, 0], torch.float64, same),
    "channels last": ((9, 3, 4, 2), [4, 4, 1], torch.float64, lambda x: x.to(memory_format=torch.channels_last)),
    "transposed": ((9, 3, 3), [4, 4, 1], torch.float64, lambda x: x.transpose(1, 2)),
    "float32": ((9, 3, 5), [6, 2, 1], torch.float32, same),
    "float16": ((9, 3, 5), [6, 0, 3], torch.float16, same),
    "bfloat16": ((9, 3, 5), [6, 2, 1], torch.bfloat16, same),
}
SETTINGS = [{"momentum": None}, {"momentum": 0.3, "eps": 0.1}, {"affine": False}, {"track_running_stats": False}]

if __name__ == "__main__":
    with joined():
        out = Path(sys.argv[sys.argv.index("--out") + 1])
        torch.save(work(dist.get_rank(), dist.get_world_size()), out / f"{dist.get_rank()}.pt")
'''

names = {}
exec(compile(PROGRAM.replace('if __name__ == "__main__":', "if False:"), "worker", "exec"), names)
CLOSE = {
    torch.float64: EXACT,
    torch.float32: {"rtol": 1e-5, "atol": 1e-5},
    torch.float16: {"rtol": 4e-3, "atol": 4e-3},
    torch.bfloat16: {"rtol": 3e-2, "atol": 3e-2},
}


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Return what three workers found."""
    path = tmp_path_factory.mktemp("workers") / "program.py"
    path.write_text(PROGRAM)
    return run_workers(str(path), 3)


def whole(layer, x, weights):
    """Return output and gradients of torch's batch norm in one process."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = layer(x)
    (y * weights).sum().backward()
    grads = torch.cat([p.grad for p in layer.parameters()]) if layer.affine else x.new_empty(0)
    return {"y": y.detach(), "x": x.grad, "parameters": grads}


def torch_layer(dims):
    return (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims - 2]


@slow
@pytest.mark.parametrize("name", list(names["CASES"]))
def test_workers_together_compute_what_torch_does_in_one(name, three):
    shape, sizes, dtype, make = names["CASES"][name]
    results = [found[name] for found in three]
    layer = torch_layer(len(shape))(shape[1]).double()
    with torch.no_grad():
        layer.weight += torch.arange(shape[1])
    x, weights = make(draw(*shape, dtype=dtype)).double(), draw(*shape, dtype=dtype, seed=1).double()
    expected = whole(layer, x, weights)
    close = partial(torch.testing.assert_close, check_dtype=False, **CLOSE[dtype])
    for part, size in enumerate(sizes):
        assert results[part]["y"].shape == results[part]["x"].shape == (size, *shape[1:])
        assert results[part]["y"].dtype == results[part]["x"].dtype == dtype
    close(torch.cat([result["y"] for result in results]), expected["y"])
    scale = max(1.0, expected["x"].abs().max().item())
    close(torch.cat([result["x"] for result in results]) / scale, expected["x"] / scale)
    total = sum(result["parameters"].double() for result in results)
    scale = max(1.0, expected["parameters"].abs().max().item())
    close(total / scale, expected["parameters"] / scale)
    for entry, value in layer.state_dict().items():
        assert all(torch.equal(result["state"][entry], results[0]["state"][entry]) for result in results)
        close(results[0]["state"][entry], value)


@slow
@pytest.mark.parametrize("settings", names["SETTINGS"], ids=str)
def test_settings_mean_what_they_mean_in_torch(settings, three):
    layer = nn.BatchNorm1d(3, **settings).double()
    for seed in range(3):
        layer.zero_grad()
        x = draw(8, 3, 5, seed=seed)
        expected = whole(layer, x, draw(8, 3, 5, seed=9))
    results = [found[repr(settings)] for found in three]
    assert_same(torch.cat([result["y"] for result in results]), expected["y"])
    assert_same(torch.cat([result["x"] for result in results]), expected["x"])
    for result in results:
        assert_same(result["eval"], layer.eval()(draw(8, 3, 5)))
        assert result["state"].keys() == layer.state_dict().keys()
        for entry in layer.state_dict():
            if entry not in ("weight", "bias"):
                assert_same(result["state"][entry], layer.state_dict()[entry])


@slow
def test_what_travels_does_not_grow_with_the_batch(three):
    # statistics travel in float32 where activations are narrower
    wide = {"torch.float64": "torch.float64", "torch.float32": "torch.float32", "torch.float16": "torch.float32"}
    for found in three:
        assert len(found["sent"]) == 6
        for dtype, forward, back in found["sent"]:
            assert forward == [("all_reduce", 4, wide[dtype]), ("all_reduce", 3, wide[dtype])]
            assert back == [("all_reduce", 6, wide[dtype])]
        assert found["sent in evaluation"] == 0


@slow
def test_only_the_group_shares(three):
    x = draw(8, 3, 5)
    for ranks, part in (((0, 2), torch.cat([x[:3], x[5:]])), ((1,), x[3:5])):
        part = part.clone().requires_grad_()
        y = BatchNorm(3).double()(part)
        (y**3).sum().backward()
        assert_same(torch.cat([three[rank]["group"]["y"] for rank in ranks]), y.detach())
        assert_same(torch.cat([three[rank]["group"]["x"] for rank in ranks]), part.grad)


@slow
def test_errors_come_on_every_worker(three):
    for rank, found in enumerate(three):
        errors = found["errors"]
        assert "at least 2 values to have a variance, but got 1 on all workers together" in errors[0]
        assert "but got 0 on all workers together" in errors[1]
        assert "this layer's 3 channels on axis 1, but got 4" in errors[-2]
        assert "at least 2 axes" in errors[-1]
        assert len(errors) == (5 if rank == 1 else 4)
    assert "process_group must hold this process" in three[1]["errors"][2]


@slow
@pytest.mark.parametrize(("name", "tolerance"), [("half", 2e-3), ("offset", 2e-3)])
def test_statistics_keep_their_digits(name, tolerance, three):
    x = torch.cat([found[name]["x"] for found in three]).double()
    y = torch.cat([found[name]["y"] for found in three]).double()
    expected = nn.functional.batch_norm(x, None, None, training=True)
    torch.testing.assert_close(y, expected, rtol=tolerance, atol=tolerance)


# On a GPU. Where there are two, they talk over NCCL; one serves two workers, who talk over gloo.

ON_GPU = PROGRAM.replace(
    "def work(rank, world):",
    """
def work(rank, world):
    device = torch.device("cuda", rank % torch.cuda.device_count())
    found = []
    for make in (SyncBatchNorm, torch.nn.SyncBatchNorm):
        layer = make(3).to(device)
        for seed in range(3):
            x = draw(9, 3, 5, dtype=torch.float32, seed=seed).to(device)
            result = step(layer, x, [6, 3], rank, draw(9, 3, 5, dtype=torch.float32, seed=9).to(device))
        found.append({name: value.cpu() for name, value in [*result.pop("state").items(), *result.items()]})
    return found

def unused(rank, world):""",
)


@slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch.nn.SyncBatchNorm needs a GPU")
def test_on_a_gpu_it_is_torchs(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPANION_DEVICE", "cuda")
    path = tmp_path / "program.py"
    path.write_text(ON_GPU)
    for ours, theirs in run_workers(str(path), 2):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-4)
