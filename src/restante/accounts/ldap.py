"""Accounts in an LDAP directory: found by a search, passwords checked by a bind."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import re
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from unicodedata import category, normalize

from restante.accounts.account import Quota
from restante.accounts.contract import Account, AccountError, AccountStore
from restante.accounts.ldap_client import Connection, LdapFailure, Pool, server_at
from restante.accounts.ldap_wire import (
    BIND_RESPONSE,
    INAPPROPRIATE_AUTHENTICATION,
    INVALID_CREDENTIALS,
    NO_SUCH_OBJECT,
    SCOPES,
    SEARCH_DONE,
    SEARCH_ENTRY,
    SEARCH_REFERENCE,
    SIZE_LIMIT_EXCEEDED,
    SUCCESS,
    Entry,
    WireError,
    bind_request,
    compile_filter,
    entry_of,
    escaped,
    policy_of,
    result_of,
    search_request,
)
from restante.accounts.names import is_valid_name, name_key, spellings
from restante.accounts.quotas import count_of, octets_of
from restante.accounts.schemes import SCHEMES, slowest, split_credential
from restante.defaults import LDAP_ATTRIBUTES, LDAP_VERSION_ATTRIBUTES
from restante.settings_fields import suggest_settings

log = logging.getLogger("restante.accounts")

_PARTS = {
    *("name", "display_name", "email", "maildrop", "disabled", "protocols", "networks"),
    *("quota_octets", "quota_messages", "expire_days"),
}
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False}
_REFUSALS = {INVALID_CREDENTIALS, INAPPROPRIATE_AUTHENTICATION, NO_SUCH_OBJECT}
_AD_REASON = re.compile(r"\bdata (?!52e|525)([0-9a-f]{3,4})\b")
"""Active Directory's reason, other than a wrong password and an unknown name."""


@suggest_settings
class LdapAccounts(AccountStore):
    """Accounts in the directory at `url`: `ldap://host`, `ldaps://host` or `ldapi://%2Fsocket`.

    Somebody is found by a search below `base` with `filter`, in which `{name}` stands for
    what was logged in with, `{local}` and `{domain}` for what is before and after its last
    "@"; whoever may not log in is best left out by it. Exactly one entry must be found.
    The password is then checked by a bind as that entry. With `dn`, a template such as
    `uid={name},ou=people,dc=example,dc=org`, there is no search: names are taken as they
    come, in lower case, so `lookup` can't tell which exist, and no address has an account.

    bind_dn, bind_password: who searches; without, an anonymous peer.
    start_tls: for `ldap://`, passwords go only through TLS. Certificates are always
        verified, against `ca_file` (PEM) or the system's authorities.
    allow_plaintext: with `start_tls=False`, also to hosts other than this machine.
    scope: `subtree`, `onelevel` or `base`.
    attributes: which attribute gives which part of an account: `name` (one value, or of
        several the one in the DN), `display_name`, `email`, `maildrop`, `disabled` (TRUE or
        FALSE), `protocols` and `networks` (a value each), `quota_octets` (`1500`, or `1G`),
        `quota_messages`, `expire_days`.
    address_filter: finds whose mail it is, whether or not they may log in; `{address}`,
        `{local}` and `{domain}`.
    password_attribute: one that holds credentials, `{SCHEME}data` or a password as it is,
        which the searcher may read; then challenge-response works, and what fits such a
        credential is not held against the directory's password policy. schemes: which of
        them accounts hold.
    version_attributes: one of them changes when a password does. An entry that shows none
        of them has its password checked by the directory each time.
    timeout: seconds for a look-up, and for a check.
    max_connections: for searches, and as many for passwords.

    Raises ValueError for settings that can't be. The methods raise AccountError when the
    directory can't be asked, gives no clear answer, or one that makes no account.
    """

    def __init__(
        self,
        url: str,
        *,
        base: str = "",
        dn: str = "",
        filter: str = "(uid={name})",
        bind_dn: str = "",
        bind_password: str = "",
        start_tls: bool = True,
        allow_plaintext: bool = False,
        ca_file: str | None = None,
        scope: str = "subtree",
        attributes: Mapping[str, str] = LDAP_ATTRIBUTES,
        address_filter: str = "(mail={address})",
        password_attribute: str = "",
        schemes: Collection[str] = (),
        version_attributes: Sequence[str] = LDAP_VERSION_ATTRIBUTES,
        timeout: float = 5.0,
        max_connections: int = 10,
    ) -> None:
        self._server = server_at(
            url, start_tls=start_tls, allow_plaintext=allow_plaintext, ca_file=ca_file
        )
        if bool(base) == bool(dn):
            raise ValueError("LDAP: either base or dn must be given")
        if bool(bind_dn) != bool(bind_password):
            raise ValueError("LDAP: bind_dn and bind_password belong together")
        if scope not in SCOPES:
            raise ValueError(f"LDAP: scope {scope!r}: known are {', '.join(SCOPES)}")
        if not {"name"} <= attributes.keys() <= _PARTS:
            raise ValueError(f"LDAP: attributes: name, and any of {', '.join(sorted(_PARTS))}")
        if timeout <= 0 or max_connections < 1:
            raise ValueError("LDAP: timeout and max_connections must be positive")
        # A name that is nothing but special characters shows where it may not stand.
        compile_filter(_filled(filter, "name", "\0*"))
        compile_filter(_filled(address_filter, "address", "\0*"))
        if dn:
            _filled(dn, "name", "")
        self._base, self._dn, self._scope = base, dn, scope
        self._filter, self._address_filter = filter, address_filter
        self._bind = (bind_dn, bind_password)
        self._attributes = dict(attributes)
        self._password_attribute = password_attribute
        self._schemes = frozenset(scheme.upper() for scheme in schemes)
        self._version_attributes = tuple(version_attributes)
        self._timeout, self._limit = timeout, max_connections
        self._loop: asyncio.AbstractEventLoop | None = None
        self._refusals: deque[float] = deque(maxlen=32)

    async def lookup(self, name: str) -> Account | None:
        """The account that `name` logs in to, or None."""
        if not is_valid_name(name):
            return None
        if self._dn:
            return self._unseen(name)
        return await self._find(self._filter, "name", name)

    async def lookup_address(self, address: str) -> Account | None:
        """The account that `address` belongs to, a disabled one too, or None."""
        if self._dn or not is_valid_name(address):
            return None
        if "@" not in address:
            return await self.lookup(address)
        return await self._find(self._address_filter, "address", address)

    def name_key(self, name: str) -> str:
        """The same for names that log in to the same account, as far as the filter tells."""
        template = self._dn or self._filter
        heeds_all = "{name}" in template or "{domain}" in template
        key = name_key(name)
        return key if heeds_all else key.rpartition("@")[0] or key

    async def check_decoy(self, name: str, password: str) -> None:
        """Take as long as a wrong password does, for an unknown name.

        It waits as long as the directory took lately to refuse a password. To ask the directory
        would tell: its answer for an entry that doesn't exist comes sooner.
        """
        if self._refusals and _can_be_right(password):
            await asyncio.sleep(random.choice(self._refusals))  # noqa: S311 - no secret
        else:
            nobody = secrets.token_hex(8)
            dn = _filled(self._dn, "name", nobody) if self._dn else f"cn={nobody},{self._base}"
            await self._check(dn, password)

    def held_schemes(self) -> frozenset[str]:
        """The schemes that were said to be held."""
        return self._schemes

    def slowest_scheme(self) -> str | None:
        """The slowest of them; None when all are quick, or there are none."""
        return slowest(name for name in SCHEMES if name in self._schemes)

    async def aclose(self) -> None:
        """Close all connections. Harmless when repeated; a later look-up opens new ones."""
        if self._loop is asyncio.get_running_loop():
            self._loop = None
            await asyncio.gather(self._searches.aclose(), self._binds.aclose())

    # Searching

    async def _find(self, template: str, what: str, name: str) -> Account | None:
        """The account that a filter finds by `name`, or by another spelling of its domain."""
        others = spellings(name_key(name, False))
        for spelling in dict.fromkeys((name, *others)) if len(others) > 1 else (name,):
            account = await self._search(_filled(template, what, spelling))
            if account is not None:
                return account
        return None

    async def _search(self, wanted: str) -> Account | None:
        asked = [*self._attributes.values(), *self._version_attributes]
        if self._password_attribute:
            asked.append(self._password_attribute)
        request = search_request(
            self._base,
            self._scope,
            compile_filter(wanted),
            asked,
            limit=2,
            seconds=math.ceil(self._timeout),
        )
        async with self._asking():
            entries = await self._searches.use(partial(_entries, request=request))
            if not entries:
                return None
            if len(entries) > 1:
                raise LdapFailure("several entries found where one is wanted")
            return self._account(entries[0])

    def _account(self, entry: Entry) -> Account:
        values = {part: _texts(entry, name) for part, name in self._attributes.items()}
        attribute, names = self._attributes["name"], values.pop("name")
        if len(names) > 1:
            dn = entry.dn.casefold()
            names = [name for name in names if dn.startswith(f"{attribute}={name},".casefold())]
        if len(names) != 1 or not is_valid_name(names[0]):
            raise LdapFailure(f"entry {entry.dn!r}: no single {attribute} to name the account")
        if not entry.dn:
            raise LdapFailure("an entry without a DN")
        first = {part: next(iter(found), "") for part, found in values.items()}
        disabled = _TRUTH.get(first.get("disabled", "").lower())
        if disabled is None:
            raise LdapFailure(f"entry {entry.dn!r}: disabled is neither TRUE nor FALSE")
        protocols = values.get("protocols")
        try:
            return Account(
                names[0],
                self._credentials(entry),
                maildrop=first.get("maildrop") or None,
                display_name=first.get("display_name", ""),
                email=first.get("email", ""),
                disabled=disabled,
                protocols=frozenset(map(str.lower, protocols)) if protocols else None,
                networks=tuple(values.get("networks", ())),
                check_password=partial(self._check, entry.dn),
                version=self._version(entry),
                quota=Quota.of(
                    _number(first, "quota_octets", octets_of),
                    _number(first, "quota_messages", count_of),
                ),
                expire_days=_number(first, "expire_days", count_of),
            )
        except ValueError as error:
            raise LdapFailure(f"entry {entry.dn!r}: {error}") from None

    def _credentials(self, entry: Entry) -> tuple[str, ...]:
        if not self._password_attribute:
            return ()
        values = entry.attributes.get(self._password_attribute.lower(), ())
        held = filter(None, (value.decode("utf-8", "surrogateescape") for value in values))
        return tuple(each if split_credential(each)[0] else f"{{PLAIN}}{each}" for each in held)

    def _version(self, entry: Entry) -> str:
        shown = [entry.attributes.get(name.lower(), ()) for name in self._version_attributes]
        return repr((entry.dn, shown)) if any(shown) else ""

    def _unseen(self, name: str) -> Account | None:
        """The account of somebody who hasn't been searched for."""
        # What directories hold to be equal must not be several accounts (RFC 4518).
        key = " ".join(normalize("NFKC", name).casefold().split())
        if not is_valid_name(key) or any(category(each) == "Cf" for each in key):
            return None
        dn = _filled(self._dn, "name", key)
        return Account(key, check_password=partial(self._check, dn), assumed=True)

    # Passwords

    async def _check(self, dn: str, password: str) -> bool:
        if not _can_be_right(password):
            return False
        begun = time.monotonic()
        async with self._asking():
            right = await self._binds.use(partial(_binds, dn=dn, password=password))
        if not right:
            self._refusals.append(time.monotonic() - begun)
        return right

    async def _connect(self) -> Connection:
        return await Connection.open(self._server)

    async def _connect_to_search(self) -> Connection:
        connection = await self._connect()
        try:
            if self._bind[0] and not await _binds(connection, *self._bind):
                raise LdapFailure("bind_dn or bind_password is wrong")
        except BaseException:
            connection.abort()
            raise
        return connection

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        """Time limit and errors of whatever is asked; pools for the loop it is asked in."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None and not self._loop.is_closed():
                raise AccountError(f"{self._server.url}: in use by another event loop")
            self._loop = loop
            self._searches = Pool(self._connect_to_search, self._limit)
            self._binds = Pool(self._connect, self._limit)
        try:
            async with asyncio.timeout(self._timeout):
                yield
        except TimeoutError:
            raise AccountError(f"{self._server.url}: no answer in time") from None
        except (LdapFailure, WireError) as error:
            raise AccountError(f"{self._server.url}: {error}") from error


def _number(values: Mapping[str, str], part: str, read: Callable[[str], int]) -> int | None:
    """Raises ValueError."""
    text = values.get(part, "")
    try:
        return read(text) if text else None
    except ValueError as error:
        raise ValueError(f"{part}: {error}") from None


def _can_be_right(password: str) -> bool:
    """False for a password with which a bind may succeed and prove nothing (RFC 4513 §5.1.2): an
    empty one, and one with NUL, where some directories take it to end.
    """
    return bool(password) and "\0" not in password


async def _entries(connection: Connection, request: bytes) -> list[Entry]:
    """What a search finds: no more than two entries."""
    connection.send(request)
    entries: list[Entry] = []
    while (answer := await connection.answer()).tag != SEARCH_DONE:
        if answer.tag == SEARCH_ENTRY and len(entries) < 2:
            entries.append(entry_of(answer))
        elif answer.tag != SEARCH_REFERENCE:
            raise WireError("an unexpected answer to a search")
    code, _ = result_of(answer)
    if code not in {SUCCESS, SIZE_LIMIT_EXCEEDED}:
        raise LdapFailure(f"search failed with code {code}")
    if code == SIZE_LIMIT_EXCEEDED and len(entries) < 2:
        raise LdapFailure("search failed: size limit exceeded")
    return entries


async def _binds(connection: Connection, dn: str, password: str) -> bool:
    """Whether the directory takes the password for that of the entry `dn`."""
    connection.send(bind_request(dn, password))
    answer = await connection.answer()
    if answer.tag != BIND_RESPONSE:
        raise WireError("an unexpected answer to a bind")
    code, diagnostic = result_of(answer)
    objection = policy_of(answer)
    if code == INVALID_CREDENTIALS and (reason := _AD_REASON.search(diagnostic)):
        objection = f"Active Directory's code {reason[1]}"
    if objection:
        log.warning("LDAP: login of %r refused: %s", dn, objection)
    if code == SUCCESS:
        return not objection
    if code in _REFUSALS:
        return False
    raise LdapFailure(f"bind failed with code {code}")


def _texts(entry: Entry, attribute: str) -> list[str]:
    try:
        return [value.decode("utf-8") for value in entry.attributes.get(attribute.lower(), ())]
    except UnicodeDecodeError:
        raise LdapFailure(f"entry {entry.dn!r}: {attribute} is not UTF-8") from None


def _filled(template: str, whole: str, value: str) -> str:
    """`template` with `value` put in, escaped: as a `whole`, and what is before ("local") and
    after ("domain") its last "@".

    Raises ValueError when `value` has no place in it, or something else has.
    """
    local, at, domain = value.rpartition("@")
    parts = {whole: value, "local": local if at else value, "domain": domain if at else ""}

    def put(found: re.Match[str]) -> str:
        if found[1] not in parts:
            raise ValueError(f"LDAP: {{{found[1]}}} stands for nothing in {template!r}")
        return escaped(parts[found[1]])

    if not re.search(rf"\{{({whole}|local)\}}", template):
        raise ValueError(f"LDAP: {{{whole}}} is missing in {template!r}")
    return re.sub(r"\{(.*?)\}", put, template)
