"""A session's dialogue as a `.pop` file, which our tests play (`tests/dialogues/runner.py`).

The debug log has neither passwords nor the lines of messages and listings, and a test has another
maildrop. So the login becomes the tests' own, replies say what differs as expressions, and messages
as many as the session saw are put into the maildrop.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MOST_MESSAGES = 1000

_LISTS = {"CAPA": 0, "LIST": 0, "UIDL": 0, "LANG": 0, "AUTH": 0, "RETR": 1, "TOP": 2}
"""Commands whose reply has several lines if so many arguments are given."""

_MESSAGES = re.compile(r"\+OK (\d+) messages?")


_REFUSED = ("C: USER joe", "S: +OK send PASS", "C: PASS ****", "S~ -ERR.*")
"""In place of a login by SASL that was refused: the tests may not have its mechanism."""


@dataclass
class _Exchange:
    """A command, or "", and what was answered. account: whether somebody had logged in by then."""

    said: str
    heard: list[str] = field(default_factory=list)
    account: bool = False

    @property
    def words(self) -> list[str]:
        return self.said.split()

    @property
    def verb(self) -> str:
        return self.words[0].upper() if self.words else ""


def pop_file(session: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """The file's text. rows: the session's lines of the debug log."""
    exchanges = _exchanges(sorted(rows, key=lambda row: row["time"]))
    login, logged_in = _login(exchanges)
    before, after = exchanges[: login.start], exchanges[login.stop :]
    lines = [f"# Session {session}, as the debug log has it.", ""]
    if any(each.verb == "STLS" for each in before):
        lines.append("@server tls=starttls")
    if logged_in:
        lines += _maildrop(exchanges[login.stop - 1])
    lines += _steps(before)
    if logged_in:
        lines.append("LOGIN")
    lines += _steps(after)
    return "\n".join([*lines, ""])


def _exchanges(rows: Iterable[Mapping[str, Any]]) -> list[_Exchange]:
    found: list[_Exchange] = []
    for row in rows:
        if row["direction"] == "C":
            found.append(_Exchange(row["line"]))
            continue
        if not found:  # the greeting, which is always heard, or what the first line was answered
            found.append(_Exchange(""))
        found[-1].heard.append(row["line"])
        found[-1].account |= row["account"] != "-"
    if found and not found[0].said:
        # An account's dialogue begins with the answer to USER.
        found[0].said = "USER joe" if len(found) > 1 and found[1].verb == "PASS" else ""
    return [each for each in found if each.said]


def _login(exchanges: Sequence[_Exchange]) -> tuple[slice, bool]:
    """Which exchanges are the login that was right, and whether there is one."""
    stop = next((at + 1 for at, each in enumerate(exchanges) if each.account), 0)
    start = max(0, stop - 1)
    while start and (
        exchanges[start - 1].verb == "USER" or any(map(_challenges, exchanges[start - 1].heard))
    ):
        start -= 1
    return slice(start, stop), stop > 0


def _challenges(line: str) -> bool:
    return line.startswith("+") and not line.startswith("+OK")


def _maildrop(login: _Exchange) -> Iterator[str]:
    found = _MESSAGES.match(login.heard[-1])
    number = min(int(found[1]), MOST_MESSAGES) if found else 1
    if not number:
        yield "@maildrop empty"
    for each in range(1, number + 1):
        yield rf"@message Subject: {each}\r\n\r\nThe session saw another message here.\r\n"


def _steps(exchanges: Iterable[_Exchange]) -> Iterator[str]:
    challenged = False
    for each in exchanges:
        by_sasl = challenged or (each.verb == "AUTH" and "****" in each.said)
        challenged = any(map(_challenges, each.heard))
        if by_sasl and not challenged:
            yield from _REFUSED
        elif not challenged:
            yield from _exchange(each)


def _exchange(exchange: _Exchange) -> Iterator[str]:
    yield _said(exchange.said)
    for line in exchange.heard:
        if "****" in exchange.said and line.startswith("-ERR"):  # a secret was refused
            yield "S~ -ERR.*"
        else:
            yield _heard(line)
        if line.startswith("+OK"):
            if exchange.verb == "STLS":
                yield "TLS"
            elif exchange.verb in _LISTS and len(exchange.words) - 1 == _LISTS[exchange.verb]:
                yield "REST"


def _said(line: str) -> str:
    if line.isascii() and line.isprintable() and line == line.strip() and "{" not in line:
        return f"C: {line}"
    text = "".join(
        each if 0x20 < ord(each) < 0x7F and each not in "\\{}" else
        "".join(f"\\x{octet:02x}" for octet in each.encode("utf-8", "surrogateescape"))
        for each in line
    )  # fmt: skip
    return rf"C; {text}\r\n"


def _heard(line: str) -> str:
    """A status line; words with digits, such as numbers and unique-ids, are others each time."""
    if not any(each.isdigit() for each in line):
        return f"S: {line}"
    words = (r"\S+" if any(map(str.isdigit, each)) else re.escape(each) for each in line.split(" "))
    return "S~ " + " ".join(words)
