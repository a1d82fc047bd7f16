"""Replies as values, and the only place that makes wire bytes of them.

Whatever text reaches a reply, from a hook or from a peer, a status line stays one line
of at most 512 octets and a multi-line reply ends where it should.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias, TypeVar

from restante.protocol.languages import translate
from restante.protocol.limits import MAX_REPLY_LINE
from restante.protocol.stuffing import TERMINATOR, stuffed_lines

Values: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Ok:
    """`+OK text`. Placeholders in the text are filled from `values` after translation."""

    text: str = ""
    values: Values | None = None
    wire: bytes | None = field(default=None, init=False, repr=False, compare=False)
    """Its wire bytes in the default wording, if they are made already: see `fixed`."""

    prefix: ClassVar[str] = "+OK"
    ok: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Err:
    """`-ERR [code] text` (RFC 1939 §3, RFC 2449 §8)."""

    text: str
    code: str | None = None
    values: Values | None = None
    wire: bytes | None = field(default=None, init=False, repr=False, compare=False)
    """As in `Ok`."""

    ok: ClassVar[bool] = False

    @property
    def prefix(self) -> str:
        """What the line begins with: a code that can't stand there is left out."""
        return f"-ERR [{self.code}]" if self.code and _CODE.fullmatch(self.code) else "-ERR"


class _Unfixed:
    """A reply whose wire bytes are made for each session."""

    __slots__ = ()
    prefix: ClassVar[str] = "+OK"
    ok: ClassVar[bool] = True
    wire: ClassVar[None] = None


@dataclass(frozen=True, slots=True)
class MultiLine(_Unfixed):
    """`+OK text`, the lines, and the terminator. The lines may hold any text."""

    text: str
    lines: Sequence[str]
    values: Values | None = None


@dataclass(frozen=True, slots=True)
class Prepared(_Unfixed):
    """A multi-line reply whose lines are wire bytes already: scan and unique-id listings."""

    text: str
    block: bytes
    values: Values | None = None


@dataclass(slots=True)  # not frozen, which would cost a microsecond a message
class Body(_Unfixed):
    """A multi-line reply whose lines are a message, streamed from its store.

    content: what the store gave: an object with `source` and `facts`.
    top_lines, downgrade: see `BodyEncoder`.
    status: the status line's wire bytes in the default wording, if they are made already.
    """

    text: str
    content: Any
    top_lines: int | None = None
    downgrade: bool = False
    values: Values | None = None
    status: bytes | None = field(default=None, repr=False, compare=False)


def message_follows(content: Any, octets: int, *, downgrade: bool) -> Body:
    """The reply to RETR. octets: of the message, as it is sent."""
    status = b"+OK %d octets\r\n" % octets
    return Body("{octets} octets", content, None, downgrade, {"octets": octets}, status)


@dataclass(frozen=True, slots=True)
class Continue(_Unfixed):
    """`+ ` and a challenge in base64; the client's next line is its response (RFC 5034 §4)."""

    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Silent(_Unfixed):
    """Nothing is sent: the reply has gone out already."""


Reply: TypeAlias = Ok | Err | MultiLine | Prepared | Body | Continue | Silent
StatusReply: TypeAlias = Ok | Err | MultiLine | Prepared | Body

_MAX_STATUS = MAX_REPLY_LINE - 2

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CODE = re.compile(r"[!-Z^-~]+")  # printable ASCII without space, brackets and backslash


@dataclass(frozen=True, slots=True)
class Wording:
    """How one session wants its replies worded.

    language: tag chosen with LANG; None until then.
    utf8: the client has said UTF8, so text may be more than ASCII (RFC 6856 §2.2).
    """

    language: str | None = None
    utf8: bool = False

    def encode(self, reply: Reply) -> bytes:
        """The wire bytes of a reply; of a `Body`, its status line only.

        Raises TypeError for what is no text, and KeyError for a placeholder without value.
        """
        wire = reply.wire
        if wire is not None and self is DEFAULT_WORDING:
            return wire
        if isinstance(reply, Ok):
            return self.status(reply)
        match reply:
            case Err() | Body():
                return self.status(reply)
            case MultiLine():
                return self.status(reply) + _lines(reply.lines) + TERMINATOR
            case Prepared():
                return b"".join(self.pieces(reply))
            case Continue():
                return b"+ " + b64encode(reply.data) + b"\r\n"
            case Silent():
                return b""

    def pieces(self, reply: Prepared) -> list[bytes]:
        """The wire bytes of a listing. Its block, which may be long, isn't copied."""
        return [self.status(reply), reply.block, TERMINATOR]

    def status(self, reply: StatusReply) -> bytes:
        """A reply's status line with its CRLF."""
        if type(reply) is Body and reply.status is not None and self is DEFAULT_WORDING:
            return reply.status
        text, values = reply.text, reply.values
        if self.language is not None:
            text = translate(text, self.language)
        if values:
            text = text.format_map(values)
        line = reply.prefix if text == "" else reply.prefix + " " + text
        if line.isascii() and line.isprintable() and len(line) <= _MAX_STATUS:
            return line.encode("ascii") + b"\r\n"
        line = _UNSAFE.sub(" ", line)
        if self.utf8 or self.language is not None:
            return _bounded(line.encode("utf-8"))
        return _bounded(line.encode("ascii", "replace"))


DEFAULT_WORDING = Wording()
"""What is spoken before LANG and UTF8: English in ASCII."""

_Fixed = TypeVar("_Fixed", Ok, Err)


def fixed(reply: _Fixed) -> _Fixed:
    """A reply that many sessions are given: its wire bytes are made once."""
    object.__setattr__(reply, "wire", DEFAULT_WORDING.status(reply))
    return reply


def _bounded(line: bytes) -> bytes:
    if len(line) > _MAX_STATUS:
        line = line[:_MAX_STATUS].decode("utf-8", "ignore").encode("utf-8")
    return line + b"\r\n"


def _lines(lines: Sequence[str]) -> bytes:
    if isinstance(lines, str | bytes):
        raise TypeError("the lines of a MultiLine are a list of texts, not one text")
    for line in lines:
        if not isinstance(line, str):
            raise TypeError(f"a line of a MultiLine is text, not {type(line).__name__}")
    return stuffed_lines([_UNSAFE.sub(" ", line).encode("utf-8") for line in lines])
