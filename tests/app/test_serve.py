"""`restante serve` for real: start, signals, reload, the debug log, the end."""

from __future__ import annotations

import json
import os
import poplib
import re
import shutil
import signal
import smtplib
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from restante.app.cert import make_certificate
from restante.app.cli.main import run
from restante.app.run import worker_count
from tests.app.support import (
    PASSWORD,
    Server,
    client_context,
    restante,
    wait_until,
    write_config,
)
from tests.needs import need

SCRIPT = Path(__file__).parents[2] / "scripts" / "serve"
WORKERS = worker_count("auto")
unix = pytest.mark.skipif(os.name != "posix", reason="signals of Unix")


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    """A server with one static account, joe."""
    write_config(folder, "[log]\nformat = 'json'\n")
    with Server(folder) as running:
        yield running


def send(server: Server, body: bytes, to: str = "joe@localhost") -> None:
    with smtplib.SMTP("127.0.0.1", server.port("smtp", "starttls"), timeout=20) as client:
        client.sendmail("a@x.example", [to], body)


def test_mail_in_by_smtp_and_lmtp_and_out_by_pop3_with_and_without_tls(server: Server) -> None:
    send(server, b"Subject: 1\r\n\r\n.one\r\n")
    with smtplib.LMTP("127.0.0.1", server.port("lmtp", "none")) as client:
        client.sendmail("a@x.example", ["joe+tag@localhost"], b"Subject: 2\r\n\r\ntwo\r\n")
    plain = server.login()
    assert plain.retr(1)[1] == [b"Subject: 1", b"", b".one"]
    plain.quit()
    inside = poplib.POP3_SSL("127.0.0.1", server.port("pop3", "implicit"), context=client_context())
    inside.user("joe")
    inside.pass_(PASSWORD)
    assert inside.retr(2)[1] == [b"Subject: 2", b"", b"two"]
    inside.quit()
    later = poplib.POP3("127.0.0.1", server.port("pop3", "starttls"))
    later.stls(client_context())
    later.user("joe")
    later.pass_(PASSWORD)
    assert later.stat() == (2, 39)
    later.quit()


def test_smtp_logs_in_with_the_same_accounts_when_asked_to(folder: Path) -> None:
    write_config(folder, "[smtp]\nauth = true\ntls = 'starttls_required'\n")
    with (
        Server(folder) as server,
        smtplib.SMTP("127.0.0.1", server.port("smtp", "starttls_required")) as client,
    ):
        client.starttls(context=client_context())
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("joe", "wrong")
        assert client.login("joe", PASSWORD)[0] == 235


def test_the_first_start_makes_what_it_needs_and_the_second_shows_no_password(
    folder: Path,
) -> None:
    with Server(folder) as server:
        shown = server.out.read_text()
        found = re.search(r"First account: me, password (\S+)", shown)
        assert found
        assert f"POP3  127.0.0.1:{server.port('pop3', 'starttls')}" in shown
        assert "Try it, from another terminal: " in shown
        send(server, b"Subject: x\r\n\r\nx\r\n", "me@localhost")
        client = server.login("me", found[1])
        assert client.stat() == (1, 17)
        client.quit()
        certificate = server.certificate()
    if os.name == "posix":
        modes = {
            path: stat.S_IMODE((folder / path).stat().st_mode)
            for path in ("data", "data/mail", "data/tls/key.pem", "data/accounts.sqlite")
        }
        assert modes == {
            "data": 0o700,
            "data/mail": 0o700,
            "data/tls/key.pem": 0o600,
            "data/accounts.sqlite": 0o600,
        }
    assert not (folder / "ready.json").exists()
    with Server(folder) as server:
        assert "password" not in server.out.read_text()
        assert server.certificate() == certificate
        client = server.login("me", found[1])
        client.quit()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_line_to_try_works_as_it_is_shown(folder: Path, workers: str) -> None:
    with Server(folder, "--workers", workers) as server:
        (line,) = (each for each in server.out.read_text().splitlines() if "Try it" in each)
        arguments = line.partition(" try ")[2].split()
        done = restante("try", *arguments, cwd=folder)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.decode().splitlines()
        assert [each.split()[0] for each in lines] == ["SMTP", "POP3", "POP3", "It"]
        assert "took a message for restante-try-" in lines[0]
        assert "inside TLS, read the message, " in lines[1]
        assert lines[2].endswith("deleted it")
        # Nothing of it is left.
        assert [each.name for each in (folder / "data" / "mail").iterdir()] == []
        assert restante("user", "list", cwd=folder).stdout.decode().count("\n") == 1


def test_the_lines_for_curl_work_as_the_page_shows_them(folder: Path) -> None:
    curl = need("curl", package="curl")
    page = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()
    lines = re.findall(r"^\$ curl (.*)$", page, re.MULTILINE)
    assert len(lines) == 2
    with Server(folder) as server:
        found = re.search(r"First account: me, password (\S+)", server.out.read_text())
        assert found
        send(server, b"Subject: x\r\n\r\nx\r\n", "me@localhost")
        ports = {"1995": server.port("pop3", "implicit"), "1110": server.port("pop3", "starttls")}
        for line in lines:
            text = re.sub(r"(?<=localhost:)\d+", lambda port: str(ports[port[0]]), line)
            done = subprocess.run(
                [curl, *text.split()],
                cwd=folder,
                input=found[1].encode() + b"\n",
                capture_output=True,
                timeout=60,
                check=False,
                start_new_session=True,  # without a terminal the password comes from there
            )
            assert (done.returncode, done.stdout) == (0, b"1 17\r\n"), done.stderr


def test_trying_with_an_account_that_is_there(folder: Path) -> None:
    write_config(folder, "[smtp]\nport = 'off'\n[lmtp]\nport = 'off'\nsocket = 'l'\n")
    with Server(folder, "--pop3-port", "0", "--pop3s-port", "0", ports=False) as server:
        done = restante("try", cwd=folder)
        assert done.returncode == 0, done.stderr
        assert "LMTP" in done.stdout.decode()
        assert "logged in as joe" in done.stdout.decode()
        done = restante("try", "--account", "joe", "--password-stdin", cwd=folder, given=b"x\n")
        assert done.returncode == 0  # the configuration has the password
    assert restante("try", cwd=folder).stderr.endswith(b"no server runs here\n")
    assert server.log.read_text().count("login failed") == 0


def test_a_wrong_password_is_told_by_a_try(folder: Path) -> None:
    with Server(folder):
        done = restante("try", "--account", "me", "--password-stdin", cwd=folder, given=b"x\n")
    assert done.returncode == 1
    assert b"failed: -ERR [AUTH]" in done.stderr
    assert b"It works" not in done.stdout


def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


taken = pytest.fixture(taken_port)


@pytest.mark.parametrize(
    ("flag", "key"),
    [
        ("--pop3-port", "pop3.port"),
        ("--pop3s-port", "pop3.tls_port"),
        ("--smtp-port", "smtp.port"),
        ("--lmtp-port", "lmtp.port"),
    ],
)
def test_a_port_that_cannot_be_had_is_named_with_its_key(
    folder: Path, taken: int, flag: str, key: str
) -> None:
    write_config(folder)
    ports = {"--pop3-port": "0", "--pop3s-port": "0", "--smtp-port": "0", "--lmtp-port": "0"}
    flags = [text for pair in {**ports, flag: str(taken)}.items() for text in pair]
    done = restante("serve", *flags, cwd=folder)
    assert done.returncode == 1
    last = done.stderr.decode().splitlines()[-1]
    assert last == (
        f"restante: {key} = {taken}: can't listen on 127.0.0.1: another program listens there;"
        f" choose another port by {flag}"
    )


@pytest.mark.parametrize("workers", ["1", "2"])
def test_all_ports_that_cannot_be_had_are_named_before_anything_is_made(
    folder: Path, taken: int, workers: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as another:
        other = another.getsockname()[1]
        flags = (
            "--pop3-port", str(taken), "--pop3s-port", "0", "--smtp-port", "0",
            "--lmtp-port", str(other), "--workers", workers,
        )  # fmt: skip
        done = restante("serve", *flags, cwd=folder)
    assert done.returncode == 1
    assert done.stdout == b""
    keys = [line.split(":")[1].strip() for line in done.stderr.decode().splitlines()]
    assert keys == [f"pop3.port = {taken}", f"lmtp.port = {other}"]
    assert list(folder.iterdir()) == []


@unix
def test_sigterm_finishes_a_reply_in_flight_and_refuses_new_sessions(server: Server) -> None:
    size = 30_000_000
    new = server.folder / "data" / "mail" / "joe" / "new"
    server.login().quit()  # makes the maildrop
    (new / "1.big").write_bytes(b"Subject: x\r\n\r\n" + (b"x" * 98 + b"\r\n") * (size // 100))
    client = server.login()
    client.sock.sendall(b"RETR 1\r\n")
    received = client.sock.recv(1000)
    server.signal(signal.SIGTERM)
    server.wait_for_log("SIGTERM: stopping")
    wait_until(lambda: not accepts(server.port("pop3", "starttls")), "refusal")
    assert server.process.poll() is None
    pieces = [received]
    while block := client.sock.recv(1 << 20):
        pieces.append(block)
    reply = b"".join(pieces)
    client.sock.close()
    assert reply.endswith(b"xx\r\n.\r\n") or b"xx\r\n.\r\n-ERR" in reply
    assert len(reply) > size
    assert server.process.wait(10) == 0
    assert "stopped" in server.log.read_text()


def accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            return client.recv(10).startswith(b"+OK")
    except OSError:
        return False


def stuck_client(server: Server) -> poplib.POP3:
    """One that takes the beginning of a large message, and nothing more."""
    server.login().quit()
    new = server.folder / "data" / "mail" / "joe" / "new"
    (new / "1.big").write_bytes(b"x\r\n" * 10_000_000)
    client = server.login()
    client.sock.sendall(b"RETR 1\r\n")
    client.sock.recv(10)
    return client


@unix
def test_the_end_comes_within_its_deadline_even_if_a_client_never_reads(folder: Path) -> None:
    write_config(folder, "[server]\ndrain_seconds = 0.5\n")
    with Server(folder) as server:
        client = stuck_client(server)
        server.signal(signal.SIGTERM)
        assert server.process.wait(60) == 0  # or it would wait for the client for ever
        client.sock.close()


@unix
def test_a_second_signal_ends_at_once(folder: Path) -> None:
    write_config(folder, "[server]\ndrain_seconds = 300\n")
    with Server(folder) as server:
        client = stuck_client(server)
        server.signal(signal.SIGTERM)
        server.wait_for_log("SIGTERM: stopping")
        server.signal(signal.SIGINT)
        assert server.process.wait(10) == 128 + signal.SIGINT
        client.sock.close()


@unix
@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_that_arrives_twice_is_one(folder: Path, workers: int) -> None:
    """As `timeout` sends it, to its program and then to the program's process group."""
    write_config(folder, f"[server]\nworkers = {workers}\n")
    with Server(folder) as server:
        server.login().quit()
        for _ in range(2):
            server.signal(signal.SIGTERM)
            server.wait_for_log("SIGTERM: stopping")
        assert server.process.wait(60) == 0
        assert "second signal" not in server.log.read_text()


@unix
@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_after_the_end_changes_nothing(folder: Path, workers: int) -> None:
    write_config(folder, f"[server]\nworkers = {workers}\n")
    with Server(folder) as server:
        server.login().quit()
        server.signal(signal.SIGTERM)
        server.wait_for_log("restante.app: stopped")
        while server.process.poll() is None:
            for each in (signal.SIGTERM, signal.SIGHUP):
                server.signal(each)
        assert server.process.wait(60) == 0


@pytest.fixture
def certified(folder: Path) -> Iterator[Server]:
    """A server with a certificate in files."""
    make_certificate(folder / "c.pem", folder / "k.pem")
    file = folder / "restante.toml"
    file.write_text(
        f'[accounts]\nkind = "static"\nstatic = {{joe = "{PASSWORD}"}}\n'
        '[tls]\ncertificate = "c.pem"\nkey = "k.pem"\n'
    )
    with Server(folder) as running:
        yield running


def renew(folder: Path) -> None:
    make_certificate(folder / "c.pem", folder / "k.pem", replace=True)


@unix
def test_sighup_takes_a_new_certificate_while_a_tls_session_lives(certified: Server) -> None:
    before = certified.certificate()
    port = certified.port("pop3", "implicit")
    old = poplib.POP3_SSL("127.0.0.1", port, context=client_context())
    old.user("joe")
    old.pass_(PASSWORD)
    renew(certified.folder)
    certified.signal(signal.SIGHUP)
    wait_until(lambda: certified.certificate() != before, "the new certificate")
    assert old.noop().startswith(b"+OK")
    old.quit()


def test_a_certificate_that_changes_is_taken_without_a_signal(certified: Server) -> None:
    before = certified.certificate()
    renew(certified.folder)
    wait_until(lambda: certified.certificate() != before, "the new certificate")


@unix
@pytest.mark.parametrize("damage", ["junk", "other key", "missing"])
def test_a_bad_new_certificate_is_told_and_the_old_goes_on(certified: Server, damage: str) -> None:
    before = certified.certificate()
    folder = certified.folder
    if damage == "junk":
        (folder / "c.pem").write_text("junk")
    elif damage == "missing":
        (folder / "c.pem").unlink()
    else:
        make_certificate(folder / "other.pem", folder / "k.pem", replace=True)
    certified.signal(signal.SIGHUP)
    certified.wait_for_log("the old one goes on")
    assert certified.certificate() == before
    renew(folder)
    certified.signal(signal.SIGHUP)
    wait_until(lambda: certified.certificate() != before, "the mended certificate")


@unix
def test_a_certificate_that_is_missing_is_told_once_and_again_when_somebody_asks(
    folder: Path,
) -> None:
    make_certificate(folder / "c.pem", folder / "k.pem")
    file = write_config(folder)
    text = 'certificate = "c.pem"\nkey = "k.pem"'
    file.write_text(file.read_text().replace("development = true", text))
    prelude = (
        "import restante.app.service as s; s.CHOICE_SECONDS = 0.01; s.CERTIFICATE_ROUNDS = 1\n"
        "renew, looks = s.renew_certificates, open('looks', 'a', buffering=1)\n"
        "s.renew_certificates = lambda *given, **how: (print(file=looks), renew(*given, **how))"
    )
    with Server(folder, "--workers", "1", prelude=prelude) as server:
        (folder / "c.pem").unlink()
        server.wait_for_log("the old one goes on")
        before = (folder / "looks").stat().st_size
        wait_until(lambda: (folder / "looks").stat().st_size > before + 20, "twenty looks more")
        assert server.log.read_text().count("the old one goes on") == 1
        server.signal(signal.SIGHUP)
        server.wait_for_log("the old one goes on", times=2)
    assert re.search(r"the old one goes on: .* \(\d+ more times\)", server.log.read_text())


@unix
def test_sighup_takes_static_accounts_anew(folder: Path) -> None:
    file = write_config(folder)
    with Server(folder) as server:
        server.login().quit()
        text = file.read_text()
        file.write_text(text.replace("joe =", "ann =") + "login_delay = 1\n")
        server.signal(signal.SIGHUP)
        log = server.wait_for_log("restante.app: reloaded")
        assert "heeded only after a restart: pop3.login_delay" in log
        server.login("ann").quit()
        with pytest.raises(poplib.error_proto):
            server.login("joe")
        file.write_text(text + "zzz = 1\n")
        server.signal(signal.SIGHUP)
        server.wait_for_log("the configuration can't be used, the old one goes on")
        server.login("ann").quit()


def dialogue(server: Server) -> list[dict[str, str]]:
    """The debug log's lines."""
    records = [json.loads(line) for line in server.log.read_text().splitlines()]
    return [each for each in records if each["logger"] == "restante.protocol"]


def test_the_debug_log_is_switched_while_the_server_runs(server: Server) -> None:
    client = server.login()
    client.noop()
    assert run(["log", "on", "--account", "joe"]) == 0
    wait_until(lambda: client.noop() and dialogue(server), "lines of the dialogue")
    first = dialogue(server)[0]
    assert (first["account"], first["peer"], first["direction"]) == ("joe", "127.0.0.1", "C")
    assert first["line"] == "NOOP"
    server.wait_for_log("debug log: account joe until", times=WORKERS)
    assert run(["log", "off"]) == 0
    server.wait_for_log("debug log: off", times=WORKERS)
    before = len(dialogue(server))
    client.noop()
    client.quit()
    assert len(dialogue(server)) == before


def test_the_debug_log_of_an_address_has_no_password_and_ends_by_itself(server: Server) -> None:
    assert run(["log", "on", "--address", "127.0.0.1", "--minutes", "0.06"]) == 0
    server.wait_for_log("debug log: address 127.0.0.1 until", times=WORKERS)
    server.login().quit()
    lines = [each["line"] for each in dialogue(server) if each["direction"] == "C"]
    assert lines == ["USER joe", "PASS ****", "QUIT"]
    assert PASSWORD not in server.log.read_text()
    server.wait_for_log("debug log: off", times=WORKERS)
    before = len(dialogue(server))
    server.login().quit()
    assert len(dialogue(server)) == before


def test_a_damaged_control_file_changes_nothing(server: Server) -> None:
    (server.folder / "data" / "debug-log.json").write_text("{")
    server.wait_for_log("what was chosen before goes on", times=WORKERS)
    server.login().quit()
    assert dialogue(server) == []


def test_all_dialogues_are_logged_with_debug(folder: Path) -> None:
    write_config(folder, "[log]\nformat = 'json'\nlevel = 'error'\n")
    with Server(folder, "--debug") as server:
        server.login().quit()
        wait_until(lambda: dialogue(server), "lines of the dialogue")


@unix
def test_lmtp_on_a_unix_socket(folder: Path) -> None:
    write_config(folder, "[lmtp]\nsocket = 'l'\n")
    with Server(folder) as server:
        assert stat.S_IMODE((folder / "l").stat().st_mode) == 0o660
        with smtplib.LMTP(str(folder / "l")) as client:
            client.sendmail("a@x.example", ["joe@localhost"], b"x\r\n")
        client2 = server.login()
        assert client2.stat()[0] == 1
        client2.quit()
    assert not (folder / "l").exists()


@unix
def test_the_service_manager_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(folder)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("n")
        manager.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "n"))
        with Server(folder):
            assert manager.recv(100) == b"READY=1"
        assert manager.recv(100) == b"STOPPING=1"


def test_a_maildrop_that_was_restored_keeps_its_unique_ids(server: Server, folder: Path) -> None:
    maildrop, copy = folder / "data" / "mail" / "joe", folder / "copy"

    def unique_ids() -> list[bytes]:
        client = server.login()
        found = client.uidl()[1]
        client.quit()
        return found

    for number in range(3):
        send(server, b"Subject: %d\r\n\r\nx\r\n" % number)
    before = unique_ids()
    shutil.copytree(maildrop, copy)  # while the server runs
    shutil.rmtree(maildrop)
    assert unique_ids() == []
    shutil.rmtree(maildrop)
    shutil.copytree(copy, maildrop)
    assert unique_ids() == before
    assert len(before) == 3


def test_many_senders_at_once_lose_nothing(server: Server) -> None:
    threads = [
        threading.Thread(target=send, args=(server, b"Subject: %d\r\n\r\nx\r\n" % i))
        for i in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client = server.login()
    assert client.stat()[0] == 10
    client.quit()


@unix
def test_the_script_says_which_python_it_needs(folder: Path) -> None:
    for name in ("bash", "dirname", "cmp", "cut"):
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    environ = {"PATH": str(folder), "RESTANTE_HOME": str(folder)}

    def says(python: str | None) -> str:
        if python is not None:
            (folder / "python3").write_text(f"#!{sys.executable}\n{python}")
            (folder / "python3").chmod(0o755)
        done = subprocess.run(
            ["bash", str(SCRIPT)], env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        return done.stderr

    assert "apt install python3 python3-venv" in says(None)
    old = "import sys\nif '-V' in sys.argv: print('Python 3.9.2')\nsys.exit('-V' not in sys.argv)"
    assert "Python 3.11 or newer is needed; python3 here is 3.9.2." in says(old)
    bare = "import sys\nsys.exit('ensurepip' in sys.argv[-1])"
    assert "apt install python3-venv" in says(bare)
    assert not (folder / ".venv-serve").exists()


@unix
def test_the_script_updates_an_environment_and_keeps_what_was_added_to_it(folder: Path) -> None:
    programs = folder / ".venv-serve" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "restante"):
        program = programs / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >>{folder / "calls"}\n')
        program.chmod(0o755)
    (folder / ".venv-serve" / "added-by-hand").touch()
    environ = {**os.environ, "RESTANTE_HOME": str(folder)}

    def calls() -> list[str]:
        (folder / "calls").unlink(missing_ok=True)
        subprocess.run(
            ["bash", SCRIPT, "--pop3-port", "0"], env=environ, check=True, capture_output=True
        )
        return (folder / "calls").read_text().splitlines()

    first = calls()
    assert any("pip install" in each and "--editable" in each for each in first)
    assert not any("venv" in each for each in first)
    assert first[-1] == "restante serve --console --pop3-port 0"
    assert not any("pip install" in each for each in calls())  # nothing has changed since
    assert (folder / ".venv-serve" / "added-by-hand").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only where /proc tells the limits")
def test_it_opens_as_many_files_as_it_is_allowed(folder: Path) -> None:
    prelude = (
        "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (300, r.getrlimit(r.RLIMIT_NOFILE)[1]))"
    )
    with Server(folder, prelude=prelude) as server:
        limits = Path(f"/proc/{server.process.pid}/limits").read_text()
        (line,) = (line for line in limits.splitlines() if line.startswith("Max open files"))
        soft, hard = line.split()[3:5]
        assert soft == hard != "300"
