"""Logging in: a claim is decided, at the pace that the guard allows."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from restante.accounts.contract import Account
from restante.accounts.names import is_valid_name
from restante.accounts.verify import Proof, acts_as_itself
from restante.guard.admission import TOO_MANY_TRIES, Admission
from restante.protocol.claims import Claim, PasswordClaim, TokenClaim
from restante.protocol.effects import BrokenOff, FindKeys
from restante.protocol.errors import Pop3Error
from restante.protocol.replies import Err
from restante.server.events import default_for

if TYPE_CHECKING:
    from restante.server.connection import Connection
    from restante.server.server import Pop3Server

access_log = logging.getLogger("restante.access")

REFUSED = Err("authentication failed", "AUTH")


class Login:
    """A try to log in over a connection. What lasts longer is kept by its `Admission`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._server = connection.server
        self._admission = connection.admission
        self._address = connection.admission.address

    async def authenticate(self, claim: Claim) -> Account | Err:
        """Decide a login, at the pace that the guard allows."""
        begun = time.monotonic()
        admission = self._admission
        if not await self._may_try(claim.name):
            self._log_refusal("login held off", claim)
            # Else the log would grow as fast as somebody can send.
            await asyncio.sleep(self._server.settings.failure_delay)
            return TOO_MANY_TRIES
        waited = time.monotonic() - begun
        account: Account | None = None
        refusal = REFUSED
        try:
            account = await self._decide(claim)
        except Pop3Error as error:
            refusal = Err(error.text, error.code)
        except BaseException:
            admission.leave_open()
            raise
        if account is None:
            admission.fail(secret_of(claim))
            self._log_refusal("login failed", claim)
            # From the beginning, so that the time a check takes doesn't show.
            spent = time.monotonic() - begun - waited
            await asyncio.sleep(max(0.0, self._server.settings.failure_delay - spent))
            return refusal
        if claim.mechanism == "ANONYMOUS":
            admission.leave_open()  # nobody has become known
        else:
            admission.succeed()
        return too_soon(self._server, account) or account

    async def _may_try(self, name: str) -> bool:
        """Wait as long as the guard says, if the peer does; False: not now."""
        wait = self._admission.begin_try(self._server.logins.login_of(name))
        if wait is None:
            return False
        # Whoever leaves while waiting has used up the try.
        return wait <= 0 or await self._connection.stays(wait)

    async def find_keys(self, effect: FindKeys) -> object:
        """What SCRAM wants to know of an account, at the same pace."""
        if not await self._may_try(effect.name):
            return TOO_MANY_TRIES
        try:
            return await self._server.logins.keys(effect.name, effect.scheme, self._address)
        except BaseException:
            self._admission.leave_open()
            raise

    async def _decide(self, claim: Claim) -> Account | None:
        events, client = self._server.events, self._connection.client
        if not events.heard("authenticate"):
            return await self._ask_accounts(claim)
        account: Account | None = None
        for handler in events.listeners("authenticate"):
            default = default_for(handler, lambda: self._ask_accounts(claim))
            answer = await events.call(handler, client, claim, default)
            # Only an explicit yes lets anybody in; every listener must say it.
            if isinstance(answer, Account):
                account = answer
            elif answer is True:
                account = account or await self._taken_for(claim)
            else:
                return None
        return None if account is None or account.disabled else account

    async def _taken_for(self, claim: Claim) -> Account | None:
        """Whom an application's plain yes lets in: whom the peer says it is, as nobody else.

        What the account may not do at all, it may not do then.
        """
        account = await self._server.calls.lookup(claim.name)
        if account is None and is_valid_name(claim.name):
            account = Account(claim.name)
        if account is None or not acts_as_itself(account, claim):
            return None
        return account if self._server.logins.is_welcome(account, self._address) else None

    async def _ask_accounts(self, claim: Claim) -> Account | None:
        found = await self._server.logins.identify(claim, self._address)
        return None if found is None else proven(self._server, claim, *found)

    def _log_refusal(self, what: str, claim: Claim) -> None:
        access_log.warning(
            "%s: account=%r peer=%s mechanism=%s",
            what,
            claim.name,
            self._address or "unix",
            claim.mechanism,
        )


def too_soon(server: Pop3Server, account: Account) -> Err | None:
    """After a login was proven: whether the account must wait for its next one."""
    wait = server.login_delay.wait_for(account.name)
    if wait > 0:
        values = {"seconds": max(1, round(wait))}
        return Err("log in again in {seconds} seconds", "LOGIN-DELAY", values)
    return None


def proven(server: Pop3Server, claim: Claim, account: Account, proof: Proof) -> Account:
    """A claim was borne out: have done what that brings with it."""
    if (work := server.logins.after(account, claim, proof)) is not None:
        server.spawn(work)
    return account


def break_off(admission: Admission, effect: BrokenOff) -> None:
    """There was not even a claim. Why is logged: a client may be misconfigured."""
    admission.fail(None)  # what the exchange was told has to be paid for
    access_log.info(
        "login broken off: peer=%s mechanism=%s: %s",
        admission.address or "unix",
        effect.mechanism,
        effect.reason,
    )


def secret_of(claim: Claim) -> bytes | None:
    """What was tried, so that a client with an old one is known by it; None: no telling."""
    match claim:
        case PasswordClaim(password=secret) | TokenClaim(token=secret):
            return secret.encode("utf-8", "surrogateescape")
    return None
