"""A UCI table is the known one or an error that helps, whatever a folder, a cache or a server gives."""

import hashlib
import http.server
import io
import os
import re
import subprocess
import sys
import threading
import time
import urllib.parse
import zipfile
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from companion.studies.uci import retrieve
from companion.studies.uci import tables as uci
from companion.studies.uci.retrieve import fingerprint, parse, sort_rows
from companion.studies.uci.tables import SOURCES, load_uci, standard_splits

TABLE = np.random.RandomState(0).randn(40, 4).round(3) * [1, 1e-3, 1e4, 1]
TEXT = "\n".join(" ".join(map(repr, row)) for row in TABLE.tolist())

YACHT = [
    "28ae6833927cbe4e4389cb162bba813805c5c31e2c67ff4b13afa53e2dde6d5c",
    "410b0f8cf723b4b52ad1cc2201d3be6177e93870e202d61abd82c66119b88432",
]


def rows(table, separator=" "):
    return "\n".join(separator.join(map(repr, row)) for row in table.tolist())


class Server(http.server.BaseHTTPRequestHandler):
    """Server that gives what ``answers`` says: bytes, or a function that misbehaves."""

    def do_GET(self):
        self.server.asked.append(self.path)
        answer = self.server.answers.get(self.path)
        if callable(answer):
            answer(self)
        elif answer is None:
            self.send_error(404)
        else:
            self.give(answer)

    def give(self, content, promised=None):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) if promised is None else promised))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    """Serve ``answers`` by path on this machine, and note the paths ``asked``."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        server.answers, server.asked, server.daemon_threads, server.block_on_close = {}, [], True, False
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """Leave no folder, an empty cache, and no address outside this machine."""
    monkeypatch.delenv("COMPANION_DATA", raising=False)
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(uci, "STANDARD", "http://127.0.0.1:9/{}")
    monkeypatch.setattr(uci, "SOURCES", {})


@pytest.fixture
def small(monkeypatch, server):
    """Name a table that the server should have at ``/small`` and, as the standard copy, at ``/Small``."""
    source = uci.Source(
        "Small",
        ((f"{server.url}/small", None),),
        range(4),
        3,
        TABLE.shape,
        fingerprint(sort_rows(TABLE)),
        fingerprint(TABLE),
    )
    monkeypatch.setitem(uci.SOURCES, "small", source)
    monkeypatch.setattr(uci, "STANDARD", server.url + "/{}")
    return source


def is_the_table(table):
    return np.array_equal(np.column_stack([table.x, table.y]), TABLE) and len(table.splits) == 3


def test_a_download_is_checked_and_kept_for_later_use_without_a_network(small, server):
    server.answers["/small"] = TEXT.encode()
    first = load_uci("small")
    assert is_the_table(first) and first.x.shape == (40, 3) and first.x.dtype == np.float64
    server.answers.clear()
    assert is_the_table(load_uci("small")) and server.asked == ["/small"]


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c,d\n" + rows(TABLE, ","),
        '"a b";"c";"d";"e"\n' + rows(TABLE, ";"),
        "@relation small\n@attribute a numeric\n\n@data\n" + rows(TABLE, ",") + "\n\n",
        "\n".join("  ".join(f"{cell:.17e}" for cell in row) + " \t" for row in TABLE.tolist()) + "\r\n",
        TEXT.replace("\n", "\r\n"),
    ],
    ids=["csv", "semicolons", "arff", "exponents", "windows"],
)
def test_the_way_numbers_are_written_does_not_matter(small, server, text):
    server.answers["/small"] = text.encode()
    assert is_the_table(load_uci("small"))


def test_columns_may_stand_elsewhere_and_the_file_in_an_archive(small, server, monkeypatch):
    elsewhere = np.column_stack([TABLE[:, 3], TABLE[:, :3], 7 * TABLE[:, 0]])
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("read.me", "nothing")
        written.writestr("folder/small.csv", rows(elsewhere, ","))
    server.answers["/archive"] = archive.getvalue()
    place = ((f"{server.url}/archive", "small.csv"),)
    monkeypatch.setitem(uci.SOURCES, "small", replace(small, addresses=place, columns=(1, 2, 3, 0)))
    assert is_the_table(load_uci("small")) and server.asked == ["/archive"]


def cut_short(handler):
    handler.give(TEXT.encode()[:500], promised=len(TEXT))


def hang_up(handler):
    handler.connection.close()


def stall(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"1 2 3 4\n")
    handler.wfile.flush()
    handler.rfile.read()  # until whoever asked hangs up


def trickle(handler):
    handler.send_response(200)
    handler.end_headers()
    with suppress(OSError):  # whoever asked has hung up
        while True:
            handler.wfile.write(b"1 2 3 4\n")
            handler.wfile.flush()
            time.sleep(0.02)


def elsewhere(handler):
    handler.send_response(302)
    handler.send_header("Location", "/gone")
    handler.end_headers()


BAD = {
    "fails": (lambda handler: handler.send_error(500), "HTTP Error 500"),
    "hangs up": (hang_up, "RemoteDisconnected|Connection|closed"),
    "cuts short": (cut_short, r"500 bytes of \d+|IncompleteRead"),
    "stalls": (stall, "timed out"),
    "trickles": (trickle, "gave up after"),
    "too much": (b"1 2 3 4\n" * 20_000, "gave up after"),
    "another page": (b"<!doctype html><p>We have moved", "rows of numbers, but the text begins with '<!doctype"),
    "nothing": (b"", "must be rows of numbers"),
    "moved to nowhere": (elsewhere, "HTTP Error 404"),
    "a row less": (rows(TABLE[:-1]).encode(), r"40 rows and 4 columns, but has \(39, 4\)"),
    "a column less": (rows(TABLE[:, :-1]).encode(), r"but has \(40, 3\)"),
    "a digit wrong": (rows(np.where(TABLE[7, 2] == TABLE, TABLE + 1e-9, TABLE)).encode(), "SHA-256 of its sorted rows"),
    "ends in words": (TEXT.encode() + b"\nServer error", "line 41 must hold 4 numbers, but is 'Server error'"),
    "ragged": (TEXT.encode() + b"\n1 2 3", "line 41 must hold 4 numbers, but holds 3"),
    "a missing value": (re.sub(r"^\S+", "?", TEXT, count=1).encode() + b"\n", r"but has \(39, 4\)"),
    "not a number": (re.sub(r"^\S+", "nan", TEXT, count=1).encode(), "SHA-256"),
    "not text": (bytes(range(128, 256)), "UnicodeDecodeError"),
}


@pytest.mark.parametrize(("answer", "reason"), BAD.values(), ids=BAD)
def test_a_server_that_misbehaves_is_told_of_and_nothing_is_kept(
    small, server, tmp_path, monkeypatch, answer, reason, guard
):
    # Only where time must run out is there little of it.
    monkeypatch.setattr(retrieve, "TIMEOUT", 0.5 if answer is stall else guard)
    monkeypatch.setattr(retrieve, "DEADLINE", 0.5 if answer is trickle else guard)
    monkeypatch.setattr(retrieve, "LARGEST", 100_000)
    server.answers["/small"] = answer
    with pytest.raises(ConnectionError, match=reason) as error:
        load_uci("small")
    for said in (
        "small could not be downloaded",
        f"{server.url}/small: ",
        f"{server.url}/Small: ",
        "COMPANION_DATA",
        "Small/data.txt",
        str(tmp_path / "cache"),
        "scale = 'laptop'",
    ):
        assert said in str(error.value)
    assert not list(tmp_path.glob("cache/**/*"))


@pytest.mark.parametrize("content", [b"not an archive", None], ids=["not an archive", "without the file"])
def test_an_archive_that_is_none_or_lacks_the_file_is_told_of(small, server, monkeypatch, content):
    if content is None:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as written:
            written.writestr("other.csv", TEXT)
        content = archive.getvalue()
    server.answers["/archive"] = content
    monkeypatch.setitem(uci.SOURCES, "small", replace(small, addresses=((f"{server.url}/archive", "small.csv"),)))
    with pytest.raises(ConnectionError, match=r"BadZipFile|must hold small.csv, but has \['other.csv'\]"):
        load_uci("small")


def test_the_next_address_is_tried(small, server):
    server.answers = {"/small": BAD["fails"][0], "/Small": TEXT.encode()}
    assert is_the_table(load_uci("small")) and server.asked == ["/small", "/Small"]


def test_an_address_with_rows_in_standard_order_is_preferred(small, server):
    server.answers = {"/small": rows(TABLE[::-1]).encode(), "/Small": TEXT.encode()}
    assert is_the_table(load_uci("small"))


def test_rows_in_another_order_are_the_same_table_with_splits_that_do_not_depend_on_it(small, server, tmp_path):
    tables = []
    for order in (slice(None, None, -1), np.random.RandomState(5).permutation(40)):
        server.answers = {"/small": rows(TABLE[order]).encode()}
        with pytest.warns(UserWarning, match="small: .* rows stand in another order .* not the standard ones"):
            tables.append(load_uci("small"))
        (tmp_path / "cache" / "small.npy").unlink()
    assert np.array_equal(tables[0].x, tables[1].x) and np.array_equal(tables[0].y, tables[1].y)
    assert np.array_equal(sort_rows(TABLE)[:, :-1], tables[0].x)


def test_without_a_network_the_error_names_the_table_and_what_runs_without(small, monkeypatch):
    closed = "http://127.0.0.1:9/small"
    monkeypatch.setitem(uci.SOURCES, "small", replace(small, addresses=((closed, None),)))
    monkeypatch.setattr(uci, "STANDARD", "http://127.0.0.1:9/{}")
    with pytest.raises(ConnectionError, match="small could not be downloaded") as error:
        load_uci("small")
    assert "chapter 15" in str(error.value) and "COMPANION_DATA" in str(error.value) and closed in str(error.value)


@pytest.mark.parametrize("damage", ["cut", "other", "empty", "pickle"])
def test_a_damaged_cache_is_said_and_downloaded_again(small, server, tmp_path, damage):
    server.answers["/small"] = TEXT.encode()
    load_uci("small")
    kept = tmp_path / "cache" / "small.npy"
    if damage == "other":
        np.save(kept, TABLE + 1)
    elif damage == "pickle":
        np.save(kept, np.array([{}], dtype=object), allow_pickle=True)
    else:
        kept.write_bytes(kept.read_bytes()[:100] if damage == "cut" else b"")
    with pytest.warns(UserWarning, match=r"small: .*small.npy is damaged .* downloaded again"):
        assert is_the_table(load_uci("small"))
    assert is_the_table(load_uci("small")) and len(server.asked) == 2


LOADER = """
import sys
from companion.studies.uci import tables as uci
from companion.studies.uci.tables import Source, load_uci
url, values, order = sys.argv[1:]
uci.SOURCES = {"small": Source("Small", ((url, None),), range(4), 3, (40, 4), values, order)}
print(load_uci("small").y.sum())
"""


@pytest.mark.slow
def test_two_processes_may_load_at_once(small, server, tmp_path, guard):
    both = threading.Barrier(2, timeout=guard)

    def together(handler):
        both.wait()
        handler.give(TEXT.encode())

    server.answers["/small"] = together
    command = [sys.executable, "-c", LOADER, f"{server.url}/small", small.values, small.order]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) for _ in range(2)]
    said = [process.communicate(timeout=guard)[0] for process in processes]
    assert said == [f"{TABLE[:, 3].sum()}\n"] * 2
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["small.npy"]


def test_an_interrupted_write_leaves_nothing(small, server, tmp_path, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(retrieve.np, "save", interrupt)
    server.answers["/small"] = TEXT.encode()
    with pytest.raises(KeyboardInterrupt):
        load_uci("small")
    assert not list((tmp_path / "cache").iterdir())


@pytest.fixture
def folder(small, tmp_path):
    """Return a folder with the table in the layout of the standard splits."""
    inside = tmp_path / "data" / "Small"
    inside.mkdir(parents=True)
    (inside / "data.txt").write_text(TEXT)
    for index, split in enumerate(standard_splits(40, 3)):
        for part, listed in zip(("train", "test"), split, strict=True):
            np.savetxt(inside / f"index_{part}_{index}.txt", listed, fmt="%d")
    return tmp_path / "data"


def test_a_folder_is_read_and_no_server_asked(folder, server, monkeypatch):
    assert is_the_table(load_uci("small", folder))
    monkeypatch.setenv("COMPANION_DATA", str(folder))
    assert is_the_table(load_uci("small")) and is_the_table(load_uci("small", str(folder)))
    assert server.asked == []


def test_a_folder_may_have_one_more_level(folder):
    inside = folder / "Small"
    inside.rename(folder / "data")
    inside.mkdir()
    (folder / "data").rename(inside / "data")
    assert is_the_table(load_uci("small", folder))
    (inside / "data" / "index_train_0.txt").write_text("1\n2\n")
    with pytest.raises(ValueError, match="index_train_0.txt must hold the standard split"):
        load_uci("small", folder)


def test_a_folder_needs_no_list_of_splits(folder):
    for path in (folder / "Small").glob("index_*"):
        path.unlink()
    assert is_the_table(load_uci("small", folder))


def test_a_folder_without_the_table_is_named(folder, server, monkeypatch, tmp_path):
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(FileNotFoundError, match=r"small: there is no Small/data.txt in .*elsewhere.* chapter 15"):
        load_uci("small")
    assert server.asked == []


def test_a_folder_with_another_table_is_an_error(folder):
    (folder / "Small" / "data.txt").write_text(rows(TABLE + 1))
    with pytest.raises(ValueError, match=r"data.txt must hold the known table, but SHA-256"):
        load_uci("small", folder)


def test_a_folder_with_other_splits_is_an_error(folder):
    listed = folder / "Small" / "index_test_2.txt"
    listed.write_text("1\n2\n3\n4\n")
    with pytest.raises(ValueError, match=r"index_test_2.txt must hold the standard split, but lists other rows"):
        load_uci("small", folder)


def test_an_unknown_name_lists_those_there_are(small):
    with pytest.raises(ValueError, match="name must be one of 'small', but got 'large'"):
        load_uci("large")


@pytest.mark.parametrize(("rows", "count"), [(308, 20), (40, 3), (2, 1)])
def test_standard_splits_follow_the_published_recipe(rows, count):
    # of the scripts that wrote the lists of rows: a seed, then a choice without replacement for each split
    draw = np.random.RandomState(1)
    for train, test in standard_splits(rows, count):
        permutation = draw.choice(range(rows), rows, replace=False)
        edge = round(rows * 9.0 / 10)
        assert np.array_equal(train, permutation[:edge]) and np.array_equal(test, permutation[edge:])


def test_standard_splits_are_those_of_yacht():
    # YACHT: SHA-256 of the numbers in the published index_train_0.txt and index_test_19.txt
    splits = standard_splits(308)
    assert [len(part) for part in splits[0]] == [277, 31]
    digests = [hashlib.sha256(part.astype("<i8").tobytes()).hexdigest() for part in (splits[0][0], splits[19][1])]
    assert digests == YACHT


def test_another_seed_gives_other_splits():
    usual, other = standard_splits(308, 2), standard_splits(308, 2, seed=1001)
    assert all(not np.array_equal(a, b) for a, b in zip(usual[0], other[0], strict=True))
    assert np.array_equal(usual[0][0], standard_splits(308, 1, seed=1)[0][0])


def test_splits_without_rows_or_count_are_an_error():
    for rows, count in [(1, 20), (40, 0)]:
        with pytest.raises(ValueError, match="rows must be at least 2 and count at least 1"):
            standard_splits(rows, count)


def test_every_known_table_has_addresses_that_a_browser_would_take_and_hashes():
    assert sorted(SOURCES) == ["boston", "concrete", "energy", "kin8nm", "power-plant", "protein", "wine-red", "yacht"]
    for source in SOURCES.values():
        assert len(source.columns) == source.shape[1] and len({source.values, source.order}) == 2
        assert re.fullmatch("[0-9a-f]{64} [0-9a-f]{64}", f"{source.values} {source.order}")
        for address, _ in source.addresses:
            assert urllib.parse.urlsplit(address).scheme == "https"


def test_the_fingerprint_sees_numbers_and_not_how_they_are_kept():
    assert fingerprint(TABLE) == fingerprint(np.asfortranarray(TABLE)) == fingerprint(TABLE.astype(">f8"))
    assert fingerprint(parse("0 -0.0")) == fingerprint(parse("0.0 0e3"))
    assert fingerprint(sort_rows(TABLE)) == fingerprint(sort_rows(TABLE[::-1])) != fingerprint(TABLE)


def test_the_real_tables_load_from_a_folder_that_is_there(monkeypatch):
    monkeypatch.undo()
    if not os.environ.get("COMPANION_DATA"):
        pytest.skip("COMPANION_DATA names no folder")
    for name, source in SOURCES.items():
        assert len(load_uci(name).splits) == source.splits
