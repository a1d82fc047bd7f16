"""What can't be used is refused when it is given: the sentence says what it was, and what it
should have been."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import trustme

from restante import (
    Account,
    AccountStore,
    AppPassword,
    Backend,
    Certificate,
    Guard,
    GuardSettings,
    Listener,
    Maildir,
    MaildropStore,
    MemoryStore,
    MessageInfo,
    Observer,
    Pop3Server,
    State,
    StaticAccounts,
    TlsSettings,
)
from restante.server import Event
from tests.server.kit import Client, new_server

Call = Callable[[], object]


class LooksLikeAStore:
    """Three methods, and no base class."""

    def list(self, account: Account) -> list[object]:
        return []

    def read(self, account: Account, unique_id: str) -> bytes:
        return b""

    def delete(self, account: Account, unique_ids: object) -> None: ...


class ReadsByNumber(MaildropStore):
    """A method has an argument too many."""

    def list(self, account: Account) -> list[MessageInfo]:
        return []

    def read(self, account: Account, number: int, unique_id: str) -> bytes:  # type: ignore[override]
        return b""

    def delete(self, account: Account, unique_ids: object) -> None: ...


class LooksLikeAccounts:
    def lookup(self, name: str) -> Account | None:
        return None


class PlainBackend(Backend):
    def log_in(self, claim: Any, peer: Any) -> None:  # type: ignore[override]
        return None


def server(**given: Any) -> Call:
    """A server that is given a store, accounts and these."""
    arguments: dict[str, Any] = {"accounts": {"joe": "secret"}, "store": MemoryStore()}
    return lambda: Pop3Server(**(arguments | given))


def account(**given: Any) -> Callable[[], Account]:
    """An account with these."""
    return lambda: Account("joe", **given)


def mistakes(*rows: tuple[str, Call, type[Exception], str]) -> pytest.MarkDecorator:
    """A test's cases: a name, what is done, and what it says."""
    return pytest.mark.parametrize(
        ("act", "kind", "says"), [row[1:] for row in rows], ids=[row[0] for row in rows]
    )


def refused(act: Call, kind: type[Exception], says: str) -> None:
    """says: parts of the sentence, in order, divided by `…`."""
    with pytest.raises(kind) as caught:
        act()
    parts = [re.escape(part.strip()) for part in says.split("…")]
    assert re.search(".*".join(parts), str(caught.value), re.DOTALL), caught.value


A_STORE = "derives from restante's MaildropStore (list, read and delete) or Store (open)"


@mistakes(
    ("missing", lambda: Pop3Server(accounts={}), TypeError, "store is missing: a server needs"),
    ("an object", server(store=object()), TypeError, f"of type object … {A_STORE}"),
    ("text", server(store="mail"), TypeError, f"store is 'mail' of type str … {A_STORE}"),
    ("a mapping", server(store={}), TypeError, f"store is {{}} of type dict … {A_STORE}"),
    ("a class", server(store=Maildir), TypeError, "store is the class Maildir … Maildir(…)?"),
    ("of methods alone", server(store=LooksLikeAStore()), TypeError, f"LooksLike … {A_STORE}"),
    (
        "a method of other arguments",
        server(store=ReadsByNumber()),
        TypeError,
        "the method read of ReadsByNumber is called with (account, unique_id), but takes (account:",
    ),
)
def test_a_store_that_is_none(act: Call, kind: type[Exception], says: str) -> None:
    refused(act, kind, says)


A_MAPPING = "a mapping of names to passwords, such as {'joe': 'secret'}"


@mistakes(
    (
        "missing", lambda: Pop3Server(store=MemoryStore()), TypeError,
        "accounts are missing: a server needs accounts and a store, or a backend",
    ),
    ("names", server(accounts=["joe"]), TypeError, f"{A_MAPPING}; an object of type list"),
    ("pairs", server(accounts=[("joe", "x")]), TypeError, "a list of tuples, of which dict("),
    ("accounts", server(accounts=[Account("joe")]), TypeError, "of which StaticAccounts("),
    ("text", server(accounts="joe:secret"), TypeError, f"{A_MAPPING}; an object of type str"),
    ("a class", server(accounts=StaticAccounts), TypeError, "the class StaticAccounts itself"),
    (
        "of a method alone", server(accounts=LooksLikeAccounts()), TypeError,
        "class LooksLikeAccounts, which isn't derived from AccountStore",
    ),
    ("a name of octets", server(accounts={b"joe": "x"}), TypeError, "a name must be text"),
    ("a password of octets", server(accounts={"joe": b"x"}), TypeError,
     "account 'joe': a password must be text … type bytes"),
    ("no password", server(accounts={"joe": None}), TypeError, "account 'joe' … None was given"),
    ("an empty password", server(accounts={"joe": ""}), ValueError, "password: can't be empty"),
    ("a hash without scheme", server(accounts={"joe": "$2b$12$abcdefgh"}), ValueError,
     "account 'joe' … looks like a hash without its scheme. Write '{BLF-CRYPT}' before it"),
    ("an unknown scheme", server(accounts={"joe": "{NOPE}x"}), ValueError,
     "account 'joe': unknown password scheme {NOPE}"),
    ("a credential that is text", lambda: Account("joe", "secret"), TypeError,  # type: ignore[arg-type]
     "account 'joe': credentials must be a tuple of texts, as in credentials=('{PLAIN}secret',)"),
    ("a credential without scheme", server(accounts={"joe": Account("joe", ("secret",))}),
     ValueError, "account 'joe': a credential has no scheme; a password is written '{PLAIN}…'"),
    ("a credential of octets", account(credentials=(b"x",)), TypeError,
     "account 'joe': credentials must be a tuple of texts … type bytes is among them"),
    ("a credential in an unknown scheme",
     server(accounts={"joe": account(credentials=("{NO}x",))()}), ValueError,
     "account 'joe': unknown password scheme {NO}; known are ARGON2ID, "),
    ("an app password in an unknown scheme",
     server(accounts={"joe": account(app_passwords=[AppPassword("phone", "{NO}x")])()}),
     ValueError, "account 'joe': unknown password scheme {NO}; known are ARGON2ID, "),
    ("an app password without scheme",
     server(accounts={"joe": account(app_passwords=[AppPassword("phone", "x")])()}),
     ValueError, "account 'joe': a credential has no scheme"),
    ("app passwords that are text", account(app_passwords=("phone",)), TypeError,
     "account 'joe': app_passwords must be a tuple of AppPassword … str is among them"),
    ("an app password's name", lambda: AppPassword(3, "{PLAIN}x"), TypeError, "name=3: allowed is"),  # type: ignore[arg-type]
    ("an app password of octets", lambda: AppPassword("phone", b"x"), TypeError,  # type: ignore[arg-type]
     "credential: allowed is text; an object of type bytes"),
    ("networks as text", account(networks="127.0.0.0/8"), TypeError,
     "account 'joe': networks='127.0.0.0/8': allowed is a list of networks, as 192.0.2.0/24"),
    ("networks that are none", account(networks=("foo",)), ValueError,
     "account 'joe': networks='foo': allowed are networks, as 192.0.2.0/24 ('foo' does not"),
    ("a network with bits too many", account(networks=("10.0.0.1/8",)), ValueError, "host bits"),
    ("a check that is no function", account(check_password="x"), TypeError,
     "check_password='x': allowed is a function of a password, or none"),
    ("a maildrop", account(maildrop=3), TypeError, "account 'joe': maildrop=3: allowed is text"),
    ("disabled as text", account(disabled="no"), TypeError, "disabled='no': allowed is true or"),
    ("an address", account(email=3), TypeError, "account 'joe': email=3: allowed is text"),
    ("a name", lambda: Account(3), TypeError, "account 3: name=3: allowed is text"),  # type: ignore[arg-type]
    ("protocols as text", account(protocols="pop3"), TypeError,
     "protocols='pop3': allowed is a frozenset of pop3 and smtp, or none"),
    ("a time", account(expires="never"), TypeError, "expires='never': allowed is a number"),
    ("another one's account", server(accounts={"joe": Account("ann")}), ValueError,
     "account 'ann' is listed as 'joe'"),
    ("case of a store", server(accounts=StaticAccounts({}), case_insensitive=True), ValueError,
     "case_insensitive goes with a mapping"),
    ("case as text", server(case_insensitive="yes"), TypeError, "case_insensitive='yes': allowed"),
)  # fmt: skip
def test_accounts_of_a_wrong_shape(act: Call, kind: type[Exception], says: str) -> None:
    refused(act, kind, says)


def test_a_password_is_never_quoted() -> None:
    for given in ({"joe": b"canary"}, ["joe:canary"], {"joe": "{NOPE}canary"}, {1: "canary"}):
        with pytest.raises((TypeError, ValueError)) as caught:
            server(accounts=given)()
        assert "canary" not in str(caught.value)
    with pytest.raises(ValueError, match="has no scheme") as told:
        server(accounts={"joe": Account("joe", ("canary",))})()
    assert "canary" not in str(told.value)
    for wrong in ({"credentials": b"canary"}, {"app_passwords": ("canary",)}):
        with pytest.raises(TypeError) as refused:
            account(**wrong)()
        assert "canary" not in str(refused.value)


def test_an_accounts_lists_are_made_what_they_should_be() -> None:
    made = account(credentials=["{PLAIN}x"], networks=["10.0.0.0/8"], protocols={"pop3"})()
    assert made == Account(
        "joe", ("{PLAIN}x",), networks=("10.0.0.0/8",), protocols=frozenset({"pop3"})
    )


class FromElsewhere(AccountStore):
    def lookup(self, name: str) -> Account | None:
        return Account(name, ("secret",))


def test_a_looked_up_credential_without_scheme_is_told_to_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with new_server(accounts=FromElsewhere()) as running, Client(running.port) as client:
        client.ask("USER joe")
        assert client.ask("PASS secret").startswith(b"-ERR [AUTH]")
    assert "credential has no scheme" in caplog.text
    assert "secret" not in caplog.text


BACKEND = {"accounts": None, "store": None}


@mistakes(
    ("an object", server(**BACKEND, backend=object()), TypeError, "must derive from restante.Ba"),
    ("a class", server(**BACKEND, backend=PlainBackend), TypeError, "did you mean PlainBackend("),
    ("plain", server(**BACKEND, backend=PlainBackend()), TypeError, "log_in must be async"),
    ("beside a store", server(accounts=None, backend=PlainBackend()), TypeError,
     "backend takes the place of accounts and store: give one or the other"),
)  # fmt: skip
def test_a_backend_that_is_none(act: Call, kind: type[Exception], says: str) -> None:
    refused(act, kind, says)


# Where to listen


@mistakes(
    ("none", server(listeners=[]), ValueError, "listeners=[]: at least one is needed"),
    ("one alone", server(listeners=Listener()), TypeError, "give a list of restante.Listener"),
    ("text", server(listeners=["0:110"]), TypeError, "'0:110' is no restante.Listener"),
    ("port beside", server(listeners=[Listener()], port=110), ValueError,
     "host, port and tls say where to listen, and so do listeners: give either"),
    ("tls beside", server(listeners=[Listener()], tls="none"), ValueError, "so do listeners"),
    ("port as text", server(port="110"), TypeError, "port='110': allowed is a whole number"),
    ("port too big", server(port=65536), ValueError, "port=65536: allowed are 0 to 65535"),
    ("host as a number", server(host=3), TypeError, 'host=3: it must be text; "" listens on all'),
    ("tls as a flag", server(tls=True), ValueError, "tls=True: allowed are none, implicit, "),
    ("a listener's port", lambda: Listener(port="110"), TypeError, "port='110': allowed"),  # type: ignore[arg-type]
    ("a listener's host", lambda: Listener(host=None), TypeError, "host=None: it must be text"),  # type: ignore[arg-type]
    ("a listener's backlog", lambda: Listener(backlog=-1), ValueError, "backlog=-1: allowed"),
    ("a listener's sockets", lambda: Listener(sockets=[3]), TypeError, "3 is no socket"),  # type: ignore[list-item]
    ("a network", lambda: Listener(proxy_networks=["x"]), ValueError, "proxy_networks: 'x'"),
    ("proxies as text", lambda: Listener(proxy_networks="::1"), ValueError, "'::1': give a list"),
    ("no proxies", lambda: Listener(xclient=True), ValueError, "needs proxy_networks"),
)  # fmt: skip
def test_listeners(act: Call, kind: type[Exception], says: str) -> None:
    refused(act, kind, says)


def test_an_address_that_cannot_be_listened_on_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"can't listen on 127.0.0.1 port {port}: .*in use"):
            new_server(port=port).start()
    with pytest.raises(OSError, match=r"can't listen on 192\.0\.2\.1 port 0: .*[Aa]ssign"):
        new_server(host="192.0.2.1").start()
    with pytest.raises(OSError, match=r"can't listen on no-such-host\.invalid port 0: "):
        new_server(host="no-such-host.invalid").start()


def test_there_is_no_port_before_the_start_nor_after_the_end() -> None:
    waiting = new_server()
    with pytest.raises(RuntimeError, match="isn't started, so it has no port yet"):
        _ = waiting.port
    with waiting:
        assert waiting.port > 0
    with pytest.raises(RuntimeError, match="isn't started"):
        _ = waiting.port


# TLS

A_CERTIFICATE = "give restante.Certificate(chain, key), with the names of PEM files"


@mistakes(
    ("a name", server(certificate="x.pem"), TypeError, f"certificate='x.pem': {A_CERTIFICATE}"),
    ("a name for all", server(tls_settings="x.pem"), TypeError, "give restante.TlsSettings("),
    ("a name in settings", lambda: TlsSettings("x.pem"), TypeError, f"'x.pem': {A_CERTIFICATE}"),  # type: ignore[arg-type]
    ("a name by name", lambda: TlsSettings(Certificate("x"), by_name={"a": "x.pem"}), TypeError,  # type: ignore[dict-item]
     f"by_name['a']='x.pem': {A_CERTIFICATE}"),
    ("a number", lambda: Certificate(3), TypeError, "chain=3: give the name of a PEM file"),  # type: ignore[arg-type]
    ("a missing file", server(certificate=Certificate("no-such.pem")), OSError, "no-such.pem"),
    ("none", server(tls="starttls"), ValueError, "tls='starttls' needs certificate=Certificate("),
    ("clients as a flag", lambda: TlsSettings(Certificate("x"), client_certificates=True),  # type: ignore[arg-type]
     ValueError, "client_certificates=True: allowed are none, ask, require"),
    ("clients of nobody", lambda: TlsSettings(Certificate("x"), client_certificates="ask"),
     ValueError, "client certificates need client_ca"),
)  # fmt: skip
def test_certificates(act: Call, kind: type[Exception], says: str) -> None:
    refused(act, kind, says)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two certificates and their keys, and what is neither."""
    folder = tmp_path_factory.mktemp("pem")
    authority = trustme.CA()
    for name in ("one", "two"):
        issued = authority.issue_cert("localhost")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
    (folder / "text").write_text("hello\n")
    return folder


@pytest.mark.parametrize(
    ("chain", "key", "says"),
    [
        ("one.pem", "two.key", "the private key in {two.key} isn't the one of … in {one.pem}"),
        ("one.pem", None, "{one.pem} has no private key in it; a PEM file is expected"),
        ("one.pem", "text", "{text} has no private key in it; a PEM file is expected"),
        ("text", "one.key", "{text} has no certificate in it; a PEM file is expected"),
        ("one.key", "one.pem", "{one.key} has no certificate in it; a PEM file is expected"),
    ],
)
def test_files_that_do_not_fit_are_named(pem: Path, chain: str, key: str | None, says: str) -> None:
    for name in ("one.pem", "one.key", "two.key", "text"):
        says = says.replace(f"{{{name}}}", str(pem / name))
    certificate = Certificate(pem / chain, pem / key if key else None)
    refused(lambda: TlsSettings(certificate), OSError, says)


def test_a_certificate_beside_tls_settings_is_one_too_many(pem: Path) -> None:
    certificate = Certificate(pem / "one.pem", pem / "one.key")
    both = server(certificate=certificate, tls_settings=TlsSettings(certificate))
    refused(both, ValueError, "tls_settings has a certificate in it: give one or the other")


# Settings


@mistakes(
    ("a flag as text", server(allow_plaintext="no"), TypeError,
     "allow_plaintext='no': allowed is true or false"),
    ("a number as text", server(max_threads="4"), TypeError, "max_threads='4': allowed is a whole"),
    ("a flag as a number", server(min_threads=True), TypeError, "min_threads=True: allowed is"),
    ("too little", server(expire_days=-3), ValueError, "expire_days=-3: allowed is days, 0 or"),
    ("too much", server(failure_delay=90), ValueError, "failure_delay=90: allowed … from 0 to 60"),
    ("not a number", server(idle_timeout=float("nan")), ValueError, "idle_timeout=nan: allowed"),
    ("too short", server(idle_timeout=5), ValueError, "RFC 1939 §3); short_idle=True lifts this"),
    ("misspelt", server(alow_plaintext=True), TypeError, "did you mean 'allow_plaintext'?"),
    ("a misspelt argument", server(acounts={}), TypeError,
     "Pop3Server: unknown setting 'acounts': did you mean 'accounts'?"),
    ("a misspelt listener", server(listeneres=[]), TypeError, "did you mean 'listeners'?"),
    ("of another thing", server(smtp=True), TypeError,
     "Pop3Server: unknown setting 'smtp': known are accounts, allow_ … backend … use_auth"),
    ("text for a list", server(mechanisms="PLAIN"), TypeError, "mechanisms='PLAIN': allowed is a"),
    ("an unknown item", server(mechanisms=("X",)), ValueError, "mechanisms='X': allowed are SCRAM"),
    ("against each other", server(min_threads=9, max_threads=2), ValueError,
     "min_threads=9: allowed is up to max_threads=2"),
    ("the guard as a mapping", server(guard={"ban_after": 3}), TypeError,
     "guard={'ban_after': 3}: give restante.GuardSettings(…) or a restante.Guard("),
    ("a guard of a mapping", lambda: Guard({"ban_after": 3}), TypeError, "give restante.GuardSe"),  # type: ignore[arg-type]
    ("the guard's number", lambda: GuardSettings(ban_after="3"), TypeError, "ban_after='3': allow"),  # type: ignore[arg-type]
    ("a short secret", server(secret=b"short"), ValueError,
     "secret: 5 octets were given, and 32 are needed: make one by secrets.token_bytes(32)"),
    ("an empty secret", server(secret=b""), ValueError, "secret: 0 octets were given"),
    ("a secret of text", server(secret="x" * 32), TypeError, "secret: str was given, and bytes"),
    ("kerberos", server(kerberos="keytab"), TypeError, "give restante.Kerberos(keytab)"),
    ("oauth", server(oauth="https://id.example"), TypeError, "give restante.OAuth(issuer="),
    ("for tests and guarded", server(for_tests=True, guard=GuardSettings()), ValueError,
     "for_tests takes the place of guard"),
    ("for tests, as text", server(for_tests="yes"), TypeError, "for_tests='yes': allowed is true"),
)  # fmt: skip
def test_settings(act: Call, kind: type[Exception], says: str) -> None:
    refused(act, kind, says)


def test_a_refused_secret_is_not_quoted() -> None:
    for given in (b"canary", "canary" * 6):
        with pytest.raises((TypeError, ValueError)) as caught:
            server(secret=given)()
        assert "canary" not in str(caught.value)


# Handlers


def yields(session: Any, number: Any) -> Iterator[None]:
    yield


async def yields_async(session: Any, number: Any) -> AsyncIterator[None]:
    yield


async def waits(name: object) -> None: ...


def on(event: Event, handler: Any) -> Call:
    return lambda: new_server().on(event)(handler)


def command(verb: Any, handler: Any = print, **given: Any) -> Call:
    return lambda: new_server().command(verb, **given)(handler)


@mistakes(
    ("an unknown event", lambda: new_server().on("retreive"), ValueError,  # type: ignore[call-overload]
     "no event 'retreive'; there are: start"),
    ("not as a decorator", lambda: new_server().on("start", print), TypeError,  # type: ignore[call-overload]
     'write @server.on("start") above the function, or server.on("start")(function)'),
    ("no parentheses", lambda: new_server().on(print), ValueError, "there is no event <built-in"),  # type: ignore[call-overload]
    ("no function", on("retrieve", "x"), TypeError, "handler of retrieve must be a function, not"),
    ("a generator", on("retrieve", yields), TypeError, "retrieve is a generator ('yield' in it)"),
    ("an async one", on("retrieve", yields_async), TypeError, "is a generator ('yield' in it)"),
    ("too few arguments", on("retrieve", lambda session: None), TypeError,
     "the handler of retrieve is called with (session, number), but takes (session)"),
    ("too many", on("start", lambda server: None), TypeError, "is called with (), but takes (ser"),
    ("async in a handshake", on("certificate", waits), TypeError, "certificate must be plain"),
    ("a command not as a decorator", lambda: new_server().command("X", print), TypeError,  # type: ignore[arg-type]
     'write @server.command("X") above the function, or server.command("X")(function)'),
    ("a command's name", command("A B"), ValueError, "not a command's name: 'A B'"),
    ("no parentheses after command", command(print), TypeError, "give the command's name, as in"),
    ("a command's generator", command("X", yields), TypeError, "the handler of X is a generator"),
    ("a command's arguments", command("X", lambda session: None), TypeError,
     "the handler of X is called with (session, argument, default), but takes (session)"),
    ("a state alone", command("X", states=State.TRANSACTION), TypeError, "give a list of restante"),
    ("no state", command("X", states=[]), TypeError, "states=[]: give a list of restante.State"),
    ("a state as text", command("X", states=["x"]), TypeError, "states: 'x' is no restante.State"),
    ("states of a built-in", command("RETR", states=[State.TRANSACTION]), ValueError,
     "there is a command RETR already"),
    ("no observer", lambda: new_server().observe(object()), TypeError, "derives from restante.Ob"),  # type: ignore[arg-type]
    ("an observer's class", lambda: new_server().observe(Observer), TypeError, "derives from rest"),  # type: ignore[arg-type]
)  # fmt: skip
def test_handlers(act: Call, kind: type[Exception], says: str) -> None:
    refused(act, kind, says)


def test_an_overridden_method_with_other_arguments_is_refused_too() -> None:
    class Ours(Pop3Server):
        def on_delete(self, session: Any) -> None: ...  # type: ignore[override]

    with pytest.raises(TypeError, match=r"handler of delete is called with \(session, number\)"):
        new_server(kind=Ours)


@mistakes(
    (
        "text",
        lambda: MemoryStore().add("joe", cast(Any, "hi")),
        TypeError,
        "the message must be octets (bytes), not str; did you mean 'hi'.encode()?",
    ),
    (
        "a number",
        lambda: MemoryStore().add("joe", cast(Any, 3)),
        TypeError,
        "the message must be octets (bytes), not int",
    ),
)
def test_a_message_that_is_none(act: Call, kind: type[Exception], says: str) -> None:
    refused(act, kind, says)
