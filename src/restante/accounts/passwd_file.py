"""Accounts in a file of Dovecot's passwd-file format, which others write and we read.

A line is `name:credential:uid:gid:gecos:home:shell:extra fields`; what follows the
credential may be missing. A credential without `{SCHEME}` is of the default scheme. Empty
lines, and those that begin with `#` or `:`, say nothing. Of two lines with one name the
first counts. A line that can't be read is logged, without its credential, and left out.

Extra fields are separated by blanks; these are understood:

* `allow_nets=192.0.2.0/24,2001:db8::/32`: from where the account may log in. With nothing
  there that can be read, it may log in from nowhere.
* `nologin`: it may not log in, but gets mail. `disabled`: neither.
* `user=other`: its maildrop is that of `other`.
* `userdb_quota_rule=*:storage=1G:messages=1000`, as for Dovecot, or `quota_octets=1G` and
  `quota_messages=1000`: how much mail its maildrop may hold. What can't be read is noted, and
  says nothing.
* `expire_days=90`: after how many days its mail is removed.

All others are ignored, `nopassword` too; a line in the log names them. `home` and `mail` say
nothing about the maildrop: where maildrops lie is the mail store's to know.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path
from threading import Lock
from typing import Any, Literal, TypeAlias, TypeVar
from unicodedata import normalize

from restante.accounts.account import Quota
from restante.accounts.contract import Account, AccountError, AccountStore
from restante.accounts.names import Matching, is_valid_name
from restante.accounts.quotas import count_of, octets_of, quota_of_rule
from restante.accounts.schemes import SCHEMES, slowest, split_credential
from restante.calls import OnThread
from restante.settings_fields import suggest_settings

T = TypeVar("T")

log = logging.getLogger(__name__)

MAX_LINE = 8 * 1024
"""Octets of a line: room for the longest credential and several hundred networks."""

MAX_FILE = 256 * 1024 * 1024
"""Octets of a file: more than a million accounts."""

MAX_IN_PLACE = 2_000
"""Accounts of a file that is read on the event loop when it has changed, which takes some 50 ms.
A longer one is read on a thread."""

_MAX_REPORTED = 20
"""Damaged lines that are logged one by one."""

_SETTLED_SECONDS = 2.0
"""A file may change once more without its times showing it, by what the coarsest clocks of file
systems tell apart. One read earlier than that after a change is read once again."""

_Format: TypeAlias = Literal["%u", "%n"]
_Signature: TypeAlias = tuple[int, ...]


@suggest_settings
class PasswdFile(AccountStore):
    """The accounts of one file. It is looked at for changes at each look-up.

    path: the file. Replace it by renaming another to its name: one that is written to while
        it is read may be seen half done.
    default_scheme: of credentials without `{SCHEME}`, as for Dovecot's `scheme=`.
    case_insensitive: names that differ only in case are the same.
    domains: whose mail the accounts get, as for `StaticAccounts`.
    username_format: `%u`: names are looked up as they are given; `%n`: without their
        domain, which must be one of `domains` unless that is empty.

    Raises ValueError for an unknown scheme or format. Raises AccountError, here and at each
    look-up, when the file can't be read: what was read before doesn't count any longer.
    """

    blocking = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        default_scheme: str = "CRYPT",
        case_insensitive: bool = True,
        domains: Sequence[str] = (),
        username_format: _Format = "%u",
    ) -> None:
        if split_credential(f"{{{default_scheme}}}")[0] not in SCHEMES:
            raise ValueError(f"unknown password scheme {default_scheme!r}")
        if username_format not in ("%u", "%n"):
            raise ValueError(f"username_format {username_format!r}: %u or %n")
        self.path = Path(path)
        self._default_scheme = default_scheme
        self.case_insensitive = case_insensitive
        self._matching = Matching.of(case_insensitive, domains)
        self._without_domain = username_format == "%n"
        self._lock = Lock()
        self._read = _read(self.path, self._matching, default_scheme)

    def list(self) -> Sequence[Account]:
        """All accounts, in the order of the file."""
        return tuple(self._current().accounts.values())

    def lookup(self, name: str) -> Account | OnThread[Account | None] | None:
        """The account that `name` logs in to, or None."""
        return self._answer(self._lookup, name)

    def lookup_address(self, address: str) -> Account | OnThread[Account | None] | None:
        """The account that `address` belongs to, a disabled one too, or None."""
        return self._answer(self._lookup_address, address)

    def held_schemes(self) -> frozenset[str] | OnThread[frozenset[str]]:
        """The schemes of the credentials by which somebody may log in."""
        return self._answer(lambda current: current.held)

    def name_key(self, name: str) -> str:
        """The same for names that log in to the same account."""
        local = self._matching.local_key(name) if self._without_domain else None
        return local or self._matching.key(name)

    def slowest_scheme(self) -> str | None:
        """The scheme of the slowest kind that the accounts hold; None when all are quick."""
        return slowest(self._read.held)

    def _lookup(self, current: _Contents, name: str) -> Account | None:
        return current.accounts.get(self.name_key(name)) if is_valid_name(name) else None

    def _lookup_address(self, current: _Contents, address: str) -> Account | None:
        if not is_valid_name(address):
            return None
        account = current.accounts.get(self._matching.key(address))
        if account is None:
            account = current.accounts.get(self._matching.local_key(address) or "")
        return account

    def _answer(self, function: Callable[..., T], *args: str) -> T | OnThread[T]:
        """What `function` says of the file as it is now; on a thread if it must be read first."""
        current = self._read
        if current.is_current(self.path):
            return function(current, *args)
        if len(current.accounts) > MAX_IN_PLACE:
            return OnThread(self._read_and_answer, function, *args)
        return self._read_and_answer(function, *args)

    def _read_and_answer(self, function: Callable[..., T], *args: str) -> T:
        return function(self._current(), *args)

    def _current(self) -> _Contents:
        """What the file says now. Raises AccountError."""
        with self._lock:  # one of several threads reads
            if not self._read.is_current(self.path):
                self._read = _read(self.path, self._matching, self._default_scheme)
        return self._read


@dataclass(frozen=True, slots=True)
class _Contents:
    """What a file said.

    accounts: by the key of their name. held: the schemes by which somebody may log in.
    again_at: when to read once more, by the monotonic clock; None: when it has changed.
    """

    signature: _Signature
    accounts: dict[str, Account]
    held: frozenset[str]
    again_at: float | None

    def is_current(self, path: Path) -> bool:
        """Whether the file still says this. Raises AccountError when that can't be told."""
        try:
            unchanged = self.signature == _signature(path.stat())
        except OSError as error:
            raise _unreadable(path, error) from error
        return unchanged and (self.again_at is None or time.monotonic() < self.again_at)


def _signature(status: os.stat_result) -> _Signature:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev


def _unreadable(path: Path, error: OSError) -> AccountError:
    return AccountError(f"{path}: can't be read: {error.strerror or type(error).__name__}")


def _read(path: Path, matching: Matching, default_scheme: str) -> _Contents:
    """Raises AccountError when the file can't be read; what is wrong in it is logged."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            text = file.read(MAX_FILE + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(text) > MAX_FILE:
        raise AccountError(f"{path}: longer than {MAX_FILE} octets")
    findings = _Findings()
    accounts: dict[str, Account] = {}
    held: set[str] = set()
    for number, line in _lines(text):
        try:
            account = _account(line, default_scheme, findings, number)
        except ValueError as error:
            findings.note(number, f"left out: {error}")
            continue
        key = matching.key(account.name)
        if key in accounts:
            findings.note(number, "left out: the name is that of a line before")
            continue
        accounts[key] = account
        if not account.disabled and account.protocols is None:
            held.update(split_credential(credential)[0] for credential in account.credentials)
    findings.log(path, len(accounts))
    fresh = abs(time.time() - max(status.st_mtime, status.st_ctime)) < _SETTLED_SECONDS
    again_at = time.monotonic() + _SETTLED_SECONDS if fresh else None
    return _Contents(_signature(status), accounts, frozenset(held), again_at)


@dataclass(slots=True)
class _Findings:
    """What is to be told of a file. Never a credential or a part of one."""

    lines: list[tuple[int, str]] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)

    def note(self, number: int, text: str) -> None:
        self.lines.append((number, text))

    def log(self, path: Path, accounts: int) -> None:
        for number, text in self.lines[:_MAX_REPORTED]:
            log.warning("%s:%d: %s", path, number, text)
        if (more := len(self.lines) - _MAX_REPORTED) > 0:
            log.warning("%s: %d more lines with something wrong", path, more)
        if self.ignored:
            named = ", ".join(f"{name} ({n})" for name, n in self.ignored.most_common(10))
            log.info("%s: extra fields that mean nothing here, and how often: %s", path, named)
        log.info("%s: %d accounts", path, accounts)


def _lines(text: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines that speak of an account, with their numbers."""
    for number, line in enumerate(text.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip() and not line.startswith((b"#", b":")):
            yield number, line.removesuffix(b"\r")


def _account(line: bytes, default_scheme: str, findings: _Findings, number: int) -> Account:
    """Raises ValueError, which quotes nothing, for a line that can't be read."""
    if len(line) > MAX_LINE:
        raise ValueError(f"longer than {MAX_LINE} octets")
    name, colon, rest = line.decode("utf-8", "surrogateescape").partition(":")
    if not colon:
        raise ValueError("no colon in it")
    if not is_valid_name(name):
        raise ValueError("not a name that an account can have")
    credential, *others = rest.split(":", 6)
    credentials: tuple[str, ...] = ()
    if credential:
        try:
            credentials = _credentials(credential, default_scheme)
        except ValueError as error:
            findings.note(number, f"may not log in: {error}")
    extra = _extra(others[5], findings, number) if len(others) > 5 else {}
    return Account(normalize("NFC", name), credentials, **extra)


def _credentials(credential: str, default_scheme: str) -> tuple[str, ...]:
    """Raises ValueError for a credential that nothing can match."""
    scheme, data = split_credential(credential)
    if not scheme:
        credential = f"{{{default_scheme}}}{credential}"
        scheme, data = split_credential(credential)
    if scheme not in SCHEMES:
        raise ValueError("unknown password scheme")
    if scheme == "CRYPT":  # of no format that we know
        if data.startswith(("!", "*")):  # locked, as in /etc/shadow
            return ()
        raise ValueError("a hash of a kind that can't be checked here")
    return (credential,)


def _extra(fields: str, findings: _Findings, number: int) -> dict[str, Any]:
    """What extra fields say of an account. Raises ValueError."""
    said: dict[str, Any] = {}
    for each in fields.split():
        name, _, value = each.partition("=")
        match name:
            case "allow_nets":
                said["networks"] = _networks(value, findings, number)
                if not said["networks"]:
                    said["protocols"] = frozenset()
            case "nologin":
                said["protocols"] = frozenset()
            case "disabled":
                said["disabled"] = True
            case "user":
                if not is_valid_name(value):
                    raise ValueError("user=: not a name that an account can have")
                said["maildrop"] = normalize("NFC", value)
            case "userdb_quota_rule" | "quota_octets" | "quota_messages" | "expire_days":
                try:
                    _limit(name, value, said)
                except ValueError as error:
                    findings.note(number, f"{name}: {error}")
            case _:
                findings.ignored[name[:32]] += 1
    return said


def _limit(name: str, value: str, said: dict[str, Any]) -> None:
    """Add a limit to what was said. Raises ValueError, which doesn't quote it."""
    match name:
        case "userdb_quota_rule":
            quota = quota_of_rule(value)
        case "quota_octets":
            quota = Quota(octets=octets_of(value))
        case "quota_messages":
            quota = Quota(messages=count_of(value))
        case _:
            said["expire_days"] = count_of(value)
            return
    said["quota"] = quota.over(said.get("quota", Quota()))


def _networks(value: str, findings: _Findings, number: int) -> tuple[str, ...]:
    """Those that can be read; the others are noted."""
    networks = []
    for each in value.split(","):
        try:
            networks.append(_network(each))
        except ValueError:
            findings.note(number, "allow_nets: not a network")
    return tuple(networks)


@lru_cache(maxsize=1024)  # the same few stand in line after line
def _network(text: str) -> str:
    return str(ip_network(text, strict=False))
