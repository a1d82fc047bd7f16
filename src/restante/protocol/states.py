"""The states of a session and which command belongs to which (RFC 1939 §3 to §6)."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where a session stands."""

    AUTHORIZATION = "AUTHORIZATION"
    TRANSACTION = "TRANSACTION"
    UPDATE = "UPDATE"

    __hash__ = object.__hash__  # quicker than an Enum's own, and looked up for each command


_BEFORE = frozenset({State.AUTHORIZATION})
_AFTER = frozenset({State.TRANSACTION})
BOTH = _BEFORE | _AFTER

STATES: dict[str, frozenset[State]] = {
    "USER": _BEFORE,  # RFC 1939 §7
    "PASS": _BEFORE,
    "APOP": _BEFORE,
    "AUTH": _BEFORE,  # RFC 5034 §4
    "STLS": _BEFORE,  # RFC 2595 §4
    "XCLIENT": _BEFORE,  # Dovecot's; for peers that are proxies only
    "CAPA": BOTH,  # RFC 2449 §5
    "LANG": BOTH,  # RFC 6856 §3
    # RFC 6856 §2.1 has it before login only; Outlook says it after PASS and gives up on -ERR.
    "UTF8": BOTH,
    "QUIT": BOTH,  # RFC 1939 §4, §6
    "STAT": _AFTER,  # RFC 1939 §5
    "LIST": _AFTER,
    "RETR": _AFTER,
    "DELE": _AFTER,
    "NOOP": _AFTER,
    "RSET": _AFTER,
    "TOP": _AFTER,  # RFC 1939 §7
    "UIDL": _AFTER,
}

BEFORE_TLS = frozenset({"CAPA", "STLS", "QUIT", "LANG", "UTF8"})
"""What a listener that requires STLS answers before it (RFC 2595 §4)."""
