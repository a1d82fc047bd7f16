"""The client's errors, and the one that an application raises to answer the client."""

from __future__ import annotations


class Pop3Error(Exception):
    """Raised in a handler or hook: the command is answered `-ERR [code] text`.

    text: one line for the client; what can't stand in a status line is replaced.
    code: a response code without brackets, such as `SYS/TEMP` (RFC 2449 §8, RFC 3206).
    """

    def __init__(self, text: str, code: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


class ProtocolError(Exception):
    """The client sent something that can't be understood. The text tells it what.

    values: what the text's placeholders stand for, or None.
    """

    def __init__(self, text: str, **values: object) -> None:
        super().__init__(text)
        self.text = text
        self.values = values or None


class LineTooLong(ProtocolError):
    """A line has too many octets. Nobody knows where the next one begins, so the session ends."""
