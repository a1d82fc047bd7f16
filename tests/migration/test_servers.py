"""Files of passwords, and unique-ids as servers make them of IMAP's numbers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from restante.migration.servers import read_passwords
from restante.migration.unique_ids import CYRUS, DOVECOT, UniqueIdFormat


def file(folder: Path, text: bytes, mode: int = 0o600) -> Path:
    path = folder / "users"
    path.write_bytes(text)
    path.chmod(mode)
    return path


def test_a_password_is_all_that_follows_the_first_colon(tmp_path: Path) -> None:
    text = b"# accounts\njoe:se:cret \n\nann@example.org:\xc3\xa4 b\r\n#bob:x\n"
    found = read_passwords(file(tmp_path, text))
    assert found == {"joe": "se:cret ", "ann@example.org": "ä b"}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"joe:x\nsecret\n", "line 2 is not of the form name:password"),
        (b"joe:\n", "line 1 is not of the form"),
        (b":secret\n", "line 1 is not of the form"),
        (b"joe:\xff\n", "line 1 isn't UTF-8 text"),
        (b"joe:secret\njoe:y\n", "line 2 is the second for 'joe'"),
        (b"joe:sec\0ret\n", "line 1 holds a control character"),
        (b"joe:sec\rret\n", "line 1 holds a control character"),
    ],
)
def test_a_wrong_line_is_told_without_its_password(tmp_path: Path, text: bytes, error: str) -> None:
    with pytest.raises(ValueError, match=error) as raised:
        read_passwords(file(tmp_path, text))
    assert "ret" not in str(raised.value)


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ValueError, match="others may read it: chmod 600"):
        read_passwords(file(tmp_path, b"joe:x\n", mode))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (DOVECOT, "0000002a6553f100"),
        ("UID%u-%v", "UID42-1700000000"),
        (CYRUS, "1700000000.42"),
        ("%u", "42"),
        ("%Xv.%04u-x", "6553f100.0042-x"),
        ("%g", "guid"),
        ("%{uid | hex(8)}%{uidvalidity | hex(8)}", "0000002a6553f100"),
        ("%{ uid|hex }", "2a"),
        ("%{uidvalidity}.%{uid}", "1700000000.42"),
        ("x%{guid}", "xguid"),
    ],
)
def test_unique_ids_are_written_as_servers_do(text: str, written: str) -> None:
    assert UniqueIdFormat(text).write(42, 1_700_000_000, "guid") == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "%v",
        "UID",
        "%f",
        "%u%",
        "%u%%",
        "%99999u",
        "%m",
        "%{uidvalidity}",
        "%{uid | hex(4)}",
        "%{uid | md5}",
        "%{filename}",
        "%{uid",
    ],
)
def test_a_format_that_can_not_be_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match=r"allowed are %08Xu%08Xv \(Dovecot\)"):
        UniqueIdFormat(text)
