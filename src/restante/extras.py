"""Libraries that come with an extra of Restante's, such as `restante[oauth]`."""

from __future__ import annotations

_BUILT_WITH = {"kerberos": "libkrb5-dev and a C compiler"}
"""By extra, what must be on the machine before the library can be installed."""


def missing(extra: str, what: str, library: str, error: ImportError) -> str:
    """What to say when `library`, which comes with `extra`, can't be imported.

    what: what needs it, as "Kerberos". error: what the import raised: the library isn't
    installed, or it is and can't be loaded, as when a shared library that it uses is missing.
    """
    if not isinstance(error, ModuleNotFoundError):
        return f"{what} needs {library}, which is installed but can't be loaded: {error}"
    built_with = _BUILT_WITH.get(extra)
    note = f" (to build it, install {built_with} first)" if built_with else ""
    return f"{what} needs {library}: pip install 'restante[{extra}]'{note}"
