"""HMAC-MD5 from stored states, which a `{CRAM-MD5}` credential holds instead of the secret.

HMAC (RFC 2104) begins by feeding MD5 one block made of the key, outside and inside. The two
states after that block are enough to answer CRAM-MD5 (RFC 2195 §2 recommends keeping them),
and are kept as Dovecot does: outer, then inner, each as four little-endian words.
`hashlib` can't begin at a state, so the compression is here.
"""

from __future__ import annotations

import struct
from functools import partial
from hashlib import md5
from math import floor, sin
from typing import TypeAlias

STATES_SIZE = 32
"""Octets of the two states."""

_State: TypeAlias = tuple[int, int, int, int]

_BLOCK = 64
_MASK = 0xFFFFFFFF
_START: _State = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
_MD5 = partial(md5, usedforsecurity=False)  # where policy bans MD5, CRAM-MD5 was still asked for


def _table() -> tuple[tuple[int, int, int], ...]:
    """Word, shift and constant of each of the 64 steps (RFC 1321 §3.4)."""
    shifts = ((7, 12, 17, 22), (5, 9, 14, 20), (4, 11, 16, 23), (6, 10, 15, 21))
    words = ((1, 0), (5, 1), (3, 5), (7, 0))
    steps = []
    for step in range(64):
        factor, offset = words[step // 16]
        constant = floor(abs(sin(step + 1)) * 2**32)
        steps.append(((factor * step + offset) % 16, shifts[step // 16][step % 4], constant))
    return tuple(steps)


_STEPS = _table()


def hmac_states(key: bytes) -> bytes:
    """The outer and the inner state for `key`."""
    if len(key) > _BLOCK:
        key = _MD5(key).digest()
    key = key.ljust(_BLOCK, b"\0")
    return b"".join(
        struct.pack("<4I", *_compress(_START, bytes(octet ^ pad for octet in key)))
        for pad in (0x5C, 0x36)
    )


def hmac_from_states(states: bytes, message: bytes) -> bytes:
    """HMAC-MD5 of `message` with the key that `states` were made of.

    Raises ValueError unless they are of `STATES_SIZE`.
    """
    if len(states) != STATES_SIZE:
        raise ValueError("not the two states of HMAC-MD5")
    outer, inner = states[:16], states[16:]
    return _finish(outer, _finish(inner, message))


def _finish(begun: bytes, message: bytes) -> bytes:
    """The digest of `message`, when one block before it has led to the state `begun`."""
    a, b, c, d = struct.unpack("<4I", begun)
    state: _State = a, b, c, d
    bits = (_BLOCK + len(message)) * 8 % 2**64
    padded = message + b"\x80" + bytes(-(len(message) + 9) % _BLOCK) + struct.pack("<Q", bits)
    for at in range(0, len(padded), _BLOCK):
        state = _compress(state, padded[at : at + _BLOCK])
    return struct.pack("<4I", *state)


def _compress(state: _State, block: bytes) -> _State:
    """One block of 64 octets (RFC 1321 §3.4)."""
    words = struct.unpack("<16I", block)
    a, b, c, d = state
    for step, (word, shift, constant) in enumerate(_STEPS):
        if step < 16:
            mixed = b & c | ~b & d
        elif step < 32:
            mixed = b & d | c & ~d
        elif step < 48:
            mixed = b ^ c ^ d
        else:
            mixed = c ^ (b | ~d & _MASK)
        total = (a + mixed + words[word] + constant) & _MASK
        turned = total << shift | total >> (32 - shift)
        a, b, c, d = d, (b + turned) & _MASK, b, c
    before_a, before_b, before_c, before_d = state
    return (
        (before_a + a) & _MASK,
        (before_b + b) & _MASK,
        (before_c + c) & _MASK,
        (before_d + d) & _MASK,
    )
