"""One line a record, whatever is in it."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.app.logs import HumanFormatter, JsonFormatter, configure, one_line
from tests.server.kit import until


@pytest.fixture
def restored() -> Iterator[None]:
    """The root logger as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("restante.protocol").setLevel(logging.NOTSET)
    for name in ("mail.log", "mail.debug"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def record(text: str, **extra: object) -> logging.LogRecord:
    made = logging.getLogger("restante.test").makeRecord(
        "restante.test", logging.INFO, "file", 1, "%s", (text,), None, extra=extra
    )
    made.created = 0.25
    made.msecs = 250
    return made


@given(st.text())
def test_a_line_is_one_line_and_steers_no_terminal(text: str) -> None:
    assert one_line(text).isprintable()
    assert len(HumanFormatter().format(record(text)).splitlines()) == 1
    line = JsonFormatter().format(record(text, line=text))
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["line"] == json.loads(line)["message"] == text


def test_what_is_escaped_can_be_read() -> None:
    assert one_line("a\r\n\x1b[2J\u2028\udc80b\u00e4") == r"a\r\n\x1b[2J\u2028\udc80b" + "\u00e4"


def test_extra_attributes_are_fields_of_their_own() -> None:
    fields = json.loads(JsonFormatter().format(record("x", account="joe", direction="C")))
    assert fields == {
        "time": "1970-01-01T00:00:00.250+00:00",
        "level": "info",
        "logger": "restante.test",
        "message": "x",
        "account": "joe",
        "direction": "C",
    }


@pytest.mark.parametrize("formatter", [HumanFormatter(), JsonFormatter()])
def test_a_traceback_stays_on_the_line(formatter: logging.Formatter) -> None:
    made = record("x")
    try:
        raise ValueError("a\nb")
    except ValueError:
        made.exc_info = sys.exc_info()
    line = formatter.format(made)
    assert "\n" not in line
    assert "ValueError" in line


@pytest.mark.usefixtures("restored")
def test_the_log_in_a_file_survives_its_renaming(folder: Path) -> None:
    file = folder / "log"
    configure(format="human", level="warning", file=file)
    logging.getLogger("restante.x").warning("one")
    file.rename(folder / "log.1")
    logging.getLogger("restante.x").warning("two")
    logging.getLogger("restante.x").info("three")
    assert "one" in (folder / "log.1").read_text()
    assert file.read_text().endswith(" WARNING restante.x: two\n")


@pytest.mark.usefixtures("restored")
def test_dialogues_are_logged_at_any_level_once_they_are_chosen(folder: Path) -> None:
    configure(level="error", file=folder / "log")
    logging.getLogger("restante.protocol").debug("C: STAT")
    assert "C: STAT" in (folder / "log").read_text()


@pytest.mark.usefixtures("restored")
def test_lines_of_logins_are_written_together_a_little_later(folder: Path) -> None:
    handler = configure(file=folder / "log")
    for number in range(3):
        logging.getLogger("restante.access").info("line %d", number)
    until(lambda: (folder / "log").read_text().count("\n") == 3)
    logging.getLogger("restante.access").info("line 3")
    logging.getLogger("restante.x").warning("line 4")
    assert (folder / "log").read_text().count("\n") == 5  # what has waited comes before it
    logging.getLogger("restante.access").info("line 5")
    handler.close()
    logging.getLogger("restante.access").info("line 6")
    lines = (folder / "log").read_text().splitlines()
    assert [line[-1] for line in lines] == list("012345")


@pytest.mark.usefixtures("restored")
def test_a_line_that_says_the_same_is_counted_instead(folder: Path) -> None:
    handler = configure(file=folder / "log")
    for _ in range(3):
        logging.getLogger("restante.app").warning("no such file")
    handler.close()
    lines = (folder / "log").read_text().splitlines()
    texts = [line.rpartition("restante.app: ")[2] for line in lines]
    assert texts == ["no such file", "no such file (2 more times)"]


@pytest.mark.usefixtures("restored")
def test_no_line_is_lost_when_others_are_written_meanwhile(folder: Path) -> None:
    handler = configure(file=folder / "log")

    class Interrupted:
        def __str__(self) -> str:
            handler.flush()  # as somebody else may, while this record is being formatted
            return "kept"

    logging.getLogger("restante.access").info("first")
    logging.getLogger("restante.access").info("%s", Interrupted())
    handler.flush()
    texts = [line.rpartition(" ")[2] for line in (folder / "log").read_text().splitlines()]
    assert texts == ["first", "kept"]


@pytest.mark.usefixtures("restored")
def test_a_record_that_logs_while_it_is_formatted_loses_nothing(folder: Path) -> None:
    handler = configure(file=folder / "log")

    class Logging:
        def __str__(self) -> str:
            logging.getLogger("restante.app").warning("inner")
            return "outer"

    access = logging.getLogger("restante.access")
    access.info("%s", Logging())
    access.info("next")
    handler.flush()
    texts = [line.rpartition(" ")[2] for line in (folder / "log").read_text().splitlines()]
    assert sorted(texts) == ["inner", "next", "outer"]


@pytest.mark.usefixtures("restored")
def test_a_folder_that_is_gone_fails_nobody_and_may_come_back(folder: Path) -> None:
    (folder / "logs").mkdir()
    configure(file=folder / "logs" / "log")
    log = logging.getLogger("restante.app")
    log.warning("first")
    shutil.rmtree(folder / "logs")
    log.warning("lost")
    log.warning("lost, too")
    (folder / "logs").mkdir()
    log.warning("second")
    log.warning("third")
    lines = (folder / "logs" / "log").read_text().splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == ["second", "third"]


@pytest.mark.usefixtures("restored")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")
def test_a_child_writes_its_own_lines_only(folder: Path) -> None:
    handler = configure(file=folder / "log")
    logging.getLogger("restante.access").info("parent")
    child = os.fork()
    if not child:
        logging.getLogger("restante.access").info("child")
        handler.flush()
        os._exit(0)
    os.waitpid(child, 0)
    handler.flush()
    texts = [line.rpartition(" ")[2] for line in (folder / "log").read_text().splitlines()]
    assert texts == ["parent", "child"]


def test_a_program_ends_while_lines_wait(folder: Path) -> None:
    """At exit handlers are closed with their locks held."""
    program = (
        "import logging, pathlib, sys; from restante.app.logs import configure\n"
        "configure(file=pathlib.Path(sys.argv[1]))\n"
        "logging.getLogger('restante.access').info('last')"
    )
    subprocess.run([sys.executable, "-c", program, folder / "log"], check=True, timeout=20)
    assert (folder / "log").read_text().endswith("last\n")
