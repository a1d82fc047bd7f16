"""Explanations: what happened to real maildrops is told in words that are true."""

from __future__ import annotations

import json
import poplib
import re
import time
from pathlib import Path

import pytest

from restante.delivery import Envelope
from restante.observing import Explanation, Finding, explain
from tests.conftest import Authority
from tests.observing.history_kit import ANN, JOE, PASSWORD, Kept, Watched


def only(found: Explanation, kind: str) -> Finding:
    """The one finding of a kind."""
    (finding,) = [each for each in found.findings if each.kind == kind]
    return finding


def kinds(found: Explanation) -> list[str]:
    return [each.kind for each in found.findings]


def test_another_program_removes_a_message(watched: Watched) -> None:
    gone = watched.put("1700000000.M1P1.host", 120)
    watched.put("1700000001.M1P1.host")
    watched.session(fetch=(1, 2))
    gone.unlink()
    watched.session()

    found = watched.explained()
    assert kinds(found) == ["removed"]
    removed = only(found, "removed")
    assert removed.unique_ids == ("1700000000.M1P1.host",)
    assert removed.text.startswith("1 message vanished between ")
    assert "No session deleted it: another program" in removed.text
    assert removed.text.endswith("by hand, removed its file.")
    assert watched.explained(files=False).findings[0].text.endswith("by hand, removed it.")
    last = watched.history.sessions(limit=1)[0]
    assert removed.lines[0].endswith(f"messages=1 octets=100 come=0 gone=1 session={last.session}")
    assert removed.lines[1] == "    gone: unique_id=1700000000.M1P1.host octets=120"


def test_what_a_session_deleted_is_not_called_vanished(watched: Watched) -> None:
    watched.put("1700000000.M1P1.host")
    watched.session(fetch=(1,), delete=(1,))
    watched.session()

    found = watched.explained()
    assert kinds(found) == ["deleted"]
    text = only(found, "deleted").text
    assert text == (
        "Client 1 (127.0.0.1) deleted 1 message that it had fetched: it doesn't leave it on the"
        " server."
    )


def test_two_clients_of_which_one_deletes(watched: Watched) -> None:
    for number in range(4):
        watched.put(f"170000000{number}.M1P1.host", 100 + number)
    watched.session(JOE, fetch=(1,))
    watched.session(ANN, fetch=(1, 2, 3, 4), delete=(1, 2, 3))
    watched.session(JOE)

    found = watched.explained()
    deleted = only(found, "deleted")
    assert deleted.client == 2
    assert deleted.text == (
        "Client 2 (127.0.0.2) deleted 3 messages that it had fetched: it doesn't leave them on the"
        " server. Client 1 (127.0.0.1) had not fetched 2 of them, and can't any more. Client 1"
        " (127.0.0.1) had fetched 1 of them before."
    )
    session = watched.history.sessions(address=ANN)[0]
    assert f"ended='QUIT' session={session.session}" in deleted.lines[0]
    assert "unique_id=1700000000.M1P1.host" in deleted.lines[1]
    one, two = found.clients
    assert (one.address, two.address) == (JOE, ANN)
    assert one.missing == ("1700000003.M1P1.host",)
    assert two.left == ("1700000003.M1P1.host",)
    assert len(two.deleted) == 3


def test_a_client_that_keeps_mail_has_lost_its_record(watched: Watched) -> None:
    for number in range(3):
        watched.put(f"170000000{number}.M1P1.host")
    watched.session(fetch=(1, 2, 3))
    watched.session()
    watched.session(fetch=(1, 2, 3))

    found = watched.explained()
    again = only(found, "fetched again")
    assert again.text.startswith(
        "Client 1 (127.0.0.1) fetched 3 messages again that it had fetched before, all that were"
        " there. The unique-ids had not changed, so the reason lies with the client"
    )
    first, *_, last = reversed(watched.history.sessions())
    assert f"retrieved=3 deleted=0 octets=300 ended='QUIT' session={last.session}" in again.lines[0]
    assert all(f"fetched before: unique_id=170000000{n}" in again.lines[n + 1] for n in range(3))
    assert again.lines[1].endswith(f"session={first.session}")
    (client,) = found.clients
    assert len(client.refetched) == 3
    assert "It leaves messages on the server." in client.text


def test_unique_ids_changed_because_files_were_copied(watched: Watched) -> None:
    files = [watched.put(f"170000000{n}.M1P1.host", 100 + n) for n in range(3)]
    watched.session(fetch=(1, 2, 3))
    for number, file in enumerate(files):
        watched.copy(file, f"180000000{number}.copied.elsewhere:2,S")
        file.unlink()
    watched.session(fetch=(1, 2, 3))

    found = watched.explained()
    assert kinds(found) == ["renamed", "fetched again"]
    renamed, again = found.findings
    assert renamed.text.startswith("3 messages changed their unique-ids between ")
    assert "it is likely that the files were copied, restored or renamed" in renamed.text
    assert "each client downloads them again" in renamed.text
    assert "file" not in watched.explained(files=False).findings[0].text
    assert renamed.lines[1] == (
        "    was: unique_id=1700000000.M1P1.host now: unique_id=1800000000.copied.elsewhere"
    )
    assert again.text == (
        "Client 1 (127.0.0.1) fetched 3 messages again, because the unique-ids had changed: to it"
        " they were new messages."
    )


def test_files_that_come_back_under_other_names(watched: Watched, tmp_path: Path) -> None:
    for number in range(3):
        file = watched.put(f"170000000{number}.M1P1.host", 100 + number)
        (tmp_path / str(number)).hardlink_to(file)
    watched.session(fetch=(1, 2, 3), delete=(1, 2, 3))
    watched.session()
    for number in range(3):
        watched.copy(tmp_path / str(number), f"170000000{number}.restored.backup:2,")
    watched.session(fetch=(1, 2, 3))

    found = watched.explained()
    assert kinds(found) == ["deleted", "restored", "fetched again"]
    restored = only(found, "restored")
    assert restored.text.startswith("3 messages came between ")
    assert "it is likely that their files were restored under other names" in restored.text
    assert "was: unique_id=1700000001.M1P1.host now: unique_id=1700000001.restored.backup" in (
        "\n".join(restored.lines)
    )
    assert any("deleted: account='joe'" in line for line in restored.lines)
    assert "file" not in only(watched.explained(files=False), "restored").text


def test_files_that_come_back_under_their_names(watched: Watched) -> None:
    file = watched.put("1700000000.M1P1.host")
    octets = file.read_bytes()
    watched.session(fetch=(1,), delete=(1,))
    watched.session()
    file.write_bytes(octets)
    watched.session(fetch=(1,))

    found = watched.explained()
    assert kinds(found) == ["deleted", "restored", "fetched again"]
    text = only(found, "restored").text
    assert "came back" in text
    assert text.endswith(
        "it was put back, most likely by `restante undelete`, or from a backup. It had been deleted"
        " by a session."
    )

    # Where messages are no files, nobody puts a file back.
    told = watched.explained(files=False)
    assert only(told, "restored").text == text.replace(", or from a backup", "")


def test_undelete_is_not_named_for_what_another_program_removed(watched: Watched) -> None:
    file = watched.put("1700000000.M1P1.host")
    octets = file.read_bytes()
    watched.session()
    file.unlink()
    watched.session()
    file.write_bytes(octets)
    watched.session()

    text = only(watched.explained(), "restored").text
    assert text.endswith(
        "it was put back, as from a backup, or by `restante undelete` if it had expired."
    )


def test_pins_that_were_lost(kept: Kept, tmp_path: Path) -> None:
    """A running server still knows them; one that is started anew doesn't."""
    names = [f"170000000{number}.M1P1.host" for number in range(2)]
    with Watched(tmp_path, kept) as watched:
        for number, name in enumerate(names):
            watched.put(name, 100 + number)
        pins = "".join(f"0000000{n}5f000000 {name}\n" for n, name in enumerate(names))
        (watched.mail / "restante.pins").write_text(pins)
        watched.session(fetch=(1, 2))
    watched.without_index()
    with Watched(tmp_path, kept) as watched:
        watched.session(fetch=(1, 2))
        found = watched.explained(pins={})
    renamed = only(found, "renamed")
    assert "The old ones didn't come from file names: they had been pinned." in renamed.text
    assert renamed.unique_ids == tuple(names)
    assert "because the unique-ids had changed" in only(found, "fetched again").text


def test_pins_that_were_given(watched: Watched) -> None:
    name = "1700000000.M1P1.host"
    watched.put(name)
    watched.session(fetch=(1,))
    watched.without_index()
    (watched.mail / "restante.pins").write_text(f"000000015f000000 {name}\n")
    watched.session()

    found = watched.explained(pins={name: "000000015f000000"})
    assert "The new one is pinned in restante.pins" in only(found, "renamed").text


def test_files_that_are_older_than_their_first_look(watched: Watched) -> None:
    watched.put("1700000000.M1P1.host")
    watched.session()
    watched.put("1600000000.M1P1.host", 333)
    watched.session()

    put = only(watched.explained(), "put there")
    assert put.unique_ids == ("1600000000.M1P1.host",)
    assert "another program, or somebody by hand, put it there" in put.text.lower()


def test_mail_that_another_program_delivers_is_nothing_unusual(watched: Watched) -> None:
    watched.put("1700000000.M1P1.host")
    watched.session(fetch=(1,))
    watched.put("2100000000.M1P1.host")  # a time to come: it can't have been there before
    watched.session(fetch=(2,))
    assert kinds(watched.explained()) == []
    assert "Nothing unusual has happened." in watched.explained().text()


def test_a_client_that_leaves_without_quit_deletes_nothing(watched: Watched) -> None:
    watched.put("1700000000.M1P1.host")
    client = watched.login()
    client.retr(1)
    client.dele(1)
    client.close()
    watched.written()
    watched.session()

    found = only(watched.explained(), "not deleted")
    assert "marked 1 message as deleted, but the session ended without QUIT" in found.text
    assert "RFC 1939 §6" in found.text


def test_a_new_client_that_fetches_what_another_had(watched: Watched) -> None:
    for number in range(2):
        watched.put(f"170000000{number}.M1P1.host")
    watched.session(JOE, fetch=(1, 2))
    watched.session(ANN, fetch=(1, 2))
    text = only(watched.explained(), "new client").text
    assert text.startswith("Client 2 (127.0.0.2) was new, and fetched 2 messages, 2 of which")
    assert "the same one at another address without its record" in text


def test_refused_logins_are_told(watched: Watched) -> None:
    watched.session()
    for _ in range(2):
        client = watched.connect()
        client.user("joe")
        with pytest.raises(poplib.error_proto, match="authentication failed"):
            client.pass_("wrong one")
        client.close()
    found = only(watched.explained(), "refused")
    assert found.text.startswith("2 logins were refused to 127.0.0.1 by USER")


def test_the_report_is_words_with_lines_below(watched: Watched) -> None:
    gone = watched.put("1700000000.M1P1.host")
    watched.session(fetch=(1,))
    gone.unlink()
    for _ in range(3):
        watched.session()

    text = watched.explained().text()
    assert re.match(r"Account joe\. The history begins at \d{4}-\d\d-\d\d", text)
    assert "Client 1, 127.0.0.1\n  Logs in by USER, without TLS. It says USER PASS first" in text
    assert "4 sessions from" in text
    assert "nothing new in 3 polls up to" in text
    assert "  | " in text
    assert "gone: unique_id=1700000000.M1P1.host octets=100" in text
    assert max(map(len, text.splitlines())) < 200
    assert "correct horse" not in text


def test_a_client_is_called_inside_tls_only_if_it_always_was(
    kept: Kept, tmp_path: Path, authority: Authority
) -> None:
    with Watched(tmp_path, kept, certificate=authority.certificate) as watched:

        def session(*, tls: bool) -> None:
            trust = authority.client_context() if tls else None
            client = watched.connect(trust=trust)
            client.user("joe")
            client.pass_(PASSWORD)
            client.quit()
            watched.written()

        session(tls=True)
        assert "Logs in by USER, inside TLS." in watched.explained().text()
        session(tls=False)
        session(tls=False)
        session(tls=True)

        found = watched.explained()
        (client,) = found.clients
        assert client.text.startswith("Logs in by USER, in 2 of 4 sessions without TLS. It says")
        assert [": without TLS, " in line for line in client.sessions] == [False, True, False]
        told = found.as_json()["clients"][0]
        assert (told["tls"], told["without_tls"], told["mechanism"]) == (False, 2, "USER")
        (device,) = watched.history.devices("joe")
        assert (device.tls, device.without_tls, device.sessions) == (False, 2, 4)


def test_programs_get_it_as_json(watched: Watched) -> None:
    watched.put("1700000000.M1P1.host")
    watched.session(fetch=(1,), delete=(1,))
    found = json.loads(json.dumps(watched.explained().as_json()))
    assert found["account"] == "joe"
    assert found["findings"][0]["kind"] == "deleted"
    assert found["findings"][0]["unique_ids"] == ["1700000000.M1P1.host"]
    assert found["clients"][0]["address"] == "127.0.0.1"


def test_only_what_has_happened_since_is_told(watched: Watched) -> None:
    watched.put("1700000000.M1P1.host")
    watched.session(fetch=(1,), delete=(1,))
    assert watched.explained(since=0).findings
    assert not watched.explained(since=4e9).findings


def test_clients_and_their_sessions_are_those_of_the_time(watched: Watched) -> None:
    watched.put("1700000000.M1P1.host")
    watched.session(ANN, fetch=(1,))
    watched.session(JOE, fetch=(1,))
    begin = time.time()
    watched.put("1700000001.M1P1.host")
    watched.session(JOE, fetch=(2,), delete=(1,))

    found = watched.explained(since=begin)
    assert "This is what happened from " in found.text()
    (client,) = found.clients
    assert (client.number, client.address) == (2, JOE)
    assert "1 session from" in client.text
    assert "It fetched 1 message, deleted 1, left 1." in client.text
    assert (client.deleted, client.left) == (("1700000000.M1P1.host",), ("1700000001.M1P1.host",))
    assert client.missing == ()
    assert len(client.sessions) == 1
    assert found.as_json()["since"] == begin
    assert [each.number for each in watched.explained().clients] == [1, 2]

    later = watched.explained(since=4e9)
    assert later.clients == ()
    assert "No session of it has ended since then." in later.text()


def test_polls_that_are_one_row_are_told_as_far_as_they_are_of_the_time(watched: Watched) -> None:
    watched.session()
    begin = time.time()
    for _ in range(2):
        watched.session()

    assert "3 sessions from" in watched.explained().text()
    (client,) = watched.explained(since=begin).clients
    (poll,) = watched.history.sessions()
    assert (poll.times, poll.since < begin) == (3, True)
    assert "At least 1 session from" in client.text
    assert "3" not in client.sessions[0].partition(": ")[2]


def test_refused_logins_are_counted_in_the_time(watched: Watched) -> None:
    def fail() -> None:
        client = watched.connect()
        client.user("joe")
        with pytest.raises(poplib.error_proto, match="authentication failed"):
            client.pass_("wrong one")
        client.close()
        watched.written()

    def said() -> str:
        return only(watched.explained(since=begin), "refused").text.partition(" refused")[0]

    fail()
    begin = time.time()
    assert kinds(watched.explained(since=begin)) == []
    fail()
    assert said() == "A login was"
    fail()
    assert said() == "At least 1 login was"
    begin = 0.0
    assert said() == "3 logins were"


def test_much_of_one_kind_is_shown_by_five_lines(watched: Watched) -> None:
    files = [watched.put(f"17000000{number:02}.M1P1.host") for number in range(20)]
    watched.session()
    for file in files:
        file.unlink()
    watched.session()
    removed = only(watched.explained(), "removed")
    assert len(removed.unique_ids) == 20
    assert len(removed.lines) == 7
    assert removed.lines[-1] == "    … and 15 more"


def test_nothing_is_known_without_a_history(kept: Kept) -> None:
    found = explain(kept.history(), "joe")
    assert found.begins is None
    assert found.text() == "Account joe: there is no history yet.\n"


def test_mail_that_was_refused_is_told(watched: Watched) -> None:
    """For the account alone: by its address, and by those by which it has got mail."""
    file = watched.put("1700000000.M1P1.host")
    envelope = Envelope(protocol="LMTP", sender="ann@example.org", peer="192.0.2.9", queue_id="q")
    tell = watched.writer.deliveries
    tell.delivered(envelope, "info@example.org", 100, file.name)
    watched.session(fetch=(1,))
    for _ in range(3):
        tell.refused(envelope, "joe@example.org", "452 4.2.2 mailbox full")
    for _ in range(4):
        tell.refused(envelope, "INFO@example.org", "452 4.2.2 mailbox full")
    tell.refused(envelope, "joe@example.org", "552 5.3.4 message too big")
    tell.refused(envelope, "ann@example.org", "452 4.2.2 mailbox full")
    tell.refused(envelope, "", "421 4.7.0 too many connections")
    tell.not_delivered(envelope, "joe@example.org", 100, "disk full", "")

    found = watched.explained(is_for=lambda address: address == "joe@example.org")
    assert kinds(found) == ["mail refused", "mail refused", "mail not delivered"]
    full, big, failed = found.findings
    assert re.fullmatch(
        r"7 messages for it were refused between [-0-9: ]+ and [-0-9: ]+, as '452 4\.2\.2 mailbox"
        r" full'\. Whoever sends it is to try again later, and each try counts here\.",
        full.text,
    )
    assert len(full.lines) == 6
    assert full.lines[0].endswith(
        " refused: recipient='joe@example.org' sender='ann@example.org' peer=192.0.2.9"
        " protocol=LMTP queue=q reply='452 4.2.2 mailbox full'"
    )
    assert full.lines[-1] == "    … and 2 more"
    assert big.text.startswith("1 message for it was refused, as '552 5.3.4 message too big'.")
    assert failed.text == "1 message for it could not be delivered, as 'disk full'."
    assert "Nothing unusual" not in found.text()
    assert kinds(watched.explained(since=4e9, is_for=lambda _: True)) == []
