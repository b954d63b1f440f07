"""The count of guesses; that it follows the questions is tested with them."""

import pytest

from companion.figures import Guesses

FULL = {"questions": [f"09.{place}" for place in range(1, 13)]}


@pytest.mark.parametrize("questions", [[], "", [""], [1], 3, None])
def test_what_are_no_keys(questions):
    with pytest.raises(ValueError, match="^questions must be keys of questions, but got questions="):
        Guesses(questions)


def test_one_question_may_be_named_alone():
    assert Guesses("09.1").questions == ["09.1"]
