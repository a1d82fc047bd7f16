"""A server that is told to stop: first it gives notice, then it lets sessions finish."""

from __future__ import annotations

import poplib
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.app.support import Server, wait_until, write_config


def _readiness(server: Server) -> tuple[int, str]:
    url = f"http://127.0.0.1:{server.port('metrics', 'none')}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize("workers", [1, 2])
def test_proxies_are_told_before_clients_are_turned_away(folder: Path, workers: int) -> None:
    write_config(
        folder,
        f"[server]\nworkers = {workers}\nnotice_seconds = 3600\n[metrics]\nport = 0\n",
    )
    with Server(folder) as server:
        wait_until(lambda: _readiness(server)[0] == 200, "readiness")
        server.signal(signal.SIGTERM)
        status, text = wait_until(
            lambda: (found := _readiness(server))[0] == 503 and found, "the notice"
        )
        assert (status, "new clients: failed" in text) == (503, True)
        client = server.login()
        assert client.stat() == (0, 0)
        client.quit()
        server.process.send_signal(signal.SIGINT)  # a second one ends it at once
        assert server.process.wait(20) != 0


@pytest.mark.parametrize("workers", [1, 2])
def test_sessions_go_on_and_no_new_ones_begin(folder: Path, workers: int) -> None:
    write_config(folder, f"[server]\nworkers = {workers}\nfinish_seconds = 3600\n")
    with Server(folder) as server:
        client = server.login()
        port = server.port("pop3", "starttls")
        server.signal(signal.SIGTERM)

        def is_closed() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), 20).close()
            except ConnectionRefusedError:
                return True
            return False

        wait_until(is_closed, "the end of listening")
        assert client.stat() == (0, 0)
        assert client.quit().startswith(b"+OK")
        assert server.process.wait(60) == 0


def test_sessions_that_go_on_too_long_are_ended(folder: Path) -> None:
    write_config(folder, "[server]\nworkers = 2\nfinish_seconds = 0.2\n")
    with Server(folder) as server:
        client = server.login()
        server.signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        with pytest.raises((poplib.error_proto, OSError)):
            client.noop()
        client.close()
