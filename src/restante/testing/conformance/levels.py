"""How much a check weighs, and what it may need."""

from __future__ import annotations

from enum import Enum


class Level(Enum):
    """How much a failed check weighs, the heaviest first."""

    MUST = "must"
    SHOULD = "should"
    BREAKS = "breaks"  # no RFC says it in so many words, but clients are known to fail by it


MUST, SHOULD, BREAKS = Level

# What a check may need. "capa:NAME" is one more kind: the server has that capability.
LOGIN = "login"  # name and password
MAIL = "mail"  # a maildrop with a message in it
WRITE = "write"  # an account that may be emptied, and a way to put mail into it
RAW = "raw"  # the same, by a way that leaves a message's octets as they are
STLS = "stls"  # a port that begins in the clear, and a server that announces STLS
TLS = "tls"  # some way to speak TLS
SLOW = "slow"  # minutes
NEEDS = (LOGIN, MAIL, WRITE, RAW, STLS, TLS, SLOW)
