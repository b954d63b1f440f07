"""The built site is whole, needs nothing from elsewhere, and shows every claim; ``make book`` comes first."""

import json
import re
import sys
import unicodedata
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build" / "html"
MIME = "application/vnd.udl-companion.claim+json"
sys.path.insert(0, str(ROOT / "book/extensions"))

import ledger  # noqa: E402
import solutions  # noqa: E402

SETS = sorted(path.stem for path in (ROOT / "notebooks" / "solutions").glob("*/[0-9]*.ipynb"))
HIDDEN = re.compile(r"### BEGIN HIDDEN TESTS\n((?:.*\n)*?)### END HIDDEN TESTS")


@pytest.fixture(scope="module")
def pages(missing):
    """Return the site's pages, parsed, by path."""
    if not (SITE / "index.html").exists():
        missing("there is no built site: run make book")
    return {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in SITE.rglob("*.html")}


@pytest.fixture(scope="module")
def book(pages):
    """Return the pages that _toc.yml names."""
    return {SITE / f"{name}.html": pages.get(SITE / f"{name}.html") for name in contents()}


def contents():
    """Return names of the pages in _toc.yml."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    return [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]


def is_outside(address):
    """Return whether an address leads to another host."""
    return urlsplit(address).scheme in ("http", "https") or address.startswith("//")


def test_every_page_of_the_contents_is_built(book):
    assert [path for path, page in book.items() if page is None or page.h1 is None] == []


def test_every_chapter_is_in_the_contents():
    chapters = {f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("[0-9]*.ipynb")}
    assert chapters <= set(contents())


def test_every_exercise_set_is_in_the_contents():
    assert sorted(Path(name).name for name in contents() if name.startswith(solutions.PAGES)) == SETS


def test_no_page_asks_for_anything_from_elsewhere(pages):
    for path, page in pages.items():
        asked = [tag["src"] for tag in page.find_all(src=True)]
        asked += [tag["href"] for tag in page.find_all("link", href=True, rel=lambda kind: kind != "canonical")]
        assert [address for address in asked if is_outside(address)] == [], path
        for script in page.find_all("script", src=False):
            # import … from "https:…", import("https:…") and Thebe's address, which its script loads
            assert not re.search(r"""(from|import\(?)\s*["']https?:|unpkg|jsdelivr|cdnjs""", script.text), path


def test_no_style_sheet_asks_for_anything_from_elsewhere(pages):
    styles = {path: path.read_text(encoding="utf-8") for path in SITE.rglob("*.css")}
    styles |= {path: "".join(style.text for style in page.find_all("style")) for path, page in pages.items()}
    for path, style in styles.items():
        assert not re.search(r"""(@import\s*|url\(\s*)["']?(https?:)?//""", style), path


def test_math_is_typeset_by_a_script_of_the_site(book):
    for path, page in book.items():
        if page.select(".math"):
            scripts = [tag["src"] for tag in page.find_all("script", src=True) if "mathjax" in tag["src"].lower()]
            assert scripts, path
            assert all((path.parent / urlsplit(script).path).is_file() for script in scripts), path


def test_no_source_is_published(pages):
    # sources of exercise sets hold hidden tests
    assert not (SITE / "_sources").exists()
    assert [path for path in SITE.rglob("*") if path.suffix in (".ipynb", ".md", ".py")] == []
    marked = [path for path, page in pages.items() if re.search(r"(BEGIN|END) (HIDDEN|SOLUTION|MARK)", page.text)]
    assert marked == [SITE / "pages" / "instructors.html"]  # which shows how to write them


def source_text(name):
    """Return the text twin of an exercise set's source."""
    return (ROOT / "notebooks" / "solutions" / name / f"{name}.md").read_text(encoding="utf-8")


def test_no_hidden_test_is_published(pages):
    texts = [file.read_text(encoding="utf-8") for file in SITE.rglob("*") if file.suffix in (".html", ".js", ".json")]
    texts += [page.get_text() for page in pages.values()]  # highlighted code is cut into pieces in the file itself
    for name in SETS:
        source = source_text(name)
        hidden = [line for part in HIDDEN.findall(source) for line in part.splitlines() if len(line) > 8]
        secret = [line.strip() for line in hidden if line not in HIDDEN.sub("", source)]
        assert secret, name
        assert [line for line in secret for text in texts if line in text] == []


@pytest.mark.parametrize("name", SETS)
def test_a_worked_solution_is_folded_under_each_task(name, book):
    page = book[SITE / f"{solutions.PAGES}{name}.html"]
    stubs = [cell for cell in page.select("div.cell_input") if "NotImplementedError" in cell.text]
    code = re.findall(r"### BEGIN SOLUTION\n((?:.*\n)*?) *### END SOLUTION", source_text(name))
    assert len(stubs) >= len({cell["grade_id"] for *_, cell in solutions.source(ROOT, name) if cell.get("grade")}) - 1
    folds = [fold for fold in page.find_all("details") if fold.summary.text == "Worked solution"]
    assert not any(fold.has_attr("open") for fold in page.find_all("details"))
    shown = "\n".join(fold.get_text() for fold in folds)
    for solution in code:  # and nowhere else on the page
        assert solution in shown
        assert page.get_text().count(solution) == shown.count(solution)
    places = [page.get_text().index(fold.pre.text) for fold in folds]
    assert places == sorted(places) and len(folds) == len(stubs)
    written = [task for kind, _, task in solutions.source(ROOT, name) if kind == "markdown" and task.get("solution")]
    assert len([fold for fold in page.find_all("details") if fold.summary.text == "A good answer"]) == len(written)
    assert page.get_text().count("YOUR ANSWER HERE") == len(written)


@pytest.mark.parametrize("name", SETS)
def test_a_chapter_and_its_exercises_lead_to_each_other(name, book):
    chapter, exercises = (book[SITE / f"{folder}{name}.html"] for folder in ("notebooks/", solutions.PAGES))
    assert chapter.select_one(f'article a[href="exercises/{name}.html"]')
    assert exercises.select_one(f'article a[href="../{name}.html"]')


@pytest.mark.slow
@pytest.mark.parametrize("name", [*(f"{solutions.PAGES}{name}" for name in SETS), "pages/instructors"])
def test_on_a_telephone_nothing_sticks_out_and_solutions_unfold(name, book, visit):
    page = visit(SITE / f"{name}.html", viewport={"width": 400, "height": 800})
    page.wait_for_function("window.MathJax?.startup?.promise?.then(() => true) ?? true")
    for fold in page.locator("article details").all():
        fold.locator("summary").click()
        assert fold.locator("> :not(summary)").first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def exercise_set(folder, name, student, **cells):
    """Write the source of a set with these solution cells, and the text of a student version with other ones."""
    path = folder / "notebooks" / "solutions" / name
    path.mkdir(parents=True)
    for file, names in [(path / f"{name}.ipynb", cells), (folder / "student.ipynb", student)]:
        written = [
            {
                "id": key,
                "cell_type": "code",
                "metadata": {"nbgrader": {"grade_id": key, "solution": key in cells}},
                "source": cells.get(key, ""),
            }
            for key in names
        ]
        file.write_text(json.dumps({"cells": written}))
    return (folder / "student.ipynb").read_text()


def test_what_is_for_graders_is_not_folded_in(tmp_path):
    source = (
        "def f():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION\n"
        "### BEGIN HIDDEN TESTS\nassert f() == 1\n### END HIDDEN TESTS\n"
        "=== BEGIN MARK SCHEME ===\nhalf a point for trying\n=== END MARK SCHEME ==="
    )
    text = exercise_set(tmp_path, "01_set", ["f", "f-test"], f=source)
    first, introduction, test, folded = json.loads(solutions.with_solutions(tmp_path, "01_set", text))["cells"]
    assert (first["id"], test["id"]) == ("f", "f-test") and "workbook/exercises/01_set.ipynb" in introduction["source"]
    assert folded["source"] == (
        "<details><summary>Worked solution</summary>\n\n```python\ndef f():\n    return 1\n```\n\n</details>"
    )


def test_given_code_shows_what_it_prints(book):
    printed = 0
    for name in SETS:
        shown = "".join(cell.get_text() for cell in book[SITE / f"{solutions.PAGES}{name}.html"].select(".cell_output"))
        for cell in solutions.cells_of(ROOT, name):
            for output in cell.get("outputs", []):
                if output["output_type"] == "stream" and "nbgrader" not in cell["metadata"]:
                    assert "".join(output["text"]) in shown
                    printed += 1
    assert printed > 0


def test_a_stale_student_version_stops_the_build(tmp_path):
    text = exercise_set(tmp_path, "01_set", ["f", "g"], f="### BEGIN SOLUTION\n### END SOLUTION")
    with pytest.raises(ValueError, match="01_set: no cell of the student version is called f-test"):
        solutions.with_solutions(tmp_path, "01_set", text)


def test_the_table_of_sets_adds_up(book):
    page = book[SITE / "pages" / "instructors.html"]
    rows = {row.a["href"]: [cell.text for cell in row.find_all("td")] for row in page.select("table tr") if row.a}
    for name in SETS:
        _, tasks, checked, person, minutes = rows[f"../{solutions.PAGES}{name}.html"]
        points = re.findall(r"^\*(\d) points?([.,])", source_text(name), re.M)
        assert int(tasks) == len(points)
        assert int(checked) == sum(int(number) for number, sign in points if sign == ".")
        assert int(person) == sum(int(number) for number, sign in points if sign == ",")
        assert 20 <= int(minutes) <= 60


def test_links_inside_the_site_lead_somewhere(pages):
    for path, page in pages.items():
        for link in page.find_all("a", href=True):
            address = urlsplit(link["href"])
            if address.scheme or link["href"].startswith("//"):
                continue
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            assert target.is_file(), f"{path.name}: {link['href']}"
            if address.fragment and target in pages:
                found = pages[target].find(attrs={"id": unquote(address.fragment)})
                assert found is not None or address.fragment == "top", f"{path.name}: {link['href']}"


def test_every_picture_has_a_description(book):
    for path, page in book.items():
        for picture in page.select("article img"):
            assert len(picture.get("alt", "")) > 20, f"{path.name}: {picture.get('src')}"
            assert "_images" not in picture["alt"], f"{path.name}: the file's name is no description"


def words(tag):
    """Return a tag's text with single spaces and the quotation marks that one types."""
    return " ".join(tag.get_text(" ").split()).translate(str.maketrans("‘’“”", "''\"\""))


def test_what_we_verified_lists_every_claim_that_a_chapter_stores(book):
    page = book[SITE / "pages" / "verified.html"]
    cells = [words(cell) for cell in page.select("table.ledger td")]
    stored = [
        output["data"][MIME]
        for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        for output in cell.get("outputs", [])
        if MIME in output.get("data", {})
    ]
    assert stored
    for claim in stored:
        assert words(page.find("td", id=f"claim-{claim['id']}")).startswith(f"{claim['id']} {claim['statement']}")
        for part in claim["evidence"]:
            assert f"{part['quantity']}: {part['summary']}" in cells


def letters(text):
    """Return letters and digits of a text, in lower case and without accents."""
    return re.sub(r"[^a-z0-9]", "", unicodedata.normalize("NFKD", text).lower())


def test_every_source_of_a_claim_is_cited(book):
    page, references = (book[SITE / "pages" / f"{name}.html"] for name in ("verified", "references"))
    for claim in ledger.collect(ROOT / "notebooks"):
        cell = page.find("td", id=f"claim-{claim['id']}")
        addresses = [urlsplit(link["href"]) for link in cell.find_all("a")]
        assert any(address.path.endswith(f"{Path(claim['chapter']).stem}.html") for address in addresses)
        cited = [
            letters(references.find(id=address.fragment).text) for address in addresses if "references" in address.path
        ]
        for key in claim["source"]:  # first author and year
            name, year = re.match(r"([a-z]+)(\d{4})", key).groups()
            assert any(name in entry and year in entry for entry in cited), key


def test_a_claim_and_its_row_link_to_each_other(book):
    page = book[SITE / "pages" / "verified.html"]
    for claim in ledger.collect(ROOT / "notebooks"):
        name, key = Path(claim["chapter"]).stem, f"claim-{claim['id']}"
        there = book[SITE / "notebooks" / f"{name}.html"].find("div", id=key)
        assert there.find("a", href=f"../pages/verified.html#{key}")
        assert page.find("td", id=key).find("a", href=f"../notebooks/{name}.html#{key}")


def test_what_we_verified_puts_what_fails_first_and_can_be_downloaded(book):
    data = json.loads((SITE / "pages" / "verified.json").read_text(encoding="utf-8"))
    page = book[SITE / "pages" / "verified.html"]
    assert [cell["id"] for cell in page.select("table.ledger td[id]")] == [f"claim-{row['id']}" for row in data]
    assert page.find("a", href="verified.json")
    parts = [row["part"] for row in data]
    assert parts == sorted(parts, key=["failed", "changed", "rest"].index)
    for row in data:
        assert (row["part"] == "failed") == ("does not hold here" in (row["verdict"], row["on_page"]))


def test_the_papers_own_numbers_stand_at_claims_that_exist():
    published = json.loads((ROOT / "pages" / "published.json").read_text(encoding="utf-8"))
    assert published.keys() <= {claim["id"] for claim in ledger.collect(ROOT / "notebooks")}


def chapter(folder, name, *ids):
    """Write a notebook that stores claims."""
    outputs = [{"data": {MIME: {"id": key}}} for key in ids]
    cells = [{"source": "# Title\n"}, {"source": "", "outputs": outputs}]
    (folder / name).write_text(json.dumps({"cells": cells}))


def test_claims_are_sorted_and_know_their_chapter(tmp_path):
    chapter(tmp_path, "02_b.ipynb", "02a")
    chapter(tmp_path, "01_a.ipynb", "01b", "01a")
    found = [(claim["id"], claim["chapter"], claim["title"]) for claim in ledger.collect(tmp_path)]
    assert found == [("01a", "01_a.ipynb", "Title"), ("01b", "01_a.ipynb", "Title"), ("02a", "02_b.ipynb", "Title")]


def test_a_claim_stored_twice_stops_the_build(tmp_path):
    chapter(tmp_path, "01_a.ipynb", "01a")
    chapter(tmp_path, "02_b.ipynb", "01a")
    with pytest.raises(ValueError, match="claim 01a is stored twice, the second time in 02_b.ipynb"):
        ledger.collect(tmp_path)
