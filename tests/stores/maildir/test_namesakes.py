"""U1: a unique-id that was shown is its message's for ever, whatever files are named."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from restante.stores.contract import MessageGone
from restante.stores.maildir.file_names import base_name
from restante.stores.maildir.index import INDEX_FILE
from restante.stores.maildir.store import Maildir
from tests.stores.maildir.kit import close, commit, ids, opened, put, read, settle


def by_content(root: Path, store: Maildir | None = None) -> dict[bytes, str]:
    """The unique-id of each message, by what it holds."""
    maildrop = opened(store or Maildir(root))
    found = {
        read(maildrop, number): unique_id
        for number, unique_id in enumerate(maildrop.listing.unique_ids, 1)
    }
    close(maildrop)
    assert len(set(found.values())) == len(found)
    return found


def forget(root: Path) -> None:
    (root / "anna" / INDEX_FILE).unlink(missing_ok=True)


@pytest.mark.parametrize("index_lost", [False, True])
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("by_us", [False, True])
def test_each_of_two_namesakes_keeps_its_own_when_the_other_goes(
    tmp_path: Path, index_lost: bool, first: int, by_us: bool
) -> None:
    paths = [put(tmp_path, "1.host", b"one\n"), put(tmp_path, "1.host:2,S", b"another\n", "cur")]
    store = Maildir(tmp_path)
    before = by_content(tmp_path, store)
    assert set(before) == {b"one\n", b"another\n"}
    kept = paths[1 - first].read_bytes()
    if by_us:
        maildrop = opened(store)
        commit(maildrop, first + 1)
        close(maildrop)
    else:
        paths[first].unlink()
    if index_lost:
        forget(tmp_path)
        store = Maildir(tmp_path)
    assert by_content(tmp_path, store) == {kept: before[kept]}
    forget(tmp_path)
    assert by_content(tmp_path) == {kept: before[kept]}


def test_namesakes_that_are_alike_keep_theirs_while_both_are_there(tmp_path: Path) -> None:
    put(tmp_path, "1.host", b"one\n")
    put(tmp_path, "1.host:2,S", b"one\n", "cur")
    before = ids(Maildir(tmp_path))
    assert len(set(before)) == 2
    for _ in range(2):
        forget(tmp_path)
        assert ids(Maildir(tmp_path)) == before


def test_a_namesake_that_comes_later_takes_nothing(tmp_path: Path) -> None:
    path = put(tmp_path, "1.host", b"one\n")
    store = Maildir(tmp_path)
    assert by_content(tmp_path, store) == {b"one\n": "1.host"}
    path.rename(tmp_path / "anna/cur/1.host:2,S")
    put(tmp_path, "1.host", b"another\n")
    both = by_content(tmp_path, store)
    assert both[b"one\n"] == "1.host"
    (tmp_path / "anna/cur/1.host:2,S").unlink()
    assert by_content(tmp_path, store) == {b"another\n": both[b"another\n"]}
    forget(tmp_path)
    assert by_content(tmp_path) == {b"another\n": both[b"another\n"]}


def test_a_message_that_comes_under_the_name_of_one_that_was_removed_has_another(
    tmp_path: Path,
) -> None:
    put(tmp_path, "1.host", b"one\n")
    store = Maildir(tmp_path)
    assert by_content(tmp_path, store) == {b"one\n": "1.host"}
    maildrop = opened(store)
    commit(maildrop, 1)
    close(maildrop)
    put(tmp_path, "1.host:2,S", b"another\n", "cur")
    [unique_id] = by_content(tmp_path, store).values()
    assert unique_id != "1.host"
    forget(tmp_path)
    assert by_content(tmp_path) == {b"another\n": unique_id}


@pytest.mark.parametrize("change", ["flags", "edit", "restored", "packed"])
def test_a_message_that_is_only_changed_keeps_its_own(tmp_path: Path, change: str) -> None:
    path = put(tmp_path, "1.host", b"one\n")
    settle(tmp_path)
    store = Maildir(tmp_path)
    assert ids(store) == ["1.host"]
    about = path.stat()
    if change == "edit":
        path.write_bytes(b"edited\n")
        os.utime(path, (5, 5))
    if change != "edit":
        path = path.rename(tmp_path / "anna/cur/1.host:2,S")
    if change == "restored":
        os.utime(path, (5, 5))
    if change == "packed":  # as scripts for Dovecot do: another size, the same time
        path.write_bytes(b"other octets\n")
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert ids(store) == ["1.host"]
    assert ids(Maildir(tmp_path)) == ["1.host"]


def test_a_namesake_that_moves_is_not_taken_for_the_other(tmp_path: Path) -> None:
    """Neither fetched nor removed in its place."""
    new, cur = put(tmp_path, "1.host", b"one\n"), put(tmp_path, "1.host:2,S", b"another\n", "cur")
    maildrop = opened(Maildir(tmp_path))
    order = [read(maildrop, 1), read(maildrop, 2)]
    new.unlink()
    cur.rename(tmp_path / "anna/cur/1.host:2,FS")
    gone, there = order.index(b"one\n") + 1, order.index(b"another\n") + 1
    assert read(maildrop, there) == b"another\n"
    with pytest.raises(MessageGone):
        read(maildrop, gone)
    commit(maildrop, gone)
    close(maildrop)
    assert (tmp_path / "anna/cur/1.host:2,FS").exists()


def test_a_stranger_under_a_removed_messages_name_is_not_removed_with_it(tmp_path: Path) -> None:
    path = put(tmp_path, "1.host", b"one\n")
    os.utime(path, (5, 5))
    maildrop = opened(Maildir(tmp_path))
    path.unlink()
    put(tmp_path, "1.host:2,S", b"another\n", "cur")
    commit(maildrop, 1)
    close(maildrop)
    assert (tmp_path / "anna/cur/1.host:2,S").exists()


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("1.host", "1.host"),
        ("1.host:2,S", "1.host"),
        ("1.host;2,S", "1.host"),
        ("1.host!2,RS", "1.host"),
        ("1.host;2,", "1.host"),
        ("1.host,S=5;2,S", "1.host,S=5"),
        ("1.host;2,S:2,F", "1.host"),
        ("1.ho;st", "1.ho;st"),
        ("1.ho!2,st.x", "1.ho!2,st.x"),
        ("1.host;3,S", "1.host;3,S"),
    ],
)
def test_i5_flags_after_other_signs_are_flags(name: str, base: str) -> None:
    assert base_name(name) == base


@pytest.mark.parametrize("sign", [":", ";", "!"])
def test_i5_unique_ids_outlive_them(tmp_path: Path, sign: str) -> None:
    path = put(tmp_path, f"1.host{sign}2,", b"one\n", "cur")
    assert ids(Maildir(tmp_path)) == ["1.host"]
    path.rename(tmp_path / f"anna/cur/1.host{sign}2,RS")
    then = time.time() - 60
    os.utime(tmp_path / "anna/cur", (then, then))
    assert ids(Maildir(tmp_path)) == ["1.host"]
    forget(tmp_path)
    assert ids(Maildir(tmp_path)) == ["1.host"]
