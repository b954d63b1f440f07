"""Answers to the exercises of chapter 6: right ones in several styles, and typical wrong ones."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

import companion


def adopt_by_torch(x, style, eps=1e-5):
    variance, mean = torch.var_mean(style.flatten(2), -1, correction=0)
    return F.instance_norm(x, eps=eps) * variance.sqrt()[..., None, None] + mean[..., None, None]


def adopt_one_by_one(x, style, eps=1e-5):
    result = torch.zeros_like(x)
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            h, other = x[i, c], style[i, c]
            scale = other.std(correction=0) / torch.sqrt(h.var(correction=0) + eps)
            result[i, c] = scale * h + (other.mean() - scale * h.mean())
    return result


def adopt(axes=(2, 3), correction=0, style_eps=False, inside=True, power=0.5, add=True):
    def adopted(x, style, eps=1e-5):
        m, s2 = x.mean(axes, keepdim=True), x.var(axes, correction=correction, keepdim=True)
        std = (s2 + eps).sqrt() if inside else s2.sqrt() + eps
        new = style.var(axes, correction=correction, keepdim=True) + eps * style_eps
        return (x - m) / std * new**power + add * style.mean(axes, keepdim=True)

    return adopted


def by_halving(share, eps):
    low, high = 0.0, 1e3
    while high - low > 1e-12:
        s = (low + high) / 2
        low, high = (low, s) if s / math.sqrt(s * s + eps) >= share else (s, high)
    return high


def follow(relu_drops_offsets=True, layer_hands_constants_on=True):
    """Return an answer that keeps what a changed signal is of the unchanged one: a gain, and an offset."""

    def forgets(layers, change):
        state = {"gain"} if change == "gain" else {"offset", "common"}
        for layer in layers:
            if not state:
                break
            if layer == "conv":
                state.discard("common")
            if layer == "bias" and "gain" in state:
                state = {"gain", "offset"}
            if layer == "relu" and "offset" in state and relu_drops_offsets:
                return False
            if layer == "instance":
                state = set()
            if layer == "layer":
                if "offset" in state and "common" not in state:
                    if not layer_hands_constants_on:
                        return False
                    state.add("gain")
                else:
                    state = set()
        return not state

    return forgets


def by_experiment(layers, change):
    generator = torch.Generator().manual_seed(3)
    normal = partial(torch.randn, generator=generator, dtype=torch.float64)
    x = normal(1, 5, 40)
    pair = [x, 3 * x if change == "gain" else x + 1]
    for layer in layers:
        if layer == "conv":
            kernel = normal(5, 5, 3)
            pair = [F.conv1d(F.pad(h, (1, 1), mode="circular"), kernel) for h in pair]
        elif layer == "bias":
            bias = normal(5, 1)
            pair = [h + bias for h in pair]
        elif layer == "relu":
            pair = [h.relu() for h in pair]
        else:
            pair = [companion.standardize(h, 1, 5 if layer == "layer" else 1, eps=1e-14) for h in pair]
    return torch.allclose(*pair, rtol=0, atol=1e-6)


def only_instance(layers, change):
    return "instance" in layers


def any_norm(layers, change):
    return "instance" in layers or "layer" in layers


def no_bias_before(layers, change):
    return any_norm(layers, change) and not (change == "gain" and "bias" in layers)


class Layer(nn.Module):
    """The repaired layer, in parts that can be broken again."""

    axes = staticmethod(lambda x: tuple(range(2, x.dim())))
    correction = 0
    strict = detach = False
    running = False

    def __init__(self, channels, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("var", torch.ones(channels))

    def forward(self, x):
        if self.too_few(x):
            raise ValueError("instance norm needs positions")
        column = (-1, *[1] * (x.dim() - 2))
        axes = self.axes(x)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.detach):
            m, s2 = x.mean(axes, keepdim=True), x.var(axes, correction=self.correction, keepdim=True)
        if self.running and not self.training:
            m, s2 = self.mean.reshape(column), self.var.reshape(column)
        elif self.running:
            self.mean.lerp_(m.detach().mean(0).flatten(), 0.1)
            self.var.lerp_(s2.detach().mean(0).flatten(), 0.1)
        return (x - m) / (s2 + self.eps).sqrt() * self.weight.reshape(column) + self.bias.reshape(column)

    def too_few(self, x):
        return x.shape[2:].numel() < 2


class Running(Layer):
    running = True


class Detached(Layer):
    detach = True


class Lax(Layer):
    def too_few(self, x):
        return False


class OnlyFeaturesRefused(Layer):
    def too_few(self, x):
        return x.dim() < 3


class StrictInTraining(Layer):
    def too_few(self, x):
        return self.training and super().too_few(x)


class UpToTwoAxes(Layer):
    axes = staticmethod(lambda x: tuple(range(2, min(x.dim(), 4))))


class Unbiased(Layer):
    correction = 1


class ByGroups(nn.GroupNorm):
    def __init__(self, channels):
        super().__init__(channels, channels)

    def forward(self, x):
        if math.prod(x.shape[2:]) == 1:
            raise ValueError("a single value has no spread")
        return super().forward(x)


RIGHT = {
    "adopt": [adopt_by_torch, adopt_one_by_one, adopt()],
    "faintest": [by_halving, lambda share, eps: math.sqrt(eps) * math.tan(math.asin(share))],
    "forgets": [follow(), by_experiment],
    "Repaired": [companion.InstanceNorm, Layer, ByGroups],
}

# For each task: an answer, and a piece of the sentence that must name its mistake.
WRONG = {
    "adopt": [
        (lambda x, style, eps: adopt_by_torch(style, x, eps), "the other way round"),
        (adopt(axes=(1, 2, 3)), "share one over the whole image"),
        (adopt(axes=(0, 2, 3)), "averaged over the batch"),
        (adopt(correction=1), "Variances here are divided"),
        (adopt(style_eps=True), "eps belongs to the variance of x alone"),
        (adopt(inside=False), "inside the square root"),
        (adopt(power=1), "not its variance"),
        (adopt(power=0), "is still to be multiplied"),
        (adopt(add=False), "is still to be added"),
        (lambda x, style, eps: adopt_one_by_one(x, style, 0.1), "<lambda>: "),
    ],
    "faintest": [
        (lambda share, eps: math.sqrt(share * eps / (1 - share)), "left the root out"),
        (lambda share, eps: share * math.sqrt(eps) / (1 - share), "you solved s / (s + sqrt(eps))"),
        (lambda share, eps: share**2 * eps / (1 - share**2), "That is s²"),
        (lambda share, eps: math.sqrt(eps), "about 0.7"),
        (lambda share, eps: share * eps / (1 - share), "not beside s:"),
    ],
    "forgets": [
        (only_instance, "layer norm divides it out"),
        (any_norm, "A gain on h is none on h + c"),
        (no_bias_before, "takes it off with the mean"),
        (follow(relu_drops_offsets=False), "A ReLU does not hand an offset on"),
        (follow(layer_hands_constants_on=False), "still is one"),
    ],
    "Repaired": [
        (Running, "has no running statistics"),
        (Detached, "both belong to the graph"),
        (Lax, "for features without positions"),
        (OnlyFeaturesRefused, "one value has no spread"),
        (Unbiased, "divided by their number"),
        (StrictInTraining, "(3, 4), in evaluation: It must raise"),
        (UpToTwoAxes, "x of shape (3, 4, 2, 4, 3)"),
    ],
}
