"""A process that asks PAM, one login at a time, and that may be lost: run by `pam.py`.

PAM's modules block, leak, crash and change the process they run in. A request on standard
input is four octets of length, then service, name and password, with NUL between; an
answer on standard output is PAM's code and how many microseconds PAM wants a refusal to
be held back. The file is run by its path, so it imports nothing of ours.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from typing import Any, BinaryIO

LENGTH = struct.Struct("!I")
ANSWER = struct.Struct("!iI")

MAX_REQUEST = 4096

NEVER_ASKED = -1
"""Code of ours: PAM said yes, but no module had asked for the password."""

_DISALLOW_NULL_AUTHTOK = 0x0001
_SILENT = 0x8000
_FAIL_DELAY = 10

_DELAY_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)


def check(service: bytes, name: bytes, password: bytes) -> tuple[int, int]:
    """PAM's code for a login, account phase included, and the delay that it wants."""
    from pam import PamAuthenticator  # noqa: PLC0415 - an extra

    asking = PamAuthenticator()
    delays = [0]

    def note_delay(code: int, microseconds: int, data: int) -> None:
        delays.append(microseconds)

    delay_function = _DELAY_FUNCTION(note_delay)
    authenticate = asking.pam_authenticate

    def strictly(handle: Any, flags: int) -> int:
        # An account without a password would let in everybody; and whoever waits for a
        # refusal need not occupy this process.
        asking.pam_set_item(handle, _FAIL_DELAY, ctypes.cast(delay_function, ctypes.c_void_p))
        code: int = authenticate(handle, flags | _DISALLOW_NULL_AUTHTOK | _SILENT)
        return code

    asking.pam_authenticate = strictly
    if asking.authenticate(name, password, service, resetcreds=False) is True:
        return (0 if asking.messages else NEVER_ASKED), delays[-1]
    return asking.code or NEVER_ASKED, delays[-1]


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    while len(head := requests.read(LENGTH.size)) == LENGTH.size:
        (size,) = LENGTH.unpack(head)
        if size > MAX_REQUEST:
            return
        service, name, password = requests.read(size).split(b"\0")
        answers.write(ANSWER.pack(*check(service, name, password)))
        answers.flush()


def main() -> None:
    """Serve on what were standard input and output, where modules can't reach them."""
    with os.fdopen(os.dup(0), "rb") as requests, os.fdopen(os.dup(1), "wb") as answers:
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        serve(requests, answers)


if __name__ == "__main__":
    sys.tracebacklimit = 0
    main()
