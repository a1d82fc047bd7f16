"""What may be shown of a line that a client sent: secrets are left out here, at the source.

Passwords are also typed where none belongs, so of an argument only that is shown which has the
form that it should have.
"""

from __future__ import annotations

import re

from restante.protocol.table import CommandTable

HIDDEN = "****"
_MAX_SHOWN = 200

_PASSWORD = re.compile(
    r"(?<![^\W_])(?:pass\w*|pwd|pw|secret|token|auth\w*|apop|login)(?![^\W_])[\s:=]*(.+)",
    re.IGNORECASE | re.DOTALL,
)
_NUMBERS = re.compile(r"[0-9]{1,10}(?: +[0-9]{1,19})?")
_TAG = re.compile(r"\*|[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8}){0,3}")

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
    shown = _printable(argument)
    if command.show is not None:
        shown = command.show(shown)
    elif command.secret:
        shown = shown and HIDDEN
    else:
        shown = numbers(shown) if command.built_in else masked(shown)
    return f"{command.verb} {shown}" if shown else command.verb


def safe_name(name: str) -> str:
    """A name that somebody tried to log in with, for logs: without what may be a password.

    `joe PASS x` is shown as `joe ****`. So is a name with a blank in it, as nobody can tell;
    an account's own name, once it has logged in, needn't be hidden.
    """
    return first_word(_printable(name.encode("utf-8", "surrogatepass")))


# What is shown of commands' arguments


def masked(argument: str) -> str:
    """All but what follows a word such as PASS."""
    return _PASSWORD.sub(
        lambda found: found[0][: found.start(1) - found.start()] + HIDDEN, argument
    )


def hidden(argument: str) -> str:
    """Nothing, not even whether there is something."""
    return HIDDEN


def first_word(argument: str) -> str:
    """The first word, if it isn't one such as PASS."""
    word, _, rest = argument.strip().partition(" ")
    return f"{masked(word)} {HIDDEN}" if rest else masked(word)


def name_alone(argument: str) -> str:
    """APOP's name, if there is a digest after it."""
    word, _, rest = argument.strip().partition(" ")
    return f"{masked(word)} {HIDDEN}" if rest else word and HIDDEN


def mechanism_alone(argument: str) -> str:
    """AUTH's mechanism, if it is one. A response in its place looks like a name."""
    word, _, rest = argument.strip().partition(" ")
    shown = word.upper() if word.upper() in _MECHANISMS else word and HIDDEN
    return f"{shown} {HIDDEN}" if rest else shown


def attributes(argument: str) -> str:
    """XCLIENT's attributes, with the values of those that say where somebody is."""
    return " ".join(map(_attribute, argument.split()))


def _attribute(word: str) -> str:
    name, equals, value = word.partition("=")
    if name.upper() in _ATTRIBUTES and equals:
        return f"{name}={masked(value)}"
    return f"{name}={HIDDEN}" if equals and name.upper() in ("LOGIN", "PASS") else HIDDEN


def tag(argument: str) -> str:
    """A language's tag."""
    return _if_formed(_TAG, argument)


def numbers(argument: str) -> str:
    """A message-number, or two numbers."""
    return _if_formed(_NUMBERS, argument)


def _if_formed(form: re.Pattern[str], argument: str) -> str:
    shown = argument.strip()
    return shown if not shown or form.fullmatch(shown) else HIDDEN


def _printable(argument: bytes) -> str:
    text = argument.decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[:_MAX_SHOWN])
    return shown + ("…" if len(text) > _MAX_SHOWN else "")
