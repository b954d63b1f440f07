"""Interactive figures, without a browser: what their output holds, and what they refuse."""

import re
import subprocess
import sys
from html import escape as html_text
from pathlib import Path

from companion.figures import BatchMates, base
from companion.figures.base import InteractiveFigure
from companion.show import SCHEMES

PAGE = "text/html"
WIDGET = "application/vnd.jupyter.widget-view+json"


def page(figure):
    return figure._repr_mimebundle_()[0][PAGE]


def ids(html):
    return re.findall(r'<div id="([^"]+)"', html)


def test_two_fresh_kernels_show_the_same():
    code = f"""
import json
from companion.figures import BatchMates
shown = BatchMates(gamma=2)
bundles = [figure._repr_mimebundle_() for figure in (BatchMates(), shown, shown, BatchMates())]
for data, _ in bundles:
    assert data.pop({WIDGET!r})  # names the live model at random; executed notebooks do not keep it
print(json.dumps(bundles))
"""
    first, second = (subprocess.check_output([sys.executable, "-c", code], text=True) for _ in range(2))
    assert first == second
    assert len(set(ids(first.replace("\\", "")))) == 4


def test_text_has_no_address():
    assert BatchMates()._repr_mimebundle_()[0]["text/plain"] == repr(BatchMates()) == "BatchMates()"
    assert repr(BatchMates(values=[1, 2], mode="eval")) == "BatchMates(mode='eval', values=[1.0, 2.0])"
    assert repr(BatchMates(values=range(10))) == "BatchMates(values=<10>)"  # a long list by its shape


def test_ids_differ_between_figures_and_between_displays():
    figure = BatchMates(gamma=1.25)
    shown = [page(figure), page(figure), page(BatchMates(gamma=1.25)), page(BatchMates(gamma=1.5))]
    found = [one for html in shown for one in ids(html)]
    assert len(found) == len(set(found)) == 4
    for html, one in zip(shown, found, strict=True):
        assert f"'[id=\"{one}\"]'" in html


def test_page_needs_nothing_from_elsewhere():
    figure = BatchMates()
    html = page(figure)
    for text in (html, str(figure._esm), str(figure._css)):
        assert set(re.findall(r"https?:[^\s\"'`)]+", text)) <= {"http://www.w3.org/2000/svg"}
        assert not re.search(r"require\(|requirejs|<link|<script[^>]+src=|@import|url\(", text)
    assert not re.search(r"^\s*import\s", str(figure._esm), re.MULTILINE)
    assert f"<p>{html_text(figure.alt)}</p><p>It moves on the book's site" in html  # where no script runs
    assert 'role="group" aria-label="Interactive figure:' in html


def test_page_holds_the_state_at_the_time_of_display():
    figure = BatchMates()
    figure.delta = 0.625
    assert '"delta": 0.625' in page(figure)


def test_text_cannot_end_the_script():
    class Quoted(InteractiveFigure):
        _esm = "export default { render() {} }"

    html = page(Quoted(alt='</script><b title="x">'))
    assert html.count("</script>") == 1
    assert "<b" not in html


def test_a_subclass_needs_only_a_drawing():
    class Minimal(InteractiveFigure):
        _esm = "export default { render({ el }) { el.textContent = 'seen'; } }"

    assert repr(Minimal()) == "Minimal()"
    assert len(ids(page(Minimal()))) == 1


def test_schemes_have_the_colours_of_the_still_figures():
    light = Path(base.__file__).with_name("kit").joinpath("kit.css").read_text(encoding="utf-8").split("}")[0]
    colors = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", light))
    assert {name: colors[name] for name in SCHEMES} == {name: scheme.color.lower() for name, scheme in SCHEMES.items()}
