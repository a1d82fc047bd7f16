"""Maildrops of which the server says what isn't so."""

from __future__ import annotations

import pytest

from restante.testing.faults import (
    ChangedUniqueId,
    DeletesAtOnce,
    DeletionForgotten,
    Gone,
    HugeMessage,
    LeaseKept,
    LongUniqueId,
    ManyMessages,
    NewMail,
    NoFinalCrlf,
    NoLease,
    NoUniqueId,
    NumberGap,
    QuitFails,
    ReusedUniqueId,
    SameUniqueId,
    Unstuffed,
    WrongOctets,
    WrongStat,
)
from tests.testing.faults.harness import FIRST, eventually, failing


def test_octets_are_wrong_in_list() -> None:
    with failing(WrongOctets(by=7)) as server, server.log_in() as client:
        assert client.ask_lines("LIST")[1:] == [b"1 30\r\n", b"2 41\r\n"]
        assert client.ask("LIST 2") == b"+OK 2 41\r\n"
        assert client.ask("STAT") == b"+OK 2 57\r\n"
        assert client.ask("LIST 3").startswith(b"-ERR")
        assert server.fired == [WrongOctets(by=7)]
    with failing(WrongOctets(by=-1000, message=1)) as server, server.log_in() as client:
        assert client.ask_lines("LIST")[1:] == [b"1 0\r\n", b"2 34\r\n"]


def test_stat_is_unlike_list() -> None:
    with failing(WrongStat(messages=-1, octets=5)) as server, server.log_in() as client:
        assert client.ask("STAT") == b"+OK 1 62\r\n"
        assert len(client.ask_lines("LIST")) == 3
        assert server.fired == [WrongStat(messages=-1, octets=5)]


def test_numbers_have_a_gap() -> None:
    with failing(NumberGap(message=2)) as server, server.log_in() as client:
        assert client.ask("STAT") == b"+OK 2 57\r\n"
        assert client.ask_lines("LIST")[1:] == [b"1 23\r\n", b"3 34\r\n"]
        assert client.ask_lines("UIDL")[1:] == [b"1 a1\r\n", b"3 a2\r\n"]
        assert client.ask("RETR 2") == b"-ERR no such message\r\n"
        assert client.ask_lines("RETR 3")[0] == b"+OK 34 octets\r\n"
        assert client.ask("DELE 3").startswith(b"+OK")
        assert client.quit().startswith(b"+OK")
        assert list(server.mail.messages("joe")) == ["a1"]
        assert server.fired == [NumberGap(message=2)]


def test_a_gap_beyond_the_maildrop_is_none() -> None:
    with failing(NumberGap(message=3)) as server, server.log_in() as client:
        assert client.ask_lines("LIST")[1:] == [b"1 23\r\n", b"2 34\r\n"]
        assert server.missed == ["the maildrop has too few messages for a gap at 3"]


def test_unique_ids_are_missing() -> None:
    with failing(NoUniqueId(message=1)) as server, server.log_in() as client:
        assert client.ask_lines("UIDL")[1:] == [b"2 a2\r\n"]
        assert client.ask("UIDL 1").startswith(b"-ERR")
        assert server.fired == [NoUniqueId(message=1)]


def test_unique_ids_are_not_unique() -> None:
    with failing(SameUniqueId()) as server, server.log_in() as client:
        assert client.ask_lines("UIDL")[1:] == [b"1 a1\r\n", b"2 a1\r\n"]
        assert client.ask("UIDL 2") == b"+OK 2 a1\r\n"


def test_unique_ids_change_from_session_to_session() -> None:
    with failing(ChangedUniqueId(message=2)) as server:
        seen = []
        for _ in range(2):
            with server.log_in() as client:
                first, second = client.ask_lines("UIDL")[1:]
                assert first == b"1 a1\r\n"
                assert client.ask_lines("UIDL")[2] == second
                seen.append(second)
                client.quit()
        assert len(set(seen)) == 2


def test_unique_ids_are_too_long() -> None:
    with failing(LongUniqueId()) as server, server.log_in() as client:
        lines = client.ask_lines("UIDL")[1:]
        assert [len(line.split()[1]) for line in lines] == [71, 71]


def test_dots_are_not_doubled() -> None:
    with failing(Unstuffed("RETR")) as server, server.log_in() as client:
        assert client.ask_lines("RETR 2")[-2:] == [b".a dot\r\n", b"..two\r\n"]
        assert server.fired == [Unstuffed("RETR")]
        assert b"".join(client.ask_lines("RETR 1")[1:]) == FIRST
        assert server.missed == ["no line begins with a dot"]


def test_the_last_line_has_no_end() -> None:
    with failing(NoFinalCrlf("RETR")) as server, server.log_in() as client:
        client.send("RETR 1")
        eventually(lambda: server.sends.pieces[-1].endswith(b".\r\n"))
        assert b"".join(server.sends.pieces).endswith(FIRST[:-2] + b".\r\n")
        assert server.fired == [NoFinalCrlf("RETR")]


def test_a_message_is_gone_when_it_is_fetched() -> None:
    with failing(Gone(message=1)) as server, server.log_in() as client:
        assert len(client.ask_lines("LIST")) == 3
        assert client.ask("RETR 1") == b"-ERR message was removed from elsewhere\r\n"
        assert client.ask("RETR 2").startswith(b"+OK")
        assert list(server.mail.messages("joe")) == ["a2"]
        assert server.fired == [Gone(message=1)]


def test_mail_comes_in_meanwhile() -> None:
    with failing(NewMail("RETR", messages=2, once=True)) as server:
        with server.log_in() as client:
            client.ask_lines("RETR 1")
            assert client.ask("STAT") == b"+OK 2 57\r\n"
            assert len(server.mail.messages("joe")) == 4
            client.quit()
        with server.log_in() as client:
            assert client.ask("STAT").startswith(b"+OK 4 ")


def test_a_hundred_thousand_messages() -> None:
    with failing(ManyMessages(octets=100)) as server, server.log_in() as client:
        assert client.ask("STAT") == b"+OK 100002 10000057\r\n"
        assert len(client.ask_lines("LIST")) == 100_003
        assert client.ask_lines("UIDL")[-1] == b"100002 made.100000\r\n"
        assert len(b"".join(client.ask_lines("RETR 100002")[1:])) == 100
        client.ask("DELE 100002")
        client.quit()
        with server.log_in() as again:
            assert again.ask("STAT") == b"+OK 100001 9999957\r\n"


def test_a_message_of_four_gibibytes_is_made_while_it_is_sent() -> None:
    with failing(HugeMessage(), account_limit()) as server, server.log_in() as client:
        assert client.ask("LIST 3") == b"+OK 3 4294967296\r\n"
        assert client.ask("RETR 3") == b"+OK 4294967296 octets\r\n"
        assert client.line() == b"Subject: made.huge\r\n"
        assert client.line() == b"\r\n"
        assert len(client.line()) == 78
    with failing(HugeMessage(octets=5_000_001)) as server, server.log_in() as client:
        assert len(b"".join(client.ask_lines("RETR 3")[1:])) == 5_000_001
        assert server.fired == [HugeMessage(octets=5_000_001)]


def account_limit() -> WrongStat:
    """Something else at the same time, as faults are combined."""
    return WrongStat(octets=1, account="ann")


def test_a_deletion_is_forgotten() -> None:
    with failing(DeletionForgotten()) as server, server.log_in() as client:
        client.ask("DELE 1")
        assert client.quit() == b"+OK bye\r\n"
        assert len(server.mail.messages("joe")) == 2
        assert server.fired == [DeletionForgotten()]


def test_quit_fails_and_nothing_was_removed(caplog: pytest.LogCaptureFixture) -> None:
    with failing(QuitFails()) as server, server.log_in() as client:
        client.ask("DELE 1")
        assert client.quit() == b"-ERR [SYS/TEMP] 1 deleted messages not removed\r\n"
        assert len(server.mail.messages("joe")) == 2
    assert not caplog.records  # it was asked for


def test_quit_fails_and_the_messages_were_removed() -> None:
    with failing(QuitFails(code="SYS/PERM", removed=True)) as server, server.log_in() as client:
        client.ask("DELE 1")
        assert client.quit().startswith(b"-ERR [SYS/PERM]")
        assert list(server.mail.messages("joe")) == ["a2"]
        assert server.fired == [QuitFails(code="SYS/PERM", removed=True)]


def test_new_messages_get_unique_ids_of_old_ones() -> None:
    with failing(ReusedUniqueId()) as server:
        for left in (["1 1", "2 2"], ["1 1"]):
            with server.log_in() as client:
                assert client.ask_lines("UIDL")[1:] == [f"{each}\r\n".encode() for each in left]
                client.ask("DELE 1")
                client.quit()
        server.mail.add("joe", FIRST, "a3")
        with server.log_in() as client:
            assert client.ask_lines("UIDL")[1:] == [b"1 1\r\n"]


# The lease


def test_a_session_without_quit_leaves_the_maildrop_in_use() -> None:
    fault = LeaseKept(seconds=600)
    with failing(fault) as server:
        with server.log_in() as client:
            client.quit()
        with server.log_in() as client:
            assert server.fired == []
        eventually(lambda: server.fired == [fault])
        with server.connect() as client:
            client.line()
            client.ask("USER joe")
            assert client.ask("PASS secret").startswith(b"-ERR [IN-USE]")
        with server.log_in("ann") as client:
            client.quit()


def test_the_lease_comes_back_after_that_time() -> None:
    with failing(LeaseKept(seconds=0.3, once=True)) as server:
        with server.log_in():
            pass
        eventually(lambda: server.fired)
        refusals = 0
        while True:
            with server.connect() as client:
                client.line()
                client.ask("USER joe")
                if client.ask("PASS secret").startswith(b"+OK"):
                    break
                refusals += 1
        assert refusals
        for _ in range(2):  # once is enough
            with server.log_in():
                pass
            eventually(lambda: not server.server.sessions)


def test_two_sessions_have_a_maildrop_at_once() -> None:
    with failing(NoLease()) as server:
        with server.log_in() as first, server.log_in() as second:
            first.ask("DELE 1")
            second.ask("DELE 2")
            assert first.ask("STAT") == b"+OK 1 34\r\n"
            assert second.ask("STAT") == b"+OK 1 23\r\n"
            assert first.quit().startswith(b"+OK")
            assert second.ask("RETR 1").startswith(b"-ERR")  # the first one has removed it
            assert list(server.mail.messages("joe")) == ["a2"]
            assert second.quit().startswith(b"+OK")
        assert list(server.mail.messages("joe")) == []
        assert server.fired == [NoLease()]
        with server.log_in() as client:
            assert client.ask_lines("LIST")[1:] == []


def test_faults_of_a_shared_maildrop_are_those_of_the_session() -> None:
    with failing(NoLease(), NewMail("NOOP")) as server:
        with server.log_in() as first, server.log_in() as second:
            second.ask("NOOP")
            first.ask("NOOP")
        assert server.missed == []
        assert len(server.mail.messages("joe")) == 4


# Deleting at once


def test_dele_removes_at_once() -> None:
    with failing(DeletesAtOnce()) as server:
        with server.log_in() as client:
            assert client.ask("DELE 1").startswith(b"+OK")
            assert list(server.mail.messages("joe")) == ["a2"]
            assert client.ask("DELE 1").startswith(b"-ERR")
            assert client.ask("DELE 7").startswith(b"-ERR")
            assert client.ask("DELE x").startswith(b"-ERR")
            client.ask("RSET")
            assert client.ask("RETR 1").startswith(b"-ERR")
            client.ask("DELE 1")
            assert client.quit().startswith(b"+OK")
        assert set(server.missed) == {"there was no such message to be deleted"}
        assert list(server.mail.messages("joe")) == ["a2"]
