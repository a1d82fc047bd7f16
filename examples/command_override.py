"""Commands overridden: STAT answered by the application, LIST logged and then as always.

python examples/command_override.py --port 1110
curl pop3://127.0.0.1:1110/ -u CleverTester:clevertester
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from restante import ClientSession, MemoryStore, Ok, Pop3Server, Reply, State


def build(port: int) -> Pop3Server:
    """A server whose STAT, LIST and one new command are the application's own."""
    store = MemoryStore()
    for number in (1, 2, 3):
        store.add("CleverTester", f"Subject: Message {number}\r\n\r\nHello.\r\n".encode())
    server = Pop3Server(port=port, accounts={"CleverTester": "clevertester"}, store=store)

    @server.command("STAT")
    def stat(session: ClientSession, argument: str, default: Callable[[], Reply]) -> Reply:
        box = session.mailbox
        print(f"STAT answered here: {box.active_count} messages", flush=True)
        return Ok(f"{box.active_count} {box.active_size}")

    @server.command("LIST")
    def logged_list(session: ClientSession, argument: str, default: Callable[[], Reply]) -> Reply:
        assert session.account is not None
        print(f"LIST by {session.account.name}", flush=True)
        return default()

    @server.command("XTIME", states=[State.TRANSACTION], capability="XTIME")
    async def hello(session: ClientSession, argument: str, default: object) -> str:
        return "it is time to read"

    return server


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, default=1110)
    with build(arguments.parse_args().port) as server:
        print(f"POP3 on 127.0.0.1 port {server.port}", flush=True)
        input("Enter stops it\n")


if __name__ == "__main__":
    main()
