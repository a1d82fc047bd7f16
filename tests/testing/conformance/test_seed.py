"""The ways by which checks bring mail in."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from restante.testing.conformance.seed import (
    CORPUS,
    MaildirSeed,
    MboxSeed,
    SeedError,
    parse_seed,
)

MESSAGE = b"Subject: x\r\n\r\n.dot\r\nFrom here\r\n"


@contextmanager
def scripted(speak: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server for one connection; its address as `host:port`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def serve() -> None:
            conn, _ = listener.accept()
            with conn:
                conn.settimeout(20)
                speak(conn)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            thread.join(20)


@pytest.mark.parametrize("kind", ["smtp", "lmtp"])
@pytest.mark.parametrize("taken", [True, False])
def test_by_smtp_and_lmtp(kind: str, taken: bool) -> None:
    seen: list[bytes] = []

    def speak(conn: socket.socket) -> None:
        lines = conn.makefile("rb")
        conn.sendall(b"220 ready\r\n")
        data = False
        for line in lines:
            seen.append(line)
            if data:
                data = line != b".\r\n"
                if not data:
                    conn.sendall(b"250 taken\r\n" if taken else b"552 full\r\n")
            elif line.upper().startswith(b"DATA"):
                data = True
                conn.sendall(b"354 go on\r\n")
            elif line.upper().startswith(b"QUIT"):
                conn.sendall(b"221 bye\r\n")
                return
            else:
                conn.sendall(b"250 ok\r\n")

    with scripted(speak) as address:
        way = parse_seed(f"{kind}:{address}:joe@example.org", "joe", "secret")
        if taken:
            way.put(MESSAGE)
        else:
            with pytest.raises(SeedError, match="full"):
                way.put(MESSAGE)
    assert b"..dot\r\n" in seen
    assert any(b"joe@example.org" in line for line in seen)
    assert any(line.upper().startswith(b"LHLO") for line in seen) == (kind == "lmtp")


def test_by_imap() -> None:
    seen: list[bytes] = []

    def speak(conn: socket.socket) -> None:
        lines = conn.makefile("rb")
        conn.sendall(b"* OK ready\r\n")
        for line in lines:
            tag, command = line.split()[:2]
            seen.append(line)
            if command == b"APPEND":
                conn.sendall(b"+ go on\r\n")
                seen.append(lines.read(len(MESSAGE)))
                lines.readline()
            if command == b"CAPABILITY":
                conn.sendall(b"* CAPABILITY IMAP4rev1\r\n")
            if command == b"LOGOUT":
                conn.sendall(b"* BYE\r\n")
            conn.sendall(tag + b" OK done\r\n")
            if command == b"LOGOUT":
                return

    with scripted(speak) as address:
        parse_seed(f"imap:{address}", "joe", "secret").put(MESSAGE)
    assert MESSAGE in seen


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    for way in (f"smtp:127.0.0.1:{port}:joe", f"imap:127.0.0.1:{port}"):
        with pytest.raises(SeedError, match=str(port)):
            parse_seed(way, "joe", "secret").put(MESSAGE)


def test_into_a_maildir(tmp_path: Path) -> None:
    way = parse_seed(f"maildir:{tmp_path}", "joe", "secret")
    assert isinstance(way, MaildirSeed)
    way.put(MESSAGE)
    (file,) = (tmp_path / "new").iterdir()
    assert file.read_bytes() == MESSAGE.replace(b"\r\n", b"\n")
    assert not list((tmp_path / "tmp").iterdir())


def test_a_maildir_can_be_emptied_without_a_server(tmp_path: Path) -> None:
    way = parse_seed(f"maildir:{tmp_path}", "joe", "secret")
    assert way.empty()  # there is nothing
    for _ in range(2):
        way.put(MESSAGE)
    (file, _) = (tmp_path / "new").iterdir()
    file.rename(tmp_path / "cur" / f"{file.name}:2,S")
    assert way.empty()
    assert not [*(tmp_path / "new").iterdir(), *(tmp_path / "cur").iterdir()]


@pytest.mark.parametrize("way", ["smtp:h:25:joe", "lmtp:h:24:joe", "mbox:/x/joe", "imap:h:143"])
def test_nothing_else_can_be(way: str) -> None:
    assert not parse_seed(way, "joe", "secret").empty()


def test_into_an_mbox(tmp_path: Path) -> None:
    way = parse_seed(f"mbox:{tmp_path / 'joe'}", "joe", "secret")
    assert isinstance(way, MboxSeed)
    way.put(MESSAGE)
    assert b"\n.dot\n>From here\n" in (tmp_path / "joe").read_bytes()


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no folder"):
        parse_seed(f"maildir:{tmp_path / 'nowhere'}", "joe", "secret")


def test_the_corpus_says_which_message_it_is() -> None:
    for name, each in CORPUS.items():
        assert f"X-Conformance: {name}\r\n".encode() in each.octets
        assert each.octets.endswith(b"\r\n\r\n" + each.body)
