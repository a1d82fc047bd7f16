"""Which login works where: mechanism, store of accounts, TLS, and `use_auth`, all with all.

Each is tried on a real socket. What is announced lets the right credential in and the wrong
one not, after which the session goes on; what isn't announced is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, get_args
from unittest import mock

import pytest
import trustme
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from restante import (
    Account,
    AccountStore,
    Certificate,
    Chain,
    GuardSettings,
    Listener,
    MemoryStore,
    PasswdFile,
    Pop3Server,
    SqliteAccounts,
    StaticAccounts,
    TlsSettings,
)
from restante.accounts import schemes, verify
from restante.accounts.kerberos import Kerberos
from restante.accounts.oauth import OAuth
from restante.accounts.schemes import hash_password
from restante.protocol.policy import TlsMode, UseAuth
from restante.server import peer
from tests.conftest import Authority
from tests.needs import need
from tests.peers.kdc import Realm, environment
from tests.server.kit import NAME, PASSWORD, Client, new_server
from tests.server.login_clients import Caller, attempt, end_point

TABLE = """
                   | rem loc bef aft imp cer pro pce | pla has sql kep pwd els cha bar
SCRAM-SHA-256-PLUS |  .   .   .   x   x   x   .   .  |  x   .   x   x   .   .   x   .
SCRAM-SHA-1-PLUS   |  .   .   .   x   x   x   .   .  |  x   .   .   x   x   .   .   .
SCRAM-SHA-256      |  x   x   x   x   x   x   x   x  |  x   .   x   x   .   .   x   .
SCRAM-SHA-1        |  x   x   x   x   x   x   x   x  |  x   .   .   x   x   .   .   .
EXTERNAL           |  .   .   .   .   .   x   .   x  |  x   x   x   x   x   x   x   x
GSSAPI             |  x   x   x   x   x   x   x   x  |  x   x   x   x   x   x   x   x
OAUTHBEARER        |  .   x   .   x   x   x   x   x  |  x   x   x   x   x   x   x   x
XOAUTH2            |  .   x   .   x   x   x   x   x  |  x   x   x   x   x   x   x   x
PLAIN              |  .   x   .   x   x   x   x   x  |  x   x   x   x   x   x   x   x
LOGIN              |  .   x   .   x   x   x   x   x  |  x   x   x   x   x   x   x   x
CRAM-MD5           |  x   x   x   x   x   x   x   x  |  x   .   .   x   x   .   .   .
NTLM               |  x   x   x   x   x   x   x   x  |  x   .   .   x   x   .   .   .
ANONYMOUS          |  x   x   x   x   x   x   x   x  |  x   x   x   x   x   x   x   x
USER               |  .   x   .   x   x   x   x   x  |  x   x   x   x   x   x   x   x
APOP               |  x   x   x   x   x   x   x   x  |  x   .   .   x   .   .   .   .
"""
"""Announced, and of use, where both the way and the store have an x. USER and APOP need a
`use_auth` of `pop` or `both`, all others one of `sasl` or `both`."""

LOGINS_OF_POP = ("USER", "APOP")
OPEN_TO_ALL = "public"
EVERYWHERE = ("127.0.0.0/8", "192.0.2.0/24")


class Row(NamedTuple):
    """What a mechanism needs: the ways and the stores that serve it."""

    ways: frozenset[str]
    stores: frozenset[str]


def _read(table: str) -> dict[str, Row]:
    head, *rows = (line.split("|") for line in table.strip("\n").splitlines())
    columns = [part.split() for part in head]
    found = {}
    for name, *marks in rows:
        ways, stores = (
            frozenset(c for c, mark in zip(names, part.split(), strict=True) if mark == "x")
            for names, part in zip(columns[1:], marks, strict=True)
        )
        found[name.strip()] = Row(ways, stores)
    return found


ROWS = _read(TABLE)


# The ways to connect

_V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11"
_ADDRESSES = bytes([192, 0, 2, 7, 198, 51, 100, 1]) + struct.pack("!HH", 51423, 110)


def _header(certificate: bool) -> bytes:
    """Of PROXY version 2: the proxy has ended TLS, and perhaps verified joe's certificate."""
    facts = struct.pack("!BL", 0x03 if certificate else 0x01, 0)
    if certificate:
        facts += struct.pack("!BH", 0x22, len(NAME)) + NAME.encode()
    body = _ADDRESSES + struct.pack("!BH", 0x20, len(facts)) + facts
    return _V2 + struct.pack("!H", len(body)) + body


@dataclass(frozen=True)
class Way:
    """How a client comes in.

    remote: the server takes it for a peer elsewhere. stls: whether it says STLS. certificate:
    it shows one. header: a proxy's.
    """

    tls: TlsMode = "none"
    remote: bool = True
    stls: bool = False
    certificate: bool = False
    header: bytes = b""


WAYS = {
    "rem": Way(),
    "loc": Way(remote=False),
    "bef": Way("starttls"),
    "aft": Way("starttls", stls=True),
    "imp": Way("implicit"),
    "cer": Way("implicit", certificate=True),
    "pro": Way(header=_header(False)),
    "pce": Way(header=_header(True)),
}


@dataclass(frozen=True)
class Tls:
    """Both ends' settings. bare: trusts the server; carded: shows a certificate, too."""

    settings: TlsSettings
    bare: Any
    carded: Any


@pytest.fixture(scope="module")
def tls(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Tls:
    folder = tmp_path_factory.mktemp("card")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    issued = ca.issue_cert("joe@example.org", common_name=NAME)
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "joe.pem")
    settings = TlsSettings(
        authority.certificate, client_certificates="ask", client_ca=folder / "ca.pem"
    )
    carded = authority.client_context()
    Certificate(folder / "joe.pem").load_into(carded)
    return Tls(settings, authority.client_context(), carded)


def connect(server: Pop3Server, way: Way, tls: Tls) -> Client:
    """A client that has come in this way, greeted."""
    context = tls.carded if way.certificate else tls.bare
    client = Client(
        server.port, tls=context if way.tls == "implicit" else None, greet=not way.header
    )
    if way.header:
        client.send(way.header)
        client.greeting = client.line()
    return client.start_tls(context) if way.stls else client


# The stores


@dataclass(frozen=True)
class Kept:
    """A store, and who in it can use which mechanism; where nothing is said, joe."""

    accounts: AccountStore
    whose: dict[str, str] = field(default_factory=dict)


class Elsewhere(AccountStore):
    """Accounts whose passwords somebody else checks."""

    async def lookup(self, name: str) -> Account | None:
        return Account(name, check_password=self._check) if name in (NAME, OPEN_TO_ALL) else None

    async def _check(self, password: str) -> bool:
        return password == PASSWORD

    async def check_decoy(self, name: str, password: str) -> None:
        await self._check(password)

    def slowest_scheme(self) -> str | None:
        return None


class Bare(AccountStore):
    """As little as a store can be. It keeps passwords, but nobody is told."""

    def lookup(self, name: str) -> Account | None:
        return Account(name, ("{PLAIN}" + PASSWORD,)) if name in (NAME, OPEN_TO_ALL) else None


_PASSWD = """\
joe:{SHA512-CRYPT}$6$rounds=1000$dLLGveUibJX3.hNQ$VIRAKzzssNKhJtzS08l9nbj0Y1cxgbaFSlbTIgd1ov\
uuFjJ/ntK1C0qKcbwgGX1pAm2Qk3CtVv6eJuTALRvib/
ann:%s
bob:%s
eva:%s
public:
"""


def _passwd_file(folder: Path) -> Kept:
    path = folder / "passwd"
    kept = tuple(hash_password(PASSWORD, each) for each in ("CRAM-MD5", "NT", "SCRAM-SHA-1"))
    path.write_text(_PASSWD % kept)
    whose = {"CRAM-MD5": "ann", "NTLM": "bob", "SCRAM-SHA-1": "eva", "SCRAM-SHA-1-PLUS": "eva"}
    return Kept(PasswdFile(path), whose)


def _chain() -> Kept:
    first = StaticAccounts([Account(NAME, (hash_password(PASSWORD, "SSHA512"),))])
    keys = Account("eva", (hash_password(PASSWORD, "SCRAM-SHA-256"),))
    chain = Chain([first, Bare(), StaticAccounts([keys])])
    return Kept(chain, {"SCRAM-SHA-256": "eva", "SCRAM-SHA-256-PLUS": "eva"})


def _sqlite(path: Path, *, keep_secret: bool) -> SqliteAccounts:
    """As `restante user add` makes it."""
    accounts = SqliteAccounts(path)
    for name in (NAME, OPEN_TO_ALL):
        accounts.add(name, PASSWORD, keep_secret=keep_secret)
    return accounts


@pytest.fixture(scope="module", autouse=True)
def _cheap() -> Iterator[None]:
    """Hashes of the same kinds as ever that cost next to nothing."""
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schemes, "_argon2", lambda: (hasher, VerificationError))
        verify._decoy.cache_clear()
        yield
    verify._decoy.cache_clear()


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory, _cheap: None) -> Iterator[dict[str, Kept]]:
    folder = tmp_path_factory.mktemp("stores")
    hashed = hash_password(PASSWORD)
    with ExitStack() as stack:
        sqlite = {
            keep: stack.enter_context(_sqlite(folder / f"{keep}.sqlite", keep_secret=keep))
            for keep in (False, True)
        }
        yield {
            "pla": Kept(StaticAccounts({NAME: PASSWORD, OPEN_TO_ALL: PASSWORD})),
            "has": Kept(StaticAccounts({NAME: hashed, OPEN_TO_ALL: hashed})),
            "sql": Kept(sqlite[False]),
            "kep": Kept(sqlite[True]),
            "pwd": _passwd_file(folder),
            "els": Kept(Elsewhere()),
            "cha": _chain(),
            "bar": Kept(Bare()),
        }


# Who else vouches for people


class Tokens(OAuth):
    """Vouches for tokens that say whose they are, without asking anybody."""

    scope = discovery = ""

    def __init__(self) -> None: ...

    async def identify(self, token: str) -> str | None:
        return token.removeprefix("token-of-") if token.startswith("token-of-") else None

    async def aclose(self) -> None: ...


class Tickets(NamedTuple):
    """A Kerberos service, and the tickets of joe and of somebody who has no account."""

    service: Kerberos
    right: Path
    wrong: Path


@pytest.fixture(scope="module")
def tickets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tickets | None]:
    """None where there is no Kerberos: the row GSSAPI is then left out, but not on CI."""
    available = find_spec("gssapi") is not None
    with suppress(pytest.skip.Exception):
        need("krb5kdc", package="krb5-kdc")
        with ExitStack() as stack:
            if available:
                realm = stack.enter_context(Realm(tmp_path_factory.mktemp("realm")))
                stack.enter_context(environment(realm.env))
                yield _tickets(realm)
                return
    yield None


def _tickets(realm: Realm) -> Tickets:
    realm.add("pop/localhost")
    for person in (NAME, "stranger"):
        realm.add(person, PASSWORD)
    service = Kerberos(realm.keytab("pop/localhost"))
    return Tickets(service, realm.log_in(NAME, PASSWORD), realm.log_in("stranger", PASSWORD))


# All with all


@contextmanager
def house(
    kept: Kept, way: Way, use_auth: UseAuth, tls: Tls, tickets: Tickets | None
) -> Iterator[Pop3Server]:
    """A server with everything switched on."""
    mail = MemoryStore()
    for name in {NAME, OPEN_TO_ALL, *kept.whose.values()}:
        mail.add(name, b"Subject: hello\n\n", f"of-{name}")
    listener = Listener(
        port=0, tls=way.tls, proxy_protocol=bool(way.header), proxy_networks=["127.0.0.1"]
    )
    server = new_server(
        mail,
        kept.accounts,
        listeners=[listener],
        tls_settings=tls.settings,
        use_auth=use_auth,
        kerberos=tickets.service if tickets else None,
        oauth=Tokens(),
        ntlm=True,
        anonymous=OPEN_TO_ALL,
        scram_iterations=4096,
        guard=GuardSettings(trusted_networks=EVERYWHERE),
    )
    with mock.patch.object(peer, "is_local", return_value=not way.remote), server:
        yield server


def announced(client: Client) -> list[str]:
    """What the greeting, CAPA and AUTH say of logging in; of SASL the latter two the same."""
    capabilities = client.fetch("CAPA").decode().splitlines()
    sasl = [line.split()[1:] for line in capabilities if line.startswith("SASL")]
    listed = client.fetch("AUTH").decode().split()
    assert sasl == ([listed] if listed else [])
    user = ["USER"] if "USER" in capabilities else []
    return listed + user + (["APOP"] if client.greeting.endswith(b">") else [])


def right_and_wrong(name: str, tickets: Tickets | None, bound: bytes) -> tuple[Caller, Caller]:
    right = Caller(
        name,
        PASSWORD,
        token=f"token-of-{name}",
        tickets=tickets.right if tickets else None,
        end_point=bound or bytes(32),
    )
    wrong = replace(
        right,
        password=PASSWORD + " ",
        token="token-of-stranger",
        tickets=tickets.wrong if tickets else None,
        authzid=OPEN_TO_ALL,
    )
    return right, wrong


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("store", ["pla", "has", "sql", "kep", "pwd", "els", "cha", "bar"])
@pytest.mark.parametrize("use_auth", get_args(UseAuth))
def test_what_is_announced_works_and_nothing_else(  # noqa: PLR0917 - parameters, and fixtures
    use_auth: UseAuth,
    store: str,
    way: str,
    stores: dict[str, Kept],
    tls: Tls,
    tickets: Tickets | None,
) -> None:
    kept = stores[store]
    rows = {name: row for name, row in ROWS.items() if name != "GSSAPI" or tickets is not None}
    unwanted = {"pop": set(rows) - set(LOGINS_OF_POP), "sasl": set(LOGINS_OF_POP), "both": set()}
    expected = [
        name
        for name, row in rows.items()
        if way in row.ways and store in row.stores and name not in unwanted[use_auth]
    ]
    with house(kept, WAYS[way], use_auth, tls, tickets) as server:
        come = partial(connect, server, WAYS[way], tls)
        with come() as client:
            assert announced(client) == expected
            for name in set(rows) - set(expected):
                right, _ = right_and_wrong(kept.whose.get(name, NAME), tickets, end_point(client))
                reply = attempt(client, name, right)
                assert reply.startswith(b"-ERR "), (name, reply)
                assert b"[AUTH]" not in reply  # nothing was held against any account
            assert announced(client) == expected
        for name in expected:
            lets_in_the_right_one(name, come, kept, tickets)


def lets_in_the_right_one(
    mechanism: str, come: Callable[[], Client], kept: Kept, tickets: Tickets | None
) -> None:
    """On one connection: refused with a wrong credential, then let in with the right one."""
    name = OPEN_TO_ALL if mechanism == "ANONYMOUS" else kept.whose.get(mechanism, NAME)
    with come() as client:
        right, wrong = right_and_wrong(name, tickets, end_point(client))
        if mechanism != "ANONYMOUS":
            reply = attempt(client, mechanism, wrong)
            assert reply.startswith(b"-ERR [AUTH] "), (mechanism, reply)
        reply = attempt(client, mechanism, right)
        assert reply == b"+OK 1 message", (mechanism, reply)
        assert client.ask("UIDL 1") == f"+OK 1 of-{name}".encode()
        assert client.ask("QUIT").startswith(b"+OK")


@pytest.mark.parametrize("mechanism", ["CRAM-MD5", "NTLM", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"])
def test_who_lacks_the_credential_is_refused(
    mechanism: str, stores: dict[str, Kept], tls: Tls
) -> None:
    """It is announced for others' sake; the right password is of no use to joe here."""
    with (
        house(stores["pwd"], WAYS["imp"], "both", tls, None) as server,
        connect(server, WAYS["imp"], tls) as client,
    ):
        joe = Caller(NAME, PASSWORD, end_point=end_point(client))
        assert attempt(client, mechanism, joe).startswith(b"-ERR [AUTH] ")
        assert attempt(client, "PLAIN", joe) == b"+OK 1 message"
