"""The facts of a chapter are stated once, in its notebook: every other place agrees with it, or reads it."""

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "book" / "tools"), str(ROOT / "book" / "extensions")]

import execute  # noqa: E402
import facts  # noqa: E402

CHAPTERS = facts.read_chapters(ROOT)
PACKAGE = (ROOT / "companion" / "README.md").read_text(encoding="utf-8")

each_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)


@each_chapter
def test_the_facts_of_a_chapter_are_what_its_text_says(chapter):
    text = (ROOT / "notebooks" / f"{chapter.name}.md").read_text(encoding="utf-8")
    assert re.findall(r"^About (\d+) minutes\.$", text, re.M) == [str(chapter.minutes)]
    assert f"\n---\n\n# {chapter.title}\n" in text
    assert len(chapter.promise) > 40 and not chapter.promise.endswith(".")
    assert 0 < chapter.cpu_seconds <= 40


@each_chapter
def test_the_facts_of_a_chapter_are_the_same_in_both_files(chapter):
    head = (ROOT / "notebooks" / f"{chapter.name}.md").read_text(encoding="utf-8").split("\n---\n")[0]
    assert yaml_of(head)["companion"] == {
        "promise": chapter.promise,
        "minutes": chapter.minutes,
        "cpu_seconds": chapter.cpu_seconds,
    }


def yaml_of(head):
    """Return the data at the head of a text."""
    import yaml

    return yaml.safe_load(head.removeprefix("---\n"))


def test_the_tables_are_what_the_facts_say():
    for path, text in facts.tables(ROOT).items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of step: run make notebooks"
        assert all(f"[{chapter.number}. {chapter.title}](" in text for chapter in CHAPTERS)


def test_no_other_place_repeats_the_facts():
    for name in ("index.md", "_toc.yml", "pages/instructors.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert [chapter.title for chapter in CHAPTERS if chapter.title in text or chapter.promise in text] == [], name


def test_the_package_s_guide_names_facts_every_room_and_nothing_that_is_gone():
    import companion

    rooms = PACKAGE.split("## Room by room")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", rooms, re.M) == list(companion.ROOMS)
    for target in re.findall(r"\]\(([^)#]+)", PACKAGE):
        assert (ROOT / "companion" / target).exists(), target


@pytest.mark.parametrize("name", ["README.md", "companion/README.md", "pages/instructors.md", "pages/contributing.md"])
def test_facts_about_files_lead_somewhere(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        assert target.startswith("http") or (ROOT / name).parent.joinpath(target).exists(), target
    named = re.findall(r"`((?:companion|classroom|book|tests|pages|notebooks|benchmarks)/[^`\s]*)`", text)
    for place in (place for place in named if not re.search(r"[<…]|name|quantity", place)):
        assert (ROOT / place).exists(), place
    assert not re.search(r"companion[./]course|_ext\b|_static\b|`tools/", text)


def stated(folder, **told):
    """Write a notebook that tells this of itself."""
    (folder / "notebooks").mkdir(exist_ok=True)
    path = folder / "notebooks" / "99_toy.ipynb"
    cells = [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# Toy\n", "Text"]}]
    kept = {"cells": cells, "metadata": {"companion": told}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(kept))
    return path


def test_the_facts_of_a_notebook_are_read(tmp_path):
    stated(tmp_path, promise="Toys", minutes=5, cpu_seconds=3)
    (chapter,) = facts.read_chapters(tmp_path)
    assert chapter == facts.Chapter("99_toy", "Toy", "Toys", 5, 3) and chapter.number == 99


def test_a_notebook_without_its_facts_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"99_toy.ipynb must .* but lacks cpu_seconds, promise; the head of 99_toy.md"):
        facts.read_chapter(stated(tmp_path, minutes=5))


def test_the_facts_hold_a_notebook_to_its_own_limit(tmp_path):
    assert execute.allowed_seconds(stated(tmp_path, cpu_seconds=7), 30) == 7
    assert execute.allowed_seconds(stated(tmp_path), 30) == 30
