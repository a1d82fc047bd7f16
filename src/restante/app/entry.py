"""The `restante` command's way in: also where its libraries are missing."""

from __future__ import annotations

import sys

_EX_TEMPFAIL = 75


def main() -> int:
    """Run the command line; gives the exit status."""
    try:
        from restante.app.cli.main import run  # noqa: PLC0415 - needs libraries of an extra
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("restante"):
            raise
        print(f"restante: {error.name} is missing: pip install 'restante[server]'", file=sys.stderr)
        # A mail server that pipes a message in must keep it and try again.
        return _EX_TEMPFAIL if sys.argv[1:2] == ["deliver"] else 2
    return run(sys.argv[1:])
