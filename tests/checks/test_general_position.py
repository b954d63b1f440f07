"""No check takes an answer that keeps, drops or spoils an argument: its cases are in general position.

The wrong answers are made here from the right ones, for every task of every set.
"""

import ast
import importlib.util
import inspect
import re
from copy import deepcopy
from itertools import combinations
from pathlib import Path

import nbformat
import pytest
import torch
from torch import Tensor, nn

torch.set_num_threads(1)

ROOT = Path(__file__).parents[2]
SETS = sorted((ROOT / "notebooks" / "solutions").glob("*/*.ipynb"))
HIDDEN = re.compile(r"### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS", re.S)

# Arguments that are never negative, so that nobody can tell them from their absolute values.
NEVER_NEGATIVE = {
    *("alpha", "c", "clip", "counts", "decay", "distance", "eps", "factor", "learning_rate", "momentum", "rate"),
    *("share", "spread", "times", "var", "variances", "weight_decay", "within"),
}
# Tasks whose answer is a layer, or works on models.
MODELS = ("Repaired", "to_group_norm", "repaired_start", "repaired_shorten", "repaired_passes")
# Answers made here that are right after all, and why.
NOT_WRONG = {
    ("batches_until", "rounded"): "a number of batches is whole",
    ("merge", "counts rounded"): "numbers of examples are whole",
    ("recognize", "rounded"): "numbers of examples and channels are whole",
    ("repaired_start", "parts in reverse order"): "it returns nothing",
    ("repaired_twin", "parts in reverse order"): "it returns nothing",
    ("steps_to_double", "learning_rate and weight_decay exchanged"): "only their product counts",
    ("steps_to_double", "rounded"): "a number of steps is whole",
    ("turns_around_cut", "learning_rate and weight_decay exchanged"): "only their product counts",
}


def answers(path):
    """The module in tests/checks/answers that belongs to a set."""
    file = ROOT / "tests" / "checks" / "answers" / f"{path.stem}.py"
    spec = importlib.util.spec_from_file_location(f"general_answers_{path.stem}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tasks(path):
    """For each task the names of its arguments, and the cell that checks it as a learner sees it."""
    found = {c.metadata.nbgrader.grade_id: c.source for c in nbformat.read(path, 4).cells if "nbgrader" in c.metadata}
    for name, source in found.items():
        if f"{name}-test" in found:
            definition = ast.parse(source).body[0]
            arguments = definition.args.args if isinstance(definition, ast.FunctionDef) else []
            yield name, [argument.arg for argument in arguments], HIDDEN.sub("", found[f"{name}-test"])


class Change:
    """A change of a value that remembers whether there was anything to change."""

    def __init__(self, change):
        self.change, self.did_something, self.saw_fractions = change, False, False

    def __call__(self, value):
        before = as_plain(value)
        self.saw_fractions |= isinstance(value, float) or (isinstance(value, Tensor) and value.is_floating_point())
        after = self.change(value)
        self.did_something |= not same(before, as_plain(after))
        return after


ALWAYS = Change(None)
ALWAYS.did_something = True


def as_plain(value):
    """A copy of a value's tensors, numbers and texts, and of a model's parameters."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, list | tuple):
        return [as_plain(part) for part in value]
    if isinstance(value, nn.Module):
        return [*as_plain(list(value.parameters())), *(each.requires_grad for each in value.parameters())]
    return value


def same(one, other):
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.equal(one.nan_to_num(), other.nan_to_num())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def changed(answer, change):
    """An answer whose result is changed: of a function, of a worker, or of a layer's forward pass."""
    if inspect.isgeneratorfunction(answer):

        def worker(*given):
            return change((yield from answer(*given)))

        return worker

    def function(*given, **more):
        result = answer(*given, **more)
        if result is None:  # it has changed what it was given
            change(given)
        if isinstance(result, nn.Module) and not any(isinstance(each, nn.Module) for each in given):
            forward = result.forward
            result.forward = lambda x: change(forward(x))
            return result
        return change(result)

    return function


def with_argument(answer, place, change):
    """An answer that changes one of its arguments first; of a layer, what it is made from or else its input."""

    def function(*given, **more):
        given = [*given]
        given[place] = change(given[place])
        return answer(*given, **more)

    return function


def with_input(answer, change):
    def make(*given, **more):
        layer = answer(*given, **more)
        forward = layer.forward
        layer.forward = lambda x: forward(change(x))
        return layer

    return make


def each_part(value, change):
    """Apply a change to all tensors and numbers in a value; parameters of a model change in place."""
    if isinstance(value, list | tuple):
        return type(value)(each_part(part, change) for part in value)
    if isinstance(value, nn.Module):
        for parameter in value.parameters():
            each_part(parameter, change)
        return value
    if isinstance(value, nn.Parameter) or (isinstance(value, Tensor) and value.requires_grad and value.is_leaf):
        value.data = change(value.data)
        return value
    return change(value) if isinstance(value, Tensor | float | int) else value


def copied(value):
    if isinstance(value, Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, list | tuple):
        return [copied(part) for part in value]
    return deepcopy(value)


def keeper():
    """A change to what it was first given."""
    first = []

    def keep(value):
        if not first:
            first.append(as_plain(value) if isinstance(value, Tensor) and not value.is_leaf else copied(value))
        return copied(first[0])

    return keep


def negative(value):
    return not value if isinstance(value, bool) else -value


def absolute(value):
    return value if isinstance(value, bool) else abs(value)


def exchange(first, second):
    return lambda value: (
        value.transpose(first, second) if isinstance(value, Tensor) and value.dim() > max(first, second) else value
    )


def rounded(value):
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.round()
    return round(value) if isinstance(value, float) else value


def freeze(answer):
    """An answer after which nobody can train the layer or the models any more."""

    def function(*given, **more):
        result = answer(*given, **more)
        for part in [result, *given, *(given[0] if isinstance(given[0], list) else [])]:
            if isinstance(part, nn.Module):
                part.requires_grad_(False)
        return result

    return function


def once(answer):
    """An answer that works the first time, and gives for ever what it gave then."""
    results = []

    def function(*given, **more):
        if not results:
            results.append(answer(*given, **more))
        return copied(results[0])

    return function


def of_results(name, answer, arguments):
    """Answers whose results are spoiled: for each its name, the answer, and the change."""
    changes = {
        "times -1": lambda value: each_part(value, negative),
        "rounded": lambda value: each_part(value, rounded),
        "parts in reverse order": lambda value: value[::-1] if isinstance(value, list | tuple) else value,
    }
    for axes in combinations(range(4), 2):
        changes[f"axes {axes} exchanged"] = lambda value, axes=axes: each_part(value, exchange(*axes))
    for label, change in changes.items():
        change = Change(change)
        yield label, changed(answer, change), change
    if arguments and not inspect.isgeneratorfunction(answer):
        yield "first value for ever", once(answer), ALWAYS
    else:
        yield "first value for ever", changed(answer, keeper()), ALWAYS
    if name in MODELS:
        yield "parameters frozen", freeze(answer), ALWAYS


def of_arguments(answer, arguments):
    """Answers that spoil an argument, or a layer its input."""
    for place, argument in enumerate(arguments or ["input"]):
        for label, change in (
            ("kept", keeper()),
            ("by its absolute value", lambda value: each_part(value, absolute)),
            ("rounded", lambda value: each_part(value, rounded)),
        ):
            change = Change(change)
            spoiled = with_argument(answer, place, change) if arguments else with_input(answer, change)
            yield f"{argument} {label}", spoiled, change


def accepts(source, name, answer):
    try:
        exec(source, {name: answer})
    except AssertionError:
        return False
    return True


def of_pairs(answer, arguments):
    """Answers that take one argument for another."""
    for first, second in combinations(range(len(arguments)), 2):

        def take(given, first=first, second=second):
            given = [*given]
            if type(given[first]) is type(given[second]):
                given[first], given[second] = given[second], given[first]
            return given

        change = Change(take)
        yield (
            f"{arguments[first]} and {arguments[second]} exchanged",
            lambda *given, change=change: answer(*change(given)),
            change,
        )


def must_change(label):
    """Decide whether no change means that an argument is not in general position."""
    argument, _, change = label.partition(" ")
    return change == "rounded" or (change == "by its absolute value" and argument not in NEVER_NEGATIVE)


def taken(source, name, arguments, answer):
    """What is wrong with the answers, made from a right one, that a check takes."""
    for label, wrong, change in [
        *of_results(name, answer, arguments),
        *of_arguments(answer, arguments),
        *of_pairs(answer, arguments),
    ]:
        if not accepts(source, name, wrong):
            if (name, label) in NOT_WRONG:
                yield f"{label}: it is refused, so it has no place on the list"
        elif (name, label) in NOT_WRONG:
            continue
        elif change.did_something:
            yield label
        elif label.endswith(" kept") or (change.saw_fractions and must_change(label)):
            yield f"{label}: it changes nothing"


@pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)
def test_a_check_takes_no_answer_that_keeps_drops_or_spoils_something(path):
    for name, arguments, source in tasks(path):
        assert not [*taken(source, name, arguments, answers(path).RIGHT[name][1])], name
