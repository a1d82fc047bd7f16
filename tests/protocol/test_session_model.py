"""Sessions against the model: commands in any order, two clients, mail coming and going."""

from __future__ import annotations

from hypothesis import settings

from restante.accounts.static import StaticAccounts
from restante.protocol.commands import COMMANDS
from restante.protocol.replies import Err
from restante.protocol.session import Session
from restante.protocol.states import State
from tests.protocol.driver import Driver, policy_for
from tests.protocol.model import NAME, PASSWORD, MaildropMachine, patient

ACCOUNTS = StaticAccounts({NAME: PASSWORD})


class InMemory:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def ask(self, line: bytes, multi: bool) -> list[bytes]:
        wire = self._driver.feed(line + b"\r\n")
        status, *rest = wire.split(b"\r\n")[:-1]
        if not (multi and status.startswith(b"+OK")):
            assert not rest
            return [status]
        assert rest.pop() == b"."
        return [status, *[each.removeprefix(b".") for each in rest]]

    def hang_up(self) -> None:
        self._driver.disconnect()


class InMemoryMachine(MaildropMachine):
    def dial(self) -> InMemory:
        return InMemory(Driver(self.store, ACCOUNTS, patient(policy_for(ACCOUNTS))))


InMemoryMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None
)
TestSessionsInMemory = InMemoryMachine.TestCase


def test_each_command_is_refused_in_the_states_it_does_not_belong_to() -> None:
    texts = {State.AUTHORIZATION: "log in first", State.TRANSACTION: "already logged in"}
    for state, text in texts.items():
        for command in COMMANDS:
            session = Session(policy_for(ACCOUNTS), trusted=True, proxy=True)
            session.state = state
            outcome = session.receive(command.verb.encode())
            assert (outcome == Err(text)) is (state not in command.states), (state, command.verb)
