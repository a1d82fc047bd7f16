"""A POP3 server over a folder of maildrops, with accounts and events.

python examples/server.py --port 1110 --mail mail
curl pop3://127.0.0.1:1110/ -u joe:secret
"""

from __future__ import annotations

import argparse

from restante import ClientSession, Maildir, Pop3Server


def build(port: int, mail: str) -> Pop3Server:
    """A server with one account, that tells what happens."""
    server = Pop3Server(
        port=port,
        accounts={"joe": "secret"},
        case_insensitive=True,
        store=Maildir(mail),
        min_threads=2,
        max_threads=16,
    )

    @server.on("accept_connection")
    def accept(session: ClientSession) -> None:
        print("connection from", session.peer_ip)

    @server.on("mailbox_info")
    def opened(session: ClientSession) -> None:
        box = session.mailbox
        assert session.account is not None
        print(f"{session.account.name}: {box.active_count} messages, {box.active_size} octets")

    @server.on("receive_command")
    def received(session: ClientSession, line: str) -> None:
        print("  >", line)

    @server.on("server_error")
    def failed(session: ClientSession | None, error: Exception) -> None:
        print("error:", error)

    return server


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, default=1110)
    arguments.add_argument("--mail", default="mail")
    given = arguments.parse_args()
    with build(given.port, given.mail) as server:
        print(f"POP3 on 127.0.0.1 port {server.port}", flush=True)
        input("Enter stops it\n")


if __name__ == "__main__":
    main()
