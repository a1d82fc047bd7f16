"""What is noted of sessions for observers, and when they are told."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest

from restante import ClientSession, Err, Observer, Pop3Error, Pop3Server, StoreError
from restante.server import Notes
from restante.server.notes import Refused
from tests.server.kit import Client, serving, until

MAIL = [b"Subject: one\r\n\r\nfirst\r\n", b"Subject: two\r\n\r\nsecond\r\n"]


class Noting(Observer):
    def __init__(self) -> None:
        self.told: list[Notes] = []
        self.ended: list[str] = []

    def noted(self, session: ClientSession, notes: Notes) -> None:
        self.told.append(notes)
        if notes.last:
            self.ended.append(session.ended)

    @property
    def verbs(self) -> list[str]:
        return [verb for notes in self.told for verb, _, _ in notes.each_answer()]


class Timing(Noting):
    timed = True

    @property
    def steps(self) -> list[tuple[str, str]]:
        return [(step, how) for notes in self.told for step, how, _ in notes.each_step()]


def test_a_session_is_told_of_as_a_whole() -> None:
    noting = Noting()
    with serving(MAIL) as server:
        server.observe(noting)
        with Client(server.port) as client:
            client.log_in()
            client.send("RETR 2\r\nTOP 1 0\r\nNONSENSE\r\nDELE 9\r\nQUIT\r\n")
            client.rest()
        until(lambda: noting.ended == ["QUIT"])
    (notes,) = noting.told
    answers = list(notes.each_answer())
    assert [(verb, ok) for verb, ok, _ in answers] == [
        ("USER", True), ("PASS", True), ("RETR", True), ("TOP", True), ("", False),
        ("DELE", False), ("QUIT", True),
    ]  # fmt: skip
    assert [octets for verb, _, octets in answers if not verb] == [len("-ERR unknown command\r\n")]
    assert sum(octets for *_, octets in answers) < 300  # without the messages
    assert list(notes.each_message()) == [(2, None), (1, 0)]
    assert notes.steps == []  # nobody asked for them
    assert notes.opened is not None
    assert notes.mechanism == "USER"
    assert notes.before_login == 1


def test_all_observers_get_the_same_notes() -> None:
    one, two = Noting(), Noting()
    with serving(MAIL) as server:
        server.observe(one)
        server.observe(two)
        with Client(server.port) as client:
            client.log_in()
        until(lambda: two.ended == ["client left"])
    assert one.told[-1] is two.told[-1]


def test_a_session_that_goes_on_is_told_of_from_time_to_time() -> None:
    noting = Noting()
    with serving(MAIL) as server:
        server.observe(noting)
        with Client(server.port) as client:
            client.ask("NOOP")
            until(lambda: noting.verbs == ["NOOP"])
            client.log_in()
            client.ask("STAT")
            until(lambda: noting.verbs[-1] == "STAT")
            assert not any(notes.last for notes in noting.told)
            client.ask("QUIT")
        until(lambda: noting.ended == ["QUIT"])
    assert noting.verbs == ["NOOP", "USER", "PASS", "STAT", "QUIT"]
    (opened,) = [notes for notes in noting.told if notes.opened]
    assert opened.mechanism == "USER"
    assert [verb for verb, _, _ in opened.each_answer()][opened.before_login] == "PASS"


def test_who_comes_later_is_told_of_what_follows() -> None:
    early, late = Noting(), Timing()
    with serving(MAIL) as server, Client(server.port) as client:
        client.ask("NOOP")  # nobody has watched yet
        server.observe(early)

        def is_noted() -> bool:
            client.ask("CAPA")
            client.lines()
            return "CAPA" in early.verbs

        until(is_noted)
        server.observe(late)
        client.log_in()
        client.ask("RETR 1")
        client.send("QUIT\r\n")
        client.rest()
        until(lambda: late.ended == ["QUIT"])
    assert late.verbs[-4:] == early.verbs[-4:] == ["USER", "PASS", "RETR", "QUIT"]
    assert late.steps == [("login", "ok"), ("open", "ok"), ("fetch", "ok"), ("commit", "ok")]


def test_who_leaves_is_told_no_more() -> None:
    noting = Noting()
    with serving(MAIL) as server:
        server.observe(noting)
        with Client(server.port) as client:
            client.log_in()
            server.observers.remove(noting)
            client.ask("STAT")
            client.send("QUIT\r\n")
            client.rest()
        until(lambda: server.sessions == 0)
    assert "STAT" not in noting.verbs
    assert noting.ended == []


def test_a_challenge_is_no_answer() -> None:
    noting = Noting()
    with serving(MAIL) as server:
        server.observe(noting)
        with Client(server.port) as client:
            assert client.ask("AUTH PLAIN") == b"+ "
            client.ask(b64encode(b"\0joe\0secret").decode())
        until(lambda: noting.ended == ["client left"])
    assert [(verb, ok) for verb, ok, _ in noting.told[-1].each_answer()] == [("AUTH", True)]
    assert noting.told[-1].mechanism == "PLAIN"


def test_how_steps_end() -> None:
    timing = Timing()
    with serving(MAIL, failure_delay=0) as server:
        server.observe(timing)
        with Client(server.port) as first, Client(server.port) as second:
            first.log_in()
            second.ask("USER joe")
            second.ask("PASS wrong")
            second.ask("USER joe")
            second.ask("PASS secret")
        until(lambda: len(timing.ended) == 2)
    by_session = [list(notes.each_step()) for notes in timing.told]
    assert sorted(timing.steps) == [
        ("login", "ok"), ("login", "ok"), ("login", "refused"), ("open", "in use"), ("open", "ok"),
    ]  # fmt: skip
    assert all(seconds >= 0 for steps in by_session for _, _, seconds in steps)


def test_a_step_that_fails() -> None:
    timing = Timing()
    with serving(MAIL) as server:
        server.observe(timing)

        @server.on("retrieve")
        def retrieve(session: ClientSession, number: int) -> None:
            raise StoreError("the disk has gone")

        with Client(server.port) as client:
            client.log_in()
            assert client.ask("RETR 1").startswith(b"-ERR [SYS/TEMP]")
            assert client.ask("DELE 1").startswith(b"+OK")  # no step
        until(lambda: timing.ended != [])
    assert timing.steps == [("login", "ok"), ("open", "ok"), ("fetch", "error")]


def test_an_observer_that_fails_costs_no_session_anything() -> None:
    class Failing(Noting):
        def noted(self, session: ClientSession, notes: Notes) -> None:
            super().noted(session, notes)
            raise ValueError("no")

    failing, other = Failing(), Noting()
    with serving(MAIL) as server:
        server.observe(failing)
        server.observe(other)
        with Client(server.port) as client:
            client.log_in()
            assert client.ask("QUIT").startswith(b"+OK")
        until(lambda: other.ended == ["QUIT"])
    assert failing.ended == ["QUIT"]


Default = Callable[..., Any]


def break_off_retrievals(server: Pop3Server) -> None:
    """Have message 1 take forever, and RETR not wait for it."""

    @server.on("retrieve")
    async def retrieve(session: ClientSession, number: int) -> None:
        if number == 1:
            await asyncio.Event().wait()

    @server.command("RETR")
    async def retr(session: ClientSession, argument: str, default: Default) -> Any:
        try:
            return await asyncio.wait_for(default(), 0.02)
        except TimeoutError:
            return Err("too slow", "SYS/TEMP")


def test_a_step_that_a_handler_breaks_off_is_no_other_ones() -> None:
    timing = Timing()
    with serving(MAIL) as server:
        server.observe(timing)
        break_off_retrievals(server)

        @server.on("delete")
        def delete(session: ClientSession, number: int) -> None:
            raise Pop3Error("not here")

        with Client(server.port) as client:
            client.log_in()
            assert client.ask("RETR 1") == b"-ERR [SYS/TEMP] too slow"
            assert client.ask("DELE 2") == b"-ERR not here"
            assert client.ask("QUIT").startswith(b"+OK")
        until(lambda: timing.ended != [])
    assert timing.steps == [("login", "ok"), ("open", "ok"), ("commit", "ok")]


def test_who_watches_steps_hears_of_the_end_of_one_that_is_broken_off() -> None:
    told: list[tuple[str, object]] = []

    class Watching(Observer):
        def step_begun(self, session: ClientSession, step: str) -> None:
            told.append(("begun", step))

        def step_done(
            self, session: ClientSession, step: str, seconds: float, error: Exception | None
        ) -> None:
            told.append((step, error and type(error)))

    with serving(MAIL) as server:
        break_off_retrievals(server)
        with Client(server.port) as client:
            client.log_in()
            server.observe(Watching())
            client.ask("RETR 1")
    assert told[:2] == [("begun", "fetch"), ("fetch", Refused)]


def test_steps_at_the_same_time() -> None:
    timing = Timing()
    with serving(MAIL) as server:
        server.observe(timing)

        @server.on("retrieve")
        async def retrieve(session: ClientSession, number: int) -> None:
            await asyncio.sleep(0.01)

        @server.command("RETR")
        async def retr(session: ClientSession, argument: str, default: Default) -> Any:
            first, _ = await asyncio.gather(default(), default())
            return first

        with Client(server.port) as client:
            client.log_in()
            assert client.fetch("RETR 1") == MAIL[0]
        until(lambda: timing.ended != [])
    assert timing.steps == [("login", "ok"), ("open", "ok"), ("fetch", "ok"), ("fetch", "ok")]


@pytest.mark.usefixtures("quick_sweep")
def test_time_limits_hold_though_a_session_can_not_be_looked_after() -> None:
    class Failing(Noting):
        _guarded = False  # as of those that are part of Restante

        def noted(self, session: ClientSession, notes: Notes) -> None:
            super().noted(session, notes)
            if not notes.last:
                raise ValueError("no")

    failing, errors = Failing(), list[str]()
    with serving(MAIL, idle_timeout=0.2, short_idle=True) as server:
        server.observe(failing)

        @server.on("server_error")
        def server_error(session: ClientSession | None, error: Exception) -> None:
            errors.append(str(error))

        with Client(server.port) as one, Client(server.port) as other:
            one.ask("NOOP")
            until(lambda: errors)
            assert one.is_cut()
            assert other.is_cut()
    assert failing.ended == ["idle", "idle"]
    assert errors == ["no"]
