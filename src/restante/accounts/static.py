"""Accounts given in the program or the configuration, kept in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from threading import Lock

from restante.accounts.contract import Account, AccountStore
from restante.accounts.names import (
    AccountExists,
    Matching,
    NoSuchAccount,
    check_address,
    check_name,
    check_password,
    is_valid_name,
)
from restante.accounts.schemes import SCHEMES, slowest, split_credential
from restante.settings_fields import suggest_settings


@suggest_settings
class StaticAccounts(AccountStore):
    """A fixed list of accounts, which a program may change while it is in use.

    accounts: by name, each an `Account`, a password, or a credential `{SCHEME}…`; or
        just the `Account`s. A password that begins like a credential, with a word in
        braces, must be written `{PLAIN}{word}…`.
    case_insensitive: names that differ only in case are the same.
    domains: whose mail the accounts get. Mail for `local@domain` goes to the account
        with that e-mail address, else to the one with that name, else, if the domain is
        one of `domains` or `domains` is empty, to the one whose name is `local`.

    Raises ValueError for a bad name, address, password or credential, and its subclass
    AccountExists for a name or address given twice.
    """

    blocking = False

    def __init__(
        self,
        accounts: Mapping[str, str | Account] | Iterable[Account] = (),
        *,
        case_insensitive: bool = False,
        domains: Sequence[str] = (),
    ) -> None:
        self.case_insensitive = case_insensitive
        self._matching = Matching.of(case_insensitive, domains)
        self._lock = Lock()
        self._by_name: dict[str, Account] = {}
        self._by_email: dict[str, Account] = {}
        self._held: Counter[str] = Counter()  # credentials of each scheme
        self._slowest: str | None = None
        pairs: Iterable[tuple[str, str | Account]]
        if isinstance(accounts, Mapping):
            pairs = accounts.items()
        else:
            pairs = ((account.name, account) for account in accounts)
        for name, given in pairs:
            account = given if isinstance(given, Account) else _from_text(name, given)
            if self._matching.key(account.name) != self._matching.key(name):
                raise ValueError(f"account {account.name!r} is listed as {name!r}")
            self.add(account)

    def add(self, account: Account) -> None:
        """Add an account. Raises ValueError, or AccountExists when name or address is taken."""
        key = self._matching.key(check_name(account.name))
        email = self._matching.key(check_address(account.email))
        schemes = _schemes(account)
        with self._lock:
            if key in self._by_name:
                raise AccountExists(f"account {account.name!r} exists")
            if email and email in self._by_email:
                raise AccountExists(f"e-mail address {account.email!r} belongs to an account")
            self._by_name[key] = account
            self._held.update(schemes)
            self._slowest = slowest(+self._held)
            if email:
                self._by_email[email] = account

    def remove(self, name: str) -> None:
        """Take an account away. Raises NoSuchAccount."""
        with self._lock:
            account = self._by_name.pop(self._matching.key(name), None)
            if account is None:
                raise NoSuchAccount(f"no account {name!r}")
            self._held.subtract(_schemes(account))
            self._slowest = slowest(+self._held)
            self._by_email.pop(self._matching.key(account.email), None)

    def list(self) -> tuple[Account, ...]:
        """All accounts, in the order they were added."""
        with self._lock:
            return tuple(self._by_name.values())

    def lookup(self, name: str) -> Account | None:
        """The account that `name` logs in to, or None."""
        return self._by_name.get(self._matching.key(name)) if is_valid_name(name) else None

    def lookup_address(self, address: str) -> Account | None:
        """The account that `address` belongs to, a disabled one too, or None."""
        if not is_valid_name(address):
            return None
        key = self._matching.key(address)
        account = self._by_email.get(key) or self._by_name.get(key)
        if account is None:
            account = self._by_name.get(self._matching.local_key(address) or "")
        return account

    def held_schemes(self) -> frozenset[str]:
        """The schemes of the credentials by which somebody may log in."""
        return frozenset(scheme for scheme, count in self._held.items() if count > 0)

    def slowest_scheme(self) -> str | None:
        """The scheme of the slowest kind that the accounts hold; None when all are quick."""
        return self._slowest


def _schemes(account: Account) -> Iterable[str]:
    """The schemes that the account can log in by."""
    schemes = [split_credential(credential)[0] for credential in account.credentials]
    further = [split_credential(each.credential)[0] for each in account.app_passwords]
    for scheme in (*schemes, *further):
        if not scheme:
            raise ValueError(
                f"account {account.name!r}: a credential has no scheme; a password is written"
                " '{PLAIN}…', a hash with its own scheme"
            )
        if scheme not in SCHEMES:
            raise ValueError(
                f"account {account.name!r}: unknown password scheme {{{scheme}}}; known are"
                f" {', '.join(SCHEMES)}"
            )
    return () if account.disabled else schemes


def _from_text(name: str, text: str) -> Account:
    scheme, data = split_credential(text)
    if not scheme:
        return Account(name, (f"{{PLAIN}}{check_password(text)}",))
    if scheme not in SCHEMES:
        raise ValueError(
            f"account {name!r}: unknown password scheme {{{scheme}}}; "
            "a password that begins like this is written {PLAIN}{…"
        )
    if not data:
        raise ValueError(f"account {name!r}: nothing follows {{{scheme}}}")
    return Account(name, (text,))
