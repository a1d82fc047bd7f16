"""Servers that can do less than others, or say that they can do more."""

from __future__ import annotations

import re
from datetime import date

import pytest

from restante.testing.faults import (
    Profile,
    Split,
    Without,
    load_profile,
    profile_names,
)
from tests.testing.faults.harness import failing


@pytest.mark.parametrize("command", ["UIDL", "TOP"])
def test_a_command_is_unknown_and_not_announced(command: str) -> None:
    with failing(Without(command)) as server, server.log_in() as client:
        assert f"{command}\r\n".encode() not in client.ask_lines("CAPA")
        argument = " 1 1" if command == "TOP" else ""
        assert client.ask(command + argument) == b"-ERR unknown command\r\n"
        assert client.ask("STAT").startswith(b"+OK")
        assert server.fired == [Without(command)]


def test_there_is_no_capa() -> None:
    with failing(Without("CAPA")) as server, server.log_in() as client:
        assert client.ask("CAPA") == b"-ERR unknown command\r\n"


def test_there_is_no_apop() -> None:
    with failing(Without("APOP")) as server, server.connect() as client:
        assert b"<" not in client.line()


def test_there_is_no_sasl() -> None:
    with failing(Without("AUTH")) as server, server.log_in() as client:
        assert not [line for line in client.ask_lines("CAPA") if line.startswith(b"SASL")]


each_profile = pytest.mark.parametrize("name", profile_names())


@each_profile
def test_a_profile_says_what_was_read_or_run_and_when(name: str) -> None:
    profile = load_profile(name)
    assert re.match(r"recorded from |transcripts of .* https://", profile.source)
    assert isinstance(profile.checked, date)


@each_profile
def test_a_server_speaks_like_another(name: str) -> None:
    profile = load_profile(name)
    with failing(Profile(name)) as server:
        with server.connect() as client:
            assert client.line() == f"+OK {profile.greeting}\r\n".encode()
            assert _words(client.ask_lines("CAPA")) == _without_stls(profile.capa)
            assert client.ask("USER joe") == _line("+OK", profile.ok["USER"])
            assert client.ask("PASS wrong") == _line("-ERR", profile.err["PASS"])
        with server.log_in() as client:
            announced = profile.capa_after_login or profile.capa
            assert _words(client.ask_lines("CAPA")) == _without_stls(announced)
            first, *lines = client.ask_lines("LIST")
            assert first == _line("+OK", profile.ok["LIST"].format(count=2, total=57))
            assert lines == [b"1 23\r\n", b"2 34\r\n"]
            assert client.ask("LIST 1") == b"+OK 1 23\r\n"
            assert client.ask("STAT") == b"+OK 2 57\r\n"
            assert len(client.ask_lines("RETR 1")) == 4
            assert client.ask("DELE 1").startswith(b"+OK")
            assert client.quit().startswith(b"+OK")
        assert list(server.mail.messages("joe")) == ["a2"]


def _line(status: str, text: str) -> bytes:
    return f"{status} {text}".rstrip().encode() + b"\r\n"


def _words(capa: list[bytes]) -> list[str]:
    return [line.split()[0].decode() for line in capa[1:]]


def _without_stls(announced: list[str]) -> list[str]:
    """The server of these tests has no certificate."""
    return [line.split()[0] for line in announced if line != "STLS"]


def test_what_a_profile_does_not_know_stays() -> None:
    assert "NOOP" not in load_profile("gmail").ok
    with failing() as server, server.log_in() as client:
        own = client.ask("NOOP"), client.ask_lines("TOP 1 0"), client.ask("DELE 9")
    with failing(Profile("gmail")) as server, server.log_in() as client:
        assert (client.ask("NOOP"), client.ask_lines("TOP 1 0"), client.ask("DELE 9")) == own


def test_a_profile_takes_leave_before_login_in_other_words() -> None:
    with failing(Profile("courier")) as server:
        with server.connect() as client:
            client.line()
            assert client.quit() == b"+OK Better luck next time.\r\n"
        with server.log_in() as client:
            assert client.quit() == b"+OK Bye-bye.\r\n"


def test_other_faults_come_on_top_of_a_profile() -> None:
    faults = Profile("courier"), Without("TOP"), Split("RETR")
    with failing(*faults) as server, server.log_in() as client:
        assert b"TOP\r\n" not in client.ask_lines("CAPA")
        assert client.ask_lines("RETR 1")[0] == b"+OK 23 octets follow.\r\n"
