"""Sessions by poplib that leave no socket behind, whatever goes wrong."""

from __future__ import annotations

import poplib


class Session(poplib.POP3):
    """A session, also with a server that dies before the greeting."""

    def __init__(self, host: str, port: int) -> None:
        try:
            super().__init__(host, port, timeout=60)
        except BaseException:
            if hasattr(self, "sock"):
                self.close()
            raise


def log_in(host: str, port: int, name: str, password: str) -> poplib.POP3:
    """A session after USER and PASS. Raises poplib.error_proto."""
    client = Session(host, port)
    try:
        client.user(name)
        client.pass_(password)
    except BaseException:
        client.close()
        raise
    return client
