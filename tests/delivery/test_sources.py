"""What other programs leave: read where it can be told, refused or passed over where not."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from restante.delivery import SourceError, iter_messages
from restante.delivery.sources import DELETED, INTERNAL, NO_MAIL

MESSAGE = b"From: a@example.org\nTo: joe@example.org\nSubject: m\n\nbody\n"
FROM = b"From a@example.org Mon Jan  5 10:00:00 2026\n"
MBOX = (FROM + MESSAGE + b"\n") * 2


def read(path: Path, kind: str = "auto") -> tuple[list[bytes], dict[str, int]]:
    messages = iter_messages(path, kind)
    for _ in range(2):  # the source can be read again, and nothing is counted twice
        found = [b"".join(message.blocks()) for message in messages]
    return found, dict(messages.passed)


def write(path: Path, data: bytes = MESSAGE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "before",
    [
        FROM,
        b">" + FROM,
        b">>From a@example.org\n" + FROM,
        b"\xef\xbb\xbf",
        b"\r\n",
        FROM.replace(b"\n", b"\r\n") + b"\r\n",
    ],
)
def test_lines_before_the_first_header_field_are_dropped(tmp_path: Path, before: bytes) -> None:
    assert read(write(tmp_path / "x.eml", before + MESSAGE)) == ([MESSAGE], {})
    assert read(write(tmp_path / "box" / "cur" / "1.a:2,S", before + MESSAGE).parents[1]) == (
        [MESSAGE],
        {},
    )


@pytest.mark.parametrize(
    "data",
    [b"", b"\0\1\2", b"no mail\n", b"[accounts]\njoe = 1\n", b"\n\nno mail: so\n", b"From me\nhi"],
)
def test_what_is_no_mail_is_refused(tmp_path: Path, data: bytes) -> None:
    if data:
        with pytest.raises(SourceError, match="no header field"):
            iter_messages(write(tmp_path / "x", data))
        with pytest.raises(SourceError, match="no header field"):
            iter_messages(write(tmp_path / "x.eml", data))
    assert read(write(tmp_path / "y.eml", data), "eml")[0] == [data]  # its owner says what it is
    with pytest.raises(SourceError, match="no mail in this folder"):
        iter_messages(write(tmp_path / "folder" / "x", data or b"-").parent)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no mail in this folder"):
        iter_messages(tmp_path)


def test_apples_export(tmp_path: Path) -> None:
    write(tmp_path / "Box.mbox" / "mbox", MBOX)
    write(tmp_path / "Box.mbox" / "table_of_contents", b"\0\1\2")
    for path in (tmp_path, tmp_path / "Box.mbox"):
        assert read(path) == ([MESSAGE] * 2, {NO_MAIL: 1})


def test_thunderbirds_tree(tmp_path: Path) -> None:
    write(tmp_path / "Inbox", MBOX)
    write(tmp_path / "Inbox.msf", b'// <!-- <mdb:mork:z v="1.4"/> -->\n')
    write(tmp_path / "Trash", b"")
    write(tmp_path / "Sent.sbd" / "Old", MBOX.replace(b"Subject: m", b"Subject: old"))
    write(tmp_path / "Sent.sbd" / "Work 2.0", MBOX)
    write(tmp_path / "msgFilterRules.dat", b'version="9"\n')
    write(tmp_path / "notes.txt", b"Subject: a text that looks like mail\n")
    found, passed = read(tmp_path)
    assert len(found) == 6
    assert found[2] == MESSAGE.replace(b"Subject: m", b"Subject: old")
    assert passed == {NO_MAIL: 3}


def test_an_mh_folder_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for name in ("10", "9", "1", ",2"):
        write(tmp_path / name, b"Subject: " + name.encode() + b"\n\n")
    write(tmp_path / ".mh_sequences", b"cur: 9\n")
    write(tmp_path / "inner" / "1", b"Subject: inner\n\n")
    found, passed = read(tmp_path)
    assert found == [b"Subject: %b\n\n" % name for name in (b"1", b"9", b"10", b"inner")]
    assert passed == {}


def emlx(flags: int, body: bytes = MESSAGE) -> bytes:
    plist = b'<?xml version="1.0"?><plist><dict><key>flags</key>\n\t<integer>%d</integer></dict>'
    return b"%-10d\n%b%b" % (len(body), body, plist % flags)


def test_apples_emlx(tmp_path: Path) -> None:
    assert read(write(tmp_path / "1.emlx", emlx(8590195713))) == ([MESSAGE], {})
    write(tmp_path / "2.emlx", emlx(3))
    write(tmp_path / "3.partial.emlx", emlx(1))
    write(tmp_path / "4.emlx", b"no count\n")
    assert read(tmp_path) == ([MESSAGE] * 2, {DELETED: 1, NO_MAIL: 1})


@pytest.mark.parametrize("folders", [("cur",), ("new",), ("cur", "new", "tmp")])
def test_maildirs_whole_or_half(tmp_path: Path, folders: tuple[str, ...]) -> None:
    for folder in folders:
        write(tmp_path / "Maildir" / folder / "1000000000.a.host")
    found = [MESSAGE] * len(set(folders) - {"tmp"})
    assert read(tmp_path / "Maildir") == (found, {})
    assert read(tmp_path) == (found, {})  # in a tree of them


@pytest.mark.parametrize("mark", [":2,", ";2,", "!2,"])
def test_what_is_deleted_in_a_maildir(tmp_path: Path, mark: str) -> None:
    if mark == ":2," and sys.platform == "win32":
        pytest.skip("no such names")
    write(tmp_path / "cur" / f"1.a{mark}ST")
    write(tmp_path / "cur" / f"2.b{mark}S")
    assert read(tmp_path) == ([MESSAGE], {DELETED: 1})


@pytest.mark.parametrize(
    ("field", "deleted"),
    [
        (b"X-Mozilla-Status: 0009", True),
        (b"X-Mozilla-Status: 0008", True),
        (b"x-mozilla-status: 100f", True),
        (b"X-Mozilla-Status: 0001", False),
        (b"X-Mozilla-Status: 8001", False),
        (b"X-Mozilla-Status2: 00000008", False),
        (b"X-Status: AD", True),
        (b"X-Status: A", False),
    ],
)
def test_what_is_deleted_in_an_mbox(tmp_path: Path, field: bytes, deleted: bool) -> None:
    marked = field + b"\n" + MESSAGE
    quoting = MESSAGE + b"\n" + field + b"\n"  # in the body it means nothing
    path = write(tmp_path / "box", FROM + marked + b"\n" + FROM + quoting)
    assert read(path) == (
        ([quoting] if deleted else [marked, quoting]),
        {DELETED: 1} if deleted else {},
    )


def test_a_mail_programs_own_message(tmp_path: Path) -> None:
    own = (
        b"From: Mail System <x>\nSubject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\n\nx\n"
    )
    path = write(tmp_path / "box", FROM + own + b"\n" + FROM + MESSAGE)
    assert read(path) == ([MESSAGE], {INTERNAL: 1})
    path = write(tmp_path / "box", FROM + MESSAGE + b"\n" + FROM + own)
    assert read(path) == ([MESSAGE, own], {})


COMPRESS: list[Callable[[bytes], bytes]] = [gzip.compress, bz2.compress, lzma.compress]


@pytest.mark.parametrize("compress", COMPRESS)
def test_compressed_files(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    big = MESSAGE + b"x" * 99 + b"\n" * 100_000
    write(tmp_path / "box.gz", compress(FROM + big + b"\n" + MBOX))
    write(tmp_path / "1.eml", compress(MESSAGE))
    write(tmp_path / "Maildir" / "cur" / "1.a,S=50:2,Z", compress(FROM + MESSAGE))
    assert read(tmp_path / "box.gz")[0] == [big, MESSAGE, MESSAGE]
    found, passed = read(tmp_path)
    assert sorted(found) == sorted([big, *[MESSAGE] * 4])
    assert passed == {}


def test_damaged_compressed_files(tmp_path: Path) -> None:
    whole = gzip.compress(os.urandom(100_000))
    write(tmp_path / "box.gz", whole[:100])
    write(tmp_path / "1.eml", MESSAGE)
    found, passed = read(tmp_path)
    assert found == [MESSAGE]
    assert sum(passed.values()) == 1
    with pytest.raises(OSError, match="damaged"):
        iter_messages(tmp_path / "box.gz")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1")
    write(tmp_path / "2")
    (tmp_path / "3").symlink_to(tmp_path / "nothing")
    assert read(tmp_path) == ([MESSAGE], {"not a file": 2})
