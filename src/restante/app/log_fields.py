"""The fields of a log line: what a program reads in place of the text.

The lines' own templates name them: `login: account=%r peer=%s session=%s` has the event `login`
and the fields `account`, `peer` and `session`. So a line and its fields can't differ, and making
a record costs nothing more.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

from restante.access_log import LOGGER

_PLACE = re.compile(r"(?:\b(\w+)=)?%(?:\.\d+)?[a-z]|%%")
_SESSION = re.compile(r"^session (?=%s)")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of a record, by name: those of its template, then its extra attributes.

    Lines of the access log have `event`; what stands last there without a name is `reason`.
    Values are as the program has them, numbers as numbers.
    """
    found: dict[str, Any] = {}
    if isinstance(record.args, tuple) and isinstance(record.msg, str):
        event, names = _names(record.msg, record.name == LOGGER.name)
        if len(names) == len(record.args):
            values = record.args
            if event:
                count = event.count("%s")
                found["event"] = event % values[:count] if count else event
            found |= {name: value for name, value in zip(names, values, strict=True) if name}
    for name, value in vars(record).items():
        if name not in _STANDARD:
            found[name] = value
    return found


@lru_cache(maxsize=256)
def _names(template: str, is_access: bool) -> tuple[str, tuple[str, ...]]:
    """The event that a template tells of, and the names of its places; "" for those without."""
    places = [match for match in _PLACE.finditer(template) if match[0] != "%%"]
    names = [match[1] or "" for match in places]
    if not is_access:
        if names and _SESSION.match(template):
            names[0] = "session"
        return "", tuple(names)
    event = template.partition(":")[0]
    if names and not names[-1] and template.endswith(": %s"):
        names[-1] = "reason"
    return event, tuple(names)
