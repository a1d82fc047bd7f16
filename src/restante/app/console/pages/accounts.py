"""Accounts: find, add and change them, where the store can."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from restante.accounts.account import Account, AccountError, Quota
from restante.accounts.kept import ManagedAccounts
from restante.accounts.names import NoSuchAccount
from restante.accounts.quotas import shown_octets
from restante.accounts.rights import PROTOCOLS, Rights
from restante.accounts.schemes import split_credential
from restante.app.accounts import managed_accounts, managed_kind
from restante.app.console.accounts import NotThere
from restante.app.console.looks import StillLooking
from restante.app.console.paging import Page, page_number
from restante.app.console.shared import Console, console_of, form_of
from restante.app.history import flush_history, read_history
from restante.app.passwords import new_password
from restante.observing.history_place import HistoryError
from restante.stores.contract import StoreError
from restante.stores.room import quota_for

PAGE = 100
MAX_PASSWORD = 1024


def known_accounts(console: Console, request: Request, size: int) -> tuple[Page, str, str]:
    """A page of the accounts that can be listed, what is looked for, and what went wrong."""
    find = request.query_params.get("find", "")[:200].strip()
    try:
        page, problem = console.accounts.page(find, page_number(request), size)
    except (AccountError, OSError) as error:
        return Page.of((), 1, size), find, f"The accounts can't be read: {error}"
    return page, find, problem


@contextmanager
def _changing(console: Console) -> Iterator[ManagedAccounts]:
    """The accounts that can be changed here. Raises AccountError."""
    with managed_accounts(console.settings) as accounts:
        yield accounts


def show(request: Request) -> Response:
    """The list; `find` is a part of a name or an address."""
    console = console_of(request)
    page, find, problem = known_accounts(console, request, PAGE)
    return console.page(
        request, "accounts.html", "accounts",
        page=page, find=find, problem=problem, can_add=managed_kind(console.settings) is not None,
    )  # fmt: skip


def one(request: Request) -> Response:
    """One account."""
    return _one(request, request.query_params.get("name", ""))


def _one(request: Request, name: str, *, password: str = "", what: str = "") -> Response:
    console = console_of(request)
    try:
        account = console.accounts.find(name)
    except NotThere as error:
        raise HTTPException(404, str(error)) from error
    except AccountError as error:
        raise HTTPException(503, f"The accounts can't be asked: {error}") from error
    app_passwords: list[Any] = []
    changeable = False
    try:
        with _changing(console) as accounts:
            changeable = accounts.lookup(account.name) is not None
            if changeable:
                app_passwords = list(accounts.app_passwords(account.name))
    except AccountError:
        pass
    devices, problem = [], flush_history(console.settings)
    try:
        with read_history(console.settings) as history:
            devices = history.devices(account.name)[:50]
    except HistoryError as error:
        problem = f"The history can't be read: {error}"
    expires = account.expires
    return console.page(
        request, "account.html", "accounts",
        account=account, changeable=changeable, app_passwords=app_passwords, devices=devices,
        schemes=[split_credential(each)[0] for each in account.credentials],
        expires="" if expires is None else f"{datetime.fromtimestamp(expires):%Y-%m-%d}",
        expired=expires is not None and expires < time.time(),
        holds=_holds(console, account),
        protocols=PROTOCOLS, password=password, what=what, problem=problem,
    )  # fmt: skip


def _holds(console: Console, account: Account) -> str:
    """What the maildrop holds and may hold, for people."""
    settings = console.settings
    try:
        usage = console.maildrops.usage(account)
    except StillLooking:
        return "is being counted: look again in a moment"
    except StoreError:
        return "can't be told now"
    default = Quota(settings.store.quota_octets, settings.store.quota_messages)
    quota = quota_for(account, default) or default
    messages, octets = f"{usage.messages:,}", shown_octets(usage.octets)
    if quota.messages:
        messages += f" of {quota.messages:,}"
    if quota.octets:
        octets += f" of {shown_octets(quota.octets)}"
    return f"{messages} messages, {octets}"


def _path(name: str) -> str:
    return f"/accounts/one?{urlencode({'name': name})}"


def _password(form: dict[str, str]) -> tuple[str, bool]:
    """The password that was typed, or one that is made up. Raises ValueError."""
    given = form.get("password", "")
    if len(given) > MAX_PASSWORD:
        raise ValueError(f"A password has at most {MAX_PASSWORD} characters.")
    return (given, False) if given else (new_password(), True)


def add(request: Request) -> Response:
    """Add an account."""
    console, form = console_of(request), form_of(request)
    name = form.get("name", "").strip()
    try:
        password, made = _password(form)
        with _changing(console) as accounts:
            accounts.add(name, password, email=form.get("email", "").strip(),
                         display_name=form.get("display_name", "").strip())  # fmt: skip
    except (AccountError, ValueError) as error:
        return console.refused(request, str(error), "/accounts")
    console.done(request, f"added account {name!r}", "")
    return _one(request, name, password=password if made else "", what="The account's password")


def change(request: Request) -> Response:
    """Change one account; `do` says what."""
    console, form = console_of(request), form_of(request)
    name, do = form.get("name", ""), form.get("do", "")
    app = form.get("app", "").strip()
    shown, what = "", ""
    try:
        with _changing(console) as accounts:
            match do:
                case "passwd":
                    password, made = _password(form)
                    accounts.set_password(name, password)
                    shown, what = password if made else "", "The account's new password"
                    done = f"gave account {name!r} a new password"
                case "add-app":
                    shown, what = new_password(), f"The password for {app}"
                    accounts.add_app_password(name, app, shown)
                    done = f"made an app password {app!r} of account {name!r}"
                case "remove-app":
                    accounts.remove_app_password(name, app)
                    done = f"revoked the app password {app!r} of account {name!r}"
                case "disable":
                    accounts.disable(name)
                    done = f"disabled account {name!r}"
                case "enable":
                    accounts.enable(name)
                    done = f"enabled account {name!r}"
                case "rights":
                    account = accounts.lookup(name)
                    if account is None:
                        raise NoSuchAccount(f"no account {name!r}")
                    accounts.set_rights(name, _rights(form, Rights.of(account)))
                    done = f"changed the rights of account {name!r}"
                case _:
                    return console.refused(request, "That can't be done here.", _path(name))
    except (AccountError, ValueError) as error:
        return console.refused(request, str(error), _path(name))
    answer = console.done(request, done, _path(name))
    return _one(request, name, password=shown, what=what) if shown else answer


def _rights(form: dict[str, str], rights: Rights) -> Rights:
    """What the form says; what it has no fields for stays. Raises ValueError."""
    chosen = frozenset(each for each in PROTOCOLS if form.get(each))
    until = form.get("expires", "").strip()
    expires = datetime.strptime(until, "%Y-%m-%d").timestamp() if until else None
    return replace(
        rights,
        protocols=None if len(chosen) == len(PROTOCOLS) else chosen,
        networks=tuple(form.get("networks", "").replace(",", " ").split()),
        expires=expires,
        master=bool(form.get("master")),
    )


ROUTES = [
    Route("/accounts", show),
    Route("/accounts/one", one),
    Route("/accounts/add", add, methods=["POST"]),
    Route("/accounts/change", change, methods=["POST"]),
]
