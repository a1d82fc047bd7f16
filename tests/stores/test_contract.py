"""Our own stores keep the contract for stores, and the contract finds what breaks it."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from restante.accounts.contract import Account
from restante.stores.maildir.store import Maildir
from restante.stores.memory import MemoryStore
from restante.stores.sqlite.store import SqliteStore
from restante.testing.contracts import MaildropStoreContract, StoreContract, StoreUnderTest
from tests.stores.stores import AsyncDictStore, DictStore, InPlaceDictStore


class LeaseOfOurs:
    def test_the_lease_says_which_process_holds_it(self, store: StoreUnderTest) -> None:
        maildrop = store.open()
        assert maildrop.lease.holder.startswith(f"pid {os.getpid()}")
        store.close(maildrop)


class AllOfIt(LeaseOfOurs, StoreContract):
    restores_mail = heeds_quotas = undeletes = tells_leases = True


class TestMemoryStore(AllOfIt):
    keeps_mail = False

    def make_store(self, folder: Path) -> MemoryStore:
        return MemoryStore(undelete_days=1)

    def remove(self, store: MemoryStore, account: Account, number: int) -> None:
        name = account.maildrop_name
        store.remove(name, list(store.messages(name))[number - 1])


class TestMaildir(AllOfIt):
    """Mail comes in by our own delivery."""

    tells_leases = sys.platform == "linux"

    def make_store(self, folder: Path) -> Maildir:
        return Maildir(folder, fsync=False, undelete_days=1)

    def remove(self, store: Maildir, account: Account, number: int) -> None:
        folder = store.folder(account) / "new"
        sorted(folder.iterdir(), key=_delivery)[number - 1].unlink()


def _delivery(path: Path) -> tuple[str, str, int]:
    seconds, rest = path.name.split(".", 1)
    micros, _, serial = rest.partition("P")
    counter = serial.partition("Q")[2].partition("R")[0]
    return seconds, micros, int(counter or 0)


class TestMaildirOfOthers(TestMaildir):
    """Mail is put in by a program that stores it as it is, with times of long ago."""

    restores_mail = False
    count = 0

    def put(self, store: Maildir, account: Account, message: bytes) -> None:
        folder = store.folder(account)
        for sub in ("tmp", "new", "cur"):
            (folder / sub).mkdir(parents=True, exist_ok=True)
        self.count += 1
        name = f"17000{self.count:05d}.V1I{self.count:x}M{self.count:06d}.host"
        (folder / "tmp" / name).write_bytes(message)
        (folder / "tmp" / name).rename(folder / "new" / name)


class TestMaildirThatUnlinks(TestMaildir):
    """As it is without `undelete_days`."""

    undeletes = False

    def make_store(self, folder: Path) -> Maildir:
        return Maildir(folder, fsync=False)


class TestSqliteStore(AllOfIt):
    def make_store(self, folder: Path) -> SqliteStore:
        return SqliteStore(folder / "mail.sqlite")

    def remove(self, store: SqliteStore, account: Account, number: int) -> None:
        with closing(sqlite3.connect(store.path)) as database:
            rows = database.execute(
                "SELECT unique_id FROM messages JOIN maildrops ON maildrops.id = maildrop"
                " WHERE name = ? AND removed IS NULL ORDER BY messages.id",
                (account.maildrop_name,),
            ).fetchall()
        store.remove(account, rows[number - 1][0])

    def end(self, store: SqliteStore) -> None:
        store.close()


class TestPlainStoreOfThreeMethods(LeaseOfOurs, MaildropStoreContract):
    keeps_mail = False

    def make_store(self, folder: Path) -> DictStore:
        return DictStore()

    def put(self, store: DictStore, account: Account, message: bytes) -> None:
        store.put(account.name, message)


class TestInPlaceStoreOfThreeMethods(TestPlainStoreOfThreeMethods):
    def make_store(self, folder: Path) -> DictStore:
        return InPlaceDictStore()


class TestAsyncStoreOfThreeMethods(MaildropStoreContract):
    keeps_mail = False

    def make_store(self, folder: Path) -> AsyncDictStore:
        return AsyncDictStore()

    def put(self, store: AsyncDictStore, account: Account, message: bytes) -> None:
        store.plain.put(account.name, message)
