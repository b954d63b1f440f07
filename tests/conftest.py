"""Common needs of several test modules."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import matplotlib
import pytest

matplotlib.use("Agg")  # tests have no screen; not by MPLBACKEND, which the kernels that tests start would inherit

ROOT = Path(__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
INSIDE = ("file:", "data:", "blob:", "about:")  # what a page may ask for when it is read offline
# Tests wait for events. What has stood still for so many seconds is given up, however busy the machine may be.
GUARD = 900
# The same for a step on a page, which takes well under a second; many tests wait there if a figure does not draw.
GUARD_OF_PAGES = 90


@pytest.fixture(scope="session")
def root():
    """Return the project's root folder."""
    return ROOT


@pytest.fixture(scope="session")
def missing():
    """Return a function to call where a tool is missing: it skips on a reader's machine, and fails in CI."""
    return pytest.fail if os.environ.get("COMPANION_CI") else pytest.skip


@pytest.fixture(scope="session")
def guard():
    """Return the seconds after which a test gives up what stands still: never a measure of how long something takes."""
    return GUARD


@pytest.fixture(scope="session")
def until():
    """Return a function that waits for another to return something true, and returns that."""

    def until(happened, what):
        end = time.monotonic() + GUARD
        while not (found := happened()):
            assert time.monotonic() < end, f"{what}: not within {GUARD} seconds"
            time.sleep(0.02)
        return found

    return until


@pytest.fixture(scope="session")
def soon():
    """Return a check of seconds taken by a limit, which a busy machine stretches to three starts of Python with torch."""

    def soon(taken, limit):
        if taken > limit:
            began = time.monotonic()
            subprocess.run([sys.executable, "-c", "import torch"], check=True)
            start = time.monotonic() - began
            assert taken < 3 * start, f"took {taken:.1f} seconds, where a start takes {start:.1f}; the limit is {limit}"

    return soon


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """Return a copy of the files that git tracks or would track: what a fresh clone would hold."""
    copy = tmp_path_factory.mktemp("checkout")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        source = ROOT / name
        if source.is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes(source.read_bytes())
    return copy


@pytest.fixture(scope="module")
def browser(missing):
    """Yield a Chromium without a screen."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed: pip install playwright")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        missing(f"no browser found, looked for {', '.join(BROWSERS)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """Yield a function that opens a file offline; fail at the end on a console error or a request to outside."""
    contexts, complaints = [], []

    def visit(path, **options):
        context = browser.new_context(**{"offline": True, "reduced_motion": "reduce", **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(1000 * GUARD_OF_PAGES)
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: request.url.startswith(INSIDE) or complaints.append(request.url))
        page.goto(path.as_uri())
        return page

    yield visit
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def show(visit, tmp_path):
    """Return a function that opens a page of nothing but figures, and waits for them to be drawn."""

    def show(*figures, style="", **options):
        parts = [figure._repr_mimebundle_()[0]["text/html"] for figure in figures]
        path = tmp_path / "figures.html"
        path.write_text(
            f"<!doctype html><html lang=en><meta charset=utf-8><style>{style}</style>{''.join(parts)}", encoding="utf-8"
        )
        page = visit(path, **options)
        page.wait_for_function(f"document.querySelectorAll('.fig[data-drawn]').length === {len(figures)}")
        return [page.locator(".companion-figure").nth(place) for place in range(len(figures))]

    return show
