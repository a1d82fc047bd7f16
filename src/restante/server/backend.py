"""What stands behind a login: credentials go in, an opened maildrop comes out.

`StandardBackend` asks accounts and opens maildrops of a store. A backend of an application's
own takes their place: a gateway, for one, that logs in to another server with the password
that it was given.

A claim names an account. The account's credentials bear it out, or somebody else does who can
tell. The account must be allowed here and now, and whoever acts as somebody else must be a
master. Any doubt is a no. What a refused client sees is the same for all reasons.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

from restante.accounts.contract import Account, AccountError, AccountStore
from restante.accounts.hashing import Hashing
from restante.accounts.schemes import hash_password, needs_rehash
from restante.accounts.scram_keys import ScramKeyFinder
from restante.accounts.verify import Login, Proof, Verifier, acts_as_itself
from restante.calls import Caller, OnThread, in_task, is_async
from restante.defaults import SCRAM_ITERATIONS
from restante.networks import NetworkMap, network_set, parse_address
from restante.protocol.claims import Claim, IdentityClaim, PasswordClaim, TokenClaim
from restante.sasl.scram import ScramKeys
from restante.server.peer import Peer
from restante.stores.contract import (
    AccountChanged,
    Maildrop,
    MaildropInUse,
    OpenedTooSoon,
    Store,
    StoreError,
)

access_log = logging.getLogger("restante.access")
log = logging.getLogger("restante.server")

T = TypeVar("T")

ASYNC_METHODS = ("log_in", "authenticate", "open", "lookup", "keys", "held_schemes", "close")

MAX_NETWORKS = 1000
"""Lists of networks that are kept ready for use; most accounts have none, or the same."""


class Backend(ABC):
    """Who may log in, and what mail they see. One object serves all sessions of a server."""

    @abstractmethod
    async def log_in(self, claim: Claim, peer: Peer) -> Maildrop | None:
        """The maildrop that `claim` opens; None when the credentials are refused.

        claim: what the client asserts: a `PasswordClaim` of USER and PASS, AUTH PLAIN or
            LOGIN, or another mechanism's. peer: who the client is. Call `peer.admit(account)`
            once the credentials are proven, before anything else is done for it: limits on
            sessions and LOGIN-DELAY are held against the account then.
        The session is that account's. Without `admit`, it is the one that the maildrop's
        `account` names, or the one of the claim's name.
        Raises MaildropInUse, StoreError, AccountError when it can't be told, and Pop3Error,
        whose text the client is told.
        """

    async def authenticate(self, claim: Claim, peer: Peer) -> Account | None:
        """The account that `claim` proves; None for nobody. For `on_authenticate` and SMTP AUTH.

        Raises AccountError when it can't be told.
        """
        raise TypeError(f"{type(self).__name__} has no accounts that could be asked")

    async def open(self, account: Account) -> Maildrop:
        """The maildrop of an account that `authenticate` gave, or a handler in its place."""
        raise TypeError(f"{type(self).__name__} has no accounts whose maildrops could be opened")

    async def lookup(self, name: str) -> Account | None:
        """The account of that name. Raises AccountError when it can't be told."""
        return None

    def is_welcome(self, account: Account, peer: Peer) -> bool:
        """Whether the account may log in here and now."""
        return not account.disabled

    async def keys(self, name: str, scheme: str, peer: Peer) -> ScramKeys:
        """What SCRAM needs to know of an account; made up where there is nothing."""
        raise AccountError(f"{type(self).__name__} has no keys for SCRAM")

    async def held_schemes(self) -> frozenset[str]:
        """The schemes of credentials that accounts hold: which mechanisms are of use.

        Without any, clients log in by USER and PASS, PLAIN and LOGIN.
        """
        return frozenset()

    def login_name(self, name: str) -> str:
        """Whose login one with `name` is, for limits: the same for all names of an account."""
        return name

    async def close(self) -> None:  # noqa: B027 - most hold nothing
        """Give back what is held. Called when the server has stopped."""


class GivenBackend(Backend):
    """A backend of an application's own, called as its other functions are.

    Its coroutines run within a task, so that they may use timeouts, and what they raise is
    an Exception.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.is_welcome = backend.is_welcome  # type: ignore[method-assign]
        self.login_name = backend.login_name  # type: ignore[method-assign]

    async def log_in(self, claim: Claim, peer: Peer) -> Maildrop | None:
        maildrop = await in_task(self.backend.log_in(claim, peer))
        return None if maildrop is None else self._checked(maildrop, "log_in", Maildrop)

    async def authenticate(self, claim: Claim, peer: Peer) -> Account | None:
        account = await in_task(self.backend.authenticate(claim, peer))
        return None if account is None else self._checked(account, "authenticate", Account)

    async def open(self, account: Account) -> Maildrop:
        return self._checked(await in_task(self.backend.open(account)), "open", Maildrop)

    async def lookup(self, name: str) -> Account | None:
        account = await in_task(self.backend.lookup(name))
        return None if account is None else self._checked(account, "lookup", Account)

    async def keys(self, name: str, scheme: str, peer: Peer) -> ScramKeys:
        return await in_task(self.backend.keys(name, scheme, peer))

    async def held_schemes(self) -> frozenset[str]:
        return await in_task(self.backend.held_schemes())

    async def close(self) -> None:
        await in_task(self.backend.close())

    def _checked(self, answer: T, method: str, kind: type[Any]) -> T:
        if not isinstance(answer, kind):
            name, given = type(self.backend).__name__, type(answer).__name__
            raise TypeError(f"{name}.{method} returned {given}: it must return {kind.__name__}")
        return answer


def as_backend(given: object) -> Backend:
    """`given`, as a server calls it. Raises TypeError for what can't be a backend."""
    if isinstance(given, StandardBackend):
        return given
    if isinstance(given, type) and issubclass(given, Backend):
        raise TypeError(
            f"backend is the class {given.__name__} itself; did you mean {given.__name__}(…)?"
        )
    if not isinstance(given, Backend):
        raise TypeError(f"backend={given!r}: it must derive from restante.Backend")
    for name in ASYNC_METHODS:
        if not is_async(getattr(given, name)):
            raise TypeError(f"backend: {type(given).__name__}.{name} must be async")
    return GivenBackend(given)


VouchedFor: TypeAlias = TokenClaim | IdentityClaim
"""Claims that no credential of an account bears out."""


class TokenIssuer(Protocol):
    """Vouches for bearer tokens (RFC 6750)."""

    async def identify(self, token: str) -> str | None:
        """The name of the account that a valid token stands for; None for any other.

        Raises AccountError when it can't be told.
        """

    async def aclose(self) -> None:
        """Give back what is held."""


Identified: TypeAlias = tuple[Account, Proof]
"""An account, and what bore its claim out."""


class StandardBackend(Backend):
    """Accounts that decide, and a store that opens.

    accounts, store: see there. call_accounts, call_store, call_worker: how their functions
    are called. hashing: where slow checks of passwords wait their turn.
    tokens: vouches for bearer tokens. secret: makes up keys for names that have none.
    spawn: begins work that nobody waits for.
    master_separator: divides `user*master`; empty switches that form off.
    upgrade: replace outdated hashes at login, where the accounts can.
    remember_seconds: how long a verified password is remembered.
    scram_iterations: of keys that are made up; those that are kept have their own.
    clock: seconds since 1970.
    """

    def __init__(
        self,
        accounts: AccountStore,
        store: Store,
        *,
        call_accounts: Caller,
        call_store: Caller,
        call_worker: Caller,
        hashing: Hashing,
        secret: bytes,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        tokens: TokenIssuer | None = None,
        master_separator: str = "",
        upgrade: bool = True,
        remember_seconds: float = 0.0,
        scram_iterations: int = SCRAM_ITERATIONS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.accounts = accounts
        self.store = store
        self.verifier = Verifier(accounts, remember=remember_seconds)
        self.hashing = hashing
        self._call_accounts = call_accounts
        self._call_store = call_store
        self._call_worker = call_worker
        self._spawn = spawn
        self._tokens = tokens
        # A subclass may have reasons of its own to refuse, which must be asked each time.
        self._sees_accounts = (
            accounts.has_rows
            and type(store).open_unchanged is not Store.open_unchanged
            and all(
                getattr(type(self), name) is getattr(StandardBackend, name)
                for name in ("authenticate", "identify", "lookup")
            )
        )
        self._separator = master_separator
        self._upgrades = upgrade and accounts.upgrades
        self._clock = clock
        self._keys = ScramKeyFinder(secret, iterations=scram_iterations, key=accounts.name_key)
        self._schemes: frozenset[str] = frozenset()
        self._networks: dict[tuple[str, ...], NetworkMap[bool]] = {}

    # Backend

    async def log_in(self, claim: Claim, peer: Peer) -> Maildrop | None:
        if self._sees_accounts and isinstance(claim, PasswordClaim):
            login = self.verifier.recall(claim)
            if (
                login is not None
                and self.is_welcome(login.account, peer)
                and peer.has_room(login.account)  # else nothing must be opened: look it up first
            ):
                again = await self._log_in_again(claim, login, peer)
                if again is not None:
                    return again
        account = await self.authenticate(claim, peer)
        if account is None:
            return None
        peer.admit(account)
        maildrop: Maildrop = await self._call_store(self.store.open, account)
        return maildrop

    async def _log_in_again(
        self, claim: PasswordClaim, login: Login, peer: Peer
    ) -> Maildrop | None:
        """The maildrop of a login that was right a while ago; None: perhaps it isn't any more.

        It is right again only if the store finds the account unchanged when it opens the
        maildrop, so nothing is said of the claim before that.
        """
        try:
            maildrop: Maildrop = await self._call_store(self.store.open_unchanged, login.account)
        except AccountChanged:
            self.verifier.forget(claim)
            return None
        except (MaildropInUse, OpenedTooSoon):
            peer.admit(login.account)
            raise
        except StoreError:  # a database that is only read, say; the account may have changed
            return None
        try:
            peer.admit(login.account)
        except BaseException:
            await self._call_store(maildrop.step_back)
            raise
        if self.verifier.confirm(claim, login):
            self._tidy_up(login.account, claim, login.proof)
        return maildrop

    async def authenticate(self, claim: Claim, peer: Peer) -> Account | None:
        found = await self.identify(claim, peer)
        if found is None:
            return None
        account, proof = found
        if self._sees_accounts and isinstance(claim, PasswordClaim) and not proof.master:
            self.verifier.note(claim, account, proof)
        if proof.app_password or self._upgrades:
            self._tidy_up(account, claim, proof)
        return account

    async def identify(self, claim: Claim, peer: Peer) -> Identified | None:
        """The account that `claim` proves, and what bore it out; None for nobody."""
        target = claim.authzid
        if self._separator:
            claim, target = self._whose(claim)
        if isinstance(claim, VouchedFor):
            account, proof = await self._vouched_for(claim), Proof()
            if account is None or not self.is_welcome(account, peer):
                return None
        else:
            account = await self.lookup(claim.name)
            # Whether it is welcome is asked before the proof, as if there were no such account:
            # the time that the proof takes would tell whether it is right.
            if account is not None and not self.is_welcome(account, peer):
                account = None
            found = self.verifier.prove(account, claim)
            if isinstance(found, OnThread):
                first = self._goes_first(claim.name, account, peer)
                found = await self.hashing.run(found, first=first)
            if found is None and isinstance(claim, PasswordClaim):
                found = await self._ask_others(account, claim)
            if account is None or found is None:
                return None
            proof = found
        if target and not acts_as_itself(account, replace(claim, authzid=target)):  # type: ignore[type-var]
            other = await self._acting(account, target, peer)
            if other is None:
                return None
            return other, replace(proof, master=account.name)
        return account, proof

    async def open(self, account: Account) -> Maildrop:
        maildrop: Maildrop = await self._call_store(self.store.open, account)
        return maildrop

    async def keys(self, name: str, scheme: str, peer: Peer) -> ScramKeys:
        """What SCRAM needs to know of an account; made up where there is nothing.

        Of an account that may not log in here and now, salt and iterations are as ever, and
        no proof fits: the exchange must not tell that the password is right.
        """
        name, _ = self._split(name)
        account = await self.lookup(name)
        derives = "PLAIN" in self._schemes
        keys = self._keys.find(account, name, scheme, derives=derives)
        if isinstance(keys, OnThread):
            keys = await self.hashing.run(keys, first=self._goes_first(name, account, peer))
        is_welcome = account is not None and self.is_welcome(account, peer)
        return keys if is_welcome else keys.without_secret()

    async def held_schemes(self) -> frozenset[str]:
        schemes: frozenset[str] = await self._call_accounts(self.accounts.held_schemes)
        self._schemes = schemes
        return schemes

    def login_name(self, name: str) -> str:
        """The login's name: the master's, of `user*master`."""
        return self.accounts.name_key(self._split(name)[0] if self._separator else name)

    async def close(self) -> None:
        for each in (self.accounts, self._tokens):
            if each is not None:
                await each.aclose()

    async def lookup(self, name: str) -> Account | None:
        account = await self._call_accounts(self.accounts.lookup, name)
        if account is None or isinstance(account, Account):
            return account
        kind = type(account).__name__
        raise AccountError(f"lookup returned {kind}: it must return an Account or None")

    # Whose claim it is

    def _whose(self, claim: Claim) -> tuple[Claim, str]:
        """The claim of whoever proves it, and whom he would act as ("" for himself)."""
        if claim.authzid or isinstance(claim, VouchedFor):
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

    def _goes_first(self, name: str, account: Account | None, peer: Peer) -> bool:
        """Whether a slow check is an owner's, as far as can be told before it is done."""
        succeeded = account is not None and self.verifier.has_succeeded(account)
        return peer.goes_first(self.login_name(name), succeeded)

    async def _ask_others(self, account: Account | None, claim: PasswordClaim) -> Proof | None:
        """Have whoever keeps the account's password say whether this is it."""
        if account is None or account.check_password is None or not claim.password:
            await self._call_accounts(self.accounts.check_decoy, claim.name, claim.password)
            return None
        if await self._call_worker(account.check_password, claim.password) is not True:
            return None
        if account.version:
            self.verifier.remember(account, claim, Proof())
        return Proof()

    async def _vouched_for(self, claim: VouchedFor) -> Account | None:
        """The account that somebody else vouches for: a token's issuer, TLS, Kerberos."""
        if isinstance(claim, IdentityClaim):
            for name in claim.names:
                if (account := await self._existing(name)) is not None:
                    return account
            return None
        if self._tokens is None:
            return None
        found = await in_task(self._tokens.identify(claim.token))
        if not found:
            return None
        account = await self._existing(found)
        if account is None:
            return None
        if claim.name:
            claimed = await self.lookup(claim.name)
            if claimed is None or claimed.name != account.name:
                return None  # a good token, but somebody else's
        return account

    async def _existing(self, name: str) -> Account | None:
        """The account of that name, if there being one means anything."""
        account = await self.lookup(name)
        return None if account is None or account.assumed else account

    # Whether it may

    def is_welcome(self, account: Account, peer: Peer) -> bool:
        if account.disabled:
            return False
        if account.protocols is not None and peer.protocol not in account.protocols:
            return False
        if account.expires is not None and self._clock() >= account.expires:
            return False
        return not account.networks or self._is_in(account, peer.address[0])

    def _is_in(self, account: Account, address: str) -> bool:
        """Whether a peer is in one of the account's networks; one on a Unix socket is in none."""
        networks = self._networks.get(account.networks)
        if networks is None:
            networks = network_set(account.networks)
            if len(self._networks) >= MAX_NETWORKS:
                self._networks.clear()
            self._networks[account.networks] = networks
        try:
            return any(networks.covering(parse_address(address)))
        except ValueError:
            return False

    async def _acting(self, account: Account, target: str, peer: Peer) -> Account | None:
        """The account that a master acts as."""
        if not account.master:
            return None
        other = await self._existing(target)
        if other is None or other.disabled:
            return None
        access_log.info(
            "master: account=%r acts as=%r peer=%s", account.name, other.name, peer.address[0]
        )
        return other

    # After a login

    def _tidy_up(self, account: Account, claim: Claim, proof: Proof) -> None:
        """Begin what is left to be done after a login, and needn't be waited for."""
        upgrades = (
            self._upgrades
            and isinstance(claim, PasswordClaim)
            and not proof.master
            and bool(proof.credential)
            and not proof.app_password
            and account.upgradable
            and needs_rehash(proof.credential)
        )
        if upgrades or proof.app_password:
            self._spawn(self._tidied_up(account, claim, proof, upgrades=upgrades))

    async def _tidied_up(
        self, account: Account, claim: Claim, proof: Proof, *, upgrades: bool
    ) -> None:
        accounts = self.accounts
        try:
            if proof.app_password:
                name = proof.master or account.name
                await self._call_worker(accounts.record_use, name, proof.app_password)
            if upgrades:
                assert isinstance(claim, PasswordClaim)
                work = partial(hash_password, claim.password)
                new = await self.hashing.run(OnThread(work), first=False)
                change = accounts.replace_credential
                await self._call_worker(change, account.name, proof.credential, new)
                log.info("account %r: the password's hash was brought up to date", account.name)
        except Exception as error:
            log.error("account %r could not be updated after login: %s", account.name, error)
