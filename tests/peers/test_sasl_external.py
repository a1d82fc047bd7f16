"""EXTERNAL with curl and openssl: a client certificate instead of a password."""

from __future__ import annotations

import contextlib
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

from restante import Pop3Server, TlsSettings
from tests.conftest import Authority
from tests.needs import need
from tests.server.kit import Client, serving

MESSAGE = b"Subject: one\n\n.\n"
ADDRESS = "joe@example.org"


class Card(NamedTuple):
    """A client's certificate and key, and the authority that signed it."""

    file: Path
    ca: Path


def issue(folder: Path, *names: str, common_name: str | None = None) -> Card:
    folder.mkdir()
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    issued = ca.issue_cert(*names, common_name=common_name)
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
    return Card(folder / "client.pem", folder / "ca.pem")


@pytest.fixture
def card(tmp_path: Path) -> Card:
    """For joe@example.org, with the common name joe."""
    return issue(tmp_path / "card", ADDRESS, common_name="joe")


@contextlib.contextmanager
def asking(
    authority: Authority, card: Card, name: str = ADDRESS, **settings: Any
) -> Iterator[Pop3Server]:
    """A server that knows `name`, trusts the card's authority, and asks for certificates."""
    tls = TlsSettings(authority.certificate, client_certificates="ask", client_ca=card.ca)
    given: dict[str, Any] = {"tls": "implicit", "accounts": {name: "secret", "eve": "secret"}}
    with serving({name: [MESSAGE]}, tls_settings=tls, **(given | settings)) as server:
        yield server


def trusting(authority: Authority, card: Card | None) -> ssl.SSLContext:
    context = authority.client_context()
    if card is not None:
        context.load_cert_chain(card.file)
    return context


def curl(server: Pop3Server, authority: Authority, card: Card, user: str) -> tuple[int, bytes]:
    """Fetch the first message: exit status and output."""
    starttls = server.listeners[0].tls == "starttls"
    command: list[str | Path]
    command = [need("curl", package="curl"), "-q", "-sS", "-m", "60", "--cacert", authority.file]
    command += ["--cert", card.file, "--login-options", "AUTH=EXTERNAL", "--user", f"{user}:"]
    command += ["--ssl-reqd"] * starttls
    command += [f"pop3{'' if starttls else 's'}://localhost:{server.port}/1"]
    done = subprocess.run(command, capture_output=True, timeout=90, check=False)
    return done.returncode, done.stdout


@pytest.mark.peer
@pytest.mark.parametrize("tls", ["implicit", "starttls"])
@pytest.mark.parametrize("user", [ADDRESS, "joe"])
def test_curl_fetches_by_certificate(user: str, tls: str, authority: Authority, card: Card) -> None:
    """Its user is the identity to act as: one of the certificate's names."""
    with asking(authority, card, user, tls=tls) as server:
        assert curl(server, authority, card, user) == (0, MESSAGE.replace(b"\n", b"\r\n"))


@pytest.mark.peer
def test_curl_can_t_act_as_somebody_else(authority: Authority, card: Card) -> None:
    with asking(authority, card) as server:
        assert curl(server, authority, card, "eve") == (67, b"")


def openssl(server: Pop3Server, authority: Authority, card: Card, said: str) -> list[str]:
    """The lines that the server says to `said`, by openssl's client."""
    command = [need("openssl", package="openssl"), "s_client", "-quiet", "-verify_return_error"]
    command += ["-connect", f"localhost:{server.port}", "-CAfile", str(authority.file)]
    command += ["-cert", str(card.file), "-key", str(card.file), "-ign_eof"]
    done = subprocess.run(
        command,
        input=said.replace("\n", "\r\n").encode(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.stdout.decode().split("\r\n")[1:-1]


@pytest.mark.peer
def test_openssl_logs_in_by_certificate(authority: Authority, card: Card) -> None:
    with asking(authority, card) as server:
        for said in ("AUTH EXTERNAL =\n", "AUTH EXTERNAL\n\n", "AUTH EXTERNAL am9l\n"):
            lines = openssl(server, authority, card, said + "STAT\nQUIT\n")
            if said == "AUTH EXTERNAL\n\n":
                assert lines.pop(0) == "+ "
            # "joe" is one of the names, but has no account of its own.
            known = not said.endswith("am9l\n")
            assert lines[0].startswith("+OK" if known else "-ERR [AUTH]")
            assert lines[1].startswith("+OK 1 " if known else "-ERR")


def announced(client: Client) -> list[str]:
    (line,) = (x for x in client.fetch("CAPA").decode().split("\r\n") if x.startswith("SASL "))
    return line.split()[1:]


def test_it_is_announced_to_who_has_a_certificate(authority: Authority, card: Card) -> None:
    with asking(authority, card) as server:
        with Client(server.port, tls=trusting(authority, card)) as client:
            assert "EXTERNAL" in announced(client)
            assert client.ask("AUTH EXTERNAL =").startswith(b"+OK")
        with Client(server.port, tls=trusting(authority, None)) as client:
            assert "EXTERNAL" not in announced(client)
            assert client.ask("AUTH EXTERNAL =") == b"-ERR mechanism is not available"


def test_before_starttls_it_is_not(authority: Authority, card: Card) -> None:
    with asking(authority, card, tls="starttls") as server, Client(server.port) as client:
        assert "EXTERNAL" not in announced(client)
        client.start_tls(trusting(authority, card))
        assert "EXTERNAL" in announced(client)
        assert client.ask("AUTH EXTERNAL =").startswith(b"+OK")


@pytest.mark.parametrize(
    ("kinds", "names", "welcome"),
    [
        (("email", "cn"), (ADDRESS, None), True),
        (("email", "cn"), ("stranger@example.org", ADDRESS), True),
        (("email",), ("stranger@example.org", ADDRESS), False),
        (("cn",), (ADDRESS, "stranger"), False),
        (("dns",), (ADDRESS, ADDRESS), False),
    ],
)
def test_which_names_count(
    kinds: tuple[str, ...],
    names: tuple[str, str | None],
    welcome: bool,
    authority: Authority,
    tmp_path: Path,
) -> None:
    """names: the certificate's e-mail address and common name."""
    card = issue(tmp_path / "card", names[0], common_name=names[1])
    with (
        asking(authority, card, external_names=kinds) as server,
        Client(server.port, tls=trusting(authority, card)) as client,
    ):
        assert client.ask("AUTH EXTERNAL =").startswith(b"+OK" if welcome else b"-ERR")


def test_a_card_from_elsewhere_opens_nothing(
    authority: Authority, card: Card, tmp_path: Path
) -> None:
    """The right names, signed by somebody whom nobody trusts: the handshake fails."""
    forged = issue(tmp_path / "forged", ADDRESS, common_name="joe")
    with asking(authority, card) as server, pytest.raises((OSError, EOFError)):
        Client(server.port, tls=trusting(authority, forged))


def test_who_stands_for_nobody_here_is_refused(authority: Authority, card: Card) -> None:
    with (
        asking(authority, card, "stranger") as server,
        Client(server.port, tls=trusting(authority, card)) as client,
    ):
        for response in ("=", "ZXZl", "/w==", "AA=="):
            assert client.ask(f"AUTH EXTERNAL {response}").startswith(b"-ERR")
        assert client.ask("AUTH EXTERNAL") == b"+ "
        assert client.ask("*") == b"-ERR authentication cancelled"
        assert client.ask("STAT").startswith(b"-ERR")
