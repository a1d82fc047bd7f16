"""A new user's way: from `scripts/serve` to a message, its dialogue and its explanation."""

from __future__ import annotations

import os
import poplib
import re
import shutil
import signal
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.app.support import environment, wait_until
from tests.console.site import message

ROOT = Path(__file__).parents[2]

_PROGRAM = """#!/bin/sh
exec {python} {arguments} "$@"
"""
_RESTANTE = "-c 'import sys; from restante.app.entry import main; sys.exit(main())'"


class Started(NamedTuple):
    """What `scripts/serve` has said: where the console and the servers are, and who may log in."""

    console: str
    administrator: str
    console_password: str
    account: str
    password: str
    pop3: int
    smtp: int


def _prepared(home: Path) -> None:
    """What the script sets up from the network, with this Python in its place."""
    programs = home / f".venv-serve-{Path(sys.executable).name}" / "bin"
    programs.mkdir(parents=True)
    for name, arguments in (("python", ""), ("restante", _RESTANTE)):
        path = programs / name
        path.write_text(_PROGRAM.format(python=sys.executable, arguments=arguments))
        path.chmod(0o755)
    shutil.copy(ROOT / "pyproject.toml", programs.parent / "installed.toml")


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    """`scripts/serve`, in an empty folder."""
    _prepared(tmp_path)
    said, log = tmp_path / "said", tmp_path / "log"
    ports = [f"--{name}-port=0" for name in ("pop3", "pop3s", "smtp", "lmtp", "console")]
    with said.open("wb") as out, log.open("wb") as errors:
        process = subprocess.Popen(
            [ROOT / "scripts" / "serve", *ports],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            env={
                **environment(),
                "RESTANTE_HOME": str(tmp_path),
                "PYTHON": Path(sys.executable).name,
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            },
        )
    try:
        wait_until(
            lambda: "The console: " in said.read_text() or process.poll() is not None, "the start"
        )
        text = said.read_text()
        assert process.poll() is None, text + log.read_text()
        yield _read(text)
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(60)
    assert status == 0


def _read(text: str) -> Started:
    def found(pattern: str) -> tuple[str, ...]:
        match = re.search(pattern, text, re.MULTILINE)
        assert match is not None, text
        return match.groups()

    administrator, its_password = found(r"console's first login: (\S+), password (\S+)")
    account, password = found(r"First account: (\S+), password (\S+)")
    (console,) = found(r"^The console: (http://127\.0\.0\.1:\d+/)$")
    (pop3,) = found(r"POP3 +127\.0\.0\.1:(\d+) +TLS by STLS")
    (smtp,) = found(r"SMTP +127\.0\.0\.1:(\d+)")
    return Started(console, administrator, its_password, account, password, int(pop3), int(smtp))


def _fetch(started: Started) -> str:
    """What a mail program does."""
    client = poplib.POP3("127.0.0.1", started.pop3, timeout=60)
    client.user(started.account)
    client.pass_(started.password)
    client.uidl()
    lines = client.retr(1)[1]
    client.quit()
    return b"\n".join(lines).decode()


def test_from_the_start_to_an_explanation(chromium: Any, started: Started) -> None:
    context = chromium.new_context(viewport={"width": 1280, "height": 860})
    page = context.new_page()

    # The address and the login that were printed.
    page.goto(started.console)
    page.get_by_label("Administrator").fill(started.administrator)
    page.get_by_label("Password").fill(started.console_password)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Overview").wait_for()
    assert page.get_by_role("heading", name="Nothing has happened yet").is_visible()

    # The debug log for the account, whose client comes afterwards.
    page.get_by_role("link", name="Accounts").click()
    page.get_by_role("link", name=started.account, exact=True).click()
    page.get_by_role("link", name="Its dialogues").click()
    page.get_by_role("button", name="Switch on").click()
    page.get_by_text("Switched the debug log on for").wait_for()

    # A message comes by SMTP, and is looked at.
    with smtplib.SMTP("127.0.0.1", started.smtp, timeout=60) as mail:
        sent = message("Anna Keller <anna@example.org>", "The way through", "text")
        mail.sendmail("anna@example.org", [started.account], sent)
    page.get_by_role("link", name="Maildrops").click()
    page.get_by_role("link", name=started.account, exact=True).click()
    page.get_by_role("link", name="The way through").click()
    assert "here is what you have asked for" in page.locator("pre.mail").inner_text()

    # Its client fetches it, twice. Its dialogue is there as soon as the switch has arrived.
    page.get_by_role("link", name="Dialogue", exact=True).click()
    wait_until(
        lambda: _fetch(started) and page.reload() and page.locator("tbody a").count() > 1,
        "the dialogues",
    )
    page.locator("tbody a").first.click()
    said = page.locator(".lines").inner_text()
    assert "RETR 1" in said
    assert "PASS ****" in said
    assert started.password not in page.content()

    # The delivery, and the explanation.
    page.get_by_role("link", name="Mail in").click()
    wait_until(
        lambda: page.reload() and page.get_by_role("cell", name="anna@example.org").count(),
        "the delivery in the history",
    )
    page.get_by_role("link", name="Explain").click()
    page.get_by_role("link", name=started.account).click()
    wait_until(
        lambda: page.reload() and page.get_by_text("fetched 1 message again").count(),
        "the sessions in the history",
    )
    assert page.get_by_text("the reason lies with the client").first.is_visible()
    page.get_by_role("link", name="Overview").click()
    page.get_by_role("heading", name="Busiest accounts").wait_for()
    assert not page.get_by_text("Nothing has happened yet").count()
    context.close()
