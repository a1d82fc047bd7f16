"""The page on moving house, done step by step; and real servers' mail, octet for octet.

`RESTANTE_MESSAGES=10000` and `--timeout 3600` move as many messages as that; otherwise 300.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from restante.testing.authority import Authority
from tests import conftest as certificates
from tests.app.support import COMMAND, python_for
from tests.needs import need
from tests.peers.moving import NOBODY, Move, hashed, moved, run_page
from tests.ports import free_port
from tests.postgres_server import PostgresServer, postgres
from tests.stores.blobs.radosgw import Radosgw

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can start Dovecot"
    ),
]

PAGE = (Path(__file__).parents[2] / "docs" / "migrating.md").read_text("utf-8")

MESSAGES = int(os.environ.get("RESTANTE_MESSAGES", "300"))

TLS = """
ssl = yes
ssl_cert = <{pem}
ssl_key = <{pem}
service imap-login {{
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    port = {imaps}
  }}
}}
service pop3-login {{
  inet_listener pop3s {{
    port = {pop3s}
  }}
}}
"""


class House(Move):
    """`old.example.org` is this machine's Dovecot, which speaks TLS."""

    patience = 60.0 + MESSAGES / 10
    tls: ClassVar[dict[str, int]] = {}
    ca: ClassVar[Path]

    def here(self, text: str) -> str:
        text = super().here(text)
        for kind, port in self.tls.items():
            there = f"{kind}://localhost:{port} --ca {self.ca}"
            text = text.replace(f"{kind}://old.example.org", there)
        return text.replace("--from dovecot:", f"--from dovecot:{self.folder}/dovecot.conf")


@contextmanager
def house(location: str = "maildir", uidl_format: str = "%08Xu%08Xv") -> Iterator[House]:
    """Dovecot with the mail of joe and ann, which their clients have seen."""
    need("/usr/lib/dovecot/imap", package="dovecot-imapd")
    users = [
        f"{name}@example.org:{hashed('PLAIN', password)}::::::"
        for name, password in (("joe", "secret"), ("ann", "hush"))
    ]
    with Authority() as ca:
        chain = ca.issue().chain
        House.ca = ca.path
        House.tls = {kind: free_port() for kind in ("pop3s", "imaps")}
        more = TLS.format(pem=chain, **House.tls)
        with moved(
            PAGE,
            *users,
            kind=House,
            location=location,
            protocols="pop3 imap",
            uidl_format=uidl_format,
            more=more.replace("{", "{{").replace("}", "}}"),
        ) as moving:
            (passwords,) = re.findall(r"^```text\n(.*?)^```$", PAGE, re.M | re.S)
            (moving.folder / "old-users").write_text(passwords)
            (moving.folder / "old-users").chmod(0o600)
            yield moving


def unique_ids(moving: House, name: str = "joe", password: str = "secret") -> str:
    """What a client is listed; so its mail is seen."""
    user = f"--user {name}@example.org:{password} --request UIDL"
    status, shown = moving.run(f"curl -s {user} pop3://localhost:110/")
    assert status == 0, shown
    return shown


def fetched(moving: House) -> int:
    """Messages that fetchmail has fetched so far."""
    mbox = moving.folder / "mbox"
    return mbox.read_bytes().count(b"\nX-Number: ") if mbox.exists() else 0


def test_every_command_of_the_page_does_what_it_says() -> None:
    with house() as moving:
        for number in (1, 2):
            moving.deliver(number, "ann")
        unique_ids(moving, "ann", "hush")
        assert moving.fetch()[0] == 0  # before the move, from Dovecot
        run_page(PAGE, moving)


def message(number: int) -> bytes:
    """One of many: of several sizes, line ends, and with lines that begin with dots."""
    chance = random.Random(number)
    lines = [b"X-Number: %d" % number, b"Subject: message %d" % number, b""]
    for _ in range(chance.randrange(60)):
        lines.append(b"." * chance.randrange(3) + b"x" * chance.randrange(100))
    end = chance.choice([b"\n", b"\r\n"])
    return end.join(lines) + chance.choice([end, b""])


def fill(moving: House, count: int) -> None:
    """A Maildir of joe's with as many messages as that."""
    maildir = moving.folder / "srv" / "mail" / "example.org" / "joe"
    shutil.rmtree(maildir)
    for part in ("new", "cur", "tmp"):
        (maildir / part).mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        name = f"{1_700_000_000 + number // 3}.M{number}P1.host"
        (maildir / "cur" / f"{name}:2,S").write_bytes(message(number))
    for path in (moving.folder / "srv").rglob("*"):
        os.chown(path, NOBODY, NOBODY)


OTHER_PYTHON = "import sys; sys.modules['cryptography'] = None; "

CONFIG = "--config /etc/restante/restante.toml"
DOVECOT = "--from 'maildir:/srv/mail/{domain}/{user}' --from-format dovecot"
BACK = "'maildir:/srv/back/{domain}/{user}'"


def migrate(moving: House, arguments: str) -> str:
    begun = time.monotonic()
    status, shown = moving.run(f"restante migrate {arguments}")
    print(f"{time.monotonic() - begun:.1f} s: restante migrate {arguments}")
    assert status == 0, shown
    return shown


SQLITE = '[store]\nkind = "sqlite"\n'


@pytest.fixture
def database(authority: certificates.Authority) -> Iterator[PostgresServer]:
    with postgres(authority.certificate.files()[0]) as running:
        yield running


@pytest.fixture(params=["sqlite", "postgres-s3"])
def store(request: pytest.FixtureRequest) -> str:
    """The tables of a configuration for a store that mail moves to."""
    if request.param == "sqlite":
        return SQLITE
    if sys.implementation.name != "cpython":
        pytest.skip("only CPython has the library for PostgreSQL")
    server: PostgresServer = request.getfixturevalue("database")
    objects: Radosgw = request.getfixturevalue("radosgw")
    return f"""
[store]
kind = "postgres"

[store.postgres]
dsn = "{server.dsn}"

[store.bodies]
kind = "s3"

[store.bodies.s3]
bucket = "{objects.make_bucket()}"
endpoint = "{objects.endpoint}"
access_key = "{objects.user.access_key}"
secret_key = "{objects.user.secret_key}"

"""


def test_a_maildir_moves_to_a_store_and_back_and_fetchmail_fetches_nothing_again(
    store: str,
) -> None:
    with house() as moving:
        file = moving.folder / "etc" / "restante" / "restante.toml"
        assert SQLITE in file.read_text()
        file.write_text(file.read_text().replace(SQLITE, store))
        file.chmod(0o600)
        if store != SQLITE:
            status, shown = moving.run(f"restante db upgrade {CONFIG}")
            assert status == 0, shown
        fill(moving, MESSAGES)
        assert moving.fetch()[0] == 0
        assert fetched(moving) == MESSAGES
        before = unique_ids(moving)

        moved_text = f"{MESSAGES} messages moved"
        assert moved_text in migrate(moving, f"{DOVECOT} {CONFIG} joe@example.org")
        migrate(moving, f"{DOVECOT} {CONFIG} joe@example.org --check-bodies")
        moving.stop()
        moving.start("restante")
        assert unique_ids(moving) == before
        assert moving.fetch("--uidl")[0] == 1  # nothing new
        assert fetched(moving) == MESSAGES

        out = f"--from /etc/restante/restante.toml --to {BACK} joe@example.org"
        assert moved_text in migrate(moving, out)
        migrate(moving, f"{DOVECOT} --to {BACK} joe@example.org --check-bodies")
        moving.stop()
        maildrops = f'root = "{moving.folder}/srv/back"\ntemplate = "{{domain}}/{{user}}"\n'
        file.write_text(file.read_text().replace(store, f"[maildrops]\n{maildrops}"))
        moving.start("restante")
        assert unique_ids(moving) == before
        assert moving.fetch("--uidl")[0] == 1
        assert fetched(moving) == MESSAGES


FORMATS = {
    "dovecot:": "dovecot:",
    "pop3": "pop3s://old.example.org --users old-users",
    "imap": "imaps://old.example.org --users old-users --unique-ids '{}'",
}


@pytest.mark.parametrize(
    ("location", "uidl_format"), [("mdbox", "%08Xu%08Xv"), ("sdbox", "UID%u-%v")]
)
def test_dovecot_s_own_formats_move_by_its_tools_and_by_the_network(
    location: str, uidl_format: str
) -> None:
    doveadm = need("doveadm", package="dovecot-core")
    with house(location, uidl_format) as moving:
        srv = moving.folder / "srv" / "mail"
        srv.mkdir(parents=True)
        os.chown(srv, NOBODY, NOBODY)
        for number in range(1, 11):
            save = [doveadm, "-c", "dovecot.conf", "save", "-u", "joe@example.org"]
            subprocess.run(save, input=message(number), cwd=moving.folder, check=True)
        assert moving.fetch()[0] == 0
        assert fetched(moving) == 10
        before = unique_ids(moving)
        for name, source in FORMATS.items():
            place = f"--from {source.format(uidl_format)} --to sqlite:{name[:4]}.sqlite"
            shown = migrate(moving, f"{place} joe@example.org --parallel 2")
            assert "10 messages moved" in shown
        for name, source in FORMATS.items():
            place = f"--from {source.format(uidl_format)} joe@example.org --to sqlite:"
            migrate(moving, f"{place}{name[:4]}.sqlite --check")
            migrate(moving, f"{place}pop3.sqlite --check-bodies")
        migrate(moving, f"--from dovecot: {CONFIG} joe@example.org")
        moving.stop()
        moving.start("restante")
        assert unique_ids(moving) == before
        assert moving.fetch("--uidl")[0] == 1
        assert fetched(moving) == 10


def test_mail_that_dovecot_has_not_seen_waits_for_the_last_run() -> None:
    with house() as moving:
        unique_ids(moving)
        moving.deliver(4)
        shown = migrate(moving, f"{DOVECOT} {CONFIG} joe@example.org")
        assert "3 messages moved" in shown
        assert "1 wait: stop the source's server" in shown
        unique_ids(moving)  # now Dovecot has seen it
        shown = migrate(moving, f"{DOVECOT} {CONFIG} joe@example.org")
        assert "1 message moved" in shown
        moving.stop()
        moving.deliver(5)
        shown = migrate(moving, f"{DOVECOT} {CONFIG} joe@example.org --last")
        assert "1 message moved" in shown
        migrate(moving, f"{DOVECOT} {CONFIG} joe@example.org --check-bodies")


def test_root_calls_dovecot_s_tools_and_works_as_the_owner_of_the_data() -> None:
    with house("mdbox") as moving:
        srv = moving.folder / "srv" / "mail"
        srv.mkdir(parents=True)
        os.chown(srv, NOBODY, NOBODY)
        save = ["doveadm", "-c", "dovecot.conf", "save", "-u", "joe@example.org"]
        subprocess.run(save, input=message(1), cwd=moving.folder, check=True)
        data = moving.folder / "var" / "lib" / "restante"
        os.chown(data, NOBODY, NOBODY)
        python = python_for(NOBODY)
        if python is None:
            pytest.skip("only where other users than root may read Python and the sources")
        # The system's library may be older than the one that we need.
        program = COMMAND[2] if python == sys.executable else OTHER_PYTHON + COMMAND[2]
        moving.program("restante", f'exec {python} -c "{program}" "$@"')
        shown = migrate(moving, f"--from dovecot: {CONFIG} joe@example.org --report report.json")
        assert "1 message moved" in shown
        assert {path.stat().st_uid for path in data.rglob("*")} == {NOBODY}
        assert (moving.folder / "report.json").stat().st_uid == 0
