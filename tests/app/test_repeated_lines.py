"""What the log says once, and what it says each time."""

from __future__ import annotations

import logging

import pytest

from restante.app.logs import HumanFormatter
from restante.app.repeated_lines import MAX_REMEMBERED, SILENT_SECONDS, RepeatedLines


class Log:
    """Lines as they would be written, by a clock that is set."""

    def __init__(self) -> None:
        self.now = 0.0
        self.repeated = RepeatedLines(lambda: self.now)
        self.lines: list[str] = []

    def say(
        self,
        text: str,
        *args: object,
        level: int = logging.ERROR,
        name: str = "restante.app",
        error: BaseException | None = None,
    ) -> None:
        info = (type(error), error, error.__traceback__) if error else None
        record = logging.LogRecord(name, level, "file", 1, text, args, info)
        self._write(self.repeated.to_write(record))

    def end(self) -> None:
        self._write(self.repeated.left_out())

    def _write(self, records: object) -> None:
        formatter = HumanFormatter()
        for record in records:  # type: ignore[attr-defined]
            self.lines.append(formatter.format(record).partition(": ")[2])


@pytest.fixture
def log() -> Log:
    return Log()


def full_disk() -> OSError:
    try:
        raise OSError(28, "No space left on device")
    except OSError as error:
        return error


def test_a_line_is_written_once_and_then_counted(log: Log) -> None:
    for _ in range(200):
        log.say("the new certificate can't be used: %s", "No such file")
        log.now += 2.99
    assert log.lines == ["the new certificate can't be used: No such file"]
    log.now = SILENT_SECONDS
    log.say("the new certificate can't be used: %s", "No such file")
    assert log.lines[1:] == [
        "the new certificate can't be used: No such file (199 more times)",
        "the new certificate can't be used: No such file",
    ]
    log.say("the new certificate can't be used: %s", "No such file")
    log.end()
    assert log.lines[3:] == ["the new certificate can't be used: No such file (1 more times)"]


def test_another_text_level_or_logger_is_another_line(log: Log) -> None:
    log.say("worker %d ended", 1)
    log.say("worker %d ended", 2)
    log.say("worker %d ended", 1, level=logging.WARNING)
    log.say("worker %d ended", 1, name="restante.server")
    assert len(log.lines) == 4


def test_a_traceback_is_written_once_and_each_line_with_its_reference(log: Log) -> None:
    for reference in ("a", "b", "c"):
        log.say("no delivery (ref %s)", reference, error=full_disk())
    assert "Traceback" in log.lines[0]
    assert log.lines[1:] == [
        f"no delivery (ref {reference}) | OSError: [Errno 28] No space left on device"
        " (the traceback is in an earlier line)"
        for reference in "bc"
    ]
    log.say("no delivery (ref d)", error=ValueError("another"))
    assert "ValueError: another" in log.lines[-1]
    assert "earlier" not in log.lines[-1]
    log.now = SILENT_SECONDS
    log.say("no delivery (ref e)", error=full_disk())
    assert "Traceback" in log.lines[-1]


@pytest.mark.parametrize("name", ["restante.access", "restante.protocol"])
def test_refused_logins_and_dialogues_are_written_each_time(log: Log, name: str) -> None:
    for _ in range(3):
        log.say("login failed: account='joe'", name=name, level=logging.WARNING)
    assert len(log.lines) == 3


def test_what_is_no_warning_is_written_each_time(log: Log) -> None:
    for _ in range(3):
        log.say("reloading", level=logging.INFO)
    assert len(log.lines) == 3


def test_after_something_was_mended_everything_is_said_anew(log: Log) -> None:
    log.say("x")
    log.repeated.forget()
    log.say("x")
    assert log.lines == ["x", "x"]


def test_what_is_remembered_is_bounded(log: Log) -> None:
    for number in range(3 * MAX_REMEMBERED):
        log.say("line %d", number)
    assert len(log.lines) == 3 * MAX_REMEMBERED
    assert len(log.repeated._written) <= MAX_REMEMBERED
    log.say("line %d", 3 * MAX_REMEMBERED - 1)
    assert len(log.lines) == 3 * MAX_REMEMBERED
