"""docs/cluster.md: all of it is done, with two nodes over a real PostgreSQL and a real S3."""

from __future__ import annotations

import asyncio
import json
import os
import poplib
import re
import shutil
import smtplib
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from restante.app.config.load import read
from restante.observing.families import FAMILIES
from restante.stores import PostgresStore
from tests.app.support import COMMAND, Server, environment, run_as_shown, wait_until
from tests.conftest import Authority
from tests.needs import need, only_cpython
from tests.postgres_server import (
    PASSWORD,
    USER,
    PostgresServer,
    postgres,
    primary_and_standby,
)
from tests.stores.blobs.radosgw import Radosgw

pytestmark = only_cpython

PAGE = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text("utf-8")


def block(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def database(authority: Authority) -> Iterator[PostgresServer]:
    with postgres(authority.certificate.files()[0]) as running:
        (statements,) = block("sql")
        running.execute(statements)
        yield running


class Cluster:
    """Two folders, each a machine: as the page says, with addresses and keys of this test."""

    def __init__(
        self, folder: Path, database: PostgresServer, s3: Radosgw, authority: Authority
    ) -> None:
        (text,) = block("toml")
        pem = authority.certificate.files()[0]
        for old, new in (
            ("/var/lib/restante", "data"),
            ("/var/cache/restante", "cache"),
            ("/etc/restante/certificate.pem", str(pem)),
            ("/etc/restante/key.pem", str(pem)),
            ("db.example.org", f"localhost:{database.port}"),
            ("sslmode=verify-full", f"sslmode=verify-full&sslrootcert={authority.file}"),
            ("https://s3.example.org", s3.endpoint),
            ('bucket = "mail"', f'bucket = "{s3.make_bucket()}"'),
            ('access_key = "restante"', f'access_key = "{s3.user.access_key}"'),
            ("0.0.0.0", "127.0.0.1"),
            *((f"port = {number}\n", "port = 0\n") for number in (110, 995, 24)),
        ):
            assert old in text, old
            text = text.replace(old, new)
        self._secret = s3.user.secret_key
        self._programs = folder / "programs"
        self._programs.mkdir()
        script = self._programs / "restante"
        script.write_text(f"#!/bin/sh\nexec {COMMAND[0]} -c '{COMMAND[2]}' \"$@\"\n")
        script.chmod(0o755)
        self.nodes = [folder / "one", folder / "two"]
        for node in self.nodes:
            node.mkdir()
            (node / "restante.toml").write_text(text)
            (node / "restante.toml").chmod(0o600)

    def run(self, commands: str, node: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Run a block's commands; each must say what is shown. Gives what they said."""
        said = []
        path = os.pathsep.join((str(self._programs), str(Path(sys.executable).parent)))
        for step in re.split(r"^\$ ", commands, flags=re.MULTILINE)[1:]:
            command, _, expected = step.partition("\n")
            if match := re.fullmatch(r"export (\w+)='(.*)'", command):
                secret = "SECRET_KEY" in match[1]
                monkeypatch.setenv(match[1], self._secret if secret else match[2])
                continue
            env = {**secrets(), "PATH": f"{path}{os.pathsep}{os.environ['PATH']}"}
            said.append(run_as_shown(command, expected, node, env))
        return said


def secrets() -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if name.startswith("RESTANTE_STORE")}
    return {**environment(), **kept}


def session(server: Server, authority: Authority, password: str) -> poplib.POP3:
    context = authority.client_context()
    client = poplib.POP3_SSL("localhost", server.port("pop3", "implicit"), context=context)
    try:
        client.user("joe")
        client.pass_(password)
    except poplib.error_proto:
        client.close()
        raise
    return client


def test_the_configuration_is_accepted(tmp_path: Path) -> None:
    (text,) = block("toml")
    (tmp_path / "restante.toml").write_text(text)
    assert read(tmp_path / "restante.toml", environ={}).problems == ()


def test_a_bucket_takes_the_page_s_lifecycle(radosgw: Radosgw) -> None:
    (text,) = block("json")
    rules = json.loads(text)["Rules"]
    namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
    xml = "".join(f"<Rule>{as_xml(rule)}</Rule>" for rule in rules)
    xml = f'<LifecycleConfiguration xmlns="{namespace}">{xml}</LifecycleConfiguration>'
    bucket = radosgw.make_bucket()
    status, said = radosgw.request("PUT", f"/{bucket}", {"lifecycle": ""}, xml.encode())
    assert status == 200, said
    status, said = radosgw.request("GET", f"/{bucket}", {"lifecycle": ""})
    assert "<DaysAfterInitiation>1</DaysAfterInitiation>" in said, said
    assert "<Prefix>check-</Prefix>" in said, said
    assert "<Days>1</Days>" in said, said


def as_xml(given: Any) -> str:
    """A rule as S3's protocol has it, where the tools have JSON."""
    if isinstance(given, dict):
        return "".join(f"<{name}>{as_xml(each)}</{name}>" for name, each in given.items())
    return str(given)


def test_prometheus_takes_the_page_s_configuration(tmp_path: Path) -> None:
    (text,) = block("yaml")
    (tmp_path / "prometheus.yml").write_text(text)
    command = [need("promtool", package="prometheus"), "check", "config", "prometheus.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "restante_sessions_total" in PAGE
    assert "restante_sessions_total" in {family.shown for family in FAMILIES}


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX users")
def test_a_commit_waits_for_a_standby_and_the_dsn_finds_the_primary(authority: Authority) -> None:
    dsn, settings = block("ini")
    with primary_and_standby(authority.certificate.files()[0]) as (primary, standby):
        for setting in settings.splitlines():
            primary.execute(f"ALTER SYSTEM SET {setting.replace('db2', standby.name)}")
        primary.execute("SELECT pg_reload_conf()")
        state = "SELECT sync_state FROM pg_stat_replication"
        wait_until(lambda: primary.ask(state) == "quorum", "the standby of the page's settings")
        for name, server in ("db1", standby), ("db2", standby), ("db3", primary):
            dsn = dsn.replace(f"{name}.example.org", f"localhost:{server.port}")
        dsn = dsn.replace("postgresql://mail@", f"postgresql://{USER}@").replace(
            "/mail?", "/postgres?"
        )
        dsn = dsn.replace(
            "sslmode=verify-full", f"sslmode=verify-full&sslrootcert={authority.file}"
        )
        store = PostgresStore(tomllib.loads(dsn)["dsn"], password=PASSWORD)

        async def use() -> None:
            await store.upgrade()
            await store.check()
            await store.aclose()

        asyncio.run(use())
        assert primary.ask("SELECT count(*) FROM restante.steps") != "0"


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
def test_two_nodes_serve_the_same_mail(
    tmp_path: Path,
    database: PostgresServer,
    radosgw: Radosgw,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster(tmp_path, database, radosgw, authority)
    first, second = cluster.nodes
    exports, tables, users, shown, leases, collect = block("console")
    cluster.run(exports, first, monkeypatch)
    cluster.run(tables, first, monkeypatch)
    assert block("sh") == ["restante serve\n"]
    cluster.run(shown, first, monkeypatch)
    password = cluster.run(users, second, monkeypatch)[0].strip()
    arguments = ("--set", "store.postgres.lease_seconds=5", "--workers", "2")
    with (
        Server(first, *arguments, ports=False, env=secrets()) as one,
        Server(second, *arguments, ports=False, env=secrets()) as two,
    ):
        with smtplib.LMTP("127.0.0.1", one.port("lmtp", "none"), timeout=20) as mail:
            mail.sendmail("a@x.example", ["joe@example.org"], b"Subject: x\r\n\r\nhello\r\n")
        client = poplib.POP3_SSL(
            "localhost", one.port("pop3", "implicit"), context=authority.client_context()
        )
        client.capa()
        client.user("joe")
        client.pass_(password)
        client.quit()
        explained = "$ restante explain joe\nAccount joe...It says CAPA USER PASS first...\n"
        for node in (first, second):  # the first one's server is asked to write what it knows
            cluster.run(explained, node, monkeypatch)
        reader = session(two, authority, password)
        assert reader.retr(1)[1][-1] == b"hello"
        ids = reader.uidl()[1]
        with pytest.raises(poplib.error_proto, match="IN-USE"):
            session(one, authority, password)
        cluster.run(leases, first, monkeypatch)
        taken = session(one, authority, password)
        reader.dele(1)
        with pytest.raises(poplib.error_proto):
            reader.quit()
        reader.close()
        assert taken.uidl()[1] == ids
        one.process.kill()
        taken.close()
        one.process.wait()
        shutil.rmtree(second / "cache")
        again = wait_until(lambda: tried(two, authority, password), "the lease's end")
        assert again.retr(1)[1][-1] == b"hello"
        again.dele(1)
        again.quit()
        cluster.run(collect, second, monkeypatch)
        # PostgreSQL restarts, and nodes need no restart.
        database.stop()
        with pytest.raises(poplib.error_proto, match=r"SYS/TEMP"):
            session(two, authority, password)
        database.start()
        later = session(two, authority, password)
        assert later.stat() == (0, 0)
        later.quit()


def tried(server: Server, authority: Authority, password: str) -> poplib.POP3 | None:
    try:
        return session(server, authority, password)
    except poplib.error_proto:
        return None
