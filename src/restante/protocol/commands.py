"""The commands of POP3, one row each."""

from __future__ import annotations

from restante.protocol import arguments, authorization, negotiation, redaction, transaction
from restante.protocol.states import AFTER_LOGIN, BEFORE_LOGIN, BOTH
from restante.protocol.table import Command, CommandTable

COMMANDS: tuple[Command, ...] = (
    # RFC 1939 §7
    Command(
        "USER", BEFORE_LOGIN, arguments.name, authorization.user,
        capability=authorization.user_capability, show=redaction.first_word,
    ),
    Command(
        "PASS", BEFORE_LOGIN, arguments.text, authorization.pass_,
        secret=True, show=redaction.hidden, tab=True,
    ),
    Command(
        "APOP", BEFORE_LOGIN, arguments.name_and_digest, authorization.apop,
        secret=True, show=redaction.name_alone,
    ),
    # Dovecot's; for connections from proxies only
    Command(
        "XCLIENT", BEFORE_LOGIN, arguments.text, negotiation.xclient,
        exists=negotiation.hears_xclient, show=redaction.attributes,
    ),
    # RFC 6856 §3
    Command(
        "LANG", BOTH, arguments.language, negotiation.lang,
        before_tls=True, capability="LANG", show=redaction.tag,
    ),
    # RFC 6856 §2.1 has it before login only; Outlook says it after PASS and gives up on -ERR.
    Command(
        "UTF8", BOTH, arguments.nothing, negotiation.utf8,
        before_tls=True, capability=negotiation.utf8_capability,
    ),
    # RFC 1939 §4, §6
    Command("QUIT", BOTH, arguments.nothing, transaction.quit_, before_tls=True, repeated=True),
    # RFC 1939 §5
    Command("STAT", AFTER_LOGIN, arguments.nothing, transaction.stat, repeated=True),
    Command("LIST", AFTER_LOGIN, arguments.number_or_nothing, transaction.list_, repeated=True),
    Command("RETR", AFTER_LOGIN, arguments.number, transaction.retr, repeated=True),
    Command("DELE", AFTER_LOGIN, arguments.number, transaction.dele, repeated=True),
    Command("NOOP", AFTER_LOGIN, arguments.nothing, transaction.noop, repeated=True),
    Command("RSET", AFTER_LOGIN, arguments.nothing, transaction.rset, repeated=True),
    # RFC 1939 §7
    Command(
        "TOP", AFTER_LOGIN, arguments.number_and_lines, transaction.top,
        capability="TOP", repeated=True,
    ),
    Command(
        "UIDL", AFTER_LOGIN, arguments.number_or_nothing, transaction.uidl,
        capability="UIDL", repeated=True,
    ),
    # RFC 2449 §5
    Command(
        "CAPA", BOTH, arguments.nothing, negotiation.capa,
        before_tls=True, capability=negotiation.general_capabilities,
    ),
    # RFC 5034 §4
    Command(
        "AUTH", BEFORE_LOGIN, arguments.mechanism, authorization.auth,
        capability=authorization.sasl_capability, secret=True, show=redaction.mechanism_alone,
    ),
    # RFC 2595 §4
    Command(
        "STLS", BEFORE_LOGIN, arguments.nothing, negotiation.stls,
        before_tls=True, capability=negotiation.stls_capability,
    ),
)  # fmt: skip


def command_table() -> CommandTable:
    """A table of its own that holds the commands of POP3."""
    return CommandTable(COMMANDS)
