"""The checks, by subject. Each module fills the table when it is imported, in this order."""

from restante.testing.conformance.checks import (  # noqa: I001 - the order in which they run
    greeting,
    framing,
    capa,
    login,
    sasl,
    stls,
    tls,
    listing,
    numbers,
    retrieving,
    pipelining,
    utf8,
    concurrency,
    messages,
    deleting,
    idle,
)

__all__ = [
    "capa",
    "concurrency",
    "deleting",
    "framing",
    "greeting",
    "idle",
    "listing",
    "login",
    "messages",
    "numbers",
    "pipelining",
    "retrieving",
    "sasl",
    "stls",
    "tls",
    "utf8",
]
