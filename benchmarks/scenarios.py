"""What is measured: kinds of sessions, and the maildrops that they need."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.corpus import Group

BOX = Group("box", 8, (2500,) * 50)
SMALL = Group("small", 8, (2000,) * 10)
MIX = Group("mix", 4, (4_000,) * 5 + (30_000,) * 4 + (100_000,) * 2 + (460_000,))
WIRE = Group("wire", 2, (20_000_000,), dots=False)
BARE = Group("bare", 2, (20_000_000,), crlf=False, dots=False)
CANNED = (BOX, SMALL, MIX, WIRE, BARE)
"""The groups that stay as they are: replies can be prepared of them."""

IDLE_SIZES = (2000,)
DRAIN_SIZES = (2000,) * 10


@dataclass(frozen=True)
class Scenario:
    """One kind of session.

    group: the maildrops; None for fresh ones, filled again before each round.
    sessions: in a round; quick_sessions: in quick mode. channel: clear, tls, or resumed TLS.
    hashed: passwords are kept as SHA512-CRYPT.
    """

    name: str
    about: str
    script: str
    group: Group | None
    sessions: int
    quick_sessions: int
    concurrency: int = 8
    channel: str = "clear"
    hashed: bool = False


SCENARIOS = (
    Scenario("poll", "poll (USER PASS STAT QUIT)", "poll", BOX, 2000, 200),
    Scenario("sync", "sync (+UIDL LIST, 50 messages)", "sync", BOX, 1500, 150),
    Scenario("fetch-small", "fetch 10 small messages", "fetch", SMALL, 1000, 100),
    Scenario("pipelined", "10 small messages, pipelined", "pipelined", SMALL, 1000, 100),
    Scenario("fetch-mix", "fetch a mix (about 0.8 MB)", "fetch", MIX, 400, 30, 4),
    Scenario("fetch-large", "fetch large (20 MB), in wire form", "fetch", WIRE, 30, 10, 2),
    Scenario("fetch-bare", "fetch large (20 MB), not in wire form", "fetch", BARE, 30, 10, 2),
    Scenario("tls-poll", "TLS poll, full handshake", "poll", BOX, 800, 60, 4, "tls"),
    Scenario("tls-resumed", "TLS poll, resumed", "poll", BOX, 800, 60, 4, "resumed"),
    Scenario("tls-large", "TLS fetch large (20 MB)", "fetch", WIRE, 20, 4, 2, "tls"),
    Scenario("drain", "drain (delete 10)", "drain", None, 300, 80),
    Scenario("poll-hashed", "poll, SHA512-CRYPT", "poll", BOX, 1500, 150, hashed=True),
)
