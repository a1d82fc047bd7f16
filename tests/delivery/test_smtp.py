"""SMTP alone, on real sockets; see test_smtp_and_lmtp.py."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from restante.accounts.contract import Account, AccountError, AccountStore
from restante.accounts.static import StaticAccounts
from restante.delivery import Intake, Recipients, lmtp_protocol, smtp_protocol
from restante.stores.maildir.store import Maildir
from tests.answers import done
from tests.corpus import NASTY, wire_form
from tests.delivery.helpers import (
    ACCOUNTS,
    SECRET_FAULT,
    FakeStore,
    Peer,
    as_data,
    intake_for,
    listening,
    smtp_served,
    until,
)

TO_JOE = ("EHLO mta", "MAIL FROM:<a@b>", "RCPT TO:<joe@example.org>")


@pytest.mark.asyncio
async def test_from_smtp_and_lmtp_into_a_maildir(tmp_path: Path) -> None:
    store = Maildir(tmp_path)
    corpus = {name: wire_form(message) for name, message in NASTY.items()}
    for protocol, hello in ((smtp_protocol, "EHLO x"), (lmtp_protocol, "LHLO x")):
        intake = Intake(recipients=Recipients(ACCOUNTS), store=store)
        async with listening(protocol(intake), intake) as port:
            peer = await Peer.connect(port)
            await peer.say(hello)
            for message in corpus.values():
                await peer.say(*TO_JOE[1:])
                assert (await peer.data(as_data(message))).startswith("250 ")
            await peer.close()
    maildrop = done(store.open(Account("joe")))
    octets = [len(message) for message in corpus.values()]
    assert list(maildrop.listing.octets) == octets * 2
    done(maildrop.close())
    stored = sorted(path.read_bytes() for path in tmp_path.glob("joe/[nc][eu][wr]/*"))
    assert stored == sorted([*corpus.values()] * 2)


@pytest.mark.asyncio
async def test_thirty_megabytes() -> None:
    store = FakeStore()
    intake = intake_for(store)
    message = (
        b"Subject: x\r\n\r\n" + b".a line with a dot before it, some 50 octets long\r\n" * 600_000
    )
    async with listening(smtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        await peer.say(*TO_JOE)
        assert (await peer.data(as_data(message))).startswith("250 ")
        await peer.close()
    assert store.mail("joe") == [message]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\r\n\0.\r\n"]
)
async def test_nothing_is_smuggled_in(end: bytes) -> None:
    store = FakeStore()
    intake = intake_for(store)
    smuggled = b"MAIL FROM:<evil@b>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\nevil"
    async with listening(smtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        await peer.say(*TO_JOE)
        assert (await peer.data(b"hello" + end + smuggled + b"\r\n.\r\n")).startswith("250 ")
        assert (await peer.say("NOOP")).startswith("250 ")
        await peer.close()
    assert store.mail("ann") == []
    (message,) = store.mail("joe")
    assert message.endswith(smuggled + b"\r\n")


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [1, 3, 7, 100_000])
async def test_a_pipelined_dialogue_in_pieces_of_any_size(size: int) -> None:
    """F11; what follows the end of the data is the next command."""
    store = FakeStore()
    intake = intake_for(store)
    async with listening(smtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        await peer.say("EHLO mta")
        lines = "\r\n".join(TO_JOE[1:]) + "\r\nDATA\r\n"
        dialogue = (lines.encode() + as_data(b".hello\r\n")) * 2 + b"QUIT\r\n"
        for start in range(0, len(dialogue), size):
            await peer.send(dialogue[start : start + size])
            await asyncio.sleep(0)
        replies = [(await peer.reply())[:3] for _ in range(9)]
        assert await peer.reply() == ""
        await peer.close()
    assert replies == ["250", "250", "354", "250"] * 2 + ["221"]
    assert store.mail("joe") == [b".hello\r\n"] * 2


@pytest.mark.asyncio
async def test_what_ehlo_offers() -> None:
    intake = intake_for(FakeStore(), max_octets=1000)
    async with listening(smtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        assert (await peer.say("EHLO mta")).splitlines() == [
            "250-mail.example.org",
            "250-PIPELINING",
            "250-ENHANCEDSTATUSCODES",
            "250-8BITMIME",
            "250-SMTPUTF8",
            "250-SIZE 1000",
            "250 HELP",
        ]
        assert (await peer.say("AUTH PLAIN AGEAYg==")).startswith("538 ")
        assert (await peer.say("STARTTLS")).startswith("454 ")
        await peer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "reply"),
    [
        ("<joe@example.org>", "250 2.1.5"),
        ("<JOE+shop@EXAMPLE.org>", "550 5.1.1"),
        ("<joe+shop@EXAMPLE.org>", "250 2.1.5"),
        ("<jürgen@example.org>", "250 2.1.5"),
        ("<whoever@example.org>", "550 5.1.1"),
        ("<bob@example.org>", "550 5.2.1"),
        ("<joe@elsewhere.net>", "550 5.7.1"),
        ("<joe%elsewhere.net@example.org>", "550 5.1.1"),
        ("<@example.org:joe@elsewhere.net>", "550 5.7.1"),
        ('<"joe@elsewhere.net"@example.org>', "553 5.1.3"),
        ("<joe@example.org> NOTIFY=NEVER ORCPT=rfc822;joe@example.org", "250 2.1.5"),
        ("<joe@example.org> X=1", "555 5.5.4"),
        ("<joe", "553 5.1.3"),
        ("<>", "553 5.1.3"),
        (b"RCPT TO:<\xff@example.org>", "553 5.1.3"),
    ],
)
async def test_recipients_are_judged_at_once_and_nothing_is_relayed(
    path: str | bytes, reply: str
) -> None:
    intake = intake_for(FakeStore())
    async with listening(smtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        await peer.say("EHLO x", "MAIL FROM:<>")
        line = path if isinstance(path, bytes) else f"RCPT TO:{path}"
        assert (await peer.say(line)).startswith(reply)
        await peer.close()


@pytest.mark.asyncio
async def test_catch_all_and_postmaster() -> None:
    store = FakeStore()
    recipients = Recipients(ACCOUNTS, domains=["example.org"], catch_all="ann")
    intake = intake_for(store, recipients=recipients)
    async with listening(smtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        await peer.say("EHLO x", "MAIL FROM:<>", "RCPT TO:<who@example.org>")
        assert (await peer.say("RCPT TO:<Postmaster>")).startswith("250 ")
        assert (await peer.data(b"x\r\n.\r\n")).startswith("250 ")
        await peer.close()
    assert store.mail("ann") == [b"x\r\n"]


@pytest.mark.asyncio
async def test_a_store_of_accounts_that_is_down_is_a_temporary_failure() -> None:
    class Down(AccountStore):
        def lookup(self, name: str) -> Account | None:
            raise AccountError("ldap://secret")

    intake = intake_for(FakeStore(), recipients=Recipients(Down()))
    async with listening(smtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        answer = await peer.say(*TO_JOE)
        assert answer.startswith("451 4.3.0")
        assert "secret" not in answer
        await peer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("use_async", [False, True])
async def test_accounts_that_would_end_the_program_cost_that_recipient(use_async: bool) -> None:
    class Quitting(AccountStore):
        def lookup(self, name: str) -> Account | None:
            raise SystemExit

    class QuittingAsync(Quitting):
        async def lookup(self, name: str) -> Account | None:  # type: ignore[override]
            return super().lookup(name)

    accounts = QuittingAsync() if use_async else Quitting()
    intake = intake_for(FakeStore(), recipients=Recipients(accounts))
    async with listening(smtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        answer = await peer.say(*TO_JOE)
        assert answer.startswith("451 4.3.0")
        assert (await peer.say("NOOP")).startswith("250 ")
        await peer.close()


@pytest.mark.asyncio
async def test_too_many_recipients() -> None:
    intake = intake_for(FakeStore(), max_recipients=2)
    async with listening(smtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        assert (await peer.say(*TO_JOE, TO_JOE[2])).startswith("250 ")
        assert (await peer.say(TO_JOE[2])).startswith("452 4.5.3")
        await peer.close()


@pytest.mark.asyncio
async def test_sizes() -> None:
    store = FakeStore()
    intake = intake_for(store, max_octets=1000)
    async with listening(smtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        assert (await peer.say("EHLO x", "MAIL FROM:<a@b> SIZE=1001")).startswith("552 ")
        await peer.say(*TO_JOE)
        assert (await peer.data(as_data(b"x" * 200_000))).startswith("552 5.3.4")
        await peer.say(*TO_JOE)
        assert (await peer.data(as_data(b"." * 998 + b"\r\n"))).startswith("250 ")
        await peer.close()
    assert store.mail("joe") == [b"." * 998 + b"\r\n"]


@pytest.mark.asyncio
@pytest.mark.parametrize("step", ["receive", "write", "commit"])
async def test_one_reply_for_all_and_nobody_has_it_when_one_fails(step: str) -> None:
    """The message is taken to its end before the reply, so it can't be read as commands."""
    store = FakeStore(**{f"joe_{step}": SECRET_FAULT})
    intake = intake_for(store)
    async with listening(smtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        await peer.say(*TO_JOE, "RCPT TO:<ann@example.org>")
        answer = await peer.data(as_data(b"x" * 300_000 + b"\r\nRSET\r\n"))
        assert answer.startswith("451 4.3.0 not delivered (ref ")
        assert "secret" not in answer
        assert (await peer.say("NOOP")).startswith("250 ")
        await peer.close()
    assert store.mail("joe") == store.mail("ann") == []


@pytest.mark.asyncio
async def test_endless_command_lines_are_refused_and_not_kept() -> None:
    """L3"""
    intake = intake_for(FakeStore())
    async with listening(smtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        assert (await peer.say(b"VRFY \xff")).startswith("50")
        assert (await peer.say(b"x" * 3000)).startswith("500 5.5.6")
        assert await peer.reply() == ""
        await peer.close()
        other = await Peer.connect(port)
        with suppress(OSError):  # it is closed before all of it is sent
            await other.send(b"x" * 50_000_000)
        await until(lambda: intake.connections == 0)
        await other.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("recipient", "code"),
    [
        ("joe@münchen.example", "250"),
        ("joe@xn--mnchen-3ya.example", "250"),
        ("joe@XN--MNCHEN-3YA.Example", "250"),
        ("joe@MÜNCHEN.example", "250"),
        ("joe@mu\u0308nchen.example", "250"),
        ("ann@münchen.example", "250"),
        ("ann@xn--mnchen-3ya.example", "250"),
        ("joe@straße.example", "250"),
        ("joe@xn--strae-oqa.example", "250"),
        ("joe@strasse.example", "550"),
        ("joe@munchen.example", "550"),
    ],
)
async def test_u_labels_and_a_labels_are_one_domain(recipient: str, code: str) -> None:
    """IDNA 2008: ß is a letter of its own."""
    u_labels = ["münchen.example", "straße.example"]
    for domains in (u_labels, ["xn--mnchen-3ya.example", "xn--strae-oqa.example"]):
        accounts = StaticAccounts([Account("joe"), Account(f"ann@{domains[0]}")], domains=domains)
        intake = intake_for(FakeStore(), recipients=Recipients(accounts, domains=domains))
        async with listening(smtp_protocol(intake), intake) as port:
            peer = await Peer.connect(port)
            await peer.say("EHLO x", "MAIL FROM:<a@example.org>")
            assert (await peer.say(f"RCPT TO:<{recipient}>"))[:3] == code
            await peer.close()


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("swaks") is None, reason="swaks is not installed")
def test_swaks_delivers_pipelined() -> None:
    store = FakeStore()
    with smtp_served(store) as port:
        command = ["swaks", "--server", f"127.0.0.1:{port}", "--from", "a@b", "--pipeline"]
        command += ["--to", "joe@example.org,ann@example.org", "--body", ".dot\n..dots"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    (message,) = store.mail("joe")
    assert b"\r\n.dot\r\n..dots\r\n" in message
    assert len(store.mail("ann")) == 1


class _InPlaceStore(FakeStore):
    blocking = False


@pytest.mark.asyncio
async def test_mail_is_written_on_threads_even_if_the_store_is_read_in_place() -> None:
    """An fsync on the event loop would hold every session up."""
    store = _InPlaceStore()
    intake = intake_for(store)
    async with listening(smtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        await peer.say(*TO_JOE)
        assert await peer.data(as_data(b"x\r\n")) == "250 2.0.0 delivered"
        await peer.close()
    assert store.threads
    assert threading.current_thread().name not in store.threads
