"""A fuzz target: what clients say within mechanisms, changed at will, through a whole session.

    python -m tests.fuzz.fuzz_mechanisms [libFuzzer's arguments]

runs it under atheris, which PyPI has for Python 3.13, with real exchanges as first corpus.
The test beside it runs a fixed number of inputs, seeded, in the ordinary suite.

Nothing here is left to chance but the input: the server's nonces, challenges and clock stand
still. So what a client was recorded to say is right when it is said again.
"""

from __future__ import annotations

import asyncio
import atexit
import random
import secrets
import sys
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest import mock

from restante.accounts.contract import Account, AccountError
from restante.accounts.static import StaticAccounts
from restante.protocol.commands import command_table
from restante.protocol.effects import Effect, FindKeys, LogIn, Work
from restante.protocol.mechanisms import MechanismInfo
from restante.protocol.policy import Policy
from restante.protocol.replies import Continue, Err
from restante.sasl.anonymous import anonymous
from restante.sasl.contract import MechanismError
from restante.sasl.cram_md5 import CRAM_MD5
from restante.sasl.external import EXTERNAL
from restante.sasl.gssapi import NO_LAYER, gssapi
from restante.sasl.login import LOGIN
from restante.sasl.md4 import nt_hash
from restante.sasl.md5_state import hmac_states
from restante.sasl.ntlm import NTLM
from restante.sasl.oauth import oauth_mechanisms
from restante.sasl.plain import PLAIN
from restante.sasl.scram import (
    HASHES,
    SCRAM_SHA_1,
    SCRAM_SHA_1_PLUS,
    SCRAM_SHA_256,
    SCRAM_SHA_256_PLUS,
    make,
)
from restante.stores.memory import MemoryStore
from restante.threads import WorkerThreads
from tests.fuzz.fuzz_session import mutated
from tests.protocol.driver import Driver
from tests.server.backends import backend_over, peer_at
from tests.server.kit import NAME, PASSWORD
from tests.server.login_clients import CLIENTS, Caller, Steps

T = TypeVar("T")

BOUND = b"c" * 32
TOKEN = "a.token"
GUEST, MASTER = "guest", "root"
BREAK = b"\xff\0\xfe\n"
"""Stands between two responses of an input."""

MAX_CHALLENGES = 8
"""More than any mechanism has to ask."""

MAX_CHALLENGE = 1024
"""Octets, whatever a peer says: SCRAM's repeats a nonce of up to 256."""


class Scripted:
    """An acceptor of Kerberos tickets that are words."""

    def step(self, token: bytes) -> tuple[bool, bytes]:
        if token != b"ticket of joe":
            raise MechanismError("the Kerberos ticket is not valid here")
        return True, b"token"

    def names(self) -> tuple[str, ...]:
        return (f"{NAME}@EXAMPLE.ORG", NAME)

    def wrap(self, message: bytes) -> bytes:
        return b"wrapped " + message

    def unwrap(self, token: bytes) -> bytes:
        if not token.startswith(b"wrapped "):
            raise MechanismError("the Kerberos ticket is not valid here")
        return token.removeprefix(b"wrapped ")


def gssapi_client(caller: Caller) -> Steps:
    """The other side of `Scripted`."""
    assert (yield b"ticket of joe") == b"token"
    assert (yield b"") == b"wrapped " + NO_LAYER
    yield b"wrapped " + NO_LAYER + NAME.encode()


class Channel:
    """TLS with a client's certificate."""

    def binding_types(self) -> tuple[str, ...]:
        return ("tls-server-end-point",)

    def binding(self, kind: str) -> bytes | None:
        return BOUND if kind == "tls-server-end-point" else None

    def names(self) -> tuple[str, ...]:
        return (NAME, "joe@example.org")


class Tokens:
    """Vouches for one token, and can't be asked about another."""

    async def identify(self, token: str) -> str | None:
        if token == TOKEN + "x":
            raise AccountError("unreachable")
        return NAME if token == TOKEN else None


class NoThreads(WorkerThreads):
    """Calls in place."""

    async def run(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)


class QuickAccounts(StaticAccounts):
    """No decoys: their time is nobody's concern here."""

    def slowest_scheme(self) -> str | None:
        return None


def _credentials(password: str) -> tuple[str, ...]:
    keys = {name: make(hashed, password, iterations=4096) for name, hashed in HASHES.items()}
    return (
        f"{{CRAM-MD5}}{hmac_states(password.encode()).hex()}",
        f"{{NT}}{nt_hash(password).hex()}",
        *(f"{{{name}}}{each.format()}" for name, each in keys.items()),
    )


ACCOUNTS = QuickAccounts(
    [
        Account(NAME, _credentials(PASSWORD)),
        Account("joe2", _credentials("another")),
        Account(MASTER, _credentials("the master's"), master=True),
        Account(GUEST, ()),
        Account("gone", _credentials(PASSWORD), disabled=True),
    ]
)

MECHANISMS: dict[str, MechanismInfo] = {
    info.name: info
    for info in (
        *(SCRAM_SHA_256_PLUS, SCRAM_SHA_1_PLUS, SCRAM_SHA_256, SCRAM_SHA_1),
        *(EXTERNAL, gssapi(Scripted), *oauth_mechanisms(scope="pop"), PLAIN, LOGIN),
        *(CRAM_MD5, NTLM, anonymous(GUEST)),
    )
}
NAMES = list(MECHANISMS)
HOLDERS = {name: GUEST if name == "ANONYMOUS" else NAME for name in NAMES}
"""Whom each mechanism's real exchange lets in."""


LOOP = asyncio.new_event_loop()
atexit.register(LOOP.close)


def done(work: Coroutine[Any, Any, T]) -> T:
    """The result of something that waits for nothing but its turn."""
    return LOOP.run_until_complete(work)


class MechanismDriver(Driver):
    """A session whose logins are decided as a server does it."""

    def __init__(self) -> None:
        policy = Policy(
            command_table(),
            mechanisms=MECHANISMS,
            hostname="mail.example.org",
            held_schemes=ACCOUNTS.held_schemes(),
            max_failed_logins=3,
        )
        super().__init__(MemoryStore(), ACCOUNTS, policy, trusted=False, tls=True)
        self.session.channel = Channel()
        threads = NoThreads("none", 0, 1)
        self._backend = backend_over(
            ACCOUNTS,
            threads,
            secret=bytes(32),
            tokens=Tokens(),
            master_separator="*",
            remember_seconds=0.0,
        )

    def _perform(self, effect: Effect) -> object:
        match effect:
            case FindKeys():
                _check_text(effect.name)
                return done(self._backend.keys(effect.name, effect.scheme, peer_at("192.0.2.7")))
            case Work():
                return effect.function()
            case LogIn(claim):
                _check_text(claim.name + claim.authzid + getattr(claim, "password", ""))
                try:
                    found = done(self._backend.identify(claim, peer_at("192.0.2.7")))
                except AccountError:
                    return Err("temporary failure: try again later", "SYS/TEMP")
                if found is None:
                    return Err("authentication failed", "AUTH")
                self.accepted = claim
                return self._open(found[0])
        return super()._perform(effect)


def _check_text(text: str) -> None:
    """What may be handed to accounts (A2)."""
    assert not set(text) & set("\r\n\0")
    text.encode("utf-8")  # no half of a surrogate


@contextmanager
def _nothing_by_chance() -> Iterator[None]:
    clock = SimpleNamespace(time_ns=lambda: 1_800_000_000_000_000_000)
    with (
        mock.patch.object(secrets, "token_bytes", lambda size=None: b"\5" * (size or 32)),
        mock.patch.object(secrets, "token_urlsafe", lambda size: "u" * size),
        mock.patch.object(secrets, "randbits", return_value=5),
        mock.patch("restante.sasl.ntlm.time", clock),
    ):
        yield


@dataclass(frozen=True)
class Input:
    """An input, read.

    early: the first response goes with AUTH. raw: the lines go as they are, not in base64.
    twice: after the exchange the same is said once more.
    """

    mechanism: str
    early: bool
    raw: bool
    twice: bool
    responses: Sequence[bytes]


def read(data: bytes) -> Input:
    """The first octet chooses the mechanism, the second how the responses are said."""
    chosen, options = (data + b"\0\0")[:2]
    name = NAMES[chosen % len(NAMES)]
    early, raw, twice = (bool(options & bit) for bit in (1, 2, 4))
    return Input(name, early, raw, twice, data[2:].split(BREAK))


def written(mechanism: str, responses: Sequence[bytes], options: int) -> bytes:
    """The input that `read` reads so."""
    return bytes([NAMES.index(mechanism), options]) + BREAK.join(responses)


def one_input(data: bytes) -> MechanismDriver:
    """Run a session over `data` and assert what must hold of any. No exception escapes."""
    given = read(data)
    driver = MechanismDriver()
    with _nothing_by_chance():
        for _ in range(1 + given.twice):
            if driver.session.account is None and not driver.session.closing:
                _say(driver, given)
    _check(driver, given)
    driver.disconnect()
    return driver


def _say(driver: MechanismDriver, given: Input) -> None:
    """The exchange, until it has ended, or there is nothing more to say."""
    lines = [each if given.raw else b64encode(each) for each in given.responses]
    command = b"AUTH " + given.mechanism.encode()
    if given.early:
        command += b" " + (lines.pop(0) or b"=")
    driver.feed(command + b"\r\n")
    for line in lines:
        if not driver.session.in_exchange or driver.session.closing:
            break
        driver.feed(line + b"\r\n")
    if driver.session.in_exchange and not driver.session.closing:
        driver.feed(b"*\r\n")


def _check(driver: MechanismDriver, given: Input) -> None:
    session = driver.session
    challenges = [e.reply for e in driver.exchanges if isinstance(e.reply, Continue)]
    assert len(challenges) <= MAX_CHALLENGES * 2
    assert all(len(each.data) <= MAX_CHALLENGE for each in challenges)
    if session.account is not None:
        assert session.account.name == HOLDERS[given.mechanism]
        assert driver.accepted is not None
        assert driver.accepted.mechanism == given.mechanism
    if not session.closing:  # it can be used
        assert driver.feed(b"NOOP\r\n").startswith(b"+OK" if session.account else b"-ERR log in")
        assert driver.feed(b"CAPA\r\n").startswith(b"+OK ")


# Inputs to begin with


def recorded(mechanism: str) -> list[bytes]:
    """What a real client says to log in."""
    clients = CLIENTS | {"GSSAPI": gssapi_client}
    caller = Caller(NAME, PASSWORD, token=TOKEN, end_point=BOUND)
    steps = clients[mechanism](caller)
    driver = MechanismDriver()
    said: list[bytes] = []
    with _nothing_by_chance():
        response = next(steps)
        wire = driver.feed(f"AUTH {mechanism}\r\n".encode())
        if response is None:
            response = steps.send(_challenge(wire))
        while driver.session.in_exchange:
            assert response is not None
            said.append(response)
            wire = driver.feed(b64encode(response) + b"\r\n")
            if driver.session.in_exchange:
                response = steps.send(_challenge(wire))
    assert driver.session.account is not None, (mechanism, wire)
    driver.disconnect()
    return said


def _challenge(wire: bytes) -> bytes:
    return b64decode(wire.removeprefix(b"+ ").rstrip(), validate=True)


def seeds() -> list[bytes]:
    """Real exchanges of all mechanisms, said in several ways."""
    found = []
    for name in NAMES:
        said = recorded(name)
        found += [written(name, said, options) for options in (0, 1, 4, 5)]
        found.append(written(name, [b64encode(each) for each in said], 2))
    return found


def changed(data: bytes, chance: random.Random) -> bytes:
    """An exchange with something changed in it, or between its responses."""
    given = read(data)
    responses = list(given.responses)
    at = chance.randrange(len(responses))
    match chance.randrange(6):
        case 0:
            responses[at] = responses[chance.randrange(len(responses))]
        case 1:
            del responses[at]
        case 2:
            responses[at] = bytes(chance.choice((70_000, 100_000)))
        case _:
            responses[at] = mutated(b"\0\0" + responses[at], chance)[2:]
    options = chance.choice((data[1], data[1], chance.randrange(8)))
    return written(given.mechanism, responses, options)


def main() -> None:
    """Fuzz until stopped; see libFuzzer's options."""
    try:
        import atheris  # noqa: PLC0415 - not there for every Python
    except ImportError:
        sys.exit("atheris is missing: pip install atheris (on Python 3.13)")
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(seeds()):
            Path(folder, f"{number:04}").write_bytes(data)
        atheris.instrument_all()
        atheris.Setup([*sys.argv, folder], lambda data: one_input(data) and None)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
