"""Libraries that come with an extra of Restante's, such as `restante[oauth]`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

_BUILT_WITH = {"kerberos": "libkrb5-dev and a C compiler"}
"""By extra, what must be on the machine before the library can be installed."""


def install_command(extra: str) -> str:
    """The command that installs an extra, as it can be typed where the user is.

    In the environment that `scripts/serve` makes, it installs from the checkout, as there may be
    no release to install from.
    """
    environment = Path(sys.prefix)
    checkout = Path(__file__).absolute().parents[2]
    if not environment.name.startswith(".venv-serve") or not (checkout / "scripts/serve").exists():
        return f"pip install 'restante[{extra}]'"
    pip = shlex.quote(_from_here(environment / "bin" / "pip"))
    return f"{pip} install --editable {shlex.quote(f'{_from_here(checkout)}[{extra}]')}"


def _from_here(path: Path) -> str:
    """A path as it can be typed in the current folder."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):  # elsewhere; or the current folder is gone
        return str(path)


def missing(extra: str, what: str, library: str, error: ImportError) -> str:
    """What to say when `library`, which comes with `extra`, can't be imported.

    what: what needs it, as "Kerberos". error: what the import raised: the library isn't
    installed, or it is and can't be loaded, as when a shared library that it uses is missing.
    """
    if not isinstance(error, ModuleNotFoundError):
        return f"{what} needs {library}, which is installed but can't be loaded: {error}"
    built_with = _BUILT_WITH.get(extra)
    note = f" (to build it, install {built_with} first)" if built_with else ""
    return f"{what} needs {library}: {install_command(extra)}{note}"
