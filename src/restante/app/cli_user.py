"""`restante user`: the accounts in the database."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, TypeAlias

import typer
from rich.console import Console
from rich.table import Table

from restante.accounts.contract import Account
from restante.accounts.schemes import split_credential
from restante.accounts.sqlite import SqliteAccounts
from restante.app.config import ConfigError, Loaded, Problem
from restante.app.files import make_private_folder
from restante.app.first_start import new_password
from restante.app.logs import one_line
from restante.app.options import (
    FAILED,
    ConfigOption,
    DataOption,
    SetOption,
    complain,
    is_terminal,
    load_for,
)
from restante.app.parts import make_accounts, opened_accounts

app = typer.Typer(help="Add, change, list and remove accounts.", no_args_is_help=True)

Name: TypeAlias = Annotated[str, typer.Argument(help="The account's name.")]
FromStdin: TypeAlias = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]
Generate: TypeAlias = Annotated[
    bool, typer.Option("--generate", help="Make a password up and show it this once.")
]

_HEADINGS = ("Name", "E-mail", "Display name", "Maildrop", "Kept as", "")


@contextmanager
def _accounts(loaded: Loaded) -> Iterator[SqliteAccounts]:
    accounts = make_accounts(loaded.settings)
    if not isinstance(accounts, SqliteAccounts):
        text = "the accounts are in the configuration itself: change accounts.static there"
        raise ConfigError([Problem(loaded.place("accounts.kind"), "accounts.kind", "", text)])
    make_private_folder(accounts.path.parent)
    with accounts:
        yield accounts


def _password(from_stdin: bool, generate: bool) -> str:
    if from_stdin and generate:
        raise typer.BadParameter("--password-stdin and --generate exclude each other")
    if generate:
        return new_password()
    if from_stdin:
        octets = sys.stdin.buffer.readline()
        return octets.decode().removesuffix("\n").removesuffix("\r")
    if not is_terminal(sys.stdin):
        raise typer.BadParameter("no terminal to ask at: give --password-stdin or --generate")
    text: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return text


def _show_generated(generate: bool, password: str) -> None:
    if generate:
        print(password)


@app.command()
def add(
    *,
    name: Name,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
    email: Annotated[str, typer.Option(help="Address whose mail it gets.")] = "",
    display_name: Annotated[str, typer.Option(help="A name for people.")] = "",
    maildrop: Annotated[
        str | None, typer.Option(help="The maildrop's name, if another than the account's.")
    ] = None,
    password_stdin: FromStdin = False,
    generate: Generate = False,
    keep_secret: Annotated[
        bool,
        typer.Option("--keep-secret", help="Keep the password itself: APOP and CRAM-MD5 need it."),
    ] = False,
) -> None:
    """Add an account."""
    with _accounts(load_for(config, data, sets)) as accounts:
        password = _password(password_stdin, generate)
        accounts.add(
            name,
            password,
            display_name=display_name,
            email=email,
            maildrop=maildrop,
            keep_secret=keep_secret,
        )
    _show_generated(generate, password)


@app.command()
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
        typer.Option(
            "--keep-secret/--forget-secret",
            help="Whether to keep the password itself. [as it was]",
        ),
    ] = None,
) -> None:
    """Give an account a new password."""
    with _accounts(load_for(config, data, sets)) as accounts:
        password = _password(password_stdin, generate)
        accounts.set_password(name, password, keep_secret=keep_secret)
    _show_generated(generate, password)


@app.command()
def remove(
    name: Name, config: ConfigOption = None, data: DataOption = None, sets: SetOption = None
) -> None:
    """Remove an account. Its mail stays where it is."""
    with _accounts(load_for(config, data, sets)) as accounts:
        accounts.remove(name)


@app.command()
def disable(
    name: Name, config: ConfigOption = None, data: DataOption = None, sets: SetOption = None
) -> None:
    """Keep an account from logging in and from getting mail."""
    with _accounts(load_for(config, data, sets)) as accounts:
        accounts.disable(name)


@app.command()
def enable(
    name: Name, config: ConfigOption = None, data: DataOption = None, sets: SetOption = None
) -> None:
    """Take `disable` back."""
    with _accounts(load_for(config, data, sets)) as accounts:
        accounts.enable(name)


@app.command("list")
def list_(config: ConfigOption = None, data: DataOption = None, sets: SetOption = None) -> None:
    """List the accounts: a table on a terminal, else lines divided by tabs."""
    loaded = load_for(config, data, sets)
    with opened_accounts(loaded.settings) as accounts:
        if isinstance(accounts, SqliteAccounts) and not accounts.path.exists():
            complain(f"there are no accounts yet in {accounts.path}")
            raise typer.Exit(FAILED)
        rows = [_row(account) for account in accounts.list()]
    if is_terminal(sys.stdout):
        table = Table(*_HEADINGS)
        for row in rows:
            table.add_row(*row)
        Console(markup=False).print(table)
    else:
        for row in rows:
            print("\t".join(row))


def _row(account: Account) -> tuple[str, ...]:
    schemes = ", ".join(split_credential(each)[0] for each in account.credentials)
    state = "disabled" if account.disabled else ""
    texts = (account.name, account.email, account.display_name, account.maildrop_name)
    return (*map(one_line, texts), schemes, state)
