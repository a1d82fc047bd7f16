"""What one connection owes the guard: whatever was counted in is counted out, once."""

from __future__ import annotations

from restante.guard.guard import Guard
from restante.protocol.replies import Err


class Admission:
    """A connection from `address`, from when it is admitted to its end."""

    __slots__ = ("_account", "_admitted", "_guard", "_known", "_trying", "address")

    def __init__(self, guard: Guard, address: str) -> None:
        self.address = address
        self._guard = guard
        self._admitted = False
        self._known = False
        self._account: str | None = None
        self._trying: str | None = None

    def begin(self) -> Err | None:
        """Come in, or be told why not. Harmless when repeated."""
        if self._admitted:
            return None
        refusal = self._guard.admit(self.address)
        self._admitted = refusal is None
        return refusal

    # Tries to log in

    def is_open(self, name: str) -> bool:
        """Whether a try would be looked at now."""
        return self._trying is None and self._guard.is_open(self.address, name)

    def begin_try(self, name: str) -> float | None:
        """Seconds that a login with `name` has to wait; None: it isn't looked at.

        A try that has begun goes on when it is asked for again: SCRAM looks at the account
        before there is a claim. One that was broken off counts as a wrong one.
        """
        if self._trying == name:
            return 0.0
        self.fail(None)
        wait = self._guard.ask(self.address, name)
        if wait is not None:
            self._trying = name
        return wait

    def fail(self, secret: bytes | None) -> None:
        """The try was wrong. secret: what was tried, if that is known."""
        if self._trying is not None:
            name, self._trying = self._trying, None
            self._guard.failed(self.address, name, secret)

    def succeed(self) -> None:
        """The try was right."""
        if self._trying is not None:
            name, self._trying = self._trying, None
            self._guard.succeeded(self.address, name)

    def recognise(self, name: str) -> None:
        """A login with `name` was right that has taken no turn."""
        self._guard.recognise(self.address, name)

    def leave_open(self) -> None:
        """It can't be told."""
        if self._trying is not None:
            name, self._trying = self._trying, None
            self._guard.undecided(self.address, name)

    # Sessions of an account

    def enter(self, account: str) -> Err | None:
        """Be one of an account's sessions, or be told why not."""
        if not self._guard.enter_account(account, self.address):
            values = {"limit": self._guard.settings.max_sessions_per_account}
            return Err("more than {limit} sessions of this account at once", "SYS/TEMP", values)
        self._account = account
        return None

    def step_back(self) -> None:
        """Be none of them after all."""
        if self._account is not None:
            self._guard.leave_account(self._account)
            self._account = None

    def settle(self) -> None:
        """Have logged in: this is no stranger's connection any more."""
        if self._admitted and not self._known:
            self._known = True
            self._guard.logged_in(self.address)

    def end(self) -> None:
        """Be gone. Harmless when repeated."""
        if self._trying is not None:
            self.fail(None)
        self.step_back()
        if self._admitted:
            self._admitted = False
            self._guard.leave(self.address, logged_in=self._known)
