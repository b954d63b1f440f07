"""The count at a chapter's end: how many of its questions the reader guessed, and how many of them right."""

from companion.figures.base import Checked, InteractiveFigure, description, require


def _keys(values) -> list[str]:
    values = [values] if isinstance(values, str) else list(values)
    return require(values, lambda keys: keys and all(isinstance(key, str) and key for key in keys))


class Guesses(InteractiveFigure):
    """The reader's guesses in a chapter, counted from what this browser has kept.

    Args:
        questions: Keys of the chapter's :class:`Prediction` figures.

    Raises:
        ValueError: If a value breaks its rule.

    Example:
        >>> Guesses(["09.1", "09.2"])
        Guesses(questions=['09.1', '09.2'])
    """

    alt = description("How many of the chapter's questions you guessed right; kept in this browser only.")
    questions = Checked(["01.1"], _keys, "keys of questions", 'write ["09.1", "09.2"]')

    def __init__(self, questions=("01.1",), **traits) -> None:
        super().__init__(questions=questions, **traits)
