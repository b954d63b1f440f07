"""Interactive figures in a browser: on a page of their own, on the built book's page, and in JupyterLab."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from base64 import b64encode
from contextlib import contextmanager, suppress

import nbformat
import nbformat.sign
import pytest
import torch

from companion.figures import BatchMates

pytestmark = pytest.mark.slow
YOU, YOUR_OUTPUT = "[aria-label^=you]", ".bm-image.fig-you"


def dot(figure, name):
    return figure.get_by_role("slider", name=name, exact=True)


def value(figure, name):
    return float(dot(figure, name).get_attribute("aria-valuenow"))


def told(figure, name):
    """Return a number of the readout."""
    return float(figure.locator(f"[data-name={name}]").inner_text().replace("−", "-"))


def drawn(figure, kind):
    """Return a dot's distance from the left."""
    return float(re.match(r"translate\(([-.\d]+)", figure.locator(kind).get_attribute("transform")).group(1))


def says(figure, text):
    figure.get_by_text(text).first.wait_for()


def torch_says(figure_or_state):
    """Return torch's answer, in float64: outputs, and the layer after one training step."""
    state = figure_or_state.state() if isinstance(figure_or_state, BatchMates) else figure_or_state
    layer = torch.nn.BatchNorm1d(1, eps=state["eps"], momentum=state["momentum"], dtype=torch.float64)
    torch.nn.init.constant_(layer.weight, state["gamma"])
    torch.nn.init.constant_(layer.bias, state["delta"])
    layer.running_mean.fill_(state["running_mean"])
    layer.running_var.fill_(state["running_var"])
    layer.num_batches_tracked.fill_(state["steps"])
    batch = torch.tensor(state["values"], dtype=torch.float64)[:, None]
    with torch.no_grad():
        answers = {"eval": layer.eval()(batch), "train": layer.train()(batch)}  # train last: it moves the statistics
    return answers[state["mode"]].flatten().tolist(), layer


def test_the_drawing_computes_what_torch_computes(show):
    draw = torch.Generator().manual_seed(0)

    def uniform(low, high, size=()):
        return (low + (high - low) * torch.rand(size, generator=draw, dtype=torch.float64)).tolist()

    states = [
        {
            "values": uniform(-5, 5, (count,)),
            "gamma": uniform(-3, 3),
            "delta": uniform(-3, 3),
            "eps": 10 ** uniform(-8, 0),
            "momentum": uniform(0, 1),
            "mode": mode,
            "running_mean": uniform(-2, 2),
            "running_var": uniform(0, 3),
            "steps": count,
        }
        for mode in ("train", "eval")
        for count in (2, 3, 8, 33)
    ]
    states.append(BatchMates(values=[0.1] * 7, gamma=2.0, delta=0.5).state())  # equal values: s is 0
    [figure] = show(BatchMates())
    module = "data:text/javascript;base64," + b64encode(str(BatchMates()._esm).encode()).decode()
    results = figure.page.evaluate(
        """async ([module, states]) => {
            const { normalize } = await import(module);
            return states.map(normalize).map(({ outputs, after }) => ({ outputs, after }));
        }""",
        [module, states],
    )
    for state, result in zip(states, results, strict=True):
        outputs, layer = torch_says(state)
        assert result["outputs"] == pytest.approx(outputs, rel=1e-10, abs=1e-10)
        assert result["after"]["running_mean"] == pytest.approx(layer.running_mean.item(), rel=1e-12, abs=1e-12)
        assert result["after"]["running_var"] == pytest.approx(layer.running_var.item(), rel=1e-12, abs=1e-12)
        assert result["after"]["steps"] == layer.num_batches_tracked.item()


def test_keys_move_a_mate_and_with_it_your_output(show):
    python = BatchMates()
    [figure] = show(python)
    before = torch_says(python)[0][0]
    dot(figure, "mate 6").focus()
    for key in ("PageDown", "PageDown", "ArrowLeft", "Shift+ArrowRight"):
        figure.page.keyboard.press(key)
    python.values = [*python.values[:6], 1.51, *python.values[7:]]
    after = torch_says(python)[0][0]
    assert value(figure, "mate 6") == 1.51
    assert value(figure, "you, your example") == python.values[0]
    assert told(figure, "out") == pytest.approx(after, abs=0.005)
    assert told(figure, "m") == pytest.approx(sum(python.values) / 8, abs=0.005)
    says(figure, f"Your output moved by {after - before:+.2f} because a mate moved by −2.09.")
    figure.locator("[aria-live=polite]").get_by_text("because a mate moved by −2.09").wait_for(state="attached")
    figure.page.keyboard.press("End")
    assert value(figure, "mate 6") == 5
    assert "h 5.00, output" in dot(figure, "mate 6").get_attribute("aria-valuetext")


def test_a_drag_moves_a_mate_and_with_it_your_output(show):
    [figure] = show(BatchMates())
    box = dot(figure, "mate 6").locator("circle").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    your_place = drawn(figure, YOU), drawn(figure, YOUR_OUTPUT)
    mouse = figure.page.mouse
    mouse.move(x, y)
    mouse.down()
    mouse.move(x + 60, y + 40, steps=3)
    mouse.up()
    mouse.move(x + 200, y)
    unit = (figure.locator("svg").bounding_box()["width"] - 52) / 10
    moved = value(figure, "mate 6")
    assert moved == pytest.approx(3.6 + 60 / unit, abs=0.011)
    assert drawn(figure, YOU) == your_place[0]
    outputs, _ = torch_says(BatchMates(values=[2.2, -1.4, 0.1, 0.9, 1.6, 3.0, moved, -0.4]))
    assert drawn(figure, YOUR_OUTPUT) == pytest.approx(26 + (outputs[0] + 5) * unit, abs=0.01)
    assert drawn(figure, YOUR_OUTPUT) < your_place[1] - 3


def test_a_finger_drags_too(show):
    [figure] = show(BatchMates(), has_touch=True, is_mobile=True, viewport={"width": 380, "height": 800})
    box = dot(figure, "mate 1").locator("circle").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    fingers = figure.page.context.new_cdp_session(figure.page)
    fingers.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in (15, 30, 45):
        fingers.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x + step, "y": y}]})
    fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    unit = (figure.locator("svg").bounding_box()["width"] - 52) / 10
    assert value(figure, "mate 1") == pytest.approx(-1.4 + 45 / unit, abs=0.02)


def test_in_eval_your_output_does_not_depend_on_mates(show):
    [figure] = show(BatchMates(running_mean=0.5, running_var=4.0))
    figure.get_by_role("button", name="eval").click()
    says(figure, "No training step yet: the running statistics hold the values that they were given.")
    assert told(figure, "out") == pytest.approx((2.2 - 0.5) / 2, abs=0.005)
    place = drawn(figure, YOUR_OUTPUT)
    dot(figure, "mate 3").focus()
    figure.page.keyboard.press("PageUp")
    says(figure, "A mate moved by +1.00; your output did not.")
    assert drawn(figure, YOUR_OUTPUT) == place
    assert told(figure, "out") == pytest.approx((2.2 - 0.5) / 2, abs=0.005)


def test_equal_values_without_epsilon_have_outputs_too(show):
    [figure] = show(BatchMates(values=[1, 1, 1], delta=0.5, eps=0))
    assert (told(figure, "s"), told(figure, "out")) == (0, 0.5)
    says(figure, "s = 0 and ε = 0: there is nothing to divide by.")


def test_training_steps_move_the_running_statistics_as_torch_does(show):
    python = BatchMates(momentum=0.3)
    [figure] = show(python)
    figure.get_by_role("button", name="eval").click()
    says(figure, "the running statistics still hold their starting values, 0 and 1")
    for _ in range(3):
        figure.get_by_role("button", name="take a training step").click()
        _, layer = torch_says(python)
        python.running_mean, python.running_var = layer.running_mean.item(), layer.running_var.item()
        python.steps += 1
    says(figure, "m and s are the running statistics after 3 training steps.")
    assert told(figure, "mean") == pytest.approx(python.running_mean, abs=0.005)
    assert told(figure, "variance") == pytest.approx(python.running_var, abs=0.005)
    assert told(figure, "m") == told(figure, "mean")
    figure.get_by_role("button", name="reset").click()
    assert (told(figure, "mean"), told(figure, "variance")) == (0, 1)
    assert figure.get_by_role("button", name="train", exact=True).get_attribute("aria-pressed") == "true"


def test_two_figures_on_a_page_do_not_touch_each_other(show):
    first, second = show(BatchMates(), BatchMates())  # equal on purpose
    for figure, name, key in ((first, "scale", "ArrowRight"), (second, "offset", "ArrowLeft")):
        figure.get_by_role("slider", name=name).focus()
        figure.page.keyboard.press(key)
    second.get_by_role("button", name="eval").click()
    dot(second, "mate 2").focus()
    second.page.keyboard.press("PageUp")
    trait = "[data-trait=%s]"
    assert [figure.locator(trait % "gamma").input_value() for figure in (first, second)] == ["1.05", "1"]
    assert [figure.locator(trait % "delta").input_value() for figure in (first, second)] == ["0", "-0.05"]
    assert [value(figure, "mate 2") for figure in (first, second)] == [0.1, 1.1]
    assert told(first, "out") == pytest.approx(torch_says(BatchMates(gamma=1.05))[0][0], abs=0.005)
    assert told(second, "out") == pytest.approx(2.2 - 0.05, abs=0.005)


def test_with_motion_the_drawing_glides_to_the_same_place(show):
    figure, still = show(BatchMates(mode="train"), BatchMates(mode="eval"), reduced_motion="no-preference")
    figure.get_by_role("button", name="eval").click()
    figure.page.wait_for_function(
        "() => { const [a, b] = document.querySelectorAll('.bm-image.fig-you');"
        " return a.getAttribute('transform') === b.getAttribute('transform'); }"
    )
    assert told(figure, "out") == told(still, "out")


def test_the_book_page_moves_offline(root, visit, missing):
    path = root / "_build/html/notebooks/01_batch_norm.html"
    if not path.exists():
        missing("the book is not built: make book")
    figure = visit(path).locator(".companion-figure:has(.batch-mates)").first
    start, place = value(figure, "mate 1"), drawn(figure, ".bm-image.fig-dot >> nth=-1")  # drawn last to first
    dot(figure, "mate 1").focus()
    figure.page.keyboard.press("PageUp")
    assert value(figure, "mate 1") == pytest.approx(start + 1)
    assert drawn(figure, ".bm-image.fig-dot >> nth=-1") > place
    says(figure, "a mate moved by +1.00")


@contextmanager
def jupyterlab(folder, root, until):
    """Serve `folder` by a JupyterLab with settings of its own; stop it at the end, kernels included."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    private = {f"JUPYTER_{kind}_DIR": str(folder / f".{kind.lower()}") for kind in ("CONFIG", "DATA", "RUNTIME")}
    options = {"root_dir": folder, "port": port, "port_retries": 0, "open_browser": False, "allow_root": True}
    config = folder / ".config/labconfig/page_config.json"  # no question about news in a corner
    config.parent.mkdir(parents=True)
    config.write_text('{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}')
    command = [sys.executable, "-m", "jupyterlab", "--IdentityProvider.token=t"]
    log = (folder / ".log").open("w+")
    server = subprocess.Popen(
        [*command, *(f"--ServerApp.{name}={setting}" for name, setting in options.items())],
        env={**os.environ, **private, "JUPYTERLAB_WORKSPACES_DIR": str(folder / ".lab"), "PYTHONPATH": str(root)},
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"

    def answers():
        if server.poll() is not None:
            log.seek(0)
            pytest.fail(f"JupyterLab did not start:\n{log.read()}")
        with suppress(OSError), urllib.request.urlopen(f"{url}/api/status?token=t", timeout=5) as answer:
            return answer.status == 200

    try:
        until(answers, "JupyterLab answers")
        yield url
    finally:
        server.terminate()  # asks the server to stop its kernels first
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        log.close()


def test_jupyterlab_with_and_without_kernel(browser, root, tmp_path, until, guard):
    from playwright.sync_api import TimeoutError

    cells = (
        "from companion.figures import BatchMates\nfigure = BatchMates()\nfigure",
        "print('now', figure.values[1], figure.gamma, figure.mode)",
        "figure.gamma = 2",
    )
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source, id=f"c{i}") for i, source in enumerate(cells)]
    )
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "figure.ipynb")

    # as `make notebooks` stores it, and as someone opens it who trusts it but has not run it
    data = {name: text for name, text in BatchMates()._repr_mimebundle_()[0].items() if name.startswith("text/")}
    notebook.cells[0].outputs = [nbformat.v4.new_output("execute_result", data, execution_count=1)]
    nbformat.write(notebook, tmp_path / "stored.ipynb")
    (tmp_path / ".data").mkdir()
    nbformat.sign.NotebookNotary(data_dir=str(tmp_path / ".data")).sign(notebook)

    context = browser.new_context(viewport={"width": 1200, "height": 1100}, reduced_motion="reduce")
    try:
        with jupyterlab(tmp_path, root, until) as url:
            page = context.new_page()
            page.set_default_timeout(1000 * guard)
            # JupyterLab asks for a kernel when a cell is run too early
            page.add_locator_handler(page.locator(".jp-Dialog"), lambda it: it.locator(".jp-mod-accept").click())
            page.goto(f"{url}/lab/tree/figure.ipynb?token=t")
            page.locator(".jp-Toolbar-kernelName", has_text="Python 3").wait_for()
            idle = page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]')
            idle.wait_for()

            def run(place):
                cell = page.locator(".jp-Notebook .jp-Cell").nth(place)
                for seconds in (2, 4, 8, 16, 32, 64):  # JupyterLab drops what is run while it connects to the kernel
                    cell.locator(".cm-content").click()
                    page.keyboard.press("Control+Enter")
                    with suppress(TimeoutError):
                        cell.get_by_text(re.compile(r"^\[[*\d]+\]:$")).first.wait_for(timeout=1000 * seconds)
                        break
                cell.get_by_text(re.compile(r"^\[\d+\]:$")).first.wait_for()
                idle.wait_for()  # whatever was run twice, too

            run(0)
            figure = page.locator(".jp-OutputArea-output:has(.batch-mates)")
            dot(figure, "mate 1").focus()
            for key in ("ArrowRight", "ArrowUp", "b"):  # JupyterLab would select another cell, and insert one
                page.keyboard.press(key)
            assert value(figure, "mate 1") == -1.2
            assert page.locator(".jp-Notebook .jp-Cell").count() == len(cells)
            assert dot(figure, "mate 1").evaluate("dot => dot === document.activeElement")
            figure.get_by_role("slider", name="scale").focus()
            page.keyboard.press("ArrowUp")
            assert figure.locator("[data-trait=gamma]").input_value() == "1.05"
            figure.get_by_role("button", name="eval").click()
            run(1)
            page.get_by_text("now -1.2 1.05 eval").wait_for()
            run(2)
            page.wait_for_function("document.querySelector('[data-trait=gamma]').value === '2'")
            assert told(figure, "out") == pytest.approx(4.4, abs=0.005)

            page.goto(f"{url}/lab/tree/stored.ipynb?token=t&reset")
            figure = page.locator(".companion-figure:has(.batch-mates)")
            dot(figure, "mate 1").focus()
            page.keyboard.press("ArrowRight")
            assert value(figure, "mate 1") == -1.3
    finally:
        context.close()
