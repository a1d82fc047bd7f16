"""The server's side of a Kerberos login, by the library `gssapi`: import it only when asked to."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import TypeVar

from gssapi import Name, SecurityContext, raw
from gssapi.raw.exceptions import ExpiredContextError
from gssapi.raw.misc import GSSError

from restante.accounts.contract import AccountError
from restante.sasl.contract import MechanismError, credential_text

_T = TypeVar("_T")

_KRB5_ERRORS = (1 << 32) - 1765328384
"""The library's code for the first of the errors of RFC 4120 §7.5.9."""

_EXPIRED = "the Kerberos ticket has expired"
_REFUSALS = {
    32: _EXPIRED,
    33: "the Kerberos ticket is not valid yet",
    37: "the clocks of client and server differ too much",
}
_REFUSED = "the Kerberos ticket is not valid here"

_ERRNO_END = 1000
"""Codes below are those of the system: something here couldn't be read or written."""


def credentials(keytab: Path, name: str) -> raw.Creds:
    """What accepts tickets for `service` or `service@hostname`, by that keytab.

    Raises ValueError when it has no key for the name, or can't be read.
    """
    service = raw.import_name(name.encode(), raw.NameType.hostbased_service)
    # Octets, not text: of a key given as text the library keeps a pointer to what is freed.
    store: dict[bytes | str, bytes | str] = {b"keytab": b"FILE:" + os.fsencode(keytab)}
    # SPNEGO is another mechanism (RFC 4752 §3), so tickets must come as they are.
    mechanisms = [raw.MechType.kerberos]
    try:
        return raw.acquire_cred_from(store, service, mechs=mechanisms, usage="accept").creds
    except GSSError as error:
        raise ValueError(f"{keytab}: no keytab with a key for {name!r}: {error}") from error


class Acceptor:
    """One security context, as `restante.sasl.gssapi` wants it.

    realms: whose people are let in; empty: the realm of the ticket's own key.
    Raises AccountError when the keytab can't be used now.
    """

    def __init__(self, keytab: Path, name: str, realms: frozenset[str]) -> None:
        try:
            self._credentials = credentials(keytab, name)
        except ValueError as error:
            raise AccountError(str(error)) from error
        self._realms = realms
        self._partial: raw.SecurityContext | None = None
        self._context: SecurityContext | None = None

    def step(self, token: bytes) -> tuple[bool, bytes]:
        accept = partial(raw.accept_sec_context, token, self._credentials, self._partial)
        result = _try(accept)
        self._partial = result.context
        if not result.more_steps:
            self._context = _try(partial(SecurityContext, base=result.context))
        return not result.more_steps, result.token or b""

    def names(self) -> tuple[str, ...]:
        context = self._established
        peer, service = _try(lambda: (context.initiator_name, context.target_name))
        return account_names(_text(peer), self._realms or {_text(service).rpartition("@")[2]})

    def wrap(self, message: bytes) -> bytes:
        return _try(partial(self._established.wrap, message, encrypt=False)).message

    def unwrap(self, token: bytes) -> bytes:
        return _try(partial(self._established.unwrap, token)).message

    @property
    def _established(self) -> SecurityContext:
        assert self._context is not None
        return self._context


def account_names(principal: str, realms: Collection[str]) -> tuple[str, ...]:
    """The names of accounts that a principal may log in to, in order.

    `joe@REALM` stands for itself and for `joe`; a principal with an instance, such as
    `joe/admin@REALM`, for itself only. Raises MechanismError when the realm is not one of
    `realms`, or the name has an escape: an `@` or `/` in it would look like another's.
    """
    name, _, realm = principal.rpartition("@")
    if "\\" in principal or not name or realm not in realms:
        raise MechanismError(_REFUSED)
    credential_text(principal.encode())
    return (principal,) if "/" in name else (principal, name)


def _try(call: Callable[[], _T]) -> _T:
    """Raises MechanismError for what the peer sent, AccountError for what fails here."""
    try:
        return call()
    except ExpiredContextError:
        raise MechanismError(_EXPIRED) from None
    except GSSError as error:
        if 0 < error.min_code < _ERRNO_END:
            raise AccountError(f"Kerberos: {error}") from error
        text = _REFUSALS.get(error.min_code - _KRB5_ERRORS, _REFUSED)
        raise MechanismError(text) from None


def _text(principal: Name | None) -> str:
    try:
        return "" if principal is None else bytes(principal).decode()
    except UnicodeDecodeError:
        raise MechanismError(_REFUSED) from None
