"""The bar passes everything on, shows in a notebook, and leaves nothing in what is stored."""

import nbformat
import pytest
from nbclient import NotebookClient

from companion.show import progress, track


def test_everything_is_passed_on_outside_a_notebook(capsys):
    assert list(track(range(5), total=5)) == list(range(5))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("end", ["pass", "break", "raise KeyError"])
def test_a_notebook_shows_it_and_stores_nothing(end, guard):
    source = f"""
import time
from companion.show import track
print("before")
try:
    for number in track(range(3), total=3, label="seeds"):
        time.sleep(0.3)
        if number == 2:
            {end}
except KeyError:
    pass
print("after")
"""
    shown = []
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    client = NotebookClient(notebook, timeout=guard, kernel_name="python3")
    keep = client.process_message

    def watch(message, cell, index):
        shown.append(message["content"].get("data", {}).get("text/plain", ""))
        return keep(message, cell, index)

    client.process_message = watch
    client.execute()
    assert any("steps  seeds" in text for text in shown)
    outputs = notebook.cells[0].outputs
    assert "".join(output.get("text", "") for output in outputs) == "before\nafter\n"
    assert not any(output.get("data") for output in outputs)


def test_the_bar_fills_up():
    assert progress._blocks(0).count("█") == 0
    assert progress._blocks(0.5).count("█") == progress.WIDTH / 2
    assert progress._blocks(1).count("█") == progress.WIDTH
