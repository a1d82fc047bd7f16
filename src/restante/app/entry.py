"""The `restante` command's way in."""

from __future__ import annotations

import sys

from restante.app.cli.main import run


def main() -> int:
    """Run the command line; gives the exit status."""
    return run(sys.argv[1:])
