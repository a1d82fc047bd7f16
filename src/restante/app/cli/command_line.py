"""Functions as commands: what a function's parameters are annotated with becomes its options.

A parser by `argparse` is made of the one command that is called; nothing else is loaded.
"""

from __future__ import annotations

import argparse
import inspect
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import Any, TypeAlias, get_args, get_origin, get_type_hints

Function: TypeAlias = Callable[..., None]


class Exit(Exception):
    """Ends a command. status: its exit status."""

    def __init__(self, status: int = 0) -> None:
        super().__init__(status)
        self.status = status


class UsageError(Exception):
    """The command line is wrong; the text says how."""


class Option:
    """A parameter that is an option. flags: as "--name", "-n"; else they come from its name.

    A flag that is true or false is written "--yes/--no". min, max: of a number. formats: of a
    date, for `datetime.strptime`.
    """

    def __init__(
        self,
        *flags: str,
        help: str = "",
        metavar: str | None = None,
        min: float | None = None,
        max: float | None = None,
        formats: Sequence[str] = (),
    ) -> None:
        self.flags, self.help, self.metavar = flags, help, metavar
        self.min, self.max, self.formats = min, max, formats


class Argument(Option):
    """A parameter that stands by itself on the command line; a list takes several.

    With a default it may be left out.
    """


@dataclass(frozen=True)
class Lazy:
    """A command that is imported when it is called. path: "module:name". help: one line."""

    path: str
    help: str

    def load(self) -> Function | Group:
        """The command itself."""
        module, _, name = self.path.partition(":")
        found: Function | Group = getattr(import_module(module), name)
        return found


@dataclass(frozen=True)
class Group:
    """Commands below one name. help: what they are for. example: one of them as it is called."""

    help: str
    commands: Mapping[str, Function | Group | Lazy]
    example: str

    def described(self, name: str) -> str:
        """What `--help` prints."""
        width = max(map(len, self.commands))
        lines = [f"  {each:{width}}  {_summary(self.commands[each])}" for each in self.commands]
        listed = "\n".join(lines)
        return f"Usage: {name} COMMAND ...\n\n{self.help}\n\nCommands:\n{listed}"

    def without_command(self, name: str, options: Sequence[str]) -> str:
        """What to say when `options` come where a command belongs."""
        meant = next((each for each in options if each in self.commands), self.example)
        rest = [each for each in options if each != meant]
        return (
            f"the command of {name} is missing: known are {', '.join(self.commands)};"
            f" for example: {name} {meant} {shlex.join(rest)}"
        )

    def find(self, name: str) -> Function | Group:
        """A command. Raises UsageError."""
        found = self.commands.get(name)
        if found is None:
            near = get_close_matches(name, self.commands, n=1)
            hint = (
                f"; did you mean {near[0]}?" if near else f": known are {', '.join(self.commands)}"
            )
            raise UsageError(f"no such command {name!r}{hint}")
        return found.load() if isinstance(found, Lazy) else found


def execute(command: Function | Group, arguments: Sequence[str], name: str) -> None:
    """Run a command. Raises UsageError, SystemExit (by `--help` and by what argparse refuses)."""
    rest = list(arguments)
    while isinstance(command, Group):
        if not rest or rest[0] in ("-h", "--help"):
            print(command.described(name))
            raise Exit(0 if rest else 2)
        if rest[0].startswith("-"):
            raise UsageError(command.without_command(name, rest))
        name, command = f"{name} {rest[0]}", command.find(rest.pop(0))
    values = _parser(command, name).parse_args(rest)
    command(**vars(values))


def _summary(command: Function | Group | Lazy) -> str:
    if isinstance(command, (Group, Lazy)):
        return command.help
    return inspect.cleandoc(command.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        super().add_usage(usage, actions, groups, "Usage: " if prefix is None else prefix)


def _parser(function: Function, name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        name,
        description=inspect.cleandoc(function.__doc__ or ""),
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    hints = get_type_hints(function, include_extras=True)
    for each in inspect.signature(function).parameters.values():
        kind, option = get_args(hints[each.name])
        _add(parser, each, kind, option)
    return parser


def _add(
    parser: argparse.ArgumentParser, parameter: inspect.Parameter, kind: Any, option: Option
) -> None:
    required = parameter.default is inspect.Parameter.empty
    default = None if required else parameter.default
    several = list in {get_origin(each) or each for each in (kind, *get_args(kind))}
    plain = next(each for each in _types(kind) if each not in (NoneType, list))
    text = option.help.replace("%", "%%")
    flags = option.flags or (f"--{parameter.name.replace('_', '-')}",)
    if isinstance(option, Argument):
        metavar = option.metavar or parameter.name.upper()
        one, optional = ("+", "*") if several else (None, "?")
        parser.add_argument(
            parameter.name,
            metavar=metavar,
            type=_reader(plain, option),
            help=text,
            nargs=one if required else optional,
            default=default,
        )
    elif plain is bool:
        for flag, value in zip(flags[0].split("/"), (True, False), strict=False):
            parser.add_argument(
                flag, dest=parameter.name, action="store_const", const=value, default=default,
                help=text if value else argparse.SUPPRESS,
            )  # fmt: skip
    else:
        parser.add_argument(
            *flags, dest=parameter.name, required=required, default=default, help=text,
            action="append" if several else "store",
            metavar=option.metavar or plain.__name__.upper().replace("STR", "TEXT"),
            type=_reader(plain, option),
        )  # fmt: skip


def _types(kind: Any) -> list[Any]:
    parts = get_args(kind)
    return [each for part in parts for each in _types(part)] if parts else [kind]


def _reader(kind: Any, option: Option) -> Callable[[str], Any]:
    """Makes a value of a text. Raises argparse.ArgumentTypeError."""

    def read(text: str) -> Any:
        if kind is datetime:
            for pattern in option.formats:
                try:
                    return datetime.strptime(text, pattern)
                except ValueError:
                    continue
            wanted = " or ".join(f"{datetime(2027, 1, 31, 12):{each}}" for each in option.formats)
            raise argparse.ArgumentTypeError(f"{text!r}: allowed is a date such as {wanted}")
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r}: allowed is a number") from None
        least, most = option.min, option.max
        if least is not None and most is not None and not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r}: allowed is {least:g} to {most:g}")
        return value

    return read if kind is not Path else Path
