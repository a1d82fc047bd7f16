"""A store that keeps mail in PostgreSQL: any number of nodes may use it."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from hashlib import sha256
from secrets import token_hex, token_urlsafe
from typing import Any, ClassVar, Literal, NamedTuple, cast

from restante.accounts.account import Account, AccountRow, Quota
from restante.accounts.connections import Connection
from restante.accounts.postgres_driver import place_of
from restante.networks import own_host_name
from restante.protocol.facts import Facts
from restante.protocol.listing import Listing, MessageNumber, UniqueId, valid_unique_id
from restante.stores.blobs.compression import Encoding, compressed, decoded
from restante.stores.blobs.contract import BlobDamaged, Blobs
from restante.stores.contract import (
    AccountChanged,
    Committed,
    Content,
    Incoming,
    Lease,
    LeaseInfo,
    LeaseLost,
    Maildrop,
    MaildropInUse,
    MessageGone,
    OpenedTooSoon,
    OverQuota,
    Removed,
    Store,
    StoreError,
    UniqueIdTaken,
    Usage,
)
from restante.stores.drafts import BLOCK, Draft, dots_of, listing_of, packed_dots
from restante.stores.postgres import statements
from restante.stores.postgres.bodies import PostgresBlobs, key_of
from restante.stores.postgres.database import TRIES, Database
from restante.stores.postgres.schema import check, upgrade
from restante.stores.room import DAY, NO_QUOTA, check_days, check_room, quota_for

GRACE_SECONDS = 3600.0
"""How long a body without messages stays: its delivery may not have come to its end."""

REPEAT_SECONDS = 3600.0
"""How long the row of a removed message stays at least. A delivery may be repeated when a
connection was lost, and while the row is there, the first try does nothing, however late."""

PUT_SECONDS = GRACE_SECONDS / 4
"""How long a delivery may take from looking for its body to having put it."""

WINDOW = 1024 * 1024
"""Octets of a blob that are asked for at a time: no connection waits for a slow client."""

BATCH = 1000
"""Rows that the collector takes at a time."""

REMOVALS = 16
"""Blobs that the collector removes at the same time."""


class PostgresStore(Store):
    """Keeps mail in PostgreSQL, by asyncpg (extra `postgres`), for any number of nodes.

    dsn: `postgresql://user:password@host:5432/database`, with the options that libpq has
        (`sslmode`, `target_session_attrs` …), and `statement_cache_size=0`, which belongs behind
        a pooler that gives each transaction another connection (PgBouncer). Of several servers
        (`host1:5432,host2:5432`) the one is used that can be written to.
    bodies: where the messages' bodies lie; None: in PostgreSQL, too.
    password: of the database's user, if not in `dsn`.
    schema: the PostgreSQL schema that the tables are in; `upgrade` makes them.
    max_connections: open at the same time in one event loop; further operations wait.
    timeout: seconds that an operation of the database may take, with waiting and connecting.
    tls: how the connection is protected, in place of what `dsn` says.
    leases: `exclusive`, one session at a time has a maildrop (RFC 1939 §4). `snapshot`: any
        number may read it, and what several of them remove is removed once.
    lease_seconds: how long a maildrop stays leased when its session's node has died.
    undelete_days: how long a removed message can still be had back by `undelete`. `collect` frees
        the room of those that were removed before that.
    quota: what a maildrop may hold whose account says nothing. Deliveries at once can't exceed it.
    login_delay, login_burst: seconds between sessions of a maildrop, on whichever node, and how
        many are free at first: what comes too soon is OpenedTooSoon. Snapshots know no delay.
    node: the name under which this node holds leases; None: the host's.

    Bodies that are equal are stored once, compressed by zstd where that makes them smaller. Only
    the database's clock counts. The store may be used in several processes and event loops;
    `aclose` closes the connections of the running one.

    Raises ValueError for an argument that can't be, StoreError when asyncpg isn't installed. Every
    method raises StoreError when the database, or the place of the bodies, can't be used; the
    next call connects anew.
    """

    blocking: ClassVar[bool] = False

    def __init__(
        self,
        dsn: str,
        *,
        bodies: Blobs | None = None,
        password: str | None = None,
        schema: str = "restante",
        max_connections: int = 10,
        timeout: float = 10.0,
        tls: ssl.SSLContext | None = None,
        leases: Literal["exclusive", "snapshot"] = "exclusive",
        lease_seconds: float = 60.0,
        undelete_days: float = 7.0,
        quota: Quota = NO_QUOTA,
        login_delay: float = 0.0,
        login_burst: int = 1,
        node: str | None = None,
    ) -> None:
        if leases not in ("exclusive", "snapshot"):
            raise ValueError(f"leases={leases!r}: allowed is exclusive or snapshot")
        if not 5 <= lease_seconds <= 3600:
            raise ValueError(f"lease_seconds={lease_seconds!r}: allowed is seconds, 5 to 3600")
        if not 0 <= login_delay <= 604_800:
            raise ValueError(f"login_delay={login_delay!r}: allowed is seconds, 0 to 604800")
        if not 1 <= login_burst <= 1000:
            raise ValueError(f"login_burst={login_burst!r}: allowed is 1 to 1000")
        self.database = Database(
            dsn,
            password=password,
            schema=schema,
            max_connections=max_connections,
            timeout=timeout,
            tls=tls,
            check=check,
        )
        self._place = place_of(dsn, schema)
        self._upgrade = partial(upgrade, dsn, password=password, schema=schema, tls=tls)
        self.bodies: Blobs = PostgresBlobs(self.database) if bodies is None else bodies
        self.exclusive = leases == "exclusive"
        self.lease_seconds = lease_seconds
        self.login_delay = login_delay
        self.login_burst = login_burst
        self.undelete_days = check_days("undelete_days", undelete_days)
        self.quota = quota
        self.node = own_host_name() if node is None else node

    # Sessions

    async def open(self, account: Account) -> PostgresMaildrop:
        """Lease and open the account's maildrop.

        Raises MaildropInUse, OpenedTooSoon, StoreError.
        """
        return await self._open(account, None)

    async def open_unchanged(self, account: Account) -> PostgresMaildrop:
        """The same for an account of `DatabaseAccounts` in the same tables, by the same `dsn`.

        Raises AccountChanged, too.
        """
        if account.row is None or account.row.place != self._place:
            raise AccountChanged("it isn't of this database")
        return await self._open(account, account.row)

    async def _open(self, account: Account, seen: AccountRow | None) -> PostgresMaildrop:
        if not self.exclusive:
            return await self._peek(account, seen, ended=False)
        name = account.maildrop_name
        holder = f"pid {os.getpid()} on {self.node}, session {token_hex(6)}"
        for _ in range(TRIES):
            begun = time.time()
            row = await self._row(
                statements.OPEN,
                *(name, holder, self.lease_seconds, float(self.login_delay), self.login_burst),
                *_checked(seen),
            )
            _refuse_changed(row)
            if row["id"] is not None:
                break
            await self._rows(statements.MAKE_MAILDROPS, [name])
        else:
            raise StoreError(f"PostgreSQL: maildrop {name!r} can't be made")
        if row["lease"] is None and (row["wait"] or 0) > 0:
            raise OpenedTooSoon(row["wait"])
        if row["lease"] is None:
            by = row["holder"] or "another session"
            raise MaildropInUse(f"maildrop {name!r} is in use by {by}")
        lease = PostgresLease(self, row["id"], row["lease"], holder, begun + self.lease_seconds)
        lease.opened_before = row["opened_before"]
        if row["stale"]:
            row = await self._row(statements.LIST, lease.maildrop)
        return PostgresMaildrop(self, lease, _listing(row))

    async def look(self, account: Account) -> PostgresMaildrop:
        """The maildrop as it is now, without its lease. Raises StoreError."""
        return await self._peek(account, None, ended=True)

    async def _peek(
        self, account: Account, seen: AccountRow | None, *, ended: bool
    ) -> PostgresMaildrop:
        row = await self._row(statements.PEEK, account.maildrop_name, *_checked(seen))
        _refuse_changed(row)
        lease = PostgresLease(self, row["id"] or 0, None, "", None)
        lease.ended = ended
        return PostgresMaildrop(self, lease, _listing(row))

    # Mail that comes in

    def receive(self, account: Account) -> PostgresIncoming:
        """Begin a message for the account's maildrop."""
        return PostgresIncoming(self, account, UniqueId(token_urlsafe(16)))

    def restore(
        self, account: Account, unique_id: str, *, arrived: float | None = None
    ) -> PostgresIncoming:
        """Begin a message that has a unique-id already.

        Its `commit` raises UniqueIdTaken when the maildrop has, or ever had, that unique-id.
        """
        if not valid_unique_id(unique_id):
            raise StoreError(f"not a unique-id: {unique_id!r}", temporary=False)
        return PostgresIncoming(self, account, UniqueId(unique_id), pinned=True, arrived=arrived)

    async def commit(self, incomings: Sequence[Incoming], together: bool) -> Sequence[Committed]:
        """Put messages into their maildrops, in one transaction. Raises StoreError."""
        ours = cast("Sequence[PostgresIncoming]", incomings)
        try:
            for incoming in ours:
                incoming.draft.finish()
            return await self._deliver(ours, together=together)
        finally:
            for incoming in ours:
                incoming.abort()

    async def admit(self, account: Account, octets: int = 0) -> None:
        """Raise OverQuota if the maildrop has no room for so many octets."""
        quota = quota_for(account, self.quota)
        if quota is not None:
            check_room(quota, await self.usage(account), octets)

    async def usage(self, account: Account) -> Usage:
        """What the account's maildrop holds. Raises StoreError."""
        row = await self._row(statements.USAGE, account.maildrop_name)
        return Usage(0, 0) if row is None else Usage(row["messages"], row["octets"])

    # For operators

    async def upgrade(self, *, dry_run: bool = False) -> Sequence[str]:
        """Make the tables, or bring them up to date: all steps or none; the names of those taken.

        Several programs may do so at the same time, while others use the store. dry_run: the
        steps are tried and taken back.

        Raises StoreError: no connection, no right to do so, a schema that is newer than this
        version.
        """
        return await self._upgrade(dry_run=dry_run)

    async def prepare(self) -> None:
        """See that the tables and the bodies can be used. Raises StoreError."""
        await self.check()
        await self.bodies.prepare()

    async def check(self) -> None:
        """See that the database answers. Raises StoreError."""
        await self._row(statements.MAILDROP, "")

    async def maildrops(self) -> list[str]:
        """The names of the maildrops that are there now, sorted. Raises StoreError."""
        return [row["name"] for row in await self._rows(statements.MAILDROPS)]

    async def remove(self, account: Account, unique_id: str) -> None:
        """Remove a message, even while a session reads it. One that is gone is no error."""
        row = await self._row(statements.MAILDROP, account.maildrop_name)
        if row is not None:
            await self._rows(statements.COMMIT, row["id"], None, [unique_id])

    async def removed(self, account: Account) -> Sequence[Removed]:
        """What `undelete` could put back, in the order in which it was removed."""
        rows = await self._rows(statements.REMOVED, account.maildrop_name, self.undelete_days * DAY)
        return [Removed(*row) for row in rows]

    async def undelete(self, account: Account, seconds: float) -> int:
        """Put back what was removed from the maildrop within the last `seconds`.

        Gives the number of messages, which have their unique-ids and places as before.
        """
        seconds = min(seconds, self.undelete_days * DAY)
        row = await self._row(statements.UNDELETE, account.maildrop_name, seconds)
        return 0 if row is None else int(row["messages"])

    async def collect(self) -> int:
        """Forget messages that were removed more than `undelete_days` ago, and unused bodies.

        May be called while sessions run, on several nodes at once. Gives the number of messages.
        """
        forgotten, last = 0, BATCH
        seconds = max(self.undelete_days * DAY, REPEAT_SECONDS)
        while last == BATCH:
            row = await self._row(statements.FORGET, seconds, BATCH, self.database.schema)
            last = int(row["messages"])
            forgotten += last
        await self.database.use(self._mark_used)
        while len(await self._rows(statements.DOOM, GRACE_SECONDS, BATCH)) == BATCH:
            pass
        # Only now, as what is doomed must be so for good before a blob is removed.
        while doomed := await self._rows(statements.DOOMED, BATCH):
            await self._remove_blobs([key_of(*row) for row in doomed])
            await self._rows(statements.DROP_BODIES, [row["id"] for row in doomed])
        return forgotten

    async def _mark_used(self, connection: Connection) -> None:
        database = self.database
        async with connection.transaction():
            if await connection.fetchval(database.text(statements.COLLECT_ALONE), database.schema):
                await connection.execute(database.text(statements.STILL_USED))

    async def _remove_blobs(self, keys: Sequence[str]) -> None:
        for at in range(0, len(keys), REMOVALS):
            try:
                async with asyncio.TaskGroup() as group:
                    for key in keys[at : at + REMOVALS]:
                        group.create_task(self.bodies.remove(key))
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from None

    async def leases(self) -> Sequence[LeaseInfo]:
        """The leases that are held now. Raises StoreError."""
        return [LeaseInfo(*row) for row in await self._rows(statements.LEASES)]

    async def release(self, maildrop_name: str) -> bool:
        """Take a maildrop's lease from whoever has it; that session can't commit any more.

        Gives whether it was held. Raises StoreError.
        """
        return await self._row(statements.TAKE_LEASE, maildrop_name) is not None

    async def aclose(self) -> None:
        """Close this event loop's connections, and the place of the bodies."""
        await self.bodies.aclose()
        await self.database.aclose()

    # For maildrops and messages of this store

    async def _rows(self, statement: str, *arguments: Any) -> Sequence[Any]:
        return await self.database.rows(statement, *arguments)

    async def _row(self, statement: str, *arguments: Any) -> Any:
        return await self.database.row(statement, *arguments)

    async def _have_body(self, incoming: PostgresIncoming) -> None:
        """Have a message's body stored. Raises StoreError."""
        draft, deadline = incoming.draft, time.monotonic() + PUT_SECONDS
        row = await self._row(statements.FIND_BODY, draft.digest)
        if row is not None and row["state"] == "stored":
            incoming.body = row["id"]
            return
        wanted = None if row is None else cast("Encoding", row["encoding"])
        while True:
            facts = draft.facts
            packed = await asyncio.to_thread(
                compressed, cast("Any", draft.octets), facts.octets, encoding=wanted
            )
            try:
                if row is None:
                    row = await self._row(
                        statements.MAKE_BODY,
                        *(draft.digest, facts.octets, packed.octets, packed.encoding),
                        *(facts.header_end, facts.needs_stuffing, packed_dots(facts)),
                    )
                if row["encoding"] == packed.encoding:
                    incoming.body, incoming.put = row["id"], ""
                    if row["state"] != "stored":
                        key = key_of(row["id"], draft.digest, packed.encoding)
                        incoming.put = key
                        # Later than the grace it could be there without a row, for ever.
                        async with asyncio.timeout(deadline - time.monotonic()):
                            await self.bodies.put(key, packed.file, packed.octets)
                    return
                wanted = row["encoding"]  # another has begun to put it so
            except TimeoutError:
                raise StoreError(f"a body wasn't stored within {PUT_SECONDS:g} seconds") from None
            finally:
                if packed.encoding != "identity":
                    packed.file.close()

    async def _deliver(
        self, incomings: Sequence[PostgresIncoming], *, together: bool
    ) -> list[Committed]:
        """Put messages into their maildrops, in one transaction. Raises StoreError."""
        results: dict[PostgresIncoming, UniqueId | Exception] = {}
        for _ in range(TRIES):
            left = [each for each in incomings if each not in results]
            for incoming in left:
                if incoming.body is None:
                    await self._have_body(incoming)
            columns = map(list, zip(*map(self._columns, left), strict=True))
            rows = await self._rows(statements.DELIVER, *columns, together)
            if not rows[0]["have_bodies"]:
                await self._begin_again(left)
                continue
            for incoming, row in zip(left, rows, strict=True):
                result = self._result(incoming, row)
                if result is not None:
                    results[incoming] = result
            failed = any(isinstance(result, Exception) for result in results.values())
            if len(results) == len(incomings) or (together and failed):
                return [results.get(each) for each in incomings]
            if any(row["maildrop"] is None for row in rows):
                names = [each.account.maildrop_name for each in left]
                await self._rows(statements.MAKE_MAILDROPS, names)
        raise StoreError("PostgreSQL: no delivery, as others change the same rows all the time")

    def _columns(self, incoming: PostgresIncoming) -> Sequence[Any]:
        facts, quota = incoming.draft.facts, quota_for(incoming.account, self.quota)
        return (
            *(incoming.account.maildrop_name, incoming.body, incoming.unique_id),
            *(facts.octets, facts.ascii_octets, facts.utf8, incoming.arrived, incoming.pinned),
            *((quota.messages or None, quota.octets or None) if quota else (None, None)),
        )

    def _result(self, incoming: PostgresIncoming, row: Any) -> UniqueId | Exception | None:
        """What became of one message; None: nothing yet."""
        name, unique_id = incoming.account.maildrop_name, incoming.unique_id
        if row["done"] or row["same"]:
            return unique_id
        if row["known"]:
            return UniqueIdTaken(f"maildrop {name!r} has, or had, unique-id {unique_id!r}")
        if row["fits"] or row["maildrop"] is None:
            return None
        quota, octets = quota_for(incoming.account, self.quota), incoming.draft.facts.octets
        never = quota is not None and bool(quota.octets) and octets > (quota.octets or 0)
        return OverQuota(f"over quota: maildrop {name!r} has no room", never=never)

    async def _begin_again(self, incomings: Sequence[PostgresIncoming]) -> None:
        """The collector has given up bodies meanwhile: what was put for them must not stay.

        Only for those: another delivery may have begun to count on the others.
        """
        bodies = [each.body for each in incomings]
        live = {row["id"] for row in await self._rows(statements.LIVE_BODIES, bodies)}
        for incoming in incomings:
            if incoming.body not in live:
                if incoming.put:
                    await self.bodies.remove(incoming.put)
                incoming.body, incoming.put = None, ""

    async def _fetch(self, maildrop: int, unique_id: str, lines: int | None) -> Content:
        # Lines are about this long; if more is wanted, more is asked for.
        lines_octets = WINDOW if lines is None else 80 * min(lines, WINDOW)
        here = isinstance(self.bodies, PostgresBlobs)
        if here:
            row = await self._row(statements.FETCH_BOTH, maildrop, unique_id, BLOCK, lines_octets)
        else:
            row = await self._row(statements.FETCH, maildrop, unique_id)
        if row is None:
            raise MessageGone("the message was removed")
        facts = Facts(
            row["octets"],
            row["header_end"],
            True,
            row["needs_stuffing"],
            row["ascii_octets"],
            dots_of(row["dots"]),
            row["utf8"],
        )
        body = _Body(
            *(row["id"], row["digest"], row["body_octets"], row["stored_octets"], row["encoding"]),
            (row["first"] or b"") if here else b"",
        )
        most = BLOCK if here else WINDOW
        if body.octets <= BLOCK:
            blocks = self._blocks(body, most)
            return Content(b"".join([block async for block in blocks]), facts)
        return Content(self._blocks(body, min(facts.header_end + lines_octets, most)), facts)

    async def _blocks(self, body: _Body, first: int) -> AsyncGenerator[bytes, None]:
        """A body's octets. The last ones come only if all of them are those that were put.

        first: octets of the blob that are asked for at first.
        """
        digest, left, last = sha256(), body.octets, b""
        blocks = decoded(self._stored(body, first), body.encoding, body.octets)
        async with aclosing(blocks):
            async for block in blocks:
                digest.update(block)
                left -= len(block)
                if left:
                    yield block
                else:
                    last = block
        if digest.digest() != body.digest:
            raise BlobDamaged(f"body {body.id} isn't what was put there")
        if last:
            yield last

    async def _stored(self, body: _Body, first: int) -> AsyncGenerator[bytes, None]:
        """The octets of a body's blob, asked for in parts."""
        key = key_of(body.id, body.digest, body.encoding)
        at, end = 0, max(first, 1)
        if body.first:
            yield body.first
            at = len(body.first)
            if at < end:  # there are no more
                return
            end = at + max(at, BLOCK)
        while True:
            # Another version of the library may have made a few octets more of it.
            is_last = end >= body.stored_octets
            blocks = self.bodies.read(key, at, None if is_last else end)
            async with aclosing(blocks):
                async for block in blocks:
                    yield block
            if is_last:
                return
            at, end = end, end + min(max(end, BLOCK), WINDOW)


class _Body(NamedTuple):
    id: int
    digest: bytes
    octets: int
    stored_octets: int
    encoding: str
    first: bytes
    """Octets of the blob that came with its row."""


def _checked(seen: AccountRow | None) -> tuple[str | None, str | None]:
    """What `OPEN` and `PEEK` are to see of an account."""
    return (None, None) if seen is None else (seen.key, seen.version)


def _refuse_changed(row: Any) -> None:
    if not row["unchanged"]:
        raise AccountChanged("it isn't as it was when it was looked up")


def _listing(row: Any) -> Listing:
    if row["unique_ids"] is None:
        return Listing([], [])
    unique_ids = row["unique_ids"].split(" ")
    with_utf8: list[tuple[int, int, int]] = []
    if row["with_utf8"] is not None:
        numbers = {unique_id: number for number, unique_id in enumerate(unique_ids, 1)}
        parts = iter(row["with_utf8"].split(" "))
        with_utf8 = [
            (numbers[unique_id], int(octets), int(utf8))
            for unique_id, octets, utf8 in zip(parts, parts, parts, strict=True)
        ]
    return listing_of(unique_ids, row["octets"], with_utf8)


class PostgresLease(Lease):
    """A session's hold of a maildrop, which ends when it isn't renewed and another takes it.

    number: this session's number among those of the maildrop; None: it reads a snapshot, and
        holds nothing against others.
    """

    __slots__ = ("_store", "ended", "expires", "holder", "maildrop", "number", "opened_before")

    def __init__(
        self,
        store: PostgresStore,
        maildrop: int,
        number: int | None,
        holder: str,
        expires: float | None,
    ) -> None:
        self._store = store
        self.maildrop = maildrop
        self.number = number
        self.holder = holder or f"pid {os.getpid()} on {store.node}"
        self.expires = expires  # by this node's clock: it says when to renew, and nothing else
        self.ended = False
        self.opened_before: float | None = None

    @property
    def lost(self) -> bool:
        """Whether it was given back, or another session is known to have taken it over."""
        return self.ended

    async def renew(self) -> None:
        """Put off the end. Raises LeaseLost, StoreError."""
        store, begun = self._store, time.time()
        if self.number is None:
            return
        row = await store._row(statements.RENEW, self.maildrop, self.number, store.lease_seconds)
        if row is None:
            self.ended = True
            raise LeaseLost("another session has taken the maildrop over")
        self.expires = begun + store.lease_seconds


class PostgresMaildrop(Maildrop):
    """One session's maildrop in PostgreSQL."""

    blocking: ClassVar[bool] = False

    def __init__(self, store: PostgresStore, lease: PostgresLease, listing: Listing) -> None:
        self._store = store
        self._hold = self.lease = lease
        self.listing = listing

    async def fetch(self, number: MessageNumber, lines: int | None = None) -> Content:
        """The message; a large one in blocks. Raises MessageGone, StoreError."""
        unique_id = self.listing.unique_ids[number - 1]
        return await self._store._fetch(self._hold.maildrop, unique_id, lines)

    async def arrived(self, number: MessageNumber) -> float:
        """When message `number` arrived. Raises MessageGone, StoreError."""
        unique_id = self.listing.unique_ids[number - 1]
        row = await self._store._row(statements.ARRIVED, self._hold.maildrop, unique_id)
        if row is None:
            raise MessageGone("the message was removed")
        return float(row["arrived"])

    async def commit(self, numbers: Sequence[MessageNumber]) -> None:
        """Remove these messages. Raises LeaseLost, StoreError."""
        hold = self._hold
        if hold.lost:
            raise LeaseLost("the lease has ended")
        unique_ids = [self.listing.unique_ids[number - 1] for number in numbers]
        if not unique_ids:
            return
        row = await self._store._row(statements.COMMIT, hold.maildrop, hold.number, unique_ids)
        if row is None:
            hold.ended = True
            raise LeaseLost("another session has taken the maildrop over: nothing is removed")

    async def close(self) -> None:
        """Give the lease back."""
        await self._end(None)

    async def step_back(self) -> None:
        """Give the lease back, and undo that the session has begun."""
        await self._end(self._hold.opened_before)

    async def _end(self, opened_before: float | None) -> None:
        hold = self._hold
        if hold.ended:
            return
        hold.ended = True
        if hold.number is None:
            return
        ending = (hold.maildrop, hold.number)
        if opened_before is None:
            await self._store._rows(statements.RELEASE, *ending)
        else:
            await self._store._rows(statements.STEP_BACK, *ending, opened_before)


class PostgresIncoming(Incoming):
    """A message on its way into a maildrop in PostgreSQL.

    body: the number of its body, when that is stored. put: the key under which this put it.
    """

    def __init__(
        self,
        store: PostgresStore,
        account: Account,
        unique_id: UniqueId,
        *,
        pinned: bool = False,
        arrived: float | None = None,
    ) -> None:
        self._store = store
        self.account = account
        self.unique_id = unique_id
        self.pinned = pinned
        self.arrived = arrived
        self.draft = Draft()
        self.body: int | None = None
        self.put = ""

    def write(self, block: bytes) -> None:
        """Take the message's next octets, with line ends of any kind. Raises StoreError."""
        self.draft.write(block)

    async def prepare(self) -> None:
        """Have the body stored. Raises OverQuota, StoreError."""
        self.draft.finish()
        try:
            await self._store.admit(self.account, self.draft.facts.octets)
            await self._store._have_body(self)
        except BaseException:
            self.abort()
            raise

    async def commit(self) -> UniqueId:
        """Put the message into the maildrop. Raises OverQuota, UniqueIdTaken, StoreError."""
        [result] = await self._store.commit([self], together=True)
        if isinstance(result, Exception):
            raise result
        assert result is not None
        return result

    def abort(self) -> None:
        """Forget the message. Its body, if it is stored already, is collected later."""
        self.draft.close()
