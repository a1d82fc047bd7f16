"""What is measured: each family of metrics in one row, with all values of its labels.

As all label values are known, a family's numbers have fixed places in an array. The array may
be memory that processes share, and no client can make it grow.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Literal, TypeAlias

from restante.protocol.commands import COMMANDS

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Together: TypeAlias = Literal["sum", "max", "min", "first"]

OTHER = "other"
"""A label's value for whatever isn't in its list."""

QUICK = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds of histograms of work, in seconds."""

LONG = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
"""Bounds of the histogram of whole sessions, in seconds."""

VERBS = (*sorted(command.verb for command in COMMANDS), OTHER)
MECHANISMS = (
    "USER", "APOP", "PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS",
    "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "EXTERNAL", "GSSAPI", "NTLM", "ANONYMOUS", "XOAUTH2",
    "OAUTHBEARER", "SMTP-PLAIN", "SMTP-LOGIN", OTHER,
)  # fmt: skip
LOGIN_OUTCOMES = ("ok", "failed", "held_off", "broken_off")
TURNED_AWAY = ("banned", "denied", "address_limit", "full", "stopping", OTHER)
STEP_OUTCOMES = ("ok", "refused", "error")
MAIL_PROTOCOLS = ("smtp", "lmtp", OTHER)
DELIVERY_OUTCOMES = ("delivered", "kept", "not_delivered", "refused")
TLS_VERSIONS = ("TLSv1.2", "TLSv1.3", OTHER)
ENDS = ("quit", "client_left", "idle", "stalled", "too_many_errors", "error", OTHER)
STORE_CALLS = ("open", "fetch", "commit", "deliver", "check", "collect")
READY_PARTS = ("storage", "accounts", "certificate")


@dataclass(frozen=True)
class Family:
    """One family.

    name: without `_total`, which counters get. labels: names and all values of each.
    bounds: of a histogram. together: how several processes' gauges become one; `first` is the
    least that isn't 0.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[tuple[str, tuple[str, ...]], ...] = ()
    bounds: tuple[float, ...] = ()
    together: Together = "sum"

    @property
    def shown(self) -> str:
        """The name as a scrape has it."""
        return f"{self.name}_total" if self.kind == "counter" else self.name

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of its labels."""
        return tuple(name for name, _ in self.labels)

    @cached_property
    def samples(self) -> tuple[tuple[str, ...], ...]:
        """All combinations of label values."""
        return tuple(product(*(values for _, values in self.labels)))

    @property
    def width(self) -> int:
        """Numbers of one sample: a histogram has its buckets, and then the sum of its values."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1


STEP = (("outcome", STEP_OUTCOMES),)

FAMILIES: tuple[Family, ...] = (
    Family("restante_connections", "counter", "POP3 connections that were let in."),
    Family(
        "restante_connections_turned_away", "counter",
        "POP3 connections that were not let in, before a TLS handshake or after.",
        (("reason", TURNED_AWAY),),
    ),
    Family("restante_connections_open", "gauge", "POP3 connections that are open."),
    Family(
        "restante_sessions", "counter", "POP3 sessions that had logged in, by how they ended.",
        (("ended", ENDS),),
    ),
    Family("restante_sessions_open", "gauge", "POP3 sessions that have logged in."),
    Family(
        "restante_session_duration_seconds", "histogram",
        "Whole sessions that had logged in, from connecting to the end.", bounds=LONG,
    ),
    Family(
        "restante_commands", "counter", "Commands answered.",
        (("verb", VERBS), ("outcome", ("ok", "err"))),
    ),
    Family(
        "restante_reply_octets", "counter",
        "Octets of replies to commands, without messages.",
    ),
    Family("restante_messages_sent", "counter", "Messages sent.", (("by", ("RETR", "TOP")),)),
    Family("restante_message_octets", "counter", "Octets of messages sent, as on the wire."),
    Family("restante_messages_removed", "counter", "Messages that QUIT has removed for good."),
    Family(
        "restante_logins", "counter",
        "Logins by POP3 and SMTP: ok, failed, held_off (not looked at, because of failures"
        " before), broken_off (before there were credentials).",
        (("mechanism", MECHANISMS), ("outcome", LOGIN_OUTCOMES)),
    ),
    Family("restante_login_delays", "counter", "Logins that had to wait because of failures."),
    Family(
        "restante_login_delay_seconds", "counter", "Seconds that logins had to wait, together."
    ),
    Family("restante_bans", "gauge", "Networks that are banned now.", together="max"),
    Family(
        "restante_leases_refused", "counter",
        "Maildrops that weren't opened, because another session has them.",
    ),
    Family(
        "restante_login_duration_seconds", "histogram",
        "Checks of credentials. Of a refused one, the wait before its answer is a part.",
        STEP, QUICK,
    ),
    Family(
        "restante_open_duration_seconds", "histogram", "Openings of a maildrop.", STEP, QUICK
    ),
    Family(
        "restante_fetch_duration_seconds", "histogram",
        "From RETR or TOP until the first block of the message was read.", STEP, QUICK,
    ),
    Family(
        "restante_commit_duration_seconds", "histogram",
        "QUIT after a login: messages removed, the maildrop closed.", STEP, QUICK,
    ),
    Family(
        "restante_delivery_duration_seconds", "histogram",
        "From DATA until a copy was delivered or not.",
        (("protocol", MAIL_PROTOCOLS),), QUICK,
    ),
    Family(
        "restante_deliveries", "counter",
        "Copies of messages: delivered, kept (for the operator to deliver), not_delivered (by"
        " a fault here; the sender tries again), refused (also for want of room).",
        (("protocol", MAIL_PROTOCOLS), ("outcome", DELIVERY_OUTCOMES)),
    ),
    Family("restante_delivery_octets", "counter", "Octets of copies that were delivered."),
    Family(
        "restante_mail_connections_open", "gauge", "SMTP and LMTP connections that are open.",
        (("protocol", ("smtp", "lmtp")),),
    ),
    Family(
        "restante_tls_sessions", "counter",
        "POP3 connections inside TLS, by version and whether an earlier TLS session went on.",
        (("version", TLS_VERSIONS), ("resumed", ("no", "yes"))),
    ),
    Family(
        "restante_certificate_expiry_timestamp_seconds", "gauge",
        "When the first of the certificates in use expires, in seconds since 1970; 0 without any.",
        together="first",
    ),
    Family(
        "restante_storage_calls", "counter",
        "Calls of stores of maildrops for POP3: on the event loop, or by a thread.",
        (("where", ("in_place", "thread")),),
    ),
    Family(
        "restante_store_errors", "counter",
        "Failures of the store of maildrops, such as a database that is down or a disk that is"
        " full, by what was wanted of it.",
        (("call", STORE_CALLS),),
    ),
    Family("restante_hashing_running", "gauge", "Checks of password hashes that run."),
    Family("restante_hashing_waiting", "gauge", "Checks of password hashes that wait."),
    Family(
        "restante_hashing_refused", "counter",
        "Checks of password hashes that were refused, as they would have waited too long.",
    ),
    Family(
        "restante_ready", "gauge", "Whether a part works: 1 or 0. The same as /readyz asks.",
        (("part", READY_PARTS),), together="min",
    ),
)  # fmt: skip
"""Every family that a worker process counts."""

SERVER_FAMILIES: tuple[Family, ...] = (
    Family(
        "restante_workers", "gauge", "Worker processes.",
        (("state", ("ready", "starting", "stuck", "waiting")),),
    ),
    Family("restante_worker_restarts", "counter", "Worker processes that were replaced."),
    Family("restante_reloads", "counter", "How often the configuration was read again."),
    Family(
        "restante_build_info", "gauge", "1, for the sake of its labels.",
        (("version", ()), ("python", ()), ("implementation", ())),
    ),
    Family(
        "restante_start_time_seconds", "gauge", "When the server started, in seconds since 1970."
    ),
)  # fmt: skip
"""What the process that answers scrapes adds; their numbers aren't in the array."""


def _places() -> tuple[dict[tuple[str, ...], int], int]:
    places: dict[tuple[str, ...], int] = {}
    at = 0
    for family in FAMILIES:
        for sample in family.samples:
            places[family.name, *sample] = at
            at += family.width
    return places, at


PLACES, SIZE = _places()
"""Where each sample's first number is in the array, by name and label values; how many there
are."""
