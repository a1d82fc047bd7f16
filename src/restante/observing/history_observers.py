"""Noting for the history what sessions do, and what becomes of mail that comes in."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from restante.delivery.envelope import Envelope
from restante.delivery.observer import DeliveryObserver
from restante.observing.history_records import Delivered, EndedSession, LoginRefused, Notebook
from restante.protocol.claims import Claim
from restante.protocol.listing import MessageNumber
from restante.protocol.redaction import safe_name
from restante.server.client import ClientSession
from restante.server.notes import Notes
from restante.server.observer import Observer

MOST_VERBS = 100
"""Commands of one session that are noted in their order. Of later ones it is counted what they
were."""

MAX_SENT = 200_000
"""Retrievals of one session that are noted: more than a maildrop has messages."""

MAX_TEXT = 500
"""Characters of a text from outside, such as an address, that are kept."""


class _Unfinished:
    """What is kept of a session that goes on.

    verbs, later: as of `EndedSession`, from the greeting on. noted: what it did since the login.
    removed: the messages that QUIT has removed, and when.
    """

    __slots__ = ("later", "noted", "removed", "verbs")

    def __init__(self) -> None:
        self.verbs: list[str] = []
        self.later: Counter[str] | None = None
        self.noted: EndedSession | None = None
        self.removed: tuple[Sequence[MessageNumber], float | None] = (), None

    def add(self, verbs: list[str]) -> None:
        """Take the verbs of further commands."""
        room = MOST_VERBS - len(self.verbs)
        self.verbs += verbs[:room]
        if len(verbs) > room:
            self.later = self.later or Counter()
            self.later.update(verbs[room:])


class SessionHistory(Observer):
    """Notes what sessions do, for the history."""

    def __init__(self, notebook: Notebook) -> None:
        self._put, self._put_session = notebook.put, notebook.put_session
        self._count_poll = notebook.count_poll
        self._unfinished: dict[ClientSession, _Unfinished] = {}

    def refused(self, session: ClientSession, claim: Claim, reason: str) -> None:
        name = safe_name(claim.name)[:MAX_TEXT]
        address = session.peer_ip or "unix"
        self._put(LoginRefused(time.time(), name, address, claim.mechanism, reason))

    def committed(self, session: ClientSession, numbers: Sequence[MessageNumber]) -> None:
        unfinished = self._unfinished.setdefault(session, _Unfinished())
        unfinished.removed = tuple(numbers), time.time()

    def noted(self, session: ClientSession, notes: Notes) -> None:
        account, opened = session.account, notes.opened
        if (
            notes.last
            and opened is not None
            and account is not None
            and not notes.messages
            and session not in self._unfinished
            and self._count_poll(
                (account.name, session.peer_ip or "unix"),
                notes.answers[::3],
                (  # as `EndedSession.how` has it
                    session.ended,
                    notes.mechanism,
                    session.tls,
                    account.maildrop_name,
                    notes.before_login,
                    None,
                ),
                (session.id, session.mailbox.listing, opened, time.time()),
            )
        ):
            return  # what most sessions are
        unfinished = self._unfinished.setdefault(session, _Unfinished())
        noted = unfinished.noted
        if noted is None and opened is not None and account is not None:
            address, listing = session.peer_ip or "unix", session.mailbox.listing
            noted = unfinished.noted = EndedSession(session.id, account, address, listing, opened)
            noted.tls = session.tls
            noted.mechanism = notes.mechanism
            noted.before_login = len(unfinished.verbs) + notes.before_login
        unfinished.add(notes.answers[::3])
        if noted is not None and len(noted.sent) < MAX_SENT:
            noted.sent += notes.each_message()
        if notes.last:
            del self._unfinished[session]
            if noted is not None:
                noted.until = time.time()
                noted.ended = session.ended
                noted.verbs, noted.later = unfinished.verbs, unfinished.later
                noted.octets = session.octets
                noted.retrieved = session.retrieved
                noted.committed, noted.committed_at = unfinished.removed
                self._put_session(noted)


class DeliveryHistory(DeliveryObserver):
    """Notes what becomes of mail that comes in, for the history."""

    def __init__(self, notebook: Notebook) -> None:
        self._put = notebook.put

    def delivered(self, envelope: Envelope, recipient: str, octets: int, unique_id: str) -> None:
        self._put(_delivered("delivered", envelope, recipient, octets, unique_id=unique_id))

    def not_delivered(
        self, envelope: Envelope, recipient: str, octets: int, reason: str, kept: str
    ) -> None:
        reason = f"{reason}; kept at {kept}" if kept else reason
        self._put(_delivered("not delivered", envelope, recipient, octets, reason=reason))

    def refused(self, envelope: Envelope, recipient: str, reply: str) -> None:
        self._put(_delivered("refused", envelope, recipient, 0, reason=reply))

    def login_refused(self, what: str, name: str, peer: str, mechanism: str, session: str) -> None:
        reason = what.removeprefix("login ")
        self._put(
            LoginRefused(
                time.time(), safe_name(name)[:MAX_TEXT], peer or "unix", f"SMTP-{mechanism}", reason
            )
        )


def _delivered(
    outcome: str,
    envelope: Envelope,
    recipient: str,
    octets: int,
    *,
    unique_id: str = "",
    reason: str = "",
) -> Delivered:
    return Delivered(
        time.time(),
        outcome,
        recipient[:MAX_TEXT],
        envelope.sender[:MAX_TEXT],
        octets,
        unique_id,
        envelope.peer or "local",
        envelope.protocol,
        envelope.tls,
        envelope.queue_id,
        reason[:MAX_TEXT],
    )
