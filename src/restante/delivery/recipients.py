"""Whom a message is for: an address becomes a local account, or a refusal.

There is no third outcome: nothing is ever sent on, so nothing can be relayed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from restante.accounts.contract import Account, AccountError, AccountStore
from restante.accounts.names import domain_key
from restante.calls import Caller
from restante.settings_fields import suggest_settings
from restante.threads import WorkerThreads

log = logging.getLogger(__name__)

THREADS = 8
"""Worker threads where none are given."""

MAX_LOCAL_PART = 64
"""Octets before the "@" (RFC 5321 §4.5.3.1.1)."""

MAX_DOMAIN = 255
"""Octets after the "@" (RFC 5321 §4.5.3.1.2)."""

_PATH = re.compile(r'<((?:"(?:[^"\\]|\\.)*"|[^"<>])*)>(?: +(.*))?', re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)+)"(?:@(.+))?', re.DOTALL)


class Refusal(NamedTuple):
    """Why an address gets no mail, as SMTP and LMTP say it.

    code: the reply code; status: the enhanced status code (RFC 3463). The text holds
    nothing the peer sent.
    """

    code: int
    status: str
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.status} {self.text}"


BAD_ADDRESS = Refusal(553, "5.1.3", "bad address")
UNKNOWN = Refusal(550, "5.1.1", "no such user here")
DISABLED = Refusal(550, "5.2.1", "account disabled")
FOREIGN = Refusal(550, "5.7.1", "relaying denied")
UNCERTAIN = Refusal(451, "4.3.0", "accounts can't be looked up now, try again later")
FULL = Refusal(452, "4.2.2", "mailbox full, try again later")
NEVER_FITS = Refusal(552, "5.2.3", "message larger than the whole mailbox may be")


@suggest_settings
class Recipients:
    """Finds the account that gets the mail for an address.

    domains: the domains that are ours, in any case, as U-labels or A-labels: both are one
        domain by IDNA 2008. An address in another one is refused. When empty, the domain of
        an address decides nothing.
    catch_all: name or address of the account that gets mail for unknown users of our
        domains; without one they are refused.
    separator: what divides `joe+shop` when no account has that whole address; empty to
        switch that off.
    threads: where a plain `lookup_address` that may block runs; some of its own by default.

    The whole address is tried first, then the one without its tag, then the catch-all.
    What `local@domain` means, and whether an account's name is enough, the store decides.
    It is asked for the domain as `domains` has it, in lower case.
    A disabled account's mail is refused, and goes to nobody else.
    `postmaster` (RFC 5321 §4.5.1), in any case, with or without domain, is the account
    of that name, else the catch-all's. Where neither exists it is refused like every
    unknown user: mail that nobody would read must not be accepted.
    """

    def __init__(
        self,
        accounts: AccountStore,
        *,
        domains: Iterable[str] = (),
        catch_all: str | None = None,
        separator: str = "+",
        threads: WorkerThreads | None = None,
    ) -> None:
        self._accounts = accounts
        self._domains = {domain_key(domain): domain.lower() for domain in domains}
        self._catch_all = catch_all
        self._separator = separator
        threads = threads or WorkerThreads("recipients", 0, THREADS, idle_seconds=1.0)
        self._call = Caller(threads, blocking=getattr(accounts, "blocking", True))

    async def find(self, address: str) -> Account | Refusal:
        """The account for `address` (a path of RFC 5321 §4.1.2, without its brackets)."""
        parts = split_address(address)
        if parts is None:
            return BAD_ADDRESS
        local, domain = parts
        ours = self._domains.get(domain_key(domain))
        if self._domains and domain and ours is None:
            return FOREIGN
        try:
            for candidate in self._candidates(local, ours or domain.lower()):
                account: Account | None = await self._call(self._accounts.lookup_address, candidate)
                if account is not None:
                    return DISABLED if account.disabled else account
        except AccountError as error:
            log.error("can't look up a recipient: %s", error)
            return UNCERTAIN
        return UNKNOWN

    def _candidates(self, local: str, domain: str) -> Iterator[str]:
        if local.lower() == "postmaster":
            local = "postmaster"
        locals_ = [local]
        base = local.partition(self._separator)[0] if self._separator else local
        if base and base != local:
            locals_.append(base)
        for name in locals_:
            yield f"{name}@{domain}" if domain else name
        if self._catch_all:
            yield self._catch_all


def split_path(text: str) -> tuple[str, str] | None:
    """The address and the parameters of a MAIL or RCPT argument, or None if malformed.

    A path without its brackets is understood too; many senders written by hand do that.
    """
    text = text.strip(" ")
    match = _PATH.fullmatch(text)
    if match:
        return match[1], match[2] or ""
    address, _, parameters = text.partition(" ")
    return None if not address or set(address) & set('<>"') else (address, parameters)


def split_address(address: str) -> tuple[str, str] | None:
    """Local part, unquoted, and domain ("" if there is none); None for what can't be one.

    A source route is skipped (RFC 5321 appendix C). A quoted local part means the same as
    the bare one (§4.1.2); one that holds "@" is refused, as it could pass for an address.
    """
    if not address.isprintable():  # control characters, and surrogates: octets not in UTF-8
        return None
    if address.startswith("@"):
        address = address.partition(":")[2]
    quoted = _QUOTED.fullmatch(address)
    if quoted:
        local, domain = re.sub(r"\\(.)", r"\1", quoted[1]), quoted[2] or ""
    else:
        local, at, domain = address.rpartition("@")
        if not at:
            local, domain = address, ""
        if (at and not domain) or set(local) & set(' "<>(),;:\\'):
            return None
    if not local or "@" in local or set(domain) & set(' "<>@'):
        return None
    long = len(local.encode()) > MAX_LOCAL_PART or len(domain.encode()) > MAX_DOMAIN
    return None if long else (local, domain)
