"""I4: what Dovecot's compress plugin wrote is served as the message that it is."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from restante.protocol.facts import measure
from restante.stores.maildir import compressed
from restante.stores.maildir.index import INDEX_FILE
from restante.stores.maildir.open_maildir import SMALL
from restante.stores.maildir.store import Maildir
from restante.stores.zstd import zstd_module
from tests.corpus import NASTY
from tests.needs import missing, only_cpython
from tests.stores.maildir.kit import close, fetch, ids, opened, put, read, settle
from tests.stores.stores import drained

FORMS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "gzip, joined": lambda data: gzip.compress(data[:50]) + gzip.compress(data[50:]),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


@pytest.mark.parametrize("form", FORMS)
def test_its_octets_are_the_messages(tmp_path: Path, form: str) -> None:
    for number, message in enumerate(NASTY.values()):
        packed = FORMS[form](message)
        put(tmp_path, f"{1000 + number}.host,S={len(message)}:2,SZ", packed, "cur")
    settle(tmp_path)
    for _ in range(2):
        maildrop = opened(Maildir(tmp_path))
        assert len(maildrop.listing) == len(NASTY)
        for number, (name, message) in enumerate(NASTY.items(), 1):
            facts = measure([message])
            assert maildrop.listing.octets[number - 1] == facts.octets, name
            content = fetch(maildrop, number)
            assert content.facts == facts
            assert drained(content.source) == message, name
            assert drained(fetch(maildrop, number, 5).source) == message
        close(maildrop)


@pytest.mark.parametrize(
    ("name", "sub", "is_packed"),
    [
        ("1.host:2,SZ", "cur", True),
        ("1.host:2,Z", "cur", True),
        ("1.host;2,SZ", "cur", True),
        ("1.host,S=99999,W=99999", "new", True),  # as Dovecot delivers it, with no flags yet
        ("1.host,S=99999:2,S", "cur", True),
        ("1.host,S={size}", "new", False),
        ("1.host:2,S", "cur", False),
        ("1.hostZ", "new", False),
    ],
)
def test_the_name_must_say_so_too(tmp_path: Path, name: str, sub: str, is_packed: bool) -> None:
    message = b"Subject: x\n\nbody\n"
    packed = gzip.compress(message)
    put(tmp_path, name.format(size=len(packed)), packed, sub)
    maildrop = opened(Maildir(tmp_path))
    assert read(maildrop, 1) == (message if is_packed else packed)
    close(maildrop)


def test_a_message_that_only_has_the_flag_is_served_as_it_lies(tmp_path: Path) -> None:
    put(tmp_path, "1.host:2,Z", b"Bcc: nobody\n\nbody\n", "cur")
    maildrop = opened(Maildir(tmp_path))
    assert read(maildrop, 1) == b"Bcc: nobody\n\nbody\n"
    close(maildrop)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("damage", ["cut", "changed", "followed by junk"])
def test_a_damaged_one_is_served_as_it_lies(
    tmp_path: Path, form: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    packed = FORMS[form](os.urandom(3000))
    if damage == "cut":
        packed = packed[:-20]
    elif damage == "changed":
        packed = packed[:1000] + bytes([packed[1000] ^ 1]) + packed[1001:]
    else:
        packed += b"junk"
    put(tmp_path, "1.host:2,SZ", packed, "cur")
    maildrop = opened(Maildir(tmp_path))
    if not (form == "bzip2" and damage == "followed by junk"):
        assert maildrop.listing.octets[0] == measure([packed]).octets
        assert read(maildrop, 1) == packed
        assert "served as it lies" in caplog.text
    close(maildrop)


def test_compressing_a_message_changes_neither_its_unique_id_nor_its_octets(
    tmp_path: Path,
) -> None:
    message = b"Subject: x\n\n" + b"line\n" * 500
    path = put(tmp_path, f"1.host,S={len(message)}:2,S", message, "cur")
    settle(tmp_path)
    store = Maildir(tmp_path)
    before = ids(store)
    about = path.stat()
    packed = path.with_name(path.name + "Z")
    path.unlink()
    packed.write_bytes(gzip.compress(message))
    os.utime(packed, ns=(about.st_atime_ns, about.st_mtime_ns))
    for again in (store, Maildir(tmp_path)):
        maildrop = opened(again)
        assert list(maildrop.listing.unique_ids) == before
        assert maildrop.listing.octets[0] == measure([message]).octets
        assert read(maildrop, 1) == message
        close(maildrop)
    (tmp_path / "anna" / INDEX_FILE).unlink()
    assert ids(Maildir(tmp_path)) == before


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    """A large message is decompressed in blocks, when it is measured and when it is sent."""
    tracemalloc = pytest.importorskip("tracemalloc", reason="only CPython counts memory so")
    size = 50 * 1024 * 1024
    packed = bz2.compress(b"\n" * size)
    assert len(packed) < 1000
    put(tmp_path, "1.host:2,Z", packed, "cur")
    tracemalloc.start()
    maildrop = opened(Maildir(tmp_path))
    assert maildrop.listing.octets[0] == 2 * size
    source = fetch(maildrop, 1).source
    assert isinstance(source, Iterator)
    assert sum(map(len, source)) == size
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    close(maildrop)
    assert peak < 20 * 1024 * 1024


def test_one_without_end_is_served_as_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compressed, "MAX_DECOMPRESSED", 1_000_000)
    packed = gzip.compress(b"x" * 2_000_000)
    put(tmp_path, "1.host:2,Z", packed, "cur")
    maildrop = opened(Maildir(tmp_path))
    assert read(maildrop, 1) == packed
    close(maildrop)


@only_cpython  # PyPy can't make such a file
def test_xz_that_asks_for_much_memory_is_served_as_it_lies(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 512 * 1024 * 1024}]
    packed = lzma.compress(b"x" * 1000, filters=filters)
    put(tmp_path, "1.host:2,Z", packed, "cur")
    maildrop = opened(Maildir(tmp_path))
    assert read(maildrop, 1) == packed
    close(maildrop)


def test_a_large_one_is_closed_when_it_is_given_up(tmp_path: Path) -> None:
    put(tmp_path, "1.host:2,Z", gzip.compress(os.urandom(2 * SMALL)), "cur")
    maildrop = opened(Maildir(tmp_path))
    source = fetch(maildrop, 1).source
    assert isinstance(source, compressed.Decompressed)
    next(source)
    fd = source._fd
    source.close()
    source.close()
    with pytest.raises(OSError):
        os.fstat(fd)
    close(maildrop)


@only_cpython
def test_zstd_where_there_is_a_library(tmp_path: Path) -> None:
    try:
        zstd = zstd_module()
    except ImportError:
        missing("there is no library for zstd (before Python 3.14: backports.zstd)")
    message = b"Subject: x\n\n" + b"line\n" * 500
    put(tmp_path, "1.host:2,Z", zstd.compress(message), "cur")
    put(tmp_path, "2.host:2,Z", zstd.compress(message)[:-5], "cur")
    maildrop = opened(Maildir(tmp_path))
    assert read(maildrop, 1) == message
    assert read(maildrop, 2) == zstd.compress(message)[:-5]
    close(maildrop)
