"""What may be shown of a line that a client sent: secrets are left out here, at the source.

Passwords are also typed where none belongs, so of an argument only that is shown which has the
form that it should have.
"""

from __future__ import annotations

import re

from restante.protocol.table import CommandTable

HIDDEN = "****"
_MAX_SHOWN = 200

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PASSWORD = re.compile(
    r"(\b(?:pass?\w*|psas\w*|pwd?|kennwort|secret|token|auth|apop|plain|login)[\s:=]+).+",
    re.IGNORECASE | re.DOTALL,
)
_NUMBERS = re.compile(r"[0-9]{1,10}(?: +[0-9]{1,19})?", re.ASCII)
_TAG = re.compile(r"\*|i-default|[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8}){0,3}")

_MECHANISMS = {
    *("ANONYMOUS", "CRAM-MD5", "DIGEST-MD5", "EXTERNAL", "GS2-KRB5", "GSS-SPNEGO", "GSSAPI"),
    *("KERBEROS_V4", "LOGIN", "NTLM", "OAUTHBEARER", "PLAIN", "XOAUTH2"),
    *(f"SCRAM-SHA-{size}{plus}" for size in (1, 256, 512) for plus in ("", "-PLUS")),
}
"""Names that clients are known to send."""

_ATTRIBUTES = {
    *("ADDR", "PORT", "SESSION", "TTL", "CLIENT-TRANSPORT", "DESTADDR", "DESTPORT"),
    *("NAME", "HELO", "PROTO"),
}
"""Attributes of XCLIENT that say where a connection comes from. LOGIN isn't one of them."""


def safe_line(line: bytes, table: CommandTable, *, in_exchange: bool) -> str:
    """`line` for logs, events and consoles, without anything that may be a secret.

    in_exchange: the line is a response inside a SASL exchange.
    A line that is no known command isn't shown either: a client out of step sends its
    password where a command belongs.
    """
    if in_exchange:
        return "*" if line == b"*" else HIDDEN
    verb, _, argument = line.partition(b" ")
    command = table.by_verb.get(verb.upper())
    if command is None:
        return f"(unknown command, {len(line)} octets)"
    text = argument.decode("utf-8", "backslashreplace")
    damaged = _CONTROL.search(text)
    if damaged:
        shown = HIDDEN
    elif command.show is not None:
        shown = command.show(text)
    elif command.secret:
        shown = text and HIDDEN
    else:
        shown = numbers(text) if command.built_in else masked(text)
    return f"{command.verb} {_printable(shown)}" if shown else command.verb


def safe_name(name: str) -> str:
    """A name that somebody tried to log in with, for logs: without what may be a password.

    `joe PASS x` is shown as `joe ****`, and so is a name with a blank in it: nobody can tell
    them apart. Once an account has logged in, its own name is no secret.
    """
    return _printable(HIDDEN if _CONTROL.search(name) else first_word(name))


# What is shown of commands' arguments


def masked(argument: str) -> str:
    """All but what follows a word such as PASS."""
    return _PASSWORD.sub(rf"\1{HIDDEN}", argument)


def hidden(argument: str) -> str:
    """Nothing, not even whether there is something."""
    return HIDDEN


def first_word(argument: str) -> str:
    """The first word, if none such as PASS is part of it."""
    word, *rest = argument.split(None, 1) or [""]
    return f"{masked(word)} {HIDDEN}" if rest else masked(word)


def name_alone(argument: str) -> str:
    """APOP's name, if there is a digest after it."""
    word, *rest = argument.split(None, 1) or [""]
    return f"{masked(word)} {HIDDEN}" if rest else word and HIDDEN


def mechanism_alone(argument: str) -> str:
    """AUTH's mechanism, if it is one. A response in its place looks like a name."""
    word, *rest = argument.split(None, 1) or [""]
    shown = word.upper() if word.upper() in _MECHANISMS else word and HIDDEN
    return f"{shown} {HIDDEN}" if rest else shown


def attributes(argument: str) -> str:
    """XCLIENT's attributes, with the values of those that say where somebody is."""
    return " ".join(map(_attribute, argument.split()))


def _attribute(word: str) -> str:
    name, equals, value = word.partition("=")
    if name.upper() in _ATTRIBUTES and equals:
        return f"{name}={masked(value)}"
    return HIDDEN


def tag(argument: str) -> str:
    """A language's tag."""
    return _if_formed(_TAG, argument)


def numbers(argument: str) -> str:
    """A message-number, or two numbers."""
    return _if_formed(_NUMBERS, argument)


def _if_formed(form: re.Pattern[str], argument: str) -> str:
    shown = argument.strip()
    return shown if not shown or form.fullmatch(shown) else HIDDEN


def _printable(text: str) -> str:
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[:_MAX_SHOWN])
    return shown + ("…" if len(text) > _MAX_SHOWN else "")
