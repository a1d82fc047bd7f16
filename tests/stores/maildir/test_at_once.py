"""What an unchanged Maildir offers to callers that can't wait."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from restante.protocol.listing import MessageNumber
from restante.stores.contract import Content, Maildrop, MaildropInUse, OpensAtOnce
from restante.stores.maildir import files
from restante.stores.maildir import scan as survey
from restante.stores.maildir import store as maildir
from restante.stores.maildir.index import INDEX_FILE
from restante.stores.maildir.journal import JOURNAL_FILE
from restante.stores.maildir.open_maildir import SMALL
from restante.stores.maildir.pins import PINS_FILE
from restante.stores.maildir.store import Maildir
from tests.stores.backends import drained
from tests.stores.maildir.kit import ANNA, ids, put, read, settle

ONE = MessageNumber(1)


@pytest.fixture
def store(tmp_path: Path) -> Maildir:
    """A store whose maildrop has been opened once and lies still."""
    put(tmp_path, "1.M1P1.host", b"Subject: one\n\nfirst\n")
    put(tmp_path, "2.M1P1.host", b"Subject: two\n\n" + b"x" * SMALL)
    settle(tmp_path)
    store = Maildir(tmp_path)
    ids(store)
    return store


def at_once(store: Maildir) -> Maildrop:
    maildrop = store.open_at_once(ANNA)
    assert maildrop is not None
    return maildrop


def test_it_is_the_maildrop_that_open_gives(store: Maildir) -> None:
    assert isinstance(store, OpensAtOnce)
    before = ids(store)
    maildrop = at_once(store)
    assert list(maildrop.listing.unique_ids) == before
    assert read(maildrop, 1) == b"Subject: one\n\nfirst\n"
    assert maildrop.close_at_once()


def test_a_maildrop_of_few_messages_needs_no_other_sight(tmp_path: Path) -> None:
    put(tmp_path, "1.M1P1.host", b"\n")
    maildrop = at_once(Maildir(tmp_path))
    assert read(maildrop, 1) == b"\n"
    maildrop.close()


def test_few_changes_are_seen(store: Maildir, tmp_path: Path) -> None:
    at_once(store).close()
    put(tmp_path, "3.M1P1.host", b"Subject: three\n\n.\n")
    (tmp_path / "anna/new/1.M1P1.host").unlink()
    maildrop = at_once(store)
    assert list(maildrop.listing.unique_ids) == ["2.M1P1.host", "3.M1P1.host"]
    assert list(maildrop.listing.octets) == [SMALL + 18, 21]
    maildrop.close()
    assert ids(Maildir(tmp_path)) == ["2.M1P1.host", "3.M1P1.host"]


def large(root: Path) -> None:
    put(root, "3.M1P1.host", b"x" * (survey.READ_AT_ONCE + 1))


def many(root: Path) -> None:
    for number in range(survey.FEW):
        put(root, f"3.M{number}P1.host", b"\n")


def many_others(root: Path) -> None:
    for number in range(survey.FEW):
        put(root, f".{number}", b"\n")


def twice(root: Path) -> None:
    put(root, "3.M1P1.host", b"\n")
    put(root, "3.M1P1.host:2,S", b"\n", "cur")


def much_noted(root: Path) -> None:
    (root / "anna" / JOURNAL_FILE).write_bytes(b"\n" * (survey.READ_AT_ONCE + 1))


def no_folder(root: Path) -> None:
    shutil.rmtree(root / "anna" / "new")


@pytest.mark.parametrize("change", [large, many, many_others, twice, much_noted, no_folder])
def test_much_must_wait_and_the_lease_is_free(
    store: Maildir, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    change(tmp_path)
    os.utime(tmp_path / "anna" / "cur")
    assert store.open_at_once(ANNA) is None
    assert len(ids(store)) == sum(
        not path.name.startswith(".") for sub in ("new", "cur")
        for path in (tmp_path / "anna" / sub).iterdir()
    )  # fmt: skip


def test_a_large_index_is_not_read(store: Maildir, tmp_path: Path) -> None:
    with (tmp_path / "anna" / INDEX_FILE).open("ab") as file:
        file.write(b"x" * survey.READ_AT_ONCE)
    assert Maildir(tmp_path).open_at_once(ANNA) is None


def test_it_ends_in_time(store: Maildir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maildir, "AT_ONCE_SECONDS", -1.0)
    put(tmp_path, "3.M1P1.host", b"Subject: three\n\n")
    assert store.open_at_once(ANNA) is None
    assert len(ids(store)) == 3


def test_unique_ids_that_must_be_pinned_must_wait(tmp_path: Path) -> None:
    put(tmp_path, "1.x,S=2", b"x\n")
    put(tmp_path, "1.x,S=3", b"xx\n")
    settle(tmp_path)
    assert Maildir(tmp_path).open_at_once(ANNA) is None
    assert not (tmp_path / "anna" / PINS_FILE).exists()
    before = ids(Maildir(tmp_path))
    maildrop = at_once(Maildir(tmp_path))
    assert list(maildrop.listing.unique_ids) == before
    maildrop.close()


def test_it_holds_the_lease(store: Maildir) -> None:
    """L1: exclusive, whichever way it was opened."""
    maildrop = at_once(store)
    with pytest.raises(MaildropInUse):
        store.open(ANNA)
    with pytest.raises(MaildropInUse):
        store.open_at_once(ANNA)
    assert maildrop.close_at_once()
    assert at_once(store).close_at_once()


def test_small_messages_are_read_and_large_ones_opened(store: Maildir) -> None:
    maildrop = at_once(store)
    small, large = (maildrop.fetch_at_once(MessageNumber(n)) for n in (1, 2))
    assert isinstance(small, Content)
    assert small.source == b"Subject: one\n\nfirst\n"
    assert small.facts is not None
    assert small.facts.octets == maildrop.listing.octets[0]
    assert isinstance(large, Content)
    assert drained(large.source) == b"Subject: two\n\n" + b"x" * SMALL
    maildrop.close()


def test_a_message_that_was_moved_must_wait(store: Maildir, tmp_path: Path) -> None:
    maildrop = at_once(store)
    folder = tmp_path / "anna"
    (folder / "new" / "1.M1P1.host").rename(folder / "cur" / "1.M1P1.host:2,S")
    assert maildrop.fetch_at_once(ONE) is None
    assert read(maildrop, 1) == b"Subject: one\n\nfirst\n"
    maildrop.close()


def test_a_changed_file_loses_its_facts_and_is_looked_at_again(
    store: Maildir, tmp_path: Path
) -> None:
    maildrop = at_once(store)
    (tmp_path / "anna" / "new" / "1.M1P1.host").write_bytes(b"Subject: 1\n\n.longer than it was\n")
    content = maildrop.fetch_at_once(ONE)
    assert content is not None
    assert content.facts is None
    assert not maildrop.close_at_once()
    maildrop.close()
    again = at_once(store)
    assert again.listing.octets[0] == 35
    again.close()


def test_a_file_that_grows_while_it_is_looked_at_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "message"
    path.write_bytes(b"Subject: x\n\nx\n")
    about, look = path.stat(), os.stat

    def look_and_grow(at: Path | int, *, follow_symlinks: bool = True) -> os.stat_result:
        found = look(at, follow_symlinks=follow_symlinks)
        if isinstance(at, int):
            with path.open("ab") as file:
                file.write(b"more\n")
        return found

    monkeypatch.setattr("restante.stores.maildir.files.os.stat", look_and_grow)
    assert files.read_unchanged(str(path), about.st_size, about.st_mtime_ns) is None
