"""The contracts are all of the kit that needs pytest, and they say so."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
sys.modules["pytest"] = None
from restante.testing import MailServer
MailServer().close()
from restante.testing import StoreContract
"""


def test_what_is_missing_is_named_with_its_extra() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr.splitlines()[-1] == (
        "ImportError: restante.testing.contracts needs pytest: pip install 'restante[testing]'"
    )
