"""Who a login's claim lets in, and as whom.

A claim names an account; the account's credentials, or whoever else can tell, bear it
out; the account must be allowed here and now; and whoever acts as somebody else must be
a master. Any doubt is a no. What a refused peer sees is the same for all reasons.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Protocol

from restante.accounts.contract import (
    Account,
    AccountError,
    AccountStore,
    ChecksElsewhere,
    KnowsAliases,
    RecordsUse,
    UpgradesCredentials,
)
from restante.accounts.names import Matching
from restante.accounts.schemes import hash_password, needs_rehash
from restante.accounts.scram_keys import ScramKeyFinder
from restante.accounts.verify import Proof, Verifier, acts_as_itself
from restante.defaults import SCRAM_ITERATIONS
from restante.networks import NetworkMap, network_set, parse_address
from restante.protocol.claims import Claim, IdentityClaim, PasswordClaim, TokenClaim
from restante.sasl.scram import ScramKeys
from restante.server.calls import Calls
from restante.threads import WorkerThreads

access_log = logging.getLogger("restante.access")
log = logging.getLogger("restante.server")


MAX_NETWORKS = 1000
"""Lists of networks that are kept ready for use; most accounts have none, or the same."""


class TokenIssuer(Protocol):
    """Vouches for bearer tokens (RFC 6750)."""

    async def identify(self, token: str) -> str | None:
        """The name of the account that a valid token stands for; None for any other.

        Raises AccountError when it can't be told.
        """


class Logins:
    """Decides logins over one store of accounts.

    accounts, calls: the store and how it is reached. hashing: threads for slow checks.
    tokens: vouches for bearer tokens. secret: makes up keys for names that have none.
    master_separator: divides `user*master`; empty switches that form off.
    upgrade: replace outdated hashes at login, where the store can.
    scram_iterations: of the keys that are made up; those that are kept have their own.
    clock: seconds since 1970.
    """

    def __init__(
        self,
        accounts: AccountStore,
        calls: Calls,
        verifier: Verifier,
        hashing: WorkerThreads,
        *,
        secret: bytes,
        tokens: TokenIssuer | None = None,
        master_separator: str = "",
        upgrade: bool = True,
        scram_iterations: int = SCRAM_ITERATIONS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.accounts = accounts
        self.verifier = verifier
        self.held_schemes: frozenset[str] = frozenset()
        """Of the credentials that accounts hold, when last asked."""
        self._calls = calls
        self._hashing = hashing
        self._tokens = tokens
        self._separator = master_separator
        self._upgrades = upgrade and isinstance(accounts, UpgradesCredentials)
        self._clock = clock
        self._key = (
            accounts.name_key
            if isinstance(accounts, KnowsAliases)
            else Matching(getattr(accounts, "case_insensitive", True)).key
        )
        self._keys = ScramKeyFinder(secret, iterations=scram_iterations, key=self._key)
        self._in_place = not getattr(accounts, "blocking", True)
        self._networks: dict[tuple[str, ...], NetworkMap[bool]] = {}

    def login_of(self, name: str) -> str:
        """Whose login one with `name` is: the master's, of `user*master`.

        The same for all names of one account.
        """
        return self._key(self._split(name)[0] if self._separator else name)

    async def identify(
        self, claim: Claim, address: str, protocol: str = "pop3"
    ) -> tuple[Account, Proof] | None:
        """The account that `claim` lets in, and why; None: nobody.

        address: of the peer. protocol: what it speaks, `pop3` or `smtp`.
        Raises AccountError when it can't be told.
        """
        claim, target = self._whose(claim)
        found = await self._proven(claim, address, protocol)
        if found is None or not self.is_welcome(found[0], address, protocol):
            return None
        account, proof = found
        if target and not acts_as_itself(account, replace(claim, authzid=target)):  # type: ignore[type-var]
            other = await self._acting(account, target, address)
            return None if other is None else (other, replace(proof, master=account.name))
        return found

    def identify_at_once(self, claim: Claim, address: str) -> tuple[Account, Proof] | None:
        """The same for what is quick and simple; None: ask `identify`."""
        if isinstance(claim, (TokenClaim, IdentityClaim)) or claim.authzid:
            return None
        if self._separator and self._separator in claim.name:
            return None
        account: Account | None = self.accounts.lookup(claim.name)  # type: ignore[assignment]
        account = self._if_welcome(account, address)
        if not self.verifier.is_cheap(account, claim):
            return None
        proof = self.verifier.prove(account, claim)
        return None if account is None or proof is None else (account, proof)

    async def keys(self, name: str, scheme: str, address: str) -> ScramKeys:
        """What SCRAM needs to know of an account; made up where there is nothing.

        Of an account that may not log in here and now, salt and iterations are as ever, and
        no proof fits: the exchange must not tell that the password is right.
        """
        name, _ = self._split(name)
        account = await self._calls.lookup(name)
        welcome = self._if_welcome(account, address) is not None
        derives = "PLAIN" in self.held_schemes

        def find() -> ScramKeys:
            found = self._keys.find(account, name, scheme, derives=derives)
            return found if welcome else found.without_secret()

        if self._keys.is_cheap(account, name, scheme, derives=derives):
            return find()
        return await self._hashing.run(find)

    def after(
        self, account: Account, claim: Claim, proof: Proof
    ) -> Coroutine[Any, Any, None] | None:
        """What is left to be done after a login, and needn't be waited for."""
        upgrades = (
            self._upgrades
            and isinstance(claim, PasswordClaim)
            and not proof.master
            and bool(proof.credential)
            and not proof.app_password
            and account.upgradable
            and needs_rehash(proof.credential)
        )
        records = bool(proof.app_password) and isinstance(self.accounts, RecordsUse)
        if not upgrades and not records:
            return None
        return self._tidy(account, claim, proof, upgrades)

    async def _tidy(self, account: Account, claim: Claim, proof: Proof, upgrades: bool) -> None:
        store = self.accounts
        try:
            if proof.app_password and isinstance(store, RecordsUse):
                name = proof.master or account.name
                await self._calls.on_worker(store.record_use, name, proof.app_password)
            if upgrades and isinstance(store, UpgradesCredentials):
                assert isinstance(claim, PasswordClaim)
                new = await self._hashing.run(hash_password, claim.password)
                change = store.replace_credential
                await self._calls.on_worker(change, account.name, proof.credential, new)
                log.info("account %r: password hash brought up to date", account.name)
        except Exception as error:
            log.error("account %r: could not be updated after login: %s", account.name, error)

    # Whose claim it is

    def _whose(self, claim: Claim) -> tuple[Claim, str]:
        """The claim of whoever proves it, and whom he would act as ("" for himself)."""
        if claim.authzid or isinstance(claim, TokenClaim | IdentityClaim):
            return claim, claim.authzid
        name, target = self._split(claim.name)
        if target:
            claim = replace(claim, name=name)  # type: ignore[type-var]
        return claim, target

    def _split(self, name: str) -> tuple[str, str]:
        """`user*master` is the master's login, to act as the user."""
        if not self._separator:
            return name, ""
        user, separator, master = name.rpartition(self._separator)
        return (master, user) if user and master and separator else (name, "")

    async def _proven(
        self, claim: Claim, address: str, protocol: str
    ) -> tuple[Account, Proof] | None:
        match claim:
            case TokenClaim():
                return await self._by_token(claim)
            case IdentityClaim():
                for name in claim.names:
                    if (account := await self._existing(name)) is not None:
                        return account, Proof()
                return None
        account = await self._calls.lookup(claim.name)
        account = self._if_welcome(account, address, protocol)
        proof = await self._prove(account, claim)
        if proof is None and isinstance(claim, PasswordClaim):
            proof = await self._ask_others(account, claim)
        return None if account is None or proof is None else (account, proof)

    async def _prove(self, account: Account | None, claim: Claim) -> Proof | None:
        # A digest costs nothing; whether a password's check does, a store may have to look up.
        in_place = self._in_place or not isinstance(claim, PasswordClaim)
        if in_place and self.verifier.is_cheap(account, claim):
            return self.verifier.prove(account, claim)
        return await self._hashing.run(self.verifier.prove, account, claim)

    async def _ask_others(self, account: Account | None, claim: PasswordClaim) -> Proof | None:
        """Have whoever keeps the account's password say whether this is it."""
        if account is None or account.check_password is None or not claim.password:
            if isinstance(self.accounts, ChecksElsewhere):
                await self.accounts.check_decoy(claim.name, claim.password)
            return None
        answer = await self._calls.on_worker(account.check_password, claim.password)
        if inspect.isawaitable(answer):
            answer = await answer
        if answer is not True:
            return None
        if account.version:
            self.verifier.remember(account, claim, Proof())
        return Proof()

    async def _by_token(self, claim: TokenClaim) -> tuple[Account, Proof] | None:
        if self._tokens is None:
            return None
        name = await self._tokens.identify(claim.token)
        if not name:
            return None
        account = await self._existing(name)
        if account is None:
            return None
        if claim.name:
            claimed = await self._calls.lookup(claim.name)
            if claimed is None or claimed.name != account.name:
                return None  # a good token, but somebody else's
        return account, Proof()

    async def _existing(self, name: str) -> Account | None:
        """The account of that name, if there being one means anything."""
        account = await self._calls.lookup(name)
        return None if account is None or account.assumed else account

    # Whether it may

    def is_welcome(self, account: Account, address: str, protocol: str = "pop3") -> bool:
        """Whether the account may log in here and now."""
        if account.disabled:
            return False
        if account.protocols is not None and protocol not in account.protocols:
            return False
        if account.expires is not None and self._clock() >= account.expires:
            return False
        return not account.networks or self._is_in(account, address)

    def _if_welcome(
        self, account: Account | None, address: str, protocol: str = "pop3"
    ) -> Account | None:
        """The account; None, as if there were none, unless it may log in here and now.

        Asked before the proof: else the time that one takes would tell whether it is right.
        """
        if account is None or not self.is_welcome(account, address, protocol):
            return None
        return account

    def _is_in(self, account: Account, address: str) -> bool:
        """Whether a peer is in one of the account's networks; one on a Unix socket is in none."""
        networks = self._networks.get(account.networks)
        if networks is None:
            try:
                networks = network_set(account.networks)
            except ValueError as error:
                raise AccountError(f"account {account.name!r}: networks: {error}") from None
            if len(self._networks) >= MAX_NETWORKS:
                self._networks.clear()
            self._networks[account.networks] = networks
        try:
            return any(networks.covering(parse_address(address)))
        except ValueError:
            return False

    async def _acting(self, account: Account, target: str, address: str) -> Account | None:
        """The account that a master acts as."""
        if not account.master:
            return None
        other = await self._existing(target)
        if other is None or other.disabled:
            return None
        access_log.info("master: account=%r acts as=%r peer=%s", account.name, other.name, address)
        return other
