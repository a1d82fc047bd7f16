"""`restante fake`: a throw-away server for tests in any language."""

from __future__ import annotations

import json
import poplib
import shutil
import signal
import smtplib
import ssl
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.app.conftest import Call
from tests.app.support import environment
from tests.pop3 import log_in

SECONDS = 30

ROOT = Path(__file__).parents[2]
CONTAINERFILE = ROOT / "examples" / "fake" / "Containerfile"


class Fake:
    """A running `restante fake`. ports: what it wrote to its ports file."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process = process
        self.folder = folder
        assert process.stdout is not None
        self.printed: list[str] = []
        for line in process.stdout:
            self.printed.append(line.rstrip("\n"))
            if line.startswith("SMTP"):
                break
        assert self.printed, process.wait(SECONDS)
        # It is there a moment after the last line.
        while not (folder / "ports.json").exists():
            assert process.poll() is None
        self.ports: dict[str, Any] = json.loads((folder / "ports.json").read_text())

    def pop3(self, name: str, password: str) -> poplib.POP3:
        return log_in(self.ports["host"], self.ports["pop3"], name, password)

    def send(self, recipient: str, message: bytes) -> None:
        with smtplib.SMTP(self.ports["host"], self.ports["smtp"], timeout=SECONDS) as client:
            client.sendmail("shop@example.org", recipient, message)

    def end(self, number: int = signal.SIGTERM) -> list[dict[str, Any]]:
        """End it; the events."""
        self.process.send_signal(number)
        assert self.process.wait(SECONDS) == 0
        return self.events()

    def events(self) -> list[dict[str, Any]]:
        text = (self.folder / "events.jsonl").read_text("utf-8")
        return [json.loads(line) for line in text.splitlines()]


@contextmanager
def faking(folder: Path, *arguments: str) -> Iterator[Fake]:
    program = "import sys; from restante.app.entry import main; sys.exit(main())"
    common = ["--ports-file", "ports.json", "--events", "events.jsonl"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, "fake", *common, *arguments],
        cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield Fake(process, folder)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_mail_goes_in_by_smtp_and_out_by_pop3(folder: Path) -> None:
    with faking(folder, "--any-login", "--no-tls") as fake:
        fake.send("joe@example.org", b"Subject: hello\r\n\r\nbody\r\n")
        client = fake.pop3("joe", "whatever")
        assert client.retr(1)[1] == [b"Subject: hello", b"", b"body"]
        client.dele(1)
        client.quit()
        events = fake.end()
    assert not (folder / "ports.json").exists()
    kinds = [each["event"] for each in events]
    # Mail that came in is told of by itself, sooner or later.
    assert [each for each in kinds if each not in ("command", "reply", "delivered")] == [
        "ready", "connected", "opened", "retrieved", "deleted", "closed", "ended"
    ]  # fmt: skip
    (delivered,) = (each for each in events if each["event"] == "delivered")
    assert (delivered["recipient"], delivered["octets"]) == ("joe@example.org", 24)
    (deleted,) = (each for each in events if each["event"] == "deleted")
    assert deleted["unique_ids"] == [delivered["unique_id"]]
    lines = [each["line"] for each in events if each["event"] == "command"]
    assert lines == ["USER joe", "PASS ****", "RETR 1", "DELE 1", "QUIT"]
    assert "whatever" not in (folder / "events.jsonl").read_text()


def test_accounts_and_their_mail(folder: Path) -> None:
    (folder / "mail" / "joe").mkdir(parents=True)
    (folder / "mail" / "all.eml").write_bytes(b"Subject: for all\n\nx\n")
    (folder / "mail" / "joe" / "1.eml").write_bytes(b"Subject: for joe\n\nx\n")
    given = ["--mail", "mail", "--account", "joe:secret", "--account", "ann:se:cret", "--no-tls"]
    with faking(folder, *given) as fake:
        client = fake.pop3("joe", "secret")
        assert [client.retr(n)[1][0] for n in (1, 2)] == [b"Subject: for all", b"Subject: for joe"]
        client.quit()
        client = fake.pop3("ann", "se:cret")
        assert client.stat()[0] == 1
        client.quit()
        for name, password in (("joe", "wrong"), ("eve", "secret")):
            with pytest.raises(poplib.error_proto, match="AUTH"):
                fake.pop3(name, password)
        fake.end(signal.SIGINT)


def test_any_login_has_the_mail_of_the_folder_by_each_of_its_names(folder: Path) -> None:
    (folder / "mail" / "joe").mkdir(parents=True)
    (folder / "mail" / "joe" / "box").write_bytes(
        b"From a Mon Jan  1 00:00:00 2026\nSubject: one\n\nx\n\n"
        b"From a Mon Jan  1 00:00:00 2026\nSubject: two\n\nx\n"
    )
    with faking(folder, "--mail", "mail", "--any-login", "--no-tls") as fake:
        for name in ("joe@example.org", "joe", "JOE@elsewhere.example"):
            client = fake.pop3(name, "x")
            assert client.stat()[0] == 2
            client.quit()
        fake.end()


def test_tls_with_a_certificate_that_the_client_is_given(folder: Path) -> None:
    pytest.importorskip("cryptography")
    with faking(folder, "--any-login", "--ca-file", "ca.pem") as fake:
        trust = ssl.create_default_context(cafile=fake.ports["ca_file"])
        assert Path(fake.ports["ca_file"]) == folder / "ca.pem"
        client: poplib.POP3 = poplib.POP3_SSL(
            "localhost", fake.ports["pop3s"], context=trust, timeout=SECONDS
        )
        client.user("joe")
        client.pass_("x")
        client.quit()
        client = poplib.POP3("localhost", fake.ports["pop3"], timeout=SECONDS)
        client.stls(trust)
        client.user("joe")
        client.pass_("x")
        client.quit()
        events = fake.end()
    assert [each["tls"] for each in events if each["event"] == "connected"] == [True, False]
    assert "secured" in [each["event"] for each in events]


def test_a_fault_happens_and_is_told(folder: Path) -> None:
    with faking(folder, "--any-login", "--no-tls", "--fault", "RETR:reset-after=100") as fake:
        fake.send("joe", b"Subject: x\r\n\r\n" + b"line\r\n" * 100)
        client = fake.pop3("joe", "x")
        with pytest.raises((ConnectionError, poplib.error_proto)):
            client.retr(1)
        client.close()
        client = fake.pop3("joe", "x")
        assert client.stat()[0] == 1
        client.quit()
        events = fake.end()
    (fault,) = (each for each in events if each["event"] == "fault")
    assert fault["fault"] == "RETR:reset-after=100"
    assert fault["session"] in {e["session"] for e in events if e["event"] == "connected"}


def test_it_ends_by_itself(folder: Path) -> None:
    with faking(folder, "--any-login", "--no-tls", "--seconds", "0.1") as fake:
        assert fake.process.wait(SECONDS) == 0
        assert fake.events()[-1]["event"] == "ended"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "nobody could log in: give --account NAME:PASSWORD or --any-login"),
        (["--account", "joe"], "--account: allowed is NAME:PASSWORD"),
        (["--account", "joe:x", "--account", "joe:y"], "--account joe: "),
        (["--any-login", "--mail", "nowhere"], "--mail nowhere: there is no such folder"),
        (["--account", "joe:x", "--mail", "mail"], "is nobody's: give --account ann:PASSWORD"),
        (["--any-login", "--fault", "RETR:rest"], "unknown fault 'rest': did you mean 'reset'?"),
        (["--any-login", "--fault", "RTR:reset"], "--fault RTR:reset"),
        (["--any-login", "--no-tls", "--ca-file", "x"], "--no-tls: there is neither"),
        (["--any-login", "--pop3-port", "70000"], "allowed is 0 to 65535"),
        (["--any-login", "--no-tls", "--host", "192.0.2.1"], "--host 192.0.2.1: "),
        (["--any-login", "--events", "mail"], "--events mail: it is a folder; name a file in it"),
        (["--any-login", "--ca-file", "mail"], "--ca-file mail: it is a folder"),
        (["--any-login", "--ports-file", "mail"], "--ports-file mail: it is a folder"),
        (["--any-login", "--ports-file", "no/p"], "--ports-file no/p: there is no folder no"),
        (["--any-login", "--ca-file", "no/c"], "--ca-file no/c: there is no folder no"),
        (["--any-login", "--events", "no/e"], "--events no/e: there is no folder no"),
    ],
)
def test_a_mistake_is_told_with_what_is_allowed(
    folder: Path, call: Call, arguments: list[str], says: str
) -> None:
    (folder / "mail" / "ann").mkdir(parents=True)
    done = call("fake", *arguments)
    assert (done.status, done.out) == (2, "")
    assert says in done.err
    assert [each.name for each in folder.iterdir()] == ["mail"]  # no draft


def test_without_the_library_for_certificates_it_says_what_to_do(folder: Path) -> None:
    program = (
        "import sys\nsys.modules['cryptography'] = None\n"
        "from restante.app.entry import main\nsys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "fake", "--any-login"],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.endswith("pip install 'restante[testing]'; or give --no-tls\n")


def test_a_port_that_is_taken_is_named(folder: Path, call: Call) -> None:
    with faking(folder, "--any-login", "--no-tls") as fake:
        port = str(fake.ports["pop3"])
        done = call("fake", "--any-login", "--no-tls", "--pop3-port", port)
        assert done.status == 1
        assert port in done.err
        fake.end()


INSTRUCTIONS = {"FROM", "COPY", "RUN", "USER", "EXPOSE", "ENTRYPOINT"}


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Containerfile, and their arguments."""
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


def test_the_containerfile_says_what_a_builder_understands() -> None:
    found = instructions(CONTAINERFILE.read_text())
    assert {name for name, _ in found} == INSTRUCTIONS
    assert found[0][0] == "FROM"
    registry, _, tag = found[0][1].partition(":")
    assert "." in registry.partition("/")[0], "podman asks for a registry otherwise"
    assert tag
    assert tag != "latest"
    assert dict(found)["USER"] not in ("root", "0")
    assert all(1024 < int(port) < 65536 for port in dict(found)["EXPOSE"].split())


def test_what_the_containerfile_copies_is_enough_to_build_the_package(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    copied: list[str] = []
    for name, arguments in instructions(CONTAINERFILE.read_text()):
        if name == "COPY":
            *sources, target = arguments.split()
            folder = tmp_path / target.strip("/")
            for each in sources:
                copied.append(each)
                source = ROOT / each
                if source.is_dir():
                    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    folder.mkdir(exist_ok=True)
                    shutil.copy(source, folder)
    assert "src" in copied
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "out")]
    subprocess.run(build, cwd=tmp_path / "source", check=True, capture_output=True, timeout=120)
    (wheel,) = (tmp_path / "out").iterdir()
    names = zipfile.ZipFile(wheel).namelist()
    assert "restante/testing/profiles/gmail.toml" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_containerfiles_command_runs(folder: Path) -> None:
    text = CONTAINERFILE.read_text()
    (entry,) = (line for line in text.splitlines() if line.startswith("ENTRYPOINT "))
    program, command, *arguments = json.loads(entry.removeprefix("ENTRYPOINT "))
    assert (program, command) == ("restante", "fake")
    (exposed,) = (line.split()[1:] for line in text.splitlines() if line.startswith("EXPOSE "))
    assert set(exposed) <= set(arguments)
    with faking(folder, *("0" if each in exposed else each for each in arguments)) as fake:
        assert fake.ports["host"] == "0.0.0.0"
        fake.end()
