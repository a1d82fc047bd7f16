"""Kerberos tickets of a real KDC, as the acceptor takes and refuses them."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.accounts.contract import AccountError
from restante.accounts.kerberos import Kerberos
from restante.protocol.claims import IdentityClaim
from restante.protocol.effects import Work
from restante.protocol.mechanisms import MechanismContext
from restante.protocol.replies import Continue
from restante.sasl.contract import MechanismError
from tests.needs import NO_GSSAPI
from tests.peers.kdc import Realm, environment
from tests.server.kit import until

pytest.importorskip("gssapi", reason=NO_GSSAPI)

from gssapi import (
    OID,
    Credentials,
    MechType,
    Name,
    NameType,
    RequirementFlag,
    SecurityContext,
)
from gssapi.raw.exceptions import ExpiredContextError

from restante.accounts.kerberos_acceptor import Acceptor, account_names

SERVICE = "pop/localhost"
REFUSED = r"^the Kerberos ticket is not valid here$"
SPNEGO = "1.3.6.1.5.5.2"


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    with Realm(tmp_path_factory.mktemp("realm")) as realm, environment(realm.env):
        for service in (SERVICE, "pop/other.example.org", "imap/localhost"):
            realm.add(service)
        for person in ("joe", "joe/admin", "joe\\@example.com"):
            realm.add(person, "secret")
        yield realm


@pytest.fixture(scope="module")
def keytab(realm: Realm) -> Path:
    return realm.keytab(SERVICE, "pop/other.example.org", "imap/localhost")


@pytest.fixture(scope="module")
def tickets(realm: Realm) -> Path:
    """joe's, as of a login at the start."""
    return realm.log_in("joe", "secret")


def client(
    tickets: Path, service: str = "pop@localhost", mechanism: OID = MechType.kerberos
) -> SecurityContext:
    """A client with these tickets."""
    credentials = Credentials(usage="initiate", store={"ccache": f"FILE:{tickets}"})
    name = Name(service, NameType.hostbased_service)
    return SecurityContext(name=name, creds=credentials, mech=mechanism, usage="initiate")


def first_token(tickets: Path, service: str = "pop@localhost") -> bytes:
    token: bytes | None = client(tickets, service).step()
    assert token is not None
    return token


def log_in(kerberos: Kerberos, peer: SecurityContext, choice: bytes = b"\1\0\0\0") -> IdentityClaim:
    """The claim at the end of a whole exchange; the work is done at once."""
    exchange = kerberos.mechanism().begin(MechanismContext("localhost"), peer.step())
    result: object = None
    while True:
        try:
            outcome = exchange.send(result)
        except StopIteration as stop:
            claim = stop.value
            break
        if isinstance(outcome, Work):
            result = outcome.function()
            continue
        assert isinstance(outcome, Continue)
        if not peer.complete:
            result = peer.step(outcome.data) or b""
        else:
            assert peer.unwrap(outcome.data).message == b"\1\0\0\0"
            result = peer.wrap(choice, encrypt=False).message
    assert isinstance(claim, IdentityClaim)
    return claim


def accept(keytab: Path, token: bytes) -> tuple[str, ...]:
    """The names that one token stands for."""
    acceptor = Acceptor(keytab, "pop", frozenset())
    complete, _ = acceptor.step(token)
    assert complete
    return acceptor.names()


# Let in


@pytest.mark.parametrize("mutual", [True, False])
@pytest.mark.parametrize("service", ["pop@localhost", "pop@other.example.org"])
def test_a_ticket_for_this_service_lets_its_owner_in(
    realm: Realm, keytab: Path, service: str, mutual: bool
) -> None:
    tickets = realm.log_in("joe", "secret")
    integrity, both = RequirementFlag.integrity, RequirementFlag.mutual_authentication
    peer = SecurityContext(
        name=Name(service, NameType.hostbased_service),
        creds=Credentials(usage="initiate", store={"ccache": f"FILE:{tickets}"}),
        mech=MechType.kerberos,
        flags=int(integrity) | (int(both) if mutual else 0),
        usage="initiate",
    )
    claim = log_in(Kerberos(keytab), peer)
    assert claim == IdentityClaim(("joe@EXAMPLE.ORG", "joe"), "GSSAPI")


def test_the_identity_to_act_as(realm: Realm, keytab: Path) -> None:
    tickets = realm.log_in("joe", "secret")
    for authzid, claim in [
        (b"joe", IdentityClaim(("joe",), "GSSAPI")),
        (b"ann", IdentityClaim(("joe@EXAMPLE.ORG", "joe"), "GSSAPI", "ann")),
    ]:
        assert log_in(Kerberos(keytab), client(tickets), b"\1\0\0\0" + authzid) == claim


def test_an_instance_is_not_the_person(realm: Realm, keytab: Path) -> None:
    token = first_token(realm.log_in("joe/admin", "secret"))
    assert accept(keytab, token) == ("joe/admin@EXAMPLE.ORG",)


def test_a_keytab_is_read_anew_at_each_login(realm: Realm, keytab: Path) -> None:
    realm.add("pop/changing")
    old = realm.keytab("pop/changing", name="old")
    kerberos = Kerberos(old, realms=["EXAMPLE.ORG"])
    realm.change_key("pop/changing")
    tickets = realm.log_in("joe", "secret")
    with pytest.raises(MechanismError, match=REFUSED):
        log_in(kerberos, client(tickets, "pop@changing"))
    realm.keytab("pop/changing", name="old")
    assert log_in(kerberos, client(tickets, "pop@changing")).names[1] == "joe"


# Refused


def test_a_ticket_for_another_service(realm: Realm, keytab: Path) -> None:
    """Whoever runs another service on this host could forward its tickets."""
    with pytest.raises(MechanismError, match=REFUSED):
        accept(keytab, first_token(realm.log_in("joe", "secret"), "imap@localhost"))


def test_a_ticket_for_another_host(realm: Realm, keytab: Path) -> None:
    tickets = realm.log_in("joe", "secret")
    kerberos = Kerberos(keytab, hostname="localhost")
    assert log_in(kerberos, client(tickets)).names[1] == "joe"
    with pytest.raises(MechanismError, match=REFUSED):
        log_in(kerberos, client(tickets, "pop@other.example.org"))


def test_people_of_other_realms(realm: Realm, keytab: Path) -> None:
    tickets = realm.log_in("joe", "secret")
    for realms in (["OTHER.ORG"], ["example.org"]):
        with pytest.raises(MechanismError, match=REFUSED):
            log_in(Kerberos(keytab, realms=realms), client(tickets))
    trusting = Kerberos(keytab, realms=["OTHER.ORG", "EXAMPLE.ORG"])
    assert log_in(trusting, client(tickets)).names[1] == "joe"


def test_a_key_of_another_realm_of_the_same_name(
    realm: Realm, keytab: Path, tmp_path: Path
) -> None:
    """A ticket of a false KDC isn't made with our key."""
    with Realm(tmp_path) as other, environment(other.env):
        other.add(SERVICE)
        other.add("joe", "guessed")
        token = first_token(other.log_in("joe", "guessed"))
    with pytest.raises(MechanismError, match=REFUSED):
        accept(keytab, token)


def test_a_replayed_token(realm: Realm, keytab: Path) -> None:
    token = first_token(realm.log_in("joe", "secret"))
    assert accept(keytab, token)[1] == "joe"
    with pytest.raises(MechanismError, match=REFUSED):
        accept(keytab, token)


@pytest.mark.parametrize(
    ("lifetime", "text"),
    [
        ("1s", "the Kerberos ticket has expired"),
        ("1h", "the clocks of client and server differ too much"),
    ],
)
def test_a_ticket_of_yesterday(
    realm: Realm, keytab: Path, tmp_path: Path, lifetime: str, text: str
) -> None:
    """Or one made by yesterday's clock: here a second is as good as a day."""
    token = first_token(realm.log_in("joe", "secret", "-l", lifetime))
    strict = tmp_path / "krb5.conf"
    usual = Path(realm.env["KRB5_CONFIG"]).read_text()
    strict.write_text(usual.replace("clockskew = 300", "clockskew = 1"))

    def is_refused() -> bool:
        # Each try has a replay cache of its own, or it would be the second of its token.
        cache = tempfile.mkdtemp(dir=tmp_path)
        with environment({"KRB5_CONFIG": str(strict), "KRB5RCACHEDIR": cache}):
            try:
                accept(keytab, token)
            except MechanismError as error:
                return str(error) == text
        return False

    until(is_refused)


def test_a_ticket_that_expires_at_this_very_moment(
    realm: Realm, keytab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was accepted, and what it made is over when it is asked for the first time."""

    def over(**_: object) -> None:
        raise ExpiredContextError(786432, 100001)

    token = first_token(realm.log_in("joe", "secret"))
    monkeypatch.setattr("restante.accounts.kerberos_acceptor.SecurityContext", over)
    with pytest.raises(MechanismError, match="the Kerberos ticket has expired"):
        accept(keytab, token)


def test_negotiation_is_another_mechanism(realm: Realm, keytab: Path) -> None:
    """RFC 4752 §3: no SPNEGO."""
    peer = client(realm.log_in("joe", "secret"), mechanism=OID.from_int_seq(SPNEGO))
    with pytest.raises(MechanismError, match=REFUSED):
        log_in(Kerberos(keytab), peer)


@given(st.data())
def test_a_token_that_was_tampered_with(tickets: Path, keytab: Path, data: st.DataObject) -> None:
    """It is refused; an octet that nothing depends on lets its owner in, and nobody else."""
    token = bytearray(first_token(tickets))
    at = int(data.draw(st.floats(0, 1, exclude_max=True)) * len(token))  # lengths differ
    token[at] ^= data.draw(st.integers(1, 255))
    acceptor = Acceptor(keytab, "pop", frozenset())
    with suppress(MechanismError):
        complete, _ = acceptor.step(bytes(token))
        if complete:  # one octet asks for another round, which isn't over yet
            assert acceptor.names() == ("joe@EXAMPLE.ORG", "joe")


@given(st.binary(min_size=1, max_size=300))
def test_any_token(realm: Realm, keytab: Path, token: bytes) -> None:
    with pytest.raises(MechanismError, match=REFUSED):
        accept(keytab, token)


@given(st.binary(min_size=1, max_size=100))
def test_any_choice_of_a_layer(tickets: Path, keytab: Path, octets: bytes) -> None:
    """What isn't wrapped with the context's key is refused."""
    acceptor = Acceptor(keytab, "pop", frozenset())
    acceptor.step(first_token(tickets))
    with pytest.raises(MechanismError, match=REFUSED):
        acceptor.unwrap(octets)


# Failing


def test_a_keytab_that_has_gone_is_no_refusal(realm: Realm, keytab: Path, tmp_path: Path) -> None:
    copy = tmp_path / "keytab"
    copy.write_bytes(keytab.read_bytes())
    kerberos = Kerberos(copy)
    copy.unlink()
    with pytest.raises(AccountError, match=str(copy)):
        log_in(kerberos, client(realm.log_in("joe", "secret")))


def test_a_replay_cache_that_cannot_be_written_is_no_refusal(
    realm: Realm, keytab: Path, tmp_path: Path
) -> None:
    token = first_token(realm.log_in("joe", "secret"))
    missing = environment({"KRB5RCACHEDIR": str(tmp_path / "missing")})
    with missing, pytest.raises(AccountError, match="No such file"):
        accept(keytab, token)


# Settings


def test_what_a_keytab_must_have(realm: Realm, keytab: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        Kerberos(tmp_path / "missing")
    with pytest.raises(ValueError, match=f"^{keytab}: no keytab with a key for 'smtp'"):
        Kerberos(keytab, service="smtp")
    with pytest.raises(ValueError, match=r"a key for 'pop@third\.example\.org'"):
        Kerberos(keytab, hostname="third.example.org")
    (tmp_path / "garbage").write_bytes(b"garbage" * 100)
    with pytest.raises(ValueError, match="garbage: no keytab"):
        Kerberos(tmp_path / "garbage")


def test_the_environment_stays_as_it_is(realm: Realm, keytab: Path) -> None:
    before = dict(os.environ)
    log_in(Kerberos(keytab), client(realm.log_in("joe", "secret")))
    assert dict(os.environ) == before


def test_without_the_library_the_error_says_what_to_install(
    keytab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "restante.accounts.kerberos_acceptor")
    monkeypatch.setitem(sys.modules, "gssapi", None)
    with pytest.raises(ImportError, match=r"restante\[kerberos\]"):
        Kerberos(keytab)


# Names


@pytest.mark.parametrize(
    ("principal", "names"),
    [
        ("joe@A", ("joe@A", "joe")),
        ("Zoë M@A", ("Zoë M@A", "Zoë M")),
        ("joe/admin@A", ("joe/admin@A",)),
        ("joe/a/b@B", ("joe/a/b@B",)),
        ("/@A", ("/@A",)),
    ],
)
def test_names(principal: str, names: tuple[str, ...]) -> None:
    assert account_names(principal, {"A", "B"}) == names


@pytest.mark.parametrize(
    "principal",
    ["", "@", "@A", "joe", "joe@", "joe@C", "joe@a", "joe@A@C", "joe\\@A@A", "joe\\/x@A", "\\@A"],
)
def test_names_that_are_refused(principal: str) -> None:
    with pytest.raises(MechanismError, match=REFUSED):
        account_names(principal, {"A", "B"})


@pytest.mark.parametrize("name", ["jo\0e", "joe\n", "x" * 2000])
def test_names_that_could_break_something_are_refused(name: str) -> None:
    with pytest.raises(MechanismError):
        account_names(f"{name}@A", {"A"})


def test_an_at_sign_within_a_name_is_no_realm(realm: Realm, keytab: Path) -> None:
    with pytest.raises(MechanismError, match=REFUSED):
        accept(keytab, first_token(realm.log_in("joe\\@example.com", "secret")))
