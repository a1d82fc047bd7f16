"""`restante console`: who may log in to the console."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from restante.app.administrators import Administrators
from restante.app.cli.command_line import Argument, Group
from restante.app.cli.options import ConfigOption, DataOption, SetOption, load_for
from restante.app.cli.user import FromStdin, Generate, chosen_password

Name: TypeAlias = Annotated[str, Argument(help="The administrator's name.")]


def _administrators(config: ConfigOption, data: DataOption, sets: SetOption) -> Administrators:
    return Administrators(load_for(config, data, sets).settings.administrators_file)


def add(
    *,
    name: Name,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
    password_stdin: FromStdin = False,
    generate: Generate = False,
) -> None:
    """Let somebody log in to the console. An administrator is no mail account."""
    _set(_administrators(config, data, sets), name, password_stdin, generate, new=True)


def passwd(
    *,
    name: Name,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
    password_stdin: FromStdin = False,
    generate: Generate = False,
) -> None:
    """Give an administrator a new password. Who is logged in with the old one is logged out."""
    _set(_administrators(config, data, sets), name, password_stdin, generate, new=False)


def _set(
    administrators: Administrators, name: str, from_stdin: bool, generate: bool, *, new: bool
) -> None:
    password = chosen_password(from_stdin, generate)
    administrators.set(name, password, new=new)
    if generate:
        print(password)


def remove(
    name: Name, config: ConfigOption = None, data: DataOption = None, sets: SetOption = None
) -> None:
    """Let an administrator log in no more. Who is logged in is logged out."""
    _administrators(config, data, sets).remove(name)


def list_(config: ConfigOption = None, data: DataOption = None, sets: SetOption = None) -> None:
    """List the administrators, a name a line."""
    for name in _administrators(config, data, sets).names():
        print(name)


app = Group(
    "Who may log in to the console.",
    {"add": add, "passwd": passwd, "remove": remove, "list": list_},
    example="add",
)
