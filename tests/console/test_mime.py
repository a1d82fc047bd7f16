"""Messages as the console looks at them: large ones, and broken ones."""

from __future__ import annotations

import time

import pytest

from restante.app.console.maildrops import decoded
from restante.app.console.mime import MAX_DEPTH, MAX_PARTS, parse

HEAD = b"Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"


def test_parts_have_type_name_and_content() -> None:
    parsed = parse(
        HEAD + b"--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe\r\n"
        b'--b\r\nContent-Type: application/pdf; name="a\\"b.pdf"\r\n'
        b"Content-Disposition: attachment; filename*=utf-8''R%C3%A9sum%C3%A9.pdf\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\nJVBE\r\nRg==\r\n--b--\r\nafter"
    )
    text, file = parsed.parts
    assert text.text() == "Grüße"
    assert (file.kind, file.name, file.octets()) == ("application/pdf", "Résumé.pdf", b"%PDF")
    assert parsed.first("text/plain") is text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n",
        b"no header at all",
        b"Subject",
        b": x\r\n\r\n",
        b"\0" * 1000,
        HEAD,
        HEAD + b"--b",
        HEAD + b"--b--",
        HEAD + b"--b\r\n--b\r\n--b",
        HEAD + b"text without parts",
        b"Content-Type: multipart/mixed\r\n\r\nx",
        b"Content-Type: ;;;=;\r\n\r\nx",
        b"Content-Type: text/plain; charset=nothing\r\n\r\n\xff\xfe",
        b'Content-Type: text/plain; charset="\0"\r\n\r\nx',
        b"Content-Type: text/plain; charset=idna\r\n\r\n\xff.",
        b"Content-Transfer-Encoding: base64\r\n\r\n=====A",
        b"Subject: =?x?q?=?=\r\n\r\n",
        b"Subject: =?utf-8?b?A?=\r\n\r\n",
        b'Content-Type: multipart/mixed; boundary=""\r\n\r\n--\r\n',
        b"Content-Type: message/rfc822\r\n\r\n" + HEAD,
    ],
)
def test_what_is_broken_is_shown_as_far_as_it_goes(data: bytes) -> None:
    for part in parse(data).parts:
        part.text()
        part.octets()


def test_a_thousand_parts_are_cut() -> None:
    parsed = parse(HEAD + b"--b\r\n\r\nx\r\n" * 1000 + b"--b--\r\n")
    assert parsed.cut
    assert len(parsed.parts) == MAX_PARTS


def test_parts_inside_parts_end_somewhere() -> None:
    data = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
        for n in range(5000)
    )
    assert len(parse(data).parts) <= MAX_DEPTH


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"--b\r\n\r\n" + b"x" * 76 + b"\r\n" * (50 << 20),
        HEAD + b"--b\r\n\r\n" * (8 << 20),
        b"A: b\r\n" * (8 << 20),
        b"Subject: " + b"=?utf-8?q?a?= " * (4 << 20),
    ],
    ids=["long", "parts", "header", "words"],
)
def test_50_megabytes_take_no_more_time_than_they_are_long(data: bytes) -> None:
    begin = time.process_time()
    for part in parse(data[: 50 << 20]).parts:
        part.text()
    assert time.process_time() - begin < 60  # against hangs


def test_words_in_other_character_sets_are_read() -> None:
    assert decoded("=?utf-8?q?Gr=C3=BC=C3=9Fe?= =?iso-8859-1?b?Jg==?=") == "Grüße&"
    assert decoded("=?nothing?q?x?=") == "=?nothing?q?x?="
    assert decoded("=?é?q?x?=") == "=?é?q?x?="
    assert decoded("=?utf-7?q?+2AA-?=") == "?", "no lone surrogate: it can't be sent"
