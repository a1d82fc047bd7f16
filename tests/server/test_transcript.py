"""The debug log: whole dialogues, of whom one chooses, and never a secret (A2, A11)."""

from __future__ import annotations

import base64
import hmac
import logging
from hashlib import md5

import pytest

from restante import GuardSettings
from tests.conftest import Authority
from tests.server.kit import NAME, Client, serving

CANARY = "canary-7f3a"
OTHER = "canary-wrong"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def dialogue(records: list[logging.LogRecord]) -> list[tuple[str, str]]:
    return [
        (record.__dict__["direction"], record.__dict__["line"])
        for record in records
        if record.name == "restante.protocol"
    ]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "restante")
    return caplog


def test_a_dialogue_with_everything_in_order(log: pytest.LogCaptureFixture) -> None:
    with serving([b"Subject: x\n\nhello\n"]) as server:
        server.debug_log.choose(everything=True)
        with Client(server.port) as client:
            greeting = client.greeting.decode()
            client.log_in()
            client.fetch("RETR 1")
            client.fetch("UIDL")
            client.ask("XNONE")
            client.ask("QUIT")
    assert dialogue(log.records) == [
        ("S", greeting),
        ("C", "USER joe"), ("S", "+OK send PASS"),
        ("C", "PASS ****"), ("S", "+OK 1 message"),
        ("C", "RETR 1"), ("S", "+OK 21 octets"),
        ("C", "UIDL"), ("S", "+OK 1 message"),
        ("C", "(unknown command, 5 octets)"), ("S", "-ERR unknown command"),
        ("C", "QUIT"), ("S", "+OK bye"),
    ]  # fmt: skip
    record = next(each for each in log.records if each.name == "restante.protocol")
    assert record.__dict__["peer"] == "127.0.0.1"
    assert "hello" not in log.text


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("wrapped", [False, True])
def test_no_secret_in_any_record_or_event(
    watched: bool, wrapped: bool, authority: Authority, log: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    accounts = {NAME: CANARY}
    undelayed = GuardSettings(trusted_networks=("127.0.0.0/8",))
    settings = {"tls": "starttls", "certificate": authority.certificate, "guard": undelayed}
    with serving([b"x\n"], accounts=accounts, **settings) as server:
        server.debug_log.choose(everything=True)
        if watched:
            server.on("receive_command")(lambda session, line: told.append(line))
            server.on("send_response")(lambda session, line: told.append(line))
            server.on("authenticate")(lambda session, claim, default: told.append(repr(claim)))
        if wrapped:
            for verb in ("USER", "PASS", "AUTH", "APOP"):
                server.command(verb)(lambda session, argument, default: default())
        digests = []
        for password in (CANARY, OTHER):
            token = b64(f"\0{NAME}\0{password}")
            with Client(server.port) as client:
                stamp = client.greeting.split()[-1]
                digests.append(md5(stamp + CANARY.encode(), usedforsecurity=False).hexdigest())
                for line in (
                    f"PASS {password}", "USER joe", f"pass  {password} ", f" PASS {password}",
                    f"PSAS {password}", f"{password}", f"PASS\t{password}", f"PASS:{password}",
                    f"AUTH PLAIN {token} {token}", f"AUTH {token}", f"AUTH  {token}", token,
                    f"APOP {NAME} {password}", f"APOP {NAME} {digests[-1]}x", f"APOP {digests[-1]}",
                    f"AUTH PLAIN {b64(password)}", "USER joe", f"PASS {password}\0",
                ):  # fmt: skip
                    assert client.ask(line).startswith(b"+OK" if "USER" in line else b"-ERR")
        with Client(server.port) as client:
            client.ask("USER joe")
            client.ask(f"PASS {OTHER}")
            for line in ("AUTH LOGIN", b64(NAME), b64(OTHER), "AUTH PLAIN", f"!{CANARY}"):
                client.ask(line)
            client.start_tls(authority.client_context())
            challenge = base64.b64decode(client.ask("AUTH CRAM-MD5").split()[1])
            cram = hmac.new(CANARY.encode(), challenge, "md5").hexdigest()
            client.ask(b64(f"{NAME} {cram}"))
            client.ask(f"AUTH PLAIN {b64(f'{chr(0)}{NAME}{chr(0)}{CANARY}')}")
            client.send(CANARY * 200 + "\r\n")
            assert client.line().startswith(b"-ERR line of more")
    said = [record.getMessage() for record in log.records]
    said += [str(value) for record in log.records for value in record.__dict__.values()]
    everything = "\n".join(said + told + [log.text])
    secrets = (CANARY, OTHER, *digests, cram, b64(CANARY), b64(OTHER))
    tokens = tuple(b64(f"\0{NAME}\0{each}")[:24] for each in (CANARY, OTHER))
    for secret in (*secrets, *tokens):
        assert secret not in everything, secret
    assert len(dialogue(log.records)) > 60


def test_one_account_or_address_can_be_chosen_while_sessions_run(
    log: pytest.LogCaptureFixture,
) -> None:
    accounts = {NAME: "x", "ann": "x"}
    with (
        serving(accounts=accounts) as server,
        Client(server.port) as joe,
        Client(server.port) as ann,
    ):
        joe.log_in(password="x")
        ann.log_in("ann", "x")
        assert dialogue(log.records) == []
        server.debug_log.choose(accounts=frozenset({"ANN"}))
        joe.ask("LIST 1")
        ann.ask("LIST 2")
        assert dialogue(log.records) == [("C", "LIST 2"), ("S", "-ERR no such message")]
        assert log.records[-1].__dict__["account"] == "ann"
        server.debug_log.choose(addresses=frozenset({"127.0.0.1"}))
        joe.ask("LIST 3")
        server.debug_log.choose(addresses=frozenset({"192.0.2.1"}))
        joe.ask("LIST 4")
        server.debug_log.choose()
        ann.ask("LIST 5")
        assert server.observers.line is None
        lines = [line for direction, line in dialogue(log.records) if direction == "C"]
        assert lines == ["LIST 2", "LIST 3"]


def test_challenges_are_not_shown(log: pytest.LogCaptureFixture) -> None:
    with serving() as server:
        server.debug_log.choose(everything=True)
        with Client(server.port) as client:
            client.ask("AUTH CRAM-MD5")
            client.ask("*")
            client.ask("AUTH PLAIN")
            client.ask("*")
    assert dialogue(log.records)[1:] == [
        ("C", "AUTH CRAM-MD5"), ("S", "+ ****"),
        ("C", "*"), ("S", "-ERR authentication cancelled"),
        ("C", "AUTH PLAIN"), ("S", "+"),
        ("C", "*"), ("S", "-ERR authentication cancelled"),
    ]  # fmt: skip


def test_stls_is_in_the_log_too(log: pytest.LogCaptureFixture, authority: Authority) -> None:
    with serving(tls="starttls", certificate=authority.certificate) as server:
        server.debug_log.choose(everything=True)
        with Client(server.port) as client:
            client.start_tls(authority.client_context()).ask("NOOP")
    assert dialogue(log.records)[1:] == [
        ("C", "STLS"), ("S", "+OK begin TLS"), ("C", "NOOP"), ("S", "-ERR log in first"),
    ]  # fmt: skip


def test_deletions_and_their_absence_are_logged(log: pytest.LogCaptureFixture) -> None:
    """D5"""
    with serving([b"x\n", b"y\n"]) as server:
        for end in (False, True):
            with Client(server.port) as client:
                client.log_in().ask("DELE 1")
                if end:
                    client.ask("QUIT")
            while server.sessions:
                pass
    assert "1 deletions discarded, no QUIT" in log.text
    assert "deleted: account='joe' messages=1" in log.text
