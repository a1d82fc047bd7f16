"""Mail from mbox, Maildir and .eml files."""

from __future__ import annotations

import asyncio
import mailbox
import os
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from restante.accounts.contract import Account
from restante.delivery import (
    ImportResult,
    SourceError,
    SourceMessage,
    import_messages,
    iter_messages,
    mbox,
    sources,
)
from restante.protocol.listing import UniqueId
from restante.stores.contract import Answer, Incoming, StoreError
from tests.corpus import NASTY, wire_form
from tests.delivery.helpers import FakeStore

JOE = Account("joe")
FROM = b"From anna@example.org Thu Jan  1 00:00:00 1970\n"


def run_import(*args: Any, **settings: Any) -> ImportResult:
    return asyncio.run(import_messages(*args, **settings))


def contents(path: Path, kind: str = "auto") -> list[bytes]:
    return [b"".join(message.blocks()) for message in iter_messages(path, kind)]


def as_mbox(messages: list[bytes], end: bytes = b"\n") -> bytes:
    """mboxrd, as the best of writers do it."""
    parts = []
    for message in messages:
        quoted = re.sub(rb"(?m)^(>*From )", rb">\1", message)
        parts.append(FROM.replace(b"\n", end) + quoted + end)
    return b"".join(parts)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def to_file(data: bytes, name: str = "box") -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return to_file


LINES = st.sampled_from(
    [b"From \n", b">From a\n", b">>From b\n", FROM, b">" + FROM, b"\n", b".\n", b"x\n", b"\0\xff\n"]
)
BODIES = st.lists(LINES, max_size=8).map(lambda lines: b"Subject: x\n\n" + b"".join(lines))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=st.lists(BODIES, max_size=5), block=st.integers(1, 900), crlf=st.booleans())
def test_mboxrd_round_trip_at_every_block_size(
    tmp_path: Path, messages: list[bytes], block: int, crlf: bool
) -> None:
    end = b"\r\n" if crlf else b"\n"
    messages = [message.replace(b"\n", end) for message in messages]
    path = tmp_path / "box"
    path.write_bytes(as_mbox(messages, end))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mbox, "BLOCK", block)
        patch.setattr(sources, "MAX_QUOTED", 64)
        assert contents(path, "mbox") == messages


@pytest.mark.parametrize("crlf", [False, True])
def test_the_corpus_in_an_mbox(write: Callable[[bytes], Path], crlf: bool) -> None:
    messages = [wire_form(message) for message in NASTY.values()]
    if not crlf:
        messages = [message.replace(b"\r\n", b"\n") for message in messages]
    assert contents(write(as_mbox(messages, b"\r\n" if crlf else b"\n"))) == messages


def test_an_empty_mbox(write: Callable[[bytes], Path]) -> None:
    messages = iter_messages(write(b""))
    assert (messages.kind, messages.octets, list(messages)) == ("mboxrd", 0, [])


def test_the_last_message_without_blank_line_or_final_newline(
    write: Callable[[bytes], Path],
) -> None:
    assert contents(write(FROM + b"a: b\n\nbody")) == [b"a: b\n\nbody"]
    assert contents(write(FROM + b"a: b\n\nbody\n")) == [b"a: b\n\nbody\n"]
    assert contents(write(FROM + b"a: b\n\nbody\n\n")) == [b"a: b\n\nbody\n"]
    assert contents(write(FROM)) == [b""]
    assert contents(write(FROM[:-1])) == [b""]


def test_a_sentence_that_begins_with_from_is_no_separator(write: Callable[[bytes], Path]) -> None:
    body = b"a: b\n\nHello.\n\nFrom here on it is easy.\nFrom a Thu Jan  1 00:00:00 1970\n"
    assert contents(write(FROM + body + b"\n" + FROM + b"c: d\n\n")) == [body, b"c: d\n"]


def test_mboxo_takes_off_one_sign_only_from_single_ones(write: Callable[[bytes], Path]) -> None:
    path = write(FROM + b"\n>From a\n>>From b\n>Fromage\n> From c\n\n")
    assert contents(path, "mboxo") == [b"\nFrom a\n>>From b\n>Fromage\n> From c\n"]
    assert contents(path, "mboxrd") == [b"\nFrom a\n>From b\n>Fromage\n> From c\n"]


def test_what_the_standard_library_writes(tmp_path: Path) -> None:
    box = mailbox.mbox(tmp_path / "box")
    messages = [b"Subject: a\n\nbody\nFrom me\n", b"Subject: b\n\n\n\nbody\n"]
    for message in messages:
        box.add(message)
    box.close()
    assert contents(tmp_path / "box") == messages


def test_kinds_are_told_apart(tmp_path: Path, write: Callable[..., Path]) -> None:
    assert iter_messages(write(FROM)).kind == "mboxrd"
    assert iter_messages(write(FROM + b"a: b\n", "x.EML")).kind == "eml"
    assert iter_messages(write(b"Subject: x\n")).kind == "eml"
    assert iter_messages(tmp_path).kind == "folder"
    for name in ("cur", "new", "tmp"):
        (tmp_path / name).mkdir()
    assert iter_messages(tmp_path).kind == "maildir"
    with pytest.raises(SourceError, match="not an mbox"):
        iter_messages(write(b"Subject: x\n"), "mbox")
    with pytest.raises(SourceError, match="not a Maildir"):
        iter_messages(tmp_path / "cur", "maildir")
    with pytest.raises(SourceError, match="maildir"):
        iter_messages(tmp_path, "imap")
    with pytest.raises(FileNotFoundError):
        iter_messages(tmp_path / "nothing")


def test_a_maildir_in_the_order_of_its_names_times(tmp_path: Path) -> None:
    for folder in ("cur", "new", "tmp", ".Sent/cur"):
        (tmp_path / folder).mkdir(parents=True)
    for name, body in {
        "new/1000000000.b.host": b"second",
        "cur/999999999.a.host:2,S": b"first",
        "cur/1000000000.c.host,S=5:2,": b"third",
        "cur/odd-name:2,": b"fourth",
        "tmp/1.x": b"unfinished",
        "new/.hidden": b"hidden",
        ".Sent/cur/1.y": b"sent",
    }.items():
        (tmp_path / name).write_bytes(body)
    os.utime(tmp_path / "cur/odd-name:2,", (2_000_000_000, 2_000_000_000))
    assert contents(tmp_path) == [b"first", b"second", b"third", b"fourth"]
    assert iter_messages(tmp_path).octets == len(b"firstsecondthirdfourth")


def test_a_tree_of_eml_files(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("b/2.eml", "b/10.EML", "a.eml", "note.txt"):
        (tmp_path / name).write_bytes(b"Subject: " + name.encode())
    names = [b"Subject: a.eml", b"Subject: b/10.EML", b"Subject: b/2.eml"]
    assert contents(tmp_path) == names
    assert contents(tmp_path / "a.eml") == names[:1]


def test_an_import_keeps_order_and_octets_and_touches_nothing(
    write: Callable[[bytes], Path],
) -> None:
    path = write(as_mbox([b"a: 1\n", b"a: 2\n", b"a: 3\n"]))
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    store = FakeStore()
    steps: list[int] = []
    messages = iter_messages(path)
    result = run_import(store, JOE, messages, progress=steps.append)
    assert store.mail("joe") == [b"a: 1\n", b"a: 2\n", b"a: 3\n"]
    assert (result.imported, result.known, result.failed) == (3, 0, [])
    assert len(steps) == 3
    assert sum(steps) == messages.octets == result.octets
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_one_bad_message_does_not_stop_the_rest(tmp_path: Path) -> None:
    class Picky(FakeStore):
        def receive(self, account: Account) -> Incoming:
            return _Picky(super().receive(account))

    for name in ("1.eml", "2.eml", "3.eml", "4.eml"):
        (tmp_path / name).write_bytes(b"X: " + name.encode())
    messages = list(iter_messages(tmp_path))
    (tmp_path / "3.eml").unlink()
    store = Picky()
    result = run_import(store, JOE, messages)
    assert store.mail("joe") == [b"X: 1.eml", b"X: 4.eml"]
    assert result.imported == 2
    assert [Path(origin).name for origin, _ in result.failed] == ["2.eml", "3.eml"]
    assert result.failed[0][1] == "no twos"


class _Picky(Incoming):
    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming

    def write(self, block: bytes) -> None:
        if block.startswith(b"X: 2"):
            raise StoreError("no twos")
        self._incoming.write(block)

    def commit(self) -> Answer[UniqueId]:
        return self._incoming.commit()

    def abort(self) -> None:
        self._incoming.abort()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bodies=st.lists(st.sampled_from([b"a: 1\n", b"a: 2\n", b"a: 3\n"]), max_size=6),
    stops=st.lists(st.integers(0, 6), max_size=3),
)
def test_an_interrupted_import_goes_on_where_it_stopped(
    tmp_path: Path, bodies: list[bytes], stops: list[int]
) -> None:
    """Equal messages are each imported, as often as the source has them, and no oftener."""
    path, journal = tmp_path / "box", tmp_path / "journal"
    path.write_bytes(as_mbox(bodies))
    journal.unlink(missing_ok=True)
    store = FakeStore()
    for stop in stops:
        run_import(store, JOE, islice(iter_messages(path), stop), journal=journal)
    result = run_import(store, JOE, iter_messages(path), journal=journal)
    assert sorted(store.mail("joe")) == sorted(bodies)
    assert result.imported + result.known == len(bodies)


def test_a_journal_cut_short_by_a_crash(tmp_path: Path) -> None:
    (tmp_path / "1.eml").write_bytes(b"a: x")
    journal, store = tmp_path / "journal", FakeStore()
    run_import(store, JOE, iter_messages(tmp_path), journal=journal)
    whole = journal.read_text()
    journal.write_text(whole + "0123abc")
    (tmp_path / "2.eml").write_bytes(b"a: y")
    run_import(store, JOE, iter_messages(tmp_path), journal=journal)
    run_import(store, JOE, iter_messages(tmp_path), journal=journal)
    assert store.mail("joe") == [b"a: x", b"a: y"]


def test_an_interrupt_leaves_no_half_message(tmp_path: Path) -> None:
    class Interrupted(SourceMessage):
        def blocks(self) -> Iterator[bytes]:
            yield b"half"
            raise KeyboardInterrupt

    store = FakeStore()
    with pytest.raises(KeyboardInterrupt):
        run_import(store, JOE, [Interrupted("x", 1, tmp_path)])
    assert store.mail("joe") == []
    assert store.events[-1] == "joe write"


def test_large_messages_come_in_blocks(tmp_path: Path) -> None:
    path = tmp_path / "box"
    with path.open("wb") as file:
        file.write(FROM)
        for _ in range(100):
            file.write((b"x" * 99 + b"\n") * 2_000)
        file.write(b"y" * 3_000_000)  # one line longer than any block
    (message,) = iter_messages(path)
    assert isinstance(message, SourceMessage)
    sizes = [len(block) for block in message.blocks()]
    assert sum(sizes) == 20_000_000 + 3_000_000
    assert max(sizes) <= 2 * mbox.BLOCK


def test_two_imports_at_once_double_nothing(write: Callable[[bytes], Path], tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    path, journal = write(as_mbox([b"a: 1\n", b"a: 2\n"])), tmp_path / "journal"
    store = FakeStore()

    async def both() -> tuple[object, object]:
        return await asyncio.gather(
            import_messages(store, JOE, iter_messages(path), journal=journal),
            import_messages(store, JOE, iter_messages(path), journal=journal),
            return_exceptions=True,
        )

    first, second = asyncio.run(both())
    assert isinstance(first, ImportResult)
    assert isinstance(second, SourceError)
    assert "another import" in str(second)
    assert store.mail("joe") == [b"a: 1\n", b"a: 2\n"]
    assert run_import(store, JOE, iter_messages(path), journal=journal).known == 2
