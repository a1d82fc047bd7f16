"""Accounts in a file of Dovecot's passwd-file format."""

from __future__ import annotations

import dataclasses
import logging
import os
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from restante import MemoryStore
from restante.accounts import passwd_file
from restante.accounts.account import Quota
from restante.accounts.contract import (
    Account,
    AccountError,
    AccountStore,
)
from restante.accounts.passwd_file import PasswdFile
from restante.accounts.schemes import crypts, verify
from restante.calls import OnThread, finished
from tests.needs import need
from tests.server.kit import Client, new_server

MD5_GEHEIM = "$1$w5MYfOXH$chXruoefIWsVvAE0ttDQY1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users"


def replace(path: Path, text: str | bytes) -> None:
    """As one should: by renaming."""
    new = path.with_name("users.new")
    new.write_bytes(text.encode() if isinstance(text, str) else text)
    new.replace(path)


def read(path: Path, text: str | bytes, default_scheme: str = "CRYPT") -> PasswdFile:
    replace(path, text)
    return PasswdFile(path, default_scheme=default_scheme)


def one(path: Path, line: str | bytes) -> Account:
    """The only account of a file with this line."""
    (account,) = read(path, line).list()
    return account


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def test_is_a_store_of_accounts(path: Path) -> None:
    store = read(path, "")
    assert isinstance(store, AccountStore)
    assert not store.upgrades
    assert store.lookup("joe") is None
    assert store.lookup_address("joe@example.org") is None
    assert store.held_schemes() == frozenset()
    assert store.slowest_scheme() is None
    assert store.list() == ()


@pytest.mark.parametrize(
    "line",
    [
        f"joe:{{MD5-CRYPT}}{MD5_GEHEIM}:1000:1000:Joe,,,:/home/joe:/bin/sh:userdb_quota=1",
        f"joe:{{CRYPT}}{MD5_GEHEIM}::::::",
        f"joe:{MD5_GEHEIM}",
        f"joe:{MD5_GEHEIM}:\r",
        f"\ufeffjoe:{MD5_GEHEIM}",
        "joe:{PLAIN}geheim",
        "joe:{plain.b64}Z2VoZWlt\r\n",
    ],
)
def test_a_line_is_an_account(path: Path, line: str) -> None:
    account = one(path, f"{line}\n")
    assert account.name == account.maildrop_name == "joe"
    assert not account.disabled
    assert account.protocols is None
    (credential,) = account.credentials
    assert verify(credential, "geheim")
    assert not verify(credential, "Geheim")


def test_the_default_scheme_is_for_those_without_one(path: Path) -> None:
    store = read(path, "joe:geheim \nmax:{SHA}kGByAB793z4R5tK1eC9Hd/4Dhzk=\n", "PLAIN")
    joe, max_ = store.list()
    assert joe.credentials == ("{PLAIN}geheim ",)
    assert max_.credentials == ("{SHA}kGByAB793z4R5tK1eC9Hd/4Dhzk=",)
    with pytest.raises(ValueError, match="unknown password scheme"):
        PasswdFile(path, default_scheme="OTP")


def test_what_says_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = read(path, "\n  \n\r\n# joe:{PLAIN}geheim\n#\n:{PLAIN}geheim\n:\n")
    assert store.list() == ()
    assert not warnings(caplog)


def test_the_last_line_needs_no_end(path: Path) -> None:
    assert len(read(path, "joe:{PLAIN}a\nmax:{PLAIN}b").list()) == 2


def test_of_two_lines_with_one_name_the_first_counts(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = read(path, "joe:{PLAIN}one\nmax:{PLAIN}a\nJOE:{PLAIN}two\n")
    joe, _ = store.list()
    assert joe.credentials == ("{PLAIN}one",)
    assert warnings(caplog) == [f"{path}:3: left out: the name is that of a line before"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("geheim", "no colon"),
        ("x" * 9000 + ":geheim", "longer than"),
        ("joe\0:geheim", "not a name"),
        ("joe :geheim", "not a name"),
        (b"caf\xe9:geheim", "not a name"),
        ("joe:{PLAIN}geheim::::::user= x", "user=: not a name"),
        ("joe:{PLAIN}geheim::::::user=\x07", "user=: not a name"),
    ],
)
def test_a_damaged_line_is_left_out_and_told_of(
    path: Path, caplog: pytest.LogCaptureFixture, line: str | bytes, said: str
) -> None:
    raw = line if isinstance(line, bytes) else line.encode()
    store = read(path, b"max:{PLAIN}a\n" + raw + b"\nmoritz:{PLAIN}b\n")
    assert [account.name for account in store.list()] == ["max", "moritz"]
    (warning,) = warnings(caplog)
    assert warning.startswith(f"{path}:2: left out: ")
    assert said in warning
    assert "geheim" not in caplog.text


@pytest.mark.parametrize(
    ("credential", "said"),
    [
        ("{OTP}geheim", "unknown password scheme"),
        ("{geheim}geheim", "unknown password scheme"),
        ("{PLAIN.HEX}geheim", "unknown password scheme"),
        ("PwNcfJoDFY7.s", "a hash of a kind"),
        ("{CRYPT}$y$j9T$geheim", "a hash of a kind"),
        ("", ""),
        ("!", ""),
        ("*", ""),
        (f"!{MD5_GEHEIM}", ""),
        ("{CRYPT}*LK*", ""),
    ],
)
def test_an_account_that_nobody_can_log_in_to(
    path: Path, caplog: pytest.LogCaptureFixture, credential: str, said: str
) -> None:
    """It exists: its mail is taken, and no other store answers for its name."""
    store = read(path, f"joe:{credential}:1:1::::nopassword\n")
    assert [account.credentials for account in store.list()] == [()]
    assert store.held_schemes() == frozenset()
    assert [said in warning for warning in warnings(caplog)] == [True] * bool(said)
    assert "geheim" not in caplog.text


def test_many_damaged_lines_are_counted(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(path, "x\n" * 1000)
    assert len(warnings(caplog)) == 21
    assert warnings(caplog)[-1] == f"{path}: 980 more lines with something wrong"


class TestExtraFields:
    def test_networks(self, path: Path) -> None:
        nets = "192.0.2.0/24,2001:db8::/32,127.0.0.1,::1,10.1.2.3/8"
        account = one(path, f"joe:{{PLAIN}}a::::::x=y allow_nets={nets} z")
        assert account.networks == (
            "192.0.2.0/24",
            "2001:db8::/32",
            "127.0.0.1/32",
            "::1/128",
            "10.0.0.0/8",
        )
        assert account.protocols is None

    @pytest.mark.parametrize("nets", ["", "rubbish", "local", "300.0.0.0/8", "1.2.3.4/99,,"])
    def test_networks_that_cannot_be_read_are_nowhere(
        self, path: Path, caplog: pytest.LogCaptureFixture, nets: str
    ) -> None:
        account = one(path, f"joe:{{PLAIN}}a::::::allow_nets={nets}")
        assert account.protocols == frozenset()
        assert set(warnings(caplog)) == {f"{path}:1: allow_nets: not a network"}

    def test_one_that_can_be_read_is_enough(self, path: Path) -> None:
        account = one(path, "joe:{PLAIN}a::::::allow_nets=local,192.0.2.1")
        assert account.networks == ("192.0.2.1/32",)
        assert account.protocols is None

    @pytest.mark.parametrize(
        ("extra", "quota"),
        [
            ("userdb_quota_rule=*:storage=1G", Quota(octets=2**30)),
            ("userdb_quota_rule=*:storage=10", Quota(octets=10 * 1024)),
            ("userdb_quota_rule=*:bytes=10:messages=7", Quota(10, 7)),
            ("quota_octets=5M quota_messages=0", Quota(5 * 2**20, 0)),
            ("userdb_quota_rule=*:messages=7 quota_messages=8", Quota(messages=8)),
        ],
    )
    def test_a_quota(self, path: Path, extra: str, quota: Quota) -> None:
        account = one(path, f"joe:{{PLAIN}}a::::::{extra} expire_days=90")
        assert (account.quota, account.expire_days) == (quota, 90)

    @pytest.mark.parametrize(
        "extra",
        [
            "userdb_quota_rule=Trash:storage=+100M",
            "userdb_quota_rule=*:storage=10%",
            "userdb_quota_rule=*:ignore",
            "userdb_quota_rule",
            "quota_octets=lots",
            "quota_messages=-1",
            "expire_days=1.5",
        ],
    )
    def test_a_limit_that_cannot_be_read_is_noted_and_none(
        self, path: Path, caplog: pytest.LogCaptureFixture, extra: str
    ) -> None:
        account = one(path, f"joe:{{PLAIN}}a::::::{extra}")
        assert (account.quota, account.expire_days) == (None, None)
        (warning,) = warnings(caplog)
        assert warning.startswith(f"{path}:1: {extra.partition('=')[0]}: ")

    @pytest.mark.parametrize("extra", ["nologin", "nologin=y", "a=b nologin"])
    def test_nologin_gets_mail_only(self, path: Path, extra: str) -> None:
        store = read(path, f"joe:{{PLAIN}}a::::::{extra}")
        (account,) = store.list()
        assert account.protocols == frozenset()
        assert not account.disabled
        assert store.held_schemes() == frozenset()

    def test_disabled(self, path: Path) -> None:
        store = read(path, "joe:{PLAIN}a::::::disabled\n")
        assert [account.disabled for account in store.list()] == [True]
        assert store.held_schemes() == frozenset()

    def test_user_is_whose_maildrop_it_is(self, path: Path) -> None:
        account = one(path, "joe:{PLAIN}a:::::/bin/sh:user=max@example.org")
        assert account.name == "joe"
        assert account.maildrop_name == "max@example.org"

    def test_others_are_named_once(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        read(path, "joe:{PLAIN}a::::::q=1 nopassword\nmax:{PLAIN}a:1:1::::q=2:3\n")
        told = [text for text in caplog.messages if "extra fields" in text]
        assert told == [
            f"{path}: extra fields that mean nothing here, and how often: q (2), nopassword (1)"
        ]


class TestNames:
    def test_case_counts_when_asked_to(self, path: Path) -> None:
        replace(path, "Joe:{PLAIN}a\n")
        assert PasswdFile(path).lookup("jOE") is not None
        assert PasswdFile(path, case_insensitive=False).lookup("joe") is None
        assert PasswdFile(path, case_insensitive=False).lookup("Joe") is not None

    def test_without_their_domain(self, path: Path) -> None:
        replace(path, "joe:{PLAIN}a\n")
        store = PasswdFile(path, username_format="%n", domains=["example.org"])
        assert store.lookup("joe") is not None
        assert store.lookup("joe@Example.ORG") is not None
        assert store.lookup("joe@example.net") is None
        assert PasswdFile(path, username_format="%n").lookup("joe@example.net") is not None
        assert PasswdFile(path).lookup("joe@example.org") is None

    def test_another_format_is_an_error(self, path: Path) -> None:
        with pytest.raises(ValueError, match="%u or %n"):
            PasswdFile(path, username_format="%d")  # type: ignore[arg-type]

    @pytest.mark.parametrize("name", ["", " joe", "joe\n", "joe\0", "x" * 300, "\udce9"])
    def test_what_is_no_name_is_nobody(self, path: Path, name: str) -> None:
        assert read(path, "joe:{PLAIN}a\n").lookup(name) is None
        assert read(path, "joe:{PLAIN}a\n").lookup_address(name) is None

    def test_addresses(self, path: Path) -> None:
        replace(path, "joe:{PLAIN}a\nmax@example.org:{PLAIN}a::::::disabled\n")
        store = PasswdFile(path, domains=["example.org"])
        joe, max_ = store.list()
        assert store.lookup_address("Joe@EXAMPLE.org") == store.lookup_address("joe") == joe
        assert store.lookup_address("max@example.org") == max_
        assert store.lookup_address("joe@example.net") is None
        assert store.lookup_address("max") is None


class TestSchemes:
    def test_held(self, path: Path) -> None:
        store = read(
            path,
            f"joe:{MD5_GEHEIM}\nmax:{{CLEAR}}a\nida:{{NT}}{'0' * 32}::::::nologin\n"
            "kim:{SSHA.HEX}00\n",
        )
        assert finished(store.held_schemes()) == {"MD5-CRYPT", "PLAIN", "SSHA"}
        assert store.slowest_scheme() == "MD5-CRYPT"

    def test_nothing_slow(self, path: Path) -> None:
        store = read(path, "joe:{PLAIN}a\n")
        assert store.slowest_scheme() is None


class TestChanges:
    def test_a_change_is_seen_at_the_next_look_up(self, path: Path) -> None:
        store = read(path, "joe:{PLAIN}a\n")
        replace(path, "joe:{CRAM-MD5}" + "0" * 64 + "\nmax:{PLAIN}b\n")
        account = finished(store.lookup("joe"))
        assert account is not None
        assert account.credentials == ("{CRAM-MD5}" + "0" * 64,)
        assert finished(store.held_schemes()) == {"CRAM-MD5", "PLAIN"}
        replace(path, "max:{PLAIN}b\n")
        assert store.lookup("joe") is None
        assert store.lookup_address("joe") is None

    def test_one_that_keeps_size_and_time_too(self, path: Path) -> None:
        """As by `cp -p`; the inode, or the time of its change, is another."""
        store = read(path, "joe:{PLAIN}a\n")
        status = path.stat()
        path.write_text("joe:{PLAIN}b\n")
        while path.stat().st_ctime_ns == status.st_ctime_ns:  # a tick is some milliseconds
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert [account.credentials for account in store.list()] == [("{PLAIN}b",)]

    def test_an_unchanged_file_is_not_read_again(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = read(path, "joe:{PLAIN}a\n")
        monkeypatch.setattr(passwd_file, "_read", None)
        assert store.lookup("joe") is not None

    def test_a_change_that_cannot_be_seen_is_seen_a_little_later(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Two changes within one tick of a clock."""
        monkeypatch.setattr(passwd_file, "_signature", lambda status: (0,))
        monkeypatch.setattr(passwd_file, "_SETTLED_SECONDS", 600)
        store = read(path, "joe:{PLAIN}a\n")
        path.write_text("joe:{PLAIN}b\n")
        assert [account.credentials for account in store.list()] == [("{PLAIN}a",)]
        assert store._read.again_at is not None
        assert 0 < store._read.again_at - time.monotonic() <= 600
        store._read = dataclasses.replace(store._read, again_at=time.monotonic())
        assert [account.credentials for account in store.list()] == [("{PLAIN}b",)]

    def test_a_settled_file_is_not_read_again_later(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(passwd_file, "_SETTLED_SECONDS", 0)
        assert read(path, "joe:{PLAIN}a\n")._read.again_at is None

    def test_a_file_that_is_gone_is_no_answer(self, path: Path) -> None:
        """What was read before doesn't let anybody in any longer."""
        store = read(path, "joe:{PLAIN}a\n")
        path.unlink()
        for ask in (store.lookup, store.lookup_address):
            with pytest.raises(AccountError, match="can't be read"):
                ask("joe")
        with pytest.raises(AccountError, match="can't be read"):
            store.held_schemes()
        assert store.slowest_scheme() is None
        replace(path, "joe:{PLAIN}a\n")
        assert store.lookup("joe") is not None

    def test_a_file_that_was_never_there(self, path: Path) -> None:
        with pytest.raises(AccountError, match="can't be read"):
            PasswdFile(path)

    def test_a_folder_is_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(AccountError, match="can't be read"):
            PasswdFile(tmp_path)

    def test_an_endless_file_is_not_read(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = read(path, "joe:{PLAIN}a\n")
        monkeypatch.setattr(passwd_file, "MAX_FILE", 10)
        replace(path, "joe:{PLAIN}a\n")
        with pytest.raises(AccountError, match="longer than 10"):
            store.lookup("joe")


def test_only_a_short_file_is_read_in_place(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwd_file, "MAX_IN_PLACE", 2)
    monkeypatch.setattr(passwd_file, "_SETTLED_SECONDS", 0)
    for text, on_thread in (("a:x\nb:x\n", False), ("a:x\nb:x\nc:x\n", True)):
        store = read(path, text, "PLAIN")
        assert store.blocking is False
        assert isinstance(store.lookup("a"), Account)
        replace(path, text + "d:x\n")
        for each in (store.lookup("d"), store.lookup_address("d"), store.held_schemes()):
            assert isinstance(each, OnThread) is on_thread
        assert isinstance(finished(store.lookup("d")), Account)
        assert isinstance(store.lookup("d"), Account)


def test_nothing_shows_a_credential(path: Path) -> None:
    store = read(path, "joe:{PLAIN}geheim\n")
    assert "geheim" not in repr(store) + repr(store._read) + repr(store.list())


LINES = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.lists(
            st.sampled_from(
                [
                    b"joe",
                    b":",
                    b"{PLAIN}",
                    b"{",
                    b"$6$",
                    b"user=",
                    b"allow_nets=",
                    b"::::::",
                    b" ",
                    b"\r",
                    b"#",
                    b"nologin",
                    b"\xff",
                    b"1.2.3.4/8",
                    b",",
                ]
            )
        ).map(b"".join),
    ),
    max_size=6,
).map(b"\n".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=LINES)
def test_no_file_does_harm(path: Path, text: bytes) -> None:
    store = read(path, text)
    for account in store.list():
        assert store.lookup(account.name) is account
        for credential in account.credentials:
            assert verify(credential, "geheim") in (True, False)
    store.held_schemes()


SERVED = f"""
md5:{MD5_GEHEIM}
bcrypt:{{BLF-CRYPT}}$2y$05$3HMrH/giddAUjGfUr.o0quyaZyphWSdOIFBaDuNGXY9JRx4x4XJkO
pbkdf2:{{PBKDF2}}$1$augDmpjXPjvyfe2r$5000$05b444474c669df415f522aed1672f1897852ea3
ssha:{{SSHA.HEX}}1b63b5d2a28f8a3d38408bdf181dfb3bb0c6352f04060b4d
plain:{{CLEARTEXT}}geheim
nt:{{NT}}c2ae1fe6e648846352453e816f2aeb93
cram:{{CRAM-MD5}}f16f9cd57afad6931bff9508ef68ea2db1b62513b604cf995e4f882bed6d4f1a
nologin:{{PLAIN}}geheim::::::nologin
disabled:{{PLAIN}}geheim::::::disabled
elsewhere:{{PLAIN}}geheim::::::allow_nets=192.0.2.0/24
here:{{PLAIN}}geheim::::::allow_nets=127.0.0.0/8
"""


def test_a_server_lets_in_whom_the_file_does(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypts, "BCRYPT_COST", 4)  # of what unknown names are held against
    with new_server(accounts=read(path, SERVED)) as server:
        for name in ("md5", "bcrypt", "pbkdf2", "ssha", "plain", "nt", "cram", "here"):
            with Client(server.port) as client:
                client.ask(f"USER {name}")
                assert client.ask("PASS Geheim").startswith(b"-ERR [AUTH]")
                client.log_in(name, "geheim")
        for name in ("nologin", "disabled", "elsewhere", "nobody"):
            with Client(server.port) as client:
                client.ask(f"USER {name}")
                assert client.ask("PASS geheim").startswith(b"-ERR [AUTH]")


def test_a_file_that_is_gone_is_no_wrong_password(path: Path) -> None:
    with new_server(accounts=read(path, SERVED)) as server, Client(server.port) as client:
        path.unlink()
        client.ask("USER plain")
        assert client.ask("PASS geheim").startswith(b"-ERR [SYS/TEMP]")
        replace(path, SERVED)
        client.log_in("plain", "geheim")


@pytest.mark.peer
@pytest.mark.parametrize(("name", "password"), [("cram", "geheim"), ("plain", "geheim")])
def test_curl_logs_in_by_cram_md5(path: Path, name: str, password: str) -> None:
    curl = need("curl", package="curl")
    store = MemoryStore()
    store.add(name, b"Subject: one\r\n\r\nbody\r\n")

    def fetch(port: int, given: str) -> subprocess.CompletedProcess[bytes]:
        how = ["-sS", "-u", f"{name}:{given}", "--login-options", "AUTH=CRAM-MD5"]
        return subprocess.run(
            [curl, *how, f"pop3://127.0.0.1:{port}/1"],
            capture_output=True,
            timeout=30,
            check=False,
        )

    with new_server(store, accounts=read(path, SERVED)) as server:
        assert fetch(server.port, password).stdout == b"Subject: one\r\n\r\nbody\r\n"
        wrong = fetch(server.port, password + "!")
        assert wrong.returncode == 67  # denied
        assert wrong.stdout == b""
