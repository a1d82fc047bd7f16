"""OpenSSL's memory of connections that have ended."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

release: Callable[[Any], Any] | None = None
try:
    from _ssl import ffi  # type: ignore[attr-defined]  # PyPy's, whose `ssl` is made of it
except ImportError:
    pass
else:
    release = ffi.release


def way_to_free(tls: ssl.SSLSocket) -> Callable[[], Any] | None:
    """What gives the memory back, to be called once `tls` is closed; None: that does it.

    PyPy would leave it until its collector comes by, which knows nothing of those 40 KiB: ten
    thousands of connections would be waited for.
    """
    inner: Any = getattr(tls, "_sslobj", None)
    if release is None or not hasattr(inner, "ssl"):
        return None
    return partial(release, inner.ssl)
