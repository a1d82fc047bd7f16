"""Killed at any moment: what was told is true, and nothing else has happened."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from restante.protocol.listing import MessageNumber
from restante.stores.contract import Store
from restante.stores.sqlite.store import SqliteStore
from restante.testing.corpus import wire_form
from tests.stores.kills import done, killed, make
from tests.stores.stores import ANNA, drained

pytestmark = pytest.mark.skipif(os.name == "nt", reason="kills")


def listed(store: Store) -> list[str]:
    maildrop = done(store.open(ANNA))
    done(maildrop.close())
    return list(maildrop.listing.unique_ids)


def close(store: Store) -> None:
    if isinstance(store, SqliteStore):
        store.close()


@pytest.mark.parametrize("kind", ["maildir", "sqlite"])
def test_killed_at_random_points_of_delivery_and_commit(tmp_path: Path, kind: str) -> None:
    """Every message that was told is there once unless its removal had begun; every removal
    that was told is done; at most one delivery a round was done and not told."""
    dice = random.Random(4)
    kept: set[str] = set()
    for _ in range(12):
        removing: set[str] = set()
        for line in killed(dice.uniform(0.001, 0.04), kind, tmp_path):
            what, *unique_ids = line.split()
            if what == "kept":
                kept.update(unique_ids)
            elif what == "removing":
                removing = set(unique_ids)
            else:
                kept -= removing
                removing = set()
        store = make(kind, tmp_path)
        maildrop = done(store.open(ANNA))
        found = list(maildrop.listing.unique_ids)
        assert len(found) == len(set(found))
        assert kept - removing <= set(found)
        assert len(set(found) - kept) <= 1, "delivered and not told"
        for number in range(1, len(found) + 1):
            content = done(maildrop.fetch(MessageNumber(number)))
            message = wire_form(drained(content.source))
            assert message.startswith(b"Subject: ")
            assert message.endswith(b"\r\n\r\n.\r\n" + b"x" * 3000 + b"\r\n")
            assert maildrop.listing.octets[number - 1] == len(message)
        done(maildrop.close())
        assert listed(store) == found
        kept = set(found)
        close(store)
    assert kept


@pytest.mark.parametrize("kind", ["resting maildir", "sqlite"])
def test_killed_while_messages_come_back_none_is_lost(tmp_path: Path, kind: str) -> None:
    """What was told to be kept is there or rests; what was told to be removed isn't there unless
    it came back."""
    dice = random.Random(7)
    kept: set[str] = set()
    for _ in range(12):
        gone: set[str] = set()
        for line in killed(dice.uniform(0.005, 0.06), kind, tmp_path, putting_back=True):
            what, *unique_ids = line.split()
            kept.update(unique_ids if what == "kept" else ())
            gone = set(unique_ids) if what == "removed" else set() if what == "putting" else gone
        store = make(kind, tmp_path)
        there = listed(store)
        resting = {each.unique_id for each in done(store.removed(ANNA))}
        assert len(there) == len(set(there))
        assert kept <= {*there, *resting}
        assert not gone & set(there)
        close(store)
    store = make(kind, tmp_path)
    done(store.undelete(ANNA, 3600))
    assert done(store.removed(ANNA)) == []
    assert set(listed(store)) == {*there, *resting}
    close(store)
