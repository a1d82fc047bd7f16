"""What SMTP, LMTP and `Delivery` say when a maildrop has no room."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from restante.accounts.account import Account, Quota
from restante.accounts.static import StaticAccounts
from restante.delivery import Intake, Recipients, lmtp_protocol, smtp_protocol
from restante.stores import PostgresStore
from restante.stores.contract import Store
from restante.stores.maildir.store import Maildir
from restante.stores.memory import MemoryStore
from restante.stores.postgres.schema import upgrade
from restante.stores.sqlite.store import SqliteStore
from tests.conftest import Authority
from tests.delivery.helpers import Peer, listening
from tests.needs import only_cpython
from tests.postgres_server import PostgresServer, postgres

pytestmark = pytest.mark.asyncio

ACCOUNTS = StaticAccounts(
    [Account("joe", quota=Quota(octets=100)), Account("ann"), Account("tiny", quota=Quota(10))]
)
MESSAGE = b"x" * 58 + b"\r\n.\r\n"  # 60 octets
TWO = b"y\r\n.\r\n"


@pytest.fixture(scope="module")
def database(authority: Authority) -> Iterator[PostgresServer]:
    with postgres(authority.certificate.files()[0]) as running:
        yield running


@pytest_asyncio.fixture(
    params=["memory", "maildir", "sqlite", pytest.param("postgres", marks=only_cpython)]
)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    match request.param:
        case "memory":
            yield MemoryStore()
        case "maildir":
            yield Maildir(tmp_path)
        case "sqlite":
            yield SqliteStore(tmp_path / "mail.sqlite")
        case _:
            server, schema = request.getfixturevalue("database"), f"s{tmp_path.stat().st_ino}"
            await upgrade(server.dsn, schema=schema)
            made = PostgresStore(server.dsn, schema=schema)
            yield made
            await made.aclose()


def intake_for(store: Store) -> Intake:
    recipients = Recipients(ACCOUNTS, domains=["example.org"])
    return Intake(recipients=recipients, store=store, hostname="mail.example.org")


def to(name: str) -> str:
    return f"RCPT TO:<{name}@example.org>"


async def test_a_full_maildrop_is_refused_at_rcpt_already(store: Store) -> None:
    intake = intake_for(store)
    async with listening(smtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        await peer.say("EHLO mta", "MAIL FROM:<a@b>", to("joe"))
        assert (await peer.data(MESSAGE)).startswith("250 ")
        # Its size isn't known yet: there may be room.
        await peer.say("MAIL FROM:<a@b>")
        assert (await peer.say(to("joe"))).startswith("250 ")
        assert (await peer.data(MESSAGE)) == "452 4.2.2 mailbox full, try again later"
        # A size that was announced counts, for each recipient by itself.
        await peer.say("MAIL FROM:<a@b> SIZE=41")
        assert (await peer.say(to("joe"))) == "452 4.2.2 mailbox full, try again later"
        assert (await peer.say(to("ann"))).startswith("250 ")
        assert (await peer.data(MESSAGE)).startswith("250 ")
        await peer.say("MAIL FROM:<a@b> SIZE=101")
        assert (await peer.say(to("joe"))).startswith("552 5.2.3 ")
        assert (await peer.say(to("ann"))).startswith("250 ")
        await peer.say("RSET", "MAIL FROM:<a@b> SIZE=40", to("joe"))
        assert (await peer.data(b"x" * 38 + b"\r\n.\r\n")).startswith("250 ")
        await peer.say("MAIL FROM:<a@b>")
        assert (await peer.say(to("joe"))).startswith("452 4.2.2 ")  # no octet is left
        await peer.close()


async def test_smtp_has_one_reply_for_all_recipients(store: Store) -> None:
    """Whoever has room mustn't lose the message because somebody else never will."""
    intake = intake_for(store)
    async with listening(smtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        await peer.say("EHLO mta", "MAIL FROM:<a@b>", to("tiny"))
        assert (await peer.data(MESSAGE)).startswith("552 5.2.3 ")
        await peer.say("MAIL FROM:<a@b>", to("tiny"), to("ann"))
        assert (await peer.data(MESSAGE)).startswith("452 4.2.2 ")
        await peer.say("MAIL FROM:<a@b> SIZE=60", to("tiny"), to("ann"))
        assert (await peer.data(MESSAGE)).startswith("250 ")
        await peer.close()


async def test_lmtp_answers_each_recipient(store: Store) -> None:
    intake = intake_for(store)
    async with listening(lmtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        await peer.say("LHLO mta", "MAIL FROM:<a@b>", to("joe"))
        assert (await peer.data(MESSAGE)).startswith("250 ")
        await peer.say("MAIL FROM:<a@b>", to("joe"), to("ann"), to("tiny"))
        replies = [await peer.data(MESSAGE), await peer.reply(), await peer.reply()]
        assert [each[:9] for each in replies] == ["452 4.2.2", "250 2.0.0", "552 5.2.3"]
        # What was refused takes no room.
        await peer.say("MAIL FROM:<a@b>", to("joe"), to("tiny"))
        replies = [await peer.data(TWO), await peer.reply()]
        assert [each[:3] for each in replies] == ["250", "250"]
        await peer.close()


async def test_what_has_no_room_is_refused_and_no_fault_of_the_server(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Observers hear of it as of other refusals: any sender could raise an alarm otherwise."""
    caplog.set_level(logging.INFO, "restante.access")

    def told() -> list[str]:
        """Which line for whom, with the reply; warnings and errors of any kind, too."""
        found = [
            re.sub(r"@.* session=\S+", "", f"{each.levelname} {each.getMessage()}")
            for each in caplog.records
            if each.levelno > logging.INFO or each.name == "restante.access"
        ]
        caplog.clear()
        return found

    full = "reply='452 4.2.2 mailbox full, try again later'"
    never = "reply='552 5.2.3 message larger than the whole mailbox may be'"
    intake = intake_for(store)
    async with listening(smtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        await peer.say("EHLO mta", "MAIL FROM:<a@b>", to("tiny"))
        assert (await peer.data(MESSAGE)).startswith("552 5.2.3 ")
        assert told() == [f"INFO refused: recipient='tiny {never}"]
        await peer.say("MAIL FROM:<a@b>", to("tiny"), to("ann"))
        assert (await peer.data(MESSAGE)).startswith("452 4.2.2 ")
        assert told() == [f"INFO refused: recipient='{name} {full}" for name in ("tiny", "ann")]
        await peer.close()
    intake = intake_for(store)
    async with listening(lmtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        await peer.say("LHLO mta", "MAIL FROM:<a@b>", to("joe"))
        assert (await peer.data(MESSAGE)).startswith("250 ")
        assert told() == ["INFO delivered: recipient='joe"]
        await peer.say("MAIL FROM:<a@b>", to("joe"), to("ann"), to("tiny"))
        assert (await peer.data(MESSAGE)).startswith("452 ")
        assert [(await peer.reply())[:3] for _ in range(2)] == ["250", "552"]
        assert told() == [
            f"INFO refused: recipient='joe {full}",
            "INFO delivered: recipient='ann",
            f"INFO refused: recipient='tiny {never}",
        ]
        await peer.close()
