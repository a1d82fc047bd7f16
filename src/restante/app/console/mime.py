"""The parts of a message, found in time that grows with its size and nothing else.

Mail is made by strangers, so depth and number of parts are bounded, and what is broken is shown as
text. Nothing here is meant to be complete: a message's file has everything.
"""

from __future__ import annotations

import base64
import binascii
import quopri
import re
from dataclasses import dataclass
from urllib.parse import unquote

from restante.app.console.maildrops import HEADER, decoded, header_fields

MAX_DEPTH = 8
MAX_PARTS = 500
MAX_TEXT = 256 * 1024
"""Octets of a part that are shown as text."""

_PARAMETER = re.compile(r';\s*([A-Za-z0-9*_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;]+))')


@dataclass(frozen=True, slots=True)
class Part:
    """A part that has no parts. number: counted from 1. name: of the file; "" if it has none."""

    number: int
    kind: str
    charset: str
    name: str
    encoding: str
    body: bytes

    @property
    def is_text(self) -> bool:
        """Whether it is to be read, not kept as a file."""
        return self.kind in ("text/plain", "text/html") and not self.name

    def octets(self, most: int | None = None) -> bytes:
        """Its content, decoded; most: of the encoded content."""
        body = self.body if most is None else self.body[:most]
        if self.encoding == "base64":
            kept = re.sub(rb"[^A-Za-z0-9+/]", b"", body)
            kept = kept[: len(kept) - (len(kept) % 4 == 1)]
            try:
                return base64.b64decode(kept + b"=" * (-len(kept) % 4))
            except binascii.Error:
                return body
        return quopri.decodestring(body) if self.encoding == "quoted-printable" else body

    def text(self) -> str:
        """Its beginning as text; what isn't in its character set is replaced."""
        data = self.octets(MAX_TEXT)
        try:
            return data.decode(self.charset, "replace")
        except (LookupError, ValueError):
            return data.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Parsed:
    """fields: of the header. cut: there were more parts than are shown."""

    fields: list[tuple[str, str]]
    parts: list[Part]
    cut: bool

    def first(self, kind: str) -> Part | None:
        """The first part of a kind that is to be read."""
        return next((part for part in self.parts if part.is_text and part.kind == kind), None)


def parse(data: bytes) -> Parsed:
    """A message's header and parts."""
    found: list[Part] = []
    cut = _collect(data, (0, len(data)), 0, found, "text/plain")
    shown = [(name, decoded(value)) for name, value in header_fields(data[:HEADER], 200)]
    return Parsed(shown, found, cut)


def _collect(
    data: bytes, where: tuple[int, int], depth: int, found: list[Part], otherwise: str
) -> bool:
    """Add the parts of an entity between two places. True if some are left out."""
    begin, end = where
    if len(found) >= MAX_PARTS:
        return True
    body = _body(data, begin, end)
    header: dict[str, str] = {}
    for name, value in header_fields(data[begin : min(body, begin + HEADER)]):
        header.setdefault(name.lower(), value)
    kind, parameters = _typed(header.get("content-type", ""))
    kind = kind or otherwise
    boundary = parameters.get("boundary", "")
    if kind.startswith("multipart/") and boundary and depth < MAX_DEPTH:
        below = "message/rfc822" if kind == "multipart/digest" else "text/plain"
        inner = _between(data, body, end, boundary)
        cut = [_collect(data, each, depth + 1, found, below) for each in inner]
        return any(cut)
    _, disposition = _typed(header.get("content-disposition", ""))
    name = disposition.get("filename") or parameters.get("name", "")
    if not name and header.get("content-disposition", "").lower().startswith("attachment"):
        name = f"part {len(found) + 1}"
    found.append(
        Part(
            len(found) + 1,
            kind,
            parameters.get("charset", "utf-8") or "utf-8",
            decoded(name)[:200],
            header.get("content-transfer-encoding", "").lower(),
            data[body:end],
        )
    )
    return False


def _body(data: bytes, begin: int, end: int) -> int:
    """Where the body begins."""
    if data[begin : begin + 1] == b"\n":
        return begin + 1
    if data[begin : begin + 2] == b"\r\n":
        return begin + 2
    places = [
        place + len(mark)
        for mark in (b"\n\n", b"\n\r\n")
        if (place := data.find(mark, begin, end)) >= 0
    ]
    return min(places, default=end)


def _between(data: bytes, begin: int, end: int, boundary: str) -> list[tuple[int, int]]:
    """Where the parts of a multipart begin and end."""
    mark = re.escape(b"--" + boundary.encode("utf-8", "replace"))
    line = re.compile(rb"^" + mark + rb"(--)?[ \t]*\r?(?:\n|\Z)", re.MULTILINE)
    places: list[tuple[int, int]] = []
    start: int | None = None
    for match in line.finditer(data, begin, end):
        if start is not None:
            stop = match.start() - 1
            stop -= data[stop - 1 : stop] == b"\r"
            places.append((start, max(start, stop)))
        start = match.end()
        if match[1] or len(places) > MAX_PARTS:
            return places
    return places if start is None else [*places, (start, end)]


def _typed(text: str) -> tuple[str, dict[str, str]]:
    """The value of a field such as Content-Type, and its parameters (RFC 2045, RFC 2231)."""
    value, _, rest = text[:4000].partition(";")
    parameters: dict[str, str] = {}
    for match in _PARAMETER.finditer(";" + rest):
        name, given = match[1].lower(), match[2] if match[2] is not None else match[3]
        if name.endswith("*"):
            given = unquote(given.rpartition("'")[2], errors="replace")
        parameters.setdefault(name.partition("*")[0], re.sub(r"\\(.)", r"\1", given))
    return value.strip().lower(), parameters
