"""Queries that an operator wrote: their placeholders, found once, are parameters ever after."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import chain

PLACEHOLDERS = frozenset({"name", "local", "domain", "address", "old", "new"})

# Quoted texts and names; `\` means something inside of them only in MySQL.
_QUOTED = r"""'(?:[^']|'')*'|"(?:[^"]|"")*\""""
_QUOTED_ESCAPED = r"""'(?:[^'\\]|''|\\.)*'|"(?:[^"\\]|""|\\.)*\""""
_REST = r"""|`[^`]*`|\{(?P<word>\w*)\}|(?P<end>;\s*\Z)|(?P<bad>--|/\*|[;{}'"`#$\\])"""
_TOKEN = re.compile(_QUOTED + _REST, re.DOTALL)
_TOKEN_ESCAPED = re.compile(_QUOTED_ESCAPED + _REST, re.DOTALL)


@dataclass(frozen=True, slots=True)
class Query:
    """A statement with gaps.

    texts: what stands around the gaps, one more than there are gaps. gaps: the
    placeholder of each.
    """

    texts: tuple[str, ...]
    gaps: tuple[str, ...]

    def filled(self, marks: Iterable[str]) -> str:
        """The statement with a mark in each gap."""
        return "".join(chain.from_iterable(zip(self.texts, (*marks, ""), strict=True)))


def compile_query(what: str, text: str, known: Collection[str], backslashes: bool) -> Query:
    """The query in `text`, whose placeholders may be those that are `known`.

    what: its setting, for messages. backslashes: they escape in quoted texts.

    Braces in quotes are text: `'{SHA512-CRYPT}'`. Raises ValueError for an unknown
    placeholder, one in quotes, none that tells accounts apart (and for an `update` unless
    both of `old` and `new` are there), for several statements, comments, and what could be
    taken for them: dollar signs, backslashes and `#` outside of quotes.
    """
    texts, gaps, begun = [], [], 0
    for found in (_TOKEN_ESCAPED if backslashes else _TOKEN).finditer(text):
        if found["bad"]:
            raise ValueError(
                f"{what}: {found['bad']!r} can't stand outside of quotes; one statement,"
                " no comments, every quote closed"
            )
        if found["word"] is None:
            _check_quoted(what, found[0])
            continue
        if found["word"] not in known:
            names = ", ".join(f"{{{name}}}" for name in sorted(known))
            raise ValueError(f"{what}: unknown placeholder {found[0]!r}; known are {names}")
        texts.append(text[begun : found.start()])
        gaps.append(found["word"])
        begun = found.end()
    texts.append(re.sub(r";\s*\Z", "", text[begun:]))
    _check_gaps(what, gaps, known)
    return Query(tuple(texts), tuple(gaps))


def one_row_of(query: Query) -> Query:
    """A SELECT cut off after its second row, which is one too many already."""
    texts = [*query.texts]
    texts[0] = f"SELECT * FROM ({texts[0]}"  # noqa: S608 - the operator's own text
    texts[-1] += ") AS found LIMIT 2"
    return Query(tuple(texts), query.gaps)


def _check_quoted(what: str, quoted: str) -> None:
    for name in PLACEHOLDERS:
        if f"{{{name}}}" in quoted:
            raise ValueError(f"{what}: {{{name}}} stands in quotes; it takes none")


def _check_gaps(what: str, gaps: Collection[str], known: Collection[str]) -> None:
    # An address may be its domain's, whatever its local part; a login never.
    tells_apart = bool(gaps) if "address" in known else not {"name", "local"}.isdisjoint(gaps)
    if not tells_apart or not {"old", "new"} & {*known} <= {*gaps}:
        names = ", ".join(f"{{{name}}}" for name in sorted(known))
        raise ValueError(f"{what}: a placeholder is missing; there are {names}")
