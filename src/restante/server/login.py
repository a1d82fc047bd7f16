"""The pace of logins: a try waits for its turn, and a refusal takes its time.

POP3 and SMTP AUTH log in by the same accounts, and the guard counts their failures together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

from restante.guard.admission import Admission
from restante.protocol.claims import Claim, PasswordClaim, TokenClaim
from restante.server.context import Context
from restante.server.peer import Peer


class HeldOff(Exception):
    """A login that isn't looked at, because there were too many failures before it."""


async def take_turn(
    context: Context, wait: float | None, stays: Callable[[float], Awaitable[bool]]
) -> bool:
    """Wait until a try may be looked at. False: it isn't looked at now.

    wait: what `Admission.ask` has said. stays: waits so many seconds, but no longer than the
    client does; False when it left. A client that leaves has used up its try.
    """
    if wait is not None and (wait == 0 or await stays(wait)):
        return True
    # Without this, the log would grow as fast as somebody can send.
    await asyncio.sleep(context.settings.failure_delay)
    return False


async def refuse(context: Context, admission: Admission, claim: Claim, begun: float) -> None:
    """Count a refused login, and wait until it may be answered.

    begun: when it began to be looked at, by `time.monotonic`. The answer comes a fixed time
    after that, so that the time a check takes doesn't show.
    """
    admission.failed(secret_of(claim))
    spent = monotonic() - begun
    await asyncio.sleep(max(0.0, context.settings.failure_delay - spent))


def secret_of(claim: Claim) -> bytes | None:
    """What was tried, so that a client with an outdated password is recognised by it.

    None where the client sends no secret.
    """
    match claim:
        case PasswordClaim(password=secret) | TokenClaim(token=secret):
            return secret.encode("utf-8", "surrogateescape")
    return None


async def log_in_by_smtp(context: Context, name: str, password: str, address: str) -> bool:
    """Whether SMTP AUTH lets a client in, by the same backend and at the same pace as POP3.

    address: the client's; "" on a Unix socket. Raises HeldOff, AccountError.
    """
    claim = PasswordClaim(name, password, "SMTP")
    peer = Peer((address, 0), protocol="smtp")
    admission = Admission(context.guard, context.login_delay, address)
    login = context.backend.login_name(name)
    if not await take_turn(context, admission.ask(login), _sleep):
        raise HeldOff
    begun = monotonic()
    peer.goes_first = admission.goes_first
    try:
        account = await context.backend.authenticate(claim, peer)
    except asyncio.CancelledError:
        admission.failed(secret_of(claim))
        raise
    except BaseException:
        admission.undecided()
        raise
    if account is None:
        await refuse(context, admission, claim, begun)
        return False
    admission.proven(login)
    return True


async def _sleep(seconds: float) -> bool:
    await asyncio.sleep(seconds)
    return True
