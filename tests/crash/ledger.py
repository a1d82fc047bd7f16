"""What clients were promised, and whether it was kept."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from threading import Lock
from typing import NamedTuple

ACCOUNTS = ("anna", "bert", "carla")
PASSWORD = "clevertester"

_NAME = re.compile(rb"Message-ID: <([a-z]+)-(\d+)@crash\.example>\r\n")


class Copy(NamedTuple):
    """A message in one account's maildrop. name: `sent-17`, `bystander-3`."""

    account: str
    name: str


def message(seed: int, name: str) -> bytes:
    """The message of that name: the same one each time, so that a torso shows."""
    chance = random.Random(f"{seed} {name}")
    lines = [f"Message-ID: <{name}@crash.example>", f"Subject: {name}", ""]
    count = chance.choice((0, 3, 30, 300, 3000)) if not name.endswith("000") else 30_000
    for number in range(count):
        text = chance.choice(("", ".", "..", ".leading dot", "a line", "x" * 70))
        lines.append(f"{text} {number}" if chance.random() < 0.8 else text)
    lines.append("the end")
    return "".join(line + "\r\n" for line in lines).encode()


def name_of(wire: bytes) -> str:
    """The name of the message that these octets are, or begin like; "" if of none."""
    found = _NAME.match(wire)
    return f"{found[1].decode()}-{found[2].decode()}" if found else ""


class Ledger:
    """The promises. All methods may be called from any thread."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.violations: list[str] = []
        self._lock = Lock()
        self._count = 0
        self._offered: set[Copy] = set()
        self._promised: set[Copy] = set()
        self._removing: set[Copy] = set()
        self._removed: set[Copy] = set()
        self._unique_ids: dict[Copy, str] = {}
        self._by_unique_id: dict[tuple[str, str], str] = {}

    def violated(self, what: str) -> None:
        """A promise was broken."""
        with self._lock:
            self.violations.append(what)

    @property
    def promised(self) -> int:
        """Copies that got a 250."""
        return len(self._promised)

    @property
    def removed(self) -> int:
        """Copies whose removal got +OK."""
        return len(self._removed)

    # Delivery

    def new_message(self, accounts: Iterable[str]) -> str:
        """The name of a message that nobody has sent yet, and now will be."""
        with self._lock:
            self._count += 1
            name = f"sent-{self._count}"
            self._offered.update(Copy(account, name) for account in accounts)
        return name

    def promise(self, copy: Copy) -> None:
        """The server said 250, or the message was there from the beginning."""
        with self._lock:
            self._offered.add(copy)
            self._promised.add(copy)

    # Sessions

    def must_be_listed(self, account: str) -> set[str]:
        """Unique-ids, as far as they are known, of what is in the maildrop for certain."""
        with self._lock:
            return {
                unique_id
                for copy, unique_id in self._unique_ids.items()
                if copy.account == account and copy not in self._removing
            }

    def check_listing(self, account: str, unique_ids: list[str], expected: set[str]) -> None:
        """Hold a UIDL against what is known. expected: `must_be_listed` before the login."""
        if len(set(unique_ids)) != len(unique_ids):
            self.violated(f"{account}: a unique-id twice")
        if missing := expected.difference(unique_ids):
            names = [self._by_unique_id[account, unique_id] for unique_id in missing]
            self.violated(f"{account}: not listed any more: {sorted(names)[:5]}")
        with self._lock:
            gone = {self._unique_ids.get(copy) for copy in self._removed if copy.account == account}
        if back := gone.intersection(unique_ids):
            self.violated(f"{account}: listed though removed: {sorted(map(str, back))[:5]}")

    def check_message(self, account: str, unique_id: str, octets: int, wire: bytes) -> Copy:
        """Hold a message against what was sent, and its unique-id against what it was."""
        copy = Copy(account, name_of(wire))
        if not copy.name or wire != message(self.seed, copy.name):
            self.violated(f"{account}: a torso, or nothing that was sent: {wire[:60]!r}")
            return copy
        if octets != len(wire):
            self.violated(f"{copy}: LIST says {octets} octets, RETR gives {len(wire)}")
        with self._lock:
            known = self._unique_ids.setdefault(copy, unique_id)
            owner = self._by_unique_id.setdefault((account, unique_id), copy.name)
            offered, removed = copy in self._offered, copy in self._removed
        if known != unique_id or owner != copy.name:
            self.violated(f"{copy}: unique-id {unique_id}, was {known}, or a second copy of it")
        if not offered or removed:
            self.violated(f"{copy}: there, though {'removed' if removed else 'never sent'}")
        return copy

    def known(self, account: str, unique_id: str) -> Copy | None:
        """The message with that unique-id, if it has been fetched before."""
        with self._lock:
            name = self._by_unique_id.get((account, unique_id))
            return Copy(account, name) if name else None

    def removing(self, copies: Iterable[Copy]) -> None:
        """QUIT is about to be sent: these may be gone from now on."""
        with self._lock:
            self._removing.update(copies)

    def removed_all(self, copies: Iterable[Copy]) -> None:
        """QUIT got +OK."""
        with self._lock:
            self._removed.update(copies)

    # The end

    def check_end(self, found: Iterable[Copy]) -> None:
        """Hold all that is in the maildrops in the end against the promises."""
        counts: dict[Copy, int] = {}
        for copy in found:
            counts[copy] = counts.get(copy, 0) + 1
        for copy in self._offered | counts.keys():
            count = counts.get(copy, 0)
            if count > 1:
                self.violated(f"{copy}: {count} times")
            if count and copy in self._removed:
                self.violated(f"{copy}: there, though its removal got +OK")
            if not count and copy in self._promised and copy not in self._removing:
                self.violated(f"{copy}: lost, though it got 250 and nobody removed it")
