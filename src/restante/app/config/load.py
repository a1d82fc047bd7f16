"""The configuration is read: flags before environment before file before defaults."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from restante.app.config.problem import ConfigError, Problem
from restante.app.config.read_tables import Key, TableReader, hint_at, types_in
from restante.app.config.settings import Settings
from restante.app.config.toml import toml_value

DEFAULT_FILE = "restante.toml"
PREFIX = "RESTANTE_"


@dataclass(frozen=True, slots=True)
class Override:
    """A value given by a flag or the environment, as text; `place` names it in errors."""

    place: str
    key: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, and where it came from.

    file: the configuration file, or None when there is none. problems: what was wrong;
    the keys concerned then have their defaults. sources: keys that weren't in the file.
    """

    settings: Settings
    file: Path | None
    problems: tuple[Problem, ...]
    sources: Mapping[Key, str]

    def place(self, key: str) -> str:
        """Where `key` was set, or would be."""
        return _source(self.sources, _parts(key)) or _shown_path(self.file)

    def is_in_file(self, key: str) -> bool:
        """Whether `key` has its value by the file, if it has one."""
        return self.file is not None and _source(self.sources, _parts(key)) is None


def load(
    file: Path | None = None,
    *,
    overrides: Iterable[Override] = (),
    environ: Mapping[str, str] = os.environ,
) -> Loaded:
    """The configuration from all its sources. Raises ConfigError with all mistakes."""
    loaded = read(file, overrides=overrides, environ=environ)
    if loaded.problems:
        raise ConfigError(loaded.problems)
    return loaded


def read(
    file: Path | None = None,
    *,
    overrides: Iterable[Override] = (),
    environ: Mapping[str, str] = os.environ,
) -> Loaded:
    """As `load`, but what is wrong is in the result's `problems`.

    file: None looks for `RESTANTE_CONFIG`, then for `restante.toml` in the current folder.
    Raises ConfigError when the file can't be read at all.
    """
    file = find_file(file, environ)
    base = file.parent if file else Path.cwd()
    tree = _parse(file) if file else {}
    from_environ, problems = _from_environ(environ)
    sources: dict[Key, str] = {}
    for override in (*from_environ, *overrides):
        if _put(tree, override):
            sources[override.key] = override.place
    if isinstance(server := tree.setdefault("server", {}), dict):
        server.setdefault("data", base / "data")
    if file is None and isinstance(tls := tree.setdefault("tls", {}), dict):
        tls.setdefault("development", "certificate" not in tls)
    reader = TableReader(
        place=lambda key: _source(sources, key) or _shown_path(file),
        # What is in the file is relative to the file, everything else to the current folder.
        base=lambda key: Path.cwd() if _source(sources, key) else base,
    )
    settings = reader.section(Settings, tree)
    return Loaded(settings, file, (*problems, *reader.problems), sources)


def find_file(file: Path | None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The configuration file to use, absolute; None when there is none."""
    if file is None and environ.get(f"{PREFIX}CONFIG"):
        file = Path(environ[f"{PREFIX}CONFIG"])
    if file is None and Path(DEFAULT_FILE).is_file():
        file = Path(DEFAULT_FILE)
    return file.absolute() if file else None


def parse_flag(text: str) -> Override:
    """`section.key=value`, as given to `--set`. Raises ConfigError."""
    name, equals, value = text.partition("=")
    key = tuple(name.strip().split("."))
    if not equals or len(key) < 2 or not all(key):
        raise ConfigError([Problem("--set", name.strip(), "", "not of the form section.key=value")])
    return Override("--set", key, value.strip())


def _parts(key: str) -> Key:
    return tuple(int(part) if part.isdigit() else part for part in key.split("."))


def _shown_path(file: Path | None) -> str:
    if file is None:
        return ""
    return str(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)


def _parse(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8-sig"))
    except OSError as error:
        text = f"can't be read: {error.strerror}"
    except UnicodeDecodeError:
        text = "isn't UTF-8 text"
    except tomllib.TOMLDecodeError as error:
        text = f"isn't TOML: {error}"
    raise ConfigError([Problem(_shown_path(file), "", "", text)])


def _from_environ(environ: Mapping[str, str]) -> tuple[list[Override], list[Problem]]:
    found, problems = [], []
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX):
            continue
        parts = tuple(part.lower() for part in name.removeprefix(PREFIX).split("__"))
        if len(parts) > 1:
            found.append(Override(name, parts, text))
            continue
        section, _, key = parts[0].partition("_")
        if key and hint_at((section,)) is not None:
            meant = f"{PREFIX}{section}__{key}".upper()
            wrong = f"two underscores divide section and key: {meant}"
            problems.append(Problem(name, f"{section}.{key}", "", wrong))
    return found, problems


def _value(key: Key, text: str) -> Any:
    """The text of a flag or variable, as the type of its key wants it."""
    types = set(types_in(hint_at(key)))
    if types & {int, float, bool, tuple, dict}:
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            if tuple in types:
                return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _put(tree: dict[str, Any], override: Override) -> bool:
    for part in override.key[:-1]:
        below = tree.setdefault(part, {})
        if not isinstance(below, dict):
            return False  # the file has something else there, and that is reported
        tree = below
    tree[override.key[-1]] = _value(override.key, override.text)
    return True


def _source(sources: Mapping[Key, str], key: Key) -> str | None:
    for length in range(len(key), 0, -1):
        if place := sources.get(key[:length]):
            return place
    # A whole table that only a flag or variable has begun.
    return next((place for each, place in sources.items() if each[: len(key)] == key), None)


def show(settings: Settings) -> str:
    """The effective configuration as TOML, secrets hidden."""
    lines = []
    for section, values in _plain(settings).items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {toml_value(value)}" for name, value in values.items()]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _plain(value: Any) -> Any:
    """Sections as mappings, without keys that have no value."""
    if is_dataclass(value):
        found = {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
        return {name: each for name, each in found.items() if each is not None}
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [*map(_plain, value)] if isinstance(value, tuple) else value
