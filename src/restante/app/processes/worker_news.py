"""News between worker processes: what one counts or learns, and what the others do with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import asdict
from heapq import nlargest
from typing import Any

from restante.app.processes.admin_client import Wanted
from restante.app.processes.control import Message, batches
from restante.app.service import Service
from restante.guard.gossip import Gossip, by_label
from restante.server.client import ClientSession


class WorkerNews:
    """What one worker tells all others, and is told by them. The supervisor passes it on."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._told: dict[str, int] = {}
        service.guard.share()
        service.pop3.context.login_delay.share()

    def collect(self) -> Iterator[Message]:
        """Messages about what has changed since the last time; mostly none."""
        gossip, numbers = self._service.guard.changes()
        connections = self._connections()
        numbers |= {name: n for name, n in connections.items() if n != self._told.get(name, 0)}
        self._told = connections
        for part in batches(numbers.items()):
            yield {"say": "news", "numbers": dict(part)}
        for logins in batches(self._service.pop3.context.login_delay.changes().items()):
            yield {"say": "news", "logins": dict(logins)}
        for kind, said in asdict(gossip).items() if gossip else ():
            for some in batches(said):
                yield {"say": "news", "gossip": {kind: some}}

    def _connections(self) -> dict[str, int]:
        service = self._service
        mail = {f"mail:{name}": each.connections for name, each in service.intakes.items()}
        return {"connection:": service.pop3.sessions, **mail}

    def apply(self, message: Message) -> None:
        """Take over what another worker has told."""
        service = self._service
        if numbers := message.get("numbers"):
            found = by_label(numbers)
            service.guard.receive_numbers(found)
            for number in found.get("connection", {}).values():
                service.pop3.context.live.elsewhere = int(number)
            for name, number in found.get("mail", {}).items():
                if name in service.intakes:
                    service.intakes[name].elsewhere = int(number)
        if logins := message.get("logins"):
            service.pop3.context.login_delay.receive(logins)
        if gossip := message.get("gossip"):
            service.guard.receive(Gossip(**gossip))


WORKER_QUESTIONS = frozenset({"sessions", "end", "dialogue", "flush", "errors"})
"""Questions of the admin socket that workers answer. After `end` and `dialogue` a session's id
follows; without one `dialogue` is about all. After `sessions` may follow which are wanted. `flush`
has the history written. `errors` is about the store's."""

AT_ONCE = 100
"""Sessions that are told of before the event loop turns, so that nobody waits for thousands."""


async def answer(service: Service, question: str) -> AsyncIterator[dict[str, Any]]:
    """What this process knows of live sessions, or what it has done about them."""
    word, _, which = question.partition(" ")
    rows: Iterable[dict[str, Any]] = ()
    match word:
        case "sessions" if which:
            rows = _wanted_sessions(service, which)
        case "sessions":
            rows = map(_row, service.pop3.clients)
        case "end":
            rows = _end(service, which)
        case "dialogue" if service.dialogues is not None:
            rows = service.dialogues.lines(which)
        case "errors":
            errors = service.store_errors
            rows = [
                {"call": call, "times": errors.counts[call], **last._asdict()}
                for call, last in errors.last.items()
            ]
        case "flush":
            rows = [{"written": await service.flush_history()}]
    for number, row in enumerate(rows, 1):
        yield row
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)


def _end(service: Service, which: str) -> list[dict[str, Any]]:
    found = [client for client in service.pop3.clients if which and client.id == which]
    for client in found:
        client.close()
    return [{"session": client.id} for client in found]


def _wanted_sessions(service: Service, which: str) -> list[dict[str, Any]]:
    try:
        wanted = Wanted.of(which)
    except (ValueError, KeyError):
        return []
    clients = service.pop3.clients
    found = [client for client in clients if _fits(client, wanted)]
    left = found
    if wanted.before_id:
        place = wanted.before, wanted.before_id
        left = [client for client in found if (client.since, client.id) < place]
    newest = nlargest(wanted.most, left, key=lambda client: (client.since, client.id))
    numbers = {"found": len(found), "left": len(left), "total": len(clients)}
    return [*map(_row, newest), numbers]


def _fits(client: ClientSession, wanted: Wanted) -> bool:
    name = client.account.name if client.account else ""
    if wanted.account and name != wanted.account:
        return False
    return wanted.find in name.casefold() or wanted.find in (client.peer_ip or "unix")


def _row(client: ClientSession) -> dict[str, Any]:
    """A connection to the POP3 server. since: seconds since 1970; account: None before login.

    octets: of messages sent so far. messages: in the maildrop, of which `retrieved` were sent.
    """
    return {
        "session": client.id,
        "account": client.account.name if client.account else None,
        "peer": client.peer_ip,
        "port": client.peer_port,
        "tls": client.tls,
        "since": client.since,
        "state": client.state.value,
        "octets": client.octets,
        "retrieved": client.retrieved,
        "messages": client.mailbox.listing.count,
    }
