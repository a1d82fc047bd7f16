"""What every mail client must be able to do: fetch octet for octet, leave on the server,
delete, with TLS and without, by each way to log in that it knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.corpus import NASTY, wire_form
from tests.peers.harness import Peer, Post, Visit, Way, differences
from tests.peers.scripted import JAVA, NODE, NODE_POP3, PERL, RUBY
from tests.peers.tools import Curl, Fetchmail, Getmail, Mpop, Poplib

pytestmark = pytest.mark.peer

PEERS: list[Peer] = [
    Poplib(),
    Curl(),
    Fetchmail(),
    Getmail(),
    Mpop(),
    PERL,
    RUBY,
    NODE,
    NODE_POP3,
    JAVA,
]

WIRE = {name: wire_form(message) for name, message in NASTY.items()}
SMALL = [b"Subject: one\n\n.\n", b"Subject: two\r\n\r\nbody\r\n", b"Subject: three\n\nbody"]
LINE = b".A line that begins with a dot, and is as long as the lines of letters are.\n"

each_peer = pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
each_way = pytest.mark.parametrize(
    ("peer", "way"),
    [pytest.param(peer, way, id=f"{peer.name}-{way}") for peer in PEERS for way in peer.ways],
)


def seen(peer: Peer, message: bytes) -> bytes:
    expected = peer.sees(wire_form(message))
    assert expected is not None
    return expected


@each_way
def test_fetches_the_corpus_octet_for_octet(
    peer: Peer, way: Way, post: Post, tmp_path: Path
) -> None:
    """F1, F2, F3, F5: every message that the client can take arrives as it is."""
    peer.require()
    sent = {name: wire for name, wire in WIRE.items() if peer.sees(wire) is not None}
    assert len(sent) > len(WIRE) / 2
    post.put(NASTY[name] for name in sent)
    assert differences(peer, sent, peer.fetch(Visit(post, tmp_path, way))) == {}
    assert ("STLS" in post.verbs) == (way == "starttls")
    assert post.count() == len(sent)


@each_peer
def test_leaves_on_the_server_and_fetches_only_what_is_new(
    peer: Peer, post: Post, tmp_path: Path
) -> None:
    """U1: unique-ids are the same at each visit."""
    peer.require()
    visit = Visit(post, tmp_path)
    post.put(SMALL[:2])
    assert peer.fetch(visit) == [seen(peer, message) for message in SMALL[:2]]
    assert peer.fetch(visit) == []
    post.put(SMALL[2:])
    assert peer.fetch(visit) == [seen(peer, SMALL[2])]
    assert peer.fetch(visit) == []
    assert post.count() == 3


@each_peer
def test_deletes_on_the_server(peer: Peer, post: Post, tmp_path: Path) -> None:
    """D2: what was marked is gone after QUIT, and for good."""
    peer.require()
    post.put(SMALL)
    visit = Visit(post, tmp_path, peer.ways[-1], keep=False)
    assert peer.fetch(visit) == [seen(peer, message) for message in SMALL]
    assert post.verbs.count("DELE") == 3
    assert post.count() == 0
    assert peer.fetch(visit) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "peer", [peer for peer in PEERS if peer is not NODE_POP3], ids=lambda peer: peer.name
)
def test_fetches_ten_megabytes_and_deletes_them(peer: Peer, post: Post, tmp_path: Path) -> None:
    peer.require()
    lines = [line * (10_000_000 // len(line)) for line in (LINE, LINE[1:])]
    messages = [b"Subject: ten megabytes\n\n" + body for body in lines]
    message = next(each for each in messages if peer.sees(wire_form(each)) is not None)
    post.put([message])
    got = peer.fetch(Visit(post, tmp_path, keep=False))
    assert differences(peer, {"big": wire_form(message)}, got) == {}
    assert post.count() == 0


@pytest.mark.parametrize(
    ("peer", "login", "verb"),
    [
        pytest.param(peer, login, verb, id=f"{peer.name}-{verb.replace(' ', '-')}")
        for peer in PEERS
        for login, verb in peer.logins
    ],
)
def test_logs_in(peer: Peer, login: str, verb: str, post: Post, tmp_path: Path) -> None:
    """A3, A6: each way that is announced works with the client that knows it."""
    peer.require()
    post.put(SMALL[:1])
    assert peer.fetch(Visit(post, tmp_path, login=login)) == [seen(peer, SMALL[0])]
    assert verb in post.verbs
    others = {"USER", "APOP", "AUTH PLAIN", "AUTH LOGIN", "AUTH CRAM-MD5"} - {verb}
    assert others.isdisjoint(post.verbs)
