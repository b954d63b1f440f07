"""Answers to the exercises of chapter 7: right ones in several styles, and typical wrong ones."""

import torch
import torch.nn.functional as F


def merge_two_at_a_time(counts, means, variances):
    """Merge one machine after the other, by Chan's update."""
    n, mean, squares = 0, torch.zeros_like(means[0]), torch.zeros_like(means[0])
    for k, m, s2 in zip(counts, means, variances, strict=True):
        if k == 0:
            continue
        step = m - mean
        squares = squares + k * s2 + step**2 * (n * k / (n + k))
        n, mean = n + k, mean + step * (k / (n + k))
    return mean, squares / n


def merge_without_nan(counts, means, variances):
    weights, means, variances = counts / counts.sum(), means.nan_to_num(), variances.nan_to_num()
    mean = weights @ means
    return [mean, weights @ variances + weights @ (means - mean) ** 2]


def merge(mean_weighed=True, within_weighed=True, between=True, nan=False):
    """Return a way to merge that may leave something out."""

    def merged(counts, means, variances):
        keep = counts >= 0 if nan else counts > 0
        counts, means, variances = counts[keep], means[keep], variances[keep]
        weights, equal = counts / counts.sum(), torch.ones_like(counts) / len(counts)
        mean = (weights if mean_weighed else equal) @ means
        var = (weights if within_weighed else equal) @ variances
        if between:
            var = var + (weights if between == "weighed" or between is True else equal) @ (means - mean) ** 2
        return mean, var

    return merged


def merge_in_one_pass(counts, means, variances):
    filled = counts > 0
    counts, means, variances = counts[filled], means[filled], variances[filled]
    weights = counts / counts.sum()
    mean = weights @ means
    return mean, weights @ (variances + means**2) - mean**2


def merge_in_float32(counts, means, variances):
    mean, var = merge_two_at_a_time(counts, means.float(), variances.float())
    return mean.double(), var.double()


def merge_unbiased(counts, means, variances):
    mean, var = merge_two_at_a_time(counts, means, variances)
    return mean, var * sum(counts) / (sum(counts) - 1)


def gap_by_trying(distance, spread, counts):
    pair = torch.tensor([-1.0, 1.0], dtype=torch.float64) * spread
    values = torch.cat([pair.repeat(counts[0]), pair.repeat(counts[1]) + distance])
    out = (values - values.mean()) / values.std(correction=0)
    first = 2 * counts[0]
    return (out[first:].mean() - out[:first].mean()).item()


def gap(between):
    """Return a prediction from the variance that is added to that within a machine."""
    return lambda distance, spread, counts: distance / (spread**2 + between(distance, *counts)) ** 0.5


def normalize_by_chan(x, eps=1e-5):
    """Send the count first, by itself, then sums and squares: three rounds, and no more numbers."""
    n = yield torch.tensor([float(x[:, 0].numel())])
    mean = (yield x.sum(dim=2).sum(dim=0)) / n
    centred = x - mean.reshape(1, -1, 1)
    var = (yield torch.einsum("ncp,ncp->c", centred, centred)) / n
    return centred * torch.rsqrt(var + eps).reshape(1, -1, 1)


def normalize_by_shares(x, eps=1e-5):
    n = yield x.new_full((), x.numel() / x.shape[1])
    mean = yield (x / n).sum((0, 2))
    var = yield ((x - mean[None, :, None]) ** 2 / n).sum((0, 2))
    return F.batch_norm(x, mean, var, eps=eps) if len(x) else x.clone()


def normalize_alone(x, eps=1e-5):
    var, mean = torch.var_mean(x, (0, 2), correction=0, keepdim=True)
    return (x - mean) / (var + eps).sqrt()


def normalize_by_averages(x, eps=1e-5):
    var, mean = torch.var_mean(x, (0, 2), correction=0)
    total = yield torch.stack([mean, var])
    workers = yield torch.ones(())
    mean, var = total / workers
    return (x - mean[:, None]) / (var[:, None] + eps).sqrt()


def normalize(positions=True, own_mean=False, own_squares=False, own_count=False, by_position=False, skip=False):
    """Normalize in two rounds, with something wrong."""

    def worker(x, eps=1e-5):
        if skip and len(x) == 0:
            return x
        count = len(x) * (x.shape[2] if positions else 1)
        sums = yield torch.cat([x.sum((0, 2)), x.new_tensor([count])])
        n = count if own_count else sums[-1]
        mean = (sums[:-1] / n)[:, None]
        squares = (x - (x.mean((0, 2))[:, None] if own_mean else mean)).square()
        if own_squares:
            return (x - mean) / (squares.mean((0, 2)) + eps).sqrt()[:, None]
        if by_position:
            squares = (yield squares.sum(0)).sum(1)
        else:
            squares = yield squares.sum((0, 2))
        return (x - mean) / (squares / n + eps).sqrt()[:, None]

    return worker


def normalize_in_one_round(x, eps=1e-5):
    sums = yield torch.cat([x.sum((0, 2)), x.square().sum((0, 2)), x.new_tensor([x.shape[0] * x.shape[2]])])
    mean, square = (sums[:-1] / sums[-1]).reshape(2, -1, 1)
    return (x - mean) / ((square - mean**2).clamp(min=0) + eps).sqrt()


def normalize_in_float32(x, eps=1e-5):
    sums = yield torch.tensor([*x.sum((0, 2)).tolist(), x.shape[0] * x.shape[2]])
    mean = sums[:-1, None] / sums[-1]
    squares = yield (x - mean).square().sum((0, 2))
    return (x - mean) / (squares[:, None] / sums[-1] + eps).sqrt()


def normalize_by_means(x, eps=1e-5):
    n = x.shape[0] * x.shape[2]
    total = yield x.new_tensor([n])
    mean = yield x.mean((0, 2)) * n / total
    var = yield (x - mean[:, None]).square().mean((0, 2)) * n / total
    return (x - mean[:, None]) / (var + eps).sqrt()[:, None]


def backward_by_the_book(grad_y, x, gamma, mean, var, count, eps):
    """Go back through the gradients of mean and variance, as the chapter writes it."""
    s = (var + eps) ** 0.5
    g = grad_y * gamma
    by_mean, by_var = -(g / s).sum(0), -(g * (x - mean)).sum(0) / (2 * s**3)
    by_mean = yield by_mean
    by_var = yield by_var
    return g / s + by_mean / count + 2 * (x - mean) / count * by_var, (grad_y * (x - mean) / s).sum(0), grad_y.sum(0)


def backward_in_equal_parts(grad_y, x, gamma, mean, var, count, eps):
    """Return from each worker the same part of the parameters' gradients."""
    hat = (x - mean) / (var + eps).sqrt()
    workers = yield torch.ones(1)
    total = yield torch.cat([grad_y.sum(0), (grad_y * hat).sum(0)])
    a, b = total.chunk(2)
    grad_x = gamma * (grad_y - a / count - hat * b / count) / (var + eps).sqrt()
    return grad_x, b / workers, a / workers


def backward(travels=True, by="count", of="own", paths=True, scaled=True):
    """Go back as a worker that may be wrong in one thing."""

    def worker(grad_y, x, gamma, mean, var, count, eps):
        std = (var + eps).sqrt()
        hat = (x - mean) / std
        own = torch.stack([grad_y.sum(0), (grad_y * hat).sum(0)])
        total = yield own
        a, b = (total if travels else own) / (count if by == "count" else len(x))
        grad_x = (grad_y - paths * (a + hat * b)) / std * (gamma if scaled else 1)
        back = own if of == "own" else total
        return grad_x, back[1], back[0]

    return worker


def suspect(grad_y, x, gamma, mean, var, count, eps):
    return (yield from backward(by="len", of="all")(grad_y, x, gamma, mean, var, count, eps))


def positive_gamma(grad_y, x, gamma, mean, var, count, eps):
    return (yield from backward()(grad_y, x, gamma.abs(), mean, var, count, eps))


RIGHT = {
    "merge": [merge_two_at_a_time, merge_without_nan, merge()],
    "gap": [gap_by_trying, gap(lambda distance, a, b: a * b * (distance / (a + b)) ** 2)],
    "sync_normalize": [normalize_by_chan, normalize_by_shares, normalize()],
    "sync_backward": [backward_by_the_book, backward_in_equal_parts, backward()],
}

# For each task: an answer, and a piece of the sentence that must name its mistake.
WRONG = {
    "merge": [
        (merge(mean_weighed=False, within_weighed=False, between=False), "weigh each mean and each variance"),
        (merge(between=False), "the variance is not"),
        (merge(within_weighed=False, between=False), "Weigh the variances by the counts, too"),
        (merge(between="equal"), "are weighed by the counts, too"),
        (merge(nan=True), "with an empty shard it gives nan"),
        (merge_in_one_pass, "has lost its digits"),
        (merge_unbiased, "not n - 1"),
        (merge_in_float32, "is in float32"),
    ],
    "gap": [
        (lambda distance, spread, counts: 0.0, "With local batch norm"),
        (gap(lambda distance, a, b: 0), "how far the means lie apart belongs to it"),
        (gap(lambda distance, a, b: distance**2), "not from the other machine's mean"),
        (gap(lambda distance, a, b: distance**2 / 4), "it is not half-way"),
        (lambda distance, spread, counts: gap_by_trying(distance, spread, counts) ** 2 / distance, "root is missing"),
        (lambda distance, spread, counts: gap_by_trying(round(distance), spread, counts), "distance 1.7"),
    ],
    "sync_normalize": [
        (normalize_alone, "that is local batch norm"),
        (normalize_by_averages, "cannot simply be averaged"),
        (normalize(own_mean=True), "from each worker's own mean"),
        (normalize(own_squares=True), "the squares must be added up, too"),
        (normalize(own_count=True), "not by the worker's own"),
        (normalize(positions=False), "Count values, not examples"),
        (normalize(by_position=True), "each worker hands over"),
        (normalize(skip=True), "everybody yields equally often"),
        (normalize_in_float32, "is in float32"),
        (normalize_by_means, "A mean of nothing is nan"),
        (normalize_in_one_round, "has lost its digits"),
        (lambda x, eps=1e-5: normalize()(x, 0.1), "<lambda>: "),
    ],
    "sync_backward": [
        (backward(travels=False, by="len"), "Each worker looked at its own shard only"),
        (suspect, "divided by one worker's number of examples"),
        (backward(travels=False), "let them travel"),
        (backward(of="all"), "once for each worker too often"),
        (backward(paths=False), "paths through mean and variance are missing"),
        (backward(scaled=False), "gamma is missing"),
        (positive_gamma, "positive_gamma: "),
    ],
}
