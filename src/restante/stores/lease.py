"""Leases within one process, for stores that no other process uses."""

from __future__ import annotations

import os
from collections.abc import Sequence
from threading import Lock
from weakref import ref

from restante.stores.contract import Lease, LeaseInfo, MaildropInUse

# Weak: a lease that was forgotten mustn't hold a maildrop, least of all one of another store that
# has got the same id.
_held: dict[tuple[int, str], ref[ProcessLease]] = {}
_lock = Lock()


class ProcessLease(Lease):
    """Holds a maildrop of one store against all other sessions of this process.

    owner: the store. Raises MaildropInUse when another session holds the maildrop.
    """

    def __init__(self, owner: object, maildrop_name: str) -> None:
        self._owner: object = owner  # while it is referred to, no other object has its id
        self._key = (id(owner), maildrop_name)
        with _lock:
            held = _held.get(self._key)
            if held is not None and held() is not None:
                self._owner = None
                raise MaildropInUse(f"maildrop {maildrop_name!r} is in use")
            _held[self._key] = ref(self)
        self.holder = f"pid {os.getpid()}"

    @property
    def lost(self) -> bool:
        """Whether it was given back."""
        return self._owner is None

    @property
    def maildrop_name(self) -> str:
        """Of which maildrop."""
        return self._key[1]

    def release(self) -> None:
        """Give the maildrop back. Harmless when repeated."""
        with _lock:
            if self._owner is not None:
                self._owner = None
                del _held[self._key]


def held_leases(owner: object) -> Sequence[LeaseInfo]:
    """The leases of a store's maildrops that this process holds."""
    with _lock:
        held = [lease() for (of, _), lease in _held.items() if of == id(owner)]
    return [LeaseInfo(each.maildrop_name, each.holder) for each in held if each is not None]


def release_held(owner: object, maildrop_name: str) -> bool:
    """Take a maildrop's lease from whoever has it. Gives whether it was held."""
    with _lock:
        held = _held.get((id(owner), maildrop_name))
    lease = None if held is None else held()
    if lease is None:
        return False
    lease.release()
    return True
