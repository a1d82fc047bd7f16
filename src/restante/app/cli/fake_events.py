"""What happens in the sessions of `restante fake`, event by event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from restante.protocol.claims import Claim
from restante.protocol.listing import MessageNumber
from restante.server.client import ClientSession
from restante.server.observer import Observer
from restante.testing.recording import Sendings
from restante.testing.wire import Occasion, Tap, Wire

Tell: TypeAlias = Callable[..., None]
"""Writes an event: its name, and values by name."""


class Watcher(Observer):
    """Tells of each event with the session's id and what else is known."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._sendings: dict[str, Sendings] = {}

    def connected(self, session: ClientSession) -> None:
        self._sendings[session.id] = Sendings()
        peer = f"{session.peer_ip}:{session.peer_port}"
        self._tell("connected", session=session.id, peer=peer, tls=session.tls)

    def turned_away(self, session: ClientSession, reply: str) -> None:
        self._tell("turned_away", session=session.id, reply=reply)

    def secured(self, session: ClientSession) -> None:
        self._tell("secured", session=session.id)

    def line(self, session: ClientSession, line: str) -> None:
        self._tell("command", session=session.id, line=line)

    def reply(self, session: ClientSession, line: str) -> None:
        self._tell("reply", session=session.id, line=line)

    def refused(self, session: ClientSession, claim: Claim, reason: str) -> None:
        self._tell("refused", session=session.id, mechanism=claim.mechanism)

    def opened(self, session: ClientSession, mechanism: str) -> None:
        name = session.account.name if session.account is not None else None
        listing = session.mailbox.listing
        self._tell(
            "opened", session=session.id, account=name, mechanism=mechanism,
            messages=len(listing), octets=listing.total,
        )  # fmt: skip

    def sent(self, session: ClientSession, number: MessageNumber, lines: int | None) -> None:
        kind = "retrieved" if lines is None else "top"
        values = {"session": session.id, "message": number, **_ids(session, [number])}
        self._sendings[session.id].meant(partial(self._tell, kind, **values))

    def committed(self, session: ClientSession, numbers: Sequence[MessageNumber]) -> None:
        self._tell("deleted", session=session.id, **_ids(session, numbers))

    def closed(self, session: ClientSession) -> None:
        self._sendings.pop(session.id, None)
        self._tell("closed", session=session.id, ended=session.ended)

    def replied(self, session: ClientSession | None, occasion: Occasion, itself: bool) -> None:
        """A multi-line reply has left; see `restante.testing.wire.Tap`."""
        sendings = self._sendings.get("" if session is None else session.id)
        if sendings is not None:
            sendings.replied(occasion, itself)


class Departures(Tap):
    """Tells the watcher what has left."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def replied(self, wire: Wire, occasion: Occasion, itself: bool) -> None:
        self._watcher.replied(wire.session, occasion, itself)


def _ids(session: ClientSession, numbers: Sequence[MessageNumber]) -> dict[str, list[str]]:
    known = session.mailbox.listing.unique_ids
    return {"unique_ids": [known[number - 1] for number in numbers]}
