"""Borrow a model: measure on it as it stands, and give it back bit for bit.

A probe moves parameters, running statistics and random numbers; whoever lent the model must not notice.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from math import hypot

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves


@contextmanager
def borrowed(model: nn.Module) -> Iterator[Callable[[], None]]:
    """Put a model back at the end, also after an exception; gives a function that does so at once.

    Back come the values and gradients of parameters, the values of buffers, every attribute of every module,
    and so modes and hooks, and torch's random state; not what lies deeper, as the entries of a list. Inside,
    gradients are on. Graphs made before stay usable: values are set behind autograd's back.
    """
    held = [(vars(module), dict(vars(module))) for module in model.modules()]
    held += [(part, dict(part)) for _, parts in held[:] for part in parts.values() if isinstance(part, dict)]
    grads = [(parameter, parameter.grad) for parameter in model.parameters()]
    tensors = [*model.parameters(), *model.buffers(), *(grad for _, grad in grads if grad is not None)]
    values = [(tensor.data, tensor.detach().clone()) for tensor in tensors]
    random = [(source, source.get_state()) for source in (torch.default_generator, *torch.cuda.default_generators)]

    def rewind() -> None:
        for now, before in held:
            now.update(before)
            for name in now.keys() - before.keys():
                del now[name]
        for parameter, grad in grads:
            parameter.grad = grad
        for tensor, value in values:
            tensor.copy_(value)
        for source, state in random:
            source.set_state(state)

    try:
        with torch.enable_grad():
            yield rewind
    finally:
        rewind()


def evaluate(loss: Callable[[], Tensor], finite: bool = True) -> Tensor:
    """Return the loss, with its graph; raise unless it is one number that has a gradient, and finite if it must be."""
    value = loss()
    if not getattr(value, "requires_grad", False):
        raise ValueError(f"loss must have a gradient, but got {value!r}; call the model in it, unfreeze parameters")
    if value.numel() != 1 or (finite and not value.isfinite()):
        raise ValueError(f"loss must be one finite number, but got {value.tolist()}; take the mean, look for NaN")
    return value


def name_layers(model: nn.Module, layers: Iterable[nn.Module]) -> dict[nn.Module, str]:
    """Return the layers' names in the model; raise unless they are part of it."""
    names, layers = {module: name or "model" for name, module in model.named_modules()}, list(layers)
    if not layers or (foreign := [layer for layer in layers if layer not in names]):
        got = foreign if layers else "none"
        raise ValueError(f"layers must be modules of the model, but got {got}; take them from model.modules()")
    return {layer: names[layer] for layer in layers}


def first_tensor(output: object, name: str) -> Tensor:
    """Return a layer's output, or the first of several tensors; raise unless it is finite."""
    h = next((part for part in tree_leaves(output) if isinstance(part, Tensor)), None)
    if h is None or not h.isfinite().all():
        got = "no tensor" if h is None else "NaN or infinity"
        raise ValueError(f"outputs must be finite, but got {got} from {name}; look for NaN, or try model.double()")
    return h


def trained(*modules: nn.Module) -> list[Tensor]:
    """Return the parameters that require a gradient, each once."""
    return list({id(p): p for module in modules for p in module.parameters() if p.requires_grad}.values())


def norm(tensors: Iterable[Tensor | None]) -> float:
    """Return the length of several tensors together; None is zero."""
    parts = (tensor.detach().to_dense() for tensor in tensors if tensor is not None)
    # float64, where the square of no float32 overflows
    return hypot(*(torch.linalg.vector_norm(part, dtype=torch.float64) for part in parts))
