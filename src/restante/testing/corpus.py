"""Messages that have broken mail software, and what each must look like on the wire.

`wire_form` states the rule for line ends of `restante.protocol.facts` a second time, as
simply as it can be said, so that tests don't hold the code against itself.
"""

from __future__ import annotations

import re


def wire_form(message: bytes) -> bytes:
    """`message` with CRLF line ends, as RETR sends it before byte-stuffing."""
    wire = re.sub(rb"(?<!\r)\n", b"\r\n", message)
    return wire if wire.endswith(b"\r\n") else wire + b"\r\n"


_HEAD = b"From: anna@example.org\nTo: ben@example.org\nSubject: hello\n"
_HEAD_CRLF = _HEAD.replace(b"\n", b"\r\n")

NASTY: dict[str, bytes] = {
    "plain-lf": _HEAD + b"\nA line.\nAnother.\n",
    "plain-crlf": _HEAD_CRLF + b"\r\nA line.\r\nAnother.\r\n",
    "mixed-line-ends": _HEAD_CRLF + b"\nA line.\r\nAnother.\nLast.\r\n",
    "dot-at-byte-0": b".Leading: dot\nSubject: hello\n\nbody\n",
    "dot-alone-at-byte-0": b".\nSubject: hello\n\nbody\n",
    "dots-lf": _HEAD + b"\n.\n..\n...\n.x\nx.\n. .\n.\n",
    "dots-crlf": _HEAD_CRLF + b"\r\n.\r\n..\r\n...\r\n.x\r\n.\r\n",
    "dot-bare-lf-in-crlf": _HEAD_CRLF + b"\r\none\n.\ntwo\r\n",
    "dot-after-lone-cr": _HEAD_CRLF + b"\r\none\r.\rtwo\r\n",
    "dot-last-no-newline": _HEAD + b"\nbody\n.",
    "lone-cr": _HEAD_CRLF + b"\r\none\rtwo\r\rthree\r\n",
    "cr-cr-lf": _HEAD_CRLF + b"\r\none\r\r\ntwo\r\r\n",
    "lf-cr": _HEAD + b"\none\n\rtwo\n\r",
    "cr-last": _HEAD_CRLF + b"\r\nends in cr\r",
    "no-final-newline-lf": _HEAD + b"\nno newline at the end",
    "no-final-newline-crlf": _HEAD_CRLF + b"\r\nno newline at the end",
    "blank-lines-last": _HEAD + b"\nbody\n\n\n\n",
    "empty": b"",
    "one-lf": b"\n",
    "one-crlf": b"\r\n",
    "one-cr": b"\r",
    "one-dot": b".",
    "one-octet": b"x",
    "header-only": _HEAD,
    "header-only-no-newline": _HEAD[:-1],
    "header-and-blank-line": _HEAD + b"\n",
    "header-blank-line-mixed": _HEAD + b"\r\nbody\n",
    "body-only": b"\nbody without a header\n",
    "nul": _HEAD + b"\nbefore\0after\n\0\n\0.\n.\0\n",
    "eight-bit-body": _HEAD + b"\n" + bytes(range(1, 256)) + b"\n",
    "latin-1-header": b"Subject: gr\xfc\xdfe\n\nbody\n",
    "utf-8-header": "Subject: Grüße 日本\nFrom: ジョー <a@example.org>\n\nTschüß\n".encode(),
    "from-line": b"From anna Thu Jan  1 00:00:00 1970\n" + _HEAD + b"\n>From here\nFrom there\n",
    "long-line": _HEAD + b"\n" + b"x" * 100_000 + b"\n",
    "long-line-of-dots": _HEAD + b"\n" + b"." * 100_000 + b"\nend",
    "long-header": b"X-Long: " + b"y" * 100_000 + b"\n\nbody\n",
    "many-short-lines": _HEAD + b"\n" + b".\n" * 50_000,
    "many-lone-crs": _HEAD + b"\n" + b"\r" * 70_000 + b"\n",
    "block-edge": _HEAD + b"\n" + b"a" * (65_536 - len(_HEAD) - 2) + b"\r\n.edge\r\n",
    "block-edge-crlf": _HEAD + b"\n" + b"a" * (65_535 - len(_HEAD) - 2) + b"\n.\r\n.edge\r\n",
    "several-megabytes": _HEAD + b"\n" + b".line of text, with a dot before it\n" * 100_000,
}
"""By name, in an order that never changes."""
