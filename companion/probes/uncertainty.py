r"""Uncertainty of a network with batch norm: Monte Carlo batch norm, for any torch model.

.. math:: f_t(x) = f(x;\; m_t, s_t), \qquad t = 1, \dots, T

where the means :math:`m_t` and standard deviations :math:`s_t` in all batch norm layers are those that the
:math:`t`-th of :math:`T` mini-batches has, drawn from the training data. It is ghost batch norm at test time.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from companion.norms.sharing import check_positive_int
from companion.probes.ghost_passes import GhostPass, Statistics, find_batch_norms, set_aside

# Numbers that enter the widest batch norm layer at a time: a processor is slower where its cache does not hold them.
CHUNK = {"cpu": 2**18, "cuda": 2**24}


@dataclass(frozen=True)
class Regression:
    """Prediction of targets from samples: ``mean`` is ``(N, D)``, ``covariance`` is ``(N, D, D)``."""

    mean: Tensor
    covariance: Tensor

    @property
    def variance(self) -> Tensor:
        """Diagonal of the covariance, ``(N, D)``."""
        return self.covariance.diagonal(dim1=-2, dim2=-1)


@dataclass(frozen=True)
class Classification:
    """Prediction of classes from samples: ``probabilities`` is ``(N, K)``, the other two are ``(N,)``, in nats."""

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
        chunk_size: The most examples that a pass through the network takes; a larger mini-batch goes alone.
            None chooses it by how wide the network's batch norm layers are, so that chunks are quick.

    Attributes:
        batches: The rows of ``data`` in each mini-batch, ``(T, batch_size)``.
        statistics: For each call of a layer, in order, the means and variances, ``(T, C)`` each.
        chunk_size: The one given, or the one chosen.

    Raises:
        TypeError: If ``model`` is no module or compiled by ``torch.jit``, ``data`` is no tensor, or the
            model's output is none.
        ValueError: If the model has no batch norm or one without running statistics; if a count is not a
            positive whole number, or ``batch_size`` more than there are; if data, or the statistics that
            it gives, are not finite.

    Numerics:
        Mini-batches and queries go through in chunks of up to ``chunk_size`` examples: a pass holds what
        the network holds for so many, and results and kept statistics come on top. With ten samples or so,
        a plain loop is as quick.
        A model that mixes mini-batches that lie side by side (checked on two, if a chunk holds them) gets
        one at a time.
        Statistics are those of the weights at the time: after more training, make a new object.

        :func:`mc_batch_norm_by_loop` gives the same, up to rounding.

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
        chunk_size: int | None = None,
    ) -> None:
        self.model, self.layers = model, find_batch_norms(model)
        batch_size = check_positive_int("batch_size", batch_size)
        num_samples = check_positive_int("num_samples", num_samples)
        if chunk_size is not None:
            chunk_size = check_positive_int("chunk_size", chunk_size)
        _check_rows("data", data)
        if batch_size > len(data):
            raise ValueError(
                f"batch_size must be at most the number of examples, but got batch_size={batch_size} and "
                f"{len(data)} examples; take a smaller one"
            )
        self.batches = _draw(len(data), batch_size, num_samples, seed)
        with set_aside(model):
            first, _ = self._pass(data[self.batches[0]], 1)
            device = self.layers[0].running_mean.device.type
            self.chunk_size = chunk_size or max(1, CHUNK.get(device, CHUNK["cpu"]) * batch_size // first.widest)
            together = max(1, self.chunk_size // batch_size)
            self.apart = together == 1 or not _agree(first.statistics, self._take(data, self.batches[:2]))
            parts = [self._take(data, some) for some in self.batches.split(1 if self.apart else together)]
        self.statistics = [tuple(map(torch.cat, zip(*call, strict=True))) for call in zip(*parts, strict=True)]
        if not all(values.isfinite().all() for call in self.statistics for values in call):
            raise ValueError(
                "statistics of the drawn mini-batches must be finite, but got some that are not; "
                "look for weights that are not, or too large"
            )

    def samples(self, x: Tensor) -> Tensor:
        """Return the network's outputs for queries ``x``, once for each mini-batch: ``(T, N, *outputs)``.

        They lie on the model's device.
        """
        _check_rows("x", x)
        result, done = None, 0
        with set_aside(self.model):
            ghosts = 1 if self.apart else max(1, self.chunk_size // len(x))
            pairs = (zip(mean.split(ghosts), var.split(ghosts), strict=True) for mean, var in self.statistics)
            for given in zip(*pairs, strict=True):
                here = len(given[0][0])
                for start in range(0, len(x), self.chunk_size):
                    some = x[start : start + self.chunk_size]
                    _, y = self._pass(some, here, given)
                    if result is None:
                        result = y.new_empty(len(self.batches), len(x), *y.shape[1:])
                    result[done : done + here, start : start + len(some)] = y.reshape(here, -1, *y.shape[1:])
                done += here
        return result

    def regress(self, x: Tensor, precision: float) -> Regression:
        r"""Return the predictive mean and covariance of targets.

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
        r"""Return the predictive probabilities of classes, from a network that puts out logits.

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
        """Return the statistics of some mini-batches, from one pass."""
        return self._pass(data[batches.flatten()], len(batches))[0].statistics

    def _pass(self, rows: Tensor, ghosts: int, given: Statistics = ()) -> tuple[GhostPass, Tensor]:
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
        return asked, y


def mc_batch_norm(
    model: nn.Module,
    data: Tensor,
    x: Tensor,
    batch_size: int,
    num_samples: int = 100,
    *,
    seed: int = 0,
    chunk_size: int | None = None,
) -> Tensor:
    """Return samples of a network's output for queries ``x``, in one call: see :class:`MonteCarloBatchNorm`.

    Introduced in:
        ``notebooks/15_monte_carlo_batch_norm.md``

    Example:
        >>> mc_batch_norm(nn.BatchNorm1d(1), torch.eye(4)[:, :1], torch.zeros(5, 1), 4, num_samples=2).shape
        torch.Size([2, 5, 1])
    """
    return MonteCarloBatchNorm(model, data, batch_size, num_samples, seed=seed, chunk_size=chunk_size).samples(x)


@torch.no_grad()
def mc_batch_norm_by_loop(
    model: nn.Module, data: Tensor, x: Tensor, batch_size: int, num_samples: int = 100, *, seed: int = 0
) -> Tensor:
    """Return what :func:`mc_batch_norm` returns, up to rounding, from a plain loop: one mini-batch after the other.

    Nothing is kept and nothing batched: each mini-batch makes the running statistics its own, and the queries
    are normalized with those. It is there to read and to compare with, and for ordinary batch norm layers that
    are called once in a pass.

    Args:
        model, data, x, batch_size, num_samples, seed: As for :func:`mc_batch_norm`; the same mini-batches
            are drawn.

    Numerics:
        Running variances are unbiased, and training does not normalize with them: each is multiplied by
        :math:`(n - 1)/n`, with :math:`n` values a channel.

    Source:
        Teye et al. (2018), algorithm 1.

    Example:
        >>> mc_batch_norm_by_loop(nn.BatchNorm1d(1), torch.eye(4)[:, :1], torch.zeros(5, 1), 4, num_samples=2).shape
        torch.Size([2, 5, 1])
    """
    model, samples = copy.deepcopy(model).eval(), []
    layers = find_batch_norms(model)

    def make_biased(layer: nn.Module, inputs: tuple[Tensor], _: Tensor) -> None:
        if layer.training:
            n = inputs[0].numel() / inputs[0].shape[1]
            layer.running_var *= (n - 1) / n

    for layer in layers:
        layer.momentum = 1.0  # keep nothing of the mini-batches before
        layer.register_forward_hook(make_biased)
    for batch in _draw(len(data), batch_size, num_samples, seed):
        for layer in layers:  # and not the whole model: dropout stays off
            layer.train()
        model(data[batch])
        samples.append(model.eval()(x))
    return torch.stack(samples)


def _draw(examples: int, batch_size: int, num_samples: int, seed: int) -> Tensor:
    """Return the rows of each mini-batch, ``(num_samples, batch_size)``, none of them twice in one."""
    generator = torch.Generator().manual_seed(seed)
    batches = torch.empty(num_samples, batch_size, dtype=torch.int64)
    for batch in batches:  # a slice of each permutation would keep all of it
        batch[:] = torch.randperm(examples, generator=generator)[:batch_size]
    return batches


def _check_rows(name: str, rows: Tensor) -> None:
    if not isinstance(rows, Tensor):
        raise TypeError(f"{name} must be a tensor, but got {type(rows).__name__}; convert it with torch.as_tensor")
    if not rows.dim() or not rows.numel():
        raise ValueError(f"{name} must hold at least one example, but got shape {tuple(rows.shape)}; fill it")
    if rows.is_floating_point() and not rows.isfinite().all():
        raise ValueError(f"{name} must hold finite numbers, but got NaN or infinity; leave such examples out")


def _agree(alone: Statistics, among: Statistics) -> bool:
    """Return True if a mini-batch has the same statistics with another one beside it, up to rounding."""
    scales = [var.nan_to_num().max().item() for _, var in alone]
    return len(alone) == len(among) and all(
        torch.allclose(mean, m[:1], 1e-3, 1e-3 * math.sqrt(scale)) and torch.allclose(var, v[:1], 1e-3, 1e-3 * scale)
        for (mean, var), (m, v), scale in zip(alone, among, scales, strict=True)
    )
