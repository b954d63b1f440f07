r"""Ask a network with batch norm how sure it is: Monte Carlo batch norm, for any torch model.

.. math:: f_t(x) = f(x;\; m_t, s_t), \qquad t = 1, \dots, T

where the means :math:`m_t` and standard deviations :math:`s_t` in all batch norm layers are those that the
:math:`t`-th of :math:`T` mini-batches has, drawn from the training data. It is ghost batch norm at test time.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from companion.norms.sharing import check_positive_int
from companion.probes.ghost_passes import GhostPass, PeakBytes, Statistics, find_batch_norms, set_aside

CACHE = 2**21  # bytes of activations that a processor keeps at hand: larger chunks are slower there


@dataclass(frozen=True)
class Regression:
    """What samples say about targets: ``mean`` is ``(N, D)``, ``covariance`` is ``(N, D, D)``."""

    mean: Tensor
    covariance: Tensor

    @property
    def variance(self) -> Tensor:
        """The covariance's diagonal, ``(N, D)``."""
        return self.covariance.diagonal(dim1=-2, dim2=-1)


@dataclass(frozen=True)
class Classification:
    """What samples say about classes: ``probabilities`` is ``(N, K)``, the other two are ``(N,)``, in nats."""

    probabilities: Tensor
    entropy: Tensor
    mutual_information: Tensor


class MonteCarloBatchNorm:
    r"""Monte Carlo batch norm: draws :math:`T` mini-batches once, then serves any number of queries.

    Making it sends the mini-batches through the network and keeps what they give in each batch norm layer:
    the mean and the biased variance, as in training. Each query is then normalized with each of the
    :math:`T` pairs. All else works as in evaluation: dropout is off, other norms are as they were.

    Args:
        model: Any network with batch norm, torch's (1-d, 2-d, 3-d) or ours, trained anywhere. Its first
            axis is that of the examples, for input and output, and it returns one tensor. It comes back
            bit for bit, with its modes and hooks and torch's random state, after an error too.
        data: The training inputs, ``(examples, ...)``, as the network saw them.
        batch_size: The number of examples in a mini-batch; for the scale that training had, take its
            batch size (or :class:`companion.GhostBatchNorm`'s ``ghost_batch_size``).
        num_samples: The number of mini-batches :math:`T`. Examples are drawn without replacement in each.
        seed: Of the drawing, on the CPU.
        memory_limit: The most bytes that a pass through the network may hold at a time.

    Attributes:
        batches: The rows of ``data`` in each mini-batch, ``(T, batch_size)``.
        statistics: For each call of a layer, in order, the means and variances, ``(T, C)`` each.

    Raises:
        TypeError: If ``model`` is no module or compiled by ``torch.jit``, ``data`` is no tensor, or the
            model's output is none.
        ValueError: If the model has no batch norm or one without running statistics; if a count is not a
            positive whole number, or ``batch_size`` more than there are; if data, or the statistics that
            it gives, are not finite; if ``memory_limit`` does not hold one mini-batch or one query.

    Numerics:
        Mini-batches and queries go through in chunks. How much a pass holds is measured, with one
        mini-batch and with one query: the sum of the tensors that operators make and have not freed yet.
        An operator's private workspace is not seen; results and kept statistics come on top. Without a
        GPU, chunks also stay near the size of a processor's cache, as larger ones are slower.
        A model that mixes mini-batches that lie side by side (checked on two) gets one at a time.
        Measuring takes as long as several passes: for ten samples or so, a plain loop is quicker.
        Statistics are those of the weights at the time: after more training, make a new object.

        A loop of ``model.train()`` with momentum 1, ``model.eval()`` gives the same, up to rounding, if
        ``running_var`` is multiplied by :math:`(n - 1)/n` in between, with :math:`n` values a channel:
        running variances are unbiased, and training does not normalize with them.

    Source:
        Teye et al. (2018), algorithm 1; UDL figure 11.14 for the ghosts.

    Introduced in:
        ``notebooks/15_monte_carlo_batch_norm.md``

    Example:
        >>> layer = nn.BatchNorm1d(1, eps=1e-12)
        >>> sampler = MonteCarloBatchNorm(layer, torch.tensor([[1.0], [3.0]]), batch_size=2, num_samples=3)
        >>> sampler.samples(torch.tensor([[3.0], [5.0]])).squeeze(-1)
        tensor([[1., 3.],
                [1., 3.],
                [1., 3.]])
    """

    def __init__(
        self,
        model: nn.Module,
        data: Tensor,
        batch_size: int,
        num_samples: int = 100,
        *,
        seed: int = 0,
        memory_limit: int = 2**28,
    ) -> None:
        self.model, self.memory_limit, self.layers = model, memory_limit, find_batch_norms(model)
        counts = {"batch_size": batch_size, "num_samples": num_samples, "memory_limit": memory_limit}
        for name, value in counts.items():
            check_positive_int(name, value)
        _check_rows("data", data)
        if batch_size > len(data):
            raise ValueError(
                f"batch_size must be at most the number of examples, but got batch_size={batch_size} and "
                f"{len(data)} examples; take a smaller one"
            )
        generator = torch.Generator().manual_seed(seed)
        self.batches = torch.empty(num_samples, batch_size, dtype=torch.int64)
        for batch in self.batches:
            batch[:] = torch.randperm(len(data), generator=generator)[:batch_size]
        with set_aside(model):
            first, cost = self._measure("one mini-batch", data, self.batches[0])
            pair = self._take(data, self.batches[:2]) if 2 * cost <= memory_limit else []
            self.apart = not _agree(first, pair)
            rest, chunk = (self.batches[1:], 1) if self.apart else (self.batches[2:], self._fitting(cost))
            parts = [self._take(data, some) for some in rest.split(chunk) if len(some)]
            parts.insert(0, first if self.apart else pair)
        self.statistics = [tuple(map(torch.cat, zip(*call, strict=True))) for call in zip(*parts, strict=True)]
        if not all(values.isfinite().all() for call in self.statistics for values in call):
            raise ValueError(
                "statistics of the drawn mini-batches must be finite, but got some that are not; "
                "look for weights that are not, or too large"
            )

    def samples(self, x: Tensor) -> Tensor:
        """The network's outputs for queries ``x``, once for each mini-batch: ``(T, N, *outputs)``.

        They lie on the model's device.
        """
        _check_rows("x", x)
        result, done = None, 0
        with set_aside(self.model):
            given = [(mean[:1], var[:1]) for mean, var in self.statistics]
            _, cost = self._measure("one query", x, torch.tensor([0]), given)
            rows = min(self._fitting(cost), len(x))
            ghosts = 1 if self.apart else max(1, self._fitting(cost) // len(x))
            pairs = (zip(mean.split(ghosts), var.split(ghosts), strict=True) for mean, var in self.statistics)
            for given in zip(*pairs, strict=True):
                here = len(given[0][0])
                for start, some in zip(range(0, len(x), rows), x.split(rows), strict=True):
                    _, y = self._pass(some, here, given)
                    if result is None:
                        result = y.new_empty(len(self.batches), len(x), *y.shape[1:])
                    result[done : done + here, start : start + len(some)] = y.reshape(here, -1, *y.shape[1:])
                done += here
        return result

    def regress(self, x: Tensor, precision: float) -> Regression:
        r"""Predictive mean and covariance of targets.

        .. math:: \mu = \frac1T \sum_t f_t, \qquad
            \frac1\tau I + \frac1T \sum_t (f_t - \mu)(f_t - \mu)^\top

        Args:
            x: The queries; the network's output for them is ``(N,)`` or ``(N, D)``.
            precision: :math:`\tau`, one over the variance of the targets' noise, above 0.

        Raises:
            ValueError: If the output has another shape, or ``precision`` is not a finite number above 0.
        """
        if not 0 < float(precision) < math.inf:
            raise ValueError(f"precision must be a finite number above 0, but got {precision}; see best_precision")
        f = self.samples(x)
        if f.dim() not in (2, 3):
            raise ValueError(f"model must put out (N,) or (N, D), but got {tuple(f.shape[1:])}; use samples(x) instead")
        f = f.reshape(len(f), len(x), -1)
        mean = f.mean(0)
        noise = torch.eye(f.shape[-1], dtype=f.dtype, device=f.device) / float(precision)
        return Regression(mean, noise + torch.einsum("tni,tnj->nij", f - mean, f - mean) / len(f))

    def classify(self, x: Tensor) -> Classification:
        r"""Predictive probabilities of classes, from a network that puts out logits.

        .. math:: p = \frac1T \sum_t \mathrm{softmax}(f_t), \qquad H(p) = -\sum_k p_k \log p_k,
            \qquad H(p) - \frac1T \sum_t H(\mathrm{softmax}(f_t))

        The last, the mutual information, is how much the samples disagree.

        Raises:
            ValueError: If the output is not ``(N, K)`` with at least two classes.
        """
        f = self.samples(x)
        if f.dim() != 3 or f.shape[-1] < 2:
            raise ValueError(
                f"model must put out logits (N, K), K at least 2, but got {tuple(f.shape[1:])}; use samples(x) instead"
            )
        each = f.softmax(-1)
        probabilities = each.mean(0)
        entropy = torch.special.entr(probabilities).sum(-1)
        disagreement = entropy - torch.special.entr(each).sum(-1).mean(0)
        return Classification(probabilities, entropy, disagreement.clamp(min=0))

    def _take(self, data: Tensor, batches: Tensor) -> Statistics:
        """The statistics of some mini-batches, from one pass."""
        return self._pass(data[batches.flatten()], len(batches))[0]

    def _measure(self, what: str, rows: Tensor, which: Tensor, given: Statistics = ()) -> tuple[Statistics, int]:
        """The statistics that some rows met on their way, and the bytes that a pass held; raises if too many."""
        with PeakBytes() as held:
            statistics, _ = self._pass(rows[which], 1, given)
        if held.peak > self.memory_limit:
            raise ValueError(
                f"memory_limit must hold {what}, but got {self.memory_limit} bytes; take {held.peak} or more"
            )
        return statistics, held.peak

    def _fitting(self, cost: int) -> int:
        """How many things of this cost to send at once."""
        on_gpu = self.layers[0].running_mean.is_cuda
        return max(1, (self.memory_limit if on_gpu else min(self.memory_limit, CACHE)) // cost)

    def _pass(self, rows: Tensor, ghosts: int, given: Statistics = ()) -> tuple[Statistics, Tensor]:
        """Send mini-batches that lie one after the other or, with given statistics, queries ``ghosts`` times."""
        rows = rows.to(self.layers[0].running_mean.device)
        if given and ghosts > 1:
            rows = rows.repeat(ghosts, *[1] * (rows.dim() - 1))
        with GhostPass(self.layers, ghosts, given) as asked:
            y = self.model(rows)
        if not isinstance(y, Tensor):
            raise TypeError(f"model must return one tensor, but got {type(y).__name__}; wrap it in a module that does")
        if y.shape[:1] != rows.shape[:1]:
            raise ValueError(
                f"model must put out one result an example, but got {tuple(y.shape)} for {len(rows)} "
                "examples; keep them on the first axis"
            )
        asked.check()
        return asked.statistics, y


def mc_batch_norm(
    model: nn.Module,
    data: Tensor,
    x: Tensor,
    batch_size: int,
    num_samples: int = 100,
    *,
    seed: int = 0,
    memory_limit: int = 2**28,
) -> Tensor:
    """Samples of a network's output for queries ``x``, in one call: see :class:`MonteCarloBatchNorm`.

    Introduced in:
        ``notebooks/15_monte_carlo_batch_norm.md``

    Example:
        >>> mc_batch_norm(nn.BatchNorm1d(1), torch.eye(4)[:, :1], torch.zeros(5, 1), 4, num_samples=2).shape
        torch.Size([2, 5, 1])
    """
    return MonteCarloBatchNorm(model, data, batch_size, num_samples, seed=seed, memory_limit=memory_limit).samples(x)


def _check_rows(name: str, rows: Tensor) -> None:
    if not isinstance(rows, Tensor):
        raise TypeError(f"{name} must be a tensor, but got {type(rows).__name__}; convert it with torch.as_tensor")
    if not rows.dim() or not rows.numel():
        raise ValueError(f"{name} must hold at least one example, but got shape {tuple(rows.shape)}; fill it")
    if rows.is_floating_point() and not rows.isfinite().all():
        raise ValueError(f"{name} must hold finite numbers, but got NaN or infinity; leave such examples out")


def _agree(alone: Statistics, among: Statistics) -> bool:
    """Whether a mini-batch has the same statistics with another one beside it, up to rounding."""
    scales = [var.nan_to_num().max().item() for _, var in alone]
    return len(alone) == len(among) and all(
        torch.allclose(mean, m[:1], 1e-3, 1e-3 * math.sqrt(scale)) and torch.allclose(var, v[:1], 1e-3, 1e-3 * scale)
        for (mean, var), (m, v), scale in zip(alone, among, scales, strict=True)
    )
