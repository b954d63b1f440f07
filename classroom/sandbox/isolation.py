"""Cut a submission off from files and network: by bubblewrap, where the system has it and lets it work."""

import functools
import os
import shutil
import site
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib

from classroom.sandbox.limits import Limits

MARK = "COMPANION_GRADING"  # in the environment of every process of a submission, so that none is overlooked
ROOT_FOLDER = Path(__file__).resolve().parents[2]
PACKAGES = [ROOT_FOLDER / "classroom", ROOT_FOLDER / "companion"]
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store")
SETTINGS = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/fonts", "/etc/localtime")
FONTS = "/fonts.json"
SET_TO_ONE = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONDONTWRITEBYTECODE", "PYTHONUTF8")
AS_USER = ["--unshare-all"]
# Root needs no user namespace, and in one its processes would not be counted: it becomes another user inside.
AS_ROOT = ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_CHOWN", "--unshare-cgroup-try"]
AS_ROOT += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]


class SandboxError(ValueError):
    """Error about isolation that is required and cannot be provided; the message says why."""


def find_isolation(wanted: str = "auto") -> str:
    """Return ``"bubblewrap"`` if it works here and is wanted, else ``"none"``.

    Args:
        wanted: ``"required"``, ``"auto"`` or ``"none"``.

    Raises:
        SandboxError: If isolation is required and bubblewrap is missing or refused.
    """
    if wanted not in ("required", "auto", "none"):
        raise SandboxError(f"isolation must be required, auto or none, but got {wanted!r}")
    error = isolation_error(wanted)
    if wanted == "required" and error:
        raise SandboxError(f"submissions cannot be isolated here: {error}")
    return "none" if error else "bubblewrap"


def isolation_error(wanted: str = "auto") -> str:
    """Return why submissions are not isolated here, or nothing if they are."""
    return "isolation is switched off" if wanted == "none" else _working_options()[1]


def changes_user() -> bool:
    """Return whether a process starts as root in the sandbox, and has to become another user there."""
    return "CAP_SETUID" in _working_options()[0]


@functools.cache
def _working_options() -> tuple[list[str], str]:
    """Return the options with which bubblewrap works here, or why it does not."""
    if not shutil.which("bwrap"):
        return [], "bubblewrap (bwrap) is not installed"
    error = ""
    for own in [AS_USER] if os.geteuid() else [AS_ROOT, AS_USER]:
        for options in ([*own, "--proc", "/proc"], own):  # in some containers a new /proc is refused
            command = [*bubblewrap(environment_of("/tmp", "try"), [], options), sys.executable, "-c", "import numpy"]
            done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
            if done.returncode == 0:
                return options, ""
            error = error or done.stderr.strip()[-200:]
    return [], f"bubblewrap does not work ({error})"


def bubblewrap(environment: dict[str, str], private: Sequence[Path], options: Sequence[str] = ()) -> list[str]:
    """Return the start of a command that runs the rest of it in a sandbox, where private folders are empty."""
    command = ["bwrap", "--cap-drop", "ALL", *(options or _working_options()[0]), "--die-with-parent", "--new-session"]
    size = ["--size", str(Limits().file_size)] if "--size" in _help() else []
    command += ["--dev", "/dev", *size, "--tmpfs", "/dev/shm", *size, "--tmpfs", "/tmp"]
    for path in SYSTEM:
        if os.path.islink(path):
            command += ["--symlink", os.readlink(path), path]
        else:
            command += ["--ro-bind-try", path, path]
    folders = python_folders()
    for path in folders:
        for parent in reversed(path.parents[:-1]):  # else nobody but root may pass through them
            command += ["--dir", str(parent)]
        command += ["--ro-bind", str(path), str(path)]
    for path in SETTINGS:
        command += ["--ro-bind-try", path, path]
    for path in {Path(path).resolve() for path in private}:
        if path.is_dir() and any(path.is_relative_to(each.resolve()) for each in [Path(SYSTEM[0]), *folders]):
            command += ["--tmpfs", str(path)]
    if fonts():
        command += ["--ro-bind", fonts(), FONTS]
    command += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp", "--clearenv"]
    for name, value in environment.items():
        command += ["--setenv", name, value]
    return [*command, "--"]


@functools.cache
def _help() -> str:
    return subprocess.run(["bwrap", "--help"], capture_output=True, text=True, check=False).stdout


def python_folders() -> list[Path]:
    """Return Python's own folders, the installed packages, and ours; nothing else of the project."""
    paths = [sys.base_prefix, sys.prefix, *site.getsitepackages(), site.getusersitepackages(), *PACKAGES]
    found = dict.fromkeys(Path(path) for path in paths if Path(path).is_dir())
    # The interpreter may be a link to a link: every folder on the way is needed.
    program = Path(sys.executable)
    while program.is_symlink():
        program = program.parent / program.readlink()
        found[program.parent] = None
    return [path for path in found if not any(path != other and path.is_relative_to(other) for other in found)]


def environment_of(home: str, mark: str) -> dict[str, str]:
    """Return the environment of a submission's process: nothing of the instructor's."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
    return {
        **kept,
        **dict.fromkeys(SET_TO_ONE, "1"),
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": home,
        "TMPDIR": home,
        "PYTHONPATH": str(ROOT_FOLDER),
        "PYTHONHASHSEED": "0",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "COMPANION_DEVICE": "cpu",
        MARK: mark,
    }


def fonts() -> str:
    """Return the path of matplotlib's list of fonts, which takes a second to make; nothing where there is none yet."""
    found = sorted(Path(matplotlib.get_cachedir()).glob("fontlist-*.json"))
    return str(found[-1]) if found else ""
