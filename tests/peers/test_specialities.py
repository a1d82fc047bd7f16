"""What one mail client does and the others don't."""

from __future__ import annotations

import poplib
import ssl
from pathlib import Path

import pytest
import trustme

from restante import Certificate
from restante.accounts.schemes import hash_password
from tests.answers import done
from tests.conftest import Authority
from tests.corpus import NASTY, wire_form
from tests.peers.harness import NAME, PASSWORD, Peer, Post, Visit
from tests.peers.scripted import JAVA, NODE, NODE_POP3, PERL, RUBY
from tests.peers.tools import Curl, Fetchmail, Getmail, Mpop, Poplib

pytestmark = pytest.mark.peer

ONE = b"Subject: one\n\n.\n"


@pytest.mark.parametrize(
    "peer",
    [Poplib(), Curl(), Fetchmail(), Getmail(), Mpop(), PERL, RUBY, NODE, NODE_POP3, JAVA],
    ids=lambda peer: peer.name,
)
def test_a_client_that_knows_another_authority_does_not_talk_to_us(
    peer: Peer, post: Post, tmp_path: Path
) -> None:
    """So the tests with TLS show that the certificate was looked at."""
    peer.require()
    post.put([ONE])
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    post.authority = Authority(stranger, Certificate(stranger))
    got: list[bytes] = []
    with pytest.raises((AssertionError, ssl.SSLCertVerificationError)):
        got = peer.fetch(Visit(post, tmp_path, "implicit"))
    assert got == []
    assert post.verbs == []


def test_poplib_refuses_lines_over_2048_octets_unless_its_limit_is_raised(post: Post) -> None:
    """F10: the content is not folded for its sake, and the message stays."""
    post.put([NASTY["long-line"], ONE])
    pop = poplib.POP3("127.0.0.1", post.port("plain"), timeout=30)
    pop.user(NAME)
    pop.pass_(PASSWORD)
    with pytest.raises(poplib.error_proto, match="line too long"):
        pop.retr(1)
    pop.close()
    post.wait_for_release()
    pop = poplib.POP3("127.0.0.1", post.port("plain"), timeout=30)
    pop.apop(NAME, PASSWORD)
    assert pop.stat() == (2, len(wire_form(NASTY["long-line"])) + len(wire_form(ONE)))
    assert pop.retr(2)[1] == [b"Subject: one", b"", b"."]
    pop.quit()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("at_once", [True, False])
def test_curl_gives_an_initial_response_or_waits_to_be_asked(
    mechanism: str, at_once: bool, post: Post, tmp_path: Path
) -> None:
    """A4, A5, A11."""
    curl = Curl()
    curl.require()
    post.put([ONE])
    visit = Visit(post, tmp_path, login=f"AUTH={mechanism}")
    extra = ["--sasl-ir"] if at_once else []
    assert curl.talk(visit, [f'url = "{curl.url(visit)}1"'], *extra).encode() == wire_form(ONE)
    turns = [f"AUTH {mechanism}", *["****"] * (1 if mechanism == "PLAIN" else 2)]
    if at_once:
        turns[:2] = [f"AUTH {mechanism} ****"]
    assert post.lines == ["CAPA", *turns, "RETR 1", "QUIT"]


def test_curl_logs_in_by_user_and_pass_where_only_a_hash_is_known(
    authority: Authority, tmp_path: Path
) -> None:
    """A3: without secrets there is no timestamp in the greeting, so no try at APOP."""
    curl = Curl()
    curl.require()
    credential = hash_password(PASSWORD, "SCRYPT")
    with Post(tmp_path, authority, credential=credential, use_auth="pop") as post:
        post.put([ONE])
        assert curl.fetch(Visit(post, tmp_path)) == [wire_form(ONE)]
        assert post.lines[:3] == ["CAPA", f"USER {NAME}", "PASS ****"]


def test_fetchmail_fetches_all_again_when_told_to(post: Post, tmp_path: Path) -> None:
    fetchmail = Fetchmail()
    fetchmail.require()
    post.put([ONE])
    visit = Visit(post, tmp_path)
    assert fetchmail.fetch(visit) == [wire_form(ONE)]
    assert fetchmail.fetch(visit) == []
    assert fetchmail.fetch(visit, "--fetchall") == [wire_form(ONE)]


def test_fetchmail_understands_that_a_maildrop_is_in_use(post: Post, tmp_path: Path) -> None:
    """L1: its exit status 9 is for a maildrop that another session holds, to be tried later."""
    fetchmail = Fetchmail()
    fetchmail.require()
    maildrop = done(post.store.open(post.account))
    try:
        with pytest.raises(AssertionError, match="exit 9"):
            fetchmail.fetch(Visit(post, tmp_path))
    finally:
        done(maildrop.close())
    assert fetchmail.fetch(Visit(post, tmp_path)) == []


@pytest.mark.parametrize("pipelining", ["auto", "on", "off"])
def test_mpop_pipelines_into_a_maildir(pipelining: str, post: Post, tmp_path: Path) -> None:
    """F11: replies come in order, whatever was sent ahead."""
    mpop = Mpop()
    mpop.require()
    sent = {name: wire_form(message) for name, message in NASTY.items()}
    sent = {name: wire for name, wire in sent.items() if mpop.sees(wire) is not None}
    post.put(NASTY[name] for name in sent)
    folder = tmp_path / "maildir"
    for part in ("new", "cur", "tmp"):
        (folder / part).mkdir(parents=True)
    visit = Visit(post, tmp_path, keep=False)
    mpop.talk(visit, f"delivery maildir {folder}", f"pipelining {pipelining}")
    got = [path.read_bytes() for path in (folder / "new").iterdir()]
    assert sorted(got) == sorted(wire.replace(b"\r\n", b"\n") for wire in sent.values())
    assert post.count() == 0
    assert post.verbs.count("DELE") == len(sent)
    ahead = "".join("R" if verb == "RETR" else "." for verb in post.verbs)
    assert "RR" in ahead


@pytest.mark.parametrize("messages", [0, 3])
def test_net_pop3_takes_the_number_in_the_reply_to_pass_for_the_count(
    messages: int, post: Post, tmp_path: Path
) -> None:
    PERL.require()
    post.put([ONE] * messages)
    (tmp_path / "out").mkdir()
    octets = messages * len(wire_form(ONE))
    said = PERL.talk(Visit(post, tmp_path))
    assert said == f"count {messages}\npopstat {messages} {octets}\n"
    assert post.lines[:2] == [f"USER {NAME}", "PASS ****"]


def test_ruby_counts_messages_and_octets(post: Post, tmp_path: Path) -> None:
    RUBY.require()
    post.put([ONE, NASTY["dots-lf"]])
    (tmp_path / "out").mkdir()
    octets = len(wire_form(ONE)) + len(wire_form(NASTY["dots-lf"]))
    assert RUBY.talk(Visit(post, tmp_path)) == f"popstat 2 {octets}\n"
