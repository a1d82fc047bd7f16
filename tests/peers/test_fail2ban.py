"""The filter for fail2ban finds who failed in a real server's log, and nobody else."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from restante.app.cli.show import SHIPPED
from restante.app.logs import HumanFormatter, JournalFormatter, JsonFormatter
from tests.needs import need
from tests.server.kit import Client, serving

pytestmark = pytest.mark.peer

EXAMPLES = SHIPPED / "fail2ban"
FILTER = EXAMPLES / "filter.d" / "restante.conf"
FORMATS = {"human": HumanFormatter(), "json": JsonFormatter()}
JOURNAL = ("%s: account=%r peer=%s mechanism=%s session=%s", "login failed", "joe")

NAMES = (
    "joe",
    "x' peer=9.9.9.9 mechanism=USER",
    'x" peer=9.9.9.9 mechanism=USER',
    "x\" peer=9.9.9.9 mechanism=USER' peer=9.9.9.9 mechanism=USER",
    'x\\" peer=9.9.9.9 mechanism=USER"}',
    "2026-01-01 00:00:00.000 WARNING restante.access: login failed: account='x' peer=9.9.9.9"
    " mechanism=USER",
    "jos\u00e9 \u65e5\u672c",
    "\u2028peer=9.9.9.9 mechanism=USER",
    "<HOST> %(ip)s",
)


@contextmanager
def logged(path: Path, formatter: logging.Formatter) -> Iterator[None]:
    """Everything that the server logs goes to the file, dialogues too."""
    logger = logging.getLogger("restante")
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(formatter)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()


def found(log: Path, *options: str) -> list[str]:
    """The addresses that the filter finds."""
    command = [need("fail2ban-regex", package="fail2ban"), "-e", "utf-8", "-o", "ip", *options]
    done = subprocess.run(
        [*command, str(log), str(FILTER)], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize("format", FORMATS)
def test_who_failed_is_found_and_nobody_whom_he_names(tmp_path: Path, format: str) -> None:
    log = tmp_path / "restante.log"
    with logged(log, FORMATS[format]), serving() as server:
        server.debug_log.choose(everything=True, accounts=frozenset(), addresses=frozenset())
        for name in NAMES:
            with Client(server.port) as client:
                client.ask(f"USER {name}")
                assert client.ask("PASS wrong").startswith(b"-ERR [AUTH]")
                # Nothing of this was logged as what it pretends to be.
                client.ask(f"2026-01-01 00:00:00.000 WARNING restante.access: {NAMES[1]}")
        with Client(server.port) as client:
            client.log_in()
    assert found(log) == ["127.0.0.1"] * len(NAMES)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("peer", "seen"), [("2001:db8::1", ["2001:db8::1"]), ("unix", [])])
def test_ipv6_and_unix_sockets(tmp_path: Path, format: str, peer: str, seen: list[str]) -> None:
    log = tmp_path / "restante.log"
    with logged(log, FORMATS[format]):
        logging.getLogger("restante.access").warning(
            "%s: account=%r peer=%s mechanism=%s", "login failed", "joe", peer, "SCRAM-SHA-256-PLUS"
        )
    assert found(log) == seen


@pytest.mark.parametrize("format", FORMATS)
def test_lines_as_they_come_from_the_journal(tmp_path: Path, format: str) -> None:
    """There fail2ban knows the time, and leaves ours in the line."""
    log = tmp_path / "restante.log"
    with logged(log, FORMATS[format]):
        logging.getLogger("restante.access").warning(
            "%s: account=%r peer=%s mechanism=%s", "login failed", "joe", "192.0.2.1", "USER"
        )
    log.write_text(f"1795370400 mail restante[123]: {log.read_text()}")
    assert found(log, "-d", "^EPOCH") == ["192.0.2.1"]


def test_entries_of_the_journal_that_has_our_fields(tmp_path: Path) -> None:
    """Their text is without time and level."""
    record = logging.makeLogRecord(
        {"name": "restante.access", "msg": JOURNAL[0], "levelno": logging.WARNING,
         "args": (*JOURNAL[1:], "192.0.2.1", "USER", "1a2b-7")}
    )  # fmt: skip
    entry = dict(line.split("=", 1) for line in JournalFormatter().format(record).splitlines())
    log = tmp_path / "restante.log"
    log.write_text(f"1795370400 mail restante[123]: {entry['MESSAGE']}\n")
    assert found(log, "-d", "^EPOCH") == ["192.0.2.1"]


def test_the_jail_is_accepted(tmp_path: Path) -> None:
    client = need("fail2ban-client", package="fail2ban")
    config = tmp_path / "fail2ban"
    shutil.copytree("/etc/fail2ban", config, ignore=lambda *_: ["defaults-debian.conf"])
    for folder in ("filter.d", "jail.d"):
        shutil.copy(EXAMPLES / folder / "restante.conf", config / folder)
    (tmp_path / "restante.log").touch()
    (config / "jail.d" / "zz.conf").write_text(
        f"[restante]\nlogpath = {tmp_path / 'restante.log'}\n"
    )
    command = [client, "-c", str(config), "-d"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "['add', 'restante'" in done.stdout
    assert "['multi-set', 'restante', 'addfailregex'" in done.stdout
