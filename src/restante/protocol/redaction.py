"""What may be shown of a line that a peer sent: secrets are left out here, at the source."""

from __future__ import annotations

from restante.protocol.commands import CommandTable, split

HIDDEN = "****"
_MAX_SHOWN = 200

_MECHANISMS = {
    *("ANONYMOUS", "CRAM-MD5", "DIGEST-MD5", "EXTERNAL", "GS2-KRB5", "GSS-SPNEGO", "GSSAPI"),
    *("KERBEROS_V4", "LOGIN", "NTLM", "OAUTHBEARER", "PLAIN", "XOAUTH2"),
    *(f"SCRAM-SHA-{size}{plus}" for size in (1, 256, 512) for plus in ("", "-PLUS")),
}
"""Names that clients are known to send."""


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
    if spec.secret and shown:
        shown = HIDDEN
    match spec.kind:
        case "PASS":
            shown = HIDDEN
        case "APOP":
            name, _, digest = shown.strip().partition(" ")
            shown = f"{name} {HIDDEN}" if digest else name and HIDDEN
        case "AUTH":
            mechanism, _, response = shown.strip().partition(" ")
            # A response without a mechanism before it looks like a mechanism, but for this.
            mechanism = mechanism.upper() if mechanism.upper() in _MECHANISMS else HIDDEN
            shown = f"{mechanism} {HIDDEN}" if response else shown and mechanism
    return f"{spec.verb} {shown}" if shown else spec.verb


def _printable(argument: bytes) -> str:
    text = argument.decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[:_MAX_SHOWN])
    return shown + ("…" if len(text) > _MAX_SHOWN else "")
