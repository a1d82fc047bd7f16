"""Replies as values, and the only place that makes wire bytes of them.

Whatever text reaches a reply, from a hook or from a peer, a status line stays one line
of at most 512 octets and a multi-line reply ends where it should.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from restante.protocol.languages import translate
from restante.protocol.limits import MAX_REPLY_LINE
from restante.protocol.stuffing import TERMINATOR, stuffed_lines

Values: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Ok:
    """`+OK text`. Placeholders in the text are filled from `values` after translation."""

    text: str = ""
    values: Values | None = None


@dataclass(frozen=True, slots=True)
class Err:
    """`-ERR [code] text` (RFC 1939 §3, RFC 2449 §8)."""

    text: str
    code: str | None = None
    values: Values | None = None


@dataclass(frozen=True, slots=True)
class MultiLine:
    """`+OK text`, the lines, and the terminator. The lines may hold any text."""

    text: str
    lines: Sequence[str]
    values: Values | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A multi-line reply whose lines are wire bytes already: scan and unique-id listings."""

    text: str
    block: bytes
    values: Values | None = None


@dataclass(slots=True)  # not frozen, which would cost a microsecond a message
class Body:
    """A multi-line reply whose lines are a message, streamed from its store.

    content: what the store gave: an object with `source` and `facts`.
    top_lines, downgrade: see `BodyEncoder`.
    """

    text: str
    content: Any
    top_lines: int | None = None
    downgrade: bool = False
    values: Values | None = None


@dataclass(frozen=True, slots=True)
class Continue:
    """`+ ` and a challenge in base64; the peer's next line is its response (RFC 5034 §4)."""

    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Silent:
    """Nothing is sent: the reply has gone out already."""


Reply: TypeAlias = Ok | Err | MultiLine | Prepared | Body | Continue | Silent

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CODE = re.compile(r"[!-Z^-~]+")  # printable ASCII without space, brackets and backslash


class Wording:
    """How one session wants its replies worded.

    language: tag chosen with LANG; None until then.
    utf8: the client has said UTF8, so text may be more than ASCII (RFC 6856 §2.2).
    """

    __slots__ = ("language", "utf8")

    def __init__(self, language: str | None = None, utf8: bool = False) -> None:
        self.language = language
        self.utf8 = utf8

    def status(self, prefix: str, text: str, values: Values | None) -> bytes:
        """A status line with its CRLF."""
        if self.language is None:
            if not values and not self.utf8:
                return _plain(prefix, text)
        else:
            text = translate(text, self.language)
        if values:
            text = text.format_map(values)
        line = f"{prefix} {text}" if text else prefix
        if line.isascii() and line.isprintable() and len(line) <= MAX_REPLY_LINE - 2:
            return line.encode("ascii") + b"\r\n"
        if _UNSAFE.search(line):
            line = _UNSAFE.sub(" ", line)
        if self.utf8 or self.language is not None:
            return _bounded(line.encode("utf-8"))
        return _bounded(line.encode("ascii", "replace"))

    def encode(self, reply: Reply) -> bytes:
        """The wire bytes of a reply; of a `Body`, its status line only."""
        match reply:
            case Ok() | Body():
                return self.status("+OK", reply.text, reply.values)
            case Err():
                return self.status(_error_prefix(reply.code), reply.text, reply.values)
            case Prepared():
                return b"".join(self.pieces(reply))
            case MultiLine():
                status = self.status("+OK", reply.text, reply.values)
                lines = [_UNSAFE.sub(" ", line).encode("utf-8") for line in reply.lines]
                return status + stuffed_lines(lines) + TERMINATOR
            case Continue():
                return b"+ " + b64encode(reply.data) + b"\r\n"
            case Silent():
                return b""

    def pieces(self, reply: Prepared) -> list[bytes]:
        """The wire bytes of a listing. Its block, which may be long, isn't copied."""
        return [self.status("+OK", reply.text, reply.values), reply.block, TERMINATOR]


@lru_cache(2048)
def _plain(prefix: str, text: str) -> bytes:
    """A status line in ASCII. Most sessions are told what many were told before."""
    line = f"{prefix} {text}" if text else prefix
    return _bounded(_UNSAFE.sub(" ", line).encode("ascii", "replace"))


def _error_prefix(code: str | None) -> str:
    return f"-ERR [{code}]" if code and _CODE.fullmatch(code) else "-ERR"


def _bounded(line: bytes) -> bytes:
    if len(line) > MAX_REPLY_LINE - 2:
        line = line[: MAX_REPLY_LINE - 2].decode("utf-8", "ignore").encode("utf-8")
    return line + b"\r\n"
