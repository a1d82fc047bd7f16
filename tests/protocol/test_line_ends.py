"""Line ends made CRLF: the same by both ways."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from restante.protocol import line_ends
from restante.protocol.line_ends import with_crlf

MESSAGES = st.lists(st.sampled_from([b"\n", b"\r\n", b"\r", b".", b"line", b"\0"])).map(b"".join)


class Builder(bytearray):
    """PyPy's, for those who haven't it."""

    def __init__(self, size: int) -> None:
        assert size >= 0
        super().__init__()

    def append_slice(self, data: bytes, start: int, end: int) -> None:
        self += data[start:end]

    def append(self, data: bytes) -> None:  # type: ignore[override]
        self += data

    def build(self) -> bytes:
        return bytes(self)


def expected(data: bytes) -> bytes:
    """Octet by octet."""
    out = bytearray()
    for at, octet in enumerate(data):
        if octet == 10 and data[at - 1 : at] != b"\r":
            out += b"\r"
        out.append(octet)
    return bytes(out)


@pytest.mark.parametrize("builds", [False, True])
@given(MESSAGES)
@example(b"")
@example(b"\n")
@example(b"\r\r\n\n\r")
def test_every_line_end_is_crlf_and_nothing_else_is_changed(builds: bool, data: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        own = line_ends.BytesBuilder
        patch.setattr(line_ends, "BytesBuilder", (own or Builder) if builds else None)
        assert with_crlf(data) == expected(data)
