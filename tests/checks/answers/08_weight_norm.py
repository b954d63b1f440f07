"""Answers to the exercises of chapter 8: right ones in several styles, and typical wrong ones."""

import torch
from torch import nn
from torch.nn import functional

from companion.norms import data_dependent_init


def by_torch(g, v):
    layer = nn.utils.parametrizations.weight_norm(nn.Conv1d(v.shape[1], v.shape[0], v.shape[2], dtype=v.dtype))
    layer.parametrizations.weight.original0.data = g[:, None, None].clone()
    layer.parametrizations.weight.original1.data = v.clone()
    return layer.weight


def channel_by_channel(g, v):
    return torch.stack([length * each / (each * each).sum() ** 0.5 for length, each in zip(g, v, strict=True)])


def in_one_product(c, learning_rate, weight_decay):
    product = learning_rate * weight_decay
    rate = learning_rate * c * c
    return [rate, product / rate]


def in_tensors(c, learning_rate, weight_decay):
    square = torch.tensor(c, dtype=torch.float64).square()
    return learning_rate * square, weight_decay / square


def by_autograd(grad_w, s, v):
    s, v = s.clone().requires_grad_(), v.clone().requires_grad_()
    w = s.exp() * functional.normalize(v, dim=1)
    return torch.autograd.grad(w, (s, v), grad_w)


def with_a_projection(grad_w, s, v):
    square = torch.einsum("ui,ui->u", v, v)[:, None]
    inner = torch.einsum("ui,ui->u", grad_w, v)[:, None]
    g = torch.e**s
    return g * inner / square.sqrt(), g * (grad_w - inner * v / square) / square.sqrt()


def backward_with(grad_s=lambda along, s: s.exp() * along, factor=torch.exp, across=None):
    def backward(grad_w, s, v):
        length = v.norm(dim=1, keepdim=True)
        u = v / length
        along = (grad_w * u).sum(1, keepdim=True)
        return grad_s(along, s), factor(s) / length * (across or (lambda w, a, s, u: w - a * u))(grad_w, along, s, u)

    return backward


def by_the_package(layers, batch):
    network = nn.Sequential()
    for layer in layers:
        network.extend([layer, nn.ReLU()])
    data_dependent_init(network, batch)


def by_the_outputs(layers, batch, deviation=lambda t: t.var((0, 2), correction=0).sqrt(), offset=None, stale=False):
    """Set g to 1 and the offset to 0 first, and look at what comes out."""
    for layer in layers:
        g = layer.parametrizations.weight.original0
        before = layer(batch).detach()
        with torch.no_grad():
            g.fill_(1.0)
            layer.bias.zero_()
            t = layer(batch)
            spread, mean = deviation(t), t.mean(0).mean(1)
            g /= spread[:, None, None]
            layer.bias -= (offset or (lambda mean, spread: mean / spread))(mean, spread)
            batch = functional.relu(before if stale else layer(batch))


def position_by_position(t):
    return t.std(0, correction=0).mean(1)


def with_unit_v(layers, batch):
    by_the_outputs(layers, batch)
    for layer in layers:
        v = layer.parametrizations.weight.original1
        v.data /= v.data.flatten(1).norm(dim=1)[:, None, None]


def nothing_set(layers, batch):
    return [layer.weight for layer in layers]


def and_frozen(layers, batch):
    by_the_package(layers, batch)
    for layer in layers:
        layer.parametrizations.weight.original1.requires_grad_(False)


RIGHT = {
    "conv_weight": [by_torch, channel_by_channel],
    "same_run": [in_one_product, in_tensors],
    "backward": [by_autograd, with_a_projection],
    "repaired_start": [by_the_package, by_the_outputs],
}

# For each task: an answer, and a piece of the sentence that must name its mistake.
WRONG = {
    "conv_weight": [
        (lambda g, v: g[:, None, None] * v / v.norm(), "yours share the length of all of v"),
        (lambda g, v: g[:, None, None] * v / v.norm(dim=1, keepdim=True), "yours leaves out the positions"),
        (lambda g, v: g[:, None, None] * v / v.norm(dim=2, keepdim=True), "yours leaves out the input channels"),
        (lambda g, v: g[:, None, None] * v / v.norm(dim=0), "output channels are axis 0"),
        (lambda g, v: g[:, None, None] * v / (v * v).sum((1, 2), keepdim=True), "the root is missing"),
        (lambda g, v: g[:, None, None] * v, "not divided by its length yet"),
        (lambda g, v: g * v, "raised RuntimeError"),
        (lambda g, v: by_torch(g, v).permute(1, 0, 2), "where shape (4, 3, 5) is wanted"),
        (lambda g, v: channel_by_channel(g.abs(), v), "<lambda>: "),
    ],
    "same_run": [
        (lambda c, eta, lam: (eta, lam), "The rate is as before"),
        (lambda c, eta, lam: (c * eta, lam / c), "needs a longer step to turn as far"),
        (lambda c, eta, lam: (eta / c**2, lam * c**2), "goes the wrong way: it is as much too small"),
        (lambda c, eta, lam: (lam / c**2, c**2 * eta), "The order is learning rate, weight decay"),
        (lambda c, eta, lam: (c**2 * eta, lam), "and that has grown"),
        (lambda c, eta, lam: (c**2 * eta, lam / c), "the decay is still too large"),
        (lambda c, eta, lam: (c**2 * eta, c**2 * lam), "The decay should not grow with it"),
        (lambda c, eta, lam: c**2 * eta, "gave a number, where several parts are wanted"),
        (lambda c, eta, lam: (c**2 * eta, float("nan")), "is not what was asked for"),
        (lambda c, eta, lam: (c**2 * 0.2, lam / c**2), "c = 0.7"),
    ],
    "backward": [
        (backward_with(grad_s=lambda along, s: along), "whose derivative is missing"),
        (backward_with(factor=lambda s: s), "the length of w is exp(s), not s"),
        (backward_with(across=lambda w, a, s, u: w - s.exp() * a * u), "holds one exponential more"),
        (backward_with(across=lambda w, a, s, u: w), "still has a part along v"),
        (backward_with(grad_s=lambda along, s: along, factor=torch.ones_like), "Both gradients lack exp(s)"),
        (lambda w, s, v: by_autograd(w, s, v)[::-1], "The order is s, v"),
        (lambda w, s, v: (by_autograd(w, s, v)[0][:, 0], by_autograd(w, s, v)[1]), "gave a tensor of shape (4,)"),
        (lambda grad_w, s, v: by_autograd(grad_w, s, v.abs()), "<lambda>: "),
    ],
    "repaired_start": [
        (lambda layers, batch: by_the_outputs(layers, batch, position_by_position), "how much the positions differ"),
        (lambda layers, batch: by_the_outputs(layers, batch, stale=True), "yours gets what they gave before"),
        (lambda layers, batch: by_the_outputs(layers, batch, position_by_position, stale=True), "Both bugs are still"),
        (lambda layers, batch: by_the_outputs(layers, batch, offset=lambda m, s: m), "the mean in it is divided"),
        (lambda layers, batch: by_the_outputs(layers, batch, lambda t: t.std((0, 2))), "divided by n, not n - 1"),
        (with_unit_v, "v must stay as it is"),
        (nothing_set, "Nothing was set"),
        (and_frozen, "parametrizations.weight.original1 has requires_grad=False"),
    ],
}
