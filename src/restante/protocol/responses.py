"""Responses inside a SASL exchange, off the wire (RFC 5034 §4)."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error


def decode_response(line: bytes) -> bytes:
    """A line of base64, decoded strictly. Raises ValueError, whose text the peer may read."""
    try:
        return b64decode(line, validate=True)
    except Error:
        raise ValueError("malformed response: not base64") from None
