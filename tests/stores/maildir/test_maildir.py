"""Reading Maildirs that other programs write, and disturbing none of them."""

from __future__ import annotations

import os
import time
from io import FileIO
from pathlib import Path

import pytest

from restante.accounts.contract import Account
from restante.calls import OnThread
from restante.protocol.facts import measure
from restante.protocol.listing import MessageNumber
from restante.stores.contract import (
    CommitFailed,
    LeaseLost,
    MaildropInUse,
    MessageGone,
    StoreError,
)
from restante.stores.maildir import files, measured, scan
from restante.stores.maildir import store as maildir
from restante.stores.maildir.open_maildir import SMALL
from restante.stores.maildir.store import Maildir
from tests.corpus import NASTY, wire_form
from tests.stores.maildir.kit import (
    ANNA,
    close,
    commit,
    count_calls,
    fetch,
    ids,
    opened,
    put,
    read,
    settle,
)
from tests.stores.stores import drained

POSTFIX = "1700000003.V801I2a3b4M000007.mx.example.org"
DOVECOT = "1700000001.M5P42.mail,S=4,W=5"
PROCMAIL = "1700000002.4711_1.box"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "mail"


@pytest.fixture
def store(root: Path) -> Maildir:
    return Maildir(root, fsync=False)


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every message file with its inode and modification time."""
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for sub in ("new", "cur")
        for path in (folder / sub).iterdir()
    }


def test_it_reads_what_postfix_dovecot_and_procmail_write(root: Path, store: Maildir) -> None:
    put(root, POSTFIX, b"3\n")
    put(root, DOVECOT + ":2,FS", b"1\r\n", "cur")
    put(root, PROCMAIL, b"2")
    maildrop = opened(store)
    assert list(maildrop.listing.unique_ids) == ["1700000001.M5P42.mail", PROCMAIL, POSTFIX]
    assert [wire_form(read(maildrop, n)) for n in (1, 2, 3)] == [b"1\r\n", b"2\r\n", b"3\r\n"]
    assert list(maildrop.listing.octets) == [3, 3, 3]
    close(maildrop)


def test_messages_are_in_order_of_delivery(root: Path, store: Maildir) -> None:
    names = ["nothing", "9.a", "10.M2P1.h", "10.M10P1.h", "10.V1M11.h", "100.b", "100.c"]
    for name in reversed(names):
        put(root, name, b"x\n")
    assert ids(store) == names


def test_a_message_arrived_at_the_time_in_its_files_name_or_at_the_files_own(
    root: Path, store: Maildir
) -> None:
    put(root, POSTFIX, b"x\n")
    put(root, "nothing", b"x\n")
    put(root, f"{10**18}.a", b"x\n")
    for name in ("nothing", f"{10**18}.a"):
        os.utime(root / "anna" / "new" / name, (1_600_000_000, 1_600_000_000))
    maildrop = opened(store)
    by_name = [maildrop.arrived(MessageNumber(n)) for n in (1, 2, 3)]
    close(maildrop)
    assert by_name == [1_600_000_000.0, 1_700_000_003.000007, 1_600_000_000.0]


@pytest.mark.parametrize(
    "name", ["42.eml", "0001.msg", "2023-backup.eml", "20231231-1.eml", "4102444800.M1P1.host"]
)
def test_digits_that_are_no_time_of_delivery_are_not_taken_for_one(
    root: Path, store: Maildir, name: str
) -> None:
    """Before there were Maildirs, or to come: mail must not expire by a mere number."""
    path = put(root, name, b"x\n")
    os.utime(path, (1_600_000_000, 1_600_000_000))
    maildrop = opened(store)
    arrived = maildrop.arrived(MessageNumber(1))
    close(maildrop)
    assert arrived == 1_600_000_000.0


def test_nothing_is_moved_renamed_or_flagged(root: Path, store: Maildir) -> None:
    put(root, POSTFIX, b"x\n")
    put(root, DOVECOT + ":2,S", b"x\n", "cur")
    before = tree(root / "anna")
    maildrop = opened(store)
    read(maildrop, 1)
    read(maildrop, 2)
    close(maildrop)
    assert tree(root / "anna") == before


def test_what_is_no_message_is_left_alone(root: Path, store: Maildir) -> None:
    put(root, "1.real", b"x\n")
    put(root, ".hidden", b"x\n")
    put(root, "2.unfinished", b"x\n", "tmp")
    (root / "anna/new/3.folder").mkdir()
    (root / "anna/.Sent/new").mkdir(parents=True)
    (root / "anna/.Sent/new/4.sent").write_bytes(b"x\n")
    assert ids(store) == ["1.real"]


@pytest.mark.skipif(os.name == "nt", reason="no FIFOs there")
def test_a_fifo_hangs_nobody(root: Path, store: Maildir) -> None:
    put(root, "1.real", b"x\n")
    os.mkfifo(root / "anna/new/2.fifo")
    assert ids(store) == ["1.real"]
    with pytest.raises(FileNotFoundError):
        files.open_regular(str(root / "anna/new/2.fifo"))


def test_a_message_that_becomes_a_fifo_is_gone(root: Path, store: Maildir) -> None:
    path = put(root, "1.real", b"x\n")
    maildrop = opened(store)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(MessageGone):
        fetch(maildrop, 1)
    close(maildrop)


def test_links_inside_a_maildrop_are_not_followed(root: Path, store: Maildir) -> None:
    secret = root.parent / "secret"
    secret.write_bytes(b"not for anna\n")
    put(root, "1.real", b"x\n")
    (root / "anna/new/2.link").symlink_to(secret)
    assert ids(store) == ["1.real"]


def test_a_message_that_becomes_a_link_is_gone(root: Path, store: Maildir) -> None:
    secret = root.parent / "secret"
    secret.write_bytes(b"not for anna\n")
    path = put(root, "1.real", b"x\n")
    maildrop = opened(store)
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(MessageGone):
        fetch(maildrop, 1)
    close(maildrop)


@pytest.mark.parametrize("sub", ["new", "cur", "tmp"])
def test_new_cur_and_tmp_must_be_folders(root: Path, store: Maildir, sub: str) -> None:
    put(root, "1.bens", b"x\n", user="ben")
    put(root, "1.annas", b"x\n")
    for path in (root / "anna" / sub).iterdir():
        path.unlink()
    (root / "anna" / sub).rmdir()
    (root / "anna" / sub).symlink_to(root / "ben/new")
    with pytest.raises(StoreError) as caught:
        opened(store, ANNA)
    assert not caught.value.temporary
    with pytest.raises(StoreError):
        store.receive(ANNA)
    (root / "anna" / sub).unlink()
    close(opened(store, ANNA))  # the lease was given back


def test_an_operators_link_to_a_maildrop_is_followed(root: Path, store: Maildir) -> None:
    put(root.parent / "big", "1.far", b"x\n")
    root.mkdir()
    (root / "anna").symlink_to(root.parent / "big/anna")
    assert ids(store) == ["1.far"]


def test_an_account_without_folder_has_an_empty_maildrop(root: Path, store: Maildir) -> None:
    assert ids(store) == []
    assert {path.name for path in (root / "anna").iterdir()} >= {"new", "cur", "tmp"}
    assert (root / "anna").stat().st_mode & 0o777 == 0o700


class TestUniqueIds:
    def test_u1_they_outlive_flags_moves_restarts_and_the_index(self, root: Path) -> None:
        path = put(root, POSTFIX, b"x\n")
        put(root, DOVECOT, b"x\n")
        first = ids(Maildir(root))
        path = path.rename(root / "anna/cur" / f"{POSTFIX}:2,")
        assert ids(Maildir(root)) == first
        path.rename(root / "anna/cur" / f"{POSTFIX},S=2,W=3:2,RS")
        assert ids(Maildir(root)) == first
        (root / "anna/restante.index").unlink(missing_ok=True)
        assert ids(Maildir(root)) == first

    def test_u2_names_that_can_be_none_are_mapped(self, root: Path, store: Maildir) -> None:
        put(root, "1." + "x" * 200, b"x\n")
        put(root, "2.with blank", b"x\n")
        put(root, "3.grüße", b"x\n")
        put(root, "4.\n", b"x\n")
        os.close(os.open(os.fsencode(root / "anna/new/5.") + b"\xff\xfe", os.O_CREAT))
        found = ids(store)
        assert len(set(found)) == 5
        assert all(unique_id.startswith("h") for unique_id in found)
        assert ids(Maildir(root)) == found

    def test_u3_duplicates_keep_theirs_when_the_other_goes(self, root: Path) -> None:
        put(root, "1.x", b"one\n")
        put(root, "1.x,S=4", b"two\n")
        first = ids(Maildir(root))
        assert len(set(first)) == 2
        assert first[0] == "1.x"
        (root / "anna/new/1.x").unlink()
        (root / "anna/restante.index").unlink(missing_ok=True)
        assert ids(Maildir(root)) == first[1:]

    def test_one_file_under_two_names_is_one_message(self, root: Path, store: Maildir) -> None:
        path = put(root, "1.x", b"one\n")
        os.link(path, root / "anna/cur/1.x:2,S")
        maildrop = opened(store)
        assert list(maildrop.listing.unique_ids) == ["1.x"]
        commit(maildrop, 1)
        close(maildrop)
        assert tree(root / "anna") == {}

    def test_two_files_with_one_base_name_are_two(self, root: Path, store: Maildir) -> None:
        put(root, "1.x", b"one\n")
        put(root, "1.x:2,S", b"longer\n", "cur")
        settle(root)
        for _ in range(2):
            maildrop = opened(store)
            assert [read(maildrop, 1), read(maildrop, 2)] == [b"one\n", b"longer\n"]
            assert list(maildrop.listing.octets) == [5, 8]
            close(maildrop)
            store = Maildir(root)
        maildrop = opened(store)
        (root / "anna/new/1.x").unlink()
        commit(maildrop, 1)
        close(maildrop)
        assert list(tree(root / "anna")) == ["cur/1.x:2,S"]


class TestOthersAtWork:
    def test_flags_and_moves_during_a_session(self, root: Path, store: Maildir) -> None:
        paths = [put(root, f"{n}.x", b"%d\n" % n) for n in range(1, 5)]
        maildrop = opened(store)
        paths[0].rename(root / "anna/cur/1.x:2,")
        assert read(maildrop, 1) == b"1\n"
        (root / "anna/cur/1.x:2,").rename(root / "anna/cur/1.x:2,S")
        paths[1].rename(root / "anna/cur/2.x:2,")
        assert [read(maildrop, 1), read(maildrop, 2)] == [b"1\n", b"2\n"]
        paths[2].rename(root / "anna/cur/3.x,S=2:2,S")
        with pytest.raises(MessageGone):  # another base name: another file
            read(maildrop, 3)
        commit(maildrop, 1, 2)
        close(maildrop)
        assert sorted(tree(root / "anna")) == ["cur/3.x,S=2:2,S", "new/4.x"]

    def test_a_file_changed_in_place_is_measured_again(self, root: Path, store: Maildir) -> None:
        path = put(root, "1.x", b"one\n")
        put(root, "2.x", b"two\n")
        settle(root)
        ids(store)
        path.write_bytes(b".dots\n.\nand more\n")
        settle(root)
        maildrop = opened(store)
        assert list(maildrop.listing.octets) == [5, 5]
        content = fetch(maildrop, 1)
        assert content.source == b".dots\n.\nand more\n"
        assert content.facts == measure([b".dots\n.\nand more\n"])
        assert fetch(maildrop, 2).facts == measure([b"two\n"])
        close(maildrop)
        for again in (store, Maildir(root)):
            maildrop = opened(again)
            assert list(maildrop.listing.octets) == [20, 5]
            assert fetch(maildrop, 1).facts == content.facts
            close(maildrop)

    def test_a_large_file_changed_in_place_is_measured_again_on_a_thread(
        self, root: Path, store: Maildir
    ) -> None:
        """RETR announces what it sends."""
        path = put(root, "1.x", b"one\n")
        maildrop = opened(store)
        message = b"line\n.dot\n" * SMALL
        path.write_bytes(message)
        assert isinstance(maildrop.fetch(MessageNumber(1)), OnThread)
        content = fetch(maildrop, 1)
        assert content.facts == measure([message])
        assert drained(content.source) == message
        close(maildrop)

    def test_an_edit_that_keeps_the_size_is_seen(self, root: Path, store: Maildir) -> None:
        path = put(root, "1.x", b"..\n")
        settle(root)
        ids(store)
        path.write_bytes(b"\n.\n")
        os.utime(path, (5, 5))
        maildrop = opened(store)
        assert fetch(maildrop, 1).facts == measure([b"\n.\n"])
        close(maildrop)

    def test_l5_many_moved_messages_cost_few_scans(
        self, root: Path, store: Maildir, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(500):
            put(root, f"{number}.x", b"x\n")
        maildrop = opened(store)
        for number in range(500):
            (root / f"anna/new/{number}.x").rename(root / f"anna/cur/{number}.x:2,S")
        settle(root)
        scans = count_calls(monkeypatch, "listdir")
        for number in range(1, 501):
            read(maildrop, number)
        assert len(scans) == 2
        commit(maildrop, *range(1, 501))
        assert len(scans) == 6
        close(maildrop)
        assert tree(root / "anna") == {}


class TestUnchanged:
    @pytest.mark.parametrize("restarted", [False, True])
    def test_it_opens_without_listing_or_reading(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, restarted: bool
    ) -> None:
        for number, message in enumerate(NASTY.values()):
            put(root, f"{number}.x", message, "cur" if number % 2 else "new")
        settle(root)
        store = Maildir(root)
        first = opened(store)
        close(first)
        if restarted:
            store = Maildir(root)
        listed = count_calls(monkeypatch, "scandir")
        listed += count_calls(monkeypatch, "listdir")
        opens = count_calls(monkeypatch, "open")
        maildrop = opened(store)
        assert listed == []
        assert [Path(path).name for path in opens] == (["restante.index"] if restarted else [])
        assert list(maildrop.listing.unique_ids) == list(first.listing.unique_ids)
        assert list(maildrop.listing.octets) == [len(wire_form(m)) for m in NASTY.values()]
        close(maildrop)

    def test_known_messages_are_not_read_again(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(5):
            put(root, f"{number}.x", b"x\n")
        ids(Maildir(root))
        (root / "anna/new/3.x").rename(root / "anna/cur/3.x:2,S")
        put(root, "9.x", b"y\n")
        opens = count_calls(monkeypatch, "open")
        assert ids(Maildir(root)) == ["0.x", "1.x", "2.x", "3.x", "4.x", "9.x"]
        assert [path for path in opens if path.endswith(".x")] == ["9.x"]

    def test_a_folder_that_changed_a_moment_ago_is_listed_until_its_time_can_be_trusted(
        self, root: Path, store: Maildir, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Listing tells what its time can't yet. Nothing is read or saved for it."""
        put(root, "1.x", b"x\n")
        put(root, "2.x:2,S", b"y\n", "cur")
        assert ids(store) == ["1.x", "2.x"]
        index = (root / "anna/restante.index").stat()
        listed = count_calls(monkeypatch, "scandir")
        reads = count_calls(monkeypatch, "read")
        assert ids(store) == ["1.x", "2.x"]
        assert len(listed) == 2
        monkeypatch.setattr(
            "restante.stores.maildir.snapshot.TICK", -(10**9)
        )  # long ago, as it were
        assert ids(store) == ["1.x", "2.x"]
        assert len(listed) == 4
        assert ids(store) == ["1.x", "2.x"]
        assert len(listed) == 4
        assert reads == []
        assert (root / "anna/restante.index").stat() == index

    def test_a_folder_that_changed_a_moment_ago_is_not_believed(
        self, root: Path, store: Maildir
    ) -> None:
        """Mail that comes in within the same tick of the clock must not be missed."""
        put(root, "1.x", b"x\n")
        moment = time.time_ns()
        os.utime(root / "anna/new", ns=(moment, moment))
        assert ids(store) == ["1.x"]
        put(root, "2.x", b"x\n")
        os.utime(root / "anna/new", ns=(moment, moment))
        assert ids(store) == ["1.x", "2.x"]
        assert ids(Maildir(root)) == ["1.x", "2.x"]

    def test_a_folder_of_the_future_is_not_believed(self, root: Path, store: Maildir) -> None:
        put(root, "1.x", b"x\n")
        future = time.time() + 1000
        os.utime(root / "anna/new", (future, future))
        assert ids(store) == ["1.x"]
        put(root, "2.x", b"x\n")
        os.utime(root / "anna/new", (future, future))
        assert ids(store) == ["1.x", "2.x"]

    def test_another_process_sees_what_this_one_removed(self, root: Path) -> None:
        put(root, "1.x", b"x\n")
        put(root, "2.x", b"x\n")
        settle(root)
        one, other = Maildir(root), Maildir(root)
        assert ids(one) == ids(other) == ["1.x", "2.x"]
        maildrop = opened(one)
        commit(maildrop, 1)
        close(maildrop)
        assert ids(other) == ids(one) == ids(Maildir(root)) == ["2.x"]


def test_a_message_moved_while_the_maildrop_is_opened_is_not_missed(
    root: Path, store: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(root, "1.x", b"x\n")
    put(root, "2.x", b"y\n")
    real = measured.measure_open

    def moving(fd: int, about: os.stat_result, name: str) -> measured.Measured:
        if path.exists():
            path.rename(root / "anna/cur/1.x:2,S")
        return real(fd, about, name)

    monkeypatch.setattr(scan, "measure_open", moving)
    assert ids(store) == ["1.x", "2.x"]


def test_a_file_that_cannot_be_read_hides_no_other(
    root: Path, store: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(root, "1.x", b"x\n")
    put(root, "2.x", b"y\n")
    settle(root)
    real = measured.measure_open

    def failing(fd: int, about: os.stat_result, name: str) -> measured.Measured:
        if name.endswith("1.x"):
            raise PermissionError(13, "no")
        return real(fd, about, name)

    monkeypatch.setattr(scan, "measure_open", failing)
    assert ids(store) == ["2.x"]
    monkeypatch.undo()
    assert ids(store) == ["1.x", "2.x"]


class TestCommit:
    def test_d3_it_tells_what_remains(
        self, root: Path, store: Maildir, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(1, 5):
            put(root, f"{number}.x", b"x\n")
        maildrop = opened(store)
        real = os.unlink

        def failing(name: str, *, dir_fd: int | None = None) -> None:
            if name.endswith(("2.x", "3.x")):
                raise PermissionError(13, "no")
            real(name, dir_fd=dir_fd)

        monkeypatch.setattr(os, "unlink", failing)
        with pytest.raises(CommitFailed) as caught:
            commit(maildrop, 1, 2, 3)
        assert caught.value.remaining == 2
        monkeypatch.undo()
        close(maildrop)
        assert ids(store) == ["2.x", "3.x", "4.x"]

    def test_the_folders_are_synced_once(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for number in range(1, 50):
            put(root, f"{number}.x", b"x\n", "cur" if number > 30 else "new")
        maildrop = opened(Maildir(root))
        synced: list[int] = []
        monkeypatch.setattr(os, "fsync", synced.append)
        commit(maildrop, *range(1, 40))
        assert len(synced) == 2
        close(maildrop)

    def test_d3_a_removal_that_is_not_durable_is_no_success(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(root, "1.x", b"x\n")
        maildrop = opened(Maildir(root))

        def failing(fd: int) -> None:
            raise OSError(5, "I/O error")

        monkeypatch.setattr(os, "fsync", failing)
        with pytest.raises(CommitFailed):
            commit(maildrop, 1)
        close(maildrop)

    def test_a_session_that_lost_its_lease_removes_nothing(self, root: Path) -> None:
        put(root, "1.x", b"x\n")
        maildrop = opened(Maildir(root))
        (root / "anna/restante.lock").unlink()
        other = opened(Maildir(root))
        with pytest.raises(LeaseLost):
            commit(maildrop, 1)
        close(maildrop)
        with pytest.raises(MaildropInUse):
            opened(Maildir(root), ANNA)
        commit(other, 1)
        close(other)


def test_tmp_is_cleaned_of_deliveries_that_failed_long_ago(
    root: Path, store: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(root, "1.left", b"x\n", "tmp")
    (root / "anna/tmp/folder").mkdir()
    ids(store)
    assert (root / "anna/tmp/1.left").exists()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 37 * 3600)
    put(root, "2.x", b"x\n")
    ids(store)
    assert [path.name for path in (root / "anna/tmp").iterdir()] == ["folder"]


def test_a_read_only_file_system_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root, "1.x", b"x\n")
    real = os.open

    def read_only(path: str, flags: int, mode: int = 0o777, dir_fd: int | None = None) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(30, "Read-only file system", str(path))
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", read_only)
    store = Maildir(root)
    for _ in range(2):
        maildrop = opened(store)
        assert read(maildrop, 1) == b"x\n"
        with pytest.raises(MaildropInUse):
            opened(Maildir(root), ANNA)
        close(maildrop)
    assert sorted(path.name for path in (root / "anna").iterdir()) == ["cur", "new", "tmp"]


def test_big_messages_come_as_files_and_small_ones_as_bytes(root: Path, store: Maildir) -> None:
    put(root, "1.x", b"x" * SMALL)
    put(root, "2.x", b"x" * (SMALL + 1))
    maildrop = opened(store)
    assert isinstance(fetch(maildrop, 1).source, bytes)
    source = fetch(maildrop, 2).source
    assert isinstance(source, FileIO)
    with source:
        assert len(source.read()) == SMALL + 1
    close(maildrop)


def test_what_is_remembered_in_memory_is_bounded(
    root: Path, store: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maildir, "REMEMBERED", 100)
    for user in range(20):
        put(root, "1.x", b"x\n", user=f"user{user}")
        close(opened(store, Account(f"user{user}")))
    assert 0 < len(store._recent) <= 10


def test_the_root_is_seen_to_be_usable(root: Path, store: Maildir) -> None:
    root.mkdir(exist_ok=True)
    store.check()()
    root.rmdir()
    with pytest.raises(StoreError, match="is gone"):
        store.check()()
    root.write_bytes(b"")
    with pytest.raises(StoreError, match="is no folder"):
        store.check()()
