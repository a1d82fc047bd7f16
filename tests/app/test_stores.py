"""The server and the commands over each store that the configuration can name."""

from __future__ import annotations

import asyncio
import json
import os
import poplib
import re
import signal
import smtplib
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import count
from pathlib import Path

import pytest

from restante.accounts.account import Account
from restante.app.config.load import load
from restante.app.console.accounts import Accounts, NotThere
from restante.app.console.maildrops import Maildrops
from restante.app.maildrops import answered, opened_store
from restante.stores.contract import Incoming
from restante.stores.postgres.schema import steps
from tests.app.conftest import Call
from tests.app.support import PASSWORD, Server, restante, wait_until, write_config
from tests.conftest import Authority
from tests.needs import only_cpython
from tests.postgres_server import PostgresServer, postgres
from tests.stores.blobs.radosgw import Radosgw

unix = pytest.mark.skipif(os.name != "posix", reason="signals of Unix")


@dataclass(frozen=True)
class Kind:
    """A store. text: what the configuration says of it."""

    name: str
    text: str


@pytest.fixture(scope="module")
def database(authority: Authority) -> Iterator[PostgresServer]:
    """A PostgreSQL."""
    if sys.implementation.name != "cpython":
        pytest.skip("only CPython has asyncpg here")
    with postgres(authority.certificate.files()[0]) as running:
        yield running


_numbers = count()


@pytest.fixture(params=["maildir", "sqlite", "postgres", "postgres-folder", "postgres-s3"])
def kind(request: pytest.FixtureRequest, folder: Path) -> Kind:
    """Each store in turn, in PostgreSQL with each place of the bodies."""
    name, _, bodies = request.param.partition("-")
    text = f'[store]\nkind = "{name}"\n'
    if name != "postgres":
        return Kind(request.param, text)
    text += tables(request.getfixturevalue("database"), folder)
    if bodies == "folder":
        text += '[store.bodies]\nkind = "folder"\nfolder.path = "bodies"\n'
    elif bodies == "s3":
        text += in_bucket(request.getfixturevalue("radosgw"))
    return Kind(request.param, text)


def tables(database: PostgresServer, folder: Path) -> str:
    """Make tables in a schema of their own; gives what the configuration says of them."""
    text = (
        f'[store.postgres]\ndsn = "{database.dsn}"\nschema = "app_{next(_numbers)}"\n'
        "lease_seconds = 5\n"
    )
    write_config(folder, f'[store]\nkind = "postgres"\n{text}')
    done = restante("db", "upgrade", cwd=folder)
    assert done.returncode == 0, done.stderr
    return text


def in_bucket(server: Radosgw) -> str:
    """What the configuration says of a new bucket for bodies."""
    return (
        '[store.bodies]\nkind = "s3"\n[store.bodies.s3]\n'
        f'bucket = "{server.make_bucket()}"\nendpoint = "{server.endpoint}"\n'
        f'access_key = "{server.user.access_key}"\nsecret_key = "{server.user.secret_key}"\n'
    )


def send(server: Server, text: str, to: str = "joe@localhost") -> None:
    with smtplib.SMTP("127.0.0.1", server.port("smtp", "starttls"), timeout=20) as client:
        client.sendmail("a@x.example", [to], f"Subject: {text}\r\n\r\n{text}\r\n".encode())


def mail(server: Server) -> list[bytes]:
    """The last line of each message of joe's."""
    client = server.login()
    found = [client.retr(number)[1][-1] for number in range(1, client.stat()[0] + 1)]
    client.quit()
    return found


@unix
def test_mail_comes_in_by_smtp_and_out_by_pop3_through_restarts_and_kills(
    folder: Path, kind: Kind
) -> None:
    """A worker is killed, then the supervisor; the last start is of a single process."""
    write_config(folder, kind.text)
    with Server(folder, "--workers", "2") as server:
        send(server, "one")
        assert mail(server) == [b"one"]
        client = server.login()
        client.dele(1)
        client.quit()
        send(server, "two")
        send(server, "three")
        kill_worker(server)
        assert mail(server) == [b"two", b"three"]
    with Server(folder, "--workers", "2") as server:
        client = server.login()
        ids = client.uidl()[1]
        assert client.stat()[0] == 2
        server.process.kill()
        client.close()
        server.process.wait()
    with Server(folder, "--workers", "1") as server:
        client = wait_until(lambda: logged_in(server), "the maildrop of a killed server")
        assert client.uidl()[1] == ids
        client.quit()
        assert mail(server) == [b"two", b"three"]


def kill_worker(server: Server) -> None:
    """End a worker without a chance to do anything, and wait for the next one."""
    pids = worker_pids(server)
    os.kill(pids[0], signal.SIGKILL)
    wait_until(
        lambda: len(now := worker_pids(server)) == len(pids) and now != pids, "another worker"
    )


def worker_pids(server: Server) -> list[int]:
    done = restante("status", "--json", cwd=server.folder)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return [row["pid"] for row in rows if row["state"] == "ready"]


def logged_in(server: Server) -> poplib.POP3 | None:
    try:
        return server.login()
    except poplib.error_proto:
        return None


def test_commands_put_mail_into_the_store(folder: Path, kind: Kind, call: Call) -> None:
    write_config(folder, kind.text)
    (folder / "x.eml").write_bytes(b"Subject: x\n\nfrom a file\n")
    assert call("import", "x.eml", "--account", "joe").status == 0
    assert call("deliver", "--to", "joe@localhost", given=b"Subject: y\n\nby a pipe\n").status == 0
    with Server(folder) as server:
        assert mail(server) == [b"from a file", b"by a pipe"]


def test_the_console_looks_into_maildrops_while_sessions_have_them(
    folder: Path, kind: Kind, call: Call
) -> None:
    write_config(folder, kind.text)
    large = b"Subject: large\n\n" + b"0123456789abcde\n" * 100_000
    for text in (b"Subject: small\nFrom: ann\n\none\n", large):
        assert call("deliver", "--to", "joe@localhost", given=text).status == 0
    settings = load(folder / "restante.toml").settings
    with (
        Server(folder) as server,
        closing(Maildrops(settings)) as m,
        closing(Accounts(settings)) as accounts,
    ):
        session = server.login()
        joe = accounts.find("joe")
        listed = m.listed(joe, 1)
        shown = [(line.number, line.subject) for line in listed.lines]
        assert shown == [(2, "large"), (1, "small")]
        assert listed.lines[1].sender == "ann"
        data, whole = m.message(joe, listed.lines[0].unique_id)
        assert (data.replace(b"\r\n", b"\n"), whole) == (large, True)
        blocks = m.blocks(joe, listed.lines[0].unique_id)
        assert next(blocks).startswith(b"Subject: large")
        blocks.close()
        with pytest.raises(NotThere):
            m.message(joe, "x")
        session.quit()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says who holds a lock")
def test_a_maildrop_is_taken_from_its_session(folder: Path, kind: Kind, call: Call) -> None:
    write_config(folder, kind.text)
    with Server(folder, "--workers", "1") as server, ExitStack() as stack:
        send(server, "one")
        assert call("leases", "list").err == "no session has a maildrop\n"
        session = server.login()
        stack.callback(session.close)
        session.dele(1)
        name, holder, ends = call("leases", "list").out.split("\t")
        assert (name, holder.split()[:2]) == ("joe", ["pid", str(server.process.pid)])
        assert re.fullmatch(r"with its session\n|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n", ends)
        assert json.loads(call("leases", "list", "--json").out)["maildrop_name"] == "joe"
        assert call("leases", "release", "joe").out == "joe: released\n"
        with pytest.raises(poplib.error_proto):
            session.quit()
        assert mail(server) == [b"one"]
        done = call("leases", "release", "nobody")
        assert (done.status, done.out) == (1, "")


def test_readiness_is_that_of_the_database(folder: Path, database: PostgresServer) -> None:
    text = f'[store]\nkind = "postgres"\n{tables(database, folder)}'
    write_config(folder, f"{text}[metrics]\nport = 0\n")

    def ready() -> int:
        client = HTTPConnection("127.0.0.1", server.port("metrics", "none"), timeout=20)
        client.request("GET", "/readyz")
        status = client.getresponse().status
        client.close()
        return status

    with Server(folder) as server:
        assert ready() == 200
        database.stop()
        wait_until(lambda: ready() == 503, "not ready without a database")
        with pytest.raises(smtplib.SMTPException):
            send(server, "refused")
        database.start()
        wait_until(lambda: ready() == 200, "ready again")
        send(server, "taken")
        assert mail(server) == [b"taken"]


def test_trying_works(folder: Path, kind: Kind) -> None:
    write_config(folder, kind.text)
    with Server(folder) as server:
        done = restante("try", cwd=folder)
        assert done.returncode == 0, done.stderr
        assert mail(server) == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_whose_mail_cant_be_kept_doesnt_start_and_says_why(
    folder: Path, workers: str
) -> None:
    write_config(folder, '[store]\nkind = "sqlite"\nsqlite.path = "mail/all.sqlite"\n')
    (folder / "mail").mkdir()
    (folder / "mail/all.sqlite").write_bytes(b"no database, but a text of some length" * 100)
    done = restante("serve", "--workers", workers, "--pop3-port", "0", cwd=folder)
    assert done.returncode == 1
    assert b"mail/all.sqlite: file is not a database" in done.stderr
    assert b"Traceback" not in done.stderr


def test_the_server_collects_by_itself(folder: Path) -> None:
    write_config(folder, '[store]\nkind = "sqlite"\ncollect_minutes = 0.01\nundelete_days = 0\n')
    with Server(folder, "--workers", "2") as server:
        send(server, "one")
        client = server.login()
        client.dele(1)
        client.quit()
        server.wait_for_log("collected: 1 messages that were removed are gone for good")
    assert restante("collect", cwd=folder).stdout == b"0 messages removed for good\n"


def test_collecting_heeds_the_time_to_undelete(folder: Path, call: Call) -> None:
    write_config(folder, '[store]\nkind = "sqlite"\ncollect_minutes = "off"\nundelete_days = 1\n')
    with Server(folder) as server:
        send(server, "one")
        client = server.login()
        client.dele(1)
        client.quit()
    assert call("collect").out == "0 messages removed for good\n"
    assert call("collect", "--set", "store.undelete_days=0").out == "1 message removed for good\n"


def test_what_has_no_effect_is_told(folder: Path, call: Call) -> None:
    write_config(
        folder,
        '[store]\nkind = "sqlite"\n[maildrops]\nfsync = false\n',
    )
    done = call("check-config")
    assert done.status == 2
    assert 'maildrops: has no effect; allowed: with store.kind = "maildir"' in done.err
    write_config(folder, '[store.sqlite]\npath = "x.sqlite"\n')
    done = call("check-config")
    assert 'store.sqlite: has no effect; allowed: with store.kind = "sqlite"' in done.err
    (folder / "f").mkdir()
    write_config(folder, '[store]\nkind = "sqlite"\nsqlite.path = "f"\n')
    assert "is a folder; allowed: the path of a file" in call("check-config").err
    write_config(folder, "[store]\ncollect_minutes = 0\n")
    assert 'allowed: minutes from 0.01 to 10080, or "off"' in call("check-config").err


def test_tables_are_made_and_brought_up_to_date(
    folder: Path, database: PostgresServer, call: Call
) -> None:
    where = f'[store]\nkind = "postgres"\n[store.postgres]\ndsn = "{database.dsn}"\n'
    write_config(folder, f'{where}schema = "upgraded"\n')
    done = restante("serve", "--pop3-port", "0", "--pop3s-port", "0", cwd=folder)
    assert done.returncode == 1
    assert b"run `restante db upgrade`" in done.stderr
    asked = call("db", "status")
    assert (asked.status, asked.out.splitlines()[0]) == (
        1,
        f"schema upgraded: step 0 of {len(steps())}",
    )
    assert "0001_mail: works" in call("db", "upgrade", "--dry-run").out
    assert call("db", "status").status == 1
    assert call("db", "upgrade").out.splitlines() == [f"{step.name}: done" for step in steps()]
    assert call("db", "upgrade").out == "the tables are up to date\n"
    assert call("db", "status").status == 0
    database.execute("INSERT INTO upgraded.steps (number, name) VALUES (9999, 'later')")
    assert "a newer version" in call("db", "status").err
    done = restante("serve", "--pop3-port", "0", "--pop3s-port", "0", cwd=folder)
    assert done.returncode == 1
    assert b"a newer one" in done.stderr


def test_tables_are_only_of_postgresql(folder: Path, call: Call) -> None:
    write_config(folder)
    assert "store.kind" in call("db", "status").err
    write_config(folder, '[store]\nkind = "postgres"\n')
    assert "store.postgres.dsn: is missing" in call("db", "upgrade").err
    assert "restante.toml: store.postgres.dsn: is missing\n" in call("check-config").err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('bodies.kind = "folder"', "restante.toml: store.bodies.folder.path: is missing\n"),
        ('bodies.kind = "s3"', 'restante.toml: store.bodies.s3.bucket = "": is missing\n'),
        ('bodies.folder.path = "x"', "store.bodies.folder: has no effect; allowed: with store.bo"),
        ("cache.folder = 'x'", "store.cache: has no effect"),
        (
            "cache.max_octets = 2000000\nbodies.kind = 'folder'",
            "store.cache.max_octets = 2000000: has no effect",
        ),
        ('postgres.schema = "a-b"', 'store.postgres.schema = "a-b": allowed: 1 to 63 of a-z'),
        (
            'postgres.leases = "snapshot"\npostgres.lease_seconds = 9',
            "lease_seconds = 9.0: has no effect",
        ),
    ],
)
def test_what_doesnt_fit_is_told(folder: Path, call: Call, text: str, told: str) -> None:
    dsn = "postgresql://x@127.0.0.1/x"
    write_config(folder, f'[store]\nkind = "postgres"\npostgres.dsn = "{dsn}"\n{text}\n')
    assert told in call("check-config").err


def test_accounts_are_managed_in_the_stores_database(
    folder: Path, database: PostgresServer, call: Call
) -> None:
    write_config(folder)
    text = f'[store]\nkind = "postgres"\n{tables(database, folder)}'
    (folder / "restante.toml").write_text(
        f'[accounts]\nkind = "database"\n[tls]\ndevelopment = true\n{text}'
    )
    assert call("user", "list").err == "no accounts\n"
    added = call("user", "add", "joe", "--password-stdin", given=f"{PASSWORD}\n".encode())
    assert added.status == 0, added.err
    with Server(folder, "--workers", "2") as server:
        send(server, "one")
        assert mail(server) == [b"one"]
        (other,) = call("user", "app-password", "add", "joe", "phone").out.splitlines()
        server.login("joe", other).quit()
        assert call("user", "disable", "joe").status == 0
        with pytest.raises(poplib.error_proto):
            server.login()
    assert "joe" in call("user", "list").out


def test_an_account_that_is_removed_in_the_middle_of_a_session(
    folder: Path, database: PostgresServer, call: Call
) -> None:
    text = f'[store]\nkind = "postgres"\n{tables(database, folder)}'
    write_config(folder)
    (folder / "restante.toml").write_text(
        f'[accounts]\nkind = "database"\n[tls]\ndevelopment = true\n{text}'
    )
    password = f"{PASSWORD}\n".encode()
    assert call("user", "add", "joe", "--password-stdin", given=password).status == 0
    with Server(folder) as server:
        for text in ("one", "two", "three"):
            send(server, text)
        session = server.login()
        ids = session.uidl()[1]
        assert call("user", "remove", "joe").status == 0
        assert session.retr(1)[1][-1] == b"one"
        session.dele(1)
        session.quit()
        with pytest.raises(poplib.error_proto, match="AUTH"):
            server.login()
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            send(server, "four")
        # Its mail is there still, for whoever gets the name again.
        assert call("user", "add", "joe", "--password-stdin", given=password).status == 0
        session = server.login()
        assert [line.split()[1] for line in session.uidl()[1]] == [
            line.split()[1] for line in ids[1:]
        ]
        session.quit()


def test_accounts_in_the_database_need_one(folder: Path, call: Call) -> None:
    (folder / "restante.toml").write_text('[accounts]\nkind = "database"\n')
    said = 'restante.toml: accounts.kind = "database": needs store.kind = "postgres" and'
    assert said in call("check-config").err


def bad_start(folder: Path, text: str) -> str:
    """What a server says that doesn't start."""
    write_config(folder, text)
    done = restante("serve", "--pop3-port", "0", "--pop3s-port", "0", "--workers", "2", cwd=folder)
    said = done.stderr.decode()
    assert done.returncode == 1, said
    assert "Traceback" not in said
    assert "geheim" not in said
    return said


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("restante:", "restante:geheim", "password authentication failed"),
        ("/postgres", "/nowhere", "does not exist"),
        ("localhost:", "localhost:1", "can't be kept: PostgreSQL:"),
    ],
)
def test_a_wrong_address_of_the_database_is_told_at_the_start(
    folder: Path, database: PostgresServer, old: str, new: str, told: str
) -> None:
    dsn = database.dsn.replace(old, new)
    text = f'[store]\nkind = "postgres"\n[store.postgres]\ndsn = "{dsn}"\n'
    said = bad_start(folder, text)
    assert told in said
    assert "ban store" not in said  # which is in the same database


@only_cpython  # without asyncpg that is told
@pytest.mark.parametrize("kind", ["sqlite", "database"])
def test_a_malformed_address_of_the_database_is_told_once_with_its_place(
    folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("RESTANTE_STORE__POSTGRES__PASSWORD", "geheim")
    text = f'[store]\nkind = "postgres"\n[accounts]\nkind = "{kind}"\n'
    (folder / "restante.toml").write_text(text + "[tls]\ndevelopment = true\n")
    wrong = "mysql://joe:hush@127.0.0.1/mail"
    told = "store.postgres.dsn: allowed: the address of the database (not of the form postgresql://"
    for command in ("check-config",), ("db", "upgrade"), ("serve",):
        first, *more = call(*command, "--set", f"store.postgres.dsn={wrong}").err.splitlines()
        assert first.startswith(f"restante: --set: {told}")
        assert more == ["restante: 1 mistake"] * (command == ("check-config",))
        assert "hush" not in first
    monkeypatch.setenv("RESTANTE_STORE__POSTGRES__DSN", wrong)
    said = call("check-config").err
    assert said.startswith(f"restante: RESTANTE_STORE__POSTGRES__DSN: {told}")
    monkeypatch.delenv("RESTANTE_STORE__POSTGRES__DSN")
    said = call("check-config").err  # there is none
    assert said == "restante: restante.toml: store.postgres.dsn: is missing\nrestante: 1 mistake\n"


@only_cpython  # without asyncpg that is told
def test_a_malformed_address_of_the_accounts_database_is_told_with_its_key(
    folder: Path, call: Call
) -> None:
    for kind in "postgres", "mysql":
        lookup = f"accounts.{kind}.lookup=SELECT name FROM users WHERE name = {{name}}"
        given = "--set", f"accounts.{kind}.dsn=ldap://geheim", "--set", lookup
        said = call("check-config", "--set", f"accounts.kind={kind}", *given).err
        assert f"restante: --set: accounts.{kind}.dsn: not of the form {kind}" in said
        assert "geheim" not in said


@pytest.mark.parametrize(
    "wrong",
    [
        ("bucket", "nowhere", "no such bucket"),
        ("secret_key", "geheim", "secret key isn't that"),
        ("endpoint", "http://127.0.0.1:1", "nobody listens there"),
    ],
)
def test_a_wrong_bucket_is_told_at_the_start(
    folder: Path, database: PostgresServer, radosgw: Radosgw, wrong: tuple[str, str, str]
) -> None:
    key, value, told = wrong
    where = re.sub(rf'(?m)^{key} = ".*"$', f'{key} = "{value}"', in_bucket(radosgw))
    text = f'[store]\nkind = "postgres"\n{tables(database, folder)}{where}timeout = 3\n'
    assert told in bad_start(folder, text)


def test_a_shared_folder_that_isnt_mounted_is_told_at_the_start(
    folder: Path, database: PostgresServer
) -> None:
    (folder / "bodies").write_text("a file in its place")
    text = f'[store]\nkind = "postgres"\n{tables(database, folder)}'
    write_config(folder, f'{text}[store.bodies]\nkind = "folder"\nfolder.path = "bodies"\n')
    done = restante("check-config", cwd=folder)
    assert b"isn't a folder that this user can write to" in done.stderr


def test_mail_expires_is_counted_and_comes_back(kind: Kind, folder: Path, call: Call) -> None:
    """With accounts in the database too, where the mail is in one."""
    file = write_config(folder, f"expire_days = 30\n{kind.text}")
    names = ["joe"]
    if kind.name.startswith("postgres"):
        both = file.read_text().replace('kind = "static"', 'kind = ["static", "database"]')
        file.write_text(both)
        assert call("user", "add", "ann", "--generate", "--quota-messages", "9").status == 0
        names.append("ann")

    async def fill() -> None:
        async with opened_store(load().settings) as store:
            for name in names:
                for days in (40, 5):
                    at = time.time() - days * 86_400
                    made = store.restore(Account(name), f"{days}-days", arrived=at)
                    incoming: Incoming = await answered(made)
                    await answered(incoming.write(b"Subject: x\r\n\r\n"))
                    await answered(incoming.commit())

    asyncio.run(fill())
    listed = [line.split("\t") for line in call("user", "list").out.splitlines()]
    expected = {"joe": ["2", "28", ""], "ann": ["2", "28", "9"]}
    assert {row[0]: row[6:9] for row in listed} == {name: expected[name] for name in names}
    expired = f"{len(names)} message{'s' if len(names) > 1 else ''} expired"
    assert call("collect").out == f"{expired}\n0 messages removed for good\n"
    for name in names:
        rows = call("undelete", name, "--since", "1h", "--list").out.splitlines()
        assert [row.split("\t")[1] for row in rows] == ["40-days"]
        assert call("undelete", name, "--since", "1h").out == "1 message put back\n"
    # It is as old as before, and stays only where mail may be kept for longer.
    file.write_text(file.read_text().replace("expire_days = 30", "expire_days = 60"))
    assert call("collect").out == "0 messages removed for good\n"
    file.write_text(file.read_text().replace("expire_days = 60", "expire_days = 30"))
    assert call("collect").out == f"{expired}\n0 messages removed for good\n"
