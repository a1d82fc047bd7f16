"""How long a peer may be silent, or take nothing of what it is sent."""

from __future__ import annotations

from enum import Enum

NONE = (0, 0)


class Verdict(Enum):
    """What has worn the server's patience out."""

    IDLE = "idle"
    STALLED = "the client does not read"


class Patience:
    """Watches one connection's progress.

    idle: seconds without a whole command (RFC 1939 §3); a reply that is being taken, however
    slowly, is no idleness. stalled: seconds in which a peer with something to read took
    nothing.
    """

    __slots__ = ("_idle", "_progress", "_since", "_stalled", "renewed")

    def __init__(self, idle: float, stalled: float) -> None:
        self._idle = idle
        self._stalled = stalled
        self._since = 0.0
        self._progress = NONE
        self.renewed = True
        """Something was done since the last look: a command came, or work has ended."""

    def check(
        self,
        now: float,
        *,
        unsent: int,
        written: int,
        blocked: bool,
        waiting: bool,
        idle: float | None = None,
    ) -> Verdict | None:
        """What is to be said against the peer at `now`, if anything.

        unsent: octets in our buffer. written: octets put there so far. blocked: nothing more
        goes in. waiting: it is the peer's turn to speak. idle: seconds, in place of the usual.
        """
        if self.renewed:
            self.renewed = False
            self._since = now
        progress = (unsent, written)
        if progress != self._progress:
            self._progress = progress
            self._since = now
        elif unsent or blocked:
            return Verdict.STALLED if now - self._since > self._stalled else None
        elif waiting and now - self._since > (self._idle if idle is None else idle):
            return Verdict.IDLE
        return None
