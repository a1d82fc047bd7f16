"""What asyncpg is given, and what it raises, in words."""

from __future__ import annotations

from hashlib import sha256
from types import ModuleType
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

# Classes of SQLSTATE whose messages are about the server, the rights or the query's own text,
# and so quote no value: connection, transaction's state, authorization, database, syntax and
# access, resources, an operator's intervention.
_TELLING = frozenset({"08", "25", "28", "3D", "42", "53", "57"})


def read_dsn(dsn: str) -> tuple[str, int]:
    """The URL for asyncpg, and how many statements a connection keeps prepared.

    Raises ValueError, which doesn't quote `dsn`: it may hold a password.
    """
    try:
        url = urlsplit(dsn)
        options = dict(parse_qsl(url.query, keep_blank_values=True, strict_parsing=False))
        kept = int(options.pop("statement_cache_size", "100"))
        if url.scheme not in {"postgresql", "postgres"} or kept < 0:
            raise ValueError
    except ValueError:
        raise ValueError(
            "dsn: not of the form postgresql://user:password@host:port/database?option=value"
        ) from None
    return urlunsplit(url._replace(query=urlencode(options))), kept


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
    if isinstance(error, OSError):
        return str(error)
    if isinstance(error, ValueError):
        return "dsn: can't be understood"
    return type(error).__name__
