"""The index: a cache that is believed only when it is whole and of this maildrop's state."""

from __future__ import annotations

import os
import time
from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.protocol.facts import Facts, measure
from restante.stores.maildir.columns import CRLF, DOTS, Draft, Rows
from restante.stores.maildir.index import INDEX_FILE, Stamp, load, save
from restante.stores.maildir.measured import Measured
from restante.stores.maildir.store import Maildir
from tests.corpus import NASTY, wire_form
from tests.stores.maildir.kit import close, commit, ids, opened, put, read, settle

STAMP = Stamp(1, 2, 3, 4, 0)


def rows_of(names: list[str], facts: list[Facts]) -> Rows:
    rows = Draft()
    for number, (name, known) in enumerate(zip(names, facts, strict=True)):
        rows.add(name, number % 2, Measured(known.octets, -number, known), f"id{number}")
    return rows.rows()


def state(rows: Rows) -> list[object]:
    columns = {column: getattr(rows, column) for column in Rows.__slots__}
    texts = [list(columns.pop("names")), list(columns.pop("unique_ids"))]
    return [*texts, *columns.values()]


name = st.text(st.characters(codec=None, exclude_characters="\0/"), min_size=1, max_size=20)
number = st.integers(0, 2**60)
places = st.sets(st.integers(0, 2**32 - 1), min_size=1, max_size=4).map(
    lambda at: array("I", sorted(at))
)
utf8 = st.integers(0, 2)
some_facts = st.one_of(
    st.builds(Facts, number, number, st.booleans(), st.booleans(), number, st.none(), utf8),
    st.builds(Facts, number, number, st.booleans(), st.just(True), number, places, utf8),
).map(lambda facts: facts if facts.utf8 else facts._replace(ascii_octets=facts.octets))


@given(st.lists(st.tuples(name, some_facts), max_size=5))
def test_what_is_saved_is_loaded(
    tmp_path_factory: pytest.TempPathFactory, messages: list[tuple[str, Facts]]
) -> None:
    folder = tmp_path_factory.mktemp("index")
    rows = rows_of([name for name, _ in messages], [facts for _, facts in messages])
    save(str(folder), STAMP, rows)
    loaded = load(str(folder))
    assert loaded is not None
    assert loaded[0] == STAMP
    assert state(loaded[1]) == state(rows)
    assert [loaded[1].facts(row) for row in range(len(rows))] == [facts for _, facts in messages]


def test_marks_and_facts() -> None:
    facts = measure([b".x\r\n"])
    rows = rows_of(["1.x"], [facts])
    assert rows.marks[0] == CRLF | DOTS
    assert rows.facts(0) == facts


def test_dots_past_the_bound_are_searched_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restante.stores.maildir.columns.MAX_DOTS", 3)
    rows = rows_of(["1.x", "2.x", "3.x", "4.x"], [measure([b".\n.\n"]), *[measure([b".\n"])] * 3])
    again, run = Draft(), Draft()
    for row in range(4):
        again.copy(rows, row, rows.names[row], rows.marks[row])
    run.copy_run(rows, 0, 4)
    for each in (rows, again.rows(), run.rows()):
        kept = [each.facts(row).dots for row in range(4)]
        assert kept == [array("I", [0, 2]), array("I", [0]), None, None]
        assert all(each.facts(row).needs_stuffing for row in range(4))


def test_there_may_be_none(tmp_path: Path) -> None:
    assert load(str(tmp_path)) is None


@pytest.mark.parametrize("bit", [0, 3])
def test_any_damaged_bit_is_noticed(tmp_path: Path, bit: int) -> None:
    save(str(tmp_path), STAMP, rows_of(["1.x", "2.x:2,S"], [measure([b"x"]), measure([b".\n"])]))
    path = tmp_path / INDEX_FILE
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        assert load(str(tmp_path)) is None, at
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert load(str(tmp_path)) is None, size
    path.write_bytes(whole + b"x")
    assert load(str(tmp_path)) is None
    path.write_bytes(whole)
    assert load(str(tmp_path)) is not None


def test_names_in_it_lead_nowhere_else(tmp_path: Path) -> None:
    save(str(tmp_path), STAMP, rows_of(["../../ben/new/1.x"], [measure([b"x"])]))
    assert load(str(tmp_path)) is None


@pytest.mark.parametrize("junk", [b"", b"junk", b"restidx1" + b"\xff" * 500, b"\0" * 10_000])
def test_a_maildrop_with_a_damaged_index_is_as_it_was(tmp_path: Path, junk: bytes) -> None:
    for at, message in enumerate(NASTY.values()):
        put(tmp_path, f"{at}.x", message)
    settle(tmp_path)
    before = ids(Maildir(tmp_path))
    (tmp_path / "anna" / INDEX_FILE).write_bytes(junk)
    maildrop = opened(Maildir(tmp_path))
    assert list(maildrop.listing.unique_ids) == before
    assert list(maildrop.listing.octets) == [len(wire_form(m)) for m in NASTY.values()]
    close(maildrop)
    assert load(str(tmp_path / "anna")) is not None


def test_an_index_that_is_a_folder_or_fifo_hurts_nobody(tmp_path: Path) -> None:
    put(tmp_path, "1.x", b"x\n")
    (tmp_path / "anna" / INDEX_FILE).mkdir()
    assert ids(Maildir(tmp_path)) == ["1.x"]
    (tmp_path / "anna" / INDEX_FILE).rmdir()
    os.mkfifo(tmp_path / "anna" / INDEX_FILE)
    assert ids(Maildir(tmp_path)) == ["1.x"]


def test_another_maildrops_index_is_not_believed(tmp_path: Path) -> None:
    put(tmp_path, "1.x", b"x\n", user="ben")
    put(tmp_path, "1.x", b"longer\n")
    settle(tmp_path)
    store = Maildir(tmp_path)
    ids(store)
    save(str(tmp_path / "anna"), STAMP, rows_of(["9.gone"], [measure([b"x"])]))
    assert ids(Maildir(tmp_path)) == ["1.x"]


def test_l5_a_hundred_thousand_messages(tmp_path: Path) -> None:
    """Loaded in little time and memory: 400 octets a message, strings included."""
    count = 100_000
    draft = Draft()
    facts = Facts(2000, 500, True, False, 2000)
    for at in range(count):
        base = f"17000{at:05d}.M{at:06d}P1234Q1.mail.example.org"
        draft.add(f"{base},S=2000:2,S", 1, Measured(2000, at, facts), base)
    save(str(tmp_path), STAMP, draft.rows())
    times = []
    for _ in range(3):
        start = time.process_time()
        loaded = load(str(tmp_path))
        times.append(time.process_time() - start)
    assert loaded is not None
    assert len(loaded[1]) == count
    del loaded
    tracemalloc = pytest.importorskip("tracemalloc", reason="only CPython counts memory so")
    tracemalloc.start()
    loaded = load(str(tmp_path))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert loaded is not None
    assert used / count < 400
    assert min(times) < 0.5  # some 0.04 s when nothing else runs


@pytest.mark.slow
def test_l5_a_maildrop_of_a_hundred_thousand(tmp_path: Path) -> None:
    count = 100_000
    one = put(tmp_path, "0000000.x", b"Subject: x\n\nx\n")
    for at in range(1, count):
        if at % 10_000 == 0:  # file systems bound the names of one file
            one = put(tmp_path, f"{at:07d}.x", b"Subject: x\n\nx\n")
        else:
            os.link(one, tmp_path / f"anna/new/{at:07d}.x")
    settle(tmp_path)
    close(opened(Maildir(tmp_path)))
    start = time.process_time()
    maildrop = opened(Maildir(tmp_path))
    assert time.process_time() - start < 1
    assert len(maildrop.listing) == count
    assert maildrop.listing.total == 17 * count
    assert read(maildrop, count) == b"Subject: x\n\nx\n"
    commit(maildrop, *range(1, count, 2))
    close(maildrop)
    maildrop = opened(Maildir(tmp_path))
    assert list(maildrop.listing.unique_ids) == [f"{at:07d}.x" for at in range(1, count, 2)]
    close(maildrop)


@pytest.mark.slow
def test_l5_a_first_sight_takes_little_memory(tmp_path: Path) -> None:
    """400 octets a message at most, while it lasts; less than half of that afterwards."""
    count = 10_000
    one = put(tmp_path, "0.x:2,S", b"Subject: x\n\nx\n", "cur")
    for at in range(1, count):
        name = f"17000{at:05d}.M{at:06d}P1234Q1.mail.example.org,S=14:2,S"
        os.link(one, tmp_path / "anna/cur" / name)
    settle(tmp_path)
    tracemalloc = pytest.importorskip("tracemalloc", reason="only CPython counts memory so")
    tracemalloc.start()
    maildrop = opened(Maildir(tmp_path))
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    close(maildrop)
    assert peak / count < 400
    assert now / count < 200
