"""The eight UCI tables of the literature on uncertainty: from a folder, a cache or the network, always checked."""

import http.client
import os
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from companion.studies.uci.retrieve import fetch, fingerprint, keep, parse, sort_rows, unpack
from companion.studies.uci.sources import SOURCES, STANDARD, Source


@dataclass(frozen=True, repr=False)
class Table:
    """Rows of numbers, a target for each, and ways to split them.

    Shapes:
        - ``x``: ``(rows, features)``, float64
        - ``y``: ``(rows,)``, float64
        - ``splits``: pairs of row numbers, for training and for testing
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    splits: tuple[tuple[np.ndarray, np.ndarray], ...]

    def __repr__(self) -> str:
        rows, features = self.x.shape
        return f"Table({self.name}, {rows} rows, {features} features, {len(self.splits)} splits)"


def standard_splits(rows: int, count: int = 20, seed: int = 1) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Split row numbers at random into nine tenths for training and one tenth for testing, ``count`` times.

    The recipe, seed included, of the standard splits of the UCI tables: ``load_uci`` checks that they are equal.

    Args:
        rows: How many rows there are.
        count: How many splits; the first ones are the same whatever their number.
        seed: Another than 1 gives other splits than the standard ones.

    Returns:
        Pairs of row numbers, training and test.

    Source:
        Hernández-Lobato and Adams (2015), https://arxiv.org/abs/1502.05336, whose splits later papers share.

    Introduced in:
        ``notebooks/15_monte_carlo_batch_norm.md``

    Example:
        >>> train, test = standard_splits(10)[0]
        >>> len(train), len(test), sorted([*train.tolist(), *test.tolist()]) == list(range(10))
        (9, 1, True)
    """
    if rows < 2 or count < 1:
        raise ValueError(f"rows must be at least 2 and count at least 1, but got rows={rows} and count={count}")
    draw = np.random.RandomState(seed)
    edge = round(rows * 0.9)
    orders = [draw.permutation(rows) for _ in range(count)]
    return tuple((order[:edge], order[edge:]) for order in orders)


def load_uci(name: str, folder: str | Path | None = None) -> Table:
    """Load one of the eight tables with its standard splits.

    They are ``boston``, ``concrete``, ``energy``, ``kin8nm``, ``power-plant``, ``protein``, ``wine-red``, ``yacht``.
    From ``folder`` or, if that is None, the folder that the variable ``COMPANION_DATA`` names: it holds
    ``bostonHousing/data.txt`` and so on, or ``bostonHousing/data/data.txt``. Without such a folder the table is
    downloaded from UCI or OpenML, and kept in a cache (``COMPANION_CACHE``, or ``.cache`` at home). Wherever it comes
    from, the numbers read must have the SHA-256 known here, so it does not matter who served them.

    Args:
        name: The table.
        folder: The folder to read it from; nothing is downloaded then.

    Returns:
        A :class:`Table` with the 20 standard splits (5 for ``protein``).

    Raises:
        ValueError: If there is no table of that name, or the folder holds another table, or other splits.
        FileNotFoundError: If the folder does not hold it.
        ConnectionError: If it could not be downloaded.

    Source:
        UCI Machine Learning Repository, and OpenML for ``kin8nm``.

    Introduced in:
        ``notebooks/15_monte_carlo_batch_norm.md``
    """
    if name not in SOURCES:
        raise ValueError(f"name must be one of {', '.join(map(repr, SOURCES))}, but got {name!r}")
    source = SOURCES[name]
    folder = folder or os.environ.get("COMPANION_DATA")
    if folder:
        return _from_folder(name, source, Path(folder).expanduser())
    kept = _cache() / f"{name}.npy"
    values = _from_cache(name, source, kept)
    if values is None:
        values = _download(name, source)
        keep(values, kept)
    return _table(name, source, values)


def _table(name: str, source: Source, values: np.ndarray) -> Table:
    if fingerprint(values) != source.order:
        values = sort_rows(values)  # so that all orders of the rows have the same splits, if not the standard ones
        warnings.warn(
            f"{name}: the values are right, but the rows stand in another order than the standard splits count them "
            "in; the splits here are drawn in the same way, but are not the standard ones",
            stacklevel=3,
        )
    return Table(name, values[:, :-1], values[:, -1], standard_splits(len(values), source.splits))


def _from_folder(name: str, source: Source, folder: Path) -> Table:
    places = (folder / source.folder / "data.txt", folder / source.folder / "data" / "data.txt")
    path = next(filter(Path.is_file, places), None)
    if path is None:
        raise FileNotFoundError(
            f"{name}: there is no {source.folder}/data.txt in {folder}, the folder given or named by COMPANION_DATA; "
            f"put it there, or name no folder to download it. {_WITHOUT}"
        )
    values = parse(path.read_text(encoding="utf-8"))
    if (wrong := _wrong(values, source)) is not None:
        raise ValueError(f"{name}: {path} must hold the known table, but {wrong}; fetch the file again. {_WITHOUT}")
    table = _table(name, source, values)
    if fingerprint(values) == source.order:
        for index, split in enumerate(table.splits):
            for part, rows in zip(("train", "test"), split, strict=True):
                listed = path.with_name(f"index_{part}_{index}.txt")
                if listed.exists() and not np.array_equal(np.loadtxt(listed), rows):
                    raise ValueError(
                        f"{name}: {listed} must hold the standard split, but lists other rows; "
                        "fetch it again, or take it away, since it can be made without"
                    )
    return table


def _cache() -> Path:
    return Path(os.environ.get("COMPANION_CACHE") or "~/.cache/udl-normalization-companion").expanduser()


def _from_cache(name: str, source: Source, path: Path) -> np.ndarray | None:
    if not path.exists():
        return None
    try:
        values = np.load(path, allow_pickle=False)
        wrong = _wrong(values, source)
    except (ValueError, OSError, EOFError) as error:
        wrong = str(error)
    if wrong is None:
        return values
    warnings.warn(f"{name}: {path} is damaged ({wrong}), and is downloaded again", stacklevel=3)
    return None


def _download(name: str, source: Source) -> np.ndarray:
    """Return the table from the first address that has it in standard order; else in any order."""
    other, reasons = None, []
    for address, member, columns in _places(source):
        try:
            values = parse(unpack(fetch(address), member))
            values = values[:, list(columns)] if values.shape[1] > max(columns) else values
            wrong = _wrong(values, source)
        except (OSError, http.client.HTTPException, zipfile.BadZipFile, ValueError) as error:
            wrong = f"{type(error).__name__}: {error}"
        if wrong is not None:
            reasons.append(f"  {address}: {wrong}")
        elif fingerprint(values) == source.order:
            return values
        else:
            other = values
    if other is None:
        tried = "\n".join(reasons)
        raise ConnectionError(
            f"{name} could not be downloaded, and is not in the cache ({_cache()}).\n{tried}\n"
            f"Connect to a network, or set COMPANION_DATA to a folder that holds {source.folder}/data.txt. {_WITHOUT}"
        )
    return other


def _places(source: Source) -> Iterator[tuple[str, str | None, Sequence[int]]]:
    yield from ((address, member, source.columns) for address, member in source.addresses)
    yield STANDARD.format(source.folder), None, range(source.shape[1])


def _wrong(values: np.ndarray, source: Source) -> str | None:
    """Return what is not as it must be, in words."""
    if values.shape != source.shape:
        return f"the table must have {source.shape[0]} rows and {source.shape[1]} columns, but has {values.shape}"
    got = fingerprint(sort_rows(values))
    return None if got == source.values else f"SHA-256 of its sorted rows must be {source.values}, but is {got}"


_WITHOUT = (
    "Nothing else needs it: at scale = 'laptop' chapter 15 runs on data that are generated or come with scikit-learn."
)
