"""A mail server: SMTP and POP3 over one account list and one folder of maildrops.

pip install 'restante[server]'
python examples/mail_server.py --smtp-port 1025 --port 1110 --mail mail
swaks --server 127.0.0.1:1025 --to joe@example.org
curl pop3://127.0.0.1:1110/1 -u joe:secret
"""

from __future__ import annotations

import argparse
import asyncio

from restante import Maildir, Pop3Server, StaticAccounts
from restante.delivery import Intake, Recipients, smtp_protocol


async def run(host: str, smtp_port: int, port: int, mail: str) -> None:
    """Serve until cancelled."""
    accounts = StaticAccounts({"joe": "secret", "ann": "hush"}, domains=["example.org"])
    store = Maildir(mail)
    recipients = Recipients(accounts, domains=["example.org"], catch_all="joe")
    intake = Intake(recipients=recipients, store=store)
    loop = asyncio.get_running_loop()
    smtp = await loop.create_server(smtp_protocol(intake), host, smtp_port)
    pop3 = Pop3Server(host=host, port=port, accounts=accounts, store=store)
    async with smtp, pop3:
        print(f"SMTP on {host} port {smtp.sockets[0].getsockname()[1]}", flush=True)
        print(f"POP3 on {host} port {pop3.port}", flush=True)
        try:
            await asyncio.get_running_loop().run_in_executor(None, input, "Enter stops it\n")
        finally:
            await intake.stop()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--host", default="127.0.0.1")
    arguments.add_argument("--smtp-port", type=int, default=1025)
    arguments.add_argument("--port", type=int, default=1110)
    arguments.add_argument("--mail", default="mail")
    given = arguments.parse_args()
    asyncio.run(run(given.host, given.smtp_port, given.port, given.mail))


if __name__ == "__main__":
    main()
