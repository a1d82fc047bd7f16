"""A saved dialogue is played by the same runner as the dialogues of the tests."""

from __future__ import annotations

import poplib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from restante.app.console.pop_file import pop_file
from tests.app.support import PASSWORD, Server, client_context, wait_until
from tests.conftest import Authority
from tests.console.site import MESSAGES, Site, message, prepare
from tests.dialogues.runner import Dialogue, play, read_dialogue
from tests.dialogues.venues import CoreVenue, socket_venue

pytest.importorskip("starlette")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server in which every dialogue of this machine is logged."""
    folder = tmp_path_factory.mktemp("site")
    prepare(folder)
    with Server(folder, "--console-port", "0", "--workers", "1") as server:
        site = Site(server)
        site.deliver(*(message(*each) for each in MESSAGES))
        cookie, token = site.session()
        form = {"address": "127.0.0.1", "account": "ann", "token": token}
        assert site.ask("POST", "/dialogue/on", form, cookie=cookie).status == 303
        server.wait_for_log("debug log: account ann")
        yield site


def _saved(site: Site, folder: Path, last: str) -> Dialogue:
    """The dialogue of the session that said this last, as the console saves it."""
    cookie, _ = site.session()

    def found() -> str:
        page = site.ask("GET", "/dialogue", cookie=cookie).body
        for part in page.split('href="/dialogue?session=')[1:]:
            session = part.partition('"')[0]
            text = site.ask("GET", f"/dialogue/save?session={quote(session)}", cookie=cookie).body
            if last in text:
                return text
        return ""

    path = folder / "saved.pop"
    path.write_text(wait_until(found, "the dialogue"), "utf-8")
    assert PASSWORD not in path.read_text("utf-8")
    return read_dialogue(path)


def _client(site: Site) -> poplib.POP3:
    return poplib.POP3("127.0.0.1", site.server.port("pop3", "starttls"), timeout=60)


def test_a_whole_session_is_saved_and_played(
    site: Site, tmp_path: Path, authority: Authority
) -> None:
    client = _client(site)
    client.capa()
    client.stls(client_context())
    client.user("joe")
    client.pass_(PASSWORD)
    client.stat()
    client.list()
    client.list(2)
    client.uidl()
    client.uidl(1)
    client.top(1, 0)
    client.retr(3)
    client.dele(1)
    client.rset()
    with suppress(poplib.error_proto):
        client.retr(9)
    with suppress(poplib.error_proto):
        client._shortcmd("NONSENSE {x*3} \\ é")  # type: ignore[attr-defined]
    with suppress(poplib.error_proto):
        client.dele(77)
    client.noop()
    client.quit()
    dialogue = _saved(site, tmp_path, "C: DELE 77")
    said = [step.data.split()[0] for step in dialogue.steps if step.kind == "C"]
    after = "STAT LIST LIST UIDL UIDL TOP RETR DELE RSET RETR (unknown DELE NOOP QUIT"
    assert b" ".join(said).decode() == f"CAPA CAPA STLS USER PASS {after}"
    play(dialogue, CoreVenue(dialogue))
    play(dialogue, CoreVenue(dialogue), pipeline=True)
    with socket_venue(dialogue, authority, implicit=False) as venue:
        play(dialogue, venue)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-256"])
def test_a_login_by_sasl_becomes_the_tests_own(site: Site, tmp_path: Path, mechanism: str) -> None:
    client = _client(site)
    client.stls(client_context())
    answers = {
        "PLAIN": ["AGpvZQBzZWNyZXQ="],
        "LOGIN": ["am9l", "d3Jvbmc="],
        "SCRAM-SHA-256": [b64encode(b"n,,n=joe,r=abc").decode(), "Yz1iaXdz"],
    }[mechanism]
    for line in [f"AUTH {mechanism}", *answers]:
        with suppress(poplib.error_proto):  # a wrong password at first
            client._shortcmd(line)  # type: ignore[attr-defined]
    client._putcmd("AUTH PLAIN")  # type: ignore[attr-defined]
    client._getresp()  # type: ignore[attr-defined]
    client._shortcmd(b64encode(f"\0joe\0{PASSWORD}".encode()).decode())  # type: ignore[attr-defined]
    with suppress(poplib.error_proto):
        client.dele(len(mechanism) * 100)
    client.close()
    dialogue = _saved(site, tmp_path, f"C: DELE {len(mechanism) * 100}")
    play(dialogue, CoreVenue(dialogue))


def test_what_was_chosen_by_account_begins_with_its_name(site: Site, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"time": at, "account": account, "direction": direction, "line": line}
        for at, (account, direction, line) in enumerate(
            [
                ("-", "S", "+OK send PASS"),
                ("-", "C", "PASS ****"),
                ("-", "S", "-ERR [AUTH] wrong name or password"),
                ("-", "C", "QUIT"),
                ("-", "S", "+OK bye"),
            ]
        )
    ]
    path = tmp_path / "failed.pop"
    path.write_text(pop_file("1-1", rows))
    dialogue = read_dialogue(path)
    assert [step.data for step in dialogue.steps if step.kind == "C"] == [
        b"USER joe\r\n",
        b"PASS ****\r\n",
        b"QUIT\r\n",
    ]
    rows[2:3] = [{**rows[2], "account": "ann", "line": "+OK 0 messages"}]
    path.write_text(pop_file("1-1", rows))
    dialogue = read_dialogue(path)
    play(dialogue, CoreVenue(dialogue))


def test_a_dialogue_that_is_cut_anywhere_is_still_a_file(tmp_path: Path) -> None:
    rows = [
        {"time": at, "account": "joe" if at > 3 else "-", "direction": "CS"[at % 2], "line": line}
        for at, line in enumerate(
            ["CAPA", "+OK capabilities follow", "PASS ****", "+OK 2 messages", "RETR 1", "+OK 9"]
        )
    ]
    for begin in range(len(rows) + 1):
        for end in range(begin, len(rows) + 1):
            path = tmp_path / "cut.pop"
            path.write_text(pop_file("1-1", rows[begin:end]))
            read_dialogue(path)
