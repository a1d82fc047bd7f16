"""Every example runs as its own text says, from a clean folder; and clients use it."""

from __future__ import annotations

import ast
import os
import poplib
import re
import shlex
import shutil
import smtplib
import ssl
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
import trustme

from restante import MemoryStore, Pop3Server
from tests.needs import need
from tests.ports import free_port

EXAMPLES = Path(__file__).parents[2] / "examples"
PORT = re.compile(r"on 127\.0\.0\.1 port (\d+)")

Start = Callable[..., "Running"]


class Running:
    """An example at work: the ports it told, and what it prints."""

    def __init__(self, process: subprocess.Popen[str], listeners: int) -> None:
        self.process = process
        self.ports = [self._port() for _ in range(listeners)]

    def _port(self) -> int:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := PORT.search(line):
                return int(found[1])
        raise AssertionError("the example ended without telling its port")

    def finish(self) -> str:
        """Press Enter; give what else was printed."""
        output, _ = self.process.communicate("\n", timeout=20)
        assert self.process.returncode == 0
        return output


@contextmanager
def running(name: str, *arguments: str, listeners: int = 1) -> Iterator[Running]:
    with started([sys.executable, str(EXAMPLES / name), *arguments]) as process:
        yield Running(process, listeners)


# What its text says

TOLD_PORTS = re.compile(r"\b(?:1025|1110|1995)\b")
OTHER_SERVER = "pop.example.org --upstream-port 110"


def commands_of(example: Path) -> list[str]:
    """The commands in an example's text, with free ports in place of those in it."""
    text = ast.get_docstring(ast.parse(example.read_text()))
    assert text is not None
    ports = {told: str(free_port()) for told in sorted(set(TOLD_PORTS.findall(text)))}
    text = TOLD_PORTS.sub(lambda found: ports[found[0]], text).replace("\\\n", " ")
    return re.findall(r"^ *((?:pip|python|restante|curl|swaks) .*)$", text, re.MULTILINE)


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_its_text_is_true(
    example: Path, tmp_path: Path, upstream: tuple[Pop3Server, MemoryStore]
) -> None:
    """Its commands, in order. Each of `python …` goes on until the end."""
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    folders = [str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {**os.environ, "PATH": os.pathsep.join(folders)}
    environment |= {"no_proxy": "*", "NO_PROXY": "*"}
    # The gateway's text names somebody else's server.
    own = f"127.0.0.1 --upstream-port {upstream[0].port}"
    commands = [command.replace(OTHER_SERVER, own) for command in commands_of(example)]
    assert any(command.startswith("python ") for command in commands)
    with ExitStack() as stack:
        for command in commands:
            program, *arguments = shlex.split(command)
            if program == "pip":
                assert arguments == ["install", "restante[server]"]
                continue
            if program in ("curl", "swaks"):
                need(program, package=program)
            if program == "python":
                process = stack.enter_context(started([sys.executable, *arguments], tmp_path))
                assert process.stdout is not None
                assert PORT.search(process.stdout.readline())
                continue
            done = subprocess.run(
                [program, *arguments],
                cwd=tmp_path, env=environment, capture_output=True, timeout=60, check=False,
            )  # fmt: skip
            assert done.returncode == 0, (command, done.stdout, done.stderr)


@contextmanager
def started(command: list[str], folder: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


# What it does


def log_in(port: int, name: str, password: str) -> poplib.POP3:
    client = poplib.POP3("127.0.0.1", port, timeout=10)
    client.user(name)
    client.pass_(password)
    return client


def test_server(tmp_path: Path) -> None:
    with running("server.py", "--port", "0", "--mail", str(tmp_path)) as example:
        client = log_in(example.ports[0], "JOE", "secret")
        assert client.stat() == (0, 0)
        client.quit()
        output = example.finish()
    assert "joe: 0 messages, 0 octets" in output
    assert "secret" not in output


def test_server_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    files = ["--certificate", str(tmp_path / "cert.pem"), "--key", str(tmp_path / "key.pem")]
    ports = ["--port", "0", "--tls-port", "0"]
    with running("server_tls.py", *files, *ports, listeners=2) as example:
        plain = poplib.POP3("localhost", example.ports[0], timeout=10)
        with pytest.raises(poplib.error_proto, match="STLS"):
            plain.user("joe")
        plain.stls(context)
        implicit = poplib.POP3_SSL("localhost", example.ports[1], context=context, timeout=10)
        for client in (plain, implicit):
            client.user("joe")
            client.pass_("secret")
            assert client.retr(1)[1][-1] == b"Nobody else has read this."
            client.quit()
        example.finish()


def test_command_override() -> None:
    with running("command_override.py", "--port", "0") as example:
        client = log_in(example.ports[0], "CleverTester", "clevertester")
        assert "XTIME" in client.capa()
        assert client.stat()[0] == 3
        assert len(client.list()[1]) == 3
        assert client._shortcmd("XTIME") == b"+OK it is time to read"  # type: ignore[attr-defined]
        client.quit()
        output = example.finish()
    assert "STAT answered here: 3 messages" in output
    assert "LIST by CleverTester" in output


def test_mail_server(tmp_path: Path) -> None:
    ports = ["--port", "0", "--smtp-port", "0"]
    with running("mail_server.py", *ports, "--mail", str(tmp_path), listeners=2) as example:
        with smtplib.SMTP("127.0.0.1", example.ports[0], timeout=10) as smtp:
            smtp.sendmail("a@b.example", ["ann@example.org"], "Subject: Hi\r\n\r\n.dot\r\n")
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                smtp.sendmail("a@b.example", ["ann@elsewhere.example"], "Subject: no\r\n\r\n")
        client = log_in(example.ports[1], "ann", "hush")
        assert client.retr(1)[1] == [b"Subject: Hi", b"", b".dot"]
        client.quit()
        example.finish()


def test_generated_mail(tmp_path: Path) -> None:
    database = str(tmp_path / "shop.db")
    with running("generated_mail.py", "--port", "0", "--database", database) as example:
        client = log_in(example.ports[0], "ada", "lovelace")
        count, octets = client.stat()
        message = client.retr(2)
        assert count == 2
        assert octets == client.retr(1)[2] + message[2]
        assert b"Subject: Invoice 2" in message[1]
        client.dele(1)
        client.quit()
        again = log_in(example.ports[0], "ada", "lovelace")
        assert again.uidl()[1] == [b"1 invoice-2"]
        again.quit()
        example.finish()


# A gateway to a real server


def gateway(upstream_port: int) -> AbstractContextManager[Running]:
    upstream = ["--upstream-host", "127.0.0.1", "--upstream-port", str(upstream_port)]
    return running("gateway.py", *upstream, "--port", "0")


@pytest.fixture
def upstream() -> Iterator[tuple[Pop3Server, MemoryStore]]:
    """The server that has the mail."""
    store = MemoryStore()
    store.add("joe", b"Subject: One\r\n\r\nfirst\r\n.dotted\r\n", "id-1")
    store.add("joe", b"Subject: Big\r\n\r\n" + b"x" * 70 + b"\r\n" + 20_000 * (b"y" * 70 + b"\r\n"))
    store.add("joe", b"Subject: Three\r\n\r\nthird\r\n", "id-3")
    accounts = {"joe": "secret", "ann": "hush"}
    with Pop3Server(port=0, accounts=accounts, store=store, for_tests=True) as server:
        yield server, store


def test_a_gateway_shows_the_other_server_s_mailbox(
    upstream: tuple[Pop3Server, MemoryStore],
) -> None:
    server, store = upstream
    with gateway(server.port) as example:
        client = log_in(example.ports[0], "joe", "secret")
        direct = [len(message) for message in store.messages("joe").values()]
        assert client.stat() == (3, sum(direct))
        assert client.uidl()[1][::2] == [b"1 id-1", b"3 id-3"]
        assert client.retr(1)[1] == [b"Subject: One", b"", b"first", b".dotted"]
        assert client.top(2, 1)[1] == [b"Subject: Big", b"", b"x" * 70]
        assert client.retr(2)[2] == direct[1]
        assert client.retr(3)[1][-1] == b"third"
        client.dele(1)
        client.dele(3)
        assert len(store.messages("joe")) == 3  # nothing happens before QUIT
        client.quit()
        assert len(store.messages("joe")) == 1
        example.finish()


def test_a_gateway_says_what_the_other_server_says(
    upstream: tuple[Pop3Server, MemoryStore],
) -> None:
    server, _ = upstream
    with gateway(server.port) as example:
        client = poplib.POP3("127.0.0.1", example.ports[0], timeout=10)
        client.user("joe")
        with pytest.raises(poplib.error_proto, match=r"\[AUTH\] authentication failed"):
            client.pass_("wrong")
        holder = log_in(server.port, "joe", "secret")
        client.user("joe")
        with pytest.raises(poplib.error_proto, match=r"\[IN-USE\]"):
            client.pass_("secret")
        holder.quit()
        client.user("joe")
        client.pass_("secret")
        server.stop()
        with pytest.raises(poplib.error_proto, match=r"\[SYS/TEMP\]"):
            client.retr(1)
        client.close()
        client = poplib.POP3("127.0.0.1", example.ports[0], timeout=10)
        client.user("joe")
        with pytest.raises(poplib.error_proto, match=r"\[SYS/TEMP\]"):
            client.pass_("secret")
        client.quit()
        example.finish()


def test_a_gateway_passes_no_commands_on_in_a_password(
    upstream: tuple[Pop3Server, MemoryStore],
) -> None:
    server, store = upstream
    with gateway(server.port) as example:
        client = poplib.POP3("127.0.0.1", example.ports[0], timeout=10)
        response = b64encode(b"\0joe\0secret\r\nDELE 1\r\nQUIT").decode()
        with pytest.raises(poplib.error_proto, match="-ERR"):
            client._shortcmd(f"AUTH PLAIN {response}")  # type: ignore[attr-defined]
        client.quit()
        assert len(store.messages("joe")) == 3
        example.finish()
