"""The question before a result: the reader commits a guess, and only then the answer opens beside it."""

import html
import math

from companion.figures.base import Checked, InteractiveFigure, description, flag, require, words


def _texts(values) -> list[str]:
    """Return some different texts as a list."""
    values = list(require(values, lambda values: not isinstance(values, str)))
    require(values, lambda values: len(set(values)) == len(values) != 1)
    return [require(text, lambda text: isinstance(text, str) and text.strip()) for text in values]


def _numbers(values) -> list[float]:
    """Return one number, or several, as a list of finite numbers."""
    values = [float(value) for value in (values if hasattr(values, "__len__") else [values])]
    return require(values, lambda values: values and all(map(math.isfinite, values)))


class Prediction(InteractiveFigure):
    """A question whose answer opens once the reader has committed a guess, by a choice or on a scale.

    The guess is kept in the browser's storage only, under ``key``; :class:`Guesses` counts them at a chapter's end.
    Where no script runs, the answer is behind a fold.

    Args:
        options: The texts to choose from; none for a guess on a scale.
        right: Number of the right option, counted from 0, or of each; on a scale, the two ends of what counts as right.
        answer: What opens then: one to four sentences.
        measured: On a scale, the measured values, one for each seed.
        scale: On a scale, its two ends.
        logarithmic: Whether equal steps of the scale are equal factors.
        quantity: What is guessed on a scale, with its unit.
        key: The chapter and a number, such as ``"09.1"``; an empty one keeps nothing.
        guess: What the reader said: the number of an option, or a number on the scale.
        committed: Whether the answer is open.

    Raises:
        ValueError: If a value breaks its rule.

    Source:
        Kim, Reinecke and Hullman (2017): who predicts first remembers better what the data show.

    Example:
        >>> Prediction(["it grows", "it shrinks"], right=1, answer="It shrinks, in every seed.")
        Prediction()
        >>> Prediction(["it grows", "it shrinks"], right=2)
        Traceback (most recent call last):
        ...
        ValueError: right must be the number of an option, from 0 to 1, but got right=[2.0]; count options from 0
    """

    alt = description("A question: commit a guess, and the answer opens.")
    options = Checked(["yes", "no"], _texts, "different texts, none or at least two", 'write ["yes", "no"]')
    right = Checked([0.0], _numbers, "a number, or several", "count options from 0")
    answer = words("")
    measured = Checked([0.0], _numbers, "finite numbers", "give one for each seed")
    scale = Checked([0.0, 1.0], _numbers, "two finite numbers", "write [0, 100]")
    logarithmic = flag(False, "write logarithmic=True")
    quantity = words("your guess")
    key = words("")
    guess = Checked([], lambda value: value if value == [] else _numbers(value), "a number", "leave it to the reader")
    committed = flag(False, "leave it to the reader")

    def __init__(self, options=("yes", "no"), right=0, **traits) -> None:
        super().__init__(options=options, right=right, **traits)
        if self.options:
            self._check_options()
        else:
            self._check_scale()

    def _check_options(self) -> None:
        last = len(self.options) - 1
        if not all(index in range(last + 1) for index in self.right):
            raise ValueError(
                f"right must be the number of an option, from 0 to {last}, but got right={self.right}; "
                "count options from 0"
            )

    def _check_scale(self) -> None:
        low, high = self.scale if len(self.scale) == 2 else (1, 0)
        if not low < high or (self.logarithmic and low <= 0):
            raise ValueError(
                f"scale must be two numbers, the smaller first, above 0 if logarithmic, but got {self.scale}; "
                "write [0, 100]"
            )
        if len(self.right) != 2 or not low <= self.right[0] <= self.right[1] <= high:
            raise ValueError(
                f"right must be the two ends of what counts as right, within the scale, but got right={self.right}; "
                "write [40, 60]"
            )
        if not low <= min(self.measured) <= max(self.measured) <= high:
            raise ValueError(
                f"measured must lie within the scale from {low:g} to {high:g}, but got {self.measured}; widen the scale"
            )

    def __repr__(self) -> str:
        return f"Prediction(key={self.key!r})" if self.key else "Prediction()"  # not the answer

    def _fallback(self) -> str:
        """Return the question's options, and the answer behind a fold."""
        items = "".join(f"<li>{html.escape(text)}</li>" for text in self.options)
        right = "; ".join(self.options[int(index)] for index in self.right) if self.options else self._found()
        answer = html.escape(f"{right}. {self.answer}")
        return f"<ul>{items}</ul><details><summary>Answer</summary><p>{answer}</p></details>"

    def _found(self) -> str:
        low, high = min(self.measured), max(self.measured)
        return f"{self.quantity}: {low:.3g}" + (f" to {high:.3g}" if high > low else "")
