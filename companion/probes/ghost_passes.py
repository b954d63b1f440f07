"""Send several mini-batches through a model at once, each with a mean and a variance of its own.

The model is neither copied nor changed: while a pass runs, what its batch norm layers ask for is answered here.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from companion.norms import BatchNorm, moments

Statistics = Sequence[tuple[Tensor, Tensor]]


class GhostPass(TorchFunctionMode):
    """Pass in which batch norm sees several batches, *ghosts*, that lie one after the other on the first axis.

    Torch's layers are answered where they call ``torch.nn.functional.batch_norm``, and so are classes
    derived from them that do more; ours are where they ask themselves for ``moments``.

    Args:
        layers: The batch norm layers of the model that is to be called.
        ghosts: How many batches there are.
        given: For each call of a layer, in order, means and variances, ``(ghosts, C)`` each. Without any,
            those of the activations that pass are taken. Either way ``statistics`` holds what was used, and
            ``widest`` how many numbers the largest activations had.
    """

    def __init__(self, layers: list[nn.Module], ghosts: int, given: Statistics = ()) -> None:
        super().__init__()
        self.ours = [vars(layer) for layer in layers if isinstance(layer, BatchNorm)]
        self.before = [ours.get("moments") for ours in self.ours]
        self.ghosts, self.given, self.statistics, self.widest = ghosts, given, [], 1

    def __enter__(self) -> "GhostPass":
        for ours in self.ours:
            ours["moments"] = self.moments
        return super().__enter__()

    def __exit__(self, *exception) -> None:
        for ours, before in zip(self.ours, self.before, strict=True):
            if before is None:
                ours.pop("moments", None)
            else:
                ours["moments"] = before
        super().__exit__(*exception)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and variance of each ghost for the next call of a layer, ``(ghosts, C)``."""
        if not self.given:
            pair = moments(x, x.shape[0] // self.ghosts, 1)
        else:
            self.check(more=1)
            pair = self.given[len(self.statistics)]
        self.statistics.append(pair)
        self.widest = max(self.widest, x.numel())
        return pair

    def check(self, more: int = 0) -> None:
        """Raise if no layer was called, or layers fewer times than statistics are given for; ``more``: than that."""
        count, expected = len(self.statistics) + more, len(self.given or self.statistics)
        if not count:
            raise ValueError(
                "model must call a batch norm layer, but called none of those that it has; hand over the part that does"
            )
        if count > expected if more else count < expected:
            raise ValueError(
                f"model must call batch norm as often for queries as for data, {expected} times, "
                f"but got {count}; take out what makes that depend on the input"
            )

    def batch_norm(self, x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
        """Return what ``torch.nn.functional.batch_norm`` does, but with each ghost's own statistics."""
        mean, var = self.moments(x)
        if self.ghosts == 1 and x.dtype == mean.dtype:
            return batch_norm(x, mean[0], var[0], weight, bias, eps=eps)
        scale = (var + eps).rsqrt() if weight is None else (var + eps).rsqrt() * weight
        shift = -mean * scale if bias is None else bias - mean * scale
        # Scale first, then shift, as in torch's own kernel: it rounds alike, and is one pass for tables.
        scale, shift = (s.reshape(self.ghosts, 1, -1, *[1] * (x.dim() - 2)) for s in (scale, shift))
        h = x.to(scale.dtype).reshape(self.ghosts, -1, *x.shape[1:])
        h = torch.addcmul(shift, h, scale) if x.dim() == 2 else (h * scale).add_(shift)
        return h.reshape(x.shape).to(x.dtype)

    def __torch_function__(self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        return (self.batch_norm if func is batch_norm else func)(*args, **kwargs or {})


@contextmanager
def set_aside(model: nn.Module) -> Iterator[None]:
    """Set evaluation mode without gradients; put each module's mode and torch's random state back at the end."""
    modes = [(module, module.training) for module in model.modules()]
    devices = sorted({tensor.get_device() for tensor in [*model.parameters(), *model.buffers()] if tensor.is_cuda})
    with torch.random.fork_rng(devices), torch.no_grad():
        try:
            for module, _ in modes:
                module.training = False  # not eval(), which some models use to do more
            yield
        finally:
            for module, training in modes:
                module.training = training


def find_batch_norms(model: nn.Module) -> list[nn.Module]:
    """Return the batch norm layers of a model, torch's and ours; raise if there are none, or one without statistics."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, but got {type(model).__name__}; hand over the network")
    found = {name: module for name, module in model.named_modules() if isinstance(module, BatchNorm | _BatchNorm)}
    if any(map(is_lazy, [*model.parameters(), *model.buffers()])):
        raise ValueError("model must know its sizes, but got lazy layers that do not yet; call it once before")
    hidden = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.jit.ScriptModule) and "BatchNorm" in module.original_name
    ]
    if hidden:
        raise TypeError(f"batch norm must not be compiled by torch.jit, but got {hidden}; hand over its source")
    if not found:
        norms = sorted({type(module).__name__ for module in model.modules() if "Norm" in type(module).__name__})
        raise ValueError(
            f"model must have a batch norm layer, but got one with {', '.join(norms) or 'no norm layer'}; take a model "
            "with torch.nn.BatchNorm1d, 2d or 3d, or companion's: no other norm depends on the mini-batch"
        )
    for name, layer in found.items():
        if layer.running_mean is None:
            raise ValueError(
                f"batch norm must keep running statistics, but {name or 'model'} has none, and queries "
                "would depend on each other; make it with track_running_stats=True"
            )
    return list(found.values())
