"""`restante fake` from tests in other languages: Node with node-pop3, Java with JavaMail."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.app.test_fake import Fake, faking
from tests.peers.harness import NAME, PASSWORD, Post, Visit, Way
from tests.peers.scripted import JAVA, NODE_POP3, Scripted

pytestmark = pytest.mark.peer

ONE, TWO = b"Subject: one\r\n\r\nfirst\r\n", b"Subject: two\r\n\r\n" + b"line\r\n" * 200

CLIENTS = [
    pytest.param(peer, way, id=f"{peer.name}-{way}")
    for peer in (NODE_POP3, JAVA)
    for way in peer.ways
]


def visit(fake: Fake, home: Path, way: Way, *, keep: bool = False) -> Visit:
    """What a client is told: the ports and the authority that the ports file names."""
    ports: dict[Way, Any] = {"implicit": fake.ports["pop3s"]}
    post = SimpleNamespace(
        port=lambda way: ports.get(way, fake.ports["pop3"]),
        authority=SimpleNamespace(file=Path(fake.ports["ca_file"])),
    )
    return Visit(cast("Post", post), home, way, keep)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "client"
    folder.mkdir()
    return folder


def fetched_by(peer: Scripted, visit: Visit) -> list[bytes]:
    """Without the last line end, which node-pop3 gives or leaves off by how blocks arrive."""
    return [each.removesuffix(b"\r\n") for each in peer.fetch(visit)]


def told(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each for each in events if each["event"] == kind]


@pytest.mark.parametrize(("peer", "way"), CLIENTS)
def test_a_client_fetches_and_deletes(peer: Scripted, way: Way, tmp_path: Path, home: Path) -> None:
    peer.require()
    with faking(tmp_path, "--account", f"{NAME}:{PASSWORD}", "--ca-file", "ca.pem") as fake:
        for message in (ONE, TWO):
            fake.send(NAME, message)
        assert fetched_by(peer, visit(fake, home, way)) == [ONE.strip(), TWO.strip()]
        events = fake.end()
    ids = [each["unique_id"] for each in told(events, "delivered")]
    assert [each["unique_ids"] for each in told(events, "retrieved")] == [[each] for each in ids]
    assert told(events, "deleted")[0]["unique_ids"] == ids
    assert [each["ended"] for each in told(events, "closed")] == ["QUIT"]
    assert bool(told(events, "secured")) is (way == "starttls")


@pytest.mark.parametrize("peer", [NODE_POP3, JAVA], ids=lambda peer: peer.name)
def test_a_client_that_is_cut_off_has_deleted_nothing(
    peer: Scripted, tmp_path: Path, home: Path
) -> None:
    peer.require()
    fault = ["--fault", "RETR:reset-after=100,nth=2,once"]
    with faking(tmp_path, "--account", f"{NAME}:{PASSWORD}", "--ca-file", "ca.pem", *fault) as fake:
        for message in (ONE, TWO):
            fake.send(NAME, message)
        with pytest.raises(AssertionError, match="exit "):
            peer.fetch(visit(fake, home, "plain"))
        again = home.with_name("again")
        again.mkdir()
        assert fetched_by(peer, visit(fake, again, "plain")) == [ONE.strip(), TWO.strip()]
        events = fake.end()
    assert len(told(events, "fault")) == 1
    assert len(told(events, "deleted")) == 1
