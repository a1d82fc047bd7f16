"""Messages that bring their unique-ids with them, into a Maildir."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from restante.stores.contract import Incoming, MaildropInUse, StoreError, UniqueIdTaken
from restante.stores.maildir.files import Folder
from restante.stores.maildir.pins import read_pins
from restante.stores.maildir.restored import UsedIds
from restante.stores.maildir.store import Maildir
from tests.stores.maildir.kit import ANNA, asked, close, commit, ids, opened, put, python


def restore(store: Maildir, unique_id: str, arrived: float = 1_600_000_000) -> Incoming:
    incoming = store.restore(ANNA, unique_id, arrived=arrived)
    incoming.write(b"x\r\n")
    return incoming


def test_the_file_has_its_time_of_arrival_in_its_name_and_of_its_own(tmp_path: Path) -> None:
    restore(Maildir(tmp_path), "one", 1_600_000_000.5).commit()
    (path,) = (tmp_path / "anna" / "new").iterdir()
    assert path.name.startswith("1600000000.M500000P")
    assert path.stat().st_mtime == 1_600_000_000.5


@pytest.mark.parametrize("arrived", [-5.0, 0.0, 1e300])
def test_an_impossible_time_of_arrival_does_no_harm(tmp_path: Path, arrived: float) -> None:
    restore(Maildir(tmp_path), "one", arrived).commit()
    assert ids(Maildir(tmp_path)) == ["one"]


def test_many_of_one_second_stay_in_their_order_after_restarts(tmp_path: Path) -> None:
    wanted = [f"id-{number}" for number in range(150)]
    store = Maildir(tmp_path, fsync=False)
    for unique_id in wanted:
        restore(store, unique_id).commit()
    assert ids(store) == ids(Maildir(tmp_path)) == wanted


def test_a_session_has_the_pins_for_itself(tmp_path: Path) -> None:
    """Another program may try again: nothing was left behind."""
    store = Maildir(tmp_path, fsync=False)
    restore(store, "one").commit()
    maildrop = opened(store)
    incoming = restore(store, "two")
    with pytest.raises(MaildropInUse):
        incoming.commit()
    close(maildrop)
    assert list((tmp_path / "anna" / "tmp").iterdir()) == []
    restore(store, "two").commit()
    assert ids(store) == ["one", "two"]


def test_a_unique_id_of_a_message_that_was_removed_is_used_up(tmp_path: Path) -> None:
    store = Maildir(tmp_path, fsync=False)
    restore(store, "one").commit()
    maildrop = opened(store)
    commit(maildrop, 1)
    close(maildrop)
    for each in (store, Maildir(tmp_path)):
        with pytest.raises(UniqueIdTaken):
            restore(each, "one").commit()


@pytest.mark.parametrize("sizes", ["", ",S=1"])
def test_the_unique_id_of_a_message_that_rests_is_used_up(tmp_path: Path, sizes: str) -> None:
    """It could be put back, and would find its unique-id taken."""
    store = Maildir(tmp_path, undelete_days=7)
    put(tmp_path, f"1700000000.M1P1.host{sizes}", b"x")
    maildrop = opened(store)
    commit(maildrop, 1)
    close(maildrop)
    for each in (store, Maildir(tmp_path)):
        with pytest.raises(UniqueIdTaken):
            restore(each, "1700000000.M1P1.host").commit()
    assert asked(store.undelete(ANNA, 60)) == 1
    assert ids(store) == ["1700000000.M1P1.host"]


def test_unique_ids_of_mail_that_others_deliver_are_seen(tmp_path: Path) -> None:
    store = Maildir(tmp_path, fsync=False)
    restore(store, "one").commit()
    put(tmp_path, "1700000000.M1P1.host", b"x")
    with pytest.raises(UniqueIdTaken):
        restore(store, "1700000000.M1P1.host").commit()


def test_a_torn_line_of_the_pins_is_no_part_of_the_next(tmp_path: Path) -> None:
    put(tmp_path, "1500000000.M1P1.host", b"x")
    (tmp_path / "anna" / "restante.pins").write_bytes(b"old 1500000000.M1P1.host\ntor")
    restore(Maildir(tmp_path), "one").commit()
    assert ids(Maildir(tmp_path)) == ["old", "one"]


@pytest.mark.skipif(os.name == "nt", reason="links take an administrator there")
def test_a_link_in_the_place_of_the_pins_is_not_written_to(tmp_path: Path) -> None:
    put(tmp_path, "1500000000.M1P1.host", b"x")
    other = tmp_path / "other"
    other.write_bytes(b"")
    (tmp_path / "anna" / "restante.pins").symlink_to(other)
    with pytest.raises(StoreError):
        restore(Maildir(tmp_path), "one").commit()
    assert other.read_bytes() == b""


KILLED = """
import os, signal, sys
from restante.accounts.account import Account
from restante.stores.maildir.files import Folder
from restante.stores.maildir.store import Maildir
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
Folder.move_to = die
incoming = Maildir(sys.argv[1]).restore(Account("anna"), "one", arrived=1.6e9)
incoming.write(b"x\\r\\n")
incoming.commit()
"""


def test_one_that_failed_after_its_pin_may_be_restored_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it fails, and after it has come it is used up."""
    store = Maildir(tmp_path, undelete_days=0)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    for each in (store, store, Maildir(tmp_path)):
        with monkeypatch.context() as full:
            full.setattr(Folder, "move_to", fail)
            with pytest.raises(StoreError, match="no space left"):
                restore(each, "one").commit()
        assert ids(store) == []
        assert list((tmp_path / "anna" / "tmp").iterdir()) == []
    restore(store, "one").commit()
    maildrop = opened(store)
    assert list(maildrop.listing.unique_ids) == ["one"]
    commit(maildrop, 1)
    close(maildrop)
    for each in (store, Maildir(tmp_path)):
        with pytest.raises(UniqueIdTaken):
            restore(each, "one").commit()


def test_one_that_came_but_was_not_written_down_is_used_up_by_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill between the two."""
    store = Maildir(tmp_path)
    with monkeypatch.context() as cut_off:
        cut_off.setattr(UsedIds, "has_come", lambda _: None)
        restore(store, "one").commit()
    with pytest.raises(UniqueIdTaken):
        restore(Maildir(tmp_path), "one").commit()
    maildrop = opened(store)
    commit(maildrop, 1)
    close(maildrop)
    with pytest.raises(UniqueIdTaken):
        restore(Maildir(tmp_path), "one").commit()


def test_a_unique_id_is_used_up_also_when_its_pin_was_dropped(tmp_path: Path) -> None:
    """As pins of messages that are gone are, once they are many."""
    store = Maildir(tmp_path, fsync=False)
    restore(store, "one").commit()
    maildrop = opened(store)
    commit(maildrop, 1)
    close(maildrop)
    store.pin(ANNA, {f"{n}.x": f"id{n}" for n in range(2000)})
    put(tmp_path, "1700000000.same", b"x")
    put(tmp_path, "1700000000.same:2,S", b"y", "cur")  # one of them is pinned
    assert len(ids(Maildir(tmp_path))) == 2
    assert "one" not in read_pins(str(tmp_path / "anna")).values()
    for each in (store, Maildir(tmp_path)):
        with pytest.raises(UniqueIdTaken):
            restore(each, "one").commit()


@pytest.mark.skipif(os.name == "nt", reason="kills")
def test_killed_between_pin_and_delivery_it_may_be_restored_again(tmp_path: Path) -> None:
    process = python(KILLED, tmp_path)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert b"one " in (tmp_path / "anna" / "restante.pins").read_bytes()
    assert ids(Maildir(tmp_path)) == []
    for path in (tmp_path / "anna" / "tmp").iterdir():
        path.unlink()  # as any program may, after 36 hours
    restore(Maildir(tmp_path), "one").commit()
    assert ids(Maildir(tmp_path)) == ["one"]
