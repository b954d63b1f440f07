"""Answers to the exercises of chapter 10: right ones in several styles, and typical wrong ones."""

import math

import torch

from companion.probes import equivalent_schedule, replace_weight_decay


def counted(learning_rate, weight_decay, momentum):
    growth, rate, step = equivalent_schedule(learning_rate, weight_decay, momentum).growth, 1.0, 0
    while rate < 2:
        rate, step = rate * growth, step + 1
    return step


def doubling(alpha=None, power=2, whole=math.ceil):
    def answer(eta, lam, mu):
        found = (alpha or (lambda eta, lam, mu: equivalent_schedule(eta, lam, mu).alpha))(eta, lam, mu)
        return whole(-(math.log2(found) ** -1) / power)

    return answer


def smaller_root(eta, lam, mu):
    b = 1 + mu - lam * eta
    return (b - math.sqrt(b * b - 4 * mu)) / 2


def by_the_package(loss, hidden, last, learning_rate, weight_decay, momentum, steps):
    groups = [{"params": [tensor], "lr": learning_rate, "weight_decay": weight_decay} for tensor in (hidden, last)]
    grow = torch.optim.SGD(groups[:1], lr=1.0, momentum=momentum)
    stay = torch.optim.SGD(groups[1:], lr=1.0, momentum=momentum)
    schedule = replace_weight_decay(grow)
    for _ in range(steps):
        hidden.grad = last.grad = None
        loss(hidden, last).backward()
        grow.step(), stay.step(), schedule.step()


def by_hand(loss, hidden, last, eta, lam, mu, steps, sign=-1.0, late=0, last_grows=False, last_decay=1.0):
    alpha = equivalent_schedule(eta, lam, mu).alpha
    v, u = sign * (1 / alpha - 1) / eta * hidden.detach(), 0 * last.detach()
    for t in range(steps):
        g, h = torch.autograd.grad(loss(hidden, last), (hidden, last))
        rate = eta * alpha ** (-2 * (t - late) - 1)
        if t < late:
            rate = eta
        with torch.no_grad():
            v, u = mu * v + g, mu * u + h + last_decay * lam * last
            hidden -= rate * v
            last -= (rate if last_grows else eta) * u


def twin_with(**bugs):
    def train(*arguments):
        by_hand(*arguments, **bugs)

    return train


def the_first_run(loss, hidden, last, eta, lam, mu, steps):
    optimizer = torch.optim.SGD([hidden, last], lr=eta, momentum=mu, weight_decay=lam)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(hidden, last).backward()
        optimizer.step()


def in_the_other_order(learning_rate, weight_decay, momentum):
    shrink = 1 - weight_decay * learning_rate
    grow = 1 / shrink
    return [grow * learning_rate, grow * grow, momentum - momentum * weight_decay * learning_rate]


def in_tensors(learning_rate, weight_decay, momentum):
    alpha = 1 - torch.tensor(learning_rate, dtype=torch.float64) * weight_decay
    return learning_rate / alpha, alpha.pow(-2), alpha * momentum


def decoupled(first=lambda eta, a: eta / a, growth=lambda a: a**-2, momentum=lambda mu, a: mu * a, alpha=None):
    def answer(eta, lam, mu):
        a = alpha(eta, lam, mu) if alpha else 1 - eta * lam
        return first(eta, a), growth(a), momentum(mu, a)

    return answer


def coupled(eta, lam, mu):
    return equivalent_schedule(eta, lam, mu).alpha


RIGHT = {
    "steps_to_double": [counted, doubling()],
    "twin_clip": [
        lambda clip, step, alpha: clip * math.exp(step * math.log(alpha)),
        lambda clip, step, alpha: math.prod([clip] + [alpha] * step),
    ],
    "repaired_twin": [by_the_package, by_hand],
    "decoupled_twin": [in_the_other_order, in_tensors],
}

# For each task: an answer, and a piece of the sentence that must name its mistake.
WRONG = {
    "steps_to_double": [
        (doubling(power=1), "1 / α is how the weights grow"),
        (doubling(alpha=lambda eta, lam, mu: 1 - eta * lam), "Momentum is left out"),
        (doubling(alpha=smaller_root), "the larger one is the right one"),
        (doubling(whole=math.floor), "One step too few"),
        (doubling(whole=float), "A number of steps is whole"),
        (lambda eta, lam, mu: math.ceil(math.log(2) * (1 - mu) / (2 * eta * lam)), "only nearly"),
        (lambda eta, lam, mu: doubling()(eta, lam, mu) + 1, "One step too many"),
    ],
    "twin_clip": [
        (lambda clip, step, alpha: clip, "The threshold stays as it is"),
        (lambda clip, step, alpha: clip / alpha**step, "The threshold grows. But longer weights"),
        (lambda clip, step, alpha: clip * alpha ** (2 * step), "not by its square"),
        (lambda clip, step, alpha: clip * alpha ** (step + 1), "One step early"),
        (lambda clip, step, alpha: clip / alpha ** (2 * step), "The threshold grows with the rate"),
        (lambda clip, step, alpha: None, "Is there a return"),
        (lambda clip, step, alpha: alpha**step, "logits of run and twin"),
    ],
    "repaired_twin": [
        (twin_with(sign=1.0, late=1, last_grows=True, last_decay=0.0), "3 bugs are left"),
        (twin_with(late=1, last_grows=True, last_decay=0.0), "2 bugs are left. Each rate comes one step late"),
        (twin_with(sign=1.0), "The push has the wrong sign"),
        (twin_with(late=1), "Each rate comes one step late"),
        (twin_with(last_grows=True, last_decay=0.0), "The last layer is not scale-invariant"),
        (twin_with(last_decay=0.0), "The last layer has lost its weight decay"),
        (twin_with(sign=0.0), "There is no push"),
        (the_first_run, "This is the run with weight decay itself"),
        (lambda *arguments: None, "Nothing has moved"),
        (lambda *arguments: by_hand(*arguments[:-1], 12), "<lambda>: "),
    ],
    "decoupled_twin": [
        (decoupled(first=lambda eta, a: eta), "the very first step has to be divided"),
        (decoupled(growth=lambda a: 1 / a), "The rate grows too slowly"),
        (decoupled(growth=lambda a: a**2), "must grow, not fall"),
        (decoupled(momentum=lambda mu, a: mu), "of a time when the weights were shorter"),
        (decoupled(momentum=lambda mu, a: mu / a), "goes the wrong way"),
        (decoupled(momentum=lambda mu, a: mu * a * a), "one factor of α, not two"),
        (decoupled(alpha=coupled, momentum=lambda mu, a: mu), "decay does not go through the buffer"),
        (lambda eta, lam, mu: (eta / (1 - eta * lam), mu), "where 3 are wanted"),
        (lambda eta, lam, mu: in_tensors(0.3, lam, mu), "logits of run and twin, momentum 0.0: off"),
    ],
}
