"""The configuration is read: flags before environment before file before defaults."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from restante.app.config.settings import Settings

DEFAULT_FILE = "restante.toml"
PREFIX = "RESTANTE_"

Key = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake.

    place: the file, variable or flag it is in. key: dotted. value: as text, "" when it is
    secret or there is none. text: what is wrong, and what is allowed. warning: it can be
    lived with.
    """

    place: str
    key: str
    value: str
    text: str
    warning: bool = False

    def __str__(self) -> str:
        given = f" = {self.value}" if self.value else ""
        return ": ".join(part for part in (self.place, self.key + given, self.text) if part)


class ConfigError(Exception):
    """The configuration can't be used. `problems` has everything that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


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
    tree = _parse(file) if file else {}
    # What is in the file is relative to the file, everything else to the current folder.
    _make_paths(Settings, tree, file.parent if file else Path.cwd())
    from_environ, problems = _from_environ(environ)
    sources: dict[Key, str] = {}
    for override in (*from_environ, *overrides):
        if _put(tree, override):
            sources[override.key] = override.place
    base = file.parent if file else Path.cwd()
    server = tree.setdefault("server", {})
    if isinstance(server, dict):
        server.setdefault("data", base / "data")
    if file is None and isinstance(tls := tree.setdefault("tls", {}), dict):
        tls.setdefault("development", "certificate" not in tls)
    while True:
        try:
            settings = Settings.model_validate(tree)
        except ValidationError as error:
            wrong = {_key_of(each["loc"]): each["type"] for each in error.errors(include_url=False)}
            for key, kind in wrong.items():
                place = _source(sources, key) or _shown_path(file)
                problems.append(_problem(tree, key, kind, place))
            for key in wrong:
                _drop(tree, key)
        else:
            return Loaded(settings, file, tuple(problems), sources)


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
        return tomllib.loads(file.read_text("utf-8"))
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
        if key and section in Settings.model_fields:
            meant = f"{PREFIX}{section}__{key}".upper()
            wrong = f"two underscores divide section and key: {meant}"
            problems.append(Problem(name, f"{section}.{key}", "", wrong))
    return found, problems


def field_at(key: Key) -> FieldInfo | None:
    """The field that `key` leads to, or None if there is none."""
    model: type[BaseModel] | None = Settings
    field: FieldInfo | None = None
    in_table = False
    for part in key:
        if in_table or isinstance(part, int):
            in_table = False
            continue
        if model is None or part not in model.model_fields:
            return None
        field = model.model_fields[part]
        model = model_in(field.annotation)
        in_table = _is_table(field)
    return field


def _is_table(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is dict


def _types_in(annotation: Any) -> set[Any]:
    parts = get_args(annotation)
    found = {get_origin(annotation) or annotation}
    return found.union(*map(_types_in, parts)) if parts else found


def model_in(annotation: Any) -> type[BaseModel] | None:
    for each in _types_in(annotation):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each
    return None


def _value(key: Key, text: str) -> Any:
    """The text of a flag or variable, as the type of its key wants it."""
    field = field_at(key)
    types = _types_in(field.annotation) if field else set()
    if Path in types and not types & {list, dict}:
        return Path(text).absolute()
    if types & {int, float, bool, list, dict}:
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            if list in types:
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


def _make_paths(model: type[BaseModel], tree: Any, base: Path) -> None:
    """Make texts that are paths absolute, in place."""
    if not isinstance(tree, dict):
        return
    for name, field in model.model_fields.items():
        value = tree.get(name)
        below = model_in(field.annotation)
        if below and isinstance(value, dict):
            for each in value.values() if _is_table(field) else [value]:
                _make_paths(below, each, base)
        elif isinstance(value, str) and Path in _types_in(field.annotation):
            tree[name] = base / Path(value).expanduser()


def _key_of(location: Key) -> Key:
    """Where in the file an error is: pydantic's location without the parts it made up."""
    while location and isinstance(location[-1], str) and field_at(location) is None:
        above = field_at(location[:-1])
        if len(location) == 1 or (above is not None and model_in(above.annotation)):
            return location  # an unknown key
        location = location[:-1]
    return location


def _problem(tree: Mapping[str, Any], key: Key, kind: str, place: str) -> Problem:
    dotted = ".".join(map(str, key))
    field = field_at(key)
    if kind == "extra_forbidden" or field is None:
        # What is given may be a secret whose name is misspelt: it isn't shown.
        return Problem(place, dotted, "", f"unknown key{_suggestion(key)}")
    if kind == "missing":
        return Problem(place, dotted, "", f"missing; allowed: {field.description}")
    return Problem(place, dotted, _shown(tree, key, field), f"allowed: {field.description}")


def _suggestion(key: Key) -> str:
    *above, name = key
    field = field_at(tuple(above)) if above else None
    model = Settings if not above else model_in(field.annotation) if field else None
    names = list(model.model_fields) if model else []
    if close := get_close_matches(str(name), names, n=1):
        return f"; did you mean {'.'.join(map(str, [*above, close[0]]))}?"
    for section, each in Settings.model_fields.items():
        below = model_in(each.annotation)
        if below and name in below.model_fields:
            return f"; did you mean {section}.{name}?"
    return f"; known here: {', '.join(names)}" if names else ""


def _shown(tree: Any, key: Key, field: FieldInfo) -> str:
    for part in key:
        try:
            tree = tree[part]
        except (KeyError, IndexError, TypeError):
            return ""
    if SecretStr in _types_in(field.annotation) or model_in(field.annotation):
        return ""
    text = str(tree) if isinstance(tree, Path) else toml_value(tree)
    return text if len(text) <= 80 else text[:77] + "..."


def toml_value(value: Any) -> str:
    """`value` as TOML writes it, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, Mapping):
        pairs = (f"{_bare(name)} = {toml_value(each)}" for name, each in value.items())
        return f"{{{', '.join(pairs)}}}"
    escaped = "".join(_escape(character) for character in str(value))
    return f'"{escaped}"'


def _escape(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08X}"


def _bare(name: str) -> str:
    plain = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if plain else toml_value(name)


def _source(sources: Mapping[Key, str], key: Key) -> str | None:
    for length in range(len(key), 0, -1):
        if place := sources.get(key[:length]):
            return place
    # A whole table that only a flag or variable has begun.
    return next((place for each, place in sources.items() if each[: len(key)] == key), None)


def _drop(tree: Any, key: Key) -> None:
    """Take what is wrong away, so that the rest can be looked at too.

    Of a list the whole goes, of a table of accounts or names the one entry.
    """
    for i, part in enumerate(key):
        field = field_at(key[:i]) if i else None
        if isinstance(part, int):
            key = key[:i]
            break
        if field is not None and _is_table(field):
            key = key[: i + 1]
            break
    for part in key[:-1]:
        tree = tree.get(part, {})
    tree.pop(key[-1], None)


def show(settings: Settings) -> str:
    """The effective configuration as TOML, secrets hidden."""
    lines = []
    for section, values in settings.model_dump(mode="json", exclude_none=True).items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {toml_value(value)}" for name, value in values.items()]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"
