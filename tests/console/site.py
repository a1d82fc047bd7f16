"""A server with a console: its data, and ways to talk to it."""

from __future__ import annotations

import http.client
import poplib
import re
import smtplib
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from restante.accounts.sqlite import SqliteAccounts
from restante.app.administrators import Administrators
from tests.app.support import PASSWORD, Server, wait_until

ADMIN, ADMIN_PASSWORD = "admin", "a password of ten"

MESSAGES = (
    ("Anna Keller <anna@example.org>", "Offer for the new shelves", "text"),
    ("Shop <news@shop.example>", "Your order is on its way", "html"),
    ("Jörg Müller <joerg@example.net>", "Fotos vom Ausflug", "attachment"),
)


class Reply(NamedTuple):
    """What the console answered. cookies: by name, as they were set."""

    status: int
    headers: dict[str, str]
    body: str
    cookies: dict[str, str]


def message(sender: str, subject: str, kind: str) -> bytes:
    """A message with a text, HTML beside it, or a file."""
    head = (
        f"From: {sender}\r\nTo: joe@example.org\r\nSubject: {subject}\r\n"
        "Date: Mon, 30 Nov 2026 10:12:00 +0100\r\nMessage-ID: <1@example.org>\r\n"
        "MIME-Version: 1.0\r\n"
    )
    text = "Hello Joe,\r\n\r\nhere is what you have asked for.\r\n\r\nBest wishes\r\n"
    if kind == "text":
        body = f"Content-Type: text/plain; charset=utf-8\r\n\r\n{text}"
    else:
        other = (
            "Content-Type: text/html; charset=utf-8\r\n\r\n<h1>It is on its way</h1><p>Dear"
            ' <b>Joe</b>, <img src="http://127.0.0.1:9/pixel.png" alt="our shop"> thank you.</p>'
            if kind == "html"
            else "Content-Type: image/png\r\nContent-Disposition: attachment;"
            ' filename="lake.png"\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo='
        )
        body = (
            'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n'
            f"Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n--b\r\n{other}\r\n--b--\r\n"
        )
    return f"{head}{body}".encode()


def prepare(folder: Path) -> None:
    """Accounts, an administrator and no first login."""
    data = folder / "data"
    data.mkdir(mode=0o700)
    with SqliteAccounts(data / "accounts.sqlite") as accounts:
        accounts.add("joe", PASSWORD, email="joe@example.org", display_name="Joe Miller")
        accounts.add("ann", PASSWORD, email="ann@example.org")
    Administrators(data / "administrators.json").set(ADMIN, ADMIN_PASSWORD, new=True)


class Site:
    """A running server. url: of its console."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.folder = server.folder
        self.port = server.port("http", "none")
        self.url = f"http://127.0.0.1:{self.port}"
        self._cookie = ""

    # The console

    def log_in(self, page: Any, to: str = "/", password: str = ADMIN_PASSWORD) -> None:
        """By the form, in a browser."""
        page.goto(f"/login?to={to}")
        page.get_by_label("Administrator").fill(ADMIN)
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Log in").click()

    def ask(
        self,
        method: str,
        path: str,
        form: dict[str, str] | bytes | None = None,
        **headers: str,
    ) -> Reply:
        """One request, without a browser."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        body = form if isinstance(form, bytes) else urlencode(form or {}).encode()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if method == "POST":
            given.setdefault("content-type", "application/x-www-form-urlencoded")
        try:
            connection.request(method, path, body if method == "POST" else None, given)
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
        finally:
            connection.close()
        cookies = {}
        for each in answer.msg.get_all("set-cookie") or ():
            name, _, rest = each.partition("=")
            cookies[name] = rest
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, found, text, cookies)

    def session(self) -> tuple[str, str]:
        """A login without a browser: the cookie, and the forms' token."""
        first = self.ask("GET", "/login")
        cookie = "restante-form=" + first.cookies["restante-form"].partition(";")[0]
        form = {"token": token_in(first.body), "name": ADMIN, "password": ADMIN_PASSWORD}
        done = self.ask("POST", "/login", form, cookie=cookie)
        assert done.status == 303, done.body
        own = "restante=" + done.cookies["restante"].partition(";")[0]
        return own, token_in(self.ask("GET", "/bans", cookie=own).body)

    # Mail

    def deliver(self, *messages: bytes, to: str = "joe@example.org") -> None:
        """By SMTP."""
        with smtplib.SMTP("127.0.0.1", self.server.port("smtp", "starttls"), timeout=60) as client:
            for each in messages:
                client.sendmail("sender@example.org", [to], each)

    def fail(self, name: str = "joe") -> None:
        """A login with a wrong password."""
        client = poplib.POP3("127.0.0.1", self.server.port("pop3", "starttls"), timeout=60)
        client.user(name)
        with suppress(poplib.error_proto):
            client.pass_("wrong")
        client.close()

    def unique_ids(self, name: str = "joe") -> list[str]:
        """Of an account's messages, as POP3 says them."""
        client = self.server.login(name)
        found = [line.split()[1].decode() for line in client.uidl()[1]]
        client.quit()
        return found

    def wait_for(self, condition: Any, what: str) -> Any:
        """See `wait_until`."""
        return wait_until(condition, what)


def token_in(text: str) -> str:
    """The token of the first form."""
    match = re.search(r'name="token" value="([^"]+)"', text)
    assert match is not None, text[:2000]
    return match[1]
