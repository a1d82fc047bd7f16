"""HTTP told from mail protocols: a browser can be made to send what others have written to any
port, so every port of ours closes at it."""

from __future__ import annotations

import re

_HTTP = re.compile(
    rb"""
      (?:GET|POST|PUT|HEAD|OPTIONS|DELETE|CONNECT|TRACE|PATCH)
        [ ]+ (?: [/*] | https?: | \[ | [a-z0-9-]*[.:][a-z0-9.:-]* )
    | \S+ [ ] \S+ [ ]+ HTTP/[0-9]
    | Host[ \t]*:
    """,
    re.IGNORECASE | re.VERBOSE,
)


def is_http(line: bytes) -> bool:
    """Whether a line, with or without its end, is HTTP's: a request or a `Host` field.

    A request is a method and what it is for, a path, `*` or a host (RFC 9112 §3); whatever the
    method, it may end with HTTP's version.
    """
    return _HTTP.match(line) is not None
