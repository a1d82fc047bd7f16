"""The numbers that bound what a client may do, each with its reason."""

from __future__ import annotations

MAX_LINE = 1024
"""Octets of a command line, without its end. RFC 2449 §4 lets a client send 255; four
times that leaves room for long passwords and for UTF-8 names (RFC 6856 §2.2)."""

MAX_AUTH_LINE = 96 * 1024
"""Octets of an AUTH line or a line inside a SASL exchange. RFC 5034 §4 lifts the limit
of 255 there; a 64 KiB token (OAuth, Kerberos) is 87,382 octets of base64."""

MAX_REPLY_LINE = 512
"""Octets of a status line with its CRLF (RFC 1939 §3)."""

MAX_MESSAGE_NUMBER_DIGITS = 10
"""A number with more digits names no message in any maildrop, so it is not converted."""

MAX_BAD_COMMANDS = 25
"""Syntax errors and unknown commands in a row before the connection is closed: a client
that misreads the protocol recovers within a few, a browser or a scanner never does."""

MAX_FAILED_LOGINS = 10
"""Refused logins on one connection before it is closed. A client that tries each
announced mechanism in turn, twice, stays below it."""

MAX_PENDING_INPUT = 128 * 1024
"""Octets read ahead of the command being worked on. Clients pipeline (RFC 2449 §6.6); past
this they wait in the network instead of in our memory. Never below what one line needs."""

MAX_DOWNGRADED_HEADER = 64 * 1024
"""Octets of a header that is looked at for UTF-8 (RFC 6856). Far above any real one, and
converting the worst of that size holds the event loop for a quarter of a second at most."""

MAX_DOTS = 8192
"""Lines beginning with "." of one message whose places are kept (`Facts.dots`): 32 KiB."""

MIN_IDLE_SECONDS = 600.0
"""RFC 1939 §3: an autologout timer must be of at least ten minutes."""
