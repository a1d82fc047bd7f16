"""What POP3 and IMAP servers have in common as sources: addresses, TLS, passwords."""

from __future__ import annotations

import os
import re
import ssl
import stat
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Timer
from typing import Literal

from restante.migration.contract import SourceLost
from restante.stores.contract import StoreError

Tls = Literal["implicit", "upgrade", "none"]

TIMEOUT = 60.0
"""Seconds that a server may be silent."""

LISTING_TIMEOUT = 900.0
"""Seconds that a server may take until it has listed a maildrop, from the connection on."""

_MAX_USERS = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server listens, and how it is spoken to.

    tls: from the first octet; by STLS or STARTTLS before anything else, or the connection isn't
        used; or not at all, which shows passwords to everybody on the way.
    context: whom it is trusted to be; None: whoever the system trusts, by the name `host`.
    """

    host: str
    port: int
    tls: Tls = "implicit"
    timeout: float = TIMEOUT
    context: ssl.SSLContext | None = None

    def tls_context(self) -> ssl.SSLContext:
        """For connections to it."""
        return self.context or ssl.create_default_context()

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@contextmanager
def listing(server: Server, stop: Callable[[], object]) -> Iterator[None]:
    """While a maildrop is listed: `stop` ends the connection, from another thread, when it takes
    too long, however much is sent. Raises SourceLost then; trying again won't help.
    """
    late = Event()

    def end() -> None:
        late.set()
        with suppress(OSError):
            stop()

    timer = Timer(LISTING_TIMEOUT, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if not late.is_set():
            raise
        text = f"{server}: the maildrop isn't listed within {LISTING_TIMEOUT:g} seconds"
        raise SourceLost(text, temporary=False) from error
    finally:
        timer.cancel()


@dataclass(frozen=True, slots=True)
class Login:
    """How to log in: as `user`, or as the master user `master` for `user`."""

    user: str
    password: str = field(repr=False)
    master: str | None = None

    def __post_init__(self) -> None:
        if re.search(r"[\r\n\0]", self.user):
            raise StoreError("a name with a control character", temporary=False)

    @property
    def plain(self) -> bytes:
        """The message of AUTH PLAIN (RFC 4616), by which a master acts for the user."""
        acting = self.user if self.master else ""
        return "\0".join((acting, self.master or self.user, self.password)).encode()

    def masked(self, said: bytes) -> bytes:
        """What the server says, for people: without the password, should it send that back."""
        password = self.password.encode()
        quoted = re.sub(rb'(["\\])', rb"\\\1", password)  # as IMAP's LOGIN sends it
        for secret in (b64encode(self.plain), b64encode(password), quoted, password):
            for form in (secret, repr(secret)[2:-1].encode()):
                said = said.replace(form, b"****") if form else said
        return said


@dataclass(frozen=True, slots=True)
class Passwords:
    """The passwords of accounts at a source, or that of its master user.

    users: by account. master: a name and a password that open every account.
    """

    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    master: tuple[str, str] | None = field(default=None, repr=False)

    def login(self, account: str) -> Login:
        """Raises StoreError when there is no password for the account."""
        if account in self.users:
            return Login(account, self.users[account])
        if self.master is not None:
            return Login(account, self.master[1], self.master[0])
        raise StoreError("there is no password for it in the file of users", temporary=False)

    def accounts(self) -> Sequence[str] | None:
        """The accounts that have a password of their own; None with a master user only."""
        return list(self.users) or None


def read_passwords(path: Path) -> dict[str, str]:
    """The lines `name:password` of a file; empty ones and those that begin with # are none.

    The password is all that follows the first colon, blanks too. Raises OSError, and ValueError
    for a line that is wrong or a file that others may read; neither quotes a password.
    """
    with path.open("rb") as file:
        about = os.fstat(file.fileno())
        if os.name == "posix" and stat.S_IMODE(about.st_mode) & 0o077:
            raise ValueError(f"{path}: others may read it: chmod 600 {path}")
        text = file.read(_MAX_USERS + 1)
    if len(text) > _MAX_USERS:
        raise ValueError(f"{path}: it has more than {_MAX_USERS} octets")
    found: dict[str, str] = {}
    for number, line in enumerate(text.replace(b"\r\n", b"\n").split(b"\n"), 1):
        if not line.strip() or line.startswith(b"#"):
            continue
        try:
            name, colon, password = line.decode("utf-8").partition(":")
        except UnicodeDecodeError:
            raise ValueError(f"{path}: line {number} isn't UTF-8 text") from None
        if not (name and colon and password):
            raise ValueError(f"{path}: line {number} is not of the form name:password")
        if re.search(r"[\r\n\0]", name + password):
            raise ValueError(f"{path}: line {number} holds a control character")
        if name in found:
            raise ValueError(f"{path}: line {number} is the second for {name!r}")
        found[name] = password
    return found
