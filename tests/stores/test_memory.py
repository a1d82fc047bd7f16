"""The store in memory, beyond the contract."""

from __future__ import annotations

import gc

import pytest

from restante.accounts.contract import Account
from restante.stores.memory import MemoryStore


def test_messages_are_added_and_shown() -> None:
    store = MemoryStore()
    assert not store.blocking
    one = store.add("anna", b"one")
    two = store.add("anna", b"two\n", "my-own")
    assert two == "my-own"
    assert store.messages("anna") == {one: b"one", two: b"two\n"}
    assert store.messages("ben") == {}


def test_u1_an_id_that_was_removed_is_not_taken_again() -> None:
    store = MemoryStore()
    store.add("anna", b"x", "a")
    generated = store.add("anna", b"x")
    store.remove("anna", "a")
    store.remove("anna", "a")
    store.remove("anna", generated)
    for used in ("a", generated):
        with pytest.raises(ValueError, match="used before"):
            store.add("anna", b"x", used)
    store.add("ben", b"x", "a")


@pytest.mark.parametrize("unique_id", ["", "a b", "x" * 71, "é"])
def test_u2_ids_are_checked(unique_id: str) -> None:
    with pytest.raises(ValueError, match="not a unique-id"):
        MemoryStore().add("anna", b"x", unique_id)


def test_the_maildrop_may_have_another_name() -> None:
    store = MemoryStore()
    store.add("shared", b"x\n")
    maildrop = store.open(Account("anna", maildrop="shared"))
    assert len(maildrop.listing) == 1
    maildrop.close()


def test_a_maildrop_that_was_forgotten_holds_no_lease() -> None:
    store = MemoryStore()
    forgotten = store.open(Account("anna"))
    del forgotten
    gc.collect()
    store.open(Account("anna")).close()
