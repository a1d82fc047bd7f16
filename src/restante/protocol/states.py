"""The states of a session (RFC 1939 §3)."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where a session stands."""

    AUTHORIZATION = "AUTHORIZATION"
    TRANSACTION = "TRANSACTION"
    UPDATE = "UPDATE"

    __hash__ = object.__hash__  # quicker than an Enum's own, and looked up for each command


BEFORE_LOGIN = frozenset({State.AUTHORIZATION})
AFTER_LOGIN = frozenset({State.TRANSACTION})
BOTH = BEFORE_LOGIN | AFTER_LOGIN
