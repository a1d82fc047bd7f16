"""What a check works with: the server, an account, and connections to them."""

from __future__ import annotations

import base64
import re
import secrets
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from restante.testing.conformance.failures import Failed, NotApplicable
from restante.testing.conformance.seed import CORPUS, MARK, Seed
from restante.testing.conformance.wire import Recording, Reply, Wire

TLS_KINDS = ("none", "stls", "implicit")

_BUSY = re.compile(rb"IN-USE|LOGIN-DELAY|lock|busy|in use|another", re.I)


@dataclass(frozen=True)
class Target:
    """The server, and what is needed to check it.

    tls: none, stls or implicit. ca: PEM of the authority that its certificate comes from, where
    the system doesn't know it. verify: whether its certificate must be right. user, password:
    None for checks that need no login. seed: how mail gets into the account; None leaves the
    maildrop as it is. timeout: seconds for each wait. idle: seconds that the checks of idle time
    wait, by their name; for tests of the checks themselves.
    """

    host: str
    port: int
    tls: str = "none"
    ca: Path | None = None
    verify: bool = True
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    seed: Seed | None = None
    slow: bool = False
    timeout: float = 10.0
    idle: float | None = None

    def __post_init__(self) -> None:
        if self.tls not in TLS_KINDS:
            raise ValueError(f"tls={self.tls!r}: one of {', '.join(TLS_KINDS)}")
        if not 0 < self.port < 65536:
            raise ValueError(f"port {self.port}: from 1 to 65535")
        if (self.user is None) != (self.password is None):
            raise ValueError("a user and a password belong together")
        for what, text in (("user", self.user), ("password", self.password)):
            if text is not None and (not text or re.search(r"[\r\n\0]", text)):
                raise ValueError(f"the {what} is empty or has a line end in it")
        if self.seed is not None and self.user is None:
            raise ValueError("an account that may be emptied needs a user and a password")


class State:
    """What is found out once and holds for all checks."""

    def __init__(self) -> None:
        self.capabilities: dict[bytes, bytes] | None = None
        self.capa_known = False
        self.has_user: bool | None = None
        self.seeded = False
        self.has_mail = False
        self.top_works: bool | None = None


@dataclass(frozen=True)
class Listing:
    """What STAT, LIST and UIDL say in one session."""

    octets: dict[int, int]
    ids: dict[int, bytes]


class Probe:
    """Handed to a check."""

    def __init__(self, target: Target, state: State, seconds: float) -> None:
        self.target, self.state = target, state
        self.recording = Recording(
            self.password,
            base64.b64encode(self.password),
            self.plain(self.user, self.password),
        )
        self.end = time.monotonic() + seconds
        self._wires: list[Wire] = []

    # Connections

    def context(self) -> ssl.SSLContext:
        """A TLS context as the target wants it."""
        context = ssl.create_default_context(cafile=self.target.ca)
        if not self.target.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def bare(self) -> Wire:
        """A connection on which nothing has been read: no greeting, no handshake."""
        wire = Wire(
            (self.target.host, self.target.port), self.target.timeout, self.end, self.recording
        )
        self._wires.append(wire)
        return wire

    def secure(self, wire: Wire, context: ssl.SSLContext | None = None) -> None:
        """The handshake. Raises Failed."""
        try:
            wire.start_tls(context or self.context(), self.target.host)
        except ssl.SSLError as error:
            raise Failed(f"the handshake failed: {error}") from None

    def ungreeted(self) -> Wire:
        """A connection whose greeting comes next, inside TLS where that is implicit."""
        wire = self.bare()
        if self.target.tls == "implicit":
            self.secure(wire)
        return wire

    def clear(self) -> Wire:
        """A connection before STLS, greeted."""
        wire = self.ungreeted()
        greeting = wire.status()
        if not greeting.ok:
            raise Failed(f"the greeting is {greeting}")
        return wire

    def connect(self) -> Wire:
        """A connection in the AUTHORIZATION state, inside TLS where the target has it."""
        wire = self.clear()
        if self.target.tls == "stls":
            wire.ok(b"STLS")
            self.secure(wire)
        return wire

    def leave(self) -> None:
        """Be done with all connections."""
        for wire in self._wires:
            wire.leave()

    # Logging in

    @property
    def user(self) -> bytes:
        return (self.target.user or "").encode()

    @property
    def password(self) -> bytes:
        return (self.target.password or "").encode()

    def plain(self, user: bytes, password: bytes, authzid: bytes = b"") -> bytes:
        """A response of PLAIN in base64."""
        return base64.b64encode(b"\0".join((authzid, user, password)))

    def say_login(self, wire: Wire, user: bytes, password: bytes) -> Reply:
        """Log in by USER and PASS, or by AUTH PLAIN where the server doesn't take USER."""
        if self.state.has_user is not False:
            reply = wire.command(b"USER " + user)
            if self.state.has_user is None:
                self.state.has_user = reply.ok or "PLAIN" not in self.mechanisms()
            if reply.ok:
                return wire.command(b"PASS " + password, b"PASS ****")
            if self.state.has_user:
                return reply
        return wire.command(b"AUTH PLAIN " + self.plain(user, password), b"AUTH PLAIN ****")

    def login(self) -> Wire:
        """A session in the TRANSACTION state. It waits a while for a maildrop that is in use."""
        until = time.monotonic() + self.target.timeout
        while True:
            wire = self.connect()
            reply = self.say_login(wire, self.user, self.password)
            if reply.ok:
                return wire
            if time.monotonic() > until or not _BUSY.search(reply.line):
                raise Failed(f"the login is refused: {reply}")
            wire.leave()
            time.sleep(0.1)

    # What the server says it can

    def capa(self, wire: Wire) -> dict[bytes, bytes] | None:
        """Capabilities with their arguments, names in capitals; None without CAPA."""
        if not wire.command(b"CAPA").ok:
            return None
        found = {}
        for line in wire.raw_body()[:-1]:
            name, _, arguments = line.rstrip(b"\r\n").partition(b" ")
            found[name.upper()] = arguments
        return found

    def capabilities(self) -> dict[bytes, bytes] | None:
        """The same as the server says before the login, asked once."""
        if not self.state.capa_known:
            wire = self.connect()
            self.state.capabilities = self.capa(wire)
            self.state.capa_known = True
            wire.leave()
        return self.state.capabilities

    def mechanisms(self) -> Sequence[str]:
        """SASL mechanisms that are announced, in capitals."""
        announced = (self.capabilities() or {}).get(b"SASL", b"")
        return announced.decode("ascii", "replace").upper().split()

    def need_mechanism(self, name: str) -> None:
        """Raises NotApplicable unless it is announced."""
        if name not in self.mechanisms():
            raise NotApplicable(f"{name} isn't announced")

    def need_user_command(self) -> None:
        """Raises NotApplicable where USER isn't taken."""
        if self.state.has_user is None and self.target.user is not None:
            self.login().leave()
        if self.state.has_user is False:
            raise NotApplicable("the server doesn't take USER")

    # The maildrop

    def listing(self, wire: Wire) -> Listing:
        """What LIST and UIDL say, read leniently."""
        octets, ids = {}, {}
        for line in wire.multi(b"LIST"):
            number, _, rest = line.partition(b" ")
            if number.isdigit() and rest.split()[:1] and rest.split()[0].isdigit():
                octets[int(number)] = int(rest.split()[0])
        if wire.command(b"UIDL").ok:
            for line in wire.raw_body()[:-1]:
                number, _, rest = line.rstrip(b"\r\n").partition(b" ")
                if number.isdigit():
                    ids[int(number)] = rest
        return Listing(octets, ids)

    def count(self, wire: Wire) -> tuple[int, int]:
        """What STAT says. Raises Failed."""
        reply = wire.ok(b"STAT")
        found = re.match(rb"\+OK +(\d+) +(\d+)", reply.raw)
        if found is None:
            raise Failed(f"STAT is answered {reply}")
        return int(found[1]), int(found[2])

    def need_message(self, wire: Wire) -> int:
        """How many messages there are. Raises NotApplicable when there is none."""
        count, _ = self.count(wire)
        if not count:
            raise NotApplicable("the maildrop is empty")
        return count

    # An account that may be emptied

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """What fails here isn't what a check is about: then it doesn't apply."""
        try:
            yield
        except Failed as error:
            raise NotApplicable(f"the maildrop can't be prepared: {error}") from None

    def empty(self) -> None:
        """Remove all mail. Raises NotApplicable."""
        with self.preparing():
            self._empty()

    def _empty(self) -> None:
        self.state.seeded = False
        seed = self.target.seed
        assert seed is not None
        try:
            left = self._delete_all()
        except Failed:
            if not seed.empty():
                raise
        else:
            if not left or not seed.empty():
                return
        self.recording.add("-", "*", b"the maildrop was emptied without the server")

    def _delete_all(self) -> bool:
        """By the server; whether some mail is still there, as far as it says."""
        wire = self.login()
        numbers = self.listing(wire).octets
        for number in numbers:
            wire.ok(b"DELE %d" % number)
        reply = wire.quit()
        if not reply.ok:
            raise Failed(f"the maildrop can't be emptied: {reply}")
        if not numbers:
            return False
        wire = self.login()
        left, _ = self.count(wire)
        wire.quit()
        return left > 0

    def put(self, *names: str) -> None:
        """Bring in messages of the corpus and wait until they are there. Raises NotApplicable."""
        with self.preparing():
            self._put(*names)

    def _put(self, *names: str) -> None:
        wire = self.login()
        wanted = self.count(wire)[0] + len(names)
        wire.quit()
        self.bring(*names)
        self._wait_for(wanted)

    def _wait_for(self, wanted: int) -> None:
        while True:
            wire = self.login()
            there = self.count(wire)[0]
            wire.quit()
            if there >= wanted:
                return
            if time.monotonic() > self.end:
                raise Failed(f"{there} messages are there, {wanted} should be")
            time.sleep(0.1)

    def bring_other(self) -> None:
        """Bring in a message unlike all before, as a server may know those that it has had by
        their Message-ID, or by a digest."""
        seed = self.target.seed
        assert seed is not None
        new = secrets.token_hex(8).encode()
        seed.put(CORPUS["plain"].octets.replace(b"<plain@", b"<%b@" % new) + new + b"\r\n")
        self.recording.add("-", "*", b"another message was brought in")

    def put_other(self, count: int) -> None:
        """Bring in so many of these and wait until they are there."""
        for _ in range(count):
            self.bring_other()
        with self.preparing():
            self._wait_for(count)

    def bring(self, *names: str) -> None:
        """Bring in messages of the corpus; whether the server has them yet isn't looked at."""
        seed = self.target.seed
        assert seed is not None
        for name in names:
            seed.put(CORPUS[name].octets)
            self.recording.add("-", "*", f"message {name!r} was brought in".encode())

    def fill(self) -> Sequence[str]:
        """See to it that the corpus is in the maildrop, and nothing else; the names of it."""
        assert self.target.seed is not None
        usual = [name for name, each in CORPUS.items() if self.target.seed.raw or not each.raw]
        if not self.state.seeded:
            self.empty()
            self.put(*usual)
            self.state.seeded = True
        return usual

    def session(self, *names: str) -> tuple[Wire, dict[str, int]]:
        """A session with the corpus in the maildrop: the numbers of these messages.

        names: all that this way of seeding can bring in, if none are given. Raises
        NotApplicable.
        """
        with self.preparing():
            return self._session(*names)

    def _session(self, *names: str) -> tuple[Wire, dict[str, int]]:
        usual = self.fill()
        if self.state.top_works is None:
            self.state.top_works = self._does_top_work()
        wire = self.login()
        numbers = self.numbers(wire)
        if missing := set(names or usual) - set(numbers):
            raise Failed(f"not in the maildrop: {', '.join(sorted(missing))}")
        return wire, numbers

    def _does_top_work(self) -> bool:
        wire = self.login()
        try:
            wire.message(b"TOP 1 0")
        except Failed:
            wire.drop()
            return False
        wire.leave()
        return True

    def numbers(self, wire: Wire) -> dict[str, int]:
        """Which message of the corpus is where."""
        found = {}
        for number in self.listing(wire).octets:
            wire.ok(b"TOP %d 0" % number if self.state.top_works else b"RETR %d" % number)
            header = wire.body().partition(b"\r\n\r\n")[0] + b"\r\n"
            name = re.search(rb"^%b: ([\w-]+)\r?$" % MARK, header, re.M)
            if name:
                found[name[1].decode()] = number
        return found

    def changed(self) -> None:
        """The corpus isn't complete any more."""
        self.state.seeded = False
