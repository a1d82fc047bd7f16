"""Accounts in SQLite: management, the file, other processes, damage."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from restante.accounts import kept, sqlite_file, sqlite_schema
from restante.accounts.account import Account, Quota
from restante.accounts.contract import AccountError
from restante.accounts.names import AccountExists, NoSuchAccount
from restante.accounts.rights import Rights
from restante.accounts.sqlite import SqliteAccounts
from restante.accounts.sqlite_schema import MIGRATIONS
from restante.accounts.verify import Verifier
from restante.calls import finished
from restante.protocol.claims import PasswordClaim

pytestmark = pytest.mark.usefixtures("cheap_hashes")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "accounts.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteAccounts]:
    with SqliteAccounts(path) as store:
        yield store


def logs_in(store: SqliteAccounts, name: str, password: str) -> bool:
    return Verifier(store).check(store.lookup(name), PasswordClaim(name, password))


def schemes(store: SqliteAccounts, name: str) -> list[str]:
    account = store.lookup(name)
    assert account is not None
    return [credential.partition("}")[0] + "}" for credential in account.credentials]


class TestManagement:
    def test_add_gives_the_account_as_it_will_be_found(self, store: SqliteAccounts) -> None:
        added = store.add(
            "Joe",
            "geheim",
            display_name="Joe Ö",
            email="Joe@example.org",
            maildrop="office",
            keep_secret=True,
        )
        found = store.lookup("joe")
        assert found is not None
        assert replace(found, credentials=tuple(sorted(found.credentials))) == replace(
            added, credentials=tuple(sorted(added.credentials))
        )
        assert added.maildrop_name == "office"
        assert added.display_name == "Joe Ö"
        assert not added.disabled

    def test_the_password_itself_is_kept_only_when_asked_for(
        self, store: SqliteAccounts, path: Path
    ) -> None:
        store.add("joe", "Sesame-Open")
        assert schemes(store, "joe") == ["{ARGON2ID}", "{SCRAM-SHA-256}"]
        store.close()
        assert b"Sesame-Open" not in path.read_bytes()
        store.add("ann", "Sesame-Open", keep_secret=True)
        assert schemes(store, "ann") == ["{ARGON2ID}", "{PLAIN}", "{SCRAM-SHA-256}"]

    def test_a_new_password_replaces_the_old(self, store: SqliteAccounts) -> None:
        store.add("joe", "old")
        store.set_password("JOE", "new")
        assert logs_in(store, "joe", "new")
        assert not logs_in(store, "joe", "old")

    @pytest.mark.parametrize(
        ("before", "asked", "after"),
        [
            (False, None, False),
            (True, None, True),
            (True, False, False),
            (False, True, True),
        ],
    )
    def test_a_new_password_is_kept_like_the_old_unless_told(
        self, store: SqliteAccounts, before: bool, asked: bool | None, after: bool
    ) -> None:
        store.add("joe", "old", keep_secret=before)
        store.set_password("joe", "new", keep_secret=asked)
        assert ("PLAIN" in store.held_schemes()) is after
        assert logs_in(store, "joe", "new")
        assert not logs_in(store, "joe", "old")

    def test_disable_and_enable(self, store: SqliteAccounts) -> None:
        store.add("joe", "geheim")
        store.disable("joe")
        assert not logs_in(store, "joe", "geheim")
        store.disable("joe")
        store.enable("joe")
        assert logs_in(store, "joe", "geheim")

    def test_remove_takes_the_credentials_along(self, store: SqliteAccounts, path: Path) -> None:
        store.add("joe", "geheim", keep_secret=True)
        store.remove("joe")
        with sqlite3.connect(path) as database:
            assert database.execute("SELECT count(*) FROM credentials").fetchone() == (0,)
        database.close()

    def test_list_is_by_name(self, store: SqliteAccounts) -> None:
        for name in ("Cleo", "ann", "Bob"):
            store.add(name, "geheim", keep_secret=True)
        assert [account.name for account in store.list()] == ["ann", "Bob", "Cleo"]
        assert [len(account.credentials) for account in store.list()] == [3, 3, 3]

    def test_a_search_reads_no_more_than_it_gives(
        self, store: SqliteAccounts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(30):
            store.add(f"user{number:02}", "geheim", display_name="One of many")
        made = []

        def make(*args: object, **more: object) -> Account:
            made.append(args[0])
            return Account(*args, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(kept, "Account", make)
        found, number = store.search("ONE of", 20, 5)
        assert (len(found), number) == (5, 30)
        assert made == ["user20", "user21", "user22", "user23", "user24"]

    def test_nobody_to_change(self, store: SqliteAccounts) -> None:
        for change in (store.remove, store.disable, store.enable):
            with pytest.raises(NoSuchAccount, match="joe"):
                change("joe")
        with pytest.raises(NoSuchAccount):
            store.set_password("joe", "geheim")

    @pytest.mark.parametrize("password", ["", "a\nb", "a\0b", "x" * 256])
    def test_unfit_passwords_change_nothing(self, store: SqliteAccounts, password: str) -> None:
        with pytest.raises(ValueError, match="password"):
            store.add("joe", password)
        assert store.list() == ()
        store.add("joe", "geheim")
        with pytest.raises(ValueError, match="password"):
            store.set_password("joe", password)
        assert logs_in(store, "joe", "geheim")

    @pytest.mark.parametrize("unfit", [{"maildrop": ""}, {"maildrop": "a\nb"}, {"email": "x"}])
    def test_other_unfit_values(self, store: SqliteAccounts, unfit: dict[str, str]) -> None:
        with pytest.raises(ValueError):
            store.add("joe", "geheim", email=unfit.get("email", ""), maildrop=unfit.get("maildrop"))
        with pytest.raises(ValueError, match="display name"):
            store.add("joe", "geheim", display_name="a\nb")
        assert store.list() == ()

    def test_names_differing_in_case_are_never_both_added(self, path: Path) -> None:
        """So that `case_insensitive` can be changed at any time."""
        with SqliteAccounts(path, case_insensitive=False) as exact:
            exact.add("Joe", "geheim")
            with pytest.raises(AccountExists):
                exact.add("joe", "geheim")
            assert exact.lookup("joe") is None
        with SqliteAccounts(path) as loose:
            assert loose.lookup("joe") is not None


class TestFile:
    def test_is_made_at_first_use_for_its_owner_only(self, path: Path) -> None:
        before = os.umask(0)
        try:
            with SqliteAccounts(path) as store:
                assert not path.exists()
                store.add("joe", "geheim")
                files = sorted(path.parent.iterdir())
                assert path in files
                assert len(files) > 1  # the journal is there while the database is open
                if os.name == "posix":
                    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        finally:
            os.umask(before)

    def test_opens_again_after_close(self, store: SqliteAccounts) -> None:
        store.add("joe", "geheim")
        store.close()
        store.close()
        assert store.lookup("joe") is not None

    def test_a_file_named_like_a_memory_database_is_a_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with SqliteAccounts(":memory:") as store:
            store.add("joe", "geheim")
        assert (tmp_path / ":memory:").exists()


class TestTrouble:
    def answers_account_error(self, store: SqliteAccounts) -> None:
        for call in (
            lambda: store.lookup("joe"),
            lambda: store.lookup_address("joe@example.org"),
            store.held_schemes,
            store.slowest_scheme,
            store.list,
            lambda: store.add("joe", "geheim"),
            lambda: store.set_password("joe", "geheim"),
            lambda: store.remove("joe"),
        ):
            with pytest.raises(AccountError) as caught:
                call()
            assert "geheim" not in str(caught.value)

    def test_no_folder(self, tmp_path: Path) -> None:
        self.answers_account_error(SqliteAccounts(tmp_path / "nowhere" / "accounts.db"))

    def test_a_folder_in_its_place(self, tmp_path: Path) -> None:
        self.answers_account_error(SqliteAccounts(tmp_path))

    def test_another_kind_of_file(self, path: Path) -> None:
        path.write_bytes(b"joe:geheim\n" * 1000)
        self.answers_account_error(SqliteAccounts(path))
        assert path.read_bytes() == b"joe:geheim\n" * 1000

    def test_a_damaged_database_and_its_repair(self, path: Path) -> None:
        with SqliteAccounts(path) as store:
            for number in range(50):
                store.add(f"user{number}", "geheim")
        whole = path.read_bytes()
        with SqliteAccounts(path) as store:
            path.write_bytes(whole[:100] + b"\xa5" * (len(whole) - 100))
            self.answers_account_error(store)
            path.write_bytes(whole)
            assert store.lookup("user7") is not None

    def test_a_database_cut_short(self, path: Path) -> None:
        with SqliteAccounts(path) as store:
            for number in range(50):
                store.add(f"user{number}", "geheim")
        path.write_bytes(path.read_bytes()[:4096])
        with SqliteAccounts(path) as store, pytest.raises(AccountError):
            store.lookup("user7")

    def test_a_lock_that_lasts(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite_file, "_BUSY_SECONDS", 0.05)
        with SqliteAccounts(path) as store:
            store.add("joe", "geheim")
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(AccountError, match="locked"):
                store.add("ann", "geheim")
            assert store.lookup("joe") is not None  # reading waits for no writer
            other.execute("ROLLBACK")
            other.close()
            store.add("ann", "geheim")

    def test_a_failed_change_is_taken_back(
        self, store: SqliteAccounts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.add("joe", "geheim")

        def fail(*arguments: object) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        monkeypatch.setattr(kept.AccountTables, "_store", fail)
        with pytest.raises(AccountError, match="disk"):
            store.set_password("joe", "new")
        with pytest.raises(AccountError, match="disk"):
            store.add("ann", "geheim")
        assert logs_in(store, "joe", "geheim")
        assert store.lookup("ann") is None


class TestMigrations:
    def test_every_step_leads_to_the_schema(self, path: Path) -> None:
        for done in range(len(MIGRATIONS)):
            path.unlink(missing_ok=True)
            database = sqlite3.connect(path, isolation_level=None)
            for statements in MIGRATIONS[:done]:
                for statement in statements:
                    if callable(statement):
                        statement(database)
                    else:
                        database.execute(statement)
            database.execute(f"PRAGMA user_version = {done}")
            database.close()
            with SqliteAccounts(path) as store:
                store.add("joe", "geheim")
                assert logs_in(store, "joe", "geheim")

    def test_a_later_step_keeps_the_accounts(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with SqliteAccounts(path) as store:
            store.add("joe", "geheim")
        step = ("ALTER TABLE accounts ADD COLUMN quota INTEGER",)
        monkeypatch.setattr(sqlite_schema, "MIGRATIONS", (*MIGRATIONS, step))
        with SqliteAccounts(path) as store:
            assert logs_in(store, "joe", "geheim")
        database = sqlite3.connect(path)
        assert database.execute("SELECT quota FROM accounts").fetchall() == [(None,)]
        assert database.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
        database.close()

    def test_a_step_that_fails_is_taken_back(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with SqliteAccounts(path) as store:
            store.add("joe", "geheim")
        step = ("CREATE TABLE more (x)", "INSERT INTO nowhere VALUES (1)")
        with monkeypatch.context() as patch, SqliteAccounts(path) as store:
            patch.setattr(sqlite_schema, "MIGRATIONS", (*MIGRATIONS, step))
            with pytest.raises(AccountError):
                store.lookup("joe")
        with SqliteAccounts(path) as store:
            assert store.lookup("joe") is not None

    def test_a_newer_database_is_left_alone(self, path: Path) -> None:
        database = sqlite3.connect(path)
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
        database.close()
        with SqliteAccounts(path) as store, pytest.raises(AccountError, match="newer"):
            store.lookup("joe")


MANAGE = """
import sys
from restante.accounts import schemes
from restante.accounts.rights import Rights
from restante.accounts.sqlite import SqliteAccounts
schemes._SCRYPT_COSTS = (2, 8, 1)
schemes.default_scheme = lambda: "SCRYPT"
with SqliteAccounts(sys.argv[1]) as store:
    for line in sys.stdin:
        verb, name, *password = line.split()
        try:
            getattr(store, verb)(name, *password)
            print("done", flush=True)
        except ValueError as error:
            print(type(error).__name__, flush=True)
"""


class Manager:
    """Another process that manages the same accounts."""

    def __init__(self, path: Path) -> None:
        source = Path(kept.__file__).parents[2]
        self.process = subprocess.Popen(
            [sys.executable, "-c", MANAGE, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(source)},
        )

    def say(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def stop(self) -> None:
        self.process.communicate(timeout=30)


@pytest.fixture
def managers(path: Path) -> Iterator[list[Manager]]:
    managers = [Manager(path) for _ in range(2)]
    yield managers
    for manager in managers:
        manager.stop()


class TestProcesses:
    def test_changes_are_seen_at_once(self, store: SqliteAccounts, managers: list[Manager]) -> None:
        manager = managers[0]
        assert store.lookup("joe") is None
        for command, logs in [
            ("add joe one", "one"),
            ("set_password joe two", "two"),
            ("disable joe", None),
            ("enable joe", "two"),
            ("remove joe", None),
        ]:
            manager.say(command)
            assert manager.hear() == "done"
            for password in ("one", "two"):
                assert logs_in(store, "joe", password) is (password == logs)

    def test_both_may_open_first_and_both_may_write(
        self, path: Path, managers: list[Manager]
    ) -> None:
        """Each name is added by exactly one of them, and none is lost."""
        answers = []
        for number in range(20):
            for manager in managers:
                manager.say(f"add user{number} geheim")
        for manager in managers:
            answers += [manager.hear() for _ in range(20)]
        assert sorted(answers) == ["AccountExists"] * 20 + ["done"] * 20
        with SqliteAccounts(path) as store:
            assert len(store.list()) == 20

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_a_forked_worker_opens_its_own(self, store: SqliteAccounts) -> None:
        store.add("joe", "geheim")
        child = os.fork()
        if child == 0:
            try:
                inherited = store._writing._connection
                store.set_password("joe", "new")
                os._exit(0 if store._writing._connection is not inherited else 1)
            except BaseException:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert logs_in(store, "joe", "new")


def test_waiting_for_another_process_is_no_error(store: SqliteAccounts, path: Path) -> None:
    store.add("joe", "geheim")
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.05, lambda: other.execute("COMMIT"))
    release.start()
    store.add("ann", "geheim")
    release.join()
    other.close()
    assert store.lookup("ann") is not None


class TestRights:
    RIGHTS = Rights(
        frozenset({"pop3"}),
        ("192.0.2.0/24", "2001:db8::/32"),
        1e9,
        True,
        Quota(octets=10**12, messages=0),
        365,
    )

    def test_are_found_as_they_were_given(self, store: SqliteAccounts) -> None:
        added = store.add("joe", "geheim", rights=self.RIGHTS)
        found = store.lookup("joe")
        assert found is not None
        assert Rights.of(found) == Rights.of(added) == self.RIGHTS
        store.set_rights("JOE", Rights())
        found = store.lookup("joe")
        assert found is not None
        assert Rights.of(found) == Rights()

    @pytest.mark.parametrize(
        "rights",
        [
            Rights(frozenset({"imap"})),
            Rights(networks=("192.0.2.1/24",)),
            Rights(expire_days=-1),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, store: SqliteAccounts, rights: Rights) -> None:
        with pytest.raises(ValueError, match=r"imap|192\.0\.2\.1|expire_days=-1"):
            store.add("joe", "geheim", rights=rights)
        store.add("joe", "geheim")
        with pytest.raises(ValueError, match=r"imap|192\.0\.2\.1|expire_days=-1"):
            store.set_rights("joe", rights)
        with pytest.raises(NoSuchAccount):
            store.set_rights("ann", Rights())


class TestAppPasswords:
    def test_made_used_and_revoked(self, store: SqliteAccounts) -> None:
        store.add("joe", "geheim")
        store.add_app_password("JOE", "phone", "abcde-fghij")
        assert logs_in(store, "joe", "abcde-fghij")
        assert logs_in(store, "joe", "geheim")
        (before,) = store.app_passwords("joe")
        assert (before.name, before.used) == ("phone", None)
        assert before.made is not None
        finished(store.record_use("joe", "phone"))
        (after,) = store.app_passwords("joe")
        assert after.used is not None
        assert after.used >= before.made
        store.remove_app_password("joe", "phone")
        assert not logs_in(store, "joe", "abcde-fghij")
        assert store.app_passwords("joe") == []
        with pytest.raises(NoSuchAccount, match="phone"):
            store.remove_app_password("joe", "phone")

    def test_two_have_different_names(self, store: SqliteAccounts) -> None:
        store.add("joe", "geheim")
        store.add_app_password("joe", "phone", "abcde-fghij")
        with pytest.raises(AccountExists, match="phone"):
            store.add_app_password("joe", "phone", "other")
        store.add_app_password("joe", "tablet", "other")
        assert [each.name for each in store.app_passwords("joe")] == ["phone", "tablet"]

    def test_a_new_password_leaves_them(self, store: SqliteAccounts) -> None:
        store.add("joe", "geheim")
        store.add_app_password("joe", "phone", "abcde-fghij")
        store.set_password("joe", "neu")
        assert logs_in(store, "joe", "abcde-fghij")
        assert not logs_in(store, "joe", "geheim")

    def test_they_are_no_keys_of_mechanisms(self, store: SqliteAccounts) -> None:
        store.add("joe", credentials=["{SHA512-CRYPT}$6$x$y"])
        store.add_app_password("joe", "phone", "abcde-fghij")
        assert store.held_schemes() == {"SHA512-CRYPT"}

    def test_they_go_with_their_account(self, store: SqliteAccounts) -> None:
        store.add("joe", "geheim")
        store.add_app_password("joe", "phone", "abcde-fghij")
        store.remove("joe")
        store.add("joe", "geheim")
        assert store.app_passwords("joe") == []


def test_a_credential_is_replaced_by_its_better(store: SqliteAccounts) -> None:
    old, new = "{SHA512-CRYPT}$6$x$y", "{ARGON2ID}$argon2id$z"
    store.add("Joe", credentials=[old])
    finished(store.replace_credential("joe", "{SHA512-CRYPT}another", new))
    assert schemes(store, "joe") == ["{SHA512-CRYPT}"]
    finished(store.replace_credential("joe", old, new))
    assert schemes(store, "joe") == ["{ARGON2ID}"]


@pytest.mark.parametrize("credential", ["geheim", "{NO-SUCH}x", "{ARGON2ID}", ""])
def test_a_credential_must_be_one(store: SqliteAccounts, credential: str) -> None:
    with pytest.raises(ValueError, match="SCHEME"):
        store.add("joe", credentials=[credential])
    with pytest.raises(ValueError, match="neither"):
        store.add("joe")


def test_keys_of_an_older_file_are_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They were case-folded, and U- and A-labels of one domain were two."""
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as database, database:
        for step in MIGRATIONS[:2]:
            for statement in step:
                assert isinstance(statement, str)
                database.execute(statement)
        database.execute("PRAGMA user_version = 2")
        database.executemany(
            "INSERT INTO accounts (name, name_key, display_name, email, email_key)"
            " VALUES (?, ?, '', ?, ?)",
            [
                ("Joe", "joe", "Joe@Straße.example", "joe@strasse.example"),
                ("Strauß", "strauss", "", None),
                ("ann@münchen.example", "ann@münchen.example", "", None),
                ("ann@xn--mnchen-3ya.example", "ann@xn--mnchen-3ya.example", "", None),
            ],
        )
    with SqliteAccounts(path, domains=["straße.example"]) as store:
        assert len(store.list()) == 4
        for name, owner in {
            "JOE": "Joe",
            "strauß": "Strauß",
            "strauss": None,
            "ann@MÜNCHEN.example": "ann@xn--mnchen-3ya.example",
        }.items():
            found = store.lookup(name)
            assert (found.name if found else None) == owner
        assert store.lookup_address("joe@xn--strae-oqa.example") is not None
        assert store.lookup_address("joe@strasse.example") is None
        store.add("strauss", "geheim")
    assert "account 'ann@münchen.example': another one has this name" in caplog.text
