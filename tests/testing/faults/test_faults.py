"""Faults as declarations: what they may be, their text form, and who hears of them."""

from __future__ import annotations

import re
import threading
from dataclasses import MISSING, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante import MemoryStore, Pop3Server
from restante.settings_fields import allowed_of
from restante.testing import MailServer
from restante.testing import faults as package
from restante.testing.faults import (
    Close,
    CommandFault,
    Delay,
    DeletionForgotten,
    Drip,
    Fault,
    FaultError,
    Faults,
    LoginFails,
    ManyMessages,
    NoReply,
    QuitFails,
    Raw,
    Reset,
    Split,
    WrongOctets,
    WrongStat,
    parse,
)
from restante.testing.faults.fault import KINDS, VERBS
from tests.testing.faults.harness import failing

# Text


def values_of(kind: type[Fault], name: str) -> st.SearchStrategy[Any]:
    allowed = allowed_of(kind)[name]
    if name == "when":
        verbs = ("RETR", "TOP") if issubclass(kind, package.Unstuffed | package.NoFinalCrlf) else (
            "STAT", "USER", "DELE 7", "UIDL 1", "greeting")  # fmt: skip
        return st.sampled_from(verbs)
    if name == "after":
        return st.sampled_from([None, 0, 1, 5_000_000_000])
    if name == "command":
        return st.sampled_from(["CAPA", "UIDL", "USER"])
    if name == "server":
        return st.sampled_from(package.profile_names())
    if name == "code" and not allowed.choices:
        return st.sampled_from([None, "SYS/TEMP", "X-%2C,:="])
    if name == "account":
        return st.none() | st.text(max_size=20)
    if allowed.choices:
        return st.sampled_from(allowed.choices)
    if bool in allowed.types:
        return st.booleans()
    least = 0 if allowed.least is None else allowed.least
    most = least + 1000 if allowed.most is None else allowed.most
    if float in allowed.types:
        return st.floats(least, most)
    if int in allowed.types:
        numbers: st.SearchStrategy[Any] = st.integers(int(least), int(most))
        return st.none() | numbers if allowed.optional else numbers
    if bytes in allowed.types:
        return st.binary(min_size=1, max_size=40)
    return st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40)


@st.composite
def faults_of_all_kinds(draw: st.DrawFn) -> Fault:
    kind = draw(st.sampled_from(sorted(KINDS.values(), key=lambda kind: kind.name)))
    values = {}
    for each in fields(kind):
        if each.default is MISSING or draw(st.booleans()):
            values[each.name] = draw(values_of(kind, each.name))
    if kind.lasting:
        values.pop("nth", None)
        values.pop("once", None)
    if kind.before_names or values.get("when") == "greeting":
        values.pop("account", None)
    if kind is LoginFails and values.get("times") is not None:
        values.pop("nth", None)
        values.pop("once", None)
    if kind is WrongStat and not (values.get("messages") or values.get("octets")):
        values["octets"] = 1
    if kind is WrongOctets and values.get("by") == 0:
        values["by"] = 1
    return kind(**values)


@given(faults_of_all_kinds())
def test_every_fault_is_read_back_from_its_text(fault: Fault) -> None:
    assert parse(str(fault)) == fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("RETR:reset-after=100", Reset("RETR", after=100)),
        ("RETR 2:close-after=body,nth=2,once", Close("RETR 2", after="body", nth=2, once=True)),
        ("greeting:delay-seconds=0.5", Delay("greeting", seconds=0.5)),
        ("STAT:raw-reply=+OK 1%2C2%0D%0A,obeyed=no",
         Raw("STAT", reply=b"+OK 1,2\r\n", obeyed=False)),
        ("login-fails-code=IN-USE,once", LoginFails(code="IN-USE", once=True)),
        ("login-fails-times=3", LoginFails(times=3)),
        ("NOOP:no-reply", NoReply("NOOP")),
        ("many-messages", ManyMessages()),
        ("quit-fails-removed", QuitFails(removed=True)),
    ],
)  # fmt: skip
def test_texts(text: str, fault: Fault) -> None:
    assert parse(text) == fault
    assert str(fault) == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("RETR:rest-after=1", "unknown fault 'rest-after': known are"),
        ("RETR:reset-aftr=1", "unknown setting 'aftr': did you mean 'after'"),
        ("RERT:reset", "unknown command 'RERT': did you mean 'RSET'"),
        ("RETR:reset-after=-1", "after=-1: allowed is a number of octets, 0 or more, or 'body'"),
        ("RETR:reset-after=soon", "after='soon': allowed is"),
        ("reset", "reset needs when, as in RETR:reset"),
        ("RETR:", "unknown fault ''"),
        ("", "unknown fault ''"),
        ("RETR:login-fails", "login-fails isn't about a command: leave out 'RETR'"),
        ("RETR:drip-rate=0", "rate=0: allowed is octets a second from 1 to"),
        ("RETR:drip-rate=quick", "rate=quick: a number is expected"),
        ("RETR:drip-rate", "rate needs a value"),
        ("STAT:raw", "raw needs reply, as in raw-reply=…"),
        ("STAT:raw-reply=", "for no reply at all there is NoReply"),
        ("RETR:reset,once=maybe", "once=maybe: allowed are yes and no"),
        ("RETR:reset,nth=0", "nth=0: allowed is a whole number, 1 or more"),
        ("RETR:reset,nth=1,nth=2", "nth is given twice"),
        ("STAT:unstuffed", "allowed is RETR or TOP"),
        ("RETR:extra-lines", "its reply has several lines anyway"),
        ("greeting:reset-after=body", "a greeting has one line"),
        ("wrong-stat", "then STAT would be right"),
        ("wrong-octets-by=0", "then the octets would be right"),
        ("without-command=RETR", "unknown command 'RETR'"),
        ("profile-server=gmial", "unknown profile 'gmial': did you mean 'gmail'"),
        ("many-messages,once", "many-messages"),
        ("no-unique-id,once", "holds for all of a session"),
        ("login-fails-code=A B", "without brackets, blanks and backslashes"),
    ],
)
def test_what_can_not_be_is_refused_with_what_is_allowed(text: str, told: str) -> None:
    if text == "many-messages,once":
        assert parse(text) == ManyMessages(once=True)
        return
    with pytest.raises(FaultError, match=re.escape(told)):
        parse(text)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("connection-reset,account=joe", "a connection is accepted"),
        ("cut-handshake,account=joe", "TLS begins"),
        ("old-tls,account=joe", "TLS begins"),
        ("broken-stls,account=joe", "TLS begins"),
        ("no-close-notify,account=joe", "TLS begins"),
        ("greeting:reset,account=joe", "the server greets"),
    ],
)
def test_what_happens_before_an_account_is_named_has_no_account(text: str, when: str) -> None:
    told = f"account='joe': {when} before the client has named an account: leave account out"
    with pytest.raises(FaultError, match=re.escape(told)):
        parse(text)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="unknown setting 'aftr': did you mean 'after'"):
        Reset("RETR", aftr=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="once='yes': allowed is true or false"):
        Reset("RETR", once="yes")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="after=-5"):
        Reset("RETR", after=-5)
    with pytest.raises(ValueError, match="did you mean 'RETR'"):
        Reset("RETRE")
    with pytest.raises(TypeError, match="is no fault"):
        Faults(Reset)  # type: ignore[arg-type]


def test_a_verb_is_written_in_upper_case() -> None:
    with pytest.raises(ValueError, match=r"when='retr 2': .*did you mean 'RETR 2'"):
        Reset("retr 2")


def test_what_is_about_messages_is_about_no_other_command() -> None:
    with pytest.raises(ValueError, match=r"allowed is RETR or TOP, .*no other command makes sense"):
        package.Unstuffed("unknown")


@pytest.mark.parametrize("when", ["STAT", "DELE 2", "QUIT", "greeting", "unknown"])
def test_a_reply_of_one_line_has_no_body_after_which_it_could_end(when: str) -> None:
    with pytest.raises(FaultError, match="has one line, and so no body"):
        Close(when, after="body")
    assert Close("LIST", after="body") != Close("LIST 1", after="body")


@pytest.mark.parametrize(
    "fault",
    [package.CutHandshake(), package.OldTls(), package.NoCloseNotify(), package.BrokenStls()],
)
def test_faults_of_tls_need_tls(fault: Fault) -> None:
    with failing() as server, pytest.raises(FaultError, match="needs TLS, and the server has no"):
        server.faults.add(fault)
    with pytest.raises(FaultError, match="needs TLS"), failing(fault):
        pass


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        (Reset("RETR", after=100), "Reset('RETR', after=100)"),
        (LoginFails(code=None, once=True), "LoginFails(code=None, once=True)"),
        (Raw("STAT", b"+OK\r\n"), "Raw('STAT', reply=b'+OK\\r\\n')"),
        (ManyMessages(), "ManyMessages()"),
    ],
)
def test_a_fault_is_shown_as_it_is_written(fault: Fault, shown: str) -> None:
    # LoginFails' own fields stand behind those of all faults.
    assert sorted(repr(fault)) == sorted(shown)
    assert (
        eval(repr(fault), vars(package) | {kind.__name__: kind for kind in KINDS.values()}) == fault
    )


def test_every_verb_can_be_meant() -> None:
    for verb in VERBS:
        assert Reset(verb).when == verb


# Together


@pytest.mark.parametrize(
    ("one", "two", "decided"),
    [
        (Reset("RETR"), Close("RETR"), "end"),
        (Reset("RETR", after=5), Close("RETR 2"), "end"),
        (Raw("STAT", reply=b"x"), NoReply("STAT"), "reply"),
        (Drip("RETR"), Split("RETR", nth=2), "pace"),
        (DeletionForgotten(), QuitFails(), "commit"),
        (WrongOctets(by=1), WrongOctets(by=2, message=1), "octets"),
        (LoginFails(), LoginFails(code="IN-USE", account="joe"), "login"),
    ],
)
def test_two_that_exclude_each_other(one: Fault, two: Fault, decided: str) -> None:
    with pytest.raises(FaultError, match=f"exclude each other: both decide the {decided}"):
        Faults(one, two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("STAT:no-reply", "STAT:twice"),
        ("RETR:no-reply", "RETR 1:delay"),
        ("connection-reset", "greeting:hang"),
        ("connection-reset", "RETR:reset-after=10"),
        ("deletes-at-once", "deletion-forgotten"),
        ("without-command=STLS", "broken-stls"),
        ("without-command=UIDL", "no-unique-id"),
        ("without-command=AUTH", "broken-mechanism"),
    ],
)
def test_where_one_happens_the_other_can_not(one: str, two: str) -> None:
    for both in ((one, two), (two, one)):
        with pytest.raises(FaultError, match=f"where {one} happens, {two} can't"):
            Faults(*both)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("STAT:no-reply", "LIST:twice"),
        ("STAT:no-reply", "STAT:new-mail"),
        ("STAT:no-reply,once", "STAT:twice"),
        ("connection-reset,nth=1", "greeting:hang"),
        ("connection-reset,once", "RETR:reset"),
        ("deletes-at-once", "quit-fails"),
        ("without-command=TOP", "no-unique-id"),
        ("without-command=UIDL", "wrong-octets"),
    ],
)
def test_where_one_happens_the_other_may(one: str, two: str) -> None:
    assert len(Faults(one, two)) == 2


def test_a_fault_of_stls_needs_stls() -> None:
    with (
        MailServer(certificate="valid", tls="none") as server,
        pytest.raises(FaultError, match="broken-stls needs STLS, and the server doesn't offer it"),
    ):
        server.fault("broken-stls")


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (Reset("RETR"), Close("TOP")),
        (Reset("RETR 1"), Close("RETR 2")),
        (Reset("RETR", nth=1), Close("RETR", nth=2)),
        (Reset("RETR", account="joe"), Close("RETR", account="ann")),
        (Reset("RETR", once=True), Close("RETR")),
        (Drip("RETR"), Reset("RETR", after=5)),
        (WrongOctets(message=1), WrongOctets(by=2, message=2)),
    ],
)
def test_two_that_go_together(one: Fault, two: Fault) -> None:
    assert list(Faults(one, two)) == [one, two]


def test_none_is_added_when_one_can_not_be() -> None:
    faults = Faults(Reset("RETR"))
    with pytest.raises(FaultError, match="is given already"):
        faults.add(Reset("TOP"), Reset("RETR"))
    assert list(faults) == [Reset("RETR")]


def test_octets_that_drip_until_a_reset() -> None:
    with failing(Drip("RETR", rate=5000), Reset("RETR", after=5)) as server:
        with server.log_in() as client:
            client.send("RETR 1")
            with pytest.raises(ConnectionResetError):
                client.rest()
        assert set(server.fired) == {Drip("RETR", rate=5000), Reset("RETR", after=5)}


# When


def test_an_argument_is_compared_word_by_word() -> None:
    with failing(NoReply("TOP 1", once=True)) as server, server.log_in() as client:
        assert client.ask("TOP 11 0") == b"-ERR no such message\r\n"
        client.send("TOP 1 0")
        assert client.ask("NOOP") == b"+OK\r\n"
        assert server.fired == [NoReply("TOP 1", once=True)]


def test_the_nth_time_within_a_session() -> None:
    with failing(NoReply("NOOP", nth=2)) as server:
        for _ in range(2):
            with server.log_in() as client:
                client.send("NOOP", "NOOP", "NOOP", "STAT")
                assert [client.line() for _ in range(3)] == [
                    b"+OK\r\n",
                    b"+OK\r\n",
                    b"+OK 2 57\r\n",
                ]
                client.quit()
        assert len(server.fired) == 2


def test_the_nth_greeting_is_that_of_the_nth_connection() -> None:
    with failing(Close("greeting", nth=2)) as server:
        for expected in (True, False, True):
            with server.connect() as client:
                assert client.line().startswith(b"+OK") is expected


def test_once_means_once_for_all_sessions() -> None:
    with failing(NoReply("NOOP", once=True)) as server:
        for expected in (2, 3):
            with server.log_in() as client:
                client.send("NOOP", "NOOP", "STAT")
                replies = [client.line() for _ in range(expected)]
                assert replies[-1].startswith(b"+OK 2")
                client.quit()


def test_one_account_alone() -> None:
    with failing("RETR:no-reply,account=ann", "STAT:no-reply,account=joe") as server:
        with server.log_in() as client:
            client.ask_lines("RETR 1")
            client.send("STAT")
            assert client.ask("NOOP") == b"+OK\r\n"
        assert server.fired == [NoReply("STAT", account="joe")]


# While it runs


def test_faults_come_and_go_while_the_server_runs() -> None:
    with failing() as server, server.log_in() as client:
        assert client.ask("STAT").startswith(b"+OK")
        server.faults.add(refused := parse("STAT:refused"))
        assert refused in server.faults
        assert client.ask("STAT") == b"-ERR refused\r\n"
        server.faults.remove("STAT:refused")
        assert client.ask("STAT").startswith(b"+OK")
        with pytest.raises(FaultError, match="there is no fault STAT:refused; there are: none"):
            server.faults.remove(refused)
        server.faults.add("STAT:refused")
        server.faults.clear()
        assert client.ask("STAT").startswith(b"+OK")
        assert len(server.faults) == 0


def test_who_listens_is_told_on_the_servers_loop() -> None:
    told: list[tuple[Any, Any, str]] = []
    with failing(NoReply("NOOP"), Reset("STAT", after=100)) as server, server.log_in() as client:
        server.faults.on_fired = lambda session, fault: told.append(
            (session and session.account, fault, threading.current_thread().name)
        )
        server.faults.on_missed = lambda session, fault, why: told.append((session, fault, why))
        client.send("NOOP")
        client.ask("STAT")
    (account, fault, thread), (_, missed, why) = told
    assert account.name == "joe"
    assert (fault, missed) == (NoReply("NOOP"), Reset("STAT", after=100))
    assert why == "the reply had 10 octets"
    assert thread != threading.current_thread().name


# Where


def test_faults_belong_to_one_server_before_it_starts() -> None:
    faults = Faults()
    server = Pop3Server(accounts={}, store=MemoryStore(), port=0)
    faults.attach(server)
    with pytest.raises(RuntimeError, match="attached already"):
        faults.attach(Pop3Server(accounts={}, store=MemoryStore(), port=0))
    with pytest.raises(RuntimeError, match="has faults already"):
        Faults().attach(server)
    running = Pop3Server(accounts={}, store=MemoryStore(), port=0)
    with running, pytest.raises(RuntimeError, match="before it is started"):
        Faults().attach(running)


def test_a_fault_of_the_maildrop_needs_the_store() -> None:
    faults = Faults(ManyMessages())
    server = Pop3Server(accounts={}, store=MemoryStore(), port=0)
    with pytest.raises(FaultError, match="wrap_store"):
        faults.attach(server)
    faults.clear()
    faults.attach(server)
    with pytest.raises(FaultError, match="wrap_store"):
        faults.add("many-messages")


def test_what_is_no_store_can_not_be_wrapped() -> None:
    with pytest.raises(TypeError, match=r"give a restante\.Store"):
        Faults().wrap_store(object())  # type: ignore[arg-type]


def test_a_server_without_faults_does_what_it_always_does() -> None:
    with failing() as server, server.log_in() as client:
        client.send("STAT", "LIST", "RETR 2", "TOP 1 0", "DELE 1", "CAPA", "QUIT")
        assert b"Subject: second\r\n\r\n..a dot\r\n...two\r\n.\r\n" in client.rest()
        assert list(server.mail.messages("joe")) == ["a2"]


def test_all_faults_are_public() -> None:
    assert {kind.__name__ for kind in KINDS.values()} <= set(dir(package))
    assert issubclass(Reset, CommandFault)
