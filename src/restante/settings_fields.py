"""Fields of settings: each default stands once, beside what is allowed.

A class of settings is a dataclass. Its fields are made by `bounded`, `choice`, `items` and
`described`, or by `same` of another class's; a plain default does where every value of the type is
allowed. `check` holds an instance against its declarations. `suggest_settings` answers a misspelt
name. Whoever needs the same settings in another form, as the configuration file does, reads them
from `allowed_of`.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from functools import lru_cache, wraps
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_KEY = "restante.settings"


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a setting may be.

    types: the types of its values; `float` stands for whole numbers too. optional: None is
        allowed. several: it is a tuple of values, each of which is held against the rest.
    least, most: the bounds of a number; None: there is none. choices: the only values.
    unit: of a number, such as "seconds". check: raises ValueError for a wrong value.
    words: what a value may be, for people, as "a whole number from 1 to 1000".
    """

    types: tuple[type, ...] = ()
    optional: bool = False
    several: bool = False
    least: float | None = None
    most: float | None = None
    choices: tuple[Any, ...] = ()
    unit: str = ""
    check: Callable[[Any], object] | None = None
    words: str = ""

    def __str__(self) -> str:
        """All of it for people, as "a list of IP addresses"."""
        words = f"a list of {self.words}" if self.several else self.words
        return f"{words}, or none" if self.optional else words


def bounded(default: T, least: float, most: float | None = None, *, unit: str = "") -> T:
    """A number from `least` to `most`, both included. unit: what it counts, as "seconds"."""
    return _field(default, Allowed(least=least, most=most, unit=unit))


def choice(default: T, *allowed: Any) -> T:
    """One of the values `allowed`."""
    return _field(default, Allowed(choices=allowed))


def items(default: T, words: str, check: Callable[[Any], object]) -> T:
    """A tuple. words: what its items are. check: raises ValueError for an item that is wrong."""
    return _field(default, Allowed(words=words, check=check))


def described(
    default: Any,
    words: str,
    check: Callable[[Any], object] | None = None,
    *,
    compare: bool = True,
) -> Any:
    """A setting whose type doesn't say enough. words: what it may be. check: as of `items`.

    compare: as of `dataclasses.field`.
    """
    return _field(default, Allowed(words=words, check=check), compare=compare)


def same(settings: Any, name: str) -> Any:
    """The setting `name` of another class: its default and what is allowed."""
    (found,) = (each for each in fields(settings) if each.name == name)
    return _field(found.default, found.metadata.get(_KEY, Allowed()))


def _field(default: T, allowed: Allowed, *, compare: bool = True) -> T:
    # It has the field's type for type checkers, as `dataclasses.field` does.
    made: T
    if isinstance(default, dict):  # each instance has one of its own
        made = field(default_factory=lambda: dict(default), metadata={_KEY: allowed})  # type: ignore[assignment]
    else:
        made = field(default=default, compare=compare, metadata={_KEY: allowed})
    return made


@lru_cache
def allowed_of(settings: type) -> Mapping[str, Allowed]:
    """What each setting of a class may be, by name."""
    hints = get_type_hints(settings)
    return {
        each.name: _complete(each.metadata.get(_KEY, Allowed()), hints[each.name])
        for each in fields(settings)
    }


def check(settings: Any) -> None:
    """Hold the settings of a dataclass's instance against their declarations.

    A list in place of a tuple is made one. Raises TypeError for a value of a wrong type and
    ValueError for one that isn't allowed; both name the setting, its value and what is allowed.
    """
    kind: Any = type(settings)
    for name, allowed, default in _declared(kind):
        value = getattr(settings, name)
        if value is default or (value is None and allowed.optional):
            continue
        if allowed.several:
            if not isinstance(value, tuple | list):
                raise TypeError(f"{name}={value!r}: allowed is {allowed}")
            object.__setattr__(settings, name, tuple(value))
        for each in value if allowed.several else (value,):
            _check_value(name, each, allowed)


@lru_cache
def _declared(kind: Any) -> list[tuple[str, Allowed, Any]]:
    """Name, what is allowed, and the default, which needs no check, of each setting."""
    allowed = allowed_of(kind)
    return [(each.name, allowed[each.name], each.default) for each in fields(kind)]


def check_setting(name: str, value: str, words: str, check: Callable[[str], object]) -> None:
    """Hold one text against what is allowed, as `check` does for a dataclass's."""
    _check_value(name, value, Allowed(types=(str,), words=words, check=check))


def suggest_settings(kind: type[T]) -> type[T]:
    """A class decorator: a misspelt keyword is a TypeError with the one that was meant.

    An instance whose making was refused has a `repr`, too: test reports show it.
    """
    made, shown = kind.__init__, kind.__repr__
    known = keywords(kind)

    @wraps(made)
    def make(self: T, *args: Any, **given: Any) -> None:
        check_keywords(type(self), given, known)
        made(self, *args, **given)

    @wraps(shown)
    def show(self: T) -> str:
        try:
            return shown(self)
        except AttributeError:
            return f"<{type(self).__name__}, not made>"

    kind.__init__ = make  # type: ignore[method-assign, assignment]
    kind.__repr__ = show  # type: ignore[method-assign, assignment]
    return kind


def keywords(kind: type) -> list[str]:
    """What a class can be given by name, but for what it passes on."""
    parameters = [*inspect.signature(kind).parameters.values()]
    return [each.name for each in parameters if each.kind is not each.VAR_KEYWORD]


def check_keywords(kind: type, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise TypeError for the first name that isn't known, with the one that was meant."""
    for name in given:
        if name not in known:
            raise TypeError(f"{kind.__name__}: {unknown_setting(name, known)}")


def unknown_setting(name: str, known: Iterable[str]) -> str:
    """What to say of a setting that there isn't: the one that was probably meant, or all."""
    known = sorted(known)
    near = get_close_matches(name, known, n=1)
    if near:
        return f"unknown setting {name!r}: did you mean {near[0]!r}?"
    return f"unknown setting {name!r}: known are {', '.join(known)}"


def _check_value(name: str, value: Any, allowed: Allowed) -> None:
    verb = "are" if allowed.several else "is"
    problem = f"{name}={value!r}: allowed {verb} {allowed.words}"
    if not _has_type(value, allowed.types):
        raise TypeError(problem)
    reason = refusal(value, allowed)
    if reason is not None:
        raise ValueError(f"{problem} ({reason})" if reason else problem)


def refusal(value: Any, allowed: Allowed) -> str | None:
    """None if a value of the right type is allowed; else why it isn't, "" for its bounds."""
    if allowed.choices and value not in allowed.choices:
        return ""
    # Not `value < least`: nothing can be said of what isn't a number (NaN).
    if allowed.least is not None and not value >= allowed.least:
        return ""
    if allowed.most is not None and not value <= allowed.most:
        return ""
    if allowed.check is not None:
        try:
            allowed.check(value)
        except ValueError as error:
            return str(error)
    return None


def _has_type(value: Any, types: tuple[type, ...]) -> bool:
    if isinstance(value, bool):  # no number, though Python has it for one
        return not types or bool in types or object in types
    if float in types and isinstance(value, int):
        return True
    return not types or isinstance(value, types)


def _complete(allowed: Allowed, hint: Any) -> Allowed:
    """With what the field's annotation says."""
    found, optional, several, choices = _parts(hint)
    complete = replace(
        allowed,
        types=found,
        optional=optional,
        several=several,
        choices=allowed.choices or choices,
    )
    return replace(complete, words=allowed.words or _words(complete))


def _parts(hint: Any) -> tuple[tuple[type, ...], bool, bool, tuple[Any, ...]]:
    """Of an annotation: types, whether None is allowed, whether there are several, choices."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        parts = [_parts(each) for each in get_args(hint) if each is not type(None)]
        found = tuple(each for part in parts for each in part[0])
        choices = tuple(each for part in parts for each in part[3] if all(p[3] for p in parts))
        optional = type(None) in get_args(hint)
        return found, optional, all(part[2] for part in parts), choices
    if origin is Literal:
        choices = get_args(hint)
        return tuple({type(each) for each in choices}), False, False, choices
    if origin is tuple:
        found, _, _, choices = _parts(get_args(hint)[0])
        return found, False, True, choices
    if isinstance(hint, type):
        return (hint,), False, False, ()
    return (origin,) if isinstance(origin, type) else (), False, False, ()


def _words(allowed: Allowed) -> str:
    if allowed.choices:
        *others, last = [f'"{each}"' for each in allowed.choices]
        return f"{', '.join(others)} or {last}" if others else last
    if bool in allowed.types:
        return "true or false"
    if float in allowed.types or int in allowed.types:
        what = allowed.unit or ("a number" if float in allowed.types else "a whole number")
        if allowed.least is None:
            return what
        if allowed.most is None:
            return f"{what}, {allowed.least:.12g} or more"
        return f"{what} from {allowed.least:.12g} to {allowed.most:.12g}"
    return "text" if str in allowed.types else "any value"
