"""Answers to the exercises of chapter 14: right ones in several styles, and typical wrong ones."""

from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn.functional import batch_norm, cross_entropy

import companion


def by_bisection(distance, batch_size):
    """Try probabilities, with dropout's two values written out."""
    wanted, low, high = (1 + distance**2 / 2) / batch_size, 0.0, 1 - 1e-9
    for _ in range(200):
        p = (low + high) / 2
        values, weights = np.array([0, distance / (1 - p)]), np.array([p, 1 - p])
        variance = weights @ (values - weights @ values) ** 2
        low, high = (p, high) if variance < wanted else (low, p)
    return p


def by_odds(distance, batch_size):
    odds = torch.tensor((1 / distance**2 + 0.5) / batch_size, dtype=torch.float64)
    return odds / (1 + odds)


def by_keeping(distance, batch_size):
    square = distance * distance
    keep = square * batch_size / (square * batch_size + 1 + 0.5 * square)
    return 1 - keep


def kept_unscaled(distance, batch_size):
    """Dropout that does not divide what it keeps."""
    return 0.5 - (0.25 - (1 + distance**2 / 2) / batch_size / distance**2) ** 0.5


def by_moments(u, others):
    mean = u / (others + 1)
    return (u - mean) / torch.sqrt((others + u**2) / (others + 1) - mean**2)


def in_closed_form(u, others):
    return u * (others / (others + 1 + u.square())).sqrt()


def by_real_others(u, others):
    """Some others of mean 0 and standard deviation 1, and torch's batch norm."""
    mates = torch.linspace(-1, 1, others, dtype=torch.float64)
    mates = mates / mates.std(correction=0)
    batches = torch.cat([u[:, None], mates.expand(len(u), -1)], dim=1)
    return batch_norm(batches.T, None, None, training=True, eps=1e-30)[0]


def by_numpy(u, others):
    out = []
    for value in u.numpy():
        batch = np.concatenate([[value], np.resize([-1.0, 1.0], others - others % 2), [0.0] * (others % 2)])
        batch[1:] /= batch[1:].std()
        out.append((value - batch.mean()) / batch.std())
    return np.array(out)


def cut(x, size):
    parts = list(torch.arange(len(x)).split(size))
    if len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def by_weighted_losses(model, x, y, size):
    model.zero_grad()
    for part in cut(x, size):
        (cross_entropy(model(x[part]), y[part]) * len(part) / len(x)).backward()
    return [parameter.grad for parameter in model.parameters()]


def by_one_backward(model, x, y, size):
    losses = [cross_entropy(model(x[part]), y[part], reduction="sum") for part in cut(x, size)]
    return torch.autograd.grad(sum(losses) / len(x), list(model.parameters()))


def by_one_loss(model, x, y, size):
    outputs = torch.cat([model(x[part]) for part in cut(x, size)])
    return list(torch.autograd.grad(cross_entropy(outputs, y), list(model.parameters())))


def by_adding_up(model, x, y, size):
    total, count = None, 0
    for part in cut(x, size):
        model.zero_grad()
        cross_entropy(model(x[part]), y[part]).backward()
        found = [parameter.grad * len(part) for parameter in model.parameters()]
        total = found if total is None else [a + b for a, b in zip(total, found, strict=True)]
        count += len(part)
    return [gradient / count for gradient in total]


def accumulating(parts=cut, weight=lambda part, x, count: len(part) / len(x), clear="first", training=True):
    """An accumulation whose pieces can be replaced."""

    def repaired_gradients(model, x, y, size):
        model.train(training)
        cuts = parts(x, size)
        for index, part in enumerate(cuts):
            if clear == "each" or (clear == "first" and index == 0):
                model.zero_grad()
            (weight(part, x, len(cuts)) * cross_entropy(model(x[part]), y[part])).backward()
        return [parameter.grad for parameter in model.parameters()]

    return repaired_gradients


def without_the_rest(x, size):
    return [part for part in torch.arange(len(x)).split(size) if len(part) == size]


def suspect(model, x, y, size):
    parts = list(zip(x.split(size), y.split(size), strict=True))
    for part, labels in parts:
        model.zero_grad()
        (cross_entropy(model(part), labels) / len(parts)).backward()
    return [parameter.grad for parameter in model.parameters()]


def network_of(inputs, classes, norm):
    layers = []
    for fan_in in (inputs, 32):
        layers += [nn.Linear(fan_in, 32), norm(32), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(32, classes)).double()


class Experiment:
    """The experiment in parts that can be replaced."""

    momentum, clear, once, together, on, statistics, by_count, seeds = (
        0.9,
        True,
        False,
        True,
        "test",
        "all",
        False,
        True,
    )

    def __call__(self, data, ghost_batch_size, steps, seed):
        x = data[0]
        size = len(x) // ghost_batch_size if self.by_count else ghost_batch_size
        losses = []
        for ghosts, shuffled in ((len(x), False), (size, False), (size, True)):
            if self.seeds or not losses:
                torch.manual_seed(seed)
            losses.append(self.train(data, ghosts, shuffled, steps, seed))
        return losses

    def make(self, inputs, classes, size):
        return network_of(inputs, classes, partial(companion.GhostBatchNorm, ghost_batch_size=size))

    def outputs(self, network, x, size):
        return network(x)

    def train(self, data, size, shuffled, steps, seed):
        x, y = data[:2]
        network = self.make(x.shape[1], int(y.max()) + 1, size)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=self.momentum)
        draw, order = torch.Generator().manual_seed(seed), torch.arange(len(x))
        for step in range(steps):
            if shuffled and not (self.once and step):
                order = torch.randperm(len(x), generator=draw)
            loss = cross_entropy(self.outputs(network, x[order], size), y[order] if self.together else y)
            if self.clear:
                optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return self.score(network, data, loss)

    @torch.no_grad()
    def score(self, network, data, loss):
        if self.on == "step":
            return loss.item()
        x, y = data[:2] if self.on == "train" else data[2:]
        if self.statistics == "all":
            network = companion.recompute_statistics(network, data[0])
        if self.statistics == "test":
            network = companion.recompute_statistics(network, x).train()
            for layer in network[1], network[4]:
                layer.ghost_batch_size = len(x)
            return cross_entropy(network(x), y).item()
        return cross_entropy(network.eval()(x), y).item()


def piece(**pieces):
    return type("Piece", (Experiment,), pieces)()


class InParts(Experiment):
    """Torch's batch norm, one ghost after the other, and statistics that follow with a momentum of one."""

    def make(self, inputs, classes, size):
        return network_of(inputs, classes, nn.BatchNorm1d)

    def outputs(self, network, x, size):
        return torch.cat([network(part) for part in x.split(size)])

    @torch.no_grad()
    def score(self, network, data, loss):
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm1d):
                layer.momentum = 1.0
        network.train()(data[0])
        return torch.nn.CrossEntropyLoss()(network.eval()(data[2]), data[3]).item()


class ByHand(Experiment):
    """Plain tensors: gradients accumulated ghost by ghost, momentum in lists."""

    def train(self, data, size, shuffled, steps, seed):
        x, y, x_test, y_test = data
        network = network_of(x.shape[1], int(y.max()) + 1, partial(nn.BatchNorm1d, momentum=None))
        draw = torch.Generator().manual_seed(seed)
        velocity = [torch.zeros_like(parameter) for parameter in network.parameters()]
        for _ in range(steps):
            order = torch.randperm(len(x), generator=draw) if shuffled else torch.arange(len(x))
            network.zero_grad()
            for part in order.split(size):
                (cross_entropy(network(x[part]), y[part]) * len(part) / len(x)).backward()
            with torch.no_grad():
                for parameter, v in zip(network.parameters(), velocity, strict=True):
                    v.mul_(0.9).add_(parameter.grad)
                    parameter -= 0.1 * v
        with torch.no_grad():
            for layer in (network[1], network[4]):
                layer.reset_running_stats()
            network(x)
            return -network.eval()(x_test).log_softmax(1)[torch.arange(len(y_test)), y_test].mean()


class Plain(Experiment):
    """Batch norm for the first, and nothing of torch's optimizers' defaults."""

    def make(self, inputs, classes, size):
        norm = partial(companion.GhostBatchNorm, ghost_batch_size=size)
        self.count = getattr(self, "count", -1) + 1
        return network_of(inputs, classes, companion.BatchNorm if self.count % 3 == 0 else norm)


RIGHT = {
    "matched_dropout": [
        lambda distance, batch_size: (2 + distance**2) / (2 + distance**2 + 2 * batch_size * distance**2),
        by_odds,
        by_bisection,
        by_keeping,
    ],
    "in_its_own_batch": [by_moments, in_closed_form, by_real_others, by_numpy],
    "repaired_gradients": [by_weighted_losses, by_one_backward, by_one_loss, by_adding_up],
    "three_losses": [Experiment().__call__, InParts().__call__, ByHand().__call__, Plain().__call__],
}


def odds(noise):
    return lambda distance, batch_size: noise(distance, batch_size) / (distance**2 + noise(distance, batch_size))


# For each task: an answer, and a piece of the sentence that must name its mistake.
WRONG = {
    "matched_dropout": [
        (lambda distance, batch_size: 1 - by_odds(distance, batch_size), "that of being kept"),
        (kept_unscaled, "divided by 1 - p"),
        (lambda distance, batch_size: (1 / distance**2 + 0.5) / batch_size, "not z² p."),
        (odds(lambda z, m: ((1 + z**2 / 2) / m) ** 0.5), "Variances are to be equal"),
        (odds(lambda z, m: 1 / m), "standard deviation scatters as well"),
        (odds(lambda z, m: z**2 / 2 / m), "mean scatters as well"),
        (odds(lambda z, m: (1 + z**2) / m), "halved"),
        (lambda z, m: (1 + z**2 / 2) / (m + 1 + z**2 / 2), "takes away the value itself"),
        (odds(lambda z, m: (1 + z**2 / 2) / (m - 1)), "none to be taken off"),
        (odds(lambda z, m: (1 + z**2 / 2) / m**0.5), "falls as 1/M"),
        (lambda distance, batch_size: "some", "text"),
    ],
    "in_its_own_batch": [
        (lambda u, others: u, "Nothing has changed"),
        (lambda u, others: u * others / (others + 1), "deviation has changed as well"),
        (lambda u, others: by_moments(u, others) * (others + 1) / others, "mean has changed as well"),
        (lambda u, others: u * others / (others + 1) / ((others + u**2) / (others + 1)).sqrt(), "from the new mean"),
        (lambda u, others: by_moments(u, others) * (others / (others + 1)) ** 0.5, "by one less"),
        (lambda u, others: by_moments(u, others - 1), "one more than they are"),
        (lambda u, others: by_moments(u.abs(), others), "lost its sign"),
        (lambda u, others: u.clamp(-(others**0.5), others**0.5), "the bound"),
        (lambda u, others: by_moments(u, others)[:-1], "shape"),
    ],
    "repaired_gradients": [
        (suspect, "raised ValueError"),
        (accumulating(clear="each"), "only the last one is left"),
        (accumulating(clear="each", weight=lambda part, x, count: 1 / count), "clears the gradients, and a smaller"),
        (accumulating(clear="never"), "from before"),
        (accumulating(weight=lambda part, x, count: 1 / count), "counts as much as the others: weigh"),
        (accumulating(weight=lambda part, x, count: 1.0), "sum of the parts' mean losses"),
        (accumulating(weight=lambda part, x, count: len(part)), "sum over all examples"),
        (accumulating(parts=without_the_rest, weight=lambda part, x, count: 1 / count), "left over are missing"),
        (accumulating(parts=lambda x, size: [torch.arange(len(x))]), "cut the batch first"),
        (accumulating(training=False), "evaluation mode"),
    ],
    "three_losses": [
        (lambda *given: Experiment()(*given)[::-1], "The order is"),
        (lambda *given: [Experiment()(*given)[place] for place in (0, 2, 1)], "are exchanged"),
        (piece(on="step"), "of the last step"),
        (piece(on="train"), "on the training data"),
        (piece(statistics="test"), "with each other"),
        (piece(statistics="left"), "that training left"),
        (piece(together=False), "shuffled along"),
        (piece(once=True), "same mates again"),
        (piece(momentum=0.0), "momentum 0.9"),
        (piece(clear=False), "Gradients of earlier steps"),
        (piece(by_count=True), "not the number of ghosts"),
        (piece(seeds=False), "where the last one left"),
        (lambda *given: Experiment()(*given)[2], "several parts"),
    ],
}
