"""Addresses that are listened on, bound once for all worker processes."""

from __future__ import annotations

import errno
import socket
from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from restante.app.config.settings import Settings
from restante.app.errors import StartError
from restante.server.listen.sockets import bind_shared
from restante.server.tls.settings import TlsSettings

MAIL_BACKLOG = 128
"""Connections that the system may hold ready for SMTP, and for LMTP."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address that is listened on. tls: as in the configuration. path: of a Unix socket."""

    protocol: str
    tls: str
    host: str = ""
    port: int = 0
    path: Path | None = None

    @property
    def address(self) -> str:
        """As people write it."""
        if self.path is not None:
            return str(self.path)
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Bound:
    """An endpoint, and for each worker process the sockets by which it listens there."""

    endpoint: Endpoint
    shares: Sequence[Sequence[socket.socket]]


@dataclass(frozen=True, slots=True)
class Given:
    """What a worker process has from the supervisor.

    listening: the sockets, in the order of the configuration: POP3, SMTP, LMTP.
    tls, mail_tls: made before the fork, so that all workers' session tickets are one another's.
    key, writer: of the guard; see `restante.guard`. workers: how many there are.
    values: where metrics are counted, shared with the supervisor; None: they aren't.
    number: which of the workers it is, from 0 on.
    """

    listening: Sequence[tuple[Endpoint, Sequence[socket.socket]]] = ()
    tls: TlsSettings | None = None
    mail_tls: TlsSettings | None = None
    key: bytes = field(default=b"", repr=False)
    writer: int = 0
    workers: int = 1
    values: MutableSequence[float] | None = None
    number: int = 0

    def sockets(self, protocol: str) -> list[Sequence[socket.socket]]:
        """Those of a protocol, each address apart."""
        return [sockets for endpoint, sockets in self.listening if endpoint.protocol == protocol]


def refuse_taken(settings: Settings) -> None:
    """See, before anything is made, whether all ports can be had.

    Raises StartError, which tells of all that can't. Nothing is listened on afterwards.
    """
    wanted = [(key, each.host, each.port) for key, each in settings.pop3_listeners()]
    for name in ("smtp", "lmtp", "metrics", "console"):
        section = getattr(settings, name)
        wanted.append((f"{name}.port", section.host, section.port))
    tried: list[socket.socket] = []
    refused: list[StartError] = []
    for key, host, port in wanted:
        if port in ("off", 0):
            continue
        try:
            tried += bind_shared(host, port, 1, 1)[0]
        except OSError as error:
            refused.append(start_error(key, host, port, error))
    for each in tried:
        each.close()
    if refused:
        ports = [port for error in refused for port in error.taken]
        raise StartError("\n".join(map(str, refused)), ports)


def bind_all(settings: Settings, shares: int) -> list[Bound]:
    """Listen everywhere. Raises StartError; then nothing is listened on."""
    made: list[Bound] = []
    try:
        for key, each in settings.pop3_listeners():
            wanted = Endpoint("POP3", each.tls, each.host, each.port)
            made.append(_bind(key, wanted, each.backlog, shares))
        smtp, lmtp = settings.smtp, settings.lmtp
        if smtp.port != "off":
            wanted = Endpoint("SMTP", smtp.tls, smtp.host, smtp.port)
            made.append(_bind("smtp.port", wanted, MAIL_BACKLOG, shares))
        if lmtp.port != "off":
            wanted = Endpoint("LMTP", "none", lmtp.host, lmtp.port)
            made.append(_bind("lmtp.port", wanted, MAIL_BACKLOG, shares))
        if lmtp.socket is not None:
            made.append(_bind_path(lmtp.socket, shares))
    except BaseException:
        close_all(made)
        raise
    return made


def close_all(bound: Sequence[Bound]) -> None:
    """Listen no more. Harmless when repeated."""
    for each in bound:
        for sockets in each.shares:
            for listening in sockets:
                listening.close()
        if each.endpoint.path is not None:
            each.endpoint.path.unlink(missing_ok=True)


def _bind(key: str, wanted: Endpoint, backlog: int, shares: int) -> Bound:
    try:
        sockets = bind_shared(wanted.host, wanted.port, backlog, shares)
    except OSError as error:
        raise start_error(key, wanted.host, wanted.port, error) from error
    host, port = sockets[0][0].getsockname()[:2]
    return Bound(replace(wanted, host=host, port=port), sockets)


def _bind_path(path: Path, shares: int) -> Bound:
    try:
        listening = unix_socket(path, 0o660)
    except OSError as error:
        raise StartError(f"lmtp.socket = {path}: can't listen: {error}") from error
    return Bound(Endpoint("LMTP", "none", path=path), [[listening]] * shares)


def unix_socket(path: Path, mode: int) -> socket.socket:
    """A socket that listens at `path`; one that is there already is replaced. Raises OSError."""
    if path.is_socket():
        path.unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        listening.bind(str(path))
        path.chmod(mode)
        listening.listen(MAIL_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


_ADVICE = {
    errno.EADDRINUSE: "another program listens there",
    errno.EACCES: "ports below 1024 need a privilege; see docs/operating.md",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}

_FLAGS = {
    "pop3.port": "--pop3-port",
    "pop3.tls_port": "--pop3s-port",
    "smtp.port": "--smtp-port",
    "lmtp.port": "--lmtp-port",
    "console.port": "--console-port",
}


def start_error(key: str, host: str, port: int, error: OSError) -> StartError:
    """That an address can't be had, with the key that names it and the flag that changes it."""
    # asyncio wraps the system's error in a long text of its own.
    reason = _ADVICE.get(error.errno or 0) or error.strerror or str(error)
    taken = error.errno == errno.EADDRINUSE
    if taken:
        flag = f" by {_FLAGS[key]}" if key in _FLAGS else ""
        reason += f"; choose another port{flag}"
    return StartError(f"{key} = {port}: can't listen on {host}: {reason}", [port] if taken else [])
