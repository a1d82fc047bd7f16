"""Removed messages rest in a folder of ours until their time is over."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest

from restante.stores.contract import CommitFailed, StoreError
from restante.stores.maildir import removed as module
from restante.stores.maildir.files import Folder
from restante.stores.maildir.store import Maildir
from tests.stores.maildir.kit import ANNA, asked, close, commit, ids, opened, put

DAY = 86_400


def undelete(store: Maildir, seconds: float = 3600) -> int:
    number: int = asked(store.undelete(ANNA, seconds))
    return number


def collect(store: Maildir) -> int:
    number: int = asked(store.collect())
    return number


def remove(store: Maildir, *numbers: int) -> None:
    maildrop = opened(store)
    commit(maildrop, *numbers)
    close(maildrop)


def resting(root: Path) -> list[str]:
    folder = root / "anna" / "restante.removed"
    return sorted(each.name for each in folder.iterdir()) if folder.exists() else []


def make_older(root: Path, seconds: float) -> None:
    """As if what rests had been removed so much earlier."""
    folder = root / "anna" / "restante.removed"
    for name in resting(root):
        at, _, rest = name.partition(".")
        (folder / name).rename(folder / f"{int(at, 16) - int(seconds * 1e9):x}.{rest}")


@pytest.fixture
def store(tmp_path: Path) -> Maildir:
    return Maildir(tmp_path, fsync=False, undelete_days=7)


def test_files_come_back_where_they_lay_with_their_flags(store: Maildir, tmp_path: Path) -> None:
    files = [
        put(tmp_path, "1600000001.M1P1.host,S=3", b"a\r\n"),
        put(tmp_path, "1600000002.M1P1.host:2,FS", b"b\r\n", "cur"),
        put(tmp_path, "1600000003.weird!name", b"c\r\n"),
    ]
    before = ids(store)
    remove(store, 1, 2, 3)
    assert [each.exists() for each in files] == [False] * 3
    assert len(resting(tmp_path)) == 3
    assert undelete(store) == 3
    assert [each.read_bytes() for each in files] == [b"a\r\n", b"b\r\n", b"c\r\n"]
    assert resting(tmp_path) == []
    assert ids(store) == ids(Maildir(tmp_path)) == before


def test_pinned_unique_ids_come_back(tmp_path: Path) -> None:
    """Dovecot's, and those of namesakes: both are in the file of pins."""
    store = Maildir(tmp_path, unique_ids="dovecot", fsync=False, undelete_days=7)
    put(tmp_path, "1600000001.M1P1.host", b"a\r\n")
    put(tmp_path, "1600000001.M1P1.host:2,S", b"other\r\n", "cur")
    put(tmp_path, "1600000002.M1P1.host", b"b\r\n")
    uidlist = b"3 V7 N10\n5 :1600000002.M1P1.host\n"
    (tmp_path / "anna" / "dovecot-uidlist").write_bytes(uidlist)
    before = ids(store)
    assert before[2] == "0000000500000007"
    remove(store, 1, 2, 3)
    assert undelete(store) == 3
    assert ids(store) == ids(Maildir(tmp_path, unique_ids="dovecot")) == before


def test_only_what_was_removed_lately_comes_back(store: Maildir, tmp_path: Path) -> None:
    for number in (1, 2):
        put(tmp_path, f"160000000{number}.M1P1.host", b"a\r\n")
    first, second = ids(store)
    remove(store, 1)
    make_older(tmp_path, 7200)
    remove(store, 1)
    assert [each.unique_id for each in asked(store.removed(ANNA))] == [first, second]
    assert undelete(store, 3600) == 1
    assert ids(store) == [second]
    assert undelete(store, 3 * 3600) == 1
    assert ids(store) == [first, second]


def test_collect_unlinks_what_has_rested_long_enough(store: Maildir, tmp_path: Path) -> None:
    put(tmp_path, "1600000001.M1P1.host", b"a\r\n")
    put(tmp_path, "1600000002.M1P1.host", b"b\r\n")
    remove(store, 1)
    make_older(tmp_path, 7 * DAY + 60)
    remove(store, 1)
    (tmp_path / "anna" / "restante.removed" / "of somebody else").write_bytes(b"")
    assert collect(store) == 1
    assert undelete(store, 30 * DAY) == 1
    assert collect(Maildir(tmp_path / "nowhere", undelete_days=7)) == 0


def test_what_rested_goes_when_nothing_rests_any_more(store: Maildir, tmp_path: Path) -> None:
    put(tmp_path, "1600000001.M1P1.host", b"a\r\n")
    remove(store, 1)
    assert collect(Maildir(tmp_path)) == 1
    assert resting(tmp_path) == []


def test_a_file_that_has_come_meanwhile_is_not_overwritten(store: Maildir, tmp_path: Path) -> None:
    path = put(tmp_path, "1600000001.M1P1.host", b"a\r\n")
    remove(store, 1)
    path.write_bytes(b"another\r\n")
    assert undelete(store) == 0
    assert path.read_bytes() == b"another\r\n"
    assert len(resting(tmp_path)) == 1


def test_other_programs_see_nothing_of_it(store: Maildir, tmp_path: Path) -> None:
    put(tmp_path, "1600000001.M1P1.host", b"a\r\n")
    remove(store, 1)
    assert ids(Maildir(tmp_path)) == []
    folder = tmp_path / "anna" / "restante.removed"
    assert {each.name for each in folder.iterdir() if each.is_dir()} == set()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_message_that_another_program_has_moved_rests_too(store: Maildir, tmp_path: Path) -> None:
    path = put(tmp_path, "1600000001.M1P1.host", b"a\r\n")
    maildrop = opened(store)
    path.rename(tmp_path / "anna" / "cur" / "1600000001.M1P1.host:2,S")
    commit(maildrop, 1)
    close(maildrop)
    assert ids(store) == []
    assert undelete(store) == 1
    assert (tmp_path / "anna" / "cur" / "1600000001.M1P1.host:2,S").exists()


class TestHostile:
    @pytest.mark.skipif(os.name == "nt", reason="links take an administrator there")
    def test_a_link_in_its_place_leads_nowhere(self, store: Maildir, tmp_path: Path) -> None:
        path = put(tmp_path, "1600000001.M1P1.host", b"a\r\n")
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (tmp_path / "anna" / "restante.removed").symlink_to(elsewhere)
        maildrop = opened(store)
        with pytest.raises(CommitFailed):
            commit(maildrop, 1)
        close(maildrop)
        assert path.exists()
        assert list(elsewhere.iterdir()) == []
        with pytest.raises(StoreError):
            undelete(store)
        assert collect(store) == 0

    def test_names_lead_nowhere(self, store: Maildir, tmp_path: Path) -> None:
        put(tmp_path, "1600000001.M1P1.host", b"a\r\n")
        folder = tmp_path / "anna" / "restante.removed"
        folder.mkdir()
        for name in (".hidden", "x", "0.1.x", f"{time.time_ns():x}.0..x", "f" * 16 + ".2.x"):
            (folder / name).write_bytes(b"x")
        assert undelete(store) == 0
        assert len(ids(store)) == 1

    def test_a_folder_that_vanishes_under_a_session_removes_nothing(
        self, store: Maildir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = put(tmp_path, "1600000001.M1P1.host", b"a\r\n")
        rename = Folder.rename_to

        def vanishing(self: Folder, name: str, other: Folder, target: str) -> None:
            (tmp_path / "anna" / "restante.removed").rmdir()
            rename(self, name, other, target)

        monkeypatch.setattr(Folder, "rename_to", vanishing)
        maildrop = opened(store)
        with pytest.raises(CommitFailed):
            commit(maildrop, 1)
        close(maildrop)
        assert path.exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG])
def test_a_full_disk_keeps_nobody_from_making_room(
    store: Maildir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    put(tmp_path, "1600000001.M1P1.host", b"a\r\n")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module, "make_folder", full)
    remove(store, 1)
    assert ids(store) == []


def test_without_the_time_for_it_files_are_unlinked(tmp_path: Path) -> None:
    put(tmp_path, "1600000001.M1P1.host", b"a\r\n")
    store = Maildir(tmp_path, fsync=False)
    remove(store, 1)
    assert not (tmp_path / "anna" / "restante.removed").exists()
    assert undelete(store) == 0
