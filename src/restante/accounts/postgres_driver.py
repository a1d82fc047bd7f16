"""What asyncpg is given, and what it raises, in words."""

from __future__ import annotations

import os
import socket
import ssl
from hashlib import sha256
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

# Classes of SQLSTATE whose messages are about the server, the rights or the query's own text,
# and so quote no value: connection, transaction's state, authorization, database, syntax and
# access, resources, an operator's intervention.
_TELLING = frozenset({"08", "25", "28", "3D", "42", "53", "57"})

UNICODE = ' COLLATE pg_catalog."und-x-icu"'
"""After a text in a statement: letters beyond ASCII have cases, too, whatever the locale of the
database is. As ICU says, with which PostgreSQL comes in all common packages."""

_PASSWORDS = frozenset({"password", "passfile", "service"})
"""Options of a DSN that bring a password."""

CONNECT_SECONDS = 60.0
"""Connecting takes no longer, however long a statement may take."""


class Servers:
    """The servers of a DSN: `host1:5432,host2:5432` are two, of which one is connected to.

    dsn: as of `PostgresStore`. writes: of several servers, one that only reads is of no use, if
        `target_session_attrs` doesn't say something else.
    section: of the configuration, where the keys `dsn` and `password` are: errors name them.

    The server that was connected to last is tried first. One that doesn't answer within its share
    of the time is passed over, and so is one that `target_session_attrs` doesn't want.

    Raises ValueError, which doesn't quote `dsn`: it may hold a password.
    """

    def __init__(self, dsn: str, *, section: str, writes: bool = False) -> None:
        self._section = section
        try:
            url = urlsplit(dsn)
            options = dict(parse_qsl(url.query, keep_blank_values=True, strict_parsing=False))
            self._kept = int(options.pop("statement_cache_size", "100"))
            if url.scheme not in {"postgresql", "postgres"} or self._kept < 0:
                raise ValueError
        except ValueError:
            raise ValueError(
                "dsn: not of the form postgresql://user:password@host:port/database?option=value"
            ) from None
        user, at, hosts = url.netloc.rpartition("@")
        names = hosts.split(",")
        if writes and len(names) > 1:
            options.setdefault("target_session_attrs", "read-write")
        if options.get("target_session_attrs") == "prefer-standby":
            names = [hosts]  # all must be asked before one is chosen: the driver does that
        url = url._replace(query=urlencode(options))
        self._has_password = bool(user.partition(":")[2]) or not _PASSWORDS.isdisjoint(options)
        self._urls = {name: urlunsplit(url._replace(netloc=f"{user}{at}{name}")) for name in names}
        self._order = [*self._urls]

    async def connect(
        self, driver: ModuleType, password: str | None, tls: ssl.SSLContext | None, seconds: float
    ) -> Any:
        """A connection. seconds: for all servers together.

        Raises what the driver does, and ConnectionError, which says what it is about.
        """
        problems: list[str] = []
        unknown = False
        order, share = self._order, min(seconds, CONNECT_SECONDS) / len(self._order)
        for name in order:
            try:
                connection = await driver.connect(
                    self._urls[name],
                    password=password,
                    ssl=tls,
                    statement_cache_size=self._kept,
                    timeout=share,
                )
            except (
                OSError,  # TimeoutError is one
                driver.CannotConnectNowError,
                driver.TargetServerAttributeNotMatched,
            ) as error:
                if len(order) == 1 and (
                    isinstance(error, TimeoutError) or not isinstance(error, OSError)
                ):
                    raise
                unknown = unknown or isinstance(error, socket.gaierror)
                problem = explain(driver, error)
                problems.append(f"{name}: {problem}" if name else problem)
            except driver.InvalidPasswordError as error:
                if password is not None or self._has_password or _has_password_elsewhere():
                    raise
                raise ConnectionError(self._no_password(explain(driver, error))) from None
            else:
                if name != order[0]:
                    self._order = [name, *(other for other in order if other != name)]
                return connection
        if unknown:
            key = f"{self._section}.dsn"
            problems.append(f"see the host in {key} (in a program, the argument dsn)")
        raise ConnectionError("; ".join(problems))

    def _no_password(self, problem: str) -> str:
        key = f"{self._section}.password"
        variable = f"RESTANTE_{key.replace('.', '__').upper()}"
        return (
            f"{problem}; no password was given: set {key} or, in the environment, {variable}"
            " (in a program, the argument password)"
        )


def _has_password_elsewhere() -> bool:
    """Whether the driver finds a password where libpq looks for one, as far as can be told."""
    if any(os.environ.get(name) for name in ("PGPASSWORD", "PGPASSFILE", "PGSERVICE")):
        return True
    return os.path.isfile(os.path.expanduser("~/.pgpass"))  # noqa: PTH111, PTH113 - raises nothing


def place_of(dsn: str, schema: str) -> bytes:
    """The same for whoever has the same tables by the same `dsn`. The `dsn` can't be seen in it."""
    return sha256(f"{schema} {dsn}".encode()).digest()


def explain(driver: ModuleType, error: Exception) -> str:
    """What went wrong, for the operator. Quotes nothing that the peer or a row holds."""
    if type(error) is driver.DataError:  # by the driver itself, before it asks
        return "a placeholder stands where text can't; {name}::text may help"
    if isinstance(error, driver.PostgresError):
        told = error.args[0] if error.sqlstate and error.sqlstate[:2] in _TELLING else ""
        return f"{told or type(error).__name__} (SQLSTATE {error.sqlstate})"
    if isinstance(error, driver.TargetServerAttributeNotMatched):
        return "not what target_session_attrs wants"
    if isinstance(error, OSError):
        return str(error) or "no answer"
    if isinstance(error, ValueError):
        return "dsn: can't be understood"
    return type(error).__name__
