"""The model of tests/protocol, once more over real sockets."""

from __future__ import annotations

from hypothesis import settings

from restante import Pop3Server
from tests.protocol.model import NAME, PASSWORD, MaildropMachine, patient
from tests.server.kit import Client, new_server, until


class OnWire:
    def __init__(self, server: Pop3Server) -> None:
        self._server = server
        self._client = Client(server.port)

    def ask(self, line: bytes, multi: bool) -> list[bytes]:
        status = self._client.ask(line)
        rest = self._client.lines() if multi and status.startswith(b"+OK") else []
        return [status, *rest]

    def hang_up(self) -> None:
        address = self._client.socket.getsockname()
        self._client.close()
        until(lambda: address not in self._peers())

    def _peers(self) -> list[tuple[str, int]]:
        clients = [each.client for each in list(self._server._live.connections)]
        return [(client.peer_ip, client.peer_port) for client in clients]


class OnWireMachine(MaildropMachine):
    def __init__(self) -> None:
        super().__init__()
        self.server = new_server(self.store, {NAME: PASSWORD})
        self.server.start()
        listener = self.server.listeners[0]
        listener.policy = patient(listener.policy)

    def dial(self) -> OnWire:
        return OnWire(self.server)

    def teardown(self) -> None:
        super().teardown()
        self.server.stop()


OnWireMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
TestSessionsOnWire = OnWireMachine.TestCase
