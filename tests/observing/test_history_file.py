"""A history in an SQLite file: its bound, its damage, and whoever else is in its way."""

from __future__ import annotations

import logging
import poplib
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from restante.accounts import sqlite_file
from restante.observing import History, HistoryError, HistoryWriter
from tests.observing.history_kit import ANN, JOE, PASSWORD, Watched, record

A = "1700000000.M1P1.host"
MIB = 2**20


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with Watched(tmp_path) as server:
        yield server


def test_no_secret_is_in_the_file(watched: Watched) -> None:
    client = watched.connect()
    client.user(f"joe PASS {PASSWORD}")
    with pytest.raises(poplib.error_proto):
        client.pass_("another secret")
    assert client.sock is not None
    client.sock.sendall(b"s3cret word\r\n")
    client.close()
    watched.session()
    octets = b"".join(path.read_bytes() for path in watched.file.parent.glob("history.sqlite*"))
    for secret in (PASSWORD, "correct", "another", "s3cret", "S3CRET"):
        assert secret.encode() not in octets
    assert watched.file.stat().st_mode & 0o777 == 0o600


def test_the_file_stays_within_its_bound(tmp_path: Path) -> None:
    file = tmp_path / "h.sqlite"
    writer = HistoryWriter(file, max_octets=MIB)
    begin = time.time() - 86_400
    for number in range(4000):
        ids = [f"{number}-{n}-{'x' * 50}" for n in range(10)]
        name = f"account-{number % 400}"
        writer.put(record(ids, account=name, opened=begin + number * 20, sent=tuple(range(1, 11))))
        if number % 200 == 199:
            assert writer.flush(60)
    writer.close()
    assert writer.lost == 0
    assert file.stat().st_size <= MIB * 9 // 8
    kept = History(file).sessions(limit=10_000)
    assert kept[0].since == pytest.approx(begin + 3999 * 20)
    assert 100 < len(kept) < 4000


def test_a_damaged_file_is_set_aside(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    watched.file.write_bytes(b"this is no database" * 500)
    with caplog.at_level(logging.ERROR, "restante.observing"):
        watched.session()
        watched.session()
    (line,) = [each for each in caplog.records if each.name == "restante.observing"]
    assert "was set aside as history.sqlite.damaged, and the history begins anew" in (
        line.getMessage()
    )
    assert watched.file.with_name("history.sqlite.damaged").read_bytes().startswith(b"this is no")
    assert watched.history.sessions()[0].times == 2


@pytest.mark.parametrize("octets", [100, 3000, 20_000])
def test_a_file_that_was_cut_short_is_set_aside(watched: Watched, octets: int) -> None:
    watched.put(A)
    watched.session(fetch=(1,))
    watched.writer._place.close()
    with watched.file.open("r+b") as file:
        file.truncate(octets)
    for _ in range(3):
        watched.session(fetch=(1,))
    assert watched.history.sessions()


def test_another_versions_file_is_set_aside(watched: Watched) -> None:
    with closing(sqlite3.connect(watched.file)) as database, database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(HistoryError, match="another version"):
        watched.history.sessions()
    watched.session()
    assert len(watched.history.sessions()) == 1


def test_a_file_that_was_removed_is_made_again(watched: Watched) -> None:
    watched.session()
    for path in watched.file.parent.glob("history.sqlite*"):
        path.unlink()
    assert watched.history.sessions() == []
    watched.session()
    assert len(watched.history.sessions()) == 1


def test_a_locked_file_costs_records_and_no_session(
    watched: Watched, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.put(A)
    monkeypatch.setattr(sqlite_file, "_BUSY_SECONDS", 0.05)
    watched.session()
    watched.writer._place.close()  # the next use waits no longer than was set
    other = sqlite3.connect(watched.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with caplog.at_level(logging.WARNING, "restante.observing"):
        watched.session(fetch=(1,))
        watched.session(fetch=(1,))
        assert watched.writer.lost == 2
        assert watched.writer.failing
        other.execute("ROLLBACK")
        other.close()
        watched.session(ANN)
        assert not watched.writer.failing
    said = [each.getMessage() for each in caplog.records if each.name == "restante.observing"]
    assert len(said) == 2
    assert said[0].startswith("the history can't be written, mail is served without it")
    assert "database is locked" in said[0]
    assert said[1] == "the history goes on; 2 records were lost"
    assert [each.address for each in watched.history.sessions()] == [ANN, JOE]


def test_a_full_file_costs_records_and_no_session(tmp_path: Path) -> None:
    """A listing that is larger than the whole file may be."""
    with Watched(tmp_path, max_octets=MIB) as watched:
        watched.session()
        watched.writer.put(record([secrets.token_hex(35) for _ in range(60_000)]))
        watched.written()
        assert watched.writer.lost == 1
        watched.session(ANN)
        assert ANN in {each.address for each in watched.history.sessions()}
        assert watched.file.stat().st_size <= MIB * 9 // 8


def test_a_folder_in_its_place_costs_records_and_no_session(watched: Watched) -> None:
    watched.file.mkdir()
    watched.put(A)
    watched.session(fetch=(1,))
    assert watched.writer.lost == 1
    with pytest.raises(HistoryError):
        watched.history.sessions()
