"""Watching: whoever wants to know what happens in sessions is an `Observer`.

The access log, the debug log and `restante sessions` are observers. What nobody watches costs
nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from restante.access_log import write
from restante.protocol.claims import Claim
from restante.protocol.listing import MessageNumber
from restante.protocol.redaction import safe_name
from restante.server.client import ClientSession
from restante.server.notes import Notes, Step

log = logging.getLogger("restante.server")


class Observer:
    """Base of observers: override what is of interest.

    Every method is called in place, on the event loop: it must be quick and must not wait.
    What it raises is logged and changes nothing.

    Most methods tell of one thing, as it happens. `noted` tells of many together, and costs least.
    """

    timed = False
    """Whether `Notes.steps` is wanted."""

    _guarded = True
    """Whether what it raises is caught. Of our own, some are sure enough to do without."""

    def connected(self, session: ClientSession) -> None:
        """A client was let in, and is about to be greeted."""

    def turned_away(self, session: ClientSession, reply: str) -> None:
        """A client was not let in. reply: what it is told."""

    def secured(self, session: ClientSession) -> None:
        """STLS has put the session inside TLS. `connected` tells of one that began there."""

    def line(self, session: ClientSession, line: str) -> None:
        """A line came from the client, without its end. Secrets are shown as `****`."""

    def reply(self, session: ClientSession, line: str) -> None:
        """A reply goes to the client: its first line, without its end."""

    def noted(self, session: ClientSession, notes: Notes) -> None:
        """What the server has noted of a session: commands answered, messages sent, steps.

        Told about once a second if there was anything, and at the end of each connection that was
        greeted: `notes.last` is True then. What came before anybody watched isn't in it.
        """

    def delayed(self, session: ClientSession, seconds: float) -> None:
        """An attempt to log in has to wait, because of failures before it."""

    def refused(self, session: ClientSession, claim: Claim, reason: str) -> None:
        """A login was refused. reason: `failed`; `held off`, when it wasn't looked at."""

    def broken_off(self, session: ClientSession, mechanism: str, reason: str) -> None:
        """An AUTH exchange ended before there were credentials."""

    def opened(self, session: ClientSession, mechanism: str) -> None:
        """A login succeeded, and its maildrop is open. mechanism: `USER`, `APOP` or SASL's."""

    def step_begun(self, session: ClientSession, step: Step) -> None:
        """A step of a session begins. Told within a context (`contextvars`) of the step's own.

        What is set there is seen by the accounts and the store that are called, also on
        worker threads, and it ends with the step.
        """

    def step_done(
        self, session: ClientSession, step: Step, seconds: float, error: Exception | None
    ) -> None:
        """A step has ended. error: why it failed.

        A login that was refused and a step that a handler broke off are `Refused`.
        """

    def sent(self, session: ClientSession, number: MessageNumber, lines: int | None) -> None:
        """A message was sent, or the top of one. lines: TOP's, None for RETR."""

    def committed(self, session: ClientSession, numbers: Sequence[MessageNumber]) -> None:
        """QUIT has removed these messages for good."""

    def closed(self, session: ClientSession) -> None:
        """A connection of a client that was let in has ended; `session.ended` says how."""


EVENTS = tuple(
    name for name, event in vars(Observer).items() if callable(event) and not name.startswith("_")
)

Told: TypeAlias = Callable[..., None] | None
"""How an event is told to all who watch it; None when nobody does."""


class Observers:
    """The observers of one server, as one: an attribute for each event."""

    __slots__ = (*EVENTS, "_observers", "lines", "steps", "traced")

    lines: bool
    """Whether anybody watches `line` or `reply`."""
    steps: bool
    """Whether anybody wants to know how long steps take."""
    traced: bool
    """Whether anybody watches `step_begun` or `step_done`."""

    connected: Told
    turned_away: Told
    secured: Told
    line: Told
    reply: Told
    noted: Told
    delayed: Told
    step_begun: Told
    step_done: Told
    refused: Told
    broken_off: Told
    opened: Told
    sent: Told
    committed: Told
    closed: Told

    def __init__(self, *observers: Observer) -> None:
        self._observers = list(observers)
        self._resolve()

    def add(self, observer: Observer) -> None:
        """Tell `observer` from now on. Raises TypeError for what is none."""
        if not isinstance(observer, Observer):
            raise TypeError(f"an observer derives from restante.Observer; {observer!r} doesn't")
        if observer not in self._observers:
            self._observers.append(observer)
            self._resolve()

    def remove(self, observer: Observer) -> None:
        """Tell `observer` no more. Harmless when repeated."""
        if observer in self._observers:
            self._observers.remove(observer)
            self._resolve()

    def _resolve(self) -> None:
        for event in EVENTS:
            told = [
                observer
                for observer in self._observers
                if getattr(type(observer), event) is not getattr(Observer, event)
            ]
            methods = [getattr(observer, event) for observer in told]
            setattr(self, event, _all(methods, told) if methods else None)
        self.lines = self.line is not None or self.reply is not None
        self.traced = self.step_begun is not None or self.step_done is not None
        self.steps = self.traced or any(each.timed for each in self._observers)


def _all(
    methods: Sequence[Callable[..., None]], observers: Sequence[Observer]
) -> Callable[..., None]:
    """One function that tells all. observers: whose methods they are."""

    def tell(*args: Any) -> None:
        for method in methods:
            try:
                method(*args)
            except Exception:
                log.exception("an observer failed: %s", method.__qualname__)

    def tell_one(*args: Any) -> None:
        try:
            first(*args)
        except Exception:
            log.exception("an observer failed: %s", first.__qualname__)

    first = methods[0]
    if len(methods) > 1:
        return tell
    return tell_one if observers[0]._guarded else first


class AccessLog(Observer):
    """One line for each login, refused login, deletion, and end of a session.

    The lines go to the logger `restante.access`. Their formats are promised:

    - `login: account='joe' peer=192.0.2.1 tls=TLSv1.3 messages=3 octets=512 session=1a2b-7`.
      tls is the version, `yes` where a proxy has ended TLS, or `no`.
    - `login failed: account='joe' peer=192.0.2.1 mechanism=USER session=1a2b-7`. It is
      `login held off: …` when the password wasn't looked at, because of too many failures before.
    - `login broken off: peer=192.0.2.1 mechanism=PLAIN session=1a2b-7: the reason`
    - `deleted: account='joe' messages=2 session=1a2b-7`
    - `session: account='joe' peer=192.0.2.1 retrieved=3 deleted=2 octets=12345 seconds=1.2
      ended='QUIT' session=1a2b-7`, on one line, for each session that had logged in. octets: of
      the messages that were sent. ended: see `ClientSession`.

    peer is the client's address, also behind a proxy that tells it; `unix` on a Unix socket.
    """

    def refused(self, session: ClientSession, claim: Claim, reason: str) -> None:
        write(
            logging.WARNING,
            "login %s: account=%r peer=%s mechanism=%s session=%s",
            reason, safe_name(claim.name), session.peer_ip or "unix", claim.mechanism, session.id,
        )  # fmt: skip

    def broken_off(self, session: ClientSession, mechanism: str, reason: str) -> None:
        write(
            logging.INFO,
            "login broken off: peer=%s mechanism=%s session=%s: %s",
            session.peer_ip or "unix", mechanism, session.id, reason,
        )  # fmt: skip

    def opened(self, session: ClientSession, mechanism: str) -> None:
        listing = session.mailbox.listing
        write(
            logging.INFO,
            "login: account=%r peer=%s tls=%s messages=%d octets=%d session=%s",
            _name(session), session.peer_ip or "unix",
            session.tls_version or ("yes" if session.tls else "no"),
            listing.count, listing.total, session.id,
        )  # fmt: skip

    def committed(self, session: ClientSession, numbers: Sequence[MessageNumber]) -> None:
        write(
            logging.INFO,
            "deleted: account=%r messages=%d session=%s", _name(session), len(numbers), session.id,
        )  # fmt: skip

    def closed(self, session: ClientSession) -> None:
        if (account := session.account) is not None:
            write(
                logging.INFO,
                "session: account=%r peer=%s retrieved=%d deleted=%d octets=%d seconds=%.1f"
                " ended=%r session=%s",
                account.name, session.peer_ip or "unix", session.retrieved,
                session.removed, session.octets, time.time() - session.since, session.ended,
                session.id,
            )  # fmt: skip


def _name(session: ClientSession) -> str | None:
    account = session.account
    return account.name if account else None
