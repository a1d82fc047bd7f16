"""What may be shown of a line that a peer sent: secrets are left out here, at the source."""

from __future__ import annotations

from restante.protocol.commands import CommandTable, split

HIDDEN = "****"
_MAX_SHOWN = 200


def safe_line(line: bytes, table: CommandTable, *, in_exchange: bool) -> str:
    """`line` for logs, events and consoles, without anything that may be a secret.

    in_exchange: the line is a response inside a SASL exchange.
    A line that is no known command isn't shown either: a client out of step sends its
    password where a command belongs.
    """
    if in_exchange:
        return "*" if line == b"*" else HIDDEN
    verb, argument = split(line)
    spec = table.lookup(verb)
    if spec is None:
        return f"(unknown command, {len(line)} octets)"
    shown = _printable(argument)
    match spec.kind:
        case "PASS":
            shown = HIDDEN
        case "APOP":
            name, _, digest = shown.rpartition(" ")
            shown = f"{name} {HIDDEN}" if name else digest and HIDDEN
        case "AUTH":
            mechanism, _, response = shown.partition(" ")
            shown = f"{mechanism} {HIDDEN}" if response else mechanism
    return f"{spec.verb} {shown}" if shown else spec.verb


def _printable(argument: bytes) -> str:
    text = argument.decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[:_MAX_SHOWN])
    return shown + ("…" if len(text) > _MAX_SHOWN else "")
