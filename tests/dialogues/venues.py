"""Where dialogues are played: the core alone, and a real server on a socket or inside TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, cast
from unittest import mock

from restante import (
    Account,
    CommitFailed,
    Content,
    Listener,
    Maildrop,
    MaildropInUse,
    MaildropStore,
    MemoryStore,
    MessageGone,
    MessageInfo,
    Pop3Server,
    StaticAccounts,
    StoreError,
)
from restante.accounts.schemes import hash_password
from restante.accounts.verify import Verifier
from restante.guard.login_delay import LoginDelay
from restante.protocol.commands import command_table
from restante.protocol.effects import (
    BrokenOff,
    Commit,
    Effect,
    Fetch,
    LogIn,
    StartTls,
)
from restante.protocol.errors import LineTooLong
from restante.protocol.listing import MessageNumber
from restante.protocol.policy import HeaderPolicy, Policy, TlsMode, UseAuth
from restante.protocol.replies import Body, Err, Ok, Reply
from restante.protocol.session import Outcome, Session
from restante.protocol.stuffing import wire_blocks
from restante.server import connection, peer
from restante.server.perform import GONE, IN_USE, LOGIN_FAILED
from tests.answers import done
from tests.conftest import Authority
from tests.dialogues.runner import Dialogue, Link, Venue
from tests.protocol.mechanisms import BASIC_MECHANISMS

PASSWORDS = {
    "joe": "secret",
    "ann": "two words ",
    "Jürgen": "пароль 日本",
    "tab": "a\tb",
}
"""Who may log in. Only joe has mail."""

PATIENCE_SECONDS = 30.0


@cache
def _hashed(password: str) -> str:
    return hash_password(password, "SSHA512")


def accounts_of(dialogue: Dialogue) -> StaticAccounts:
    """The accounts, with or without secrets that challenge mechanisms can use."""
    if not dialogue.hashed:
        return StaticAccounts(PASSWORDS)
    return StaticAccounts({name: _hashed(password) for name, password in PASSWORDS.items()})


class _Broken(Maildrop):
    """A maildrop whose store fails at one thing."""

    def __init__(self, inner: Maildrop, fault: str) -> None:
        self.listing = inner.listing
        self._inner = inner
        self._fault = fault

    def fetch(self, number: MessageNumber, lines: int | None = None) -> Content:
        if self._fault == "fetch":
            raise StoreError("the disk is away")
        return cast(Content, self._inner.fetch(number, lines))

    def commit(self, numbers: Sequence[MessageNumber]) -> None:
        if self._fault == "commit":
            raise CommitFailed("the disk is away", len(numbers))
        done(self._inner.commit(numbers))

    def close(self) -> None:
        done(self._inner.close())


class _Store(MemoryStore):
    def __init__(self, dialogue: Dialogue) -> None:
        super().__init__()
        self._fault = dialogue.broken
        for unique_id, message in dialogue.maildrop.items():
            self.add("joe", message, unique_id)

    def open(self, account: Account) -> Maildrop:  # type: ignore[override]
        if self._fault == "open":
            raise StoreError("damaged", temporary=False)
        return _Broken(super().open(account), self._fault) if self._fault else super().open(account)


class _ThreeMethods(MaildropStore):
    """joe's mail in a store that has its own idea of unique-ids."""

    blocking = False

    def __init__(self, dialogue: Dialogue) -> None:
        self._mail = list(zip(dialogue.unique_ids, dialogue.maildrop.values(), strict=True))

    def list(self, account: Account) -> list[MessageInfo]:
        return [MessageInfo(unique_id) for unique_id, _ in self._mail]

    def read(self, account: Account, unique_id: str) -> bytes:
        return dict(self._mail)[unique_id]

    def delete(self, account: Account, unique_ids: Sequence[str]) -> None:
        self._mail = [entry for entry in self._mail if entry[0] not in unique_ids]


# The core alone


class CoreVenue(Venue):
    """Sessions without sockets. cut: octets fed at a time; 0 feeds what is sent as a whole."""

    exact = True

    def __init__(self, dialogue: Dialogue, cut: int = 0) -> None:
        self.cut = cut
        self.store = _Store(dialogue)
        self.accounts = accounts_of(dialogue)
        self.remote = dialogue.remote
        self.policy = _policy(dialogue, self.accounts.held_schemes())
        self.login_delay = LoginDelay(self.policy.login_delay)

    def connect(self) -> Link:
        return _CoreLink(self)

    def remove(self, unique_id: str) -> None:
        self.store.remove("joe", unique_id)


def _policy(dialogue: Dialogue, held_schemes: frozenset[str]) -> Policy:
    given = dialogue.server
    return Policy(
        command_table(),
        mechanisms=BASIC_MECHANISMS,
        hostname="localhost",
        tls=cast(TlsMode, given.get("tls", "none")),
        tls_port=995 if "tls_port" in given else None,
        plaintext=given.get("allow_plaintext") == "yes",
        use_auth=cast(UseAuth, given.get("use_auth", "both")),
        held_schemes=held_schemes,
        expire_days=int(given["expire_days"]) if "expire_days" in given else None,
        login_delay=int(given.get("login_delay", "0")),
        utf8=given.get("utf8") != "no",
        utf8_headers=cast(HeaderPolicy, given.get("utf8_headers", "internationalized")),
    )


class _CoreLink(Link):
    def __init__(self, venue: CoreVenue) -> None:
        self._venue = venue
        stamp = b"<1.2@localhost>" if venue.policy.offers_apop() else None
        self._session = Session(venue.policy, trusted=not venue.remote, timestamp=stamp)
        self._maildrop: Maildrop | None = None
        self._out = bytearray()
        self._put(self._session.greeting())

    def send(self, data: bytes) -> None:
        cut = self._venue.cut or max(1, len(data))
        for at in range(0, len(data), cut):
            self._feed(data[at : at + cut])

    def _feed(self, data: bytes) -> None:
        session = self._session
        session.feed(data)
        try:
            while (line := session.take_line()) is not None:
                self._answer(session.receive(line))
        except LineTooLong as error:
            self._put(session.give_up(error))

    def _answer(self, outcome: Outcome) -> None:
        while isinstance(outcome, Effect):
            outcome = self._session.resume(self._perform(outcome))
        self._put(outcome)

    def _put(self, reply: Reply) -> None:
        self._out += self._session.wording.encode(reply)
        if isinstance(reply, Body):
            content: Content = reply.content
            blocks = wire_blocks(
                [cast(bytes, content.source)], content.facts, reply.top_lines, reply.downgrade
            )
            self._out += b"".join(blocks)

    def _perform(self, effect: Effect) -> object:
        match effect:
            case BrokenOff():
                return None
            case LogIn():
                return self._log_in(effect)
            case StartTls():
                self._put(Ok("begin TLS"))
                return None
            case Fetch():
                assert self._maildrop is not None
                try:
                    return self._maildrop.fetch(effect.number)
                except MessageGone:
                    return GONE
            case Commit():
                assert self._maildrop is not None
                self._maildrop.commit(effect.numbers)
                self._maildrop.close()
                return None
        raise AssertionError(f"nobody asked for {effect}")

    def _log_in(self, effect: LogIn) -> object:
        account = self._venue.accounts.lookup(effect.claim.name)
        if not Verifier(self._venue.accounts).check(account, effect.claim):
            return LOGIN_FAILED
        assert account is not None
        if wait := self._venue.login_delay.wait_for(account.name):
            values = {"seconds": max(1, round(wait))}
            return Err("log in again in {seconds} seconds", "LOGIN-DELAY", values)
        try:
            self._maildrop = self._venue.store.open(account)
        except MaildropInUse:
            return IN_USE
        self._venue.login_delay.count(account.name)
        return account, self._maildrop.listing

    def line(self) -> bytes | None:
        end = self._out.find(b"\r\n")
        if end < 0:
            return None
        line = bytes(self._out[:end])
        del self._out[: end + 2]
        return line

    def closed(self) -> bool:
        return self._session.closing and not self._out

    def start_tls(self) -> None:
        assert self._session.tls, "the session does not expect a handshake"

    def drop(self) -> None:
        if self._maildrop is not None:
            self._maildrop.close()

    def leftover(self) -> bytes:
        self.drop()
        return bytes(self._out)


# A server


class SocketVenue(Venue):
    """A server on a port of the system's choice."""

    exact = True

    def __init__(self, server: Pop3Server, store: MemoryStore, trust: ssl.SSLContext) -> None:
        self.server = server
        self._store = store
        self._trust = trust
        self._implicit = server.listeners[0].tls == "implicit"

    def connect(self) -> Link:
        return SocketLink(
            self.server.port, self._trust, implicit=self._implicit, gone=self._wait_for_end
        )

    def _wait_for_end(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        sessions = self.server.sessions
        while self.server.sessions and self.server.sessions >= sessions:
            assert time.monotonic() < deadline, "the server does not see that the client has left"
            time.sleep(0.001)

    def remove(self, unique_id: str) -> None:
        self._store.remove("joe", unique_id)


_NUMBERS = {"login_delay", "expire_days"}
_SWITCHES = {"utf8", "allow_plaintext"}


def _settings(dialogue: Dialogue) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, value in dialogue.server.items():
        if name in ("tls", "tls_port"):
            continue
        if name in _NUMBERS:
            settings[name] = int(value)
        else:
            settings[name] = value == "yes" if name in _SWITCHES else value
    return settings


@contextlib.contextmanager
def socket_venue(
    dialogue: Dialogue, authority: Authority, *, implicit: bool = False
) -> Iterator[SocketVenue]:
    """A running server with the dialogue's maildrop, accounts and settings."""
    tls = cast(TlsMode, "implicit" if implicit else dialogue.server.get("tls", "none"))
    listeners = [Listener(port=0, tls=tls)]
    if "tls_port" in dialogue.server:
        listeners.append(Listener(port=0, tls="implicit"))
    store = _Store(dialogue)
    server = Pop3Server(
        accounts=accounts_of(dialogue),
        store=_ThreeMethods(dialogue) if dialogue.unique_ids else store,
        listeners=listeners,
        certificate=authority.certificate,
        failure_delay=0,
        min_threads=0,
        drain_seconds=1,
        mechanisms=tuple(BASIC_MECHANISMS),
        **_settings(dialogue),
    )
    is_local = mock.patch.object(peer, "is_local", return_value=not dialogue.remote)
    # Inside TLS nobody can say "I have said all", so a refused client waits this long.
    linger = mock.patch.object(connection, "LINGER_SECONDS", 0.1)
    with is_local, linger, server:
        yield SocketVenue(server, store, authority.client_context())


class SocketLink(Link):
    """A client's socket.

    source: the client's own address. gone: returns when the server has seen that a client left.
    """

    def __init__(
        self,
        port: int,
        trust: ssl.SSLContext,
        *,
        implicit: bool = False,
        source: str = "127.0.0.1",
        gone: Callable[[], None] = lambda: None,
    ) -> None:
        self._trust = trust
        self._gone = gone
        self._in = bytearray()
        self._socket: socket.socket = socket.create_connection(
            ("127.0.0.1", port), PATIENCE_SECONDS, (source, 0)
        )
        if implicit:
            self.start_tls()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def line(self) -> bytes | None:
        while (end := self._in.find(b"\r\n")) < 0:
            if not self._receive():
                return None
        line = bytes(self._in[:end])
        del self._in[: end + 2]
        return line

    def _receive(self) -> bool:
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            return False
        self._in += data
        return bool(data)

    def closed(self) -> bool:
        while self._receive():
            pass
        try:
            return not self._in and self._socket.recv(1) == b""
        except TimeoutError:
            return False

    def start_tls(self) -> None:
        assert not self._in, f"said before the handshake: {bytes(self._in)!r}"
        self._socket = self._trust.wrap_socket(self._socket, server_hostname="localhost")

    def drop(self) -> None:
        self._socket.close()
        self._gone()

    def leftover(self) -> bytes:
        if not isinstance(self._socket, ssl.SSLSocket):
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
                while self._receive():
                    pass
        self._socket.close()
        return bytes(self._in)
