"""Async functions of an application run within one task each, from their first line on.

Timeouts and task groups keep hold of the task that they were entered in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from restante import Account, MaildropStore, MessageInfo, Pop3Server
from restante.server import ClientSession
from tests.server.kit import Client, until

found: list[tuple[str, bool]] = []


async def look(what: str) -> None:
    """Note whether the task is there, and still the same after a wait."""
    task = asyncio.current_task()
    assert task is None or not task.done()
    async with asyncio.timeout(30):
        await asyncio.sleep(0)
    found.append((what, task is not None and task is asyncio.current_task()))


class Looking(MaildropStore):
    async def list(self, account: Account) -> list[MessageInfo]:
        await look("list")
        return [MessageInfo("a"), MessageInfo("b")]

    async def read(self, account: Account, unique_id: str) -> bytes:
        await look("read")
        return b"x\r\n"

    async def delete(self, account: Account, unique_ids: Sequence[Any]) -> None:
        await look("delete")


EVENTS = (
    "accept_connection", "receive_command", "send_response", "mailbox_info", "retrieve",
    "delete", "reset", "close_connection",
)  # fmt: skip

LINES = b"USER joe\r\nPASS secret\r\nSTAT\r\nRETR 1\r\nDELE 1\r\nRSET\r\nDELE 2\r\nQUIT\r\n"


def watched() -> Pop3Server:
    server = Pop3Server(port=0, accounts={"joe": "secret"}, store=Looking(), for_tests=True)
    for event in EVENTS:

        async def handler(*args: object, event: str = event) -> None:
            await look(event)

        server.on(event)(handler)  # type: ignore[call-overload]

    @server.command("STAT")
    async def stat(session: ClientSession, argument: str, default: Any) -> Any:
        await look("STAT")
        return await default()

    return server


@pytest.mark.parametrize("pipelined", [True, False])
def test_whatever_is_called_runs_in_one_task(pipelined: bool) -> None:
    found.clear()
    with watched() as server, Client(server.port) as client:
        if pipelined:
            client.send(LINES)
        else:
            for line in LINES.splitlines():
                client.ask(line)
                if line.startswith(b"RETR"):
                    client.body()
        client.rest()
        until(lambda: any(what == "close_connection" for what, _ in found))
    assert {what for what, _ in found} == {*EVENTS, "list", "read", "delete", "STAT"}
    assert [what for what, same in found if not same] == []


class Stuck(Looking):
    async def read(self, account: Account, unique_id: str) -> bytes:
        await asyncio.wait_for(asyncio.Event().wait(), 0.05)
        return b""


def test_a_timeout_of_a_store_holds_for_pipelined_commands_too() -> None:
    with Pop3Server(port=0, accounts={"joe": "secret"}, store=Stuck(), for_tests=True) as server:
        with Client(server.port) as client:
            client.send(b"USER joe\r\nPASS secret\r\nRETR 1\r\nQUIT\r\n")
            said = client.rest()
        assert b"-ERR [SYS/TEMP]" in said
        assert said.endswith(b"+OK bye\r\n")
