"""Faults as text: `RETR:reset-after=100,once`."""

from __future__ import annotations

from restante.settings_fields import unknown_setting
from restante.testing.faults import (
    capabilities,
    commands,
    connections,
    logins,
    maildrops,
    profiles,
    replies,
)
from restante.testing.faults.fault import KINDS, Fault, FaultError

MODULES = (connections, logins, commands, replies, maildrops, capabilities, profiles)


def parse(text: str) -> Fault:
    """A fault from its text form, which `str` of a fault gives.

    It is `RETR:reset-after=100,nth=2,once`: at which command, where the fault is about one; the
    fault's name, with its first field if it has one; and further fields. Flags stand by
    themselves. In values `%2C` stands for a comma, `%3A` for a colon, `%25` for a percent sign,
    and `%0D%0A` for a line end; nothing after `=` stands for None.

    Raises FaultError for one that can't be; it says what is allowed.
    """
    when: str | None
    if not isinstance(text, str):
        raise TypeError(f"parse({text!r}): text is expected, such as 'RETR:reset-after=100'")
    before, colon, rest = text.partition(":")
    when, rest = (before, rest) if colon else (None, before)
    first, *items = rest.split(",")
    words = first.partition("=")[0]
    fitting = [name for name in KINDS if words == name or words.startswith(f"{name}-")]
    if not fitting:
        what = unknown_setting(words, KINDS).replace("setting", "fault")
        raise FaultError(f"{text}: {what}")
    name = max(fitting, key=len)
    if first != name:
        items.insert(0, first[len(name) + 1 :])
    try:
        return KINDS[name].from_text(when, items)
    except FaultError as error:
        raise FaultError(f"{text}: {error}") from None
