"""Answers to the exercises of chapter 15: right ones in several styles, and typical wrong ones."""

from copy import deepcopy

import torch
from torch import nn
from torch.nn import functional


def in_a_loop(batches, queries, gamma, delta, eps):
    answers = []
    for batch in batches:
        mean, var = batch.mean(0), ((batch - batch.mean(0)) ** 2).mean(0)
        answers.append(functional.batch_norm(queries, mean, var, gamma, delta, False, 0.0, eps))
    return torch.stack(answers)


def with_scale_and_shift(batches, queries, gamma, delta, eps):
    var, mean = torch.var_mean(batches, 1, correction=0)
    scale = gamma * (var + eps).rsqrt()
    return torch.einsum("tc,nc->tnc", scale, queries) + (delta - scale * mean)[:, None]


def queries_with(dims=(1,), correction=0, root=lambda var, eps: (var + eps).sqrt(), affine=True, own=False):
    def answer(batches, queries, gamma, delta, eps):
        source = queries.expand(len(batches), -1, -1) if own else batches
        var, mean = torch.var_mean(source, dims, correction=correction, keepdim=True)
        hat = ((queries - mean) / root(var, eps)).expand(len(batches), -1, -1)
        return gamma * hat + delta if affine else hat

    return answer


def by_search(factor, batch_size, rows):
    """Halve an interval until the ratio fits."""
    low, high = 1e-9, float(rows)
    for _ in range(200):
        size = (low + high) / 2
        ratio = ((rows - size) / size) / ((rows - batch_size) / batch_size)
        low, high = (size, high) if ratio > factor**2 else (low, size)
    return low


def by_divergence(logits):
    """Measure disagreement as the mean divergence of the passes from their mean."""
    p = logits.softmax(-1)
    mean = p.mean(0)
    total = -torch.xlogy(mean, mean).sum(-1)
    return [total, (torch.xlogy(p, p) - torch.xlogy(p, mean)).sum(-1).mean(0)]


def with_a_clamp(logits):
    log_p = logits.log_softmax(-1).clamp(min=-700)
    p = log_p.exp()
    mean = p.sum(0) / len(p)
    total = -(mean * mean.clamp(min=1e-300).log()).sum(-1)
    return total, total + (p * log_p).sum(-1).mean(0)


def split_with(act):
    def answer(logits):
        p = logits.softmax(-1)
        entropies = torch.special.entr(p.mean(0)).sum(-1), torch.special.entr(p).sum(-1).mean(0)
        return act(*entropies)

    return answer


def of_mean_logits(logits):
    total = torch.special.entr(logits.mean(0).softmax(-1)).sum(-1)
    return total, total - split_with(lambda total, each: each)(logits)


def with_nan(logits):
    p = logits.softmax(-1)
    total = -(p.mean(0) * p.mean(0).log()).sum(-1)
    return total, total + (p * p.log()).sum(-1).mean(0)


@torch.no_grad()
def layer_by_layer(network, x, queries, batches):
    answers = []
    for rows in batches:
        h, q = x[rows], queries
        for layer in network:
            if isinstance(layer, nn.BatchNorm1d):
                var, mean = torch.var_mean(h, 0, correction=0)
                h, q = (
                    functional.batch_norm(each, mean, var, layer.weight, layer.bias, eps=layer.eps) for each in (h, q)
                )
            elif not isinstance(layer, nn.Dropout):
                h, q = layer(h), layer(q)
        answers.append(q)
    return torch.stack(answers)


def together(network, x, queries, batches):
    """Send batch and queries in one tensor, with hooks that normalize both with the batch's statistics."""
    size = batches.shape[1]

    def normalize(layer, args, _):
        var, mean = torch.var_mean(args[0][:size], 0, correction=0)
        return (args[0] - mean) / torch.sqrt(var + layer.eps) * layer.weight + layer.bias

    hooks = [one.register_forward_hook(normalize) for one in network.modules() if isinstance(one, nn.BatchNorm1d)]
    answers = [network(torch.cat([x[rows], queries]))[size:].detach() for rows in batches]
    for hook in hooks:
        hook.remove()
    return torch.stack(answers)


def passes_with(momentum=1.0, correct=True, dropout=False, copy=True, anew=False, own=False):
    @torch.no_grad()
    def answer(network, x, queries, batches):
        given, size, answers = network, batches.shape[1], []
        network = deepcopy(given) if copy else given
        for rows in batches:
            network = deepcopy(given) if anew else network
            norms = [one for one in network.modules() if isinstance(one, nn.BatchNorm1d)]
            network.train(dropout)
            for norm in norms:
                norm.train().momentum = momentum
            network(x[rows])
            for norm in norms:
                norm.running_var *= (size - 1) / size if correct else 1
                norm.train(own)
            network.training = False
            for layer in network:
                layer.train(own and isinstance(layer, nn.BatchNorm1d))
            answers.append(network(queries))
        return torch.stack(answers)

    return answer


def and_frozen(network, x, queries, batches):
    answers = layer_by_layer(network, x, queries, batches)
    network.requires_grad_(False)
    return answers


def first_rows(batches):
    return torch.arange(batches.shape[1]).repeat(len(batches), 1)


RIGHT = {
    "normalize_queries": [in_a_loop, with_scale_and_shift],
    "batch_size_for": [by_search, lambda f, m, n: n * m / (m + f * f * (n - m))],
    "split_entropy": [by_divergence, with_a_clamp],
    "repaired_passes": [layer_by_layer, together, passes_with()],
}

# For each task: an answer, and a piece of the sentence that must name its mistake.
WRONG = {
    "normalize_queries": [
        (queries_with(dims=(0, 1)), "yours are those of all batches together"),
        (queries_with(own=True), "the queries have no part in them"),
        (queries_with(correction=1), "divided the variance by M, not M - 1"),
        (queries_with(root=lambda var, eps: var.sqrt() + eps), "inside the square root"),
        (queries_with(affine=False), "gamma and delta are missing"),
        (queries_with(dims=(1, 2)), "yours share one"),
        (lambda b, q, gamma, delta, eps: in_a_loop(b, q, gamma, delta, eps)[0], "where shape (3, 4, 2) is wanted"),
        (lambda b, q, gamma, delta, eps: (q - b.mean(1)) / b.std(1), "raised RuntimeError"),
        (lambda b, q, gamma, delta, eps: in_a_loop(b, q, gamma.abs(), delta, eps), "<lambda>: off"),
    ],
    "batch_size_for": [
        (lambda f, m, n: m / f**2, "infinitely many rows"),
        (lambda f, m, n: m / f, "its square is what goes as 1 / M"),
        (lambda f, m, n: n / (1 + f * (n - m) / m), "It is right but for a square"),
        (lambda f, m, n: n / (1 + (n - m) / m / f**2), "yours is larger where the scatter should be"),
        (lambda f, m, n: m * f, "not of the batch size"),
        (lambda f, m, n: None, "Is there a return"),
        (lambda f, m, n: round(by_search(f, m, n)), "from batches of 2, factor"),
        (lambda f, m, n: by_search(f, m, 9), "from batches of 2, factor"),
    ],
    "split_entropy": [
        (of_mean_logits, "Average the probabilities, not the logits"),
        (split_with(lambda total, each: (each, total - each)), "wanted is the entropy of their mean"),
        (split_with(lambda total, each: (total, each)), "The second one is the mean entropy itself"),
        (split_with(lambda total, each: (total, each - total)), "The disagreement can't be negative"),
        (split_with(lambda total, each: (total.mean(), (total - each).mean())), "each query has numbers of its own"),
        (lambda logits: with_a_clamp(logits.transpose(1, 2)), "it gave a tensor of shape (3,)"),
        (with_nan, "NaN where a probability is 0"),
        (split_with(lambda total, each: total - each), "it gave a tensor, where several parts"),
    ],
    "repaired_passes": [
        (passes_with(momentum=0.1, correct=False), "a momentum of 0.1 gives the new batch a tenth."),
        (passes_with(momentum=0.1), "shrinks all that it has gathered"),
        (passes_with(momentum=0.1, correct=False, anew=True), "at each pass anew"),
        (passes_with(correct=False), "torch keeps the variance divided by M - 1"),
        (passes_with(dropout=True), "chance comes in"),
        (passes_with(copy=False), "the network comes back changed, in its num_batches_tracked, running_mean"),
        (passes_with(momentum=None, correct=False), "averages all batches so far"),
        (passes_with(momentum=None), "shrinks the average each time"),
        (passes_with(own=True), "normalized with their own statistics"),
        (and_frozen, "comes back changed, in its requires_grad"),
        (lambda network, x, q, b: layer_by_layer(network, x, q, first_rows(b)), "<lambda>: off by"),
    ],
}
