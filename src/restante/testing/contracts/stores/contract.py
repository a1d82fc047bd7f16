"""What every store of maildrops promises, whatever it keeps mail in."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from restante.accounts.account import Account
from restante.stores.contract import MaildropStore, Store
from restante.testing.contracts.stores.delivery import DeliveryTests
from restante.testing.contracts.stores.leases import LeaseTests
from restante.testing.contracts.stores.needs import needs
from restante.testing.contracts.stores.quotas import QuotaTests
from restante.testing.contracts.stores.reading import ReadingTests
from restante.testing.contracts.stores.restore import RestoreTests
from restante.testing.contracts.stores.sessions import SessionTests
from restante.testing.contracts.stores.undelete import UndeleteTests
from restante.testing.contracts.under_test import StoreUnderTest
from restante.testing.corpus import NASTY, wire_form


class StoreContract(
    SessionTests, ReadingTests, LeaseTests, DeliveryTests, RestoreTests, QuotaTests, UndeleteTests
):
    """Tests for a full store (`restante.Store`). Derive a class named `Test…`, write `make_store`.

    takes_mail: False for a store that has no `receive`. Tests of delivery then don't run, and
        `put` must be written.
    keeps_mail: False for a store that forgets its mail with its process. Otherwise
        `make_store` is called again with the same folder, and the mail must still be there.

    restores_mail: True for a store whose `restore` takes messages with their unique-ids.
    heeds_quotas: True for a store that has `usage` and `admit`, and heeds `Account.quota`.
    undeletes: True for a store that `undelete`s what was removed within the last minute, as
        `make_store` makes it.
    tells_leases: True for a store that has `leases` and `release`.

    Write `remove` too, and some more tests run: of messages that vanish behind a session's back.
    """

    takes_mail: ClassVar[bool] = True
    keeps_mail: ClassVar[bool] = True
    restores_mail: ClassVar[bool] = False
    heeds_quotas: ClassVar[bool] = False
    undeletes: ClassVar[bool] = False
    tells_leases: ClassVar[bool] = False

    # What an author writes

    def make_store(self, folder: Path) -> Store | MaildropStore:
        """The store under test, empty. folder: a new one, for whatever it keeps."""
        raise NotImplementedError("write make_store(self, folder): it gives the store")

    def put(self, store: Any, account: Account, message: bytes) -> Awaitable[None] | None:
        """Have a message in the account's maildrop, as it is; plain or async.

        By default it is delivered by the store's `receive`.
        """
        raise NotImplementedError("takes_mail is False: write put(self, store, account, message)")

    def remove(self, store: Any, account: Account, number: int) -> Awaitable[None] | None:
        """Remove the account's message at this place (1: the oldest), though a session has it."""

    def end(self, store: Any) -> Awaitable[None] | None:
        """Close a store when its test has ended; plain or async. By default nothing is done."""

    # How it works

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        can = {
            "takes_mail": cls.takes_mail,
            "keeps_mail": cls.keeps_mail,
            "restores_mail": cls.restores_mail,
            "heeds_quotas": cls.heeds_quotas,
            "undeletes": cls.undeletes,
            "tells_leases": cls.tells_leases,
            "remove": cls.remove is not StoreContract.remove,
        }
        for name in dir(cls):
            if not can.get(getattr(getattr(cls, name), "needs", ""), True):
                setattr(cls, name, None)  # which pytest doesn't collect

    def _make(self, folder: Path) -> StoreUnderTest:
        given = self.make_store(folder)
        if self.takes_mail and isinstance(given, MaildropStore):
            raise TypeError("a store of three methods is held to MaildropStoreContract")
        return StoreUnderTest(given, self._put, self.remove)

    def _put(self, store: StoreUnderTest, account: Account, message: bytes) -> object:
        if type(self).put is StoreContract.put and self.takes_mail:
            return store.deliver(message, account=account)
        return self.put(store.given, account, message)

    def _finish(self, store: StoreUnderTest) -> None:
        store.run(self.end(store.given))
        store.finish()

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[StoreUnderTest]:
        """The store under test."""
        folder = tmp_path / "store"
        folder.mkdir()
        made = self._make(folder)
        yield made
        self._finish(made)

    # A second start

    @needs("keeps_mail")
    def test_mail_and_unique_ids_outlive_the_store(
        self, store: StoreUnderTest, tmp_path: Path
    ) -> None:
        for name in ("plain-crlf", "dots-lf", "empty"):
            store.put(NASTY[name])
        before = store.unique_ids()
        again = self._make(tmp_path / "store")
        maildrop = again.open()
        assert list(maildrop.listing.unique_ids) == before
        assert wire_form(again.read(maildrop, 2)) == wire_form(NASTY["dots-lf"])
        again.close(maildrop)
        self._finish(again)

    @needs("keeps_mail")
    def test_what_was_removed_stays_removed(self, store: StoreUnderTest, tmp_path: Path) -> None:
        store.put_all(b"one\n", b"two\n")
        maildrop = store.open()
        kept = list(maildrop.listing.unique_ids)[1:]
        store.commit(maildrop, 1)
        store.close(maildrop)
        again = self._make(tmp_path / "store")
        assert again.unique_ids() == kept
        self._finish(again)


class MaildropStoreContract(StoreContract):
    """Tests for a store of three methods (`restante.MaildropStore`).

    Write `make_store` and `put`. `remove` has a default: the store's own `list` and `delete`.
    """

    takes_mail: ClassVar[bool] = False

    async def remove(self, store: Any, account: Account, number: int) -> None:
        """Remove the account's message at this place (1: the oldest), though a session has it."""
        listed = await _awaited(store.list(account))
        await _awaited(store.delete(account, [list(listed)[number - 1][0]]))


async def _awaited(given: Any) -> Any:
    return await given if isinstance(given, Awaitable) else given
