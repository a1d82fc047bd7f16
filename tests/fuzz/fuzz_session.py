"""A fuzz target: arbitrary bytes, cut at arbitrary places, through the parser and the session.

    python -m tests.fuzz.fuzz_session [libFuzzer's arguments]

runs it under atheris, which PyPI has for Python 3.13, with the dialogues as first corpus.
The test beside it runs a fixed number of inputs, seeded, in the ordinary suite.
"""

from __future__ import annotations

import base64
import random
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from hashlib import md5
from pathlib import Path

from restante.accounts.static import StaticAccounts
from restante.protocol.claims import PasswordClaim, SecretClaim
from restante.protocol.limits import MAX_AUTH_LINE, MAX_REPLY_LINE
from restante.protocol.policy import HeaderPolicy, TlsMode, UseAuth
from restante.protocol.replies import Body, Continue, MultiLine, Prepared
from restante.protocol.states import State
from restante.stores.memory import MemoryStore
from tests.protocol.driver import TIMESTAMP, Driver, Exchange, policy_for

NAME, PASSWORD = "joe", "secret"
LOGIN = b"USER joe\r\nPASS secret\r\n"
ACCOUNTS = StaticAccounts({NAME: PASSWORD})
MESSAGES = [
    b"Subject: one\n\n.dot\nlast",
    b"Subject: two\r\n\r\nbody\r\n.\r\n..\r\n",
    "Subject: grüß\n\nbody\n".encode(),
    b"",
    b"\r\n.\n\r.\r",
]

TLS_MODES: tuple[TlsMode, ...] = ("none", "starttls", "starttls_required", "implicit")
USE_AUTH: tuple[UseAuth, ...] = ("both", "pop", "sasl", "both")
HEADERS: tuple[HeaderPolicy, ...] = ("internationalized", "refuse", "as-is", "downgrade")

_STATUS = re.compile(rb"(?:\+OK|-ERR)(?: [^\r\n]*)?\r\n")
_CHALLENGE = re.compile(rb"\+ [A-Za-z0-9+/]*={0,2}\r\n")


def new_driver(options: int) -> Driver:
    """A session in one of 256 surroundings."""
    policy = replace(
        policy_for(ACCOUNTS),
        tls=TLS_MODES[options & 3],
        use_auth=USE_AUTH[options >> 2 & 3],
        utf8_headers=HEADERS[options >> 4 & 3],
        max_bad_commands=1000,
        max_failed_logins=1000,
        asks={"delete", "reset"} if options & 64 else frozenset(),
    )
    store = MemoryStore()
    for number, message in enumerate(MESSAGES):
        store.add(NAME, message, f"u{number}")
    return Driver(store, ACCOUNTS, policy, trusted=not options & 128, tls=policy.tls == "implicit")


def pieces(data: bytes, seed: int) -> Iterator[bytes]:
    """`data` cut: 0 leaves it whole, 1 cuts at every octet, 2 after each line, others anywhere."""
    if seed < 3:
        yield from re.findall((rb".+", rb".", rb"[^\n]*\n|[^\n]+")[seed], data, re.DOTALL)
        return
    chance, at = random.Random(seed), 0
    while at < len(data):
        size = chance.choice((1, 2, 3, 10, 100, 5000))
        yield data[at : at + size]
        at += size


def one_input(data: bytes) -> Driver:
    """Run one session over `data` and assert what must hold of any.

    The first octet chooses the surroundings, the second where the rest is cut.
    """
    options, seed = (data + b"\0\0")[:2]
    driver = new_driver(options)
    stream = data[2:]
    for piece in pieces(stream, seed):
        answered = len(driver.exchanges)
        driver.feed(piece)
        for exchange in driver.exchanges[answered:]:
            _check_exchange(exchange)
        _check_session(driver)
        assert (
            len(driver.session.buffer) <= MAX_AUTH_LINE + 1 + len(piece) or driver.session.closing
        )
    _check_order(driver, stream)
    driver.disconnect()
    _check_store(driver)
    return driver


def _check_exchange(exchange: Exchange) -> None:
    """One reply, well-formed."""
    wire, reply = exchange.wire, exchange.reply
    end = wire.index(b"\r\n") + 2
    status, rest = wire[:end], wire[end:]
    assert len(status) <= MAX_REPLY_LINE or isinstance(reply, Continue)
    if isinstance(reply, Continue):
        assert _CHALLENGE.fullmatch(status)
        assert not rest
        return
    assert _STATUS.fullmatch(status)
    if not isinstance(reply, MultiLine | Prepared | Body):
        assert not rest
        return
    assert status.startswith(b"+OK")
    assert b"\n" not in rest.replace(b"\r\n", b"")
    lines = rest.split(b"\r\n")
    assert lines[-2:] == [b".", b""]
    assert b"." not in lines[:-2]
    assert all(line[:2] == b".." for line in lines[:-2] if line[:1] == b".")


def _check_session(driver: Driver) -> None:
    """Nobody is logged in without the right credentials, and the numbers make sense."""
    session = driver.session
    if session.account is None:
        assert session.state is State.AUTHORIZATION
        assert not session.listing.unique_ids
        assert not session.deleted
    else:
        assert session.state is not State.AUTHORIZATION
        assert session.account.name == NAME
        claim = driver.accepted
        assert claim is not None
        if isinstance(claim, PasswordClaim):
            assert (claim.name, claim.password) == (NAME, PASSWORD)
            assert claim.authzid in ("", NAME)
            assert session.secure
        else:
            assert isinstance(claim, SecretClaim)
            assert claim.holds_for("PLAIN", PASSWORD)
    assert all(1 <= number <= len(session.listing) for number in session.deleted)
    assert 0 <= session.active_count <= len(session.listing)
    assert session.active_size >= 0


def _check_order(driver: Driver, stream: bytes) -> None:
    """Each line got one reply, in order, until the session was over."""
    lines = [line.removesuffix(b"\r") for line in stream.split(b"\n")[:-1]]
    answered = [exchange.line for exchange in driver.exchanges]
    if None in answered:
        assert answered.index(None) == len(answered) - 1
        assert driver.session.closing
        answered.pop()
    assert answered == lines[: len(answered)]
    if not driver.session.closing:
        assert len(answered) == len(lines)


def _check_store(driver: Driver) -> None:
    """Mail is removed by QUIT alone, and then exactly what was marked."""
    left = driver.store.messages(NAME)
    marked = {f"u{number - 1}" for number in driver.session.deleted} if driver.committed else set()
    assert set(left) == {f"u{number}" for number in range(len(MESSAGES))} - marked
    assert driver.committed is (driver.session.state is State.UPDATE)


# Inputs to begin with


def seeds() -> list[bytes]:
    """Dialogues that reach every command, after the two octets that choose surroundings."""
    plain = base64.b64encode(f"\0{NAME}\0{PASSWORD}".encode())
    digest = md5(TIMESTAMP + PASSWORD.encode(), usedforsecurity=False).hexdigest().encode()
    mail = b"STAT\r\nLIST\r\nUIDL 1\r\nRETR 2\r\nTOP 1 1\r\nDELE 3\r\nLIST\r\nRSET\r\n"
    mail += b"DELE 1\r\nQUIT\r\n"
    dialogues = [
        b"CAPA\r\nAUTH\r\n" + LOGIN + mail,
        b"utf8\r\n" + LOGIN + b"UTF8\r\nRETR 3\r\nLIST 3\r\nuidl\r\n",
        LOGIN + b"RETR 3\r\nTOP 3 0\r\nRETR 4\r\nRETR 5\r\nTOP 5 99999999\r\nNOOP\r\nDELE 2\n",
        b"APOP joe " + digest + b"\r\n" + mail,
        b"AUTH PLAIN " + plain + b"\r\n" + mail,
        b"AUTH PLAIN\r\n" + plain + b"\r\nQUIT\r\n",
        b"AUTH LOGIN\r\nam9l\r\nc2VjcmV0\r\nSTAT\r\n",
        b"AUTH CRAM-MD5\r\n*\r\nAUTH CRAM-MD5\r\nam9lIDAw\r\nAUTH PLAIN =\r\n",
        b"STLS\r\n" + LOGIN + mail,
        b"LANG\r\nLANG de\r\nLANG xx\r\nUSER joe\r\nPASS wrong\r\nPASS again\r\n" + LOGIN,
        b"A" * 2000 + b"\r\nNOOP\r\n",
        b"AUTH PLAIN " + b"A" * 100_000,
        b"\r\n\n \r\n\0\r\nUSER\r\nRETR 99999999999\r\nTOP 1\r\nLIST 0\r\nLIST -1\r\n",
    ]
    return [bytes([options, 2]) + each for options in (0, 1, 16, 130) for each in dialogues]


def dialogue_files() -> list[bytes]:
    """What the clients say in tests/dialogues, as near as a fuzzer needs it."""
    folder = Path(__file__).parent.parent / "dialogues"
    scripts = [path.read_text("utf-8").splitlines() for path in sorted(folder.glob("*.pop"))]
    return [b"\0\2" + b"".join(map(_said, script)) for script in scripts]


def _said(line: str) -> bytes:
    if line == "LOGIN":
        return LOGIN
    text = re.sub(r"\{b64 (.*?)\}", lambda found: _base64(found[1]), line[3:])
    if line.startswith("C: "):
        return text.encode() + b"\r\n"
    return _unescaped(text) if line.startswith("C; ") else b""


def _unescaped(text: str) -> bytes:
    return text.encode().decode("unicode_escape").encode("latin-1")


def _base64(text: str) -> str:
    return base64.b64encode(_unescaped(text)).decode()


def mutated(data: bytes, chance: random.Random) -> bytes:
    """`data` with a few octets, pieces or lines changed."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randint(0, len(out))
        to = min(len(out), at + chance.choice((1, 2, 8, 40)))
        match chance.randrange(5):
            case 0:
                out[at:at] = chance.choice(
                    (b"\r\n", b"\n", b"\r", b"\0", b" ", b".", b"\xff", b"=")
                )
            case 1:
                del out[at:to]
            case 2:
                out[at:at] = out[at:to] * chance.choice((1, 1, 300))
            case 3:
                out[at:to] = chance.randbytes(to - at)
            case 4:
                lines = bytes(out[2:]).splitlines(keepends=True)
                chance.shuffle(lines)
                out[2:] = b"".join(lines)
    return bytes(out)


def main() -> None:
    """Fuzz until stopped; see libFuzzer's options."""
    try:
        import atheris  # noqa: PLC0415 - not there for every Python
    except ImportError:
        sys.exit("atheris is missing: pip install atheris (on Python 3.13)")
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(seeds() + dialogue_files()):
            Path(folder, f"{number:04}").write_bytes(data)
        atheris.instrument_all()
        atheris.Setup([*sys.argv, folder], lambda data: one_input(data) and None)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
