"""The files that say what to install agree with each other and with what is installed, and a set-up works."""

import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as canonical

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHON = shlex.quote(sys.executable)  # for a shell
OWN = canonical(PROJECT["name"])
LINES = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
PINS = {canonical(pin.name): pin for pin in map(Requirement, LINES)}
# torch built for GPUs brings these, and pins them itself.
BROUGHT_BY_TORCH = re.compile(r"nvidia-.*|cuda-.*|triton")
PLATFORMS = {
    f"{system} {python}": {
        **default_environment(),
        "python_version": python,
        "python_full_version": f"{python}.0",
        "platform_system": system,
        "sys_platform": system.lower(),
        "platform_machine": machine,
    }
    for system, machine in [("Linux", "x86_64"), ("Darwin", "arm64")]
    for python in ["3.11", "3.12", "3.13"]
}


def requirements(name):
    """Return what a package asks for: ours as pyproject.toml says, others as installed; nothing if it is not here."""
    if name == OWN:
        extras = PROJECT["optional-dependencies"].items()
        optional = [
            f'{text} {"and" if ";" in text else ";"} extra == "{extra}"' for extra, texts in extras for text in texts
        ]
        return [Requirement(text) for text in PROJECT["dependencies"] + optional]
    try:
        return [Requirement(text) for text in metadata.requires(name) or []]
    except metadata.PackageNotFoundError:
        return []


def closure(extra, environment):
    """Return names of all packages that installing our ``extra`` brings, in an environment."""
    wanted, found = [(OWN, {"", extra})], {}
    while wanted:
        name, extras = wanted.pop()
        if name in found and extras <= found[name]:
            continue
        found[name] = found.get(name, set()) | extras
        for needed in requirements(name):
            if needed.marker is None or any(needed.marker.evaluate({**environment, "extra": e}) for e in extras):
                wanted.append((canonical(needed.name), {"", *needed.extras}))
    return {name for name in found if name != OWN and not BROUGHT_BY_TORCH.fullmatch(name)}


def pip_section():
    """Return the lines that environment.yml hands to pip."""
    parts = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    return next(part["pip"] for part in parts if isinstance(part, dict))


@pytest.mark.parametrize("platform", PLATFORMS)
def test_everything_that_is_installed_is_pinned(platform):
    environment = PLATFORMS[platform]
    applies = {name for name, pin in PINS.items() if pin.marker is None or pin.marker.evaluate(environment)}
    assert closure("test", environment) <= applies


def test_every_pin_is_needed():
    applies = {name for name, pin in PINS.items() if pin.marker is None or pin.marker.evaluate()}
    assert applies <= closure("test", default_environment())


def test_pins_lie_in_the_ranges():
    for needed in requirements(OWN):
        if canonical(needed.name) != OWN:
            (pin,) = PINS[canonical(needed.name)].specifier
            assert pin.operator == "==" and needed.specifier.contains(pin.version), needed


def test_installed_versions_are_the_pinned_ones():
    for name in closure("test", default_environment()):
        assert PINS[name].specifier.contains(metadata.version(name)), name  # 2.13.0+cpu is 2.13.0


def test_environment_file_installs_what_make_lab_installs():
    assert "sh book/tools/install.sh lab" in (ROOT / "Makefile").read_text()
    assert pip_section() == ["-c constraints.txt", "-e .[lab]"]


def test_readme_activates_the_environment_of_that_name():
    name = yaml.safe_load((ROOT / "environment.yml").read_text())["name"]
    assert re.findall(r"conda activate (\S+)", (ROOT / "README.md").read_text()) == [name]


def test_python_of_environment_file_is_supported():
    parts = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (version,) = [part.removeprefix("python=") for part in parts if isinstance(part, str) and "python=" in part]
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(f"{version}.0")


@pytest.mark.slow
def test_pip_section_of_environment_file_installs(checkout, tmp_path):
    # conda writes the pip section to a requirements file beside environment.yml
    (checkout / "from-environment.txt").write_text("\n".join(pip_section()) + "\n")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    bin_ = tmp_path / "venv" / "bin"
    install = [bin_ / "python", "-m", "pip", "install", "--quiet", "-r", "from-environment.txt"]
    subprocess.run(install, cwd=checkout, check=True)
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = {"cwd": tmp_path, "env": bare, "check": True, "capture_output": True, "text": True}
    where = subprocess.run([bin_ / "python", "-c", "import companion; print(companion.__file__)"], **run).stdout
    assert Path(where.strip()).is_relative_to(checkout)
    version = subprocess.run([bin_ / "jupyter", "lab", "--version"], **run).stdout.strip()
    assert PINS["jupyterlab"].specifier.contains(version)


def make_lab(checkout, python, path=os.environ["PATH"]):
    """Set up with another Python as ``make lab`` does; it must fail."""
    environment = {**os.environ, "PATH": path, "MAKEFLAGS": ""}
    result = subprocess.run(
        ["make", "lab", f"PYTHON={python}"], cwd=checkout, env=environment, capture_output=True, text=True
    )
    assert result.returncode != 0
    assert not (checkout / ".venv" / "lab.stamp").exists()
    return [line for line in result.stderr.splitlines() if not line.startswith("make")]


def fake_python(tmp_path, script):
    """Make an executable that answers for Python."""
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    return fake


def test_old_python_is_refused_in_one_sentence(checkout, tmp_path):
    old = fake_python(tmp_path, 'case "$2" in *print*) echo 3.9.6;; *) exit 1;; esac')
    (message,) = make_lab(checkout, old)
    assert message.startswith(f"Python 3.11 or newer is needed, but {old} is 3.9.6:")


def test_missing_python_is_named_in_one_sentence(checkout):
    (message,) = make_lab(checkout, "no-such-python")
    assert message.startswith("Python 3.11 or newer is needed, but there is no no-such-python:")


def test_missing_venv_module_is_named_in_one_sentence(checkout, tmp_path):
    bare = fake_python(tmp_path, f'case "$2" in *ensurepip*) exit 1;; *) exec {PYTHON} "$@";; esac')
    (message,) = make_lab(checkout, bare)
    assert message.startswith(f"{bare} cannot make virtual environments:")


def test_interrupted_install_is_taken_up_again(checkout, tmp_path, guard):
    script = f'case "$*" in *"-m venv"*) echo started; exec sleep 100000;; *) exec {PYTHON} "$@";; esac'
    environment = {**os.environ, "MAKEFLAGS": ""}
    make = ["make", "lab", f"PYTHON={fake_python(tmp_path, script)}"]
    running = subprocess.Popen(make, cwd=checkout, env=environment, stdout=subprocess.PIPE, start_new_session=True)
    with running.stdout:
        while running.stdout.readline() not in (b"started\n", b""):
            pass
        os.killpg(running.pid, signal.SIGTERM)  # SIGINT may be ignored in the background
        assert running.wait(timeout=guard) != 0
    assert subprocess.run(["make", "-q", ".venv/lab.stamp"], cwd=checkout, env=environment).returncode == 1
