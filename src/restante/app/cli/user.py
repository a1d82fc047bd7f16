"""`restante user`: the accounts in the database."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from getpass import getpass
from typing import Annotated, Any, TypeAlias

from restante.accounts.account import Account, Quota
from restante.accounts.kept import ManagedAccounts
from restante.accounts.names import NoSuchAccount
from restante.accounts.quotas import octets_of
from restante.accounts.rights import Rights
from restante.accounts.schemes import split_credential
from restante.app.accounts import (
    make_static_accounts,
    managed_accounts,
    managed_kind,
    whose_address,
)
from restante.app.cli.command_line import Argument, Exit, Group, Option, UsageError
from restante.app.cli.live import JsonOption
from restante.app.cli.options import (
    FAILED,
    ConfigOption,
    DataOption,
    SetOption,
    complain,
    is_terminal,
    load_for,
)
from restante.app.cli.output import print_table
from restante.app.config.load import Loaded
from restante.app.config.problem import ConfigError, Problem
from restante.app.logs import one_line
from restante.app.maildrops import usages
from restante.app.passwords import new_password
from restante.stores.contract import StoreError, Usage
from restante.stores.room import quota_for

Name: TypeAlias = Annotated[str, Argument(help="The account's name.")]
FromStdin: TypeAlias = Annotated[
    bool, Option("--password-stdin", help="Read the password from standard input.")
]
Generate: TypeAlias = Annotated[
    bool, Option("--generate", help="Make a password up and show it this once.")
]

Protocols: TypeAlias = Annotated[
    list[str] | None,
    Option("--protocol", help="May log in by this alone: pop3, smtp; may be repeated."),
]
Networks: TypeAlias = Annotated[
    list[str] | None,
    Option("--network", help="May log in from here alone; may be repeated."),
]
Expires: TypeAlias = Annotated[
    datetime | None,
    Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M"], help="When it can log in no more."),
]
QuotaOctets: TypeAlias = Annotated[
    str | None,
    Option(help='Octets its maildrop may hold, as in "1G"; 0: no limit.', metavar="OCTETS"),
]
QuotaMessages: TypeAlias = Annotated[
    int | None, Option(help="Messages its maildrop may hold; 0: no limit.", min=0, max=1e12)
]
ExpireDays: TypeAlias = Annotated[
    int | None, Option(help="Days after which its mail is removed; 0: never.", min=0, max=36500)
]

_HEADINGS = (
    *("Name", "E-mail", "Display name", "Maildrop", "Kept as", "State"),
    *("Messages", "Octets", "Messages at most", "Octets at most"),
)


@contextmanager
def _accounts(loaded: Loaded, name: str = "") -> Iterator[ManagedAccounts]:
    """The accounts. name: the one that must be there; else it is said whose address that is."""
    if managed_kind(loaded.settings) is None:
        text = (
            'only accounts of kind "sqlite" or "database" are changed here;'
            " static ones in accounts.static"
        )
        raise ConfigError([Problem(loaded.place("accounts.kind"), "accounts.kind", "", text)])
    with managed_accounts(loaded.settings) as accounts:
        try:
            yield accounts
        except NoSuchAccount as error:
            raise NoSuchAccount(f"{error}{whose_address(loaded.settings, name)}") from None


def chosen_password(from_stdin: bool, generate: bool) -> str:
    """A password that is typed, read from standard input, or made up. Raises UsageError."""
    if from_stdin and generate:
        raise UsageError("--password-stdin and --generate exclude each other")
    if generate:
        return new_password()
    return ask_password(from_stdin)


def ask_password(from_stdin: bool, *, twice: bool = True) -> str:
    """A password that is typed, or read from standard input. Raises UsageError."""
    if from_stdin:
        return _line_of_stdin()
    if not is_terminal(sys.stdin):
        raise UsageError(
            "no terminal to ask at: give --password-stdin, or --generate for a new password"
        )
    while (password := getpass("Password: ")) != (
        getpass("Repeat for confirmation: ") if twice else password
    ):
        complain("the two passwords differ")
    return password


def _line_of_stdin() -> str:
    return sys.stdin.buffer.readline().decode().removesuffix("\n").removesuffix("\r")


def _show_generated(generate: bool, password: str) -> None:
    if generate:
        print(password)


def add(
    *,
    name: Name,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
    email: Annotated[str, Option(help="Address whose mail it gets.")] = "",
    display_name: Annotated[str, Option(help="A name for people.")] = "",
    maildrop: Annotated[
        str | None, Option(help="The maildrop's name, if another than the account's.")
    ] = None,
    password_stdin: FromStdin = False,
    generate: Generate = False,
    keep_secret: Annotated[
        bool,
        Option("--keep-secret", help="Keep the password itself: APOP and CRAM-MD5 need it."),
    ] = False,
    credential_stdin: Annotated[
        bool,
        Option("--credential-stdin", help="Read {SCHEME} and its data, in place of a password."),
    ] = False,
    protocol: Protocols = None,
    network: Networks = None,
    expires: Expires = None,
    master: Annotated[bool, Option("--master", help="May log in as any other account.")] = False,
    quota_octets: QuotaOctets = None,
    quota_messages: QuotaMessages = None,
    expire_days: ExpireDays = None,
) -> None:
    """Add an account."""
    loaded = load_for(config, data, sets)
    _heeded(loaded, expire_days)
    with _accounts(loaded) as accounts:
        password = None if credential_stdin else chosen_password(password_stdin, generate)
        accounts.add(
            name,
            password,
            credentials=[_line_of_stdin()] if credential_stdin else (),
            display_name=display_name,
            email=email,
            maildrop=maildrop,
            keep_secret=keep_secret,
            rights=Rights(
                frozenset(protocol) if protocol else None,
                tuple(network or ()),
                None if expires is None else expires.timestamp(),
                master,
                Quota.of(_octets(quota_octets), quota_messages),
                expire_days,
            ),
        )
        added = accounts.lookup(name)
    _show_generated(generate, password or "")
    if added is not None and (there := _mail_there(loaded, added)):
        complain(
            f"warning: {there}: the new account sees them. If they are somebody else's,"
            " remove the account, and add it with another --maildrop"
        )


def change(
    *,
    name: Name,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
    protocol: Protocols = None,
    any_protocol: Annotated[
        bool, Option("--any-protocol", help="May log in by all protocols.")
    ] = False,
    network: Networks = None,
    any_network: Annotated[
        bool, Option("--any-network", help="May log in from everywhere.")
    ] = False,
    expires: Expires = None,
    never_expires: Annotated[bool, Option("--never-expires")] = False,
    master: Annotated[
        bool | None, Option("--master/--no-master", help="May log in as any other account.")
    ] = None,
    quota_octets: QuotaOctets = None,
    quota_messages: QuotaMessages = None,
    default_quota: Annotated[
        bool, Option("--default-quota", help="Its quota is what the configuration says.")
    ] = False,
    expire_days: ExpireDays = None,
    default_expire: Annotated[
        bool, Option("--default-expire", help="Its mail expires as the configuration says.")
    ] = False,
) -> None:
    """Change what an account may; what isn't named stays as it is."""
    loaded = load_for(config, data, sets)
    _heeded(loaded, expire_days)
    with _accounts(loaded, name) as accounts:
        account = accounts.lookup(name)
        if account is None:
            raise NoSuchAccount(f"no account {name!r}")
        rights = Rights.of(account)
        if protocol or any_protocol:
            rights = replace(rights, protocols=frozenset(protocol) if protocol else None)
        if network or any_network:
            rights = replace(rights, networks=tuple(network or ()))
        if expires is not None or never_expires:
            rights = replace(rights, expires=None if expires is None else expires.timestamp())
        if master is not None:
            rights = replace(rights, master=master)
        if default_quota:
            rights = replace(rights, quota=None)
        quota = Quota.of(_octets(quota_octets), quota_messages)
        if quota is not None:
            rights = replace(rights, quota=quota.over(rights.quota or Quota()))
        if expire_days is not None or default_expire:
            rights = replace(rights, expire_days=expire_days)
        accounts.set_rights(name, rights)


def _heeded(loaded: Loaded, expire_days: int | None) -> None:
    """Tell somebody whose wish has no effect."""
    least = loaded.settings.pop3.expire_user_days
    if expire_days is not None and least is None:
        complain("--expire-days has no effect until pop3.expire_user_days is set")
    elif expire_days and least is not None and expire_days < least:
        complain(
            f"--expire-days {expire_days}: mail is kept for {least} days, as"
            f" pop3.expire_user_days = {least} is the least"
        )


def _octets(text: str | None) -> int | None:
    """Raises UsageError."""
    try:
        return None if text is None else octets_of(text)
    except ValueError as error:
        raise UsageError(f"--quota-octets {text}: {error}") from None


def passwd(
    *,
    name: Name,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
    password_stdin: FromStdin = False,
    generate: Generate = False,
    keep_secret: Annotated[
        bool | None,
        Option(
            "--keep-secret/--forget-secret",
            help="Whether to keep the password itself. [as it was]",
        ),
    ] = None,
) -> None:
    """Give an account a new password."""
    with _accounts(load_for(config, data, sets), name) as accounts:
        password = chosen_password(password_stdin, generate)
        accounts.set_password(name, password, keep_secret=keep_secret)
    _show_generated(generate, password)


def remove(
    name: Name, config: ConfigOption = None, data: DataOption = None, sets: SetOption = None
) -> None:
    """Remove an account. Its mail stays where it is."""
    loaded = load_for(config, data, sets)
    with _accounts(loaded, name) as accounts:
        removed = accounts.lookup(name)
        accounts.remove(name)
    if removed is not None and (there := _mail_there(loaded, removed)):
        complain(
            f"{there}: a new account of this name would see them. To remove them, add it again,"
            " and delete them by a POP3 client"
        )


def _mail_there(loaded: Loaded, account: Account) -> str:
    """What to say of an account's maildrop if it isn't empty; nothing if it is."""
    try:
        (usage,) = usages(loaded.settings, [account])
    except (StoreError, OSError, ValueError):
        usage = None
    name = one_line(account.maildrop_name)
    if usage is None:
        return f"the maildrop {name} can't be read now, and may hold messages"
    if not usage.messages:
        return ""
    return f"the maildrop {name} holds messages: {usage.messages}, octets: {usage.octets}"


def disable(
    name: Name, config: ConfigOption = None, data: DataOption = None, sets: SetOption = None
) -> None:
    """Keep an account from logging in and from getting mail."""
    with _accounts(load_for(config, data, sets), name) as accounts:
        accounts.disable(name)


def enable(
    name: Name, config: ConfigOption = None, data: DataOption = None, sets: SetOption = None
) -> None:
    """Take `disable` back."""
    with _accounts(load_for(config, data, sets), name) as accounts:
        accounts.enable(name)


def list_(
    *,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the accounts: a table on a terminal, else lines divided by tabs.

    It says what their maildrops hold and may hold; a maildrop that can't be read has "?".
    """
    settings = load_for(config, data, sets).settings
    found: list[Account] = []
    if "static" in settings.accounts.kinds:
        found += make_static_accounts(settings).list()
    if (kind := managed_kind(settings)) is not None:
        if kind == "sqlite" and not settings.accounts_file.exists():
            complain(f"there are no accounts yet in {settings.accounts_file}")
            raise Exit(FAILED)
        with managed_accounts(settings) as accounts:
            found += accounts.list()
    elif "static" not in settings.accounts.kinds:
        complain(f"accounts of kind {', '.join(settings.accounts.kinds)} can't be listed from here")
        raise Exit(FAILED)
    default = Quota(settings.store.quota_octets, settings.store.quota_messages)
    listed = [
        (account, usage, quota_for(account, default))
        for account, usage in zip(found, usages(settings, found), strict=True)
    ]
    if as_json:
        for each in listed:
            print(json.dumps(_as_json(*each)))
        return
    least = settings.pop3.expire_user_days
    rows = [(*_row(account, least), *_room(usage, quota)) for account, usage, quota in listed]
    print_table(_HEADINGS, rows, empty="no accounts")


def _as_json(account: Account, usage: Usage | None, quota: Quota | None) -> dict[str, Any]:
    """What the list says of an account; null: not known, or no limit."""
    return {
        "name": account.name,
        "email": account.email,
        "display_name": account.display_name,
        "maildrop": account.maildrop_name,
        "schemes": _schemes(account),
        "disabled": account.disabled,
        "master": account.master,
        "protocols": None if account.protocols is None else sorted(account.protocols),
        "networks": list(account.networks),
        "expires": account.expires,
        "app_passwords": len(account.app_passwords),
        "expire_days": account.expire_days,
        "messages": None if usage is None else usage.messages,
        "octets": None if usage is None else usage.octets,
        "quota_messages": None if quota is None else quota.messages or None,
        "quota_octets": None if quota is None else quota.octets or None,
    }


def _room(usage: Usage | None, quota: Quota | None) -> tuple[str, ...]:
    """Messages and octets that there are, and that there may be; empty without a limit."""
    there = ("?", "?") if usage is None else tuple(map(str, usage))
    limits = (None, None) if quota is None else (quota.messages, quota.octets)
    return (*there, *(str(limit or "") for limit in limits))


def _row(account: Account, least_days: int | None) -> tuple[str, ...]:
    state = ", ".join(_state(account, least_days))
    texts = (account.name, account.email, account.display_name, account.maildrop_name)
    return (*map(one_line, texts), ", ".join(_schemes(account)), state)


def _schemes(account: Account) -> list[str]:
    return [split_credential(each)[0] for each in account.credentials]


def _state(account: Account, least_days: int | None) -> Iterator[str]:
    if account.disabled:
        yield "disabled"
    if account.master:
        yield "master"
    if account.protocols is not None:
        yield "by " + "/".join(sorted(account.protocols))
    if account.networks:
        yield "from " + " ".join(account.networks)
    if account.expires is not None:
        yield f"until {_date(account.expires)}"
    if account.app_passwords:
        yield f"{len(account.app_passwords)} app passwords"
    if (days := account.expire_days) is not None:
        if least_days is None:
            yield f"expire days {days} (no effect)"
        elif 0 < days < least_days:
            yield f"expire days {days} ({least_days} count)"
        else:
            yield f"expire days {days}"


def _date(seconds: float | None) -> str:
    if seconds is None:
        return "never"
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


AppName: TypeAlias = Annotated[str, Argument(help="What the password is for.")]


def add_app_password(
    name: Name,
    app: AppName,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
) -> None:
    """Make an app password up and show it this once."""
    with _accounts(load_for(config, data, sets), name) as accounts:
        password = new_password()
        accounts.add_app_password(name, app, password)
    print(password)


def list_app_passwords(
    name: Name, config: ConfigOption = None, data: DataOption = None, sets: SetOption = None
) -> None:
    """List an account's app passwords, and when each was made and last used."""
    with _accounts(load_for(config, data, sets), name) as accounts:
        for each in accounts.app_passwords(name):
            print(f"{one_line(each.name)}\t{_date(each.made)}\t{_date(each.used)}")


def remove_app_password(
    name: Name,
    app: AppName,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
) -> None:
    """Revoke an app password."""
    with _accounts(load_for(config, data, sets), name) as accounts:
        accounts.remove_app_password(name, app)


app = Group(
    "Add, change, list and remove accounts.",
    {
        "add": add,
        "change": change,
        "passwd": passwd,
        "remove": remove,
        "disable": disable,
        "enable": enable,
        "list": list_,
        "app-password": Group(
            "Further passwords of an account, one for each device.",
            {
                "add": add_app_password,
                "list": list_app_passwords,
                "remove": remove_app_password,
            },
            example="list joe",
        ),
    },
    example="list",
)
