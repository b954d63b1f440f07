"""Tables of numbers from an address to an array: fetched with a limit, read whatever sets columns apart, kept whole."""

import hashlib
import io
import os
import re
import tempfile
import time
import urllib.request
import zipfile
from pathlib import Path

import numpy as np

# Not with pooch (1.9): it knows a file by its bytes, which a server may change while the numbers stay; it has no limit
# of a download's size or of its whole time; and it keeps what it got, the page of an error too.
TIMEOUT = 30.0  # seconds that one answer of a server may take
DEADLINE = 300.0  # and one whole download
LARGEST = 50_000_000  # bytes; the largest table has 4 million


def fetch(address: str) -> bytes:
    """Return what a server gives; OSError if that is less than it promised, too much, or takes too long."""
    request = urllib.request.Request(address, headers={"User-Agent": "udl-normalization-companion"})
    end, parts, size = time.monotonic() + DEADLINE, [], 0
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        while part := answer.read1(1 << 16):
            parts.append(part)
            size += len(part)
            if size > LARGEST or time.monotonic() > end:
                raise OSError(f"gave up after {size} bytes: more than {LARGEST}, or longer than {DEADLINE:g} seconds")
    promised = answer.headers.get("Content-Length")
    if promised is not None and size != int(promised):
        raise OSError(f"got {size} bytes of {promised}")
    return b"".join(parts)


def unpack(content: bytes, member: str | None) -> str:
    """Return bytes as text; of a zip archive, the file of the name ``member``."""
    if member is not None:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [entry for entry in archive.namelist() if entry.rsplit("/", 1)[-1] == member]
            if not names:
                raise ValueError(f"the archive must hold {member}, but has {archive.namelist()[:8]}")
            with archive.open(names[0]) as file:
                content = file.read(LARGEST)
    return content.decode("utf-8")


def parse(text: str) -> np.ndarray:
    """Read rows of numbers, set apart by blanks, commas or semicolons; lines before the first row do not count."""
    rows: list[list[float]] = []
    for line_number, line in enumerate(text.splitlines(), 1):
        cells = [cell for cell in re.split(r"[\s,;]+", line) if cell]
        try:
            row = [float(cell) for cell in cells]
        except ValueError:
            if rows:
                raise ValueError(f"line {line_number} must hold {len(rows[0])} numbers, but is {line[:60]!r}") from None
            continue  # names of columns, or the head of an ARFF file
        if row and rows and len(row) != len(rows[0]):
            raise ValueError(f"line {line_number} must hold {len(rows[0])} numbers, but holds {len(row)}")
        if row:
            rows.append(row)
    if not rows:
        raise ValueError(f"there must be rows of numbers, but the text begins with {text[:60]!r}")
    return np.array(rows)


def keep(values: np.ndarray, path: Path) -> None:
    """Write a file that is there whole or not at all, whoever else writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, values, allow_pickle=False)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def sort_rows(values: np.ndarray) -> np.ndarray:
    """Return the rows in the order of their first column, then of their second, and so on."""
    return values[np.lexsort(values.T[::-1])]


def fingerprint(values: np.ndarray) -> str:
    """Return SHA-256 of the numbers as little-endian float64, which the way they were written does not change."""
    numbers = np.ascontiguousarray(values, dtype="<f8") + 0.0  # -0 is 0
    return hashlib.sha256(numbers.tobytes()).hexdigest()
