"""The console is a process of its own: whatever becomes of it, mail goes on."""

from __future__ import annotations

import os
import re
import signal
import smtplib
import ssl
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from restante.app.administrators import Administrators
from restante.app.config.load import read
from restante.app.processes.admin_client import ask
from tests.app.conftest import Call, call
from tests.app.support import Server, client_context, environment, wait_until
from tests.console.site import Site, message, prepare

pytest.importorskip("starlette")


__all__ = ["call"]  # a fixture

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")


def console_of(server: Server) -> int:
    """The process id of the console, 0 if there is none now."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
    for pid in map(int, children.split()):
        with suppress(OSError):
            if b"restante.app.console" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
    return 0


def _answers(server: Server) -> bool:
    with suppress(OSError):
        return Site(server).ask("GET", "/login").status == 200
    return False


@only_linux
@pytest.mark.parametrize("workers", ["1", "2"])
def test_killed_it_is_started_again_and_no_session_notices(tmp_path: Path, workers: str) -> None:
    prepare(tmp_path)
    with Server(tmp_path, "--console-port", "0", "--workers", workers) as server:
        first = wait_until(lambda: console_of(server), "the console")
        assert _answers(server)
        client = server.login()
        os.kill(first, signal.SIGKILL)
        for _ in range(20):
            assert client.noop()[:3] == b"+OK"
            server.login("ann").quit()
        again = wait_until(lambda: (pid := console_of(server)) != first and pid, "the next console")
        assert _answers(server)
        client.quit()
        assert "the console has ended with status -9" in server.log.read_text()
    assert not Path(f"/proc/{again}").exists()


@only_linux
@pytest.mark.parametrize("workers", ["1", "2"])
def test_stopped_it_keeps_no_session_waiting(tmp_path: Path, workers: str) -> None:
    prepare(tmp_path)
    with Server(tmp_path, "--console-port", "0", "--workers", workers) as server:
        console = wait_until(lambda: console_of(server), "the console")
        assert _answers(server)
        os.kill(console, signal.SIGSTOP)
        site = Site(server)
        for number in range(20):
            site.deliver(message("a@example.org", f"{number}", "text"))
            client = server.login()
            assert client.stat()[0] == number + 1
            client.quit()
        server.signal(signal.SIGHUP)  # nor does a reload wait for it
        server.wait_for_log("reloaded")
    assert not Path(f"/proc/{console}").exists()


@only_linux
def test_it_ends_when_the_server_is_killed(tmp_path: Path) -> None:
    prepare(tmp_path)
    with Server(tmp_path, "--console-port", "0", "--workers", "2") as server:
        console = wait_until(lambda: console_of(server), "the console")
        assert _answers(server)
        server.signal(signal.SIGKILL)
        server.process.wait()
        wait_until(lambda: not Path(f"/proc/{console}").exists(), "the end")


def test_without_it_nothing_of_it_is_imported(tmp_path: Path) -> None:
    """Neither by the command line nor by a server that has none."""
    code = (
        "import sys; import restante.app.run, restante.app.processes.supervisor,"
        " restante.app.cli.main;"
        "print([m for m in sys.modules if m.partition('.')[0] in"
        " ('starlette', 'uvicorn', 'jinja2') or 'app.console' in m])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=environment(), check=True
    )
    assert done.stdout.strip() == b"[]"


def test_the_first_login_is_shown_once_and_works(tmp_path: Path) -> None:
    for first in (True, False):
        with Server(tmp_path, "--console", "--console-port", "0", "--workers", "1") as server:
            out = server.out.read_text()
            assert re.search(r"^The console: http://127\.0\.0\.1:\d+/$", out, re.MULTILINE)
            assert ("The console's first login: admin, password " in out) == first
            if first:
                (password,) = re.findall(r"first login: admin, password (\S+)", out)
    assert Administrators(tmp_path / "data" / "administrators.json").matches("admin", password)
    assert (tmp_path / "data" / "administrators.json").stat().st_mode & 0o777 == 0o600


def test_inside_tls_its_cookies_are_secure(tmp_path: Path) -> None:
    prepare(tmp_path)
    tls = ("--set", "console.tls=implicit")
    with Server(tmp_path, "--console-port", "0", "--workers", "1", *tls) as server:
        url = f"https://127.0.0.1:{server.port('http', 'implicit')}/login"
        context: ssl.SSLContext = client_context()
        with urllib.request.urlopen(url, context=context, timeout=60) as answer:
            cookie = answer.headers["set-cookie"]
            assert cookie.startswith("__Host-restante-form=")
            assert cookie.endswith("; Secure")
            assert answer.headers["strict-transport-security"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('port = 0\nhost = "0.0.0.0"', 'console.host = "0.0.0.0": needs console.tls'),
        ("port = 70000", "console.port"),
        ("port = 0\nidle_minutes = 0", "console.idle_minutes"),
        ('tls = "implicit"', "console: has no effect while console.port"),
    ],
)
def test_what_cannot_be_is_told(tmp_path: Path, call: Call, text: str, said: str) -> None:
    file = tmp_path / "restante.toml"
    file.write_text(f"[console]\n{text}\n[tls]\ndevelopment = true\n")
    assert said in call("check-config", "--config", str(file)).err


def test_administrators_are_added_changed_listed_and_removed(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("console", "add", "eve", "--password-stdin", given=b"long enough\n").status == 0
    assert call("console", "add", "eve", "--generate").err.endswith("'eve' already\n")
    assert "10 to 512" in call("console", "add", "bob", "--password-stdin", given=b"short\n").err
    assert call("console", "add", "../x", "--generate").status == 1
    made = call("console", "passwd", "eve", "--generate").out.strip()
    administrators = Administrators(read().settings.administrators_file)
    assert administrators.matches("eve", made)
    assert not administrators.matches("eve", "long enough")
    assert not administrators.matches("nobody", made)
    assert call("console", "list").out == "eve\n"
    assert call("console", "remove", "eve").status == 0
    assert call("console", "list").out == ""


def test_a_damaged_file_lets_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "administrators.json"
    for text in ("", "[]", '{"admin": 1}', "{", '{"a": "' + "x" * (1 << 20) + '"}'):
        path.write_text(text)
        with pytest.raises(ValueError):
            Administrators(path).matches("admin", "x")


def test_the_admin_socket_ends_one_session(tmp_path: Path) -> None:
    for workers in ("1", "2"):
        folder = tmp_path / workers
        folder.mkdir()
        prepare(folder)
        with Server(folder, "--console-port", "0", "--workers", workers) as server:
            path = folder / "data" / "restante.sock"
            client, other = server.login(), server.login("ann")
            rows = {row.get("account"): row for row in ask(path, "sessions")}
            assert rows["joe"]["state"] == "TRANSACTION"
            ended = [row for row in ask(path, f"end {rows['joe']['session']}") if "end" not in row]
            assert [row["session"] for row in ended] == [rows["joe"]["session"]]
            assert client.file.read() == b""
            assert other.noop()[:3] == b"+OK"
            assert [row for row in ask(path, "end nothing") if "end" not in row] == []
            client.close()
            other.quit()


def test_the_overview_says_that_the_store_fails(tmp_path: Path) -> None:
    prepare(tmp_path)
    mail = tmp_path / "data" / "mail"
    with Server(tmp_path, "--console-port", "0", "--workers", "2") as server:
        site = Site(server)
        cookie, _ = site.session()
        assert "All is well" in site.ask("GET", "/", cookie=cookie).body
        mail.rename(mail.with_name("elsewhere"))
        mail.write_text("nothing can be put into a file")
        with suppress(smtplib.SMTPException):
            site.deliver(message("a@example.org", "lost?", "text"))
        said = site.ask("GET", "/", cookie=cookie).body
        assert "Mail is concerned" in said
        assert "The storage doesn&#39;t work: " in said
        assert "Delivering a message failed, 1 time since the start, last at " in said
        mail.unlink()
        mail.with_name("elsewhere").rename(mail)
        said = site.ask("GET", "/", cookie=cookie).body
        assert "Something to look at" in said
        assert "Delivering a message failed, 1 time since the start" in said


def test_a_message_of_50_mb_is_looked_at_and_downloaded(tmp_path: Path) -> None:
    prepare(tmp_path)
    with Server(tmp_path, "--console-port", "0", "--workers", "1") as server:
        site = Site(server)
        text = message("a@example.org", "large", "text") + b"0123456789abcde\n" * (3 << 20)
        folder = tmp_path / "data" / "mail" / "joe"
        site.deliver(message("a@example.org", "small", "text"))
        (folder / "new" / "large").write_bytes(text)
        cookie, _ = site.session()
        small = [each for each in site.unique_ids() if each != "large"]
        assert small
        shown = site.ask("GET", "/maildrop/message?account=joe&id=large", cookie=cookie)
        assert shown.status == 200
        assert len(shown.body) < 1 << 20
        whole = site.ask("GET", "/maildrop/download?account=joe&id=large", cookie=cookie)
        assert whole.body.encode() == text
