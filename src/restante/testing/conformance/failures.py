"""How a check ends, other than well."""

from __future__ import annotations


class Failed(Exception):
    """The server doesn't do what the check asks for; the text says what it did."""


class Closed(Failed):
    """The server has closed the connection where a reply was due."""


class Silent(Failed):
    """No reply came in time."""


class NotArrived(Failed):
    """Mail that was brought in isn't in the maildrop."""


class NotMade(Exception):
    """What the check needs could not be prepared, so that nobody knows; the text says why."""


class NotApplicable(Exception):
    """The check says nothing about this server; the text says why."""


def hold(condition: object, text: str) -> None:
    """Raises Failed unless the condition is true."""
    if not condition:
        raise Failed(text)
