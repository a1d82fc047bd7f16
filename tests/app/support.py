"""A real server in a process of its own, and ways to talk to it."""

from __future__ import annotations

import json
import os
import poplib
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.pop3 import log_in

PASSWORD = "correct horse"
COMMAND = (
    sys.executable,
    "-c",
    "import sys; from restante.app.entry import main; sys.exit(main())",
)
SOURCE = Path(__file__).parents[2] / "src"


def environment() -> dict[str, str]:
    """Ours, without settings of Restante's, and with the source found."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("RESTANTE_")}
    return {**kept, "PYTHONPATH": str(SOURCE)}


def restante(
    *arguments: str, cwd: Path, given: bytes = b"", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        input=given,
        capture_output=True,
        env=env or environment(),
        timeout=60,
        check=False,
    )


def python_for(user: int) -> str | None:
    """A Python that this user, too, can start with our sources; None if there is none."""
    for each in (sys.executable, "/usr/bin/python3"):
        with suppress(OSError):
            done = subprocess.run(
                [each, "-c", "import restante.app.cli.user"],
                user=user, group=user, extra_groups=[],
                env=environment(), cwd="/", capture_output=True, check=False,
            )  # fmt: skip
            if not done.returncode:
                return each
    return None


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """The condition's value, once it is true."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)
    return value


def client_context() -> ssl.SSLContext:
    """Trusts anybody: what is tested is which certificate comes."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Server:
    """`restante serve` in `folder`, on ports of the system's choosing.

    prelude: run in its process before anything else. env: its environment, if not ours.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        ports: bool = True,
        prelude: str = "pass",
        env: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.env = env
        self.command: tuple[str, ...] = (*COMMAND[:2], f"{prelude}\n{COMMAND[2]}")
        self.arguments: Sequence[str] = arguments
        if ports:
            names = ("--pop3-port", "--pop3s-port", "--smtp-port", "--lmtp-port")
            self.arguments = [*arguments, *(text for name in names for text in (name, "0"))]
        self.listening: list[dict[str, Any]] = []
        self.out, self.log = folder / "out.txt", folder / "log.txt"

    def __enter__(self) -> Self:
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)  # of one that was killed
        with self.out.open("wb") as out, self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*self.command, "serve", "--ready-file", str(ready), *self.arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                env=self.env or environment(),
            )
        wait_until(lambda: ready.exists() or self.process.poll() is not None, "the start")
        assert self.process.poll() is None, self.log.read_text()
        self.listening = json.loads(ready.read_text())["listening"]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def port(self, protocol: str, tls: str) -> int:
        """Where it listens."""
        (found,) = [e for e in self.listening if (e["protocol"], e["tls"]) == (protocol, tls)]
        port: int = found["port"]
        return port

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def login(self, name: str = "joe", password: str = PASSWORD) -> poplib.POP3:
        """A session without TLS."""
        return log_in("127.0.0.1", self.port("pop3", "starttls"), name, password)

    def certificate(self) -> bytes | None:
        """What a new client is shown."""
        port = self.port("pop3", "implicit")
        client = poplib.POP3_SSL("127.0.0.1", port, context=client_context(), timeout=20)
        assert isinstance(client.sock, ssl.SSLSocket)
        shown = client.sock.getpeercert(binary_form=True)
        client.quit()
        return shown

    def wait_for_log(self, text: str, times: int = 1) -> str:
        """The log, once it holds the text, or holds it so often."""
        wait_until(lambda: self.log.read_text().count(text) >= times, f"{text!r} in the log")
        return self.log.read_text()


def write_config(folder: Path, text: str = "") -> Path:
    """A configuration with a static account, joe, and a development certificate."""
    file = folder / "restante.toml"
    file.write_text(
        f'[accounts]\nkind = "static"\n[accounts.static]\njoe = "{PASSWORD}"\n'
        f"[tls]\ndevelopment = true\n[pop3]\nfailure_delay = 0\n{text}"
    )
    file.chmod(0o600)
    return file


def run_as_shown(command: str, expected: str, folder: Path, env: dict[str, str]) -> str:
    """Run a command of a page by the shell: it ends well and says what the page shows, in which
    `...` stands for anything. What it said."""
    done = subprocess.run(
        ["sh", "-c", f"exec 2>&1; {command}"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, (command, done.stdout)
    wanted = ".*".join(map(re.escape, expected.strip().split("...")))
    assert re.fullmatch(wanted, done.stdout.strip(), re.DOTALL), (command, done.stdout)
    return done.stdout
