"""Delivery into a Maildir."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.protocol.facts import measure
from restante.protocol.listing import valid_unique_id
from restante.stores.contract import StoreError
from restante.stores.maildir import files
from restante.stores.maildir.file_names import new_name, own_unique_id
from restante.stores.maildir.files import Folder
from restante.stores.maildir.incoming import MaildirIncoming
from restante.stores.maildir.journal import JOURNAL_FILE
from restante.stores.maildir.store import Maildir
from tests.corpus import NASTY, wire_form
from tests.stores.maildir.kit import ANNA, close, fetch, ids, opened, python, read

DELIVERER = """
import sys
from restante.accounts.contract import Account
from restante.stores.maildir.store import Maildir
store = Maildir(sys.argv[1], fsync=False)
print("ready", flush=True)
sys.stdin.readline()
for number in range(200):
    incoming = store.receive(Account("anna"))
    incoming.write(b"Subject: %s %d" % (sys.argv[2].encode(), number))
    print(incoming.commit(), flush=True)
"""


def deliver(store: Maildir, *blocks: bytes) -> str:
    incoming = store.receive(ANNA)
    for block in blocks:
        incoming.write(block)
    return incoming.commit()


@pytest.fixture
def store(tmp_path: Path) -> Maildir:
    return Maildir(tmp_path, fsync=False)


def stored(folder: Path) -> list[Path]:
    return sorted((folder / "anna/new").iterdir())


def test_messages_are_stored_in_wire_form(tmp_path: Path, store: Maildir) -> None:
    for name, message in NASTY.items():
        deliver(store, message)
        [path] = stored(tmp_path)
        assert path.read_bytes() == wire_form(message), name
        assert path.name.endswith(f",S={len(wire_form(message))}")
        assert path.stat().st_mode & 0o777 == 0o600
        path.unlink()
    assert list((tmp_path / "anna/tmp").iterdir()) == []


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"x", b""]), max_size=12))
def test_f3_line_ends_cut_anywhere(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("mail")
    deliver(Maildir(folder, fsync=False), *blocks)
    [path] = stored(folder)
    assert path.read_bytes() == wire_form(b"".join(blocks))


def test_a_delivered_message_is_not_read_again(
    store: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    for message in NASTY.values():
        deliver(store, message)
    monkeypatch.setattr("restante.stores.maildir.scan.measure_open", None)
    maildrop = opened(store)
    for number, message in enumerate(NASTY.values(), 1):
        content = fetch(maildrop, number)
        assert content.facts == measure([wire_form(message)])
        assert content.facts.crlf
        if not isinstance(content.source, bytes):
            content.source.close()  # type: ignore[union-attr]
    close(maildrop)


@pytest.mark.parametrize("change", ["torn", "junk", "gone", "lies"])
def test_the_journal_is_believed_only_when_whole(
    tmp_path: Path, store: Maildir, change: str
) -> None:
    for message in NASTY.values():
        deliver(store, message)
    journal = tmp_path / "anna" / JOURNAL_FILE
    whole = journal.read_bytes()
    if change == "torn":
        journal.write_bytes(whole[:-20] + whole[:300])
    elif change == "junk":
        journal.write_bytes(os.urandom(500) + b"\n" + whole.replace(b"1", b"2"))
    elif change == "gone":
        journal.unlink()
    else:
        for path in stored(tmp_path):
            path.write_bytes(b"another message\r\n")
    maildrop = opened(store)
    expected = [wire_form(message) for message in NASTY.values()]
    if change == "lies":
        expected = [b"another message\r\n"] * len(NASTY)
    assert list(maildrop.listing.octets) == [len(message) for message in expected]
    close(maildrop)
    assert not journal.exists()


def test_a_journal_that_cannot_be_written_stops_no_mail(tmp_path: Path, store: Maildir) -> None:
    (tmp_path / "anna" / JOURNAL_FILE).mkdir(parents=True)
    unique_id = deliver(store, b"x")
    assert ids(store) == [unique_id]


def test_names_are_unique_ids_and_differ() -> None:
    names = [new_name() for _ in range(1000)]
    assert len(set(names)) == 1000
    for name in names:
        assert valid_unique_id(name)
        assert own_unique_id(f"{name},S=12345") == name
        assert re.fullmatch(r"\d{10,}\.M\d{6}P\d+Q\d+R[0-9a-f]{8}\..+", name)


def test_a_host_with_a_strange_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "../a:b,S=1/é" + "x" * 100)
    name = new_name()
    assert valid_unique_id(name)
    assert not set(name) & set("/:,")


def test_folders_that_vanish_are_made_again(tmp_path: Path, store: Maildir) -> None:
    deliver(store, b"x")
    (tmp_path / "anna/tmp").rmdir()
    deliver(store, b"y")
    assert len(stored(tmp_path)) == 2


def test_nothing_is_left_of_a_delivery_that_fails(
    tmp_path: Path, store: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "link", full)
    with pytest.raises(StoreError) as caught:
        deliver(store, b"x")
    assert caught.value.temporary
    assert list((tmp_path / "anna/tmp").iterdir()) == []
    assert stored(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_a_temporary_store_error(tmp_path: Path, store: Maildir) -> None:
    incoming = store.receive(ANNA)
    assert isinstance(incoming, MaildirIncoming)
    incoming._file.close()
    incoming._file = open("/dev/full", "wb")  # noqa: PTH123, SIM115
    with pytest.raises(StoreError) as caught:
        incoming.write(b"x" * 1_000_000)
    assert caught.value.temporary
    with pytest.raises(StoreError):
        incoming.commit()
    assert stored(tmp_path) == []
    assert list((tmp_path / "anna/tmp").iterdir()) == []


def test_a_delivery_that_is_not_durable_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Maildir(tmp_path)
    incoming = store.receive(ANNA)
    incoming.write(b"x")

    def failing(folder: Folder) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(Folder, "sync", failing)
    with pytest.raises(StoreError):
        incoming.commit()
    assert stored(tmp_path) == []


def test_it_is_durable_before_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Maildir(tmp_path)
    events: list[str] = []
    real_fsync, real_link = os.fsync, files.link

    def fsync(fd: int) -> None:
        events.append("sync " + Path(f"/proc/self/fd/{fd}").readlink().parts[-2])
        real_fsync(fd)

    def link(name: str, target: str, here: int | None, there: int | None) -> None:
        events.append("link")
        real_link(name, target, here, there)

    incoming = store.receive(ANNA)
    incoming.write(b"x")
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(files, "link", link)
    incoming.prepare()
    assert events == ["sync tmp"]
    assert stored(tmp_path) == []
    incoming.prepare()
    incoming.commit()
    assert events == ["sync tmp", "link", "sync anna"]


def test_once_prepared_it_takes_no_more(store: Maildir, tmp_path: Path) -> None:
    incoming = store.receive(ANNA)
    incoming.write(b"x")
    incoming.prepare()
    with pytest.raises(StoreError):
        incoming.write(b"y")
    incoming.commit()
    [path] = stored(tmp_path)
    assert path.read_bytes() == b"x\r\n"


def test_nothing_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*given: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    draft, target = tmp_path / "draft", tmp_path / "target"
    draft.write_bytes(b"new")
    target.write_bytes(b"old")
    with Folder(str(tmp_path)) as folder:
        with pytest.raises(FileExistsError):
            folder.move_to("draft", folder, "target")
        monkeypatch.setattr(files, "link", no_links)
        with pytest.raises(FileExistsError):
            folder.move_to("draft", folder, "target")
        assert target.read_bytes() == b"old"
        target.unlink()
        folder.move_to("draft", folder, "target")
    assert target.read_bytes() == b"new"
    assert not draft.exists()


def test_two_processes_deliver_at_once(tmp_path: Path, store: Maildir) -> None:
    processes = [python(DELIVERER, tmp_path, who) for who in ("one", "other")]
    told: list[str] = []
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            process.stdin.flush()
        for process in processes:
            out, _ = process.communicate(timeout=60)
            told += out.decode().split()
    finally:
        for process in processes:
            process.kill()
            process.wait(10)
    maildrop = opened(store)
    assert len(told) == 400
    assert sorted(maildrop.listing.unique_ids) == sorted(told)
    subjects = {read(maildrop, number) for number in range(1, 401)}
    assert subjects == {
        f"Subject: {who} {n}\r\n".encode() for who in ("one", "other") for n in range(200)
    }
    close(maildrop)
