"""The noise that an example gets from its batch mates in batch norm, by the size of the batch."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from companion.probes.borrowing import borrowed, first_tensor, name_layers
from companion.probes.uncertainty import mc_batch_norm


def batch_noise(model: nn.Module, x: Tensor, mates: Iterable[Tensor], layer: nn.Module | None = None) -> Tensor:
    r"""Put some examples into one batch after the other, and return what the network makes of them each time.

    .. math:: f_t = f(x \mid \{x\} \cup B_t)

    The standard deviation over :math:`t` is the noise. The examples are part of the batches that normalize
    them, as in training; for batches without them see :func:`mc_batch_norm`.

    Shapes:
        - ``x``: ``(N, ...)``, examples on the first axis
        - ``mates``: ``(T, M - N, ...)``
        - result: ``(T, N, *outputs)``

    Args:
        model: Any network, in the mode that is asked about: in evaluation mode batch norm makes no noise.
        x: The examples that are watched, together in each batch. One is the clearest.
        mates: The others of each batch :math:`B_t` of :math:`M`, as in ``data[torch.randint(len(data), (100, 31))]``;
            or anything that yields them one batch after the other.
        layer: A module of the model whose output is returned instead of the model's, such as a norm. If it is
            called more than once, the first time counts.

    Returns:
        The outputs for ``x``, detached.

    Raises:
        ValueError: If there are no mates; the layer is not part of the model, or not called; an output is not
            finite, or not one row an example.

    Numerics:
        Torch's random numbers are the same in each batch: dropout draws the same masks, and adds no noise of
        its own. The model and torch's random state are left as they were, bit for bit.

    Source:
        Hoffer et al. (2017) and Luo et al. (2019) on the noise; the measurement is ours.

    Example:
        >>> x, mates = torch.tensor([[1.0]]), torch.tensor([[[0.0]], [[3.0]]])
        >>> batch_noise(nn.BatchNorm1d(1, eps=1e-30), x, mates).flatten().tolist()
        [1.0, -1.0]
    """
    [(watched, name)] = name_layers(model, [model if layer is None else layer]).items()
    samples, seen = [], []
    with borrowed(model) as rewind, torch.no_grad():
        for others in list(mates):  # drawn before random numbers are rewound
            if not len(others):
                raise ValueError("mates must be one example or more, but got none: a batch of one; add examples")
            seen.clear()
            rewind()
            # a copy, as what follows may overwrite it
            watched.register_forward_hook(lambda _, args, output: seen.append(first_tensor(output, name).clone()))
            model(torch.cat([x, others]))
            if not seen or seen[0].shape[:1] != (len(x) + len(others),):
                got = [tuple(h.shape) for h in seen] or "no call"
                raise ValueError(f"{name} must put out a row an example, but got {got}; watch another layer")
            samples.append(seen[0][: len(x)])
    return torch.stack(samples)


def excess_loss(
    loss: Callable, model: nn.Module, data: Tensor, x: Tensor, batch_size: int, num_samples: int = 100, seed: int = 0
) -> Tensor:
    r"""Return the loss that batch norm adds by taking the statistics of a mini-batch instead of those of all data.

    .. math:: L(f(x \mid B_t)) - L(f(x \mid \text{data})), \qquad |B_t| = M

    For batches that are independent of ``x`` the mean over :math:`t` falls as :math:`1/M`. A batch that holds
    ``x`` is another matter: the example pulls the mean towards itself.

    Shapes:
        - ``data``, ``x``: ``(examples, ...)``
        - result: ``(num_samples,)``

    Args:
        loss: Computes the loss from the outputs for ``x``, as in ``lambda f: cross_entropy(f, y)``.
        model: A network with batch norm, torch's or ours; it is evaluated as :func:`mc_batch_norm` does.
        data: Where batches are drawn from, without replacement; should not hold ``x``.
        x: The examples that the loss is of.
        batch_size: :math:`M`, examples in a batch.
        num_samples: How many batches.
        seed: Of the batches.

    Returns:
        The excess of each batch; its mean and its standard error are the caller's.

    Raises:
        TypeError, ValueError: As :func:`mc_batch_norm` does.

    Source:
        Luo et al. (2019).

    Example:
        >>> data = torch.linspace(-1, 1, 64)[:, None]
        >>> loss = lambda f: f.square().mean()
        >>> bool(excess_loss(loss, nn.BatchNorm1d(1), data, data, 4).mean() > 0)
        True
    """
    with borrowed(model):
        [everything] = mc_batch_norm(model, data, x, len(data), 1)
        samples = mc_batch_norm(model, data, x, batch_size, num_samples, seed=seed)
    return torch.stack([loss(f) for f in samples]) - loss(everything)
