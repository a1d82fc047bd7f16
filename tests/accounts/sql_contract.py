"""What `PostgresAccounts` and `MysqlAccounts` must do, over real servers."""

from __future__ import annotations

import asyncio
import poplib
import socket
import traceback
from abc import ABC, abstractmethod
from typing import Any, Protocol, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from restante.accounts.contract import Account, AccountError
from restante.accounts.names import is_valid_name, name_key, spellings
from restante.accounts.schemes import hash_password, verify
from restante.accounts.sql import SqlAccounts

JOE = Account(
    "joe@example.com",
    ("{PLAIN}geheim",),
    maildrop="office",
    display_name="Joe Böhm",
    email="joe@example.com",
)

BY_NAME = (
    "SELECT name, password, maildrop, display_name, email, disabled FROM users WHERE name = {name}"
)
BY_ALIAS = (
    "SELECT u.name FROM aliases a JOIN users u ON u.name = a.target WHERE a.source = {address}"
)
UPDATE = "UPDATE users SET password = {new} WHERE name = {name} AND password = {old}"

SCHEMA = (
    "CREATE TABLE users (name VARCHAR(255) PRIMARY KEY, password VARCHAR(255),"
    " maildrop VARCHAR(255), display_name VARCHAR(255), email VARCHAR(255), disabled BOOLEAN)",
    "CREATE TABLE aliases (source VARCHAR(255), target VARCHAR(255))",
    "INSERT INTO users VALUES ('joe@example.com', '{PLAIN}geheim', 'office', 'Joe Böhm',"
    " 'joe@example.com', NULL), ('ann', 'geheim', NULL, NULL, NULL, TRUE)",
    "INSERT INTO aliases VALUES ('sales@example.com', 'joe@example.com'),"
    " ('all@example.com', 'joe@example.com'), ('all@example.com', 'ann')",
)


class Server(Protocol):
    """A database server that a test may stop and start."""

    port: int

    @property
    def dsn(self) -> str: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def execute(self, *statements: str) -> None: ...


class SqlContract(ABC):
    """Subclasses give the fixture `server`, module-wide, after `SCHEMA` was executed."""

    missing_table: str
    sleep: str
    connections: str

    @abstractmethod
    def accounts(self, server: Server, dsn: str = "", **given: Any) -> SqlAccounts:
        """The store under test, by default over `server.dsn` and `BY_NAME`."""

    @pytest.mark.asyncio
    async def test_look_ups(self, server: Server) -> None:
        store = self.accounts(server, lookup_address=BY_ALIAS, default_scheme="PLAIN")
        assert await store.lookup("joe@example.com") == JOE
        assert await store.lookup("JOE@Example.COM") == JOE
        assert await store.lookup("joe") is None
        assert await store.lookup("ann") == Account("ann", ("{PLAIN}geheim",), disabled=True)
        assert await store.lookup_address("Sales@Example.com") == Account("joe@example.com")
        assert await store.lookup_address("joe@example.com") is None
        with pytest.raises(AccountError, match="more than one account"):
            await store.lookup_address("all@example.com")
        await store.aclose()

    @pytest.mark.asyncio
    async def test_an_address_is_a_name_without_a_query_of_its_own(self, server: Server) -> None:
        store = self.accounts(server)
        assert await store.lookup_address("JOE@example.com") == JOE
        assert await store.lookup_address("joe@example.org") is None
        await store.aclose()

    @pytest.mark.asyncio
    async def test_parts_of_a_name(self, server: Server) -> None:
        text = "SELECT {local} AS name, {domain} AS display_name"
        store = self.accounts(server, lookup=text)
        assert await store.lookup("a@b@Example.COM") == Account("a@b", display_name="example.com")
        assert await store.lookup("joe") == Account("joe")
        await store.aclose()

    def test_names_are_never_a_part_of_the_query(self, server: Server) -> None:
        """Whatever a name is made of, the database is given it and nothing else."""
        echo = self.accounts(server, lookup="SELECT {name} AS name", case_insensitive=False)
        users = self.accounts(server, lookup=BY_NAME)
        hostile = st.text(st.sampled_from("'\"`\\;-#/*%_$?{}@() \t=|&\u02bc\uff07\xbf\u0100a1"))
        with asyncio.Runner() as runner:

            @settings(max_examples=150, suppress_health_check=[HealthCheck.differing_executors])
            @given(hostile | st.text())
            def check(name: str) -> None:
                expected = echo._matching.key(name)
                found = runner.run(echo.lookup(name))
                if is_valid_name(name) and is_valid_name(expected):
                    assert found == Account(spellings(expected)[0])
                else:
                    assert found is None
                assert name_key(name) in known or runner.run(users.lookup(name)) is None

            known = {"joe@example.com", "ann"}
            check()
            for name in ("' OR '1'='1", "\\' OR 1=1 -- ", "x'; DROP TABLE users; --", "%", "_nn"):
                assert runner.run(users.lookup(name)) is None
                assert runner.run(echo.lookup(name)) in (Account(name), None)
            assert runner.run(users.lookup("joe@example.com")) == JOE
            runner.run(echo.aclose())
            runner.run(users.aclose())

    @pytest.mark.asyncio
    async def test_an_old_hash_is_replaced_where_it_is_still_held(self, server: Server) -> None:
        server.execute("INSERT INTO users (name, password) VALUES ('old', 'bare%''\\{}')")
        store = self.accounts(server, update=UPDATE, default_scheme="PLAIN")
        replace = cast(Any, store).replace_credential
        account = await store.lookup("old")
        assert account is not None
        await replace("ann", account.credentials[0], "{PLAIN}new")
        await replace("old", "{PLAIN}another", "{PLAIN}new")
        assert await store.lookup("old") == account
        await replace("old", account.credentials[0], "{PLAIN}n'e\\w")
        assert await store.lookup("old") == Account("old", ("{PLAIN}n'e\\w",))
        await replace("old", "{PLAIN}n'e\\w", "{PLAIN}newest")
        assert await store.lookup("old") == Account("old", ("{PLAIN}newest",))
        await store.aclose()

    @pytest.mark.asyncio
    async def test_more_look_ups_than_connections(self, server: Server) -> None:
        store = self.accounts(server, max_connections=4)
        found = await asyncio.gather(*(store.lookup("joe@example.com") for _ in range(100)))
        assert found == [JOE] * 100
        watch = self.accounts(server, lookup=self.connections, default_scheme="PLAIN")
        seen = await watch.lookup("x")
        assert seen is not None
        assert 1 <= int(seen.name) <= 4 + 1  # and the one that looks
        await store.aclose()
        await watch.aclose()

    @pytest.mark.asyncio
    async def test_a_slow_answer_and_a_full_house_have_an_end(self, server: Server) -> None:
        store = self.accounts(server, lookup=self.sleep, max_connections=1, timeout=0.3)
        tasks = (store.lookup("joe") for _ in range(3))
        for answer in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(answer, AccountError)
            assert "no answer within 0.3 seconds" in str(answer)
        await store.aclose()

    @pytest.mark.asyncio
    async def test_a_server_that_says_nothing(self, server: Server) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            dsn = server.dsn.replace(f"localhost:{server.port}", f"127.0.0.1:{port}")
            store = self.accounts(server, dsn, timeout=0.2)
            with pytest.raises(AccountError, match=r"no answer within 0\.2 seconds"):
                await store.lookup("joe")
            await store.aclose()

    @pytest.mark.asyncio
    async def test_a_server_that_was_restarted_costs_no_login(self, server: Server) -> None:
        store = self.accounts(server, timeout=10.0)
        both = [store.lookup("joe@example.com") for _ in range(2)]
        assert await asyncio.gather(*both) == [JOE, JOE]
        server.stop()
        try:
            with pytest.raises(AccountError, match=r"refused|Connect") as caught:
                await store.lookup("joe@example.com")
            assert "ge:heim" not in str(caught.value)
        finally:
            server.start()
        assert await store.lookup("joe@example.com") == JOE
        server.stop()
        server.start()
        assert await store.lookup("joe@example.com") == JOE
        await store.aclose()

    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        ("old", "new", "says"),
        [
            ("ge%3Aheim", "secret", "restante"),
            ("//restante", "//nobody", "nobody"),
            ("@localhost", "@127.0.0.2", r"127\.0\.0\.2"),
        ],
    )
    async def test_a_database_that_lets_nobody_in(
        self, server: Server, old: str, new: str, says: str
    ) -> None:
        store = self.accounts(server, server.dsn.replace(old, new))
        with pytest.raises(AccountError, match=says) as caught:
            await store.lookup("joe")
        assert "secret" not in str(caught.value)
        assert "heim" not in str(caught.value)
        shown = "".join(traceback.format_exception(caught.value))
        assert "During handling" not in shown, "no trace of what the driver raised"
        await store.aclose()

    @pytest.mark.asyncio
    async def test_a_query_that_is_wrong(self, server: Server) -> None:
        for text, says in (
            ("SELECT name FROM nowhere WHERE name = {name}", self.missing_table),
            ("SELECT * FROM users WHERE name = {name} ORDER", r"42601|1064"),
            ("SELECT name, extra FROM users WHERE name = {name}", "extra"),
            ("SELECT name, email AS mail FROM users WHERE name = {name}", "unknown column 'mail'"),
            ("SELECT password FROM users WHERE name = {name}", "no column 'name'"),
            ("SELECT name, password AS disabled FROM users WHERE name = {name}", "'disabled'"),
        ):
            store = self.accounts(server, lookup=text)
            with pytest.raises(AccountError, match=says) as caught:
                await store.lookup("joe@example.com")
            assert "geheim" not in str(caught.value)
            await store.aclose()

    @pytest.mark.asyncio
    async def test_a_table_that_changes_under_way(self, server: Server) -> None:
        server.execute(
            "CREATE TABLE changing (name VARCHAR(20))", "INSERT INTO changing VALUES ('a')"
        )
        store = self.accounts(server, lookup="SELECT * FROM changing WHERE name = {name}")
        assert await store.lookup("a") == Account("a")
        server.execute("ALTER TABLE changing ADD maildrop VARCHAR(20) DEFAULT 'm'")
        assert await store.lookup("a") == Account("a", maildrop="m")
        server.execute("ALTER TABLE changing ADD odd INT")
        with pytest.raises(AccountError, match="unknown column 'odd'"):
            await store.lookup("a")
        await store.aclose()

    @pytest.mark.asyncio
    async def test_an_old_hash_is_upgraded_at_login(self, server: Server) -> None:
        from restante import MemoryStore, Pop3Server  # noqa: PLC0415 - the whole, for this test

        hashed = hash_password("geheim", "SSHA")
        server.execute(f"INSERT INTO users (name, password) VALUES ('eve', '{hashed}')")
        store = self.accounts(server, update=UPDATE, timeout=10.0)
        async with Pop3Server(accounts=store, store=MemoryStore(), port=0) as pop3:
            assert (await asyncio.to_thread(_log_in, pop3.port, "eve", "geheim")).startswith(b"+OK")
            async with asyncio.timeout(20):
                while (eve := await store.lookup("eve")) is None or eve.credentials == (hashed,):
                    await asyncio.sleep(0.01)
            assert verify(eve.credentials[0], "geheim")
            assert (await asyncio.to_thread(_log_in, pop3.port, "eve", "geheim")).startswith(b"+OK")
        await store.aclose()

    @pytest.mark.asyncio
    async def test_a_pop3_server_over_it(self, server: Server) -> None:
        from restante import MemoryStore, Pop3Server  # noqa: PLC0415 - the whole, for this test

        store = self.accounts(server, schemes=["PLAIN"], default_scheme="PLAIN", timeout=10.0)
        async with Pop3Server(accounts=store, store=MemoryStore(), port=0, failure_delay=0) as pop3:
            for name, secret, reply in (
                ("JOE@example.com", "geheim", b"+OK"),
                ("joe@example.com", "Geheim", b"-ERR [AUTH]"),
                ("ann", "geheim", b"-ERR [AUTH]"),
                ("' OR ''='", "geheim", b"-ERR [AUTH]"),
            ):
                told = await asyncio.to_thread(_log_in, pop3.port, name, secret)
                assert told.startswith(reply)
            await asyncio.to_thread(server.stop)
            told = await asyncio.to_thread(_log_in, pop3.port, "joe@example.com", "geheim")
            await asyncio.to_thread(server.start)
            assert told.startswith(b"-ERR [SYS/TEMP]")
            told = await asyncio.to_thread(_log_in, pop3.port, "joe@example.com", "geheim")
            assert told.startswith(b"+OK")
        await store.aclose()


def _log_in(port: int, name: str, secret: str) -> bytes:
    pop = poplib.POP3("127.0.0.1", port, timeout=30)
    try:
        pop.user(name)
        return pop.pass_(secret)
    except poplib.error_proto as error:
        return bytes(error.args[0])
    finally:
        pop.close()
