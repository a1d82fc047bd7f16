"""What all SQL stores share: queries, rows, and connections, without a database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.accounts import connections, sql
from restante.accounts.account import Quota
from restante.accounts.contract import (
    Account,
    AccountError,
)
from restante.accounts.schemes import SCHEMES
from restante.accounts.sql_queries import PLACEHOLDERS, Query, compile_query, one_row_of
from restante.accounts.sql_rows import Row, account_of

LOOKUP = {"name", "local", "domain"}
ADDRESS = {"address", "local", "domain"}
UPDATE = {"name", "local", "domain", "old", "new"}


# Queries


def test_placeholders_become_gaps() -> None:
    query = compile_query(
        "lookup", "SELECT a FROM t WHERE n = {name} OR n = {local};\n", LOOKUP, False
    )
    assert query == Query(("SELECT a FROM t WHERE n = ", " OR n = ", ""), ("name", "local"))
    assert query.filled(["$1", "$2"]) == "SELECT a FROM t WHERE n = $1 OR n = $2"
    cut = one_row_of(query).filled(["?", "?"])
    assert cut == "SELECT * FROM (SELECT a FROM t WHERE n = ? OR n = ?) AS found LIMIT 2"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT '{SHA512-CRYPT}' || hash AS password FROM t WHERE n = {name}",
        """SELECT '{}', "a{b" AS c, `d}` FROM t WHERE n = {name}""",
        "SELECT 'it''s; -- fine /* # $1' FROM t WHERE n = {name}",
        "SELECT n FROM t WHERE n = {name} AND tag LIKE '%x' AND d % 2 = 1 ; ",
    ],
)
@pytest.mark.parametrize("backslashes", [False, True])
def test_what_is_quoted_is_left_alone(text: str, backslashes: bool) -> None:
    query = compile_query("lookup", text, LOOKUP, backslashes)
    assert query.gaps == ("name",)
    assert query.filled(["{name}"]).rstrip() == text.rstrip("; ")


def test_a_backslash_in_quotes_is_the_databases_business() -> None:
    for text, backslashes in (
        (r"SELECT '\' FROM t WHERE n = {name}", False),
        (r"SELECT '\'', '\\' FROM t WHERE n = {name}", True),
    ):
        assert compile_query("lookup", text, LOOKUP, backslashes).gaps == ("name",)
        with pytest.raises(ValueError, match="quote"):
            compile_query("lookup", text, LOOKUP, not backslashes)


@pytest.mark.parametrize(
    ("text", "known", "says"),
    [
        ("SELECT 1", LOOKUP, "placeholder is missing"),
        ("SELECT a FROM t WHERE d = {domain}", LOOKUP, "placeholder is missing"),
        ("SELECT a FROM t", ADDRESS, "placeholder is missing"),
        ("UPDATE t SET p = {new} WHERE n = {name}", UPDATE, "placeholder is missing"),
        ("UPDATE t SET p = {new} WHERE p = {old}", UPDATE, "placeholder is missing"),
        ("SELECT a FROM t WHERE n = {user}", LOOKUP, "unknown placeholder '{user}'"),
        ("SELECT a FROM t WHERE n = {address}", LOOKUP, "unknown placeholder"),
        ("SELECT a FROM t WHERE n = {name}", ADDRESS, "unknown placeholder"),
        ("SELECT a FROM t WHERE n = {}", LOOKUP, "unknown placeholder"),
        ("SELECT a FROM t WHERE n = {name!r}", LOOKUP, "'{' can't stand"),
        ("SELECT a FROM t WHERE n = '{name}'", LOOKUP, "stands in quotes"),
        ('SELECT a FROM t WHERE n = "x{name}"', LOOKUP, "stands in quotes"),
        ("SELECT a FROM t WHERE n = {name}; DROP TABLE t", LOOKUP, "one statement"),
        ("SELECT a FROM t WHERE n = {name};;", LOOKUP, "one statement"),
        ("SELECT a FROM t WHERE n = {name} -- x", LOOKUP, "no comments"),
        ("SELECT a /* x */ FROM t WHERE n = {name}", LOOKUP, "no comments"),
        ("SELECT a FROM t WHERE n = {name} # x", LOOKUP, "no comments"),
        ("SELECT a FROM t WHERE n = {name} AND b = $1", LOOKUP, r"'\$' can't stand"),
        ("SELECT a FROM t WHERE n = {name} AND b = $$x$$", LOOKUP, r"'\$' can't stand"),
        ("SELECT a FROM t WHERE n = {name} AND b = 'x", LOOKUP, "every quote closed"),
    ],
)
def test_mistakes_in_queries_are_told_at_once(text: str, known: set[str], says: str) -> None:
    for backslashes in (False, True):
        with pytest.raises(ValueError, match=says):
            compile_query("lookup", text, known, backslashes)


@given(st.text(alphabet="{}name'\"`;-/*#$\\ \nlocalx0", max_size=60), st.booleans())
def test_any_text_is_a_query_or_a_value_error(text: str, backslashes: bool) -> None:
    try:
        query = compile_query("lookup", text, PLACEHOLDERS, backslashes)
    except ValueError:
        return
    back = query.filled(f"{{{gap}}}" for gap in query.gaps)
    assert text.startswith(back)
    assert text[len(back) :].strip() in {"", ";"}


# Rows


def account(**columns: object) -> Account:
    return account_of([*({"name": "joe"} | columns).items()], "CRYPT")


def test_a_row_becomes_an_account() -> None:
    found = account(
        password="$6$salt$hash",
        credentials="{PLAIN}geheim\r\n{NT}00\n\n",
        maildrop="office",
        display_name=" Joe ",
        email="joe@example.com",
        disabled=0,
        master="Y",
        protocols="POP3, imap",
        networks="192.0.2.0/24, 2001:db8::1",
        expires=1_700_000_000,
        quota_octets=2**40,
        quota_messages=Decimal(1000),
        expire_days=30,
    )
    assert found == Account(
        "joe",
        ("{CRYPT}$6$salt$hash", "{PLAIN}geheim", "{NT}00"),
        maildrop="office",
        display_name="Joe",
        email="joe@example.com",
        master=True,
        protocols=frozenset({"pop3", "imap"}),
        networks=("192.0.2.0/24", "2001:db8::1/128"),
        expires=1_700_000_000.0,
        quota=Quota(2**40, 1000),
        expire_days=30,
    )


def test_a_row_of_nulls_is_an_account_without_anything() -> None:
    columns = ("password", "credentials", "maildrop", "display_name", "email", "disabled")
    nulls = dict.fromkeys((*columns, "master", "protocols", "networks", "expires"))
    nulls |= dict.fromkeys(("quota_octets", "quota_messages", "expire_days"))
    assert account(**nulls) == Account("joe") == account()


def test_columns_are_found_whatever_their_case_and_place() -> None:
    row = [("Password", b"{PLAIN}x"), ("NAME", b"jo\xc3\xab")]
    assert account_of(row, "CRYPT") == Account("joë", ("{PLAIN}x",))


def test_an_empty_password_is_no_credential() -> None:
    found = account(password="", credentials=["", "{PLAIN}"], maildrop="", email="")
    assert found == Account("joe", ("{PLAIN}",))


@pytest.mark.parametrize(
    ("given", "true"),
    [
        *((value, True) for value in (True, 1, Decimal(1), "1", "t", "TRUE", "y", "on", b"\1")),
        *((value, False) for value in (None, False, 0, "0", "F", "false", "No ", "off", b"\0")),
    ],
)
def test_what_is_true(given: object, true: bool) -> None:
    assert account(disabled=given, master=given) == Account("joe", disabled=true, master=true)


@pytest.mark.parametrize(
    ("given", "networks"),
    [
        ("192.0.2.1 ,2001:db8::/32", ("192.0.2.1/32", "2001:db8::/32")),
        (["192.0.2.0/24", ip_network("10.0.0.0/8")], ("192.0.2.0/24", "10.0.0.0/8")),
        ([ip_address("::1"), ip_interface("192.0.2.1/32")], ("::1/128", "192.0.2.1/32")),
        (ip_network("10.0.0.0/8"), ("10.0.0.0/8",)),
    ],
)
def test_networks(given: object, networks: tuple[str, ...]) -> None:
    assert account(networks=given).networks == networks


def test_no_protocol_is_not_every_protocol() -> None:
    assert account(protocols="").protocols == frozenset()
    assert account(protocols=[]).protocols == frozenset()
    assert account(protocols=["POP3"]).protocols == frozenset({"pop3"})


@pytest.mark.parametrize(
    "given",
    [
        1_700_000_000,
        1_700_000_000.0,
        Decimal("1700000000.0"),
        datetime(2023, 11, 14, 22, 13, 20),
        datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        datetime(2023, 11, 15, 0, 13, 20, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_expiry(given: object) -> None:
    assert account(expires=given).expires == 1_700_000_000.0


def test_a_day_of_expiry_is_its_beginning_and_zero_is_long_ago() -> None:
    assert account(expires=date(2023, 11, 14)).expires == 1_699_920_000.0
    assert account(expires=0).expires == 0.0
    assert account(expires=datetime.max.replace(tzinfo=UTC)).expires is not None


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("name", ""),
        ("name", " joe"),
        ("name", "jo\ne"),
        ("name", 7),
        ("name", b"\xff"),
        ("password", 7),
        ("password", b"\xffsecret"),
        ("credentials", [None]),
        ("maildrop", "a\0b"),
        ("display_name", "a\nb"),
        ("email", "secret"),
        ("disabled", 2),
        ("disabled", ""),
        ("disabled", "secret"),
        ("master", -1),
        ("master", 0.5),
        ("protocols", 3),
        ("protocols", [None]),
        ("networks", ""),
        ("networks", []),
        ("networks", "192.0.2.1/24"),
        ("networks", "secret"),
        ("networks", [None]),
        ("expires", "secret"),
        ("expires", True),
        ("expires", float("nan")),
        ("expires", Decimal("sNaN")),
        ("expires", float("inf")),
        ("quota_octets", -1),
        ("quota_octets", "1G"),
        ("quota_messages", Decimal("0.5")),
        ("quota_messages", True),
        ("expire_days", 1.0),
    ],
)
def test_an_odd_value_is_told_by_its_column_alone(column: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^column '{column}' holds what can't be there$"):
        account(**{column: value})


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ([("name", "joe"), ("expiers", 5)], "unknown column 'expiers'"),
        ([("name", "joe"), ("name", "joe")], "column 'name' twice"),
        ([("name", None), ("Name", "joe")], "column 'name' twice"),
        ([("password", "x")], "no column 'name'"),
        ([("name", None)], "no column 'name'"),
        ([], "no column 'name'"),
    ],
)
def test_columns_that_are_wrong(row: Row, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        account_of(row, "CRYPT")


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.decimals(), st.text(), st.binary(),
    st.datetimes(), st.dates(), st.lists(st.text() | st.none()), st.ip_addresses(),
)  # fmt: skip


@given(st.sampled_from([*account_of.__globals__["_READERS"]]), VALUES)
def test_any_value_is_understood_or_a_value_error(column: str, value: object) -> None:
    row = [(column, value)] if column == "name" else [("name", "joe"), (column, value)]
    with suppress(ValueError):
        assert account_of(row, "CRYPT").name


# Connections


class Wire:
    """A connection of `Stub`."""

    broken = False
    closed: str = ""


class Stub(sql.SqlAccounts):
    """A store over nothing: `answer` is what a query gives, or raises, or waits for."""

    product = "Stub"
    library = "json"
    extra = "stub"
    backslashes = False

    def __init__(self, **settings: Any) -> None:
        self.wires: list[Wire] = []
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        self.answer: Callable[[], Sequence[Row]] = lambda: [[("name", "joe")]]
        self.go = asyncio.Event()
        self.go.set()
        given: dict[str, Any] = {"lookup": "SELECT * FROM t WHERE name = {name}"} | settings
        super().__init__("stub:", **given)

    def _read_dsn(self, dsn: str) -> None:
        pass

    async def _connect(self) -> Wire:
        self.wires.append(Wire())
        return self.wires[-1]

    async def _run(
        self, connection: Wire, query: Query, values: Mapping[str, str]
    ) -> Sequence[Row]:
        assert not connection.closed
        self.asked.append((query.filled(query.gaps), values))
        await self.go.wait()
        if connection.broken:
            raise ConnectionError("gone")
        return self.answer()

    async def _close(self, connection: Wire) -> None:
        if connection.broken:
            raise ConnectionError("gone")
        connection.closed = "politely"

    def _drop(self, connection: Wire) -> None:
        connection.closed = "at once"

    def _explain(self, error: Exception) -> str:
        return str(error)


def test_what_the_store_offers() -> None:
    update = "UPDATE t SET p = {new} WHERE p = {old} AND name = {name}"
    assert Stub(update=update).upgrades
    assert not Stub().upgrades
    assert Stub().blocking is False


def test_the_schemes_are_those_that_were_named() -> None:
    assert Stub().held_schemes() == frozenset()
    named = Stub(schemes=["argon2id", "cleartext"])
    assert named.held_schemes() == {"ARGON2ID", "PLAIN"}
    assert named.slowest_scheme() == "ARGON2ID"
    assert Stub(schemes=["PLAIN"]).slowest_scheme() is None


@pytest.mark.parametrize("default", ["PLAIN", "ARGON2ID", "SCRYPT"])
def test_without_schemes_named_an_unknown_name_takes_its_time(default: str) -> None:
    slow = Stub(default_scheme=default).slowest_scheme()
    assert slow is not None
    assert SCHEMES[slow].slow


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"schemes": ["ROT13"]}, "unknown password scheme 'ROT13'"),
        ({"default_scheme": "ROT13"}, "unknown password scheme 'ROT13'"),
        ({"max_connections": 0}, "max_connections"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"lookup": "SELECT 1"}, "lookup: "),
        ({"lookup_address": "SELECT 1"}, "lookup_address: "),
        ({"update": "SELECT 1"}, "update: "),
    ],
)
def test_mistakes_in_settings(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Stub(**settings)


def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stub, "library", "no_such_driver")
    with pytest.raises(AccountError, match=r"no_such_driver: pip install 'restante\[stub\]'"):
        Stub()


@pytest.mark.asyncio
async def test_what_a_query_is_given() -> None:
    store = Stub(lookup_address="SELECT * FROM t WHERE a = {address}", case_insensitive=False)
    await store.lookup("Joe@home@EXAMPLE.com")
    await store.lookup_address("Joe")
    (first, values), (second, bare) = store.asked
    assert "WHERE name = name" in first
    assert "WHERE a = address" in second
    assert (values["name"], values["local"]) == ("Joe@home@example.com", "Joe@home")
    assert (values["domain"], bare["address"]) == ("example.com", "Joe")
    assert (bare["local"], bare["domain"]) == ("Joe", "")
    folded = Stub()
    await folded.lookup_address("JOE@EXAMPLE.com")
    assert folded.asked[0][1]["name"] == "joe@example.com"


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["", "joe\0", "joe ", "a\nb", "x" * 256, "\udcff"])
async def test_what_cant_be_a_name_never_reaches_the_server(name: str) -> None:
    store = Stub()
    assert await store.lookup(name) is None
    assert await store.lookup_address(name) is None
    assert not store.wires


@pytest.mark.asyncio
async def test_rows() -> None:
    store = Stub()
    store.answer = list
    assert await store.lookup("joe") is None
    store.answer = lambda: [[("name", "joe")], [("name", "ann")]]
    with pytest.raises(AccountError, match="more than one account"):
        await store.lookup("joe")
    store.answer = lambda: [[("name", "joe"), ("disabled", "secret")]]
    with pytest.raises(AccountError, match="Stub: column 'disabled' holds") as caught:
        await store.lookup("joe")
    assert caught.value.__suppress_context__


@pytest.mark.asyncio
async def test_a_connection_is_used_again_until_it_was_idle_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Stub()
    for _ in range(3):
        await store.lookup("joe")
    assert len(store.wires) == 1
    monkeypatch.setattr(connections, "IDLE_SECONDS", -1.0)
    await store.lookup("joe")
    assert [wire.closed for wire in store.wires] == ["at once", ""]


@pytest.mark.asyncio
async def test_an_idle_connection_that_broke_costs_no_login() -> None:
    store = Stub()
    await store.lookup("joe")
    store.wires[0].broken = True
    assert await store.lookup("joe") == Account("joe")
    assert [wire.closed for wire in store.wires] == ["at once", ""]


@pytest.mark.asyncio
async def test_after_one_that_did_not_answer_no_idle_connection_is_trusted() -> None:
    store = Stub(timeout=0.5)
    store.go.clear()
    looking = [asyncio.create_task(store.lookup("joe")) for _ in range(3)]
    while len(store.asked) < 3:
        await asyncio.sleep(0)
    store.go.set()
    await asyncio.gather(*looking)
    store.go.clear()
    with pytest.raises(AccountError, match="no answer within"):
        await store.lookup("joe")
    assert [wire.closed for wire in store.wires] == ["at once"] * 3
    store.go.set()
    assert await store.lookup("joe") == Account("joe")


@pytest.mark.asyncio
async def test_what_fails_on_a_new_connection_fails_and_drops_it() -> None:
    store = Stub()

    def fail() -> Sequence[Row]:
        raise RuntimeError("no such table")

    store.answer = fail
    with pytest.raises(AccountError, match=r"^Stub: no such table$") as caught:
        await store.lookup("joe")
    assert caught.value.__context__ is None
    assert [wire.closed for wire in store.wires] == ["at once"]


@pytest.mark.asyncio
async def test_an_update_is_never_repeated() -> None:
    store = Stub(
        update="UPDATE t SET p = {new} WHERE p = {old} AND name = {name}", default_scheme="SCRYPT"
    )
    await store.lookup("joe")
    await store.replace_credential("Joe@a", "{PLAIN}x", "{ARGON2ID}y")
    _, (_, values) = store.asked
    assert (values["name"], values["old"], values["new"]) == ("Joe@a", "{PLAIN}x", "{ARGON2ID}y")
    await store.replace_credential("joe", "{SCRYPT}x", "{ARGON2ID}y")
    assert {values["old"] for _, values in store.asked[2:]} == {"x", "{SCRYPT}x"}
    store.wires[0].broken = True
    with pytest.raises(AccountError, match="gone"):
        await store.replace_credential("joe", "{PLAIN}x", "{ARGON2ID}y")
    assert len(store.wires) == 1


@pytest.mark.asyncio
async def test_look_ups_share_a_bounded_number_of_connections() -> None:
    store = Stub(max_connections=3)
    store.go.clear()
    tasks = [asyncio.create_task(store.lookup("joe")) for _ in range(20)]
    while len(store.wires) < 3:
        await asyncio.sleep(0)
    store.go.set()
    assert await asyncio.gather(*tasks) == [Account("joe")] * 20
    assert len(store.wires) == 3


@pytest.mark.asyncio
async def test_waiting_for_a_connection_or_an_answer_has_an_end() -> None:
    store = Stub(max_connections=1, timeout=0.05)
    store.go.clear()
    answers = await asyncio.gather(*(store.lookup("joe") for _ in range(3)), return_exceptions=True)
    assert [str(answer) for answer in answers] == ["Stub: no answer within 0.05 seconds"] * 3
    assert all(isinstance(answer, AccountError) for answer in answers)
    assert {wire.closed for wire in store.wires} == {"at once"}
    store.go.set()
    assert await store.lookup("joe") == Account("joe")


@pytest.mark.asyncio
async def test_a_cancelled_look_up_gives_its_turn_back_and_drops_its_connection() -> None:
    store = Stub(max_connections=1)
    store.go.clear()
    task = asyncio.create_task(store.lookup("joe"))
    while not store.asked:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.wires[0].closed == "at once"
    store.go.set()
    assert await store.lookup("joe") == Account("joe")


@pytest.mark.asyncio
@pytest.mark.parametrize(("broken", "closed"), [(False, "politely"), (True, "at once")])
async def test_closing_ends_connections_and_the_next_use_opens_one(
    broken: bool, closed: str
) -> None:
    store = Stub()
    await store.aclose()
    await store.lookup("joe")
    store.wires[0].broken = broken
    await store.aclose()
    await store.aclose()
    assert await store.lookup("joe") == Account("joe")
    assert [wire.closed for wire in store.wires] == [closed, ""]


@pytest.mark.asyncio
async def test_a_look_up_under_way_outlives_closing() -> None:
    store = Stub()
    store.go.clear()
    task = asyncio.create_task(store.lookup("joe"))
    while not store.asked:
        await asyncio.sleep(0)
    await store.aclose()
    store.go.set()
    assert await task == Account("joe")
    assert store.wires[0].closed == "at once"


def test_each_event_loop_has_connections_of_its_own() -> None:
    store = Stub()
    asyncio.run(store.lookup("joe"))
    asyncio.run(store.lookup("joe"))  # the first one is closed
    assert len(store.wires) == 2

    async def ask_elsewhere() -> None:
        await store.lookup("joe")
        await store.aclose()

    async def ask() -> None:
        await store.lookup("joe")
        thread = threading.Thread(target=asyncio.run, args=(ask_elsewhere(),))
        thread.start()
        await asyncio.to_thread(thread.join)
        await store.lookup("joe")
        assert [wire.closed for wire in store.wires[2:]] == ["", "politely"]
        await store.aclose()

    asyncio.run(ask())
    assert len(store.wires) == 4
