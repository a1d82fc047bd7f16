"""Maildrops as Maildirs: a folder each, a file for every message.

Other programs may deliver into the same folders and read from them at the same time
(Postfix, Dovecot, procmail, mail readers). Restante moves and renames nothing that stays: it
reads new/ and cur/ where the files lie, and removes what a session has removed. What it keeps
for itself are files named `restante.…` beside new/, cur/ and tmp/.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import ClassVar, Literal, TypeAlias

from restante.accounts.account import Account, Quota
from restante.calls import OnThread
from restante.protocol.listing import UniqueId, valid_unique_id
from restante.settings_fields import suggest_settings
from restante.stores.contract import (
    LeaseInfo,
    Maildrop,
    MaildropInUse,
    Removed,
    Store,
    StoreError,
    Usage,
)
from restante.stores.maildir import journal, size_file
from restante.stores.maildir.columns import EMPTY, IN_CUR, Draft, Rows
from restante.stores.maildir.courier import read_sizelist
from restante.stores.maildir.dovecot import read_uidlist
from restante.stores.maildir.file_names import base_name, own_unique_id
from restante.stores.maildir.files import BLOCK, Folder, as_store_error
from restante.stores.maildir.incoming import MaildirIncoming
from restante.stores.maildir.index import (
    REVIEW,
    TICK,
    UNTRUSTED,
    Stamp,
    Version,
    index_version,
    load,
    save,
)
from restante.stores.maildir.lease import LOCK_FILE, FolderLease, Unleased, lock_holders
from restante.stores.maildir.location import Place, refuse_if_case_is_ignored
from restante.stores.maildir.open_maildir import OpenedMaildir
from restante.stores.maildir.pins import pins_stamp, read_pins, write_pins
from restante.stores.maildir.removed import (
    REMOVED_FOLDER,
    forget,
    names_resting,
    put_back,
    resting,
)
from restante.stores.maildir.restored import Arrivals, UsedIds
from restante.stores.maildir.root import Root
from restante.stores.maildir.scan import (
    READ_IN_PLACE,
    Subfolders,
    clean_tmp,
    folder_times,
    look,
)
from restante.stores.maildir.snapshot import Snapshot
from restante.stores.maildir.steps import Steps, begun, to_the_end
from restante.stores.maildir.unique_ids import name_new
from restante.stores.room import DAY, NO_QUOTA, check_days, check_room, quota_for

log = logging.getLogger("restante.stores")

REMEMBERED = 200_000
"""Messages whose facts are kept in memory between sessions, some 35 MB at most."""

MANY = 1000
"""Messages read after which the index is saved at once, not when the session ends."""

LOOKED_AT = 4
"""Maildrops that somebody has looked at whose messages are kept in memory."""

RESTORED = 64
"""Maildrops that messages are restored to at the same time whose unique-ids are remembered."""

CLEAN_SECONDS = 3600
"""How often a process looks whether tmp/ is to be cleaned, at most."""

OWN, DOVECOTS, COURIERS, NONE = 0, 1, 2, -1
"""Where unique-ids come from, in a stamp."""

Kind: TypeAlias = Literal["own", "dovecot", "courier"]
_KINDS: Mapping[Kind, int] = {"own": OWN, "dovecot": DOVECOTS, "courier": COURIERS}
_LISTS = {DOVECOTS: read_uidlist, COURIERS: read_sizelist}
"""The unique-ids that another server has left behind, by base name."""

HALF = Stamp(UNTRUSTED, UNTRUSTED, 0, 0, NONE)
"""Of an index that is saved while messages are still being read."""


@suggest_settings
class Maildir(Store):
    """A store of maildrops in Maildir format.

    root: the folder above all maildrops. It is made once. When it is gone after that, as when a
        disk isn't mounted, it isn't made again: StoreError is raised until it is there.
    template: where each lies below it; see `restante.stores.maildir.location.Place`.
    unique_ids: "own" takes them from the files' names; "dovecot" gives the messages that
        Dovecot knows those its POP3 server gave them (`pop3_uidl_format` untouched), so
        that clients needn't download them again; "courier" does so for Courier's. Once given,
        each kind stays.
    fsync: make deliveries and removals last through a loss of power before telling of
        them. Pinned unique-ids always do.
    quota: what a maildrop may hold whose account says nothing. What it holds is counted in its
        file `maildirsize`, as Courier and Dovecot do; without a quota nothing is counted.
    undelete_days: how long a removed message rests in the maildrop, where `undelete` finds it;
        `collect` unlinks it after that. 0: messages are unlinked when they are removed.
    make_root: False: `root` was made before, and is not to be made by this store.

    Its methods do in place what a few system calls do, as for a maildrop that is as it was or
    has few messages. The rest they return as `OnThread`; `restante.calls.finished` does it
    for callers that may wait.
    """

    blocking: ClassVar[bool] = False

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        template: str = "{user}",
        unique_ids: Kind = "own",
        fsync: bool = True,
        quota: Quota = NO_QUOTA,
        undelete_days: float = 0.0,
        make_root: bool = True,
    ) -> None:
        if unique_ids not in _KINDS:
            raise ValueError(f"unique_ids is 'own', 'dovecot' or 'courier', not {unique_ids!r}")
        self._place = Place(Path(root).absolute(), template)
        self._root = Root(self._place.root, make=make_root)
        self._ids = _KINDS[unique_ids]
        self.fsync = fsync
        self.quota = quota
        self.undelete_days = check_days("undelete_days", undelete_days)
        self._recent: OrderedDict[str, Snapshot] = OrderedDict()  # by the maildrop's name
        self._looked: dict[str, Snapshot] = {}
        self._remembered = 0
        self._lock = Lock()
        self._lock_of_ids = Lock()
        self._used_ids: OrderedDict[str, UsedIds] = OrderedDict()  # by folder
        self._arrivals = Arrivals()

    def folder(self, account: Account) -> Path:
        """Where the account's maildrop lies. Raises StoreError for an impossible name."""
        return self._place.folder(account.maildrop_name)

    def maildrops(self) -> list[str]:
        """The names of the maildrops that are there now, sorted. Called on a thread.

        Raises StoreError.
        """
        with as_store_error("listing maildrops"):
            return self._names()

    def _names(self) -> list[str]:
        self._root.see_again()
        return self._place.names()

    # Opening

    def open(self, account: Account) -> Maildrop | OnThread[Maildrop]:
        """Lease and open the account's maildrop, making its folders if need be.

        Raises MaildropInUse, StoreError.
        """
        name = account.maildrop or account.name
        recent = self._recent.get(name)
        lease = None
        if recent is not None:
            try:
                lease = FolderLease(recent.folder)
                if recent.is_current(lease):
                    self._recent.move_to_end(name)
                    return OpenedMaildir(recent, lease, self, account)
            except (OSError, KeyError):
                pass  # dropped by another thread; or opening it anew tells what is wrong
        return begun(self._opened(account, lease))

    def _opened(self, account: Account, lease: FolderLease | None) -> Steps[Maildrop]:
        """Look at the maildrop. lease: if it was taken already."""
        name = account.maildrop_name
        with as_store_error("opening"):
            try:
                folder = str(self._place.folder(name))
                if lease is None:
                    try:
                        lease = FolderLease(folder)
                    except FileNotFoundError:
                        yield
                        self._root.make_maildir(folder, self.fsync)
                        lease = FolderLease(folder)
                refuse_if_case_is_ignored(folder, name)
                snapshot = yield from self._current(name, folder, lease)
            except BaseException:
                if lease is not None:
                    lease.release()
                raise
        self._remember(name, snapshot)
        return OpenedMaildir(snapshot, lease, self, account)

    def _current(self, name: str, folder: str, lease: FolderLease) -> Steps[Snapshot]:
        """What is there, by the index and by what of it this process remembers."""
        times = yield from self._root.made_folder_times(folder, self.fsync)
        stamp = Stamp(*times, *pins_stamp(folder), self._ids)
        recent = self._recent.get(name)
        version = index_version(folder)
        known = None if recent is None else (recent.stamp, recent.rows)
        if version is not None and (recent is None or recent.version != version):
            if version[2] > READ_IN_PLACE:
                yield
            known = load(folder) or known
            if known is not None and known[0] == stamp:
                return Snapshot(folder, stamp, known[1], version, times)
        cleaned = 0.0 if recent is None else recent.cleaned
        if not 0 <= time.time() - cleaned < CLEAN_SECONDS:
            yield from clean_tmp(folder)
            cleaned = time.time()
        found = yield from self._found(folder, lease, stamp, known)
        found.cleaned = cleaned
        return found

    def _found(
        self, folder: str, lease: FolderLease, stamp: Stamp, known: tuple[Stamp, Rows] | None
    ) -> Steps[Snapshot]:
        before = lease.clock() - TICK

        def save_half(rows: Rows) -> None:
            _save(folder, lease, HALF, rows)

        then, old = known or (HALF, EMPTY)
        trusted = then[2:] == stamp[2:] and then.new != REVIEW  # unique-ids and facts alike
        since = then[:2] if trusted else None
        seen = yield from look(folder, old, since, stamp[:2], save_half)
        if then.ids != self._ids:
            seen.draft.unique_ids = [""] * len(seen.draft.unique_ids)
        pinned = stamp[2:4]
        if (yield from self._name(folder, seen.draft, old, pinned, trusted=then[2:] == stamp[2:])):
            pinned = pins_stamp(folder)
        complete = not (seen.moved or seen.unreadable)
        times = seen.times if complete else (UNTRUSTED, UNTRUSTED)
        new, cur = (at if at < before else UNTRUSTED for at in times)
        stamp = Stamp(new, cur, *pinned, self._ids)
        rows = seen.draft.rows()
        version = _save(folder, lease, stamp, rows) if seen.come >= MANY else None
        return Snapshot(folder, stamp, rows, version, times)

    def _name(
        self, folder: str, draft: Draft, old: Rows, pinned: tuple[int, int], *, trusted: bool
    ) -> Steps[bool]:
        """Give the messages their unique-ids; those that must be pinned are, durably.

        pinned: what `pins_stamp` said; only the lease's holder changes it. Gives whether the
        pins have been written.
        """
        if pinned[1] > READ_IN_PLACE or draft.namesakes or self._ids in _LISTS:
            yield
        pins = read_pins(folder, warn=not trusted) if any(pinned) else {}
        if any("/" in key for key in pins):  # messages may have to be read to be told apart
            yield
        foreign = self._foreign(folder)

        def digest(at: int) -> str:
            return _digest(folder, draft, at)

        to_pin = name_new(draft, old, pins, foreign, digest, trusted=trusted)
        if not to_pin:
            return False
        yield
        crowded = not draft.keep and len(pins) > 2 * len(draft) + 1000
        alive = None
        if crowded:
            names = [*draft.names, *names_resting(folder)]
            alive = [base_name(name) for name in names]
        try:
            write_pins(folder, to_pin, alive)
        except OSError as error:
            if error.errno != errno.EROFS:  # what can't change keeps its ids
                raise
        return True

    def _foreign(self, folder: str) -> Mapping[str, str] | None:
        """The unique-ids of another server by base name; None if they aren't wanted."""
        return _LISTS[self._ids](folder) if self._ids in _LISTS else None

    def _remember(self, name: str, snapshot: Snapshot) -> None:
        """Keep the last opened maildrops in memory, as many as their messages allow."""
        with self._lock:
            self._drop(name)
            self._recent[name] = snapshot
            self._remembered += _weight(snapshot)
            while self._remembered > REMEMBERED:
                self._drop(next(iter(self._recent)))

    def forget(self, snapshot: Snapshot) -> None:
        """Don't keep this in memory: it isn't true any more."""
        with self._lock:
            for name in [name for name, kept in self._recent.items() if kept is snapshot]:
                self._drop(name)

    def _drop(self, name: str) -> None:
        snapshot = self._recent.pop(name, None)
        if snapshot is not None:
            self._remembered -= _weight(snapshot)

    def check(self) -> OnThread[None]:
        """See that the root can be read and written to. Raises StoreError."""
        return OnThread(self._check)

    def _check(self) -> None:
        root = self._place.root
        with as_store_error("checking"):
            self._root.see()
        if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
            raise StoreError(f"{root} isn't a folder that this user can read and write to")

    # Looking without a lease

    def look(self, account: Account) -> Maildrop:
        """The maildrop as it is now, without its lease: no session waits for whoever looks.

        Nothing is written, and `commit` raises LeaseLost. It may read all messages that no session
        has seen yet, so it is called on a thread. The unique-ids of new messages that must be
        pinned are those that the next session will pin, unless others come before it.
        Raises StoreError.
        """
        name = account.maildrop or account.name
        folder = str(self._place.folder(name))
        with as_store_error("looking"):
            try:
                times = folder_times(folder)
            except FileNotFoundError:
                self._root.see_again()
                snapshot = Snapshot(folder, HALF, EMPTY, None, (0, 0))
            else:
                snapshot = self._seen(folder, Stamp(*times, *pins_stamp(folder), self._ids))
        return OpenedMaildir(snapshot, Unleased(), self, account)

    def _seen(self, folder: str, stamp: Stamp) -> Snapshot:
        before = time.time_ns() - TICK
        with self._lock:
            recent = self._looked.get(folder)
        if recent is not None and recent.stamp == stamp:
            return recent
        version = index_version(folder)
        if recent is not None and recent.version == version:
            then, old = recent.stamp, recent.rows
        else:  # a session has saved what it knows since, and learns all that there is
            then, old = load(folder) or (HALF, EMPTY)
        rows, times = old, (stamp.new, stamp.cur)
        if then != stamp:
            trusted = then[2:] == stamp[2:] and then.new != REVIEW
            seen = to_the_end(look(folder, old, then[:2] if trusted else None, times))
            if then.ids != self._ids:
                seen.draft.unique_ids = [""] * len(seen.draft.unique_ids)
            foreign = self._foreign(folder)

            def digest(at: int) -> str:
                return _digest(folder, seen.draft, at)

            same = then[2:] == stamp[2:]
            pins = read_pins(folder, warn=not same)
            name_new(seen.draft, old, pins, foreign, digest, trusted=same)
            rows, times = seen.draft.rows(), seen.times
            complete = not (seen.moved or seen.unreadable)
            new, cur = (at if complete and at < before else UNTRUSTED for at in seen.times)
            stamp = Stamp(new, cur, *stamp[2:])
        snapshot = Snapshot(folder, stamp, rows, version, times)
        with self._lock:
            self._looked.pop(folder, None)
            self._looked[folder] = snapshot
            while len(self._looked) > LOOKED_AT:
                self._looked.pop(next(iter(self._looked)))
        return snapshot

    # Taking mail in

    def receive(self, account: Account) -> MaildirIncoming:
        """Begin a message for the account's maildrop. Raises StoreError."""
        folder = str(self.folder(account))
        return self._incoming(
            account, MaildirIncoming(folder, self._root, self.fsync, quota_for(account, self.quota))
        )

    def _incoming(self, account: Account, incoming: MaildirIncoming) -> MaildirIncoming:
        try:
            refuse_if_case_is_ignored(str(self.folder(account)), account.maildrop_name)
        except BaseException:
            incoming.abort()
            raise
        return incoming

    def restore(
        self, account: Account, unique_id: str, *, arrived: float | None = None
    ) -> MaildirIncoming:
        """Begin a message that has a unique-id already.

        Its unique-id is pinned, and its file's name has the time of its arrival. `commit` raises
        MaildropInUse while a session has the maildrop, UniqueIdTaken when it has, or had, the
        unique-id for another message. Raises StoreError.
        """
        if not valid_unique_id(unique_id):
            raise StoreError(f"not a unique-id: {unique_id!r}", temporary=False)
        folder = str(self.folder(account))
        micros = self._arrivals.place(folder, time.time() if arrived is None else arrived)
        quota = quota_for(account, self.quota)

        @contextmanager
        def pinned(base: str) -> Iterator[UniqueId]:
            lease = FolderLease(folder)
            try:
                used = self._ids_used(account, folder)
                used.pin(base, unique_id)
                yield UniqueId(unique_id)
                used.has_come()
            finally:
                lease.release()

        incoming = MaildirIncoming(folder, self._root, self.fsync, quota, micros=micros, pin=pinned)
        return self._incoming(account, incoming)

    def _ids_used(self, account: Account, folder: str) -> UsedIds:
        """The unique-ids of a maildrop that messages are restored to. Under its lease."""
        with self._lock_of_ids:
            used = self._used_ids.get(folder)
        if used is None or not used.is_current():
            resting = [each.unique_id for each in self._removed(folder)]
            used = UsedIds(folder, [*self.look(account).listing.unique_ids, *resting])
        with self._lock_of_ids:
            self._used_ids[folder] = used
            self._used_ids.move_to_end(folder)
            while len(self._used_ids) > RESTORED:
                self._used_ids.popitem(last=False)
        return used

    def admit(self, account: Account, octets: int = 0) -> OnThread[None] | None:
        """Raise OverQuota if the maildrop has no room for so many octets."""
        quota = quota_for(account, self.quota)
        if quota is None:
            return None
        return OnThread(self._admit, str(self.folder(account)), quota, octets)

    def _admit(self, folder: str, quota: Quota, octets: int) -> None:
        if os.path.isdir(f"{folder}/tmp"):
            size_file.check(folder, quota, octets)
        else:
            check_room(quota, Usage(0, 0), octets)

    def usage(self, account: Account) -> OnThread[Usage]:
        """What the account's maildrop holds, in octets as RETR sends them. Raises StoreError.

        A quota counts the octets of files: those that other programs have stored without CR are
        a little smaller.
        """
        return OnThread(self._usage, account)

    def _usage(self, account: Account) -> Usage:
        listing = self.look(account).listing
        return Usage(len(listing), listing.total)

    # Messages that were removed

    def removed(self, account: Account) -> OnThread[Sequence[Removed]]:
        """What `undelete` could put back, in the order in which it was removed."""
        return OnThread(self._removed, str(self.folder(account)))

    def _removed(self, folder: str) -> Sequence[Removed]:
        found = []
        with as_store_error("undelete"), suppress(FileNotFoundError):
            pins = read_pins(folder)
            with Folder(f"{folder}/{REMOVED_FOLDER}") as there:
                for each in resting(there):
                    with suppress(FileNotFoundError):
                        octets = there.stat(each.file).st_size
                        base = base_name(each.name)
                        unique_id = pins.get(base) or own_unique_id(base)
                        found.append(Removed(unique_id, octets, each.removed / 1e9))
        return sorted(found, key=lambda each: each.removed)

    def undelete(self, account: Account, seconds: float) -> OnThread[int]:
        """Put back what was removed from the maildrop within the last `seconds`.

        Gives the number of messages, which have their unique-ids and flags as before.
        """
        return OnThread(self._undelete, account, seconds)

    def _undelete(self, account: Account, seconds: float) -> int:
        folder = str(self.folder(account))
        since = time.time_ns() - int(seconds * 1e9)
        octets = count = 0
        with as_store_error("undelete"):
            try:
                there = Folder(f"{folder}/{REMOVED_FOLDER}")
            except FileNotFoundError:
                return 0
            with there, Subfolders(folder) as subs:
                for each in list(resting(there)):
                    if each.removed < since:
                        continue
                    with suppress(FileNotFoundError):
                        if (size := put_back(there, subs.here(each.in_cur), each)) is not None:
                            octets += size
                            count += 1
                if self.fsync and count:
                    subs.here(0).sync()
                    subs.here(1).sync()
                    there.sync()
        quota = quota_for(account, self.quota)
        if quota is not None and count:
            size_file.change(folder, quota, octets, count)
        return count

    def collect(self) -> OnThread[int]:
        """Unlink what was removed more than `undelete_days` ago, in all maildrops."""
        return OnThread(self._collect)

    def _collect(self) -> int:
        before = time.time_ns() - int(self.undelete_days * DAY * 1e9)
        count = 0
        with as_store_error("collecting"):
            names = self._names()
        for name in names:
            folder = str(self._place.folder(name))
            try:
                count += forget(folder, before)
            except (OSError, StoreError) as error:
                log.warning("%s isn't collected: %s", folder, error)
        return count

    # Leases of others

    def leases(self) -> OnThread[Sequence[LeaseInfo]]:
        """The leases that are held now, by any process of this machine. Raises StoreError.

        Only Linux says who holds a lock.
        """
        return OnThread(self._leases)

    def _leases(self) -> Sequence[LeaseInfo]:
        holders = lock_holders()
        found = []
        with as_store_error("leases"):
            names = self._names() if holders else []
        for name in names:
            with suppress(FileNotFoundError, NotADirectoryError):
                about = os.lstat(self._place.folder(name) / LOCK_FILE)
                pid = holders.get((about.st_dev, about.st_ino))
                if pid is not None:
                    found.append(LeaseInfo(name, f"pid {pid} on {socket.gethostname()}"))
        return found

    def release(self, maildrop_name: str) -> OnThread[bool]:
        """Take a maildrop's lease from whoever has it; that session can't commit any more.

        The lock's file is removed, so the lock is one of nothing. Gives whether it was held.
        """
        return OnThread(self._release, str(self._place.folder(maildrop_name)))

    def _release(self, folder: str) -> bool:
        with as_store_error("releasing"):
            try:
                FolderLease(folder).release(keep=False)
            except FileNotFoundError:
                return False
            except MaildropInUse:
                os.unlink(f"{folder}/{LOCK_FILE}")
                return True
        return False

    def pin(self, account: Account, unique_ids: Mapping[str, str]) -> None:
        """Give messages unique-ids from elsewhere, for ever; durable when it returns.

        unique_ids: by file name, with or without flags; the messages may come later.
        Raises ValueError for an id that RFC 1939 §7 doesn't allow or that two messages
        would have, MaildropInUse during a session, StoreError.
        """
        pins = {base_name(name): unique_id for name, unique_id in unique_ids.items()}
        for unique_id in pins.values():
            if not valid_unique_id(unique_id):
                raise ValueError(f"not a unique-id: {unique_id!r}")
        folder = str(self.folder(account))
        with as_store_error("pinning"):
            to_the_end(self._root.made_folder_times(folder, self.fsync))
            lease = FolderLease(folder)
            try:
                merged = {**read_pins(folder), **pins}
                if len(set(merged.values())) != len(merged):
                    raise ValueError("a unique-id for two messages")
                write_pins(folder, pins)
            finally:
                lease.release()


def _weight(snapshot: Snapshot) -> int:
    """Messages that a snapshot counts for; one without any takes room too."""
    return len(snapshot.rows) + 10


def _save(folder: str, lease: FolderLease, stamp: Stamp, rows: Rows) -> Version | None:
    """Write the index, if that is possible; gives its version."""
    with suppress(OSError):
        if not lease.lost:
            save(folder, stamp, rows)
            if stamp != HALF:
                journal.clear(folder)
            return index_version(folder)
    return None


def _digest(folder: str, draft: Draft, at: int) -> str:
    """What tells the message that was added to a draft at this place from its namesakes."""
    name, in_cur = list(draft.names)[at], draft.marks[at] & IN_CUR
    digest = sha256()
    with Subfolders(folder) as subs:
        fd, _ = subs.here(in_cur).open(name)
        with os.fdopen(fd, "rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    return digest.hexdigest()[:32]
