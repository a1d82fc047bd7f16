"""Headers in ASCII, for clients that have not said UTF8 (RFC 6856 §2.1).

Such a client must not be sent an internationalized message. It gets the message with its
header in ASCII, much as RFC 6858 has it. Nothing is dropped, the body stays as it is, and a
field that was ASCII stays octet for octet what it was. Of the other fields:

* text becomes encoded-words (RFC 2047), and so does every field not named below;
* in address fields, display names and comments become encoded-words. A mailbox whose
  address itself is not ASCII becomes, as in RFC 6857, a group without members, whose
  name is the whole mailbox: `=?utf-8?B?…?= :;`. So does a group that has such a mailbox;
* parameters of MIME fields become extended ones (RFC 2231): `filename*=utf-8''…`;
* in a field's name, and in a line that is no field, each octet that is not ASCII becomes
  `=` and two hex digits.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias
from urllib.parse import quote_from_bytes

LINE = 76
"""Characters of a line that holds encoded-words (RFC 2047 §2), where folding can reach it."""

_ADDRESS_FIELDS = {
    *("from", "sender", "reply-to", "to", "cc", "bcc", "apparently-to", "errors-to"),
    *("resent-from", "resent-sender", "resent-reply-to", "resent-to", "resent-cc", "resent-bcc"),
    *("mail-followup-to", "mail-reply-to", "disposition-notification-to", "return-receipt-to"),
}
_TRACE_ADDRESS_FIELDS = {"return-path", "delivered-to", "x-original-to", "envelope-to"}
_PARAMETER_FIELDS = {"content-type", "content-disposition"}

_FIELD = re.compile(rb"[^\n]*\n?(?:[ \t][^\n]*\n?)*")
_BY_SMTPUTF8 = re.compile(rb"\swith\s+UTF8[SL]MTPS?A?\b", re.IGNORECASE)  # RFC 6531 §4.3
_FOLD = re.compile(r"\r?\n(?=[ \t])")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

# In text an encoded-word may hold any visible character, in a phrase only these (§5).
_WORD_IN_TEXT = re.compile(r"=\?[!-<>@-~]+\?[bBqQ]\?[!->@-~]*\?=")
_WORD_IN_PHRASE = re.compile(r"=\?[A-Za-z0-9*_-]+\?[bBqQ]\?[A-Za-z0-9!*+/=_-]*\?=")

# Strings and tokens can't fail once they have begun, so there is no going back to be forbidden.
# That is as well: PyPy 7.3.19 misreads possessive quantifiers within one another.
_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*'
_SPACE_THEN_WORD = re.compile(rf'([ \t]*)((?:{_STRING}"?|[^ \t"]+)*)', re.DOTALL)
_TOKEN = re.compile(
    rf'{_STRING}"?'
    rf'|<[^">]*(?:{_STRING}"[^">]*)*>?'
    r"|\[[^\]]*\]?"
    r"|[,;:]"
    r'|[^",;:<\[(]+',
    re.DOTALL,
)
_PARAMETER = re.compile(
    r"""[ \t]*([!#$&+\-.0-9A-Z^_`a-z{|}~]+)(\*[0-9]+)?(\*)?[ \t]*=[ \t]*(.*)""", re.DOTALL
)
_QUOTED = re.compile(rf'{_STRING}"?', re.DOTALL)
_PERCENT_CHARACTER = re.compile("[^%]|%[0-7].|%[C-F].(?:%[89AB].)+")
_ATTRIBUTE_SAFE = "!#$&+^`{|}"  # beside letters, digits and "_.-~" (RFC 2231 §7)

Piece: TypeAlias = tuple[Literal["as is", "text", "phrase"], str]
Tokens: TypeAlias = list[str]


def downgrade_header(header: bytes) -> bytes:
    """`header` (fields and blank line, any line ends) with non-ASCII fields made ASCII.

    A header that is not valid UTF-8 is returned as it is. It is old 8-bit mail, and to guess
    its charset would damage it.
    """
    if header.isascii() or not is_utf8(header):
        return header
    fields = _FIELD.findall(header)
    return b"".join([field if field.isascii() else _downgrade_field(field) for field in fields])


def is_utf8(text: bytes | bytearray) -> bool:
    """Whether `text` is valid UTF-8."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def is_internationalized(header: bytes) -> bool:
    """Whether a header with UTF-8 in it is that of an internationalized message (RFC 6532).

    There is UTF-8 in a field that holds addresses, or SMTPUTF8 has brought the message, which
    its trace information says. UTF-8 in other fields alone is left by careless software.
    """
    for field in _FIELD.findall(header):
        name, _, value = field.partition(b":")
        name = name.rstrip(b" \t").lower().decode("ascii", "replace")
        if not value.isascii() and name in _ADDRESS_FIELDS | _TRACE_ADDRESS_FIELDS:
            return True
        if name == "received" and _BY_SMTPUTF8.search(value):
            return True
    return False


def downgrade_growth(header: bytes) -> int:
    """By how many octets of the wire form downgrading changes `header`'s size."""
    return _wire_size(downgrade_header(header)) - _wire_size(header)


def _wire_size(text: bytes) -> int:
    return len(text) + text.count(b"\n") - text.count(b"\r\n")


def _downgrade_field(field: bytes) -> bytes:
    first_end = field.find(b"\n")
    fold = "\n" if first_end > 0 and field[first_end - 1] != 0x0D else "\r\n"
    content = field.removesuffix(b"\n")
    if len(content) < len(field) and content.endswith(b"\r"):
        content = content[:-1]
    end = field[len(content) :]
    name, _, value = content.partition(b":")
    if value.isascii():
        return _hexed(content) + end
    name = _hexed(name)
    writer = _Writer(name.decode("ascii") + ":", fold)
    for kind, text in _pieces(name.decode("ascii"), _FOLD.sub("", value.decode("utf-8"))):
        if kind == "as is":
            writer.put(text)
        else:
            writer.encode(text, phrase=kind == "phrase")
    return writer.finish() + end


def _hexed(text: bytes) -> bytes:
    return re.sub(rb"[\x80-\xff]", lambda found: b"=%02X" % found[0][0], text)


def _pieces(name: str, value: str) -> Iterator[Piece]:
    """What a field's value is made of, in order."""
    name, body = name.strip().lower(), value.strip(" \t")
    yield "as is", _leading(value) or " "
    if _CONTROL.search(body):  # damaged: no structure that could be trusted
        yield "text", body
    elif name in _ADDRESS_FIELDS:
        yield from _addresses(body)
    elif name in _PARAMETER_FIELDS:
        yield from _parameters(body)
    else:
        yield "text", body


class _Writer:
    """Puts a field together, folding at white space so that lines stay short."""

    def __init__(self, start: str, fold: str) -> None:
        self._parts = [start]
        self._column = len(start)
        self._fold = fold
        self._space = ""  # white space that goes before the next word

    def finish(self) -> bytes:
        return "".join(self._parts).encode("ascii")

    def put(self, text: str) -> None:
        """Add ASCII text. Never folds inside a quoted string."""
        for space, word in _SPACE_THEN_WORD.findall(text):
            self._space += space
            if word:
                self._word(word)

    def _put_words(self, parts: Iterable[str]) -> None:
        for part in parts:
            self.put(part)

    def _word(self, word: str) -> None:
        if self._space and self._column + len(self._space) + len(word) > LINE:
            self._parts.append(self._fold)
            self._column = 0
        self._parts += self._space, word
        self._column += len(self._space) + len(word)
        self._space = ""

    def encode(self, text: str, *, phrase: bool) -> None:
        """Add `text` with encoded-words where it needs them, everywhere in a phrase.

        Encoded-words that it has already stay. The white space between two is not shown
        (RFC 2047 §6.2), so what is next to one takes its white space into its own word.
        """
        kept = _WORD_IN_PHRASE if phrase else _WORD_IN_TEXT
        parts = re.split(r"([ \t]+)", text)
        after_kept, start = False, 0
        for at in range(0, len(parts) + 2, 2):
            at_end = at >= len(parts)
            if at_end or kept.fullmatch(parts[at]):
                self._stretch(parts[start:at], phrase, after_kept, not at_end)
                if not at_end:
                    self.put(parts[at])
                after_kept, start = True, at + 1

    def _stretch(self, parts: list[str], phrase: bool, after_kept: bool, before_kept: bool) -> None:
        """Add words and the white space between them, none of them an encoded-word."""
        needy = [at for at, part in enumerate(parts) if _needs_encoding(part, phrase)]
        if not needy:
            self._put_words(parts)
            return
        first, last = needy[0], needy[-1]
        # Only white space can lie between this and an encoded-word next to it.
        if after_kept and first == 1:
            first = 0
            self._space = " "
        if before_kept and last == len(parts) - 2:
            last += 1
        self._put_words(parts[:first])
        self._encoded("".join(parts[first : last + 1]))
        self._put_words(parts[last + 1 :])
        if before_kept and last == len(parts) - 1:
            self._space = " "

    def _encoded(self, text: str) -> None:
        data = text.encode("utf-8")
        at = 0
        while at < len(data):
            if at or self._parts[-1][-1] != "(":
                self._space = self._space or " "
            size = self._octets_that_fit()
            if size < min(9, len(data) - at):
                self._space = self._space or " "
                size = 45  # 72 characters: a line of its own
            end = min(at + size, len(data))
            while end < len(data) and data[end] & 0xC0 == 0x80:  # not inside a character
                end -= 1
            self._word(f"=?utf-8?B?{b64encode(data[at:end]).decode('ascii')}?=")
            at = end

    def _octets_that_fit(self) -> int:
        room = LINE - self._column - len(self._space) - len("=?utf-8?B??=")
        return max(0, min(45, room // 4 * 3))


def _needs_encoding(part: str, phrase: bool) -> bool:
    if phrase:
        return bool(part.strip(" \t"))
    return not part.isascii() or _CONTROL.search(part) is not None


def _tokens(text: str) -> Iterator[str]:
    """`text` cut into quoted strings, comments, `<…>`, `[…]`, the delimiters , ; : and the rest."""
    at = 0
    while at < len(text):
        if text[at] == "(":
            end = _comment_end(text, at)
        else:
            found = _TOKEN.match(text, at)
            assert found is not None
            end = found.end()
        yield text[at:end]
        at = end


def _comment_end(text: str, start: int) -> int:
    depth = 0
    for found in re.compile(r"\\.|[()]", re.DOTALL).finditer(text, start):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if depth == 0 and found[0] == ")":
            return found.end()
    return len(text)


def _split(tokens: Iterable[str], delimiters: str) -> Iterator[tuple[Tokens, str]]:
    """Stretches of tokens, each with the delimiter that ends it; "" for the last."""
    stretch: Tokens = []
    for token in tokens:
        if token in delimiters:
            yield stretch, token
            stretch = []
        else:
            stretch.append(token)
    yield stretch, ""


def _addresses(value: str) -> Iterator[Piece]:
    """An address-list (RFC 5322 §3.4)."""
    for tokens, delimiter in _split_outside_groups(_tokens(value)):
        pieces = _group(tokens) if ":" in tokens else _mailbox(tokens)
        yield from pieces if pieces is not None else _as_empty_group(tokens)
        yield "as is", delimiter


def _split_outside_groups(tokens: Iterable[str]) -> Iterator[tuple[Tokens, str]]:
    element: Tokens = []
    in_group = False
    for item in tokens:
        in_group = item == ":" or (in_group and item != ";")
        if item == "," and not in_group:
            yield element, item
            element = []
        else:
            element.append(item)
    yield element, ""


def _group(tokens: Tokens) -> list[Piece] | None:
    """`name: mailbox, mailbox;`, or None when ASCII can't say one of the mailboxes."""
    colon = tokens.index(":")
    pieces = [*_phrase(tokens[:colon]), ("as is", ":")]
    for member, delimiter in _split(tokens[colon + 1 :], ",;:"):
        said = _mailbox(member)
        if said is None:
            return None
        pieces += [*said, ("as is", delimiter)]
    return pieces


def _mailbox(tokens: Tokens) -> list[Piece] | None:
    """`name <address>` or `address`, or None when the address is not ASCII."""
    angle = next((at for at, token in enumerate(tokens) if token.startswith("<")), 0)
    name, address = tokens[:angle], tokens[angle:]
    if not all(token.isascii() or token.startswith("(") for token in address):
        return None
    return [*_phrase(name), *_with_comments(address)]


def _phrase(tokens: Tokens) -> list[Piece]:
    whole = "".join(tokens)
    if whole.isascii():
        return [("as is", whole)]
    text = "".join(_unquoted(token) if token.startswith('"') else token for token in tokens)
    return [("as is", _leading(whole)), ("phrase", text.strip(" \t")), ("as is", " ")]


def _leading(text: str) -> str:
    """The white space at the beginning of `text`."""
    return text[: len(text) - len(text.lstrip(" \t"))]


def _with_comments(tokens: Tokens) -> Iterator[Piece]:
    """Tokens that are ASCII except for comments."""
    for token in tokens:
        if token.isascii():
            yield "as is", token
        else:
            yield "as is", "("
            yield "phrase", _unquoted(token)
            yield "as is", ")"


def _unquoted(token: str) -> str:
    """What a quoted string or comment holds."""
    inner = token[1:-1] if token[-1] in '")' and len(token) > 1 else token[1:]
    return re.sub(r"\\(.)", r"\1", inner, flags=re.DOTALL)


def _as_empty_group(tokens: Tokens) -> Iterator[Piece]:
    whole = "".join(tokens)
    yield "as is", _leading(whole)
    yield "phrase", whole.strip(" \t")
    yield "as is", " :;"


def _parameters(value: str) -> Iterator[Piece]:
    """A MIME value and its parameters (RFC 2045 §5.1)."""
    for tokens, delimiter in _split(_tokens(value), ";"):
        text = "".join(tokens)
        parameter = _PARAMETER.fullmatch(text)
        if text.isascii():
            yield "as is", text
        elif all(token.isascii() or token.startswith("(") for token in tokens):
            yield from _with_comments(tokens)
        elif parameter:
            yield "as is", _extended(*parameter.groups())
        else:
            yield "text", text
        yield "as is", delimiter


def _extended(name: str, section: str | None, star: str | None, value: str) -> str:
    """A parameter as RFC 2231 writes it, in sections when one would be too long."""
    value = value.rstrip(" \t")
    if star:  # extended already, but for the octets it was not allowed to hold
        percent = quote_from_bytes(value.encode(), safe=_ATTRIBUTE_SAFE + "%'")
        return f" {name}{section or ''}*={percent}"
    text = _unquoted(value) if _QUOTED.fullmatch(value) else value
    percent = quote_from_bytes(text.encode(), safe=_ATTRIBUTE_SAFE)
    if section:
        return f" {name}{section}*={_charset(int(section[1:]))}{percent}"
    if len(name) + len(percent) <= LINE - len(" *=utf-8'';"):
        return f" {name}*=utf-8''{percent}"
    room = max(12, LINE - len(name) - len(" *999*=utf-8'';"))
    parts = enumerate(_packed(_PERCENT_CHARACTER.findall(percent), room))
    return ";".join(f" {name}*{n}*={_charset(n)}{part}" for n, part in parts)


def _packed(units: Iterable[str], room: int) -> list[str]:
    """`units` joined to as few strings of at most `room` characters as keep their order."""
    packed = [""]
    for unit in units:
        if len(packed[-1]) + len(unit) > room:
            packed.append("")
        packed[-1] += unit
    return packed


def _charset(section: int) -> str:
    return "utf-8''" if section == 0 else ""
