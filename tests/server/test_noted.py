"""What is noted of sessions for observers, and when they are told."""

from __future__ import annotations

from base64 import b64encode

from restante import ClientSession, Observer, StoreError
from restante.server import Notes
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
    assert [notes.mechanism for notes in noting.told if notes.opened] == ["USER"]


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
