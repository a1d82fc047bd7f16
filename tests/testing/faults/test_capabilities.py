"""Servers that can do less than others, or say that they can do more."""

from __future__ import annotations

import pytest

from restante.testing.faults import (
    BrokenPipelining,
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


def test_pipelining_is_announced_and_broken() -> None:
    with failing(BrokenPipelining()) as server, server.log_in() as client:
        assert b"PIPELINING\r\n" in client.ask_lines("CAPA")
        client.send("STAT", "NOOP", "NOOP")
        assert client.line() == b"+OK 2 57\r\n"
        assert client.quiet()
        assert server.fired == [BrokenPipelining()]
        assert client.ask("NOOP") == b"+OK\r\n"


@pytest.mark.parametrize("name", profile_names())
def test_a_server_speaks_like_another(name: str) -> None:
    profile = load_profile(name)
    assert profile.source
    with failing(Profile(name)) as server:
        with server.connect() as client:
            assert client.line().startswith(f"+OK {profile.greeting}".encode())
        with server.log_in() as client:
            if "CAPA" in profile.without:
                assert client.ask("CAPA").startswith(b"-ERR")
            else:
                words = [line.split()[0].decode() for line in client.ask_lines("CAPA")[1:]]
                announced = [line.split()[0] for line in profile.capa if line != "STLS"]
                assert words == announced
            first, *lines = client.ask_lines("LIST")
            assert first == f"+OK {profile.ok['LIST']}".format(count=2, total=57).encode() + b"\r\n"
            assert lines == [b"1 23\r\n", b"2 34\r\n"]
            assert client.ask("LIST 1") == b"+OK 1 23\r\n"
            assert client.ask("STAT") == b"+OK 2 57\r\n"
            assert len(client.ask_lines("RETR 1")) == 4
            assert client.ask("DELE 1").startswith(b"+OK")
            assert client.quit().startswith(b"+OK")
        assert list(server.mail.messages("joe")) == ["a2"]


def test_other_faults_come_on_top_of_a_profile() -> None:
    faults = Profile("gmail"), Without("TOP"), Split("RETR")
    with failing(*faults) as server, server.log_in() as client:
        assert b"TOP\r\n" not in client.ask_lines("CAPA")
        assert client.ask_lines("RETR 1")[0] == b"+OK message follows\r\n"
