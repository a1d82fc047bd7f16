"""What is noted for the history, before it is written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol, TypeAlias

from restante.accounts.contract import Account
from restante.protocol.listing import Listing, MessageNumber

POLLS_SECONDS = 600.0
"""How long a poll is compared with one in memory, before what other processes wrote counts."""

FORGOTTEN = Listing((), ())
"""In place of a listing that may be large; its digest is known by then."""


class EndedSession:
    """What is noted of a session that has logged in, from then to its end.

    verbs: of the first commands, `MOST_VERBS` at most. later: how often each command came after
    those. before_login: how many came before the one that logged in. sent: number and TOP's
    lines, None for RETR.
    """

    __slots__ = (
        "account", "address", "before_login", "committed", "committed_at", "ended", "later",
        "listing", "maildrop", "mechanism", "octets", "opened", "retrieved", "sent", "session",
        "tls", "until", "verbs",
    )  # fmt: skip

    def __init__(
        self, session: str, account: Account, address: str, listing: Listing, opened: float
    ) -> None:
        self.session = session
        self.account = account.name
        self.maildrop = account.maildrop_name
        self.address = address
        self.tls = False
        self.mechanism = ""
        self.listing = listing
        self.opened = self.until = opened
        self.ended = ""
        self.octets = self.retrieved = 0
        self.verbs: list[str] = []
        self.later: Counter[str] | None = None
        self.before_login = 0
        self.sent: list[tuple[int, int | None]] = []
        self.committed: Sequence[MessageNumber] = ()
        self.committed_at: float | None = None

    @property
    def greeting(self) -> str:
        """The verbs up to the login, each once."""
        return " ".join(dict.fromkeys(v or "unknown" for v in self.verbs[: self.before_login + 1]))

    @property
    def commands(self) -> str:
        """How often each command came, as JSON."""
        if self.later is not None:
            return _as_text(Counter(self.verbs) + self.later)
        return _commands(*self.verbs)

    @property
    def how(self) -> tuple[object, ...]:
        """What polls that are counted together have in common, but for verbs and listing."""
        return (
            self.ended, self.mechanism, self.tls, self.maildrop, self.before_login, self.later,
        )  # fmt: skip

    def again(self, session: str, listing: Listing, opened: float, until: float) -> EndedSession:
        """Another session that is like this one, which is a poll."""
        other = EndedSession.__new__(EndedSession)
        other.session, other.listing, other.opened, other.until = session, listing, opened, until
        other.account, other.maildrop, other.address = self.account, self.maildrop, self.address
        other.tls, other.mechanism, other.ended = self.tls, self.mechanism, self.ended
        other.verbs, other.later, other.before_login = self.verbs, self.later, self.before_login
        other.octets = other.retrieved = 0
        other.sent, other.committed, other.committed_at = [], (), None
        return other


def _as_text(commands: Counter[str]) -> str:
    shown = {verb or "unknown": times for verb, times in commands.items()}
    return json.dumps(shown, separators=(",", ":"))


@lru_cache(1000)
def _commands(*verbs: str) -> str:
    """The same of some verbs. Most sessions have the same ones."""
    return _as_text(Counter(verbs))


class Delivered(NamedTuple):
    """A message that came in, or that didn't. outcome: delivered, not delivered, refused."""

    at: float
    outcome: str
    recipient: str
    sender: str
    octets: int
    unique_id: str
    peer: str
    protocol: str
    tls: str
    queue_id: str
    reason: str


class LoginRefused(NamedTuple):
    """A login that failed or was held off. account: the name that was tried, if it may be shown."""

    at: float
    account: str
    address: str
    mechanism: str
    reason: str


class Poll:
    """A client's last poll, which found nothing new, and those since then that are like it.

    number, row_listing: of its row, and of the listing that the row has; 0 before it has one.
    digest: of its listing, once it has a row. further: polls that aren't written yet, of which
    `last` is the last, as values for `EndedSession.again`; seconds: that they lasted together.
    waits: whether it is to be written.
    """

    __slots__ = (
        "digest", "first", "further", "how", "last", "number", "row_listing", "seconds", "verbs",
        "waits",
    )  # fmt: skip

    def __init__(self, first: EndedSession) -> None:
        self.first = first
        self.verbs, self.how = first.verbs, first.how
        self.last = first.session, first.listing, first.opened, first.until
        self.further = 1
        self.seconds = first.until - first.opened
        self.number = 0
        self.row_listing: int | None = 0
        self.digest = b""
        self.waits = True

    def has(
        self, verbs: list[str], how: tuple[object, ...], listing: Listing, opened: float
    ) -> bool:
        """Whether a poll is like this one in all, so that it need only be counted."""
        return (
            (listing is self.first.listing or (listing.digested == self.digest != b""))
            and verbs == self.verbs
            and how == self.how
            and 0 <= opened - self.first.opened <= POLLS_SECONDS
        )


class Polls(NamedTuple):
    """What is to be written of a poll: so many further ones, and the last of them."""

    poll: Poll
    times: int
    seconds: float
    last: EndedSession


Record: TypeAlias = EndedSession | Delivered | LoginRefused
Taken: TypeAlias = EndedSession | Polls | Delivered | LoginRefused


class Notebook(Protocol):
    """Takes what is noted, and has it written some time later."""

    def put(self, record: Record) -> None:
        """Have a record written, soon. Never waits."""

    def put_session(self, session: EndedSession) -> None:
        """The same for a session, which may become one with the poll before it."""

    def count_poll(
        self,
        key: tuple[str, str],
        verbs: list[str],
        how: tuple[object, ...],
        last: tuple[str, Listing, float, float],
    ) -> bool:
        """Count a session with the client's poll before it; False if it isn't like that one.

        key: account and address. verbs: of its commands. how, last: what `EndedSession.how`
        would give, and what `EndedSession.again` takes.
        """
