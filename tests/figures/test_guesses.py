"""The count of guesses; that it follows the questions is tested with them."""

import pytest

from companion.figures import Guesses

FULL = {"questions": [f"09.{place}" for place in range(1, 13)]}


@pytest.mark.parametrize("questions", [[], "", [""], [1], 3, None])
def test_what_are_no_keys(questions):
    with pytest.raises(ValueError, match="^questions must be keys of questions, but got questions="):
        Guesses(questions)


@pytest.mark.slow
def test_without_a_storage_nothing_is_counted_and_reset_does_no_harm(show):
    [figure] = show(Guesses(["09.1", "09.2"]))  # `show` fails the test on an error in the console
    figure.page.evaluate("Object.defineProperty(window, 'localStorage', { get() { throw new Error('refused'); } })")
    figure.get_by_role("button", name="reset").click()
    assert "none of this chapter's 2 questions" in figure.inner_text()


def test_one_question_may_be_named_alone():
    assert Guesses("09.1").questions == ["09.1"]
