"""The question before a result: nothing of the answer shows before a guess, and the guess is kept in the browser only."""

import math
import re

import pytest

from companion.figures import Guesses, Prediction

ANSWER = "It shrinks, since the mean is taken off first."
FULL = {
    "options": (),
    "right": [40, 60],
    "measured": [48.5, 51.25, 47, 55, 51],
    "scale": [1, 1000],
    "logarithmic": True,
    "quantity": "test error in percent",
    "answer": ANSWER * 3,
    "guess": 20,
    "committed": True,
}
CHOICE = {"options": ["it grows", "it shrinks", "neither"], "right": 1, "answer": ANSWER, "key": "09.1"}
SCALE = {"options": (), "right": [40, 60], "measured": [45, 55], "scale": [0, 100], "answer": ANSWER, "key": "09.2"}

slow = pytest.mark.slow


# Without a browser


@pytest.mark.parametrize(
    ("traits", "message"),
    [
        ({"options": "yes"}, "options must be different texts, none or at least two, but got options='yes'"),
        ({"options": ["yes"]}, "options must be different texts"),
        ({"options": ["yes", "yes"]}, "options must be different texts"),
        ({"options": ["yes", " "]}, "options must be different texts"),
        ({"right": 2}, r"right must be the number of an option, from 0 to 1, but got right=\[2.0\]"),
        ({"right": 0.5}, "right must be the number of an option"),
        ({"right": []}, "right must be a number, or several"),
        ({"answer": 3}, "answer must be a text, but got answer=3"),
        ({**SCALE, "right": 50}, "right must be the two ends of what counts as right"),
        ({**SCALE, "right": [60, 40]}, "right must be the two ends"),
        ({**SCALE, "scale": [100, 0]}, "scale must be two numbers, the smaller first"),
        ({**SCALE, "logarithmic": True}, "scale must be two numbers, the smaller first, above 0 if logarithmic"),
        ({**SCALE, "measured": [45, 155]}, "measured must lie within the scale from 0 to 100"),
        ({**SCALE, "measured": [math.nan]}, "measured must be finite numbers"),
    ],
)
def test_what_cannot_be_asked(traits, message):
    with pytest.raises(ValueError, match=message):
        Prediction(**traits)


def test_without_scripts_the_answer_is_behind_a_fold():
    text = Prediction(**CHOICE)._fallback()
    assert re.sub("<[^>]+>", " ", text.partition("<details>")[0]).split() == ["it", "grows", "it", "shrinks", "neither"]
    assert f"<summary>Answer</summary><p>it shrinks. {ANSWER}</p>" in text
    assert f"<p>your guess: 45 to 55. {ANSWER}</p>" in Prediction(**SCALE)._fallback()
    assert "<b>" not in Prediction(["<b>a", "b"], answer="<b>")._fallback()


# In a browser


def visible(figure):
    return figure.locator(".fig").inner_text()


@slow
@pytest.mark.parametrize(("place", "verdict", "right"), [(0, "No: it shrinks", False), (1, "Yes: it shrinks", True)])
def test_the_answer_opens_once_a_choice_is_committed_and_is_kept(show, place, verdict, right):
    figure, count = show(Prediction(**CHOICE), Guesses(["09.1", "09.2"]))
    assert ANSWER not in figure.inner_text() and "it shrinks" not in figure.locator(".fig-sentence").inner_text()
    assert "none of this chapter's 2 questions" in visible(count)
    figure.get_by_role("button", name=CHOICE["options"][place]).press("Enter")
    assert figure.locator(".fig-sentence").inner_text() == verdict
    assert figure.locator(".fig-remark").inner_text() == ANSWER
    assert f"1 of this chapter's 2 questions, {int(right)} of them right" in visible(count)
    figure.page.reload()
    figure.page.wait_for_function("document.querySelectorAll('.fig[data-drawn]').length === 2")
    assert figure.locator(".fig-sentence").inner_text() == verdict
    figure.get_by_role("button", name="reset").click()
    assert ANSWER not in figure.inner_text()
    assert "none of this chapter's 2 questions" in visible(count)
    assert figure.page.evaluate("localStorage.length") == 0


@slow
def test_a_number_is_committed_by_a_button_and_stands_beside_what_was_measured(show):
    [figure] = show(Prediction(**SCALE))
    assert figure.locator(".prediction-measured").count() == 0
    slider = figure.get_by_role("slider")
    for _ in range(8):
        slider.press("ArrowLeft")
    assert ANSWER not in figure.inner_text() and figure.page.evaluate("localStorage.length") == 0
    figure.get_by_role("button", name="that is my guess").press("Enter")
    assert figure.locator(".fig-sentence").inner_text() == "You said 42; your guess: 45 to 55"
    assert figure.locator(".prediction-measured").count() == 2
    assert figure.page.evaluate("JSON.parse(localStorage['companion-guess 09.2'])") == {"guess": 42, "right": True}


@slow
def test_marks_stand_where_the_values_are_on_a_logarithmic_scale(show):
    [figure] = show(Prediction(**FULL))
    places = figure.locator(".prediction-measured").evaluate_all("all => all.map(one => one.getAttribute('cx'))")
    width = figure.locator("svg").evaluate("one => one.getBoundingClientRect().width") - 24
    for place, value in zip(places, FULL["measured"], strict=True):
        assert float(place) == pytest.approx(12 + width * math.log10(value) / 3, abs=0.01)


@slow
@pytest.mark.parametrize("kept", ["", "{", "null", '{"guess": 7}', '{"guess": "<b>"}'])
def test_what_another_page_has_left_in_the_storage_is_no_guess(show, kept):
    [figure] = show(Prediction(**CHOICE))
    figure.page.evaluate("kept => localStorage.setItem('companion-guess 09.1', kept)", kept)
    figure.page.reload()
    figure.page.wait_for_function("document.querySelectorAll('.fig[data-drawn]').length === 1")
    assert ANSWER not in figure.inner_text()


@slow
def test_without_a_storage_it_works_all_the_same(show):
    [figure] = show(Prediction(**CHOICE))
    figure.page.evaluate("Object.defineProperty(window, 'localStorage', { get() { throw new Error('refused'); } })")
    figure.get_by_role("button", name="it grows").click()
    assert ANSWER in figure.inner_text()
