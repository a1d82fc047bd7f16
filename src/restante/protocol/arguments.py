"""Readers: each turns the octets after a verb into what the command's action takes.

They raise ProtocolError, whose text tells the client what is wrong.
"""

from __future__ import annotations

from restante.protocol.errors import ProtocolError
from restante.protocol.limits import MAX_MESSAGE_NUMBER_DIGITS
from restante.protocol.listing import MessageNumber


def text(argument: bytes) -> str:
    """The argument as it is, in UTF-8 (RFC 6856 §2.2).

    So is a password: the rest of the line, blanks at its end included (RFC 1939 §7).
    """
    try:
        return argument.decode("utf-8")
    except UnicodeDecodeError:
        raise ProtocolError("argument is not UTF-8") from None


def nothing(argument: bytes) -> None:
    """No argument; blanks are let pass."""
    if argument.rstrip(b" "):
        raise ProtocolError("no argument allowed")


def name(argument: bytes) -> str:
    """A name, which may hold blanks."""
    found = text(argument.strip(b" "))
    if not found:
        raise ProtocolError("name missing")
    return found


def name_and_digest(argument: bytes) -> tuple[str, str]:
    """APOP's argument: a name, which may hold blanks, and a digest."""
    found, _, digest = argument.strip(b" ").rpartition(b" ")
    if not found:
        raise ProtocolError("name and digest needed")
    return text(found.rstrip(b" ")), text(digest)


def mechanism(argument: bytes) -> tuple[str | None, bytes | None]:
    """AUTH's argument: a mechanism in upper case, and its initial response as it was sent."""
    words = argument.split()
    if len(words) > 2:
        raise ProtocolError("too many arguments")
    if not words:
        return None, None
    return text(words[0]).upper(), words[1] if len(words) == 2 else None


def language(argument: bytes) -> str | None:
    """LANG's argument: a tag, `*`, or nothing."""
    tag = text(argument.strip(b" "))
    if " " in tag:
        raise ProtocolError("too many arguments")
    return tag or None


def number(argument: bytes) -> MessageNumber:
    """A message-number."""
    argument = argument.strip(b" ")
    if not argument:
        raise ProtocolError("message-number missing")
    if b" " in argument:
        raise ProtocolError("too many arguments")
    if not argument.isdigit():
        raise ProtocolError("argument must be a number")
    if len(argument) > MAX_MESSAGE_NUMBER_DIGITS:
        raise ProtocolError("no such message")
    found = MessageNumber(int(argument))
    if found == 0:
        raise ProtocolError("message-numbers start at 1")
    return found


def number_or_nothing(argument: bytes) -> MessageNumber | None:
    """A message-number, or nothing for all messages."""
    return number(argument) if argument.strip(b" ") else None


def number_and_lines(argument: bytes) -> tuple[MessageNumber, int]:
    """TOP's argument: a message-number and a number of lines."""
    words = argument.split()
    if len(words) != 2:
        raise ProtocolError("message-number and number of lines needed")
    if not words[1].isdigit():
        raise ProtocolError("argument must be a number")
    lines = words[1].lstrip(b"0") or b"0"
    # As many lines as there could ever be: a larger number asks for nothing more.
    return number(words[0]), int(lines) if len(lines) <= 18 else 10**18
