"""What a check works with: the server, an account, and connections to them."""

from __future__ import annotations

import base64
import re
import secrets
import ssl
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from restante.testing.conformance.failures import Failed, NotApplicable, NotArrived, NotMade
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


REMOVES, BY_CLOSE, AFTER_RSET = "quit.removes", "quit.not-by-close", "rset.then-quit"
"""Checks of rules that a server may break while its maildrop is being emptied or filled."""


@dataclass(frozen=True)
class Broken:
    """How a rule was broken while something was prepared, and what was said until then."""

    reason: str
    dialogue: tuple[str, ...]


class State:
    """What is found out once and holds for all checks.

    there: names of the corpus that were seen in the maildrop, and should be there still.
    risked: checks of the rules by which sessions since then have removed nothing.
    broken: rules that were seen to be broken in preparations, by the ids of their checks.
    """

    def __init__(self) -> None:
        self.capabilities: dict[bytes, bytes] | None = None
        self.capa_known = False
        self.has_user: bool | None = None
        self.seeded = False
        self.has_mail = False
        self.top_works: bool | None = None
        self.there: frozenset[str] = frozenset()
        self.risked: set[str] = set()
        self.broken: dict[str, Broken] = {}


@dataclass(frozen=True)
class Listing:
    """What STAT, LIST and UIDL say in one session."""

    octets: dict[int, int]
    ids: dict[int, bytes]


def _are_back(before: Listing, after: Listing) -> bool:
    """Whether there still is what was removed: other messages may have come in meanwhile."""
    removed = {before.ids[number] for number in before.octets if number in before.ids}
    if removed:
        return not removed.isdisjoint(after.ids.values())
    return len(after.octets) >= len(before.octets)


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
            if wire.marked:
                self.state.risked.add(BY_CLOSE)
            elif wire.unmarked:
                self.state.risked.add(AFTER_RSET)
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
        """What fails here isn't what a check is about: it can't be made. Raises NotMade."""
        try:
            yield
        except Failed as error:
            raise NotMade(f"the maildrop can't be prepared: {error}") from None

    def broke(self, rule: str, reason: str) -> None:
        """A rule is seen to be broken. rule: the id of the check about it, which fails by this."""
        broken = Broken(f"seen while preparing: {reason}", tuple(self.recording.lines))
        self.state.broken.setdefault(rule, broken)

    @contextmanager
    def _by(self, rule: str) -> Iterator[None]:
        """What fails here breaks that rule."""
        try:
            yield
        except Failed as error:
            if time.monotonic() < self.end:  # else the check has taken too long
                self.broke(rule, str(error))
            raise

    def empty(self) -> None:
        """Remove all mail. Raises NotMade."""
        with self.preparing():
            if self._empty():
                raise Failed("what QUIT has removed is still there")

    def _empty(self) -> bool:
        """Whether messages have come back that can't be removed otherwise."""
        self.state.seeded = False
        seed = self.target.seed
        assert seed is not None
        try:
            left, back = self._delete_all()
        except Failed:
            if not seed.empty():
                raise
        else:
            if not left or not seed.empty():
                return back
        self.recording.add("-", "*", b"the maildrop was emptied without the server")
        return False

    def _delete_all(self) -> tuple[bool, bool]:
        """By the server; whether some mail is still there, and whether that has come back."""
        wire = self.login()
        before = self.listing(wire)
        if not before.octets:
            wire.leave()
            return False, False
        for number in before.octets:
            with self._by("dele.works"):
                wire.ok(b"DELE %d" % number)
        with self._by(REMOVES):
            wire.ok(b"QUIT")
        wire.rest()
        wire.close()
        wire = self.login()
        left, _ = self.count(wire)
        after = self.listing(wire)
        wire.quit()
        back = bool(left and after.octets) and _are_back(before, after)
        if back:
            self.broke(REMOVES, f"QUIT is answered +OK, and {left} messages are still there")
        return left > 0, back

    def try_seed(self) -> None:
        """Bring in a message before anything is removed.

        Raises SeedError, NotArrived when it isn't in this maildrop afterwards, and Failed for
        what the server does wrong besides.
        """
        try:
            wire = self.login()
            wanted = self.count(wire)[0] + 1
            wire.quit()
        except Failed:  # this server can't be asked
            wanted = 0
        self.bring_other()
        if wanted:
            self._wait_for(wanted)

    def put(self, *names: str) -> None:
        """Bring in messages of the corpus and wait until they are there. Raises NotMade."""
        with self.preparing():
            self._put(*names)

    def _put(self, *names: str) -> None:
        wire = self.login()
        wanted = self.count(wire)[0] + len(names)
        wire.quit()
        self.bring(*names)
        self._wait_for(wanted)

    def _wait_for(self, wanted: int) -> None:
        """Until so many messages are there. Raises Failed when no more come within the timeout."""
        most, until = 0, time.monotonic() + self.target.timeout
        while True:
            wire = self.login()
            there = self.count(wire)[0]
            wire.quit()
            if there >= wanted:
                return
            if there > most:
                most, until = there, time.monotonic() + self.target.timeout
            if time.monotonic() > min(until, self.end):
                raise NotArrived(
                    f"mail that is brought in doesn't arrive in the maildrop of "
                    f"{self.target.user}: after {self.target.timeout:g} s without more, {there} "
                    f"messages are there, {wanted} should be"
                )
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
            with self.preparing():
                self._empty()
            self.put(*usual)
            self.state.seeded = True
            self.state.there = frozenset()
            self.state.risked.clear()
        return usual

    def session(self, *names: str) -> tuple[Wire, dict[str, int]]:
        """A session with the corpus in the maildrop: the numbers of these messages.

        names: all that this way of seeding can bring in, if none are given. Raises NotMade.
        """
        with self.preparing():
            return self._session(*names)

    def _session(self, *names: str) -> tuple[Wire, dict[str, int]]:
        usual, wire, numbers = self._filled()
        if gone := self.state.there - set(numbers):
            self._went_away(gone)
            wire.leave()
            self.changed()
            usual, wire, numbers = self._filled()
        self.state.there = frozenset(numbers)
        self.state.risked.clear()
        if missing := set(names or usual) - set(numbers):
            raise Failed(f"not in the maildrop: {', '.join(sorted(missing))}")
        return wire, numbers

    def _filled(self) -> tuple[Sequence[str], Wire, dict[str, int]]:
        usual = self.fill()
        if self.state.top_works is None:
            self.state.top_works = self._does_top_work()
        wire = self.login()
        return usual, wire, self.numbers(wire)

    def _went_away(self, gone: Collection[str]) -> None:
        """Messages are gone that no check has removed: the rule by which they should be there."""
        names = ", ".join(sorted(gone))
        if BY_CLOSE in self.state.risked:
            self.broke(BY_CLOSE, f"a session ended without QUIT, and gone are: {names}")
        elif AFTER_RSET in self.state.risked:
            self.broke(AFTER_RSET, f"a session ended with RSET and QUIT, and gone are: {names}")
        else:
            self.broke(REMOVES, f"nobody has marked what is gone: {names}")

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
