"""What a Maildir does on the event loop, and what it leaves to a thread."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from restante.calls import OnThread
from restante.protocol.listing import MessageNumber
from restante.stores.contract import Content, Maildrop, MaildropInUse, Store
from restante.stores.maildir.files import Folder
from restante.stores.maildir.index import INDEX_FILE
from restante.stores.maildir.journal import JOURNAL_FILE
from restante.stores.maildir.open_maildir import SMALL
from restante.stores.maildir.pins import PINS_FILE
from restante.stores.maildir.scan import FEW, READ_IN_PLACE
from restante.stores.maildir.store import Maildir
from tests.needs import only_cpython
from tests.stores.maildir.kit import ANNA, close, ids, opened, put, read, settle
from tests.stores.stores import drained

ONE, TWO = MessageNumber(1), MessageNumber(2)


@pytest.fixture
def store(tmp_path: Path) -> Maildir:
    """A store whose maildrop has been opened once and lies still."""
    put(tmp_path, "1.M1P1.host", b"Subject: one\n\nfirst\n")
    put(tmp_path, "2.M1P1.host", b"Subject: two\n\n" + b"x" * SMALL)
    settle(tmp_path)
    store = Maildir(tmp_path)
    ids(store)
    return store


def in_place(store: Maildir) -> Maildrop:
    maildrop = store.open(ANNA)
    assert isinstance(maildrop, Maildrop)
    return maildrop


def test_an_unchanged_maildrop_needs_no_thread(store: Maildir) -> None:
    assert isinstance(store, Store)
    assert not store.blocking
    before = ids(store)
    maildrop = in_place(store)
    assert list(maildrop.listing.unique_ids) == before
    assert read(maildrop, 1) == b"Subject: one\n\nfirst\n"
    assert maildrop.commit([]) is None
    assert maildrop.close() is None


@only_cpython  # PyPy counts calls that it makes itself
def test_opening_and_closing_an_unchanged_one_takes_few_python_calls(store: Maildir) -> None:
    close(in_place(store))
    calls: list[str] = []

    def count(frame: object, event: str, argument: object) -> None:
        if event == "call":
            calls.append(str(frame))

    sys.setprofile(count)
    try:
        maildrop = store.open(ANNA)
        maildrop.close()  # type: ignore[union-attr]
    finally:
        sys.setprofile(None)
    assert len(calls) <= 12, calls


def test_a_maildrop_of_few_messages_needs_no_thread_at_first_sight(tmp_path: Path) -> None:
    put(tmp_path, "1.M1P1.host", b"\n")
    maildrop = in_place(Maildir(tmp_path))
    assert read(maildrop, 1) == b"\n"
    close(maildrop)


def test_few_changes_are_seen(store: Maildir, tmp_path: Path) -> None:
    close(in_place(store))
    put(tmp_path, "3.M1P1.host", b"Subject: three\n\n.\n")
    (tmp_path / "anna/new/1.M1P1.host").unlink()
    maildrop = in_place(store)
    assert list(maildrop.listing.unique_ids) == ["2.M1P1.host", "3.M1P1.host"]
    assert list(maildrop.listing.octets) == [SMALL + 18, 21]
    close(maildrop)
    assert ids(Maildir(tmp_path)) == ["2.M1P1.host", "3.M1P1.host"]


def large(root: Path) -> None:
    put(root, "3.M1P1.host", b"x" * (READ_IN_PLACE + 1))


def many(root: Path) -> None:
    for number in range(FEW):
        put(root, f"3.M{number}P1.host", b"\n")


def many_others(root: Path) -> None:
    for number in range(FEW):
        put(root, f".{number}", b"\n")


def namesakes(root: Path) -> None:
    put(root, "3.M1P1.host", b"\n")
    put(root, "3.M1P1.host:2,S", b"x\n", "cur")


def much_noted(root: Path) -> None:
    (root / "anna" / JOURNAL_FILE).write_bytes(b"\n" * (READ_IN_PLACE + 1))


def no_folder(root: Path) -> None:
    shutil.rmtree(root / "anna" / "new")


@pytest.mark.parametrize("change", [large, many, many_others, namesakes, much_noted, no_folder])
def test_much_is_left_to_a_thread(
    store: Maildir, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    change(tmp_path)
    os.utime(tmp_path / "anna" / "cur")
    rest = store.open(ANNA)
    assert isinstance(rest, OnThread)
    with pytest.raises(MaildropInUse):
        store.open(ANNA)  # it has the lease already
    maildrop = rest()
    assert len(maildrop.listing) == sum(
        not path.name.startswith(".") for sub in ("new", "cur")
        for path in (tmp_path / "anna" / sub).iterdir()
    )  # fmt: skip
    close(maildrop)


def test_what_was_left_and_is_never_done_holds_no_lease(store: Maildir, tmp_path: Path) -> None:
    large(tmp_path)
    rest = store.open(ANNA)
    assert isinstance(rest, OnThread)
    del rest
    gc.collect()  # not every Python does it at once
    assert len(ids(store)) == 3


def test_a_large_index_is_left_to_a_thread(store: Maildir, tmp_path: Path) -> None:
    with (tmp_path / "anna" / INDEX_FILE).open("ab") as file:
        file.write(b"x" * READ_IN_PLACE)
    rest = Maildir(tmp_path).open(ANNA)
    assert isinstance(rest, OnThread)
    close(rest())


def test_unique_ids_are_pinned_on_a_thread(tmp_path: Path) -> None:
    put(tmp_path, "1.x,S=2", b"x\n")
    put(tmp_path, "1.x,S=3", b"xx\n")
    settle(tmp_path)
    rest = Maildir(tmp_path).open(ANNA)
    assert isinstance(rest, OnThread)
    assert not (tmp_path / "anna" / PINS_FILE).exists()
    maildrop = rest()
    before = list(maildrop.listing.unique_ids)
    close(maildrop)
    maildrop = in_place(Maildir(tmp_path))
    assert list(maildrop.listing.unique_ids) == before
    close(maildrop)


def test_it_holds_the_lease(store: Maildir) -> None:
    """L1: exclusive, wherever it was opened."""
    maildrop = in_place(store)
    with pytest.raises(MaildropInUse):
        store.open(ANNA)
    assert maildrop.close() is None
    assert in_place(store).close() is None


def test_small_messages_are_read_and_large_ones_opened(store: Maildir) -> None:
    maildrop = in_place(store)
    small, large = (maildrop.fetch(number) for number in (ONE, TWO))
    assert isinstance(small, Content)
    assert small.source == b"Subject: one\n\nfirst\n"
    assert small.facts is not None
    assert small.facts.octets == maildrop.listing.octets[0]
    assert isinstance(large, Content)
    assert drained(large.source) == b"Subject: two\n\n" + b"x" * SMALL
    close(maildrop)


def test_top_reads_no_more_of_a_large_message_than_it_needs(store: Maildir, tmp_path: Path) -> None:
    put(tmp_path, "3.x", b"Subject: x\n\n" + b"a line\n" * 10 + b"y" * SMALL)
    settle(tmp_path)
    ids(store)
    maildrop = in_place(store)
    for lines, most in ((0, 100), (5, 1000)):
        content = maildrop.fetch(MessageNumber(3), lines)
        assert isinstance(content, Content)
        assert isinstance(content.source, bytes)
        assert len(content.source) < most
        assert content.source.count(b"\n") >= lines + 2
    whole = maildrop.fetch(MessageNumber(3), 11)
    assert isinstance(whole, Content)
    assert len(drained(whole.source)) == 12 + 70 + SMALL
    close(maildrop)


def test_a_message_that_was_moved_is_searched_for_on_a_thread(
    store: Maildir, tmp_path: Path
) -> None:
    maildrop = in_place(store)
    folder = tmp_path / "anna"
    (folder / "new" / "1.M1P1.host").rename(folder / "cur" / "1.M1P1.host:2,S")
    assert isinstance(maildrop.fetch(ONE), OnThread)
    assert read(maildrop, 1) == b"Subject: one\n\nfirst\n"
    close(maildrop)


def test_a_changed_file_is_measured_and_looked_at_again(store: Maildir, tmp_path: Path) -> None:
    maildrop = in_place(store)
    (tmp_path / "anna" / "new" / "1.M1P1.host").write_bytes(b"Subject: 1\n\n.longer than it was\n")
    content = maildrop.fetch(ONE)
    assert isinstance(content, Content)
    assert content.facts is not None
    assert content.facts.octets == 35
    rest = maildrop.close()
    assert isinstance(rest, OnThread)
    assert maildrop.close() is None
    with pytest.raises(MaildropInUse):
        store.open(ANNA)
    rest()
    again = opened(store)
    assert again.listing.octets[0] == 35
    close(again)


def test_a_file_that_grows_while_it_is_looked_at_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "message"
    path.write_bytes(b"Subject: x\n\nx\n")
    about, look = path.stat(), os.stat

    def look_and_grow(at: Path | int, **how: bool) -> os.stat_result:
        found = look(at, **how)
        if isinstance(at, int):
            with path.open("ab") as file:
                file.write(b"more\n")
        return found

    with Folder(str(tmp_path)) as folder:
        monkeypatch.setattr("restante.stores.maildir.files.os.stat", look_and_grow)
        assert folder.read_unchanged("message", about.st_size, about.st_mtime_ns) is None


class TestCommit:
    def test_a_few_files_are_unlinked_in_place_and_synced_on_a_thread(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(1, 4):
            put(tmp_path, f"{number}.x", b"x\n", "cur")
        maildrop = opened(Maildir(tmp_path))
        synced: list[int] = []
        monkeypatch.setattr(os, "fsync", synced.append)
        rest = maildrop.commit([MessageNumber(1), MessageNumber(3)])
        assert isinstance(rest, OnThread)
        assert [path.name for path in (tmp_path / "anna/cur").iterdir()] == ["2.x"]
        assert synced == []
        rest()
        assert len(synced) == 1
        close(maildrop)

    def test_without_fsync_there_is_no_rest(self, tmp_path: Path) -> None:
        put(tmp_path, "1.x", b"x\n", "cur")
        maildrop = opened(Maildir(tmp_path, fsync=False))
        assert maildrop.commit([ONE]) is None
        close(maildrop)

    def test_many_are_left_to_a_thread(self, tmp_path: Path) -> None:
        numbers = [MessageNumber(number) for number in range(1, FEW + 2)]
        for number in numbers:
            put(tmp_path, f"{number}.x", b"x\n")
        maildrop = opened(Maildir(tmp_path, fsync=False))
        rest = maildrop.commit(numbers)
        assert isinstance(rest, OnThread)
        assert len(list((tmp_path / "anna/new").iterdir())) == len(numbers)
        rest()
        assert list((tmp_path / "anna/new").iterdir()) == []
        close(maildrop)

    def test_what_was_moved_or_is_there_twice_is_searched_for_on_a_thread(
        self, tmp_path: Path
    ) -> None:
        moved = put(tmp_path, "1.x", b"x\n")
        twice = put(tmp_path, "2.x", b"x\n")
        (tmp_path / "anna/cur/2.x:2,").hardlink_to(twice)
        store = Maildir(tmp_path, fsync=False)
        maildrop = opened(store)
        moved.rename(tmp_path / "anna/cur/1.x:2,S")
        rest = maildrop.commit([ONE, TWO])
        assert isinstance(rest, OnThread)
        rest()
        close(maildrop)
        assert ids(store) == []


def test_looking_never_lists_a_large_folder_in_place(
    store: Maildir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(tmp_path)
    monkeypatch.setattr(Folder, "names", few_only(Folder.names))
    assert isinstance(store.open(ANNA), OnThread)


def few_only(names: Callable[..., list[str]]) -> Callable[..., list[str]]:
    def listed(folder: Folder, most: int | None = None) -> list[str]:
        assert most is not None
        return names(folder, most)

    return listed
