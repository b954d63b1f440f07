"""Answers to the exercises of chapter 1: right ones in several styles, and typical wrong ones."""

import math

import torch
from torch import nn
from torch.nn import functional

from companion.checks import MISTAKES, CompactBatchNorm


def by_torch(x, eps=1e-5):
    return functional.batch_norm(x, None, None, training=True, eps=eps)


def by_hand(x, eps=1e-5):
    n = len(x)
    mean = x.sum(0) / n
    var = ((x - mean) ** 2).sum(0) / n
    return (x - mean) * (var + eps) ** -0.5


def by_autograd(grad_y, x, gamma, eps):
    x, gamma = x.requires_grad_(False).clone().requires_grad_(), gamma.clone().requires_grad_()
    delta = torch.zeros_like(gamma, requires_grad=True)
    return torch.autograd.grad(by_hand(x, eps) * gamma + delta, (x, gamma, delta), grad_y)


def in_one_formula(grad_y, x, gamma, eps):
    n, std = len(x), (x.var(0, correction=0) + eps).sqrt()
    hat = (x - x.mean(0)) / std
    grad_gamma, grad_delta = (grad_y * hat).sum(0), grad_y.sum(0)
    return gamma / (n * std) * (n * grad_y - grad_delta - hat * grad_gamma), grad_gamma, grad_delta


def backward_without(*paths, sums=True):
    def backward(grad_y, x, gamma, eps):
        std = (x.var(0, correction=0) + eps).sqrt()
        hat, grad_hat = (x - x.mean(0)) / std, grad_y * gamma
        grad_x = grad_hat
        if "mean" not in paths:
            grad_x = grad_x - grad_hat.mean(0)
        if "var" not in paths:
            grad_x = grad_x - hat * (grad_hat * hat).mean(0)
        share = 1 if sums else len(x)
        return grad_x / std, (grad_y * hat).sum(0) / share, grad_y.sum(0) / share

    return backward


def counted(momentum, within):
    missing, batches = 1.0, 0
    while missing > within:
        missing, batches = missing * (1 - momentum), batches + 1
    return batches


class Buggy(CompactBatchNorm):
    """A layer with both bugs of the task."""

    running_correction = 0

    def uses_batch(self):
        return torch.is_grad_enabled()


class WeightDetachedInEvaluation(CompactBatchNorm):
    """Right, but for the gradient of the weight in evaluation."""

    def forward(self, x):
        y = super().forward(x)
        return y if self.training else y - self.bias + self.bias.detach()


RIGHT = {
    "standardize_batch": [by_torch, by_hand],
    "batches_until": [counted, lambda momentum, within: math.ceil(math.log(within, 1 - momentum))],
    "backward": [by_autograd, in_one_formula],
    "Repaired": [nn.BatchNorm1d, CompactBatchNorm],
}

# For each task: an answer, and a piece of the sentence that must name its mistake.
WRONG = {
    "standardize_batch": [
        (lambda x, eps=1e-5: (x - x.mean(0)) / (x.var(0) + eps).sqrt(), "divided by n, not n - 1"),
        (lambda x, eps=1e-5: by_hand(x.T, eps).T, "axis 0"),
        (lambda x, eps=1e-5: (x - x.mean(0)) / (x.std(0, correction=0) + eps), "inside the square root"),
        (lambda x, eps=1e-5: by_hand(x, 0.0), "eps is missing"),
        (lambda x, eps=1e-5: (x - x.mean()) / (x.var(correction=0) + eps).sqrt(), "of its own"),
        (lambda x, eps=1e-5: None, "Is there a return"),
        (lambda x, eps=1e-5: by_hand(x, 0.1), "<lambda>: "),
    ],
    "batches_until": [
        (lambda momentum, within: math.ceil(math.log(within) / math.log(momentum)), "weight of the new batch"),
        (lambda momentum, within: int(math.log(within) / math.log(1 - momentum)), "One batch too few"),
        (lambda momentum, within: math.ceil(1 / momentum), "not 1 / momentum"),
        (lambda momentum, within: counted(momentum, 0.01), "momentum 0.3"),
    ],
    "backward": [
        (backward_without("mean"), "the mean depends on x"),
        (backward_without("var"), "the variance depends on x"),
        (backward_without("mean", "var"), "Both paths are missing"),
        (backward_without(sums=False), "sums over the batch, not means"),
        (lambda grad_y, x, gamma, eps: in_one_formula(grad_y, x, gamma.abs(), eps), "<lambda>: "),
    ],
    "Repaired": [
        (Buggy, "Is the mode self.training"),
        (MISTAKES["running var / n"], "divided by n - 1"),
        (MISTAKES["stats detached"], "Neither may be detached"),
        (MISTAKES["graph kept"], "detached before they are stored"),
        (lambda channels: CompactBatchNorm(channels).requires_grad_(False), "parameter gradients: "),
        (WeightDetachedInEvaluation, "Neither may be detached or frozen"),
    ],
}
