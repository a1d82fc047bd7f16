"""Maildrops as Maildirs: a folder each, a file for every message.

Other programs may deliver into the same folders and read from them at the same time
(Postfix, Dovecot, procmail, mail readers). Restante moves and renames nothing: it reads
new/ and cur/ where the files lie, and removes what a session has removed. What it keeps
for itself are files named `restante.…` beside new/, cur/ and tmp/.
"""

from __future__ import annotations

import errno
import os
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import ClassVar, Literal

from restante.accounts.contract import Account
from restante.protocol.listing import valid_unique_id
from restante.stores.contract import Incoming, Maildrop, Store, StoreError
from restante.stores.maildir import journal
from restante.stores.maildir.columns import EMPTY, Draft, Rows
from restante.stores.maildir.dovecot import read_uidlist
from restante.stores.maildir.file_names import base_name
from restante.stores.maildir.files import TooMuch, as_store_error
from restante.stores.maildir.incoming import MaildirIncoming
from restante.stores.maildir.index import (
    TICK,
    UNTRUSTED,
    Stamp,
    Version,
    index_version,
    load,
    save,
)
from restante.stores.maildir.lease import Lease
from restante.stores.maildir.location import Place, refuse_if_case_is_ignored
from restante.stores.maildir.open_maildir import OpenedMaildir
from restante.stores.maildir.packed_text import NewNames
from restante.stores.maildir.pins import pins_stamp, read_pins, write_pins
from restante.stores.maildir.scan import (
    CLEANED_AT_ONCE,
    READ_AT_ONCE,
    clean_tmp,
    folder_times,
    made_folder_times,
    make_maildir,
    survey,
)
from restante.stores.maildir.snapshot import Snapshot
from restante.stores.maildir.unique_ids import name_all, name_new_ones

REMEMBERED = 200_000
"""Messages whose facts are kept in memory between sessions, some 35 MB at most."""

MANY = 1000
"""Messages read after which the index is saved at once, not when the session ends."""

AT_ONCE_SECONDS = 0.005
"""How long a maildrop that isn't as it was may be looked through in place."""

CLEAN_SECONDS = 3600
"""How often a process looks whether tmp/ is to be cleaned, at most."""

OWN, DOVECOTS, NONE = 0, 1, -1
"""Where unique-ids come from, in a stamp."""

HALF = Stamp(UNTRUSTED, UNTRUSTED, 0, 0, NONE)
"""Of an index that is saved while messages are still being read."""


class Maildir(Store):
    """A store of maildrops in Maildir format.

    root: the folder above all maildrops.
    template: where each lies below it; see `restante.stores.maildir.location.Place`.
    unique_ids: "own" takes them from the files' names; "dovecot" gives the messages that
        Dovecot knows those its POP3 server gave them (`pop3_uidl_format` untouched), so
        that clients needn't download them again. Once given, either kind stays.
    fsync: make deliveries and removals last through a loss of power before telling of
        them. Pinned unique-ids always do.
    """

    blocking: ClassVar[bool] = True

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        template: str = "{user}",
        unique_ids: Literal["own", "dovecot"] = "own",
        fsync: bool = True,
    ) -> None:
        if unique_ids not in ("own", "dovecot"):
            raise ValueError(f"unique_ids is 'own' or 'dovecot', not {unique_ids!r}")
        self._place = Place(Path(root).absolute(), template)
        self._ids = DOVECOTS if unique_ids == "dovecot" else OWN
        self._fsync = fsync
        self._recent: OrderedDict[Path, Snapshot] = OrderedDict()
        self._remembered = 0
        self._lock = Lock()

    def folder(self, account: Account) -> Path:
        """Where the account's maildrop lies. Raises StoreError for an impossible name."""
        return self._place.folder(account.maildrop_name)

    def open(self, account: Account) -> Maildrop:
        """Lease and open the account's maildrop, making its folders if need be.

        Raises MaildropInUse, StoreError.
        """
        folder = self.folder(account)
        with as_store_error("opening"):
            lease = self._lease(folder)
            try:
                refuse_if_case_is_ignored(folder, account.maildrop_name)
                snapshot = self._snapshot(folder, lease)
            except BaseException:
                lease.release()
                raise
        return OpenedMaildir(snapshot, lease, self._forget, fsync=self._fsync)

    def open_at_once(self, account: Account) -> Maildrop | None:
        """The same for a maildrop that is as it was when this process last had it open, or has
        few messages.

        None for every other, and when anything is not as usual. Raises MaildropInUse.
        """
        folder = self.folder(account)
        recent = self._recent.get(folder)
        try:
            lease = Lease(folder if recent is None else recent.folder)
        except OSError:
            return None
        try:
            if recent is not None and recent.is_current():
                with suppress(KeyError):  # dropped by another thread
                    self._recent.move_to_end(folder)
            else:
                refuse_if_case_is_ignored(folder, account.maildrop_name)
                recent = self._snapshot(folder, lease, time.monotonic() + AT_ONCE_SECONDS)
            return OpenedMaildir(recent, lease, self._forget, fsync=self._fsync)
        except (OSError, StoreError, TooMuch):
            pass  # opening it on a thread tells what is wrong
        except BaseException:
            lease.release()
            raise
        lease.release()
        return None

    def receive(self, account: Account) -> Incoming:
        """Begin a message for the account's maildrop. Raises StoreError."""
        folder = self.folder(account)
        incoming = MaildirIncoming(folder, self._fsync)
        try:
            refuse_if_case_is_ignored(folder, account.maildrop_name)
        except BaseException:
            incoming.abort()
            raise
        return incoming

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
        folder = self.folder(account)
        with as_store_error("pinning"):
            lease = self._lease(folder)
            try:
                merged = {**read_pins(folder), **pins}
                if len(set(merged.values())) != len(merged):
                    raise ValueError("a unique-id for two messages")
                write_pins(folder, pins)
            finally:
                lease.release()

    def _lease(self, folder: Path) -> Lease:
        try:
            return Lease(folder)
        except FileNotFoundError:
            make_maildir(folder, self._fsync)
            return Lease(folder)

    def _snapshot(self, folder: Path, lease: Lease, until: float | None = None) -> Snapshot:
        """What is there. Raises TooMuch when it isn't had in place by the time `until`."""
        times = made_folder_times(folder, self._fsync) if until is None else folder_times(folder)
        stamp = Stamp(*times, *pins_stamp(folder), self._ids)
        recent = self._recent.get(folder)
        if recent is None or recent.stamp != stamp:
            recent = self._found(folder, lease, stamp, recent, until)
        self._remember(folder, recent)
        return recent

    def _found(
        self,
        folder: Path,
        lease: Lease,
        stamp: Stamp,
        recent: Snapshot | None,
        until: float | None,
    ) -> Snapshot:
        """What is there, by the index and by what of it this process remembers."""
        version = index_version(folder)
        known = None if recent is None else (recent.stamp, recent.rows)
        if version is not None and (recent is None or recent.version != version):
            if until is not None and version[2] > READ_AT_ONCE:
                raise TooMuch
            known = load(folder) or known
            if known is not None and known[0] == stamp:
                return Snapshot(folder, stamp, known[1], version)
        cleaned = 0.0 if recent is None else recent.cleaned
        if not 0 <= time.time() - cleaned < CLEAN_SECONDS:
            clean_tmp(folder, None if until is None else CLEANED_AT_ONCE)
            cleaned = time.time()
        found = self._look_through(folder, lease, stamp, known, until)
        found.cleaned = cleaned
        return found

    def _look_through(
        self,
        folder: Path,
        lease: Lease,
        stamp: Stamp,
        known: tuple[Stamp, Rows] | None,
        until: float | None,
    ) -> Snapshot:
        before = lease.clock() - TICK

        def save_half(rows: Rows) -> None:
            _save(folder, lease, HALF, rows)

        then, old = known or (HALF, EMPTY)
        quick = then.ids == self._ids == OWN and then[2:] == stamp[2:]
        found = survey(folder, known, stamp[:2], quick=quick, until=until, save_half=save_half)
        pinned = stamp[2:4]
        pins = read_pins(folder) if pinned[1] else {}
        own = quick or (known is None and self._ids == OWN)
        if not (own and name_new_ones(found.draft, old, pins)):
            if until is not None:
                raise TooMuch  # names may have to be written
            if found.draft.keep:
                found = survey(folder, known, save_half=save_half)
            self._name_all(folder, found.draft, pins, afresh=then.ids != self._ids)
            pinned = pins_stamp(folder)
        complete = not (found.moved or found.unreadable)
        new, cur = (at if complete and at < before else UNTRUSTED for at in (stamp.new, stamp.cur))
        stamp = Stamp(new, cur, *pinned, self._ids)
        rows = found.draft.rows()
        version = _save(folder, lease, stamp, rows) if found.come >= MANY else None
        return Snapshot(folder, stamp, rows, version)

    def _name_all(self, folder: Path, draft: Draft, pins: dict[str, str], *, afresh: bool) -> None:
        if afresh:
            draft.unique_ids = [""] * len(draft)
        foreign = read_uidlist(folder) if self._ids == DOVECOTS else None
        if to_pin := name_all(draft, pins, foreign):
            self._pin_given(folder, to_pin, draft.names, len(pins))

    def _pin_given(self, folder: Path, to_pin: dict[str, str], names: NewNames, count: int) -> None:
        crowded = count > 2 * len(names) + 1000
        alive = [base_name(name) for name in names] if crowded else None
        try:
            write_pins(folder, to_pin, alive)
        except OSError as error:
            if error.errno != errno.EROFS:  # what can't change keeps its ids
                raise

    def _remember(self, folder: Path, snapshot: Snapshot) -> None:
        """Keep the last opened maildrops in memory, as many as their messages allow."""
        with self._lock:
            self._drop(folder)
            self._recent[folder] = snapshot
            self._remembered += _weight(snapshot)
            while self._remembered > REMEMBERED:
                self._drop(next(iter(self._recent)))

    def _forget(self, snapshot: Snapshot) -> None:
        with self._lock:
            self._drop(Path(snapshot.folder))

    def _drop(self, folder: Path) -> None:
        snapshot = self._recent.pop(folder, None)
        if snapshot is not None:
            self._remembered -= _weight(snapshot)


def _weight(snapshot: Snapshot) -> int:
    """Messages that a snapshot counts for; one without any takes room too."""
    return len(snapshot.rows) + 10


def _save(folder: Path, lease: Lease, stamp: Stamp, rows: Rows) -> Version | None:
    """Write the index, if that is possible; gives its version."""
    with suppress(OSError):
        if lease.holds():
            save(folder, stamp, rows)
            if stamp != HALF:
                journal.clear(folder)
            return index_version(folder)
    return None
