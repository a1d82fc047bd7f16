"""Brings servers up quickly, one at a time, and kills them: `python -m tests.crash.nursery`.

Arguments: the folder of the maildrops, and the fault to be built in, or "none". Each line
`start` on standard input makes a server, whose ports are answered as JSON; each `kill`
ends it with SIGKILL and is answered when it is dead. The servers are forked from this
process, which has loaded everything already: a start takes some milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from restante import Maildir, Pop3Server, StaticAccounts
from restante.delivery import Intake, Recipients, lmtp_protocol, smtp_protocol
from tests.crash.faults import build_in
from tests.crash.ledger import ACCOUNTS, PASSWORD


async def serve(folder: Path, fault: str) -> None:
    """POP3, LMTP and SMTP over one store, as `restante serve` has them, for ever."""
    accounts = StaticAccounts(dict.fromkeys(ACCOUNTS, PASSWORD))
    store = build_in(fault, Maildir(folder), folder)
    intake = Intake(recipients=Recipients(accounts), store=store, hostname="crash.example")
    loop = asyncio.get_running_loop()
    lmtp = await loop.create_server(lmtp_protocol(intake), "127.0.0.1", 0)
    smtp = await loop.create_server(smtp_protocol(intake), "127.0.0.1", 0)
    pop3 = Pop3Server(accounts=accounts, store=store, port=0, failure_delay=0)
    await pop3.open()
    ports = {"pop3": pop3.port}
    for name, server in (("lmtp", lmtp), ("smtp", smtp)):
        ports[name] = server.sockets[0].getsockname()[1]
    print(json.dumps(ports), flush=True)
    await asyncio.Event().wait()


def fork_server(folder: Path, fault: str) -> int:
    """Start a server in a process of its own; gives its id."""
    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(serve(folder, fault))
        finally:
            os._exit(1)
    return pid


def kill(pid: int) -> None:
    """End a process in the hardest way, and wait until it is dead."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def main() -> None:
    """Do what standard input says until its end."""
    folder, fault = Path(sys.argv[1]), sys.argv[2]
    pid = 0
    try:
        for line in iter(sys.stdin.readline, ""):
            if line == "start\n":
                pid = fork_server(folder, fault)
            elif line == "kill\n":
                dying, pid = pid, 0
                kill(dying)
                print("dead", flush=True)
    finally:
        if pid:
            kill(pid)


if __name__ == "__main__":
    main()
