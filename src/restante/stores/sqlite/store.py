"""A store that keeps all mail in one SQLite file."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import ClassVar, NamedTuple

from restante.accounts.account import Account, Quota
from restante.accounts.sqlite_file import DatabaseFile, transaction
from restante.networks import own_host_name
from restante.protocol.facts import Facts
from restante.protocol.listing import MessageNumber, UniqueId, valid_unique_id
from restante.stores.contract import (
    Content,
    Incoming,
    Lease,
    LeaseInfo,
    LeaseLost,
    Maildrop,
    MaildropInUse,
    MessageGone,
    Removed,
    Store,
    StoreError,
    UniqueIdTaken,
    Usage,
)
from restante.stores.drafts import BLOCK, Draft, dots_of, listing_of, packed_dots
from restante.stores.room import DAY, NO_QUOTA, check_days, check_room, quota_for
from restante.stores.sqlite.schema import prepare

LEASE_SECONDS = 60.0
"""How long a maildrop stays leased when its session's process has died on another machine."""

ORPHAN_SECONDS = 3600.0
"""How long a body without messages stays: its delivery may not have come to its end."""

_LISTED = "SELECT messages.id, unique_id, octets, ascii_octets, utf8 FROM messages"


class SqliteStore(Store):
    """Keeps all mail in the SQLite file at `path`, which is made when it isn't there.

    For appliances and tests: one file to copy, no folder of a user's own. Several processes of
    one machine may use it; it must lie on a local disk, as SQLite's locks need one. Bodies that
    are equal are stored once.

    quota: what a maildrop may hold whose account says nothing. It is held against the maildrop in
        the transaction that puts a message into it, so deliveries at once can't exceed it.
    undelete_days: how long a removed message can still be had back by `undelete`. `collect`
        frees the room of those that were removed before that.

    Every method that uses the file raises StoreError when it can't be used.
    """

    blocking: ClassVar[bool] = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        quota: Quota = NO_QUOTA,
        undelete_days: float = 7.0,
    ) -> None:
        self.path = Path(path)
        self.quota = quota
        self.undelete_days = check_days("undelete_days", undelete_days)
        # Reading goes on while another process writes, or keeps writers waiting.
        self._reader = DatabaseFile(self.path, prepare, StoreError, watched=True)
        self._writer = DatabaseFile(self.path, prepare, StoreError, watched=True)

    def open(self, account: Account) -> SqliteMaildrop:
        """Lease and open the account's maildrop. Raises MaildropInUse, StoreError."""
        now = time.time()
        with self._writing(durable=False) as database:
            maildrop = _maildrop_id(database, account.maildrop_name)
            [(lease, holder, expires)] = database.execute(
                "SELECT lease, holder, expires FROM maildrops WHERE id = ?", (maildrop,)
            ).fetchall()
            if holder is not None and expires > now and not _has_died(holder):
                raise MaildropInUse(f"maildrop {account.maildrop_name!r} is in use by {holder}")
            held = SqliteLease(self, maildrop, lease + 1, now + LEASE_SECONDS)
            database.execute(
                "UPDATE maildrops SET lease = ?, holder = ?, expires = ? WHERE id = ?",
                (held.number, held.holder, held.expires, maildrop),
            )
            rows = database.execute(
                f"{_LISTED} WHERE maildrop = ? AND removed IS NULL ORDER BY arrived, id",
                (maildrop,),
            ).fetchall()
        return SqliteMaildrop(self, held, rows)

    def look(self, account: Account) -> SqliteMaildrop:
        """The maildrop as it is now, without its lease. Raises StoreError."""
        with self._reader.use() as database:
            rows = database.execute(
                f"{_LISTED} JOIN maildrops ON maildrops.id = maildrop"
                " WHERE name = ? AND removed IS NULL ORDER BY arrived, messages.id",
                (account.maildrop_name,),
            ).fetchall()
        lease = SqliteLease(self, 0, 0, 0.0)
        lease.end()
        return SqliteMaildrop(self, lease, rows)

    def maildrops(self) -> list[str]:
        """The names of the maildrops that are there now, sorted. Raises StoreError."""
        with self._reader.use() as database:
            return [row[0] for row in database.execute("SELECT name FROM maildrops ORDER BY name")]

    def check(self) -> None:
        """See that the file can be read. Raises StoreError."""
        with self._reader.use() as database:
            database.execute("SELECT 1 FROM maildrops LIMIT 1").fetchall()

    def prepare(self) -> None:
        """Make the file, or bring its schema up to date, and see that it can be written to.

        Raises StoreError.
        """
        with self._writing(durable=False):
            pass

    def receive(self, account: Account) -> SqliteIncoming:
        """Begin a message for the account's maildrop."""
        return SqliteIncoming(self, account)

    def restore(
        self, account: Account, unique_id: str, *, arrived: float | None = None
    ) -> SqliteIncoming:
        """Begin a message that has a unique-id already.

        Its `commit` raises UniqueIdTaken when the maildrop has, or had, that unique-id. Those of
        its own making are forgotten by `collect`, `undelete_days` after the messages were removed.
        """
        if not valid_unique_id(unique_id):
            raise StoreError(f"not a unique-id: {unique_id!r}", temporary=False)
        return SqliteIncoming(self, account, UniqueId(unique_id), arrived)

    def admit(self, account: Account, octets: int = 0) -> None:
        """Raise OverQuota if the maildrop has no room for so many octets."""
        quota = quota_for(account, self.quota)
        if quota is not None:
            check_room(quota, self.usage(account), octets)

    def usage(self, account: Account) -> Usage:
        """What the account's maildrop holds. Raises StoreError."""
        with self._reader.use() as database:
            return _usage(database, account.maildrop_name)

    def remove(self, account: Account, unique_id: str) -> None:
        """Remove a message, even while a session reads it. One that is gone is no error."""
        with self._writing() as database:
            database.execute(
                "UPDATE messages SET removed = ? WHERE unique_id = ? AND removed IS NULL AND"
                " maildrop = (SELECT id FROM maildrops WHERE name = ?)",
                (time.time(), unique_id, account.maildrop_name),
            )

    def removed(self, account: Account) -> Sequence[Removed]:
        """What `undelete` could put back, in the order in which it was removed."""
        with self._reader.use() as database:
            rows = database.execute(
                "SELECT unique_id, octets, removed FROM messages WHERE removed >= ?"
                " AND maildrop = (SELECT id FROM maildrops WHERE name = ?) ORDER BY removed, id",
                (time.time() - self.undelete_days * DAY, account.maildrop_name),
            ).fetchall()
        return [Removed(*row) for row in rows]

    def undelete(self, account: Account, seconds: float) -> int:
        """Put back what was removed from the maildrop within the last `seconds`.

        Gives the number of messages, which have their unique-ids and places as before.
        """
        with self._writing() as database:
            return database.execute(
                "UPDATE messages SET removed = NULL WHERE removed >= ? AND"
                " maildrop = (SELECT id FROM maildrops WHERE name = ?)",
                (
                    time.time() - min(seconds, self.undelete_days * DAY),
                    account.maildrop_name,
                ),
            ).rowcount

    def collect(self) -> int:
        """Forget messages that were removed more than `undelete_days` ago, and unused bodies.

        May be called while sessions run. Gives the number of messages.
        """
        now = time.time()
        with self._writing() as database:
            forgotten = database.execute(
                "DELETE FROM messages WHERE removed < ?", (now - self.undelete_days * DAY,)
            ).rowcount
            database.execute(
                "DELETE FROM bodies WHERE used < ? AND NOT EXISTS"
                " (SELECT 1 FROM messages WHERE messages.body = bodies.id)",
                (now - ORPHAN_SECONDS,),
            )
        return forgotten

    def leases(self) -> Sequence[LeaseInfo]:
        """The leases that are held now. Raises StoreError."""
        with self._reader.use() as database:
            rows = database.execute(
                "SELECT name, holder, expires FROM maildrops"
                " WHERE holder IS NOT NULL AND expires > ? ORDER BY name",
                (time.time(),),
            ).fetchall()
        return [LeaseInfo(*row) for row in rows if not _has_died(row[1])]

    def release(self, maildrop_name: str) -> bool:
        """Take a maildrop's lease from whoever has it; that session can't commit any more.

        Gives whether it was held. Raises StoreError.
        """
        with self._writing() as database:
            held = database.execute(
                "UPDATE maildrops SET lease = lease + 1, holder = NULL"
                " WHERE name = ? AND holder IS NOT NULL",
                (maildrop_name,),
            ).rowcount
        return held > 0

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        self._reader.close()
        self._writer.close()

    async def aclose(self) -> None:
        """Close the file. The next use opens it again."""
        self.close()

    # For maildrops and messages of this store

    @contextmanager
    def _writing(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction. durable: it outlasts a loss of power, all before it included."""
        with self._writer.use() as database:
            database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with transaction(database):
                yield database

    def _renew(self, lease: SqliteLease) -> None:
        expires = time.time() + LEASE_SECONDS
        with self._writing(durable=False) as database:
            held = database.execute(
                "UPDATE maildrops SET expires = ?"
                " WHERE id = ? AND lease = ? AND holder IS NOT NULL",
                (expires, lease.maildrop, lease.number),
            ).rowcount
        if not held:
            lease.end()
            raise LeaseLost("another session has taken the maildrop over")
        lease.expires = expires

    def _release(self, lease: SqliteLease) -> None:
        with self._writing(durable=False) as database:
            database.execute(
                "UPDATE maildrops SET holder = NULL WHERE id = ? AND lease = ?",
                (lease.maildrop, lease.number),
            )

    def _commit(self, lease: SqliteLease, messages: Sequence[int]) -> None:
        now = time.time()
        with self._writing() as database:
            held = database.execute(
                "SELECT 1 FROM maildrops WHERE id = ? AND lease = ? AND holder IS NOT NULL",
                (lease.maildrop, lease.number),
            ).fetchall()
            if not held:
                lease.end()
                raise LeaseLost("another session has taken the maildrop over: nothing is removed")
            database.executemany(
                "UPDATE messages SET removed = ? WHERE id = ? AND removed IS NULL",
                [(now, message) for message in messages],
            )

    def _fetch(self, message: int) -> Content:
        with self._reader.use() as database:
            rows = database.execute(
                "SELECT messages.body, bodies.octets, messages.octets, header_end,"
                " needs_stuffing, ascii_octets, dots, utf8"
                " FROM messages JOIN bodies ON bodies.id = messages.body"
                " WHERE messages.id = ? AND removed IS NULL",
                (message,),
            ).fetchall()
        if not rows:
            raise MessageGone("the message was removed")
        [(body, stored, octets, header_end, stuffing, ascii_octets, dots, utf8)] = rows
        places = dots_of(dots)
        facts = Facts(octets, header_end, True, bool(stuffing), ascii_octets, places, utf8)
        if stored <= BLOCK:
            return Content(self._block(body, 0), facts)
        return Content(self._blocks(body, stored), facts)

    def _arrived(self, message: int) -> float:
        with self._reader.use() as database:
            rows = database.execute(
                "SELECT arrived FROM messages WHERE id = ?", (message,)
            ).fetchall()
        if not rows:
            raise MessageGone("the message was removed")
        return float(rows[0][0])

    def _blocks(self, body: int, octets: int) -> Iterator[bytes]:
        for number in range(-(-octets // BLOCK)):
            yield self._block(body, number)

    def _block(self, body: int, number: int) -> bytes:
        with self._reader.use() as database:
            rows = database.execute(
                "SELECT octets FROM blocks WHERE body = ? AND number = ?", (body, number)
            ).fetchall()
        if not rows:
            raise StoreError(f"{self.path}: block {number} of body {body} is missing")
        [(octets,)] = rows
        return bytes(octets)

    def _keep_body(self, database: sqlite3.Connection, draft: Draft) -> int:
        """Have a body in the file, and give its number."""
        now = time.time()
        rows = database.execute(
            "UPDATE bodies SET used = ? WHERE digest = ? RETURNING id", (now, draft.digest)
        ).fetchall()
        if rows:
            return int(rows[0][0])
        [(body,)] = database.execute(
            "INSERT INTO bodies (digest, octets, used) VALUES (?, ?, ?) RETURNING id",
            (draft.digest, draft.facts.octets, now),
        ).fetchall()
        draft.octets.seek(0)
        number = 0
        while block := draft.octets.read(BLOCK):
            database.execute("INSERT INTO blocks VALUES (?, ?, ?)", (body, number, block))
            number += 1
        return int(body)

    def _deliver(self, account: Account, wanted: _Wanted, draft: Draft) -> UniqueId:
        """Raises OverQuota, UniqueIdTaken, StoreError."""
        facts = draft.facts
        unique_id = wanted.unique_id or UniqueId(token_hex(16))
        quota = quota_for(account, self.quota)
        with self._writing() as database:
            if quota is not None:
                check_room(quota, _usage(database, account.maildrop_name), facts.octets)
            body = self._keep_body(database, draft)
            maildrop = _maildrop_id(database, account.maildrop_name)
            arrived = time.time() if wanted.arrived is None else wanted.arrived
            if wanted.unique_id is not None:
                known = database.execute(
                    "SELECT 1 FROM messages WHERE maildrop = ? AND unique_id = ? UNION ALL"
                    " SELECT 1 FROM restored WHERE maildrop = ? AND unique_id = ?",
                    (maildrop, unique_id) * 2,
                ).fetchall()
                if known:
                    name = account.maildrop_name
                    raise UniqueIdTaken(f"maildrop {name!r} has, or had, unique-id {unique_id!r}")
                database.execute("INSERT INTO restored VALUES (?, ?)", (maildrop, unique_id))
            database.execute(
                "INSERT INTO messages (maildrop, unique_id, body, octets, header_end,"
                " needs_stuffing, ascii_octets, dots, utf8, arrived)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    maildrop,
                    unique_id,
                    body,
                    facts.octets,
                    facts.header_end,
                    facts.needs_stuffing,
                    facts.ascii_octets,
                    packed_dots(facts),
                    facts.utf8,
                    arrived,
                ),
            )
        return unique_id


class SqliteLease(Lease):
    """A session's hold of a maildrop; it ends after `LEASE_SECONDS` unless it is renewed.

    number: this session's number among those of the maildrop. A session can't commit when
        another has a higher one.
    """

    __slots__ = ("_ended", "_store", "expires", "holder", "maildrop", "number")

    def __init__(self, store: SqliteStore, maildrop: int, number: int, expires: float) -> None:
        self._store = store
        self.maildrop = maildrop
        self.number = number
        self.holder = f"pid {os.getpid()} on {own_host_name()}"
        self.expires: float = expires
        self._ended = False

    @property
    def lost(self) -> bool:
        """Whether it was given back, or another session is known to have taken it over."""
        return self._ended

    def end(self) -> None:
        """It holds nothing from now on."""
        self._ended = True

    def renew(self) -> None:
        """Put off the end. Raises LeaseLost, StoreError."""
        self._store._renew(self)


class SqliteMaildrop(Maildrop):
    """One session's maildrop of an SQLite file."""

    blocking: ClassVar[bool] = True

    def __init__(
        self, store: SqliteStore, lease: SqliteLease, rows: Sequence[tuple[int, str, int, int, int]]
    ) -> None:
        self._store = store
        self._hold = self.lease = lease
        self._messages = [row[0] for row in rows]
        self.listing = listing_of(
            [UniqueId(row[1]) for row in rows],
            [row[2] for row in rows],
            ((number, row[3], row[4]) for number, row in enumerate(rows, 1)),
        )

    def fetch(self, number: MessageNumber, lines: int | None = None) -> Content:
        """The message; a large one in blocks. Raises MessageGone, StoreError."""
        return self._store._fetch(self._messages[number - 1])

    def arrived(self, number: MessageNumber) -> float:
        """When the message was delivered. Raises MessageGone, StoreError."""
        return self._store._arrived(self._messages[number - 1])

    def commit(self, numbers: Sequence[MessageNumber]) -> None:
        """Remove these messages. Raises LeaseLost, StoreError."""
        if self._hold.lost:
            raise LeaseLost("the lease has ended")
        self._store._commit(self._hold, [self._messages[number - 1] for number in numbers])

    def close(self) -> None:
        """Give the lease back."""
        if not self._hold.lost:
            self._hold.end()
            self._store._release(self._hold)


class _Wanted(NamedTuple):
    """What a message brings with it: its unique-id and its time of arrival, in seconds."""

    unique_id: UniqueId | None = None
    arrived: float | None = None


class SqliteIncoming(Incoming):
    """A message on its way into a maildrop of an SQLite file."""

    def __init__(
        self,
        store: SqliteStore,
        account: Account,
        unique_id: UniqueId | None = None,
        arrived: float | None = None,
    ) -> None:
        self._store = store
        self._account = account
        self._wanted = _Wanted(unique_id, arrived)
        self._draft = Draft()

    def write(self, block: bytes) -> None:
        """Take the message's next octets, with line ends of any kind. Raises StoreError."""
        self._draft.write(block)

    def prepare(self) -> None:
        """Have the body in the file, durably. Raises OverQuota, StoreError."""
        self._draft.finish()
        try:
            self._store.admit(self._account, self._draft.facts.octets)
            with self._store._writing() as database:
                self._store._keep_body(database, self._draft)
        except BaseException:
            self.abort()
            raise

    def commit(self) -> UniqueId:
        """Put the message into the maildrop, durably.

        Raises OverQuota, UniqueIdTaken, StoreError.
        """
        self._draft.finish()
        try:
            return self._store._deliver(self._account, self._wanted, self._draft)
        finally:
            self.abort()

    def abort(self) -> None:
        """Forget the message. Its body, if it is in the file already, is collected later."""
        self._draft.close()


def _usage(database: sqlite3.Connection, name: str) -> Usage:
    [row] = database.execute(
        "SELECT count(*), coalesce(sum(octets), 0) FROM messages"
        " WHERE maildrop = (SELECT id FROM maildrops WHERE name = ?) AND removed IS NULL",
        (name,),
    ).fetchall()
    return Usage(*row)


def _maildrop_id(database: sqlite3.Connection, name: str) -> int:
    database.execute("INSERT INTO maildrops (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
    [(maildrop,)] = database.execute("SELECT id FROM maildrops WHERE name = ?", (name,)).fetchall()
    return int(maildrop)


def _has_died(holder: str) -> bool:
    """Whether a lease's holder was a process of this machine that isn't there any more."""
    words = holder.split()
    if os.name != "posix" or words[0] != "pid" or words[2:] != ["on", own_host_name()]:
        return False
    try:
        os.kill(int(words[1]), 0)  # sends nothing: it only looks
    except ProcessLookupError:
        return True
    except OSError:  # somebody else's process
        return False
    return False
