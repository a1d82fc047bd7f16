"""Logging in to the console: attempts, and sessions that end."""

from __future__ import annotations

import hmac
import logging
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import sha256

from restante.app.administrators import Administrators
from restante.app.config.settings import Settings
from restante.guard.admission import Admission
from restante.guard.guard import Guard
from restante.guard.settings import GuardSettings

log = logging.getLogger("restante.console")

MAX_LOGINS = 1000
"""Sessions at once; the one that was idle longest makes room."""

MAX_NOTES = 5
MAX_WAIT = 10.0
"""Seconds that an attempt may wait for its turn; then it isn't checked."""


@dataclass(eq=False, slots=True)
class Login:
    """An administrator's session. token: for forms. notes: what the next page tells."""

    name: str
    version: str = field(repr=False)
    token: str = field(repr=False)
    began: float
    used: float
    notes: list[tuple[str, str]] = field(default_factory=list)

    def add_note(self, kind: str, text: str) -> None:
        """Tell something on the next page."""
        self.notes = [*self.notes, (kind, text)][-MAX_NOTES:]

    def take_notes(self) -> list[tuple[str, str]]:
        """What is to be told, once."""
        notes, self.notes = self.notes, []
        return notes


class Refused(Exception):
    """An attempt was refused; the text says what the person may know. status: of HTTP."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class Logins:
    """Who is logged in. In memory only: when the console ends, all are logged out."""

    def __init__(self, settings: Settings) -> None:
        self._idle = settings.console.idle_minutes * 60
        self._longest = settings.console.session_hours * 3600
        self._administrators = Administrators(settings.administrators_file)
        # Its own: failures here mustn't ban anybody's mail client.
        self._guard = Guard(GuardSettings(ban_seconds=0))
        self._by_key: OrderedDict[str, Login] = OrderedDict()
        self._lock = threading.Lock()
        self._checking = threading.Semaphore(2)
        self._form_key = secrets.token_bytes(32)

    @property
    def is_anybody(self) -> bool:
        """Whether there are administrators. Raises OSError, ValueError."""
        return bool(self._administrators.names())

    # The form of the login page has no session yet: its token fits a cookie.

    def form_token(self, cookie: str) -> str:
        """The token that goes with a cookie."""
        return hmac.new(self._form_key, cookie.encode(), sha256).hexdigest()

    def attempt(self, name: str, password: str, address: str) -> tuple[str, Login]:
        """Log in: the cookie, and the session. Raises Refused. May wait some seconds."""
        admission = Admission(self._guard, None, address)
        try:
            wait = admission.ask(name)
            if wait is None or wait > MAX_WAIT:
                raise Refused("Too many attempts. Wait some minutes and try again.", 429)
            if wait:
                time.sleep(wait)
            with self._checking:  # each takes 20 to 60 MB of memory
                fits = self._fits(name, password)
            if not fits:
                admission.failed(password.encode("utf-8", "replace"))
                log.warning("console: login failed: administrator=%r address=%s", name, address)
                raise Refused("Name or password is wrong.", 403)
            admission.proven(name)
        finally:
            admission.leave()
        key, now = secrets.token_urlsafe(32), time.monotonic()
        version = self._administrators.version(name)
        login = Login(name, version, secrets.token_urlsafe(32), now, now)
        with self._lock:
            self._by_key[_digest(key)] = login
            while len(self._by_key) > MAX_LOGINS:
                self._by_key.popitem(last=False)
        log.info("console: logged in: administrator=%s address=%s", name, address)
        return key, login

    def _fits(self, name: str, password: str) -> bool:
        try:
            return self._administrators.matches(name, password)
        except (OSError, ValueError) as error:
            log.error("console: nobody can log in: %s", error)
            raise Refused("Nobody can log in now; the log says why.", 500) from None

    def find(self, key: str, *, by_person: bool) -> Login | None:
        """The session of a cookie. by_person: it counts against idling."""
        now = time.monotonic()
        with self._lock:
            login = self._by_key.get(_digest(key))
            if login is None:
                return None
            if now - login.used > self._idle or now - login.began > self._longest:
                del self._by_key[_digest(key)]
                return None
            if by_person:
                login.used = now
                self._by_key.move_to_end(_digest(key))
        try:
            known = self._administrators.version(login.name)
        except (OSError, ValueError):
            known = ""
        if known != login.version:  # removed, or another password
            self.end(key)
            return None
        return login

    def end(self, key: str) -> None:
        """Log out. Harmless when repeated."""
        with self._lock:
            self._by_key.pop(_digest(key), None)


def _digest(key: str) -> str:
    return sha256(key.encode("utf-8", "replace")).hexdigest()
