"""What whoever may write into a Maildir can put there, and what doesn't come of it."""

from __future__ import annotations

import os
import struct
import time
import zlib
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from restante.protocol.facts import Facts, measure
from restante.stores.contract import CommitFailed, MessageGone, StoreError
from restante.stores.maildir import index
from restante.stores.maildir.columns import Draft, Rows
from restante.stores.maildir.dovecot import UIDLIST_FILE
from restante.stores.maildir.index import INDEX_FILE, Stamp, load, save
from restante.stores.maildir.journal import JOURNAL_FILE, MAX_LINE, note, read_journal
from restante.stores.maildir.lease import LOCK_FILE, close_idle
from restante.stores.maildir.measured import Measured
from restante.stores.maildir.packed_text import CHUNK
from restante.stores.maildir.pins import PINS_FILE
from restante.stores.maildir.store import Maildir
from tests.stores.maildir.kit import ANNA, close, commit, fetch, ids, opened, put, read, settle

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no FIFOs there")

OURS = [JOURNAL_FILE, PINS_FILE, INDEX_FILE, UIDLIST_FILE]
LARGE = 3 * 1024**3


@pytest.fixture(autouse=True)
def _no_lock_file_is_open() -> None:
    close_idle()


@pytest.fixture
def store(tmp_path: Path) -> Maildir:
    return Maildir(tmp_path, unique_ids="dovecot", fsync=False)


def deliver(store: Maildir, message: bytes = b"x") -> str:
    incoming = store.receive(ANNA)
    incoming.write(message)
    return incoming.commit()


class TestFolders:
    def test_nothing_is_delivered_or_cleaned_where_a_link_for_tmp_leads(
        self, tmp_path: Path, store: Maildir, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bens = put(tmp_path, "1.bens", b"x\n", user="ben")
        put(tmp_path, "1.annas", b"x\n")
        (tmp_path / "anna/tmp").rmdir()
        (tmp_path / "anna/tmp").symlink_to(tmp_path / "ben/new")
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 100 * 3600)
        with pytest.raises(StoreError) as caught:
            opened(store)
        assert not caught.value.temporary
        with pytest.raises(StoreError):
            store.receive(ANNA)
        assert list((tmp_path / "ben/new").iterdir()) == [bens]
        (tmp_path / "anna/tmp").unlink()
        assert ids(store) == ["1.annas"]

    def test_a_link_put_in_the_place_of_tmp_during_a_delivery_leads_nowhere(
        self, tmp_path: Path, store: Maildir
    ) -> None:
        put(tmp_path, "1.bens", b"x\n", user="ben")
        incoming = store.receive(ANNA)
        incoming.write(b"x")
        (tmp_path / "anna/tmp").rename(tmp_path / "anna/aside")
        (tmp_path / "anna/tmp").symlink_to(tmp_path / "ben/new")
        incoming.commit()
        assert [path.name for path in (tmp_path / "ben/new").iterdir()] == ["1.bens"]
        assert len(list((tmp_path / "anna/new").iterdir())) == 1
        assert list((tmp_path / "anna/aside").iterdir()) == []

    @pytest.mark.parametrize("sub", ["new", "cur"])
    def test_a_link_put_in_the_place_of_a_folder_during_a_session_leads_nowhere(
        self, tmp_path: Path, store: Maildir, sub: str
    ) -> None:
        put(tmp_path, "1.x", b"annas\n", sub)
        secret = put(tmp_path, "1.x", b"bens\n", sub, user="ben")
        maildrop = opened(store)
        (tmp_path / "anna" / sub).rename(tmp_path / "anna/aside")
        (tmp_path / "anna" / sub).symlink_to(tmp_path / "ben" / sub)
        with pytest.raises(StoreError):
            fetch(maildrop, 1)
        with pytest.raises(CommitFailed):
            commit(maildrop, 1)
        close(maildrop)
        assert secret.read_bytes() == b"bens\n"

    def test_a_folder_replaced_after_a_first_fetch_is_the_one_it_was(
        self, tmp_path: Path, store: Maildir
    ) -> None:
        put(tmp_path, "1.x", b"annas\n")
        put(tmp_path, "2.x", b"annas\n")
        put(tmp_path, "2.x", b"bens\n", user="ben")
        maildrop = opened(store)
        read(maildrop, 1)
        (tmp_path / "anna/new").rename(tmp_path / "anna/aside")
        (tmp_path / "anna/new").symlink_to(tmp_path / "ben/new")
        assert read(maildrop, 2) == b"annas\n"
        commit(maildrop, 2)
        close(maildrop)
        assert (tmp_path / "ben/new/2.x").exists()
        assert not (tmp_path / "anna/aside/2.x").exists()


def fifo(path: Path, elsewhere: Path) -> None:
    os.mkfifo(path)


def link(path: Path, elsewhere: Path) -> None:
    path.symlink_to(elsewhere)


def dangling(path: Path, elsewhere: Path) -> None:
    path.symlink_to(elsewhere.with_name("nowhere"))


def device(path: Path, elsewhere: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path, elsewhere: Path) -> None:
    path.mkdir()


def sparse(path: Path, elsewhere: Path) -> None:
    with path.open("wb") as file:
        file.truncate(LARGE)


def lines(path: Path, elsewhere: Path) -> None:
    path.write_bytes(b"\n" * 3_000_000)


def long_line(path: Path, elsewhere: Path) -> None:
    path.write_bytes(b"x" * 3_000_000)


def digits(path: Path, elsewhere: Path) -> None:
    path.write_bytes(b"3 V1 N1\n" + b"9" * 10_000 + b" :1.x\n" + b"1 V" + b"9" * 10_000 + b"\n")


SHAPES = [fifo, link, dangling, device, folder, sparse, lines, long_line, digits]


class TestFilesOfOurs:
    @pytest.mark.parametrize("name", OURS)
    @pytest.mark.parametrize("shape", SHAPES)
    def test_whatever_they_are_mail_comes_in_and_is_read(
        self, tmp_path: Path, store: Maildir, name: str, shape: Callable[[Path, Path], None]
    ) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.write_bytes(b"1 2 3\n")
        put(tmp_path, "1.x", b"mail\n")
        shape(tmp_path / "anna" / name, elsewhere)
        told = deliver(store, b"more")
        if name == PINS_FILE and shape is folder:
            return  # nothing can be put in its place: the log has the error
        maildrop = opened(store)
        assert [read(maildrop, 1), read(maildrop, 2)] == [b"mail\n", b"more\r\n"]
        assert list(maildrop.listing.octets) == [6, 6]
        assert maildrop.listing.unique_ids[1] == told
        close(maildrop)
        assert elsewhere.read_bytes() == b"1 2 3\n"
        assert not (tmp_path / "nowhere").exists()

    def test_nothing_is_written_to_a_file_of_somebody_elses_that_was_linked_here(
        self, tmp_path: Path, store: Maildir
    ) -> None:
        bens = put(tmp_path, "1.x", b"bens\n", user="ben")
        put(tmp_path, "1.x", b"annas\n")
        for name in OURS:
            (tmp_path / "anna" / name).hardlink_to(bens)
        before = bens.stat()
        deliver(store)
        assert len(ids(store)) == 2
        assert bens.read_bytes() == b"bens\n"
        assert bens.stat().st_mtime_ns == before.st_mtime_ns

    @pytest.mark.parametrize("shape", [fifo, link, dangling, device, folder])
    def test_pins_that_are_no_file_are_told_once(
        self,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        shape: Callable[[Path, Path], None],
    ) -> None:
        store, elsewhere = Maildir(tmp_path), tmp_path / "elsewhere"
        elsewhere.write_bytes(b"theirs 1.x\n")
        put(tmp_path, "1.x", b"mail\n")
        shape(tmp_path / "anna" / PINS_FILE, elsewhere)
        assert ids(store) == ["1.x"]
        told = f"{tmp_path / 'anna' / PINS_FILE} is passed over: it is no regular file"
        assert [told in message for message in caplog.messages] == [True]
        for number in (2, 3):
            put(tmp_path, f"{number}.x", b"mail\n")
            assert len(ids(store if number == 2 else Maildir(tmp_path))) == number
        assert len(caplog.messages) == 1

    @pytest.mark.parametrize("shape", [fifo, link, dangling, folder])
    def test_a_lock_file_that_is_none_is_refused(
        self, tmp_path: Path, store: Maildir, shape: Callable[[Path, Path], None]
    ) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.touch()
        put(tmp_path, "1.x", b"mail\n")
        shape(tmp_path / "anna" / LOCK_FILE, elsewhere)
        with pytest.raises(StoreError, match="remove it"):
            opened(store)
        deliver(store)

    def test_nobody_is_locked_out_by_a_link_to_his_lock_file(
        self, tmp_path: Path, store: Maildir
    ) -> None:
        put(tmp_path, "1.x", b"mail\n")
        put(tmp_path, "1.x", b"mail\n", user="ben")
        (tmp_path / "ben" / LOCK_FILE).touch()
        (tmp_path / "anna" / LOCK_FILE).hardlink_to(tmp_path / "ben" / LOCK_FILE)
        with pytest.raises(StoreError, match="remove it"):
            opened(store)


def journal_line(*numbers: object, base: str = "1.x") -> bytes:
    line = f"{' '.join(map(str, numbers))} {base}".encode()
    return b"%08x %s\n" % (zlib.crc32(line), line)


class TestJournal:
    """Its lines have checksums, and whoever forges one makes the checksum right, too."""

    MESSAGE = b"Subject: x\r\n\r\n.x\r\n"

    @pytest.mark.parametrize(
        "numbers",
        [
            # octets, header_end, crlf, needs_stuffing, ascii_octets, dots
            (-18, 14, 1, 1, 18, "14"),
            (99, 14, 1, 1, 99, "14"),
            (10**30, 14, 0, 1, 18, "14"),
            (18, -1, 1, 1, 18, "14"),
            (18, 99, 1, 1, 18, "14"),
            (18, 14, 1, 1, -18, "14"),
            (18, 14, 1, 1, 18, "99"),
            (18, 14, 1, 1, 18, "-1"),
            (18, 14, 1, 1, 18, str(2**40)),
            (18, 14, 1, 1, 18, "14,3"),
            (18, 14, 1, 1, 18, "14,14"),
            (18, 14, 1, 0, 18, "14"),
            (18, 14, 1, 1, 18, "x"),
            ("", 14, 1, 1, 18, "14"),
            ("9" * 5000, 14, 1, 1, 18, "14"),
            (18, 14, 1, 1, "1 8", "14"),
            (18, 14, 1, "14"),
        ],
    )
    def test_numbers_that_cannot_be_are_measured_anew(
        self, tmp_path: Path, store: Maildir, numbers: tuple[object, ...]
    ) -> None:
        path = put(tmp_path, "1.x", self.MESSAGE)
        about = path.stat()
        line = journal_line(about.st_size, about.st_mtime_ns, *numbers)
        (tmp_path / "anna" / JOURNAL_FILE).write_bytes(line)
        maildrop = opened(store)
        assert list(maildrop.listing.octets) == [18]
        assert fetch(maildrop, 1).facts == measure([self.MESSAGE])
        close(maildrop)

    def test_a_message_of_many_dots_is_noted_without_them(self, tmp_path: Path) -> None:
        dots = array("I", range(0, 200_000, 2))
        facts = Facts(500_000, 10, True, True, 500_000, dots)
        note(str(tmp_path), "1.x", Measured(500_000, 5, facts))
        assert (tmp_path / JOURNAL_FILE).stat().st_size < MAX_LINE
        assert read_journal(str(tmp_path)) == {
            "1.x": Measured(500_000, 5, facts._replace(dots=None))
        }


class TestPins:
    def test_lines_that_cannot_be_read_are_passed_over(
        self, tmp_path: Path, store: Maildir
    ) -> None:
        put(tmp_path, "1.x", b"x\n")
        put(tmp_path, "2.x", b"x\n")
        (tmp_path / "anna" / PINS_FILE).write_bytes(
            b"good 1.x\na b c\n\xff\xfe \xff\nid %FF\nid %\n\nbad\x00id 2.x\n"
            + b"y" * 90
            + b" 2.x\n"
        )
        assert ids(store) == ["good", "2.x"]


class TestIndex:
    """One with a right checksum and wrong numbers counts as none."""

    MESSAGES: ClassVar = [b"Subject: x\r\n\r\n.x\r\n.y\r\n", b"Subject: y\n\ny\n", b".\n.\n"]

    def rows(self, tmp_path: Path) -> tuple[Stamp, Rows]:
        for number, message in enumerate(self.MESSAGES * 30):
            put(tmp_path, f"{number}.x", message)
        put(tmp_path, "99.x", "Subject: grün\n\n\n".encode())
        settle(tmp_path)
        store = Maildir(tmp_path)
        ids(store)
        found = load(str(tmp_path / "anna"))
        assert found is not None
        return found

    def replaced(self, rows: Rows, column: str, change: Callable[[array[int]], None]) -> None:
        values = array(getattr(rows, column).typecode, getattr(rows, column))
        change(values)
        setattr(rows, column, values)

    @pytest.mark.parametrize(
        ("column", "row", "value"),
        [
            ("octets", 1, 2**63),
            ("octets", 1, 0),
            ("header_ends", 0, 10**9),
            ("dot_ends", 0, 10**6),
            ("dot_ends", -1, 10**6),
            ("dot_ends", 5, 0),
            ("dots", 0, 18),
            ("dots", 0, 2**32 - 1),
            ("dots", -1, 2**32 - 1),
        ],
    )
    @pytest.mark.parametrize("total", ["as it was", "right"])
    def test_numbers(self, tmp_path: Path, column: str, row: int, value: int, total: str) -> None:
        stamp, rows = self.rows(tmp_path)

        def change(values: array[int]) -> None:
            values[row] = value

        self.replaced(rows, column, change)
        if total == "right":
            rows.total = sum(rows.octets) % 2**64
        self.is_harmless(tmp_path, stamp, rows)

    @pytest.mark.parametrize(
        ("column", "change"),
        [
            ("names", lambda block: block.replace(b"\0", b"/", 1)),
            ("names", lambda block: block.replace(b"\0", b"x", 1)),
            ("names", lambda block: b"\xff" + block[1:]),
            ("names", lambda block: b"\0" + block[1:]),
            ("unique_ids", lambda block: block.replace(b"\r\n", b"xx", 1)),
            ("unique_ids", lambda block: b".\r\n" + block[3:]),
            ("unique_ids", lambda block: b"\xff" + block[1:]),
        ],
    )
    def test_texts(self, tmp_path: Path, column: str, change: Callable[[bytes], bytes]) -> None:
        stamp, rows = self.rows(tmp_path)
        texts = getattr(rows, column)
        texts.block = change(texts.block)
        self.is_harmless(tmp_path, stamp, rows)

    @pytest.mark.parametrize("column", ["names", "unique_ids"])
    @pytest.mark.parametrize("start", [0, 1, 10**9])
    def test_starts(self, tmp_path: Path, column: str, start: int) -> None:
        stamp, rows = self.rows(tmp_path)
        texts = getattr(rows, column)
        texts.starts = array("Q", [texts.starts[0], start])
        assert len(rows) > CHUNK
        self.is_harmless(tmp_path, stamp, rows)

    @pytest.mark.parametrize("column", ["scan", "ascii_scan"])
    @pytest.mark.parametrize("block", [b"", b".\r\n", b"1 1\r\n", b"1 99\r\n" * 91 + b"."])
    def test_blocks(self, tmp_path: Path, column: str, block: bytes) -> None:
        stamp, rows = self.rows(tmp_path)
        setattr(rows, column, block)
        self.is_harmless(tmp_path, stamp, rows)

    @pytest.mark.parametrize("row", [91, 2**60])
    def test_rows_that_there_are_not(self, tmp_path: Path, row: int) -> None:
        stamp, rows = self.rows(tmp_path)
        rows.ascii_octets = {row: 5}
        self.is_harmless(tmp_path, stamp, rows)

    def test_a_name_that_leads_nowhere(self, tmp_path: Path) -> None:
        stamp, _ = self.rows(tmp_path)
        draft = Draft()
        for name in ("..", ".", "\n", "restante.lock"):
            draft.add(name, 1, Measured(5, 5, measure([b"xxxx\n"])), f"id{name == '.'}")
        save(str(tmp_path / "anna"), stamp, draft.rows())
        maildrop = opened(Maildir(tmp_path))
        for number in range(1, len(maildrop.listing) + 1):
            with pytest.raises(MessageGone):
                fetch(maildrop, number)
        close(maildrop)

    @pytest.mark.parametrize("count", [2**63, 2**40, 10_000_000])
    def test_counts(self, tmp_path: Path, count: int) -> None:
        """No memory is taken for what isn't there."""
        head = index._HEAD
        put(tmp_path, "1.x", b"x\n")
        path = tmp_path / "anna" / INDEX_FILE
        for at in range(8):
            counts = [0] * 8
            counts[at] = count
            raw = head.pack(index._MAGIC, 0, 1, 2, 0, 0, 0, *counts)
            crc = struct.pack("=I", zlib.crc32(raw))
            path.write_bytes(raw[:8] + crc + raw[12:])
            assert load(str(tmp_path / "anna")) is None
            assert ids(Maildir(tmp_path)) == ["1.x"]

    def is_harmless(self, tmp_path: Path, stamp: Stamp, rows: Rows) -> None:
        """Saved, it is found out, or what it says of a message is when that is fetched."""
        save(str(tmp_path / "anna"), stamp, rows)
        maildrop = opened(Maildir(tmp_path))
        assert len(maildrop.listing) == 91
        assert maildrop.listing.unique_id_block().count(b"\r\n") == 91
        for number, message in enumerate([*self.MESSAGES * 30][:9], 1):
            assert fetch(maildrop, number).facts == measure([message])
            assert read(maildrop, number) == message
        close(maildrop)
        maildrop = opened(Maildir(tmp_path))
        assert list(maildrop.listing.octets)[:3] == [22, 17, 6]
        close(maildrop)
