"""Log lines for programs: JSON with stable names, and systemd's journal."""

from __future__ import annotations

import array
import json
import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from restante.app import journal, logs
from restante.app.log_fields import fields_of
from restante.app.logs import JournalFormatter, JsonFormatter
from tests.app.support import Server, write_config
from tests.needs import need
from tests.server.kit import Client, serving

PAGE = (Path(__file__).parents[2] / "docs" / "observing.md").read_text("utf-8")
DOCUMENT = PAGE.partition("## Log lines")[2]


@contextmanager
def access_log(formatter: logging.Formatter) -> Iterator[list[str]]:
    """The lines of the access log."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    logger, handler = logging.getLogger("restante.access"), Keep()
    handler.setFormatter(formatter)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


def test_the_lines_of_a_session_share_its_id_and_have_their_fields() -> None:
    with access_log(JsonFormatter()) as lines:
        with serving([b"hello\r\n"]) as server:
            with Client(server.port) as client:
                client.ask("USER joe")
                client.ask("PASS wrong")
                client.log_in()
                client.ask("DELE 1")
                client.ask("QUIT")
            client.close()
        found = [json.loads(line) for line in lines]
    assert [line["event"] for line in found] == ["login failed", "login", "deleted", "session"]
    assert len({line["session"] for line in found}) == 1
    failed, login, deleted, session = found
    assert failed | {"time": "", "message": "", "session": ""} == {
        "time": "", "level": "warning", "logger": "restante.access", "message": "",
        "event": "login failed", "account": "joe", "peer": "127.0.0.1", "mechanism": "USER",
        "session": "",
    }  # fmt: skip
    assert (login["tls"], login["messages"]) == ("no", deleted["messages"] + login["messages"] - 1)
    assert session["ended"] == "QUIT"
    assert session["deleted"] == 1
    assert isinstance(session["seconds"], float)


def documented(event: str) -> list[str]:
    """The fields of an event, as the document lists them."""
    found = re.search(rf"^\| `{event}` \| (.+?) \|", DOCUMENT, re.MULTILINE)
    assert found, event
    return re.findall(r"`(\w+)`", found[1])


def test_the_document_lists_the_fields_of_each_event() -> None:
    with access_log(JsonFormatter()) as lines:
        with serving([b"hello\r\n"]) as server, Client(server.port) as client:
            client.ask("AUTH PLAIN bm9uc2Vuc2U=")
            client.ask("USER joe")
            client.ask("PASS wrong")
            client.log_in()
            client.ask("DELE 1")
            client.ask("QUIT")
        found = [json.loads(line) for line in lines]
    assert len(found) == 5
    for line in found:
        own = [name for name in line if name not in ("time", "level", "logger", "message")]
        assert own == ["event", *documented(line["event"])]


def test_deliveries_have_theirs(folder: Path) -> None:
    """Of a real server: SMTP, LMTP and what is refused, and the session id in each line."""
    import smtplib  # noqa: PLC0415

    write_config(folder, '[log]\nformat = "json"\nfile = "log.json"\n')
    with Server(folder) as server:
        with smtplib.SMTP("127.0.0.1", server.port("smtp", "starttls"), timeout=20) as mail:
            mail.ehlo()
            mail.mail("ann@example.org")
            mail.rcpt("nobody")
            mail.rcpt("joe")
            mail.data(b"Subject: hi\r\n\r\nhello\r\n")
        server.login().quit()
    lines = [json.loads(line) for line in (folder / "log.json").read_text().splitlines()]
    by_event = {line["event"]: line for line in lines if line.get("event")}
    refused, delivered = by_event["refused"], by_event["delivered"]
    assert refused["session"] == delivered["session"]
    assert delivered["octets"] == len("Subject: hi\r\n\r\nhello\r\n")
    for line in (refused, delivered):
        own = {name for name in line if name not in ("time", "level", "logger", "message", "event")}
        assert own <= set(documented(line["event"]))
        assert set(documented(line["event"])) - own <= {"queue"}


def test_fields_can_t_take_the_place_of_those_that_each_line_has() -> None:
    record = logging.makeLogRecord({"levelname": "INFO", "msg": "time=%s level=%s", "args": (1, 2)})
    assert json.loads(JsonFormatter().format(record))["level"] == "info"
    assert fields_of(record) == {"time": 1, "level": 2}


@pytest.mark.parametrize(
    ("message", "args", "fields"),
    [
        ("session %s: closed, %s", ("1-2", "idle"), {"session": "1-2"}),
        ("banned: network=%s seconds=%d times=%d", ("192.0.2.1", 60, 1),
         {"network": "192.0.2.1", "seconds": 60, "times": 1}),
        ("100%% of %s", ("it",), {}),
        ("without places", (), {}),
    ],
)  # fmt: skip
def test_other_lines_have_the_fields_that_they_name(
    message: str, args: tuple[object, ...], fields: dict[str, object]
) -> None:
    record = logging.makeLogRecord({"name": "restante.server", "msg": message, "args": args})
    assert fields_of(record) == fields


# systemd's journal


@pytest.fixture
def fake_journal(tmp_path: Path) -> Iterator[socket.socket]:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as taking:
        taking.bind(str(path))
        taking.settimeout(20)
        yield taking


def entry(data: bytes) -> dict[str, str]:
    lines = data.decode().splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_the_journal_gets_fields(
    fake_journal: socket.socket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(journal, "SOCKET", str(tmp_path / "socket"))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with (tmp_path / "stderr").open("w") as stderr:
        status = os.fstat(stderr.fileno())
        monkeypatch.setattr(sys, "stderr", stderr)
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        handler = logs.configure()
        try:
            logging.getLogger("restante.access").warning(
                "%s: account=%r peer=%s mechanism=%s session=%s",
                "login failed", "joe\nPRIORITY=0", "192.0.2.1", "USER", "1-2",
            )  # fmt: skip
            logging.getLogger("restante.server").error("x" * 700_000)
        finally:
            handler.close()
            root.handlers[:] = handlers
            root.setLevel(level)
    assert entry(fake_journal.recv(1 << 16)) == {
        "MESSAGE": "restante.access: login failed: account='joe\\nPRIORITY=0' peer=192.0.2.1"
        " mechanism=USER session=1-2",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "restante",
        "LOGGER": "restante.access",
        "RESTANTE_EVENT": "login failed",
        "RESTANTE_ACCOUNT": "joe\\nPRIORITY=0",
        "RESTANTE_PEER": "192.0.2.1",
        "RESTANTE_MECHANISM": "USER",
        "RESTANTE_SESSION": "1-2",
    }
    data, ancillary, _, _ = fake_journal.recvmsg(16, socket.CMSG_SPACE(4))
    assert data == b""  # too long for a datagram: it comes as a file
    fd = array.array("i", ancillary[0][2])[0]
    with os.fdopen(fd, "rb") as sealed:
        sealed.seek(0)
        assert entry(sealed.read())["MESSAGE"] == "restante.server: " + "x" * 700_000
    assert (tmp_path / "stderr").read_text() == ""


@pytest.mark.parametrize("stream", ["", "1:2", "nonsense", "8:"])
def test_another_standard_error_is_no_journal(
    monkeypatch: pytest.MonkeyPatch, stream: str, tmp_path: Path
) -> None:
    with (tmp_path / "stderr").open("w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        monkeypatch.setenv("JOURNAL_STREAM", stream)
        assert journal.JournalStream.of_standard_error() is None


def test_a_traceback_is_a_part_of_the_message() -> None:
    record = logging.makeLogRecord({"name": "restante.x", "levelno": logging.DEBUG, "msg": "m"})
    try:
        raise ValueError("a\nb")
    except ValueError:
        record.exc_info = sys.exc_info()
    found = entry(JournalFormatter().format(record).encode())
    assert found["MESSAGE"].endswith("ValueError: a\\nb")
    assert found["PRIORITY"] == "7"


@pytest.mark.peer
def test_goaccess_reads_sessions_by_the_format_of_the_document(folder: Path) -> None:
    program = need("goaccess", package="goaccess")
    text = (Path(__file__).parents[2] / "docs" / "observing.md").read_text("utf-8")
    found = re.search(r'--log-format="(.+?)"', text, re.DOTALL)
    assert found is not None
    form = re.sub(r"\\\n *", "", found[1])
    write_config(folder, "[server]\nworkers = 1\n")
    with Server(folder) as server:
        for _ in range(3):
            server.login().quit()
        server.wait_for_log("restante.access: session:", times=3)
    lines = [
        each for each in server.log.read_text().splitlines() if "restante.access: session:" in each
    ]
    (folder / "sessions").write_text("\n".join(lines) + "\n")
    subprocess.run(
        [
            program, "sessions", "--no-global-config", "--output", "report.json",
            f"--log-format={form}", "--date-format=%Y-%m-%d", "--time-format=%H:%M:%S",
        ],
        cwd=folder, capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    report = json.loads((folder / "report.json").read_text())
    assert report["general"]["valid_requests"] == 3
    assert report["general"]["failed_requests"] == 0
    assert [each["data"] for each in report["requests"]["data"]] == ["joe"]
    assert [each["data"] for each in report["hosts"]["data"]] == ["127.0.0.1"]
