"""Many live sessions and very large maildrops: pages show a part, and keep nobody waiting."""

from __future__ import annotations

import re
import resource
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from html import unescape
from pathlib import Path
from threading import Event

import pytest

from restante.accounts.sqlite import SqliteAccounts
from restante.app.administrators import Administrators
from restante.app.config.load import Loaded, load
from restante.app.config.problem import Problem
from restante.app.console import shared
from restante.app.console.looks import MOST, Looks, StillLooking
from restante.app.processes.admin_client import ask
from tests.app.support import PASSWORD, Server, restante
from tests.console.site import ADMIN, ADMIN_PASSWORD, Site, message, prepare

FILES_EACH = 2
"""Files that a server has open for a session: its socket, and the lease of its maildrop."""

SPARE_FILES = 500
MESSAGES = 100_000
ACCOUNTS = 100_000
NAMES = 50_000
"""Names of one file: there may be no more than some 65,000."""

TOGETHER = 200
"""Sessions that are begun together: fewer than a listener's queue holds."""


@contextmanager
def files_for(sessions: int) -> Iterator[int]:
    """Have as many open files as that needs, in the servers that are started, too. How many
    sessions there can be."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    unbounded = most == resource.RLIM_INFINITY
    wanted = FILES_EACH * sessions + SPARE_FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if unbounded else min(wanted, most), most))
    try:
        yield sessions if unbounded else min(sessions, (most - SPARE_FILES) // FILES_EACH)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


def _prepare(folder: Path, sessions: int) -> None:
    """An account for each session, and one that isn't held."""
    lines = [f"{name}:{{PLAIN}}{PASSWORD}" for name in ("joe", *map(_name, range(sessions)))]
    users = folder / "users"
    users.write_text("\n".join(lines) + "\n")
    users.chmod(0o600)
    config = folder / "restante.toml"
    config.write_text(
        '[accounts]\nkind = "passwd-file"\n[accounts.passwd_file]\npath = "users"\n'
        '[guard]\ntrusted_networks = ["127.0.0.0/8"]\n[tls]\ndevelopment = true\n'
    )
    config.chmod(0o600)
    (folder / "data").mkdir(mode=0o700)
    Administrators(folder / "data" / "administrators.json").set(ADMIN, ADMIN_PASSWORD, new=True)


def _name(number: int) -> str:
    return f"user{number:04}"


@contextmanager
def _held(server: Server, number: int) -> Iterator[list[socket.socket]]:
    """So many sessions that have logged in and go on."""
    port = server.port("pop3", "starttls")
    with ExitStack() as stack:
        held: list[socket.socket] = []
        for first in range(0, number, TOGETHER):
            some = []
            for each in range(first, min(first + TOGETHER, number)):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", port), 60))
                client.sendall(f"USER {_name(each)}\r\nPASS {PASSWORD}\r\n".encode())
                some.append(client)
            for client in some:
                assert _lines(client, 3).count(b"+OK") == 3
            held += some
        yield held


def _accounts(page: str) -> list[str]:
    """Whose sessions a page shows."""
    return re.findall(r'<a id="of-[^"]+" href="[^"]+">([^<]+)</a>', page)


def _lines(client: socket.socket, number: int) -> bytes:
    """So many lines that a client is sent."""
    text = b""
    while text.count(b"\n") < number:
        some = client.recv(4096)
        assert some, text
        text += some
    return text


def test_two_thousand_sessions_are_shown_in_pages(tmp_path: Path) -> None:
    with files_for(2000) as number:
        _prepare(tmp_path, number)
        with (
            Server(tmp_path, "--console-port", "0", "--workers", "2") as server,
            _held(server, number) as held,
        ):
            site = Site(server)
            cookie, token = site.session()

            def page(path: str) -> str:
                found = site.ask("GET", path, cookie=cookie)
                assert found.status == 200
                return found.body

            # A page has a hundred of them, however many there are; the newest come first.
            first = page("/sessions")
            assert f"{number:,} sessions open now, the newest first: 1 to 100." in first
            assert first.count('aria-label="End session') == 100
            assert f">{_name(number - 1)}</a>" in first
            seen, shown = _accounts(first), first
            while (older := re.search(r'<a href="([^"]+)" rel="next">Older', shown)) is not None:
                shown = page(unescape(older[1]))
                seen += _accounts(shown)
            assert sorted(seen) == [_name(each) for each in range(number)]  # each once
            assert f": {(number - 1) // 100 * 100 + 1:,} to {number:,}." in shown
            assert "Newest</a>" in shown
            beyond = page("/sessions?from=1_x")
            assert "No older session is open any more" in beyond

            # They are found by name, and all of them are counted.
            found = page("/sessions?find=user001")
            assert f"10 sessions of {number:,} open now" in found
            assert found.count('aria-label="End session') == 10
            assert f'href="/sessions">{number:,}</a>' in page("/")
            assert "goes on since" in page(f"/explain?account={_name(1)}")
            assert page(f"/explain?account={_name(1)}").count("goes on since") == 1
            assert "has held the maildrop's lease" in page(f"/maildrop?account={_name(1)}")
            path = tmp_path / "data" / "restante.sock"
            assert sum("session" in row for row in ask(path, "sessions")) == number
            assert restante("sessions", cwd=tmp_path).stdout.count(b"\n") == number

            # One is ended; the others go on.
            (row,) = [
                row for row in ask(path, "sessions") if row.get("account") == _name(number - 1)
            ]
            form = {"session": row["session"], "token": token}
            assert site.ask("POST", "/sessions/end", form, cookie=cookie).status == 303
            assert held[-1].recv(100) == b""
            for client in held[:-1]:
                client.sendall(b"NOOP\r\n")
            assert all(_lines(client, 1).startswith(b"+OK") for client in held[:-1])


def _many_accounts(folder: Path, number: int) -> None:
    """So many in the database of accounts, and three more in a file."""
    path = folder / "data" / "accounts.sqlite"
    with SqliteAccounts(path) as accounts:
        accounts.add("joe", PASSWORD)
    names = (f"user{each:06}" for each in range(1, number))
    rows = ((name, name, f"{name}@example.org", f"{name}@example.org") for name in names)
    with closing(sqlite3.connect(path)) as database, database:
        database.executemany(
            "INSERT INTO accounts (name, name_key, email, email_key, display_name)"
            " VALUES (?, ?, ?, ?, '')",
            rows,
        )
        database.execute(
            "INSERT INTO credentials (account, scheme, credential)"
            " SELECT id, 'PLAIN', '{PLAIN}x' FROM accounts WHERE name <> 'joe'"
        )
    config = folder / "restante.toml"
    text = config.read_text().replace('"passwd-file"', '["sqlite", "passwd-file"]')
    config.write_text(text)


def test_a_hundred_thousand_accounts_are_shown_in_pages(tmp_path: Path) -> None:
    """Of two kinds: those of a file come after those of the database, as at a login."""
    _prepare(tmp_path, 2)
    _many_accounts(tmp_path, ACCOUNTS)
    with Server(tmp_path, "--console-port", "0", "--workers", "1") as server:
        site = Site(server)
        cookie, _ = site.session()

        def names(path: str) -> list[str]:
            found = site.ask("GET", path, cookie=cookie)
            assert found.status == 200
            return re.findall(r'<a href="/(?:accounts/one\?name|\w+\?account)=(\w+)"', found.body)

        first = site.ask("GET", "/accounts", cookie=cookie).body
        assert "Page 1 of 1,001" in first  # with joe, user0000 and user0001 of the file
        for page in ("/accounts", "/maildrop", "/explain"):
            assert names(page) == ["joe", *(f"user{each:06}" for each in range(1, 100))]
            assert names(f"{page}?page=1000")[-1] == f"user{ACCOUNTS - 1:06}"
            assert names(f"{page}?page=1001") == ["joe", "user0000", "user0001"]
            assert names(f"{page}?page=999999999") == ["joe", "user0000", "user0001"]
            assert names(f"{page}?find=USER099999%40") == ["user099999"]
            assert names(f"{page}?find=user000&page=10")[-2:] == ["user000999", "user0000"]
            assert names(f"{page}?find=user000&page=11") == ["user0001"]
            assert names(f"{page}?find=nobody") == []


def test_a_hundred_thousand_messages_are_shown_in_pages(tmp_path: Path) -> None:
    """No client has seen them yet, so the first look reads every one of them."""
    prepare(tmp_path)
    new = tmp_path / "data" / "mail" / "joe" / "new"
    for sub in ("cur", "tmp", "new"):
        (new.parent / sub).mkdir(parents=True, mode=0o700)
    (new / "0").write_bytes(message("a@example.org", "the oldest", "text"))
    for number in range(1, MESSAGES):
        path = new / f"{number}"
        if number % NAMES:
            path.hardlink_to(new / f"{number // NAMES * NAMES}")
        else:
            path.write_bytes(message("a@example.org", f"from {number} on", "text"))
    with Server(tmp_path, "--console-port", "0", "--workers", "1") as server:
        site = Site(server)
        cookie, _ = site.session()

        def page(path: str) -> str:
            found = site.ask("GET", path, cookie=cookie)
            while found.headers.get("refresh"):  # what a browser does
                assert "is being looked through" in found.body
                found = site.ask("GET", path, cookie=cookie)
            assert found.status == 200
            return found.body

        newest = page("/maildrop?account=joe")
        assert f"{MESSAGES:,} messages" in newest
        assert newest.count("<tr>") == 1 + 50
        assert "Page 1 of 2,000" in newest
        oldest = page("/maildrop?account=joe&page=2000")
        assert "the oldest" in oldest
        assert oldest.count("<tr>") == 1 + 50
        beyond = site.ask("GET", "/maildrop?account=joe&page=2001", cookie=cookie)
        assert beyond.status == 404
        assert "100,000 messages" in page("/accounts/one?name=joe")
        found = page(f"/maildrop?account=joe&find=from+{NAMES}+on")
        assert "100 messages found among the 100 newest messages" in found
        assert "among the 2,000 newest messages" in page("/maildrop?account=joe&find=oldest")
        assert "the oldest" in page("/maildrop/message?account=joe&id=0")


def test_a_long_look_is_made_once_while_pages_come_back_for_it() -> None:
    looks, go_on, begun = Looks(), Event(), []

    def look() -> str:
        begun.append(True)
        assert go_on.wait(60)
        return "seen"

    for _ in range(3):
        with pytest.raises(StillLooking):
            looks.result("joe", look, 0)
    assert looks.result("ann", lambda: "another", 60) == "another"
    go_on.set()
    assert looks.result("joe", look, 60) == "seen"
    assert len(begun) == 1
    looks.result("joe", look, 60)
    assert len(begun) == 2  # what was fetched isn't kept


def test_looks_that_go_on_are_bounded() -> None:
    looks, go_on = Looks(), Event()
    for number in range(MOST):
        with pytest.raises(StillLooking):
            looks.result(number, lambda: go_on.wait(60), 0)
    with pytest.raises(StillLooking):
        looks.result("one more", pytest.fail, 60)
    go_on.set()
    assert looks.result(0, pytest.fail, 60)
    assert looks.result("one more", lambda: "seen", 60) == "seen"


def test_what_goes_wrong_with_a_look_is_told() -> None:
    looks = Looks()

    def fail() -> str:
        raise TimeoutError("the disk")

    with pytest.raises(TimeoutError, match="the disk"):
        looks.result("joe", fail, 60)


def test_what_reads_all_accounts_is_not_done_for_each_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The overview renews itself every ten seconds, and check-config reads all accounts."""
    now, made = [1000.0], []

    def slow(loaded: Loaded) -> list[Problem]:
        made.append(loaded)
        now[0] += 3.0
        return []

    monkeypatch.setattr(shared, "check", slow)
    monkeypatch.setattr("restante.app.console.shared.time.monotonic", lambda: now[0])
    config = tmp_path / "restante.toml"
    config.write_text("")
    console = shared.Console(load(config))
    try:
        for _ in range(10):
            assert console.problems() == []
            now[0] += 10.0
        assert len(made) == 1
        now[0] += 100.0
        console.problems()
        assert len(made) == 2
    finally:
        console.server.close()
