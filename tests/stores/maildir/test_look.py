"""Looking at a Maildir without its lease: what is seen is what the next session sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from restante.stores.contract import LeaseLost
from restante.stores.maildir.store import Maildir
from tests.stores.maildir.kit import ANNA, close, commit, count_calls, fetch, ids, opened, put

ONE, TWO, THREE = (f"170000000{number}.M1P1.host" for number in (1, 2, 3))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "mail"


@pytest.fixture
def store(root: Path) -> Maildir:
    return Maildir(root, fsync=False)


def files(root: Path) -> dict[str, bytes]:
    """All that lies there."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_it_is_seen_while_a_session_has_the_lease(root: Path, store: Maildir) -> None:
    put(root, ONE, b"1\r\n")
    session = opened(store)
    put(root, TWO, b"22\r\n")
    looked = store.look(ANNA)
    assert list(looked.listing.unique_ids) == [ONE, TWO]
    assert list(looked.listing.octets) == [3, 4]
    assert list(session.listing.unique_ids) == [ONE]
    close(session)


def test_nothing_is_written_and_nothing_can_be_removed(root: Path, store: Maildir) -> None:
    for name in (ONE, TWO):
        put(root, name, b"x\r\n")
    before = files(root)
    for _ in range(2):
        looked = store.look(ANNA)
        assert fetch(looked, 1)
        with pytest.raises(LeaseLost):
            commit(looked, 1)
        close(looked)
    assert files(root) == before


def test_unique_ids_are_those_of_the_next_session(root: Path, store: Maildir) -> None:
    """Of one name for two files, too, where a unique-id must be pinned."""
    put(root, ONE, b"1\r\n")
    put(root, f"{ONE}:2,S", b"another\r\n", "cur")
    put(root, TWO, b"2\r\n")
    looked = list(store.look(ANNA).listing.unique_ids)
    session = opened(store)
    assert list(session.listing.unique_ids) == looked
    assert len(set(looked)) == 3
    close(session)
    assert list(store.look(ANNA).listing.unique_ids) == looked


def test_what_changes_is_seen_at_the_next_look(root: Path, store: Maildir) -> None:
    put(root, ONE, b"1\r\n")
    close(opened(store))
    assert list(store.look(ANNA).listing.unique_ids) == [ONE]
    put(root, TWO, b"2\r\n")
    put(root, THREE, b"3\r\n", "cur")
    assert list(store.look(ANNA).listing.unique_ids) == [ONE, TWO, THREE]
    next((root / ANNA.name / "new").glob(f"{ONE}*")).unlink()
    assert list(store.look(ANNA).listing.unique_ids) == [TWO, THREE]
    assert ids(store) == [TWO, THREE]


def test_what_was_read_at_one_look_is_not_read_at_the_next(
    root: Path, store: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even if a session saw more messages before, which are gone by now."""
    old = [put(root, f"1600000000.M{number}P1.host", b"x\r\n") for number in range(9)]
    close(opened(store))
    for path in old:
        path.unlink()
    put(root, ONE, b"1\r\n")
    assert list(store.look(ANNA).listing.unique_ids) == [ONE]
    put(root, TWO, b"22\r\n")
    opens = count_calls(monkeypatch, "open")
    assert list(store.look(ANNA).listing.octets) == [3, 4]
    assert [path for path in opens if path.endswith(".host")] == [TWO]


def test_what_a_session_has_saved_since_is_where_a_look_begins(
    root: Path, store: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(root, ONE, b"1\r\n")
    assert store.look(ANNA).listing.count == 1
    for name in (TWO, THREE):
        put(root, name, b"22\r\n")
    close(opened(Maildir(root, fsync=False)))
    opens = count_calls(monkeypatch, "open")
    assert list(store.look(ANNA).listing.unique_ids) == [ONE, TWO, THREE]
    assert [path for path in opens if path.endswith(".host")] == []


def test_a_maildrop_that_is_not_there_is_empty_and_stays_so(root: Path, store: Maildir) -> None:
    assert store.look(ANNA).listing.count == 0
    assert not (root / ANNA.name).exists()
