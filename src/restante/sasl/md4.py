"""MD4 (RFC 1320): NT hashes need it, and OpenSSL 3 doesn't have it by default.

As a digest it is broken. Here it only reads what Windows and Samba keep.
"""

from __future__ import annotations

import struct

_MASK = 0xFFFFFFFF
_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
_ROUNDS = (
    (0, tuple(range(16)), (3, 7, 11, 19)),
    (0x5A827999, (0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), (3, 5, 9, 13)),
    (0x6ED9EBA1, (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15), (3, 9, 11, 15)),
)
"""Of each round: its constant, the order in which it takes the words, and its shifts."""


def md4(data: bytes) -> bytes:
    """The MD4 digest of `data`, 16 octets."""
    filler = b"\x80" + bytes(-(len(data) + 9) % 64)
    state = _START
    for words in struct.iter_unpack("<16I", data + filler + struct.pack("<Q", len(data) * 8)):
        state = _compress(state, words)
    return struct.pack("<4I", *state)


def nt_hash(password: str) -> bytes:
    """The 16 octets that a credential `{NT}` keeps of `password`, there in hexadecimal digits.

    Never fails: lone surrogates, which stand for octets that aren't UTF-8, are hashed too.
    """
    return md4(password.encode("utf-16-le", "surrogatepass"))


def _compress(
    state: tuple[int, int, int, int], words: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """The state after one more block of 16 words (RFC 1320 §3.4)."""
    a, b, c, d = state
    for constant, order, shifts in _ROUNDS:
        for step, index in enumerate(order):
            total = (a + _mix(constant, b, c, d) + words[index] + constant) & _MASK
            shift = shifts[step % 4]
            a, b, c, d = d, (total << shift | total >> (32 - shift)) & _MASK, b, c
    old_a, old_b, old_c, old_d = state
    return (old_a + a) & _MASK, (old_b + b) & _MASK, (old_c + c) & _MASK, (old_d + d) & _MASK


def _mix(constant: int, x: int, y: int, z: int) -> int:
    """F, G or H, whichever goes with the round's constant: choice, majority, parity."""
    if constant == 0:
        return x & y | ~x & z
    if constant == 0x5A827999:
        return x & y | x & z | y & z
    return x ^ y ^ z
