"""The maildrops that servers are measured by."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from benchmarks import corpus


def test_more_messages_than_a_file_may_have_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Path.hardlink_to

    def scarce(self: Path, target: Path) -> None:
        if target.stat().st_nlink >= 3:
            raise OSError(errno.EMLINK, "Too many links")
        link(self, target)

    monkeypatch.setattr(Path, "hardlink_to", scarce)
    first = [tmp_path / "a", tmp_path / "b"]
    for number, source in enumerate(first):
        source.write_bytes(corpus.message(number, 700 + number))
    sources = first.copy()
    expected = corpus.link(tmp_path / "box", sources, 20)
    files = sorted((tmp_path / "box" / "cur").iterdir())
    contents = [file.read_bytes() for file in files]
    assert contents == [first[number % 2].read_bytes() for number in range(20)]
    assert (expected.messages, expected.octets) == (20, sum(map(len, contents)))
    assert {file.stat().st_ino for file in files} == {file.stat().st_ino for file in sources}
