"""A model of POP3 so simple that it can be believed, and the moves to hold a server against it.

Whoever drives real sessions gives the machine a `dial`; the model predicts each status,
number, listing and message.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Protocol

from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from restante.protocol.policy import Policy
from restante.stores.memory import MemoryStore
from tests.corpus import NASTY, wire_form

NAME, PASSWORD = "joe", "secret  with blanks "
MESSAGES = [message for message in NASTY.values() if message.isascii() and len(message) < 300]
NUMBERS = st.integers(0, 5)


def patient(policy: Policy) -> Policy:
    """Let a client be wrong as often as the rules make it: the model knows no bound."""
    return replace(policy, max_bad_commands=1_000_000, max_failed_logins=1_000_000)


def said_count(count: int) -> bytes:
    """How a reply says how many messages there are."""
    return b"+OK 1 message" if count == 1 else b"+OK %d messages" % count


class Dialogue(Protocol):
    """One connection, greeted."""

    def ask(self, line: bytes, multi: bool) -> list[bytes]:
        """Send a line; give its reply's lines without ends: the status line, and when
        `multi` and `+OK`, what follows, unstuffed and without the terminator."""

    def hang_up(self) -> None:
        """End the connection, and return when the server knows."""


class Client:
    """A dialogue, and what the model expects of it."""

    def __init__(self, dialogue: Dialogue) -> None:
        self.dialogue = dialogue
        self.snapshot: list[tuple[str, bytes]] | None = None
        self.deleted: set[int] = set()

    @property
    def left(self) -> list[tuple[int, str, int]]:
        """Number, unique-id and octets of each message not marked."""
        assert self.snapshot is not None
        return [
            (number, unique_id, len(wire_form(message)))
            for number, (unique_id, message) in enumerate(self.snapshot, 1)
            if number not in self.deleted
        ]


def text_lines(wire: bytes) -> list[bytes]:
    return wire.split(b"\r\n")[:-1]


def top_of(message: bytes, lines: int) -> bytes:
    blank = re.search(rb"(?:\A|\n)\r?\n", message)
    if blank is None:
        return message
    kept = re.findall(rb"[^\n]*\n|[^\n]+\Z", message[blank.end() :])[:lines]
    return message[: blank.end()] + b"".join(kept)


class MaildropMachine(RuleBasedStateMachine):
    """Two clients at most, one maildrop, deliveries and removals meanwhile."""

    clients = Bundle("clients")

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        self.mail: dict[str, bytes] = {}
        self.open: list[Client] = []

    def dial(self) -> Dialogue:
        raise NotImplementedError

    def teardown(self) -> None:
        for client in self.open:
            client.dialogue.hang_up()

    @invariant()
    def the_store_holds_what_the_model_holds(self) -> None:
        assert dict(self.store.messages(NAME)) == self.mail

    # Around the sessions

    @initialize(target=clients, messages=st.lists(st.sampled_from(MESSAGES), max_size=4))
    def begin_with_mail(self, messages: list[bytes]) -> object:
        for message in messages:
            self.deliver(message)
        client = self.connect()
        assert isinstance(client, Client)
        self.log_in(client)
        return client

    @rule(message=st.sampled_from(MESSAGES))
    def deliver(self, message: bytes) -> None:
        self.mail[self.store.add(NAME, message)] = message

    @rule(at=NUMBERS)
    def remove_from_elsewhere(self, at: int) -> None:
        if at < len(self.mail):
            unique_id = list(self.mail)[at]
            del self.mail[unique_id]
            self.store.remove(NAME, unique_id)

    @rule(target=clients)
    def connect(self) -> object:
        if len(self.open) == 2:
            return multiple()
        client = Client(self.dial())
        self.open.append(client)
        return client

    @rule(client=consumes(clients))
    def hang_up(self, client: Client) -> None:
        """D5: nothing is deleted without QUIT."""
        client.dialogue.hang_up()
        self.open.remove(client)

    @rule(client=consumes(clients))
    def quit(self, client: Client) -> None:
        assert client.dialogue.ask(b"QUIT", False) == [b"+OK bye"]
        if client.snapshot is not None:
            for number in client.deleted:
                self.mail.pop(client.snapshot[number - 1][0], None)
        client.dialogue.hang_up()
        self.open.remove(client)

    # AUTHORIZATION

    @rule(client=clients)
    def log_in(self, client: Client) -> None:
        (answer,) = client.dialogue.ask(b"USER " + NAME.encode(), False)
        if client.snapshot is not None:
            assert answer == b"-ERR already logged in"
            return
        assert answer == b"+OK send PASS"
        (answer,) = client.dialogue.ask(b"PASS " + PASSWORD.encode(), False)
        if any(other.snapshot is not None for other in self.open):
            assert answer.startswith(b"-ERR [IN-USE]")
            return
        assert answer == said_count(len(self.mail))
        client.snapshot = list(self.mail.items())
        client.deleted.clear()

    @rule(client=clients, password=st.sampled_from(["", "wrong", PASSWORD.strip(), PASSWORD + " "]))
    def fail_to_log_in(self, client: Client, password: str) -> None:
        if client.snapshot is None:
            client.dialogue.ask(b"USER " + NAME.encode(), False)
            (answer,) = client.dialogue.ask(b"PASS " + password.encode(), False)
            assert answer.startswith(b"-ERR [AUTH]")

    # TRANSACTION

    def asked(self, client: Client, line: str, multi: bool = False) -> list[bytes] | None:
        """The reply; None when the client isn't logged in, which the reply must say."""
        answer = client.dialogue.ask(line.encode(), multi)
        if client.snapshot is None:
            assert answer == [b"-ERR log in first"]
            return None
        return answer

    @rule(client=clients)
    def stat(self, client: Client) -> None:
        if answer := self.asked(client, "STAT"):
            octets = sum(size for _, _, size in client.left)
            assert answer == [b"+OK %d %d" % (len(client.left), octets)]

    @rule(client=clients)
    def list_all(self, client: Client) -> None:
        if answer := self.asked(client, "LIST", True):
            lines = [f"{number} {size}".encode() for number, _, size in client.left]
            assert answer == [said_count(len(lines)), *lines]

    @rule(client=clients)
    def uidl_all(self, client: Client) -> None:
        if answer := self.asked(client, "UIDL", True):
            lines = [f"{number} {unique_id}".encode() for number, unique_id, _ in client.left]
            assert answer == [said_count(len(lines)), *lines]

    @rule(client=clients, number=NUMBERS, verb=st.sampled_from(["LIST", "UIDL"]))
    def list_one(self, client: Client, number: int, verb: str) -> None:
        """F6: one line, with the number."""
        if answer := self.asked(client, f"{verb} {number}"):
            found = [each for each in client.left if each[0] == number]
            if found:
                value = found[0][2] if verb == "LIST" else found[0][1]
                assert answer == [f"+OK {number} {value}".encode()]
            else:
                assert answer[0].startswith(b"-ERR")

    @rule(client=clients, number=NUMBERS, top=st.one_of(st.none(), st.integers(0, 4)))
    def fetch(self, client: Client, number: int, top: int | None) -> None:
        line = f"RETR {number}" if top is None else f"TOP {number} {top}"
        answer = self.asked(client, line, True)
        if answer is None:
            return
        assert client.snapshot is not None
        if number not in [each[0] for each in client.left]:
            assert answer[0].startswith(b"-ERR")
            return
        unique_id, message = client.snapshot[number - 1]
        if unique_id not in self.mail:
            assert answer == [b"-ERR message was removed from elsewhere"]
        elif top is None:
            assert answer[0] == b"+OK %d octets" % len(wire_form(message))
            assert answer[1:] == text_lines(wire_form(message))
        else:
            assert answer[1:] == text_lines(wire_form(top_of(message, top)))

    @rule(client=clients, number=NUMBERS)
    def dele(self, client: Client, number: int) -> None:
        """D1, D2: the mark hides a message; nothing is removed before QUIT."""
        if answer := self.asked(client, f"DELE {number}"):
            if number in [each[0] for each in client.left]:
                assert answer == [b"+OK marked"]
                client.deleted.add(number)
            else:
                assert answer[0].startswith(b"-ERR")

    @rule(client=clients)
    def rset(self, client: Client) -> None:
        if answer := self.asked(client, "RSET"):
            client.deleted.clear()
            assert answer == [said_count(len(client.left))]

    @rule(client=clients)
    def noop(self, client: Client) -> None:
        assert self.asked(client, "NOOP") in (None, [b"+OK"])
