"""`restante deliver` and `restante import`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from restante.app.cli.mail import run_safely
from restante.observing import History
from tests.app.conftest import Call
from tests.app.support import COMMAND, Server, environment, restante, wait_until, write_config


def messages(folder: Path, account: str = "joe") -> list[bytes]:
    """What lies in a maildrop, as stored."""
    new = folder / "data" / "mail" / account / "new"
    return [each.read_bytes() for each in sorted(new.iterdir())] if new.is_dir() else []


@pytest.fixture(autouse=True)
def config(folder: Path) -> Path:
    return write_config(folder, '[delivery]\ndomains = ["x.example"]\nsize_limit = 65536\n')


BODIES = [
    b"Subject: x\n\nhello\n",
    b"Subject: x\r\n\r\n.\r\n..\r\n",
    b"From: joe@x.example\n\nnot a From_ line",
    b"Fro",
    b"",
    b"\x00\xff\r\r\n" * 100,
]


@pytest.mark.parametrize("body", BODIES)
def test_a_message_is_stored_as_it_came(folder: Path, call: Call, body: bytes) -> None:
    done = call("deliver", "--to", "joe", given=body)
    assert done == (0, "", "")
    (stored,) = messages(folder)
    assert stored.replace(b"\r\n", b"\n").rstrip(b"\n") == body.replace(b"\r\n", b"\n").rstrip(
        b"\n"
    )


def test_the_line_that_pipes_put_before_it_is_dropped(folder: Path, call: Call) -> None:
    given = b"From joe@x  Mon Jan  1 00:00:00 2026\nFrom: a\n\nFrom here\n>From there\n"
    assert call("deliver", "--to", "joe+tag@x.example", given=given).status == 0
    (stored,) = messages(folder)
    assert stored.replace(b"\r\n", b"\n") == given.partition(b"\n")[2]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--to", "nobody"], 67),
        (["--to", "joe", "--to", "nobody@x.example"], 67),
        (["--to", "joe@elsewhere.example"], 67),
        (["--to", "a b"], 65),
        (["--to", "joe", "--set", "delivery.separator=long"], 75),
        (["--to", "joe", "--config", "no.toml"], 75),
        (["--to", "joe", "--set", "maildrops.root=restante.toml/x"], 75),
        (["--to", "joe", "--unknown-option"], 75),
        ([], 75),
    ],
)
def test_statuses_are_those_that_mail_servers_read(
    folder: Path, call: Call, arguments: list[str], status: int
) -> None:
    done = call("deliver", *arguments, given=b"x")
    assert done.status == status
    assert done.err
    assert messages(folder) == []


def test_a_disabled_account_gets_nothing(folder: Path, call: Call) -> None:
    flag = 'accounts.static={joe = {password = "x", disabled = true}}'
    done = call("deliver", "--to", "joe", "--set", flag, given=b"x")
    assert done.status == 77
    assert messages(folder) == []


def test_a_message_too_big_leaves_nothing_behind(folder: Path, call: Call) -> None:
    done = call("deliver", "--to", "joe", given=b"x" * 65537)
    assert done.status == 65
    assert "delivery.size_limit" in done.err
    assert messages(folder) == []
    assert call("deliver", "--to", "joe", given=b"x" * 65536).status == 0


def test_a_real_pipe(folder: Path) -> None:
    done = restante("deliver", "--to", "joe", cwd=folder, given=b"Subject: x\n\nhello\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert len(messages(folder)) == 1
    assert restante("deliver", "--to", "nobody", cwd=folder, given=b"x").returncode == 67


def test_a_fault_of_ours_keeps_the_message_in_the_queue(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fault() -> int:
        raise RuntimeError("unforeseen")

    assert run_safely(fault) == 75
    assert "unforeseen" in capsys.readouterr().err
    given = {0: 0, 67: 67, 1: 75, 2: 75}
    assert {status: run_safely(partial(int, status)) for status in given} == given


def test_a_delivery_needs_no_library_of_the_extra(folder: Path) -> None:
    missing = ("aiosmtpd", "cryptography", "argon2", "rich")
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({missing}))\n"
        "from restante.app.entry import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "deliver", "--to", "joe"], cwd=folder,
        env=environment(), input=b"Subject: x\n\nx\n", capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


def access_log(folder: Path) -> list[str]:
    """Levels and texts of the access log's lines."""
    lines = (folder / "log.txt").read_text().splitlines()
    return [line.split(" ", 2)[2] for line in lines if " restante.access: " in line]


def test_deliveries_and_refusals_are_logged_where_the_server_logs(folder: Path) -> None:
    given = b"From ann@example.com  Mon Jan  1 00:00:00 2026\nSubject: x\n\nhello\n"
    log = ("--set", "log.file=log.txt")
    assert restante("deliver", "--to", "joe", *log, cwd=folder, given=given).returncode == 0
    assert restante("deliver", "--to", "nobody", *log, cwd=folder, given=given).returncode == 67
    big = b"Subject: x\n\n" + b"x" * 65536
    assert restante("deliver", "--to", "joe", *log, cwd=folder, given=big).returncode == 65
    (folder / "one.eml").write_bytes(b"Subject: x\n\n.hello\n")
    assert restante("import", "one.eml", "--account", "joe", *log, cwd=folder).returncode == 0
    delivered, unknown, too_big, imported = access_log(folder)
    assert re.fullmatch(
        r"INFO restante.access: delivered: recipient='joe' sender='ann@example.com' octets=18 "
        r"unique_id=\S+ peer=local protocol=deliver tls=no queue=[0-9a-f]+",
        delivered,
    )
    assert unknown == (
        "INFO restante.access: refused: recipient='nobody' sender='' peer=local "
        "protocol=deliver tls=no reply='550 5.1.1 no such user here'"
    )
    assert "reply='more than 65536 octets'" in too_big
    assert " delivered: recipient='joe' sender='' octets=19 " in imported
    assert " protocol=import " in imported


def test_a_log_that_can_not_be_written_does_not_stop_a_delivery(folder: Path) -> None:
    log = ("--set", "log.file=restante.toml/log.txt")
    done = restante("deliver", "--to", "joe", *log, cwd=folder, given=b"Subject: x\n\n")
    assert done.returncode == 0
    assert b"log.file" in done.stderr
    assert len(messages(folder)) == 1


FROM = b"From a Mon Jan  1 00:00:00 2026\n"
MBOX = FROM + b"Subject: 1\n\none\n\n" + FROM + b"\ntwo\n"


def test_an_import_says_what_it_did_and_repeats_nothing(folder: Path, call: Call) -> None:
    (folder / "box").write_bytes(MBOX)
    done = call("import", "box", "--account", "joe")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("2 messages imported, ")
    done = call("import", "box", "--account", "joe")
    assert done.out == (
        "0 messages imported, 0 octets; 2 were imported before (--again repeats them)\n"
    )
    assert call("import", "box", "--account", "joe", "--again").status == 0
    assert len(messages(folder)) == 4


def test_imported_mail_is_stored_as_it_was(folder: Path, call: Call) -> None:
    (folder / "one.eml").write_bytes(b"Subject: x\n\n.hello\n")
    assert call("import", "one.eml", "--account", "joe").status == 0
    (stored,) = messages(folder)
    assert stored.replace(b"\r\n", b"\n") == b"Subject: x\n\n.hello\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["box", "--account", "nobody"], "no account 'nobody'"),
        (["none", "--account", "joe"], "none"),
        (["restante.toml", "--account", "joe", "--kind", "mbox"], "not an mbox"),
        (["restante.toml", "--account", "joe", "--kind", "tar"], "none of auto"),
    ],
)
def test_what_cannot_be_imported(folder: Path, call: Call, arguments: list[str], says: str) -> None:
    (folder / "box").write_bytes(MBOX)
    done = call("import", *arguments)
    assert done.status == 1
    assert says in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "box: no messages in it"),
        (b"\x00\x01 no mail\n", "box: no header field and no mbox line at its beginning"),
        (
            FROM + b"X-Mozilla-Status: 0009\n\n",
            "box: no messages in it; 1 deleted message passed over",
        ),
    ],
)
def test_an_import_of_nothing_is_a_failure(
    folder: Path, call: Call, data: bytes, says: str
) -> None:
    (folder / "box").write_bytes(data)
    done = call("import", "box", "--account", "joe")
    assert (done.status, done.out, done.err) == (1, "", f"restante: {says}\n")


def test_an_import_says_what_it_passed_over(folder: Path, call: Call) -> None:
    tree = folder / "tree"
    tree.mkdir()
    (tree / "Inbox").write_bytes(MBOX + FROM + b"X-Mozilla-Status: 0008\nSubject: 3\n\n")
    (tree / "Inbox.msf").write_bytes(b"// <!-- <mdb:mork:z -->")
    done = call("import", "tree", "--account", "joe")
    assert (done.status, done.err) == (0, "")
    assert re.fullmatch(
        r"2 messages imported, \d+ octets; 1 file passed over: no header field and no mbox line "
        r"at its beginning; 1 deleted message passed over\n",
        done.out,
    )
    (tree / "Inbox").unlink()
    (tree / "1").write_bytes(b"Subject: 1\n\n")
    assert call("import", "tree", "--account", "joe").out.startswith(
        "1 message imported, 12 octets"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="needs a lock of Unix")
def test_an_import_while_another_one_runs_is_refused(folder: Path, call: Call) -> None:
    fcntl = pytest.importorskip("fcntl")
    (folder / "box").write_bytes(MBOX)
    assert call("import", "box", "--account", "joe").status == 0
    (journal,) = (folder / "data" / "imports").iterdir()
    with journal.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = call("import", "box", "--account", "joe")
    assert (done.status, done.err) == (
        1,
        "restante: another import into this maildrop is running\n",
    )
    assert len(messages(folder)) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal of Unix")
def test_on_a_terminal_an_import_shows_octets_and_rate(folder: Path) -> None:
    pty = pytest.importorskip("pty")
    (folder / "box").write_bytes(MBOX * 50)
    ours, its = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "import", "box", "--account", "joe"],
        cwd=folder,
        env={**environment(), "TERM": "xterm", "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=its,
    ) as process:
        os.close(its)
        shown = b""
        while True:
            try:
                block = os.read(ours, 4096)
            except OSError:  # how Linux says that the other end is closed
                break
            if not block:
                break
            shown += block
        assert process.wait(20) == 0
    os.close(ours)
    assert b"Importing" in shown
    assert b"bytes" in shown or b"kB" in shown


def test_no_room_is_said_plainly_and_what_never_fits_is_not_tried_again(
    folder: Path, call: Call
) -> None:
    limit = ("--set", "store.quota_octets=100")
    assert call("deliver", "--to", "joe", *limit, given=b"x" * 60).status == 0
    full = call("deliver", "--to", "joe", *limit, given=b"x" * 60)
    assert full.status == 75
    assert "'joe': not delivered: over quota: 62 of 100 octets used, no room for 62" in full.err
    large = call("deliver", "--to", "joe", *limit, given=b"x" * 200)
    assert (large.status, "over quota" in large.err) == (65, True)
    (folder / "one.eml").write_bytes(b"Subject: x\n\n" + b"x" * 60)
    done = call("import", "one.eml", "--account", "joe", *limit)
    assert done.status == 1
    assert "one.eml not imported: over quota: 62 of 100 octets used" in done.err


def test_deliveries_and_imports_are_in_the_history(folder: Path, call: Call) -> None:
    history = History(folder / "data" / "history.sqlite")
    call("deliver", "--to", "joe", given=b"Subject: before\r\n\r\n")
    assert history.deliveries() == []  # the server hasn't made the file yet
    with Server(folder) as server:
        server.login().quit()
        wait_until(history.sessions, "the file")
    call("deliver", "--to", "joe", given=b"From ann@example.com  Mon\r\nSubject: hi\r\n\r\n")
    assert call("deliver", "--to", "nobody", given=b"x").status == 67
    (folder / "one.eml").write_bytes(b"Subject: old\r\n\r\n")
    assert call("import", str(folder / "one.eml"), "--account", "joe").status == 0
    found = [(e.outcome, e.protocol, e.recipient, e.sender) for e in history.deliveries()]
    assert found == [
        ("delivered", "import", "joe", ""),
        ("refused", "deliver", "nobody", ""),
        ("delivered", "deliver", "joe", "ann@example.com"),
    ]
