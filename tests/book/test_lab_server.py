"""``make lab`` serves a learner's workbook: every cell of the first chapter runs there, and exercises are checked."""

import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.request
import uuid
from contextlib import suppress
from pathlib import Path

import pytest
import websocket

ROOT = Path(__file__).parents[2]
WORKBOOK = "_build/workbook"  # not the one that whoever runs the tests may be working in
FIRST = f"{WORKBOOK}/01_batch_norm.ipynb"
EXERCISES = f"{WORKBOOK}/exercises/01_batch_norm.ipynb"
TOKEN = uuid.uuid4().hex


class Server:
    """A running JupyterLab: its log, and requests to it with the token."""

    def __init__(self, port, log, guard):
        self.address, self.log, self.guard = f"127.0.0.1:{port}", log, guard

    def ask(self, path, method="GET", body=None):
        """Return the server's answer as text, and the address that it came from after redirects."""
        request = urllib.request.Request(
            f"http://{self.address}{path}",
            data=json.dumps(body).encode() if body else None,
            headers={"Authorization": f"token {TOKEN}"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=self.guard) as answer:
            return answer.read().decode(), answer.geturl()

    def api(self, path, method="GET", body=None):
        """Return the server's answer as data."""
        text, _ = self.ask(f"/api/{path}", method, body)
        return json.loads(text) if text else None


def free_port():
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory, until, guard):
    """Start JupyterLab as ``make lab`` does, without a browser; at the end it and its kernels are gone."""
    shutil.rmtree(ROOT / WORKBOOK, ignore_errors=True)
    port, log = free_port(), tmp_path_factory.mktemp("lab") / "log"
    options = f"--no-browser --port={port} --ServerApp.port_retries=0 --IdentityProvider.token={TOKEN}"
    environment = {**os.environ, "MAKEFLAGS": "", "JUPYTER_RUNTIME_DIR": str(log.parent)}
    with log.open("w") as sink:
        lab = subprocess.Popen(
            ["make", "lab", f"WORKBOOK={WORKBOOK}", f"LAB_ARGS={options}"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    server = Server(port, log, guard)
    try:
        until(lambda: answers(server, lab), "make lab answers")
        yield server
        for kernel in server.api("kernels"):
            server.api(f"kernels/{kernel['id']}", "DELETE")
    finally:
        stop(lab)


def answers(server, lab):
    """Return whether the server answers yet."""
    assert lab.poll() is None, f"make lab ended:\n{server.log.read_text()}"
    with suppress(OSError):
        return server.api("status")


def stop(lab):
    """End make, the server and whatever they started; kindly first."""
    for sign, seconds in [(signal.SIGTERM, 30), (signal.SIGKILL, None)]:
        with suppress(ProcessLookupError):
            os.killpg(lab.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            lab.wait(seconds)
            return


@pytest.mark.slow
def test_lab_opens_on_the_first_chapter(server):
    page, address = server.ask("/")
    assert address.endswith(f"/lab/tree/{FIRST}")
    settings = json.loads(page.split('id="jupyter-config-data" type="application/json">')[1].split("</script>")[0])
    assert settings["treePath"] == FIRST
    assert settings["news"]["disabled"]


@pytest.mark.slow
@pytest.mark.parametrize("path", [FIRST, EXERCISES])
def test_server_reads_the_notebook_that_was_laid_out(path, server):
    # jupytext stands between the server and the file here: it must take these for notebooks without a text
    model = server.api(f"contents/{path}")
    assert [cell["id"] for cell in model["content"]["cells"]] == [cell["id"] for cell in stored(path)]


def stored(path):
    """Return the cells of the notebook in the repository that was laid out at ``path``."""
    source = ROOT / "notebooks" / Path(path).relative_to(WORKBOOK)
    return json.loads(source.read_text(encoding="utf-8"))["cells"]


@pytest.fixture
def kernel(server, guard):
    """Yield a function that opens a notebook as JupyterLab does, and returns another that runs a cell in its kernel."""
    connections = []

    def kernel(path):
        wanted = {"path": path, "name": Path(path).name, "type": "notebook", "kernel": {"name": "python3"}}
        session = server.api("sessions", "POST", wanted)
        channels = f"ws://{server.address}/api/kernels/{session['kernel']['id']}/channels?token={TOKEN}"
        connections.append(websocket.create_connection(channels, timeout=guard))
        return lambda code: run(connections[-1], code)

    yield kernel
    for connection in connections:
        connection.close()


@pytest.mark.slow
def test_every_cell_runs_top_to_bottom(kernel):
    execute = kernel(FIRST)
    for index, cell in enumerate(stored(FIRST)):
        if cell["cell_type"] == "code":
            reply = execute("".join(cell["source"]))
            assert reply["status"] == "ok", f"cell {index}: {reply.get('ename')}: {reply.get('evalue')}"


@pytest.mark.slow
def test_an_answer_is_checked_at_once(kernel):
    execute = kernel(EXERCISES)
    code = [cell for cell in stored(EXERCISES) if cell["cell_type"] == "code"]
    setup, _, check = ("".join(cell["source"]) for cell in code[:3])
    assert execute(setup)["status"] == "ok"
    for answer, said in {
        "raise NotImplementedError()": ("NotImplementedError", ""),
        "return (x - x.mean(0)) / x.std(0, correction=0)": (
            "AssertionError",
            "eps is missing: add it to the variance.",
        ),
        "return (x - x.mean(0)) / (x.var(0, correction=0) + eps).sqrt()": ("ok", ""),
    }.items():
        assert execute(f"def standardize_batch(x, eps=1e-5):\n    {answer}")["status"] == "ok"
        reply = execute(check)
        assert reply.get("ename", reply["status"]) == said[0]
        assert said[1] in reply.get("evalue", "")


def run(connection, code):
    """Send a cell to the kernel; its reply."""
    message = uuid.uuid4().hex
    content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False, "user_expressions": {}}
    content["stop_on_error"] = False  # else what is sent soon after an error is dropped
    header = {"msg_id": message, "msg_type": "execute_request", "session": "tests", "username": "", "version": "5.3"}
    request = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    connection.send(json.dumps(request))
    while True:
        answer = json.loads(connection.recv())
        if answer["msg_type"] == "execute_reply" and answer["parent_header"].get("msg_id") == message:
            return answer["content"]


@pytest.mark.slow
def test_a_second_start_installs_nothing(server):
    assert (
        "install.sh"
        not in subprocess.run(
            ["make", "-n", "lab"],
            cwd=ROOT,
            env={**os.environ, "MAKEFLAGS": ""},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    )
