"""Dovecot's tools as a source, where they fail; they work in `tests/peers/test_migrating.py`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from restante.migration.dovecot import DovecotSource
from restante.migration.report import AccountReport
from restante.migration.unique_ids import UniqueIdFormat
from restante.stores import SqliteStore, Store
from tests.migration.kit import move, shown

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")

LIST = (
    "uid\\ttime\\tsize\\tguid\\torder\\tuidl\\n"
    "1\\t1700000000\\t3\\tg\\t\\t\\n"
    "2\\t1700000001\\t3\\tg\\t1\\tsaved\\n"
)
MESSAGES = (
    "uid: 1\\nsize.physical: 2\\ntext:\\nx\\n\\f\\nuid: 2\\nsize.physical: 2\\ntext:\\ny\\n\\f\\n"
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return SqliteStore(tmp_path / "mail.sqlite")


def outcome(folder: Path, store: Store, listed: str, printed: str, end: str = "") -> AccountReport:
    """What comes of it when `doveadm` prints this. end: further commands of its."""
    program = folder / "doveadm"
    program.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >>{folder}/calls\n'
        'case "$*" in\n'
        "*uidvalidity*) echo 'INBOX uidvalidity=1700000000' ;;\n"
        f"*tab*) printf '{listed}' ;;\n"
        f"*) printf '{printed}'; {end or ':'} ;;\n"
        "esac\n"
    )
    program.chmod(0o755)
    origin = DovecotSource(unique_ids=UniqueIdFormat(), doveadm=str(program))
    (account,) = move(origin, store, tries=2).accounts
    return account


def test_messages_come_in_the_order_of_pop3_with_the_ids_that_dovecot_saved(
    tmp_path: Path, store: Store
) -> None:
    assert outcome(tmp_path, store, LIST, MESSAGES).is_well
    assert shown(store) == [("saved", b"y\r\n"), ("000000016553f100", b"x\r\n")]


def test_a_message_that_is_not_printed_has_vanished(tmp_path: Path, store: Store) -> None:
    printed = MESSAGES[: MESSAGES.index("uid: 2")]
    account = outcome(tmp_path, store, LIST, printed)
    assert (account.moved, account.vanished) == (1, 1)


@pytest.mark.parametrize(
    ("printed", "error"),
    [
        (
            MESSAGES.replace("size.physical: 2", "size.physical: 3"),
            "another size than Dovecot says",
        ),
        (MESSAGES[:-7], "ends within a message"),
        ("nonsense\\n", "doveadm prints b'nonsense"),
    ],
)
def test_what_it_should_not_print_is_told(
    tmp_path: Path, store: Store, printed: str, error: str
) -> None:
    account = outcome(tmp_path, store, LIST, printed)
    assert error in account.error
    assert not account.is_well


def test_a_list_that_can_not_be_read_is_told(tmp_path: Path, store: Store) -> None:
    account = outcome(tmp_path, store, "uid\\nx\\n", MESSAGES)
    assert account.error == "doveadm fetch prints 'x'"


@pytest.mark.parametrize(
    ("end", "error"),
    [
        ("exit 67", "the source has no such account"),
        ("echo it is broken >&2; exit 75", "doveadm: it is broken"),
        ("exit 3", "doveadm: exit status 3"),
    ],
)
def test_its_failure_is_told(tmp_path: Path, store: Store, end: str, error: str) -> None:
    account = outcome(tmp_path, store, LIST, "", end)
    assert account.failed[0].reason == error or account.error == error


def test_without_it_the_account_fails(store: Store) -> None:
    origin = DovecotSource(unique_ids=UniqueIdFormat(), doveadm="no-such-doveadm")
    (account,) = move(origin, store).accounts
    assert account.error == "doveadm isn't installed here"


@pytest.mark.parametrize("name", ["*", "jo?", "-A", "", "joe\n"])
def test_a_name_never_stands_for_others(store: Store, name: str) -> None:
    origin = DovecotSource(unique_ids=UniqueIdFormat(), doveadm="/bin/false")
    (account,) = move(origin, store, name, find=name).accounts
    assert account.error == "not the name of one user of Dovecot"
