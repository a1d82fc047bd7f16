"""Leases within one process, for stores that no other process uses."""

from __future__ import annotations

import os
from threading import Lock

from restante.stores.contract import Lease, MaildropInUse

_held: set[tuple[int, str]] = set()
_lock = Lock()


class ProcessLease(Lease):
    """Holds a maildrop of one store against all other sessions of this process.

    owner: the store. Raises MaildropInUse when another session holds the maildrop.
    """

    def __init__(self, owner: object, maildrop_name: str) -> None:
        self._owner: object = owner  # while it is referred to, no other object has its id
        self._key = (id(owner), maildrop_name)
        with _lock:
            if self._key in _held:
                self._owner = None
                raise MaildropInUse(f"maildrop {maildrop_name!r} is in use")
            _held.add(self._key)
        self.holder = f"pid {os.getpid()}"

    @property
    def lost(self) -> bool:
        """Whether it was given back."""
        return self._owner is None

    def release(self) -> None:
        """Give the maildrop back. Harmless when repeated."""
        with _lock:
            if self._owner is not None:
                self._owner = None
                _held.discard(self._key)
