"""GSSAPI with clients that aren't ours and tickets of a real KDC: curl, and fetchmail."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from restante import Pop3Server
from restante.accounts.kerberos import Kerberos
from tests.conftest import Authority
from tests.needs import NO_GSSAPI
from tests.peers import harness
from tests.peers.harness import NAME, WAYS, Post, Visit, Way
from tests.peers.kdc import Realm, environment
from tests.peers.tools import Curl, Fetchmail
from tests.server.kit import Client, serving

pytest.importorskip("gssapi", reason=NO_GSSAPI)

from gssapi import Credentials, MechType, Name, NameType, SecurityContext

pytestmark = pytest.mark.peer

MESSAGE = b"Subject: hello\r\n\r\nbody\r\n"
LISTED = f"1 {len(MESSAGE)}"


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    with Realm(tmp_path_factory.mktemp("realm")) as realm, environment(realm.env):
        realm.add("pop/localhost")
        realm.add("imap/localhost")
        realm.keytab("pop/localhost")
        for person in (NAME, "ann", f"{NAME}/admin"):
            realm.add(person, "secret")
        yield realm


@pytest.fixture
def kerberos(realm: Realm) -> Kerberos:
    return Kerberos(realm.folder / "keytab")


@pytest.fixture
def post(
    tmp_path_factory: pytest.TempPathFactory,
    authority: Authority,
    kerberos: Kerberos,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Post]:
    """As the other clients' post, but tickets are taken, and there is one message."""
    monkeypatch.setattr(harness, "Pop3Server", partial(Pop3Server, kerberos=kerberos))
    with Post(tmp_path_factory.mktemp("post"), authority, credential="{SCRYPT}none") as post:
        post.put([MESSAGE])
        yield post


def have_tickets(realm: Realm, home: Path, principal: str, *options: str) -> None:
    realm.log_in(principal, "secret", *options).rename(home / "tickets")


def tickets_at(realm: Realm, home: Path) -> dict[str, str]:
    """The environment of a client."""
    return realm.env | {"KRB5CCNAME": f"FILE:{home / 'tickets'}"}


def curl(visit: Visit, realm: Realm, *, user: str = "joe@EXAMPLE.ORG", ok: int = 0) -> str:
    """curl's output. It takes GSSAPI only for a user with a domain, or none at all.

    Not with --sasl-ir: then curl 7.88 steps its context twice when the token is too long for
    the line of AUTH, and gives up.
    """
    Curl().require()
    argv: list[str | Path] = ["curl", "-q", "-sS", "-v", "-m", "60", "--cacert", visit.ca]
    argv += ["--ssl-reqd"] if visit.way == "starttls" else []
    argv += ["--login-options", "AUTH=GSSAPI", "-u", f"{user}:", Curl().url(visit)]
    return visit.run(argv, env=tickets_at(realm, visit.home), ok=[ok])


def fetchmail(visit: Visit, realm: Realm, *, ok: int = 0) -> str:
    """What fetchmail says. It names its user as the identity to act as."""
    Fetchmail().require()
    config = visit.home / "fetchmailrc"
    config.write_text(
        f"set invisible\npoll localhost service {visit.port} protocol POP3 auth gssapi timeout 60\n"
        f" user '{NAME}' keep sslproto '' mda 'cat > {visit.home}/message'\n"
    )
    config.chmod(0o600)
    argv: list[str | Path] = ["fetchmail", "-v", "--nosyslog", "-f", config]
    argv += ["--idfile", visit.home / "ids", "--pidfile", visit.home / "pid"]
    return visit.run(argv, env=tickets_at(realm, visit.home), ok=[ok])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("user", ["joe@EXAMPLE.ORG", ""])
def test_curl(post: Post, realm: Realm, tmp_path: Path, way: Way, user: str) -> None:
    have_tickets(realm, tmp_path, NAME)
    output = curl(Visit(post, tmp_path, way), realm, user=user)
    assert LISTED in output.splitlines()
    assert [verb for verb in post.verbs if verb.startswith("AUTH")] == ["AUTH GSSAPI"]


def test_fetchmail(post: Post, realm: Realm, tmp_path: Path) -> None:
    have_tickets(realm, tmp_path, NAME)
    fetchmail(Visit(post, tmp_path), realm)
    assert (tmp_path / "message").read_bytes().endswith(b"\nbody\n")
    assert "AUTH GSSAPI" in post.verbs


@pytest.mark.parametrize("initial", [False, True])
def test_the_library(realm: Realm, kerberos: Kerberos, tmp_path: Path, initial: bool) -> None:
    """With an initial response too, which neither of the others sends."""
    have_tickets(realm, tmp_path, NAME)
    peer = SecurityContext(
        name=Name("pop@localhost", NameType.hostbased_service),
        creds=Credentials(usage="initiate", store={"ccache": f"FILE:{tmp_path / 'tickets'}"}),
        mech=MechType.kerberos,
        usage="initiate",
    )
    token = b64encode(peer.step() or b"").decode()
    accounts = {NAME: "{SCRYPT}none"}
    with serving(kerberos=kerberos, accounts=accounts) as server, Client(server.port) as pop:
        if not initial:
            assert pop.ask("AUTH GSSAPI") == b"+ "
        answer = pop.ask(f"AUTH GSSAPI {token}" if initial else token)
        peer.step(b64decode(answer[2:]))
        offer = peer.unwrap(b64decode(pop.ask("")[2:])).message
        assert offer == b"\1\0\0\0"
        choice = peer.wrap(b"\1\0\0\0", encrypt=False).message
        assert pop.ask(b64encode(choice)) == b"+OK 0 messages"


# What they do when it fails


def test_somebody_elses_tickets(post: Post, realm: Realm, tmp_path: Path) -> None:
    """ann has no account, and may not act as joe. Both clients give up."""
    have_tickets(realm, tmp_path, "ann")
    visit = Visit(post, tmp_path)
    for output in (curl(visit, realm, ok=67), fetchmail(visit, realm, ok=3)):
        assert "-ERR [AUTH] authentication failed" in output


def test_an_instance_without_an_account(post: Post, realm: Realm, tmp_path: Path) -> None:
    have_tickets(realm, tmp_path, f"{NAME}/admin")
    output = curl(Visit(post, tmp_path), realm, ok=67)
    assert "-ERR [AUTH] authentication failed" in output


def test_without_tickets(post: Post, realm: Realm, tmp_path: Path) -> None:
    """curl closes the connection, fetchmail cancels and says QUIT; neither falls back."""
    visit = Visit(post, tmp_path)
    curl(visit, realm, ok=94)
    assert "-ERR authentication cancelled" in fetchmail(visit, realm, ok=3)
    assert {"AUTH PLAIN", "USER"}.isdisjoint(post.verbs)


def test_a_keytab_with_an_old_key(post: Post, realm: Realm, tmp_path: Path) -> None:
    realm.change_key("pop/localhost")
    have_tickets(realm, tmp_path, NAME)
    output = curl(Visit(post, tmp_path), realm, ok=67)
    assert "-ERR the Kerberos ticket is not valid here" in output
    realm.keytab("pop/localhost")
    assert LISTED in curl(Visit(post, tmp_path), realm)


def test_a_keytab_that_has_gone(
    realm: Realm, kerberos: Kerberos, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The peer hears of a temporary failure, and the operator why."""
    keytab = realm.folder / "keytab"
    aside = keytab.rename(tmp_path / "aside")
    try:
        with serving(kerberos=kerberos) as server, Client(server.port) as pop:
            reply = pop.ask(f"AUTH GSSAPI {b64encode(b'token').decode()}")
            assert reply == b"-ERR [SYS/TEMP] temporary failure: try again later"
            pop.log_in()
    finally:
        aside.rename(keytab)
    assert str(keytab) in caplog.text


def test_announced_only_with_a_keytab(kerberos: Kerberos) -> None:
    with serving(kerberos=kerberos) as server, Client(server.port) as pop:
        assert b"GSSAPI" in pop.fetch("CAPA")
        assert b"GSSAPI" in pop.fetch("AUTH")
    with serving() as server, Client(server.port) as pop:
        assert b"GSSAPI" not in pop.fetch("CAPA")
        assert pop.ask("AUTH GSSAPI") == b"-ERR mechanism is not available"
