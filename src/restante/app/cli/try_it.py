"""`restante try`: a message goes in by SMTP or LMTP and comes out by POP3."""

from __future__ import annotations

import poplib
import secrets
import shutil
import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated

from restante.accounts.schemes import split_credential
from restante.app.accounts import managed_accounts, managed_kind
from restante.app.cli.command_line import Exit, Option, UsageError
from restante.app.cli.options import FAILED, ConfigOption, DataOption, SetOption, complain, load_for
from restante.app.cli.user import FromStdin, ask_password
from restante.app.config.settings import Settings
from restante.app.maildrops import make_store
from restante.app.passwords import new_password
from restante.app.processes.admin_client import Row, ask
from restante.stores.maildir.store import Maildir

SECONDS = 20.0
"""How long each step may take."""

MAX_LOOKED_AT = 10
"""Messages among which ours must be: others may have come after it."""


def try_it(
    *,
    account: Annotated[
        str | None,
        Option("--account", help="Whose mail to use; else an account is made and removed again."),
    ] = None,
    password_stdin: FromStdin = False,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
) -> None:
    """Send a message to the running server and read it.

    It goes in by SMTP, or else by LMTP, and comes out at every address where POP3 is spoken; then
    it is deleted. Certificates aren't verified.
    """
    settings = load_for(config, data, sets).settings
    addresses = [row for row in ask(settings.admin_socket, "addresses") if not row.get("end")]
    with _account(settings, account, password_stdin) as (name, password):
        works = _go(settings, addresses, name, password)
    if not works:
        raise Exit(FAILED)
    print("It works.")


def _go(settings: Settings, addresses: list[Row], name: str, password: str) -> bool:
    """Send and read; gives whether all of it went well."""
    text = _message()
    recipient = _recipient(settings, name)
    sent = all(_step(row, partial(_send, row, recipient, text)) for row in _ways_in(addresses)[:1])
    out = [row for row in addresses if row["protocol"] == "pop3"]
    wanted = text if sent and _ways_in(addresses) else None
    read = [
        _step(row, partial(_read, row, name, password, wanted, delete=row is out[-1]))
        for row in out
    ]
    return sent and all(read)


def _ways_in(addresses: list[Row]) -> list[Row]:
    """Where mail is taken, SMTP first."""
    found = [row for row in addresses if row["protocol"] in ("smtp", "lmtp")]
    return sorted(found, key=lambda row: str(row["protocol"]), reverse=True)


@contextmanager
def _account(settings: Settings, name: str | None, from_stdin: bool) -> Iterator[tuple[str, str]]:
    """Name and password of the account to use."""
    static = settings.accounts.static if "static" in settings.accounts.kinds else {}
    for each, given in static.items():
        scheme, _ = split_credential(given.password.text)
        if name in (None, each) and not scheme and not given.disabled:
            yield each, given.password.text
            return
    if name is not None:
        yield name, ask_password(from_stdin, twice=False)
        return
    if managed_kind(settings) is None:
        raise UsageError("no account can be made here: give --account, and its password")
    name, password = f"restante-try-{secrets.token_hex(4)}", new_password()
    with managed_accounts(settings) as accounts:
        accounts.add(name, password)
        made = accounts.lookup(name)
        assert made is not None
        try:
            yield name, password
        finally:
            accounts.remove(name)
            store = make_store(settings)
            if isinstance(store, Maildir):  # in a database an empty maildrop is a row
                shutil.rmtree(store.folder(made), ignore_errors=True)


def _recipient(settings: Settings, name: str) -> str:
    domain = next(iter(settings.delivery.domains), "localhost")
    return name if "@" in name else f"{name}@{domain}"


def _message() -> bytes:
    return (
        b"From: Restante <restante-try@localhost>\r\nSubject: Restante works\r\n"
        b"Message-ID: <%s@localhost>\r\n\r\n.This line begins with a dot.\r\nIt works.\r\n"
    ) % secrets.token_hex(16).encode()


def _step(row: Row, do: Callable[[], str]) -> bool:
    """Do a step and say how it went."""
    where = row["path"] or f"{row['host']}:{row['port']}"
    start = f"{row['protocol'].upper():5} {where:22}"
    try:
        print(f"{start} {do()}", flush=True)
    except (OSError, poplib.error_proto, smtplib.SMTPException, ValueError) as error:
        said = error.args[0] if error.args else error
        complain(f"{start} failed: {said.decode() if isinstance(said, bytes) else error}")
        return False
    return True


def _host(row: Row) -> str:
    """Where this machine reaches an address that is all addresses."""
    host = str(row["host"])
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _send(row: Row, recipient: str, text: bytes) -> str:
    kind = smtplib.LMTP if row["protocol"] == "lmtp" else smtplib.SMTP
    host = str(row["path"]) if row["path"] else _host(row)
    with kind(host, row["port"], timeout=SECONDS) as client:
        if row["tls"].startswith("starttls"):
            client.starttls(context=_context())
        client.sendmail("restante-try@localhost", [recipient], text)
    inside = " inside TLS" if row["tls"].startswith("starttls") else ""
    return f"took a message for {recipient}{inside}"


def _read(row: Row, name: str, password: str, text: bytes | None, *, delete: bool) -> str:
    client = (
        poplib.POP3_SSL(_host(row), row["port"], context=_context(), timeout=SECONDS)
        if row["tls"] == "implicit"
        else poplib.POP3(_host(row), row["port"], timeout=SECONDS)
    )
    try:
        if row["tls"].startswith("starttls"):
            client.stls(_context())
        client.user(name)
        client.pass_(password)
        said = f"logged in as {name}" + ("" if row["tls"] == "none" else " inside TLS")
        if text is not None:
            number, octets = _find(client, text)
            said += f", read the message, {octets} octets"
            if delete:
                client.dele(number)
                said += ", deleted it"
        client.quit()
    finally:
        client.close()
    return said


def _find(client: poplib.POP3, text: bytes) -> tuple[int, int]:
    """The message's number and octets, looked for among the newest. Raises ValueError."""
    newest = client.stat()[0]
    for number in range(newest, max(0, newest - MAX_LOOKED_AT), -1):
        _, lines, octets = client.retr(number)
        if b"\r\n".join(lines).endswith(text.removesuffix(b"\r\n")):
            return number, octets
    raise ValueError("the message isn't there as it was sent")
