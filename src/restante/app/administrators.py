"""Who may log in to the console: names and hashed passwords in a file of their own.

They are no mail accounts: whoever may read mail mustn't thereby run the server, or the reverse.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from restante.accounts.schemes import default_scheme, hash_password, verify
from restante.app.files import make_private_folder, write_file

MIN_PASSWORD = 10
"""Characters of a password at least: whoever has it can read all mail."""

MAX_PASSWORD = 512

MAX_ADMINISTRATORS = 1000
MAX_FILE = 1 << 20

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")


class Administrators:
    """The administrators in the file at `path`. It is read anew each time: that is seldom."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> list[str]:
        """All of them, sorted. Raises OSError, ValueError for a file that is damaged."""
        return sorted(self._read())

    def matches(self, name: str, password: str) -> bool:
        """Whether this is an administrator's password. As slow for a name that isn't there.

        Raises OSError, ValueError for a file that is damaged.
        """
        credential = self._read().get(name)
        given = password[: MAX_PASSWORD + 1]
        if credential is None:
            hash_password(given)
            return False
        return verify(credential, given) and len(password) <= MAX_PASSWORD

    def set(self, name: str, password: str, *, new: bool = False) -> None:
        """Add an administrator, or give one another password. Raises ValueError, OSError."""
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"{name!r}: allowed are up to 64 letters, digits and . _ @ + -, the first no sign"
            )
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            raise ValueError(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")
        with self._changing() as found:
            if new and name in found:
                raise ValueError(f"there is an administrator {name!r} already")
            if not new and name not in found:
                raise ValueError(f"no administrator {name!r}")
            if len(found) >= MAX_ADMINISTRATORS and name not in found:
                raise ValueError(f"there are {MAX_ADMINISTRATORS} administrators: that is the most")
            found[name] = hash_password(password, default_scheme())

    def remove(self, name: str) -> None:
        """Raises ValueError when there is none of that name, OSError."""
        with self._changing() as found:
            if found.pop(name, None) is None:
                raise ValueError(f"no administrator {name!r}")

    def version(self, name: str) -> str:
        """Another text whenever the password has changed; "" when there is no such name."""
        return self._read().get(name, "")

    def _read(self) -> dict[str, str]:
        try:
            with self._path.open("rb") as file:
                data = file.read(MAX_FILE + 1)
        except FileNotFoundError:
            return {}
        found = json.loads(data) if len(data) <= MAX_FILE else None
        if not isinstance(found, dict) or not _are_texts(found):
            raise ValueError(f"{self._path}: damaged; remove it and add the administrators anew")
        return found

    @contextmanager
    def _changing(self) -> Iterator[dict[str, str]]:
        make_private_folder(self._path.parent)
        lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            with suppress(ImportError):
                import fcntl  # noqa: PLC0415 - not everywhere

                fcntl.flock(lock, fcntl.LOCK_EX)
            found = self._read()
            yield found
            write_file(self._path, json.dumps(found, indent=1, sort_keys=True).encode() + b"\n")
        finally:
            os.close(lock)


def _are_texts(found: Mapping[object, object]) -> bool:
    return all(isinstance(key, str) and isinstance(each, str) for key, each in found.items())
