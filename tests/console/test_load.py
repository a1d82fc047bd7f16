"""Whatever becomes of the console or its history while mail is busy, mail goes on; and what is
large, damaged or from elsewhere is shown in a browser as far as it goes."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from restante.accounts.sqlite import SqliteAccounts
from tests.app.support import PASSWORD, Server, wait_until
from tests.console.site import Site, message, prepare
from tests.console.test_process import console_of

ACCOUNTS, SESSIONS = 3, 12
"""Accounts whose clients come at the same time, and sessions of each."""


def _work(site: Site, name: str) -> int:
    """Sessions of one client, one after the other. Each must be answered in all; how many."""
    site.deliver(message("a@example.org", name, "text"), to=f"{name}@example.org")
    for _ in range(SESSIONS):
        client = site.server.login(name)
        assert client.stat()[0] == 1
        assert client.retr(1)[0].startswith(b"+OK")
        client.quit()
    return SESSIONS


@contextmanager
def _looking(site: Site) -> Iterator[None]:
    """Administrators look at pages meanwhile, whether they are answered or not."""
    cookie, _ = site.session()

    def look(path: str) -> None:
        with suppress(OSError):
            site.ask("GET", path, cookie=cookie)

    with ThreadPoolExecutor(4) as looking:
        looks = [looking.submit(look, path) for path in ("/sessions", "/", "/mail-in") * 10]
        yield
        for each in looks:
            each.cancel()


def _is_up(site: Site) -> bool:
    with suppress(OSError):
        return site.ask("GET", "/login").status == 200
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_under_load_no_session_notices(tmp_path: Path, how: signal.Signals) -> None:
    prepare(tmp_path)
    names = [f"user{number}" for number in range(ACCOUNTS)]
    with SqliteAccounts(tmp_path / "data" / "accounts.sqlite") as accounts:
        for name in names:
            accounts.add(name, PASSWORD, email=f"{name}@example.org")
    with Server(tmp_path, "--console-port", "0", "--workers", "2") as server:
        site = Site(server)
        console = wait_until(lambda: console_of(server), "the console")
        wait_until(lambda: _is_up(site), "its answers")
        with ThreadPoolExecutor(ACCOUNTS) as clients, _looking(site):
            work = [clients.submit(_work, site, name) for name in names]
            os.kill(console, how)
            assert sum(each.result(120) for each in work) == ACCOUNTS * SESSIONS
            if how is signal.SIGSTOP:
                os.kill(console, signal.SIGCONT)
        wait_until(lambda: _is_up(site), "the console, as before")
        # What happened meanwhile is in the history all the same.
        cookie, _ = site.session()
        wait_until(
            lambda: (
                site.ask("GET", "/mail-in", cookie=cookie).body.count("@example.org</a></td>")
                == ACCOUNTS
            ),
            "the deliveries",
        )


# The history, while the pages are looked at


def test_the_pages_stand_while_the_history_is_locked_and_damaged(admin: Any, site: Site) -> None:
    """The pages stand, mail goes on, and later all is as before."""
    file = site.folder / "data" / "history.sqlite"
    site.server.login("ann").quit()
    wait_until(lambda: admin.goto("/explain?account=ann") and _client_is_known(admin), "a history")
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")  # whoever writes has to wait
        for path in ("/", "/mail-in", "/explain?account=ann", "/accounts/one?name=ann"):
            assert admin.goto(path).status == 200
        site.server.login("ann").quit()
        other.execute("ROLLBACK")
    for journal in file.parent.glob("history.sqlite-*"):
        journal.unlink()
    broken = file.with_name("broken")
    broken.write_bytes(b"no database" * 1000)
    broken.replace(file)
    for path in ("/", "/mail-in", "/explain?account=ann", "/accounts/one?name=ann"):
        assert admin.goto(path).status == 200

    def is_set_aside() -> bool:
        site.server.login().quit()  # again: the first may have gone where the old file was
        return file.with_name("history.sqlite.damaged").exists()

    wait_until(is_set_aside, "that it has been set aside")
    wait_until(lambda: admin.goto("/explain?account=joe") and _client_is_known(admin), "a new one")
    assert admin.goto("/").status == 200


def _client_is_known(admin: Any) -> bool:
    return bool(admin.get_by_text("Client 1").count())


# Large messages, in a browser


def _thousand_parts() -> bytes:
    parts = "".join(
        f"--b\r\nContent-Type: text/plain\r\nContent-Disposition: attachment;"
        f' filename="part-{number}.txt"\r\n\r\ntext {number}\r\n'
        for number in range(1000)
    )
    return (
        "From: a@example.org\r\nSubject: a thousand parts\r\nMIME-Version: 1.0\r\n"
        f'Content-Type: multipart/mixed; boundary="b"\r\n\r\n{parts}--b--\r\n'
    ).encode()


def test_a_thousand_parts_and_50_megabytes_are_looked_at(admin: Any, site: Site) -> None:
    folder = site.folder / "data" / "mail" / "ann"
    site.deliver(_thousand_parts(), to="ann@example.org")
    text = message("a@example.org", "fifty megabytes", "text") + b"0123456789abcde\r\n" * (3 << 20)
    (folder / "new" / "1700000000.large").write_bytes(text)
    admin.goto("/maildrop?account=ann")
    admin.get_by_role("link", name="a thousand parts").click()
    assert admin.get_by_text("part-0.txt").count()
    assert admin.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for name in ("Headers", "Parts"):
        if admin.get_by_role("link", name=name).count():
            admin.get_by_role("link", name=name).first.click()
            assert admin.get_by_role("heading", level=1).is_visible()
    admin.goto("/maildrop?account=ann")
    admin.get_by_role("link", name="fifty megabytes").click()
    assert "here is what you have asked for" in admin.locator("pre.mail").inner_text()
    with admin.expect_download() as download:
        admin.get_by_role("link", name="Download .eml").click()
    assert download.value.path().stat().st_size == len(text)


def test_a_page_by_another_name_is_not_served(chromium: Any, site: Site) -> None:
    """DNS rebinding: a name of elsewhere leads here."""
    context = chromium.new_context(extra_http_headers={})
    page = context.new_page()
    page.route("http://evil.example/**", lambda route: route.fulfill(**_by_another_name(site)))
    assert page.goto("http://evil.example/").status == 421
    assert page.get_by_label("Password").count() == 0
    context.close()


def _by_another_name(site: Site) -> dict[str, Any]:
    found = site.ask("GET", "/", host="evil.example")
    return {"status": found.status, "body": found.body, "headers": found.headers}
