"""What a listener's sessions may do: decided by the operator, the same for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from restante.protocol.limits import MAX_BAD_COMMANDS, MAX_FAILED_LOGINS, MAX_LINE
from restante.protocol.mechanisms import NO_CHANNEL, Channel, MechanismInfo
from restante.protocol.table import CommandTable

TlsMode: TypeAlias = Literal["none", "implicit", "starttls", "starttls_required"]
UseAuth: TypeAlias = Literal["pop", "sasl", "both"]
HeaderPolicy: TypeAlias = Literal["internationalized", "downgrade", "refuse", "as-is"]


def days_kept(own: int | None, days: int | None, least: int | None) -> int | None:
    """After how many days an account's mail is removed; None: never.

    own: the account's own number, 0 for never; None: it has none. days: what holds then; None:
    never. least: of accounts' own numbers; None: they don't count.
    """
    if own is None or least is None:
        return days
    return max(own, least) if own else None


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings of the protocol. A session keeps the one that it began with.

    commands: the server's own table, which may change meanwhile.
    tls: how this listener speaks TLS. tls_port: named to clients that need TLS.
    plaintext: passwords may cross a connection without TLS, whoever the peer is.
    use_auth: log in by USER, PASS and APOP; by AUTH; or by both.
    held_schemes: schemes of the credentials that accounts hold; `PLAIN` is what APOP needs.
    mechanisms: by upper-case name. hostname: this server's, as challenges show it.
    expire_days: None announces `EXPIRE NEVER`. expire_user_days: the least that accounts may
        have in its place, announced as `EXPIRE n USER` before the login; None: they may not.
    login_delay: in seconds.
    utf8: announce UTF8; it is understood in any case.
    utf8_headers: what a client that has not said UTF8 gets of a message with UTF-8 in its
        header. `internationalized`: the header in ASCII if it is an internationalized message
        (`Facts.internationalized`), else the message as it is. `downgrade`: the header in
        ASCII. `refuse`: `-ERR [UTF8]`. `as-is`: the message as it is.
    asks: effects that somebody listens to: `delete`, `reset`; may change meanwhile.
    """

    commands: CommandTable
    mechanisms: Mapping[str, MechanismInfo] = field(default_factory=dict)
    hostname: str = "localhost"
    tls: TlsMode = "none"
    tls_port: int | None = None
    plaintext: bool = False
    use_auth: UseAuth = "both"
    held_schemes: frozenset[str] = frozenset()
    implementation: str = "Restante"
    expire_days: int | None = None
    expire_user_days: int | None = None
    login_delay: int = 0
    utf8: bool = True
    utf8_headers: HeaderPolicy = "internationalized"
    max_line: int = MAX_LINE
    max_bad_commands: int = MAX_BAD_COMMANDS
    max_failed_logins: int = MAX_FAILED_LOGINS
    asks: Set[str] = frozenset()

    def mechanisms_for(self, secure: bool, channel: Channel = NO_CHANNEL) -> list[MechanismInfo]:
        """The mechanisms that a session can use now.

        secure: a password may be sent as it is. channel: what TLS says of the connection.
        """
        if self.use_auth == "pop" or "AUTH" not in self.commands:
            return []
        held = self.held_schemes
        return [i for i in self.mechanisms.values() if i.is_offered(secure, channel, held)]

    def offers_apop(self) -> bool:
        """Whether APOP is answered, so that the greeting needs a timestamp."""
        if "PLAIN" not in self.held_schemes or self.use_auth == "sasl":
            return False
        return b"APOP" in self.commands.by_verb
