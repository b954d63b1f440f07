"""Answers to the exercises of chapter 9: right ones in several styles, and typical wrong ones."""

import math

import torch
from torch import nn
from torch.nn import functional

from companion.norms import BatchNorm

FREE = {("batch", False, True), ("batch", True, True)}
FREE |= {("instance", bias, mode) for bias in (False, True) for mode in (False, True)}
FREE |= {(norm, False, mode) for norm in ("layer", "group") for mode in (False, True)}


def by_two_questions(norm, bias, training):
    takes_off_offsets = norm in ("batch", "instance")
    grows_along = norm != "none" and not (norm == "batch" and not training)
    return grows_along and (takes_off_offsets or not bias)


def step_by_step(learning_rate, weight_decay, factor):
    product = learning_rate * weight_decay
    angles = [math.tan((1 - (1 - share) ** 2) ** 0.5) for share in (product, product * factor)]
    return [angles[0], angles[0] * factor, angles[1]]


def turns(before=lambda p: (2 * p) ** 0.5, at_once=lambda f: f, later=lambda f: f**0.5):
    def answer(learning_rate, weight_decay, factor):
        start = before(learning_rate * weight_decay)
        return start, start * at_once(factor), start * later(factor)

    return answer


def with_weights(u, rate, gradient, decay):
    """Train weights whose learning rate is 1 by one step."""
    length = rate**-0.5
    w = length[:, None] * u
    w = w - decay * w - gradient / length[:, None]
    return functional.normalize(w, dim=1), 1 / w.square().sum(1)


def by_pythagoras(u, rate, gradient, decay):
    square = (1 - decay) ** 2 + (rate**2) * (gradient**2).sum(1)
    return ((1 - decay) * u - torch.einsum("u,ui->ui", rate, gradient)) / square.sqrt().unsqueeze(1), rate / square


def step_with(keep=True, direction=lambda moved, grown: moved / grown, new=lambda rate, grown: rate / grown**2):
    def answer(u, rate, gradient, decay):
        moved = (1 - decay if keep else 1.0) * u - rate[:, None] * gradient
        grown = moved.norm(dim=1)
        return direction(moved, grown[:, None]), new(rate, grown)

    return answer


@torch.no_grad()
def from_the_end(model):
    """Put new tensors in the place of changed ones."""
    norms = [place for place, layer in enumerate(model) if isinstance(layer, BatchNorm)]
    for place in reversed(norms):
        norm, layer = model[place], model[place - 1]
        factor = 1 / torch.sqrt((layer.weight * layer.weight).sum(1))
        layer.weight.copy_(factor[:, None] * layer.weight)
        layer.bias = nn.Parameter(layer.bias * factor)
        norm.running_mean = norm.running_mean * factor
        norm.running_var = norm.running_var * factor * factor


def by_state(model):
    state = model.state_dict()
    linear = [name.split(".")[0] for name in state if name.endswith("weight") and state[name].dim() == 2][:-1]
    for name in linear:
        length, norm = state[f"{name}.weight"].norm(dim=1), int(name) + 1
        state[f"{name}.weight"] = state[f"{name}.weight"] / length[:, None]
        for key in (f"{name}.bias", f"{norm}.running_mean"):
            state[key] = state[key] / length
        state[f"{norm}.running_var"] = state[f"{norm}.running_var"] / length / length
    model.load_state_dict(state)


def shorten_with(offset=True, mean=True, power=2, last=False, rows=True, gamma=False):
    @torch.no_grad()
    def shorten(model):
        linear = [layer for layer in model if isinstance(layer, nn.Linear)]
        norms = [layer for layer in model if isinstance(layer, BatchNorm)]
        for layer, norm in zip(linear, norms, strict=False):
            length = layer.weight.norm(dim=1) if rows else layer.weight.norm()
            layer.weight.div_(length[:, None] if rows else length)
            layer.bias.div_(length if offset else 1)
            norm.running_mean.div_(length if mean else 1)
            norm.running_var.div_(length**power)
            norm.weight.mul_(length if gamma else 1)
        if last:
            linear[-1].weight.div_(linear[-1].weight.norm(dim=1, keepdim=True))

    return shorten


@torch.no_grad()
def shorten_columns(model):
    for layer in list(model)[:-1:3]:
        layer.weight.div_(layer.weight.norm(dim=0))


def and_frozen(model):
    by_state(model)
    model.requires_grad_(False)


RIGHT = {
    "length_is_free": [by_two_questions, lambda norm, bias, training: (norm, bias, training) in FREE],
    "turns_around_cut": [step_by_step, turns()],
    "direction_step": [with_weights, by_pythagoras],
    "repaired_shorten": [from_the_end, by_state],
}

# For each task: an answer, and a piece of the sentence that must name its mistake.
WRONG = {
    "length_is_free": [
        (lambda norm, bias, training: True, "layer, an offset, training: Several channels share"),
        (lambda norm, bias, training: norm == "batch", "All that is normalized comes from the weights"),
        (lambda norm, bias, training: norm != "none" and not bias, "batch, an offset, training: Batch norm takes off"),
        (lambda norm, bias, training: by_two_questions(norm, bias, True), "takes its running statistics"),
        (lambda norm, bias, training: training and by_two_questions(norm, bias, training), "Only batch norm does"),
        (
            lambda norm, bias, training: norm == "none" or by_two_questions(norm, bias, training),
            "Nothing is normalized here",
        ),
        (lambda norm, bias, training: by_two_questions(norm, bias, training) and "yes", "where True or False is"),
    ],
    "turns_around_cut": [
        (turns(before=lambda p: 2 * p), "Take the root"),
        (turns(before=lambda p: p**0.5), "the 2 is missing"),
        (turns(at_once=lambda f: f**0.5), "not in balance yet"),
        (turns(at_once=lambda f: 1), "but the step has changed"),
        (turns(later=lambda f: f), "decay shortens them until both balance"),
        (turns(later=lambda f: 1), "the rate has changed"),
        (lambda eta, lam, factor: (2 * eta * lam) ** 0.5, "where several parts are wanted"),
        (lambda eta, lam, factor: (float("nan"), 1.0, 1.0), "it is not what was asked for"),
        (lambda eta, lam, factor: turns()(0.5, lam, factor), "the turn before the cut: off"),
    ],
    "direction_step": [
        (step_with(direction=lambda moved, grown: moved), "The new directions have length 1"),
        (step_with(keep=False), "Decay is missing, in the direction and in the rate"),
        (step_with(new=lambda rate, grown: rate), "The new rate is the old one"),
        (step_with(new=lambda rate, grown: rate / grown), "yours is divided by the length"),
        (step_with(new=lambda rate, grown: rate * grown**2), "yours grows with the length"),
        (lambda u, rate, g, decay: with_weights(u, rate, -g, decay), "subtract it"),
        (step_with(new=lambda rate, grown: (rate / grown**2)[:, None]), "gave a tensor of shape (4, 1)"),
        (lambda u, rate, g, decay: by_pythagoras(u, rate, g, 0.2), "<lambda>: "),
    ],
    "repaired_shorten": [
        (shorten_with(last=True), "Nothing normalizes what the last layer puts out"),
        (shorten_with(gamma=True), "γ comes after the division"),
        (shorten_columns, "you took the columns"),
        (lambda model: None, "Nothing was shortened"),
        (shorten_with(rows=False), "you took the length of all of them"),
        (shorten_with(power=1), "smaller by its square"),
        (shorten_with(offset=False), "The offsets were left as they were"),
        (shorten_with(offset=False, power=1), "Two things are wrong in evaluation"),
        (shorten_with(mean=False, power=0), "The running statistics are still those"),
        (and_frozen, "0.weight has requires_grad=False"),
    ],
}
