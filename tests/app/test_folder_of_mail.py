"""The folder of mail goes away while the server runs, as when a disk isn't mounted any more."""

from __future__ import annotations

import os
import poplib
import re
import signal
import smtplib
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.app.conftest import Call
from tests.app.support import Server, wait_until, write_config
from tests.observing.test_metrics import children

MESSAGE = b"Subject: hi\r\n\r\nhello\r\n"
GONE = "the folder of mail {} is gone: mount or restore it"


def send(server: Server) -> None:
    port = server.port("smtp", "starttls")
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client.sendmail("ann@example.org", ["joe"], MESSAGE)


def is_refused(server: Server) -> None:
    with pytest.raises(smtplib.SMTPResponseException, match="451"):
        send(server)
    with pytest.raises(poplib.error_proto, match=re.escape("[SYS/TEMP]")):
        server.login()


def ready(server: Server) -> str:
    client = HTTPConnection("127.0.0.1", server.port("metrics", "none"), timeout=20)
    client.request("GET", "/readyz")
    text = client.getresponse().read().decode()
    client.close()
    return text


def unique_ids(server: Server) -> list[bytes]:
    session = server.login()
    found: list[bytes] = session.uidl()[1]
    session.quit()
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_clients_wait_for_it_and_it_isnt_made_anew(folder: Path, workers: int) -> None:
    write_config(folder, f"[server]\nworkers = {workers}\n[metrics]\nport = 0\n")
    mail = folder / "data" / "mail"
    with Server(folder) as server:
        send(server)
        before = unique_ids(server)
        mail.rename(mail.with_name("away"))

        is_refused(server)
        if workers > 1:  # one that starts now hasn't seen it
            pids = children(server.process.pid)
            os.kill(pids[0], signal.SIGKILL)
            wait_until(lambda: len({*children(server.process.pid)} - {*pids}) == 1, "another")
            for _ in range(6):
                is_refused(server)

        assert not mail.exists()
        mail.with_name("away").rename(mail)
        assert unique_ids(server) == before
        send(server)
        assert len(unique_ids(server)) == 2


def test_the_log_says_when_it_begins_why_and_when_it_is_over(folder: Path) -> None:
    write_config(folder, "[server]\nworkers = 1\n[metrics]\nport = 0\n")
    mail = folder / "data" / "mail"
    begins, ends = "ERROR restante.app: The storage doesn't work", "The storage works again"
    with Server(folder) as server:
        for times in (1, 2):
            mail.rename(mail.with_name("away"))
            wait_until(lambda: "storage: failed" in ready(server), "the next look")
            log = server.wait_for_log(begins, times)
            assert GONE.format(mail) in log
            assert str(mail) not in ready(server)
            mail.with_name("away").rename(mail)
            wait_until(lambda: "storage: ok" in ready(server), "the next look")
            log = server.wait_for_log(ends, times)
            assert (log.count(begins), log.count(ends)) == (times, times)


ANEW = "WARNING restante.app: The folder of mail {} wasn't there, and was made anew"


def test_a_later_start_says_that_it_made_it_anew(folder: Path) -> None:
    write_config(folder)
    mail = folder / "data" / "mail"
    anew = ANEW.format(mail)
    with Server(folder, "--workers", "1") as server:
        assert anew not in server.log.read_text()
    with Server(folder, "--workers", "1") as server:
        assert anew not in server.log.read_text()
    mail.rename(mail.with_name("away"))
    with Server(folder, "--workers", "1") as server:
        server.wait_for_log(anew)
        assert unique_ids(server) == []


def test_commands_dont_make_it_anew_either(folder: Path, call: Call) -> None:
    write_config(folder)
    mail = folder / "data" / "mail"
    assert call("deliver", "--to", "joe", given=MESSAGE).status == 0  # before the first start
    with Server(folder, "--workers", "1"):
        pass
    mail.rename(mail.with_name("away"))

    done = call("deliver", "--to", "joe", given=MESSAGE)

    assert done.status == 75  # EX_TEMPFAIL: the mail system tries again
    assert GONE.format(mail) in done.err
    assert call("collect").status != 0
    assert not mail.exists()
