"""HTML of strangers, as HTML that can do nothing: no script, nothing from elsewhere, no links.

What comes out is put together here from a short list of tags and attributes; nothing of what came
in is copied but text, and that is escaped. The browser is told the same again by the page's policy
(`restante.app.console.pages.maildrop`), so that two things must fail before anything is loaded.
"""

from __future__ import annotations

import re
from html import escape, unescape

TAGS = frozenset(
    [
        "a",
        "abbr",
        "b",
        "big",
        "blockquote",
        "br",
        "caption",
        "center",
        "cite",
        "code",
        "col",
        "colgroup",
        "dd",
        "del",
        "details",
        "div",
        "dl",
        "dt",
        "em",
        "font",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "i",
        "ins",
        "kbd",
        "li",
        "ol",
        "p",
        "pre",
        "q",
        "s",
        "samp",
        "small",
        "span",
        "strike",
        "strong",
        "sub",
        "summary",
        "sup",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "tt",
        "u",
        "ul",
        "var",
    ]
)
_EMPTY = frozenset({"br", "hr", "col"})
_SKIPPED = frozenset(
    [
        "script",
        "style",
        "title",
        "template",
        "noscript",
        "iframe",
        "object",
        "embed",
        "svg",
        "math",
        "textarea",
        "select",
        "xmp",
        "noembed",
        "noframes",
        "plaintext",
    ]
)
"""Elements that are left out with what is in them."""

_ATTRIBUTES = frozenset(
    [
        "align",
        "bgcolor",
        "border",
        "cellpadding",
        "cellspacing",
        "color",
        "colspan",
        "dir",
        "height",
        "lang",
        "rowspan",
        "size",
        "start",
        "valign",
        "width",
    ]
)
_VALUE = re.compile(r"[\w #%.,+-]{0,60}")
_PROPERTY = re.compile(
    r"(?:background-color|border(?:-\w+)*|color|font(?:-\w+)?|height|letter-spacing|line-height"
    r"|margin(?:-\w+)?|max-width|padding(?:-\w+)?|text-(?:align|decoration|transform)"
    r"|vertical-align|white-space|width)"
)
_STYLE_VALUE = re.compile(r"[\w #%.,'\"+-]{1,100}")
_ATTRIBUTE = re.compile(r"([\w:-]+)(?:\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+)))?")
_NAME = re.compile(r"/?([A-Za-z][A-Za-z0-9]*)")

MAX_TAG = 4000
"""Characters of a tag; a longer one is left out."""

MAX_DEPTH = 200
"""Elements inside one another."""


def clean(text: str) -> str:
    """The harmless part of some HTML."""
    out: list[str] = []
    opened: list[str] = []
    at, end = 0, len(text)
    while at < end:
        begin = text.find("<", at)
        if begin < 0:
            out.append(_text(text[at:]))
            break
        out.append(_text(text[at:begin]))
        if text.startswith("<!--", begin):
            stop = text.find("-->", begin + 4)
            at = end if stop < 0 else stop + 3
            continue
        stop = text.find(">", begin)
        if stop < 0:
            break
        match = _NAME.match(text, begin + 1)
        at = stop + 1
        if match is None or stop - begin > MAX_TAG:
            if match is None and text[begin + 1 : begin + 2] not in ("!", "?", "/"):
                out.append("&lt;")
                at = begin + 1
            continue
        name, closing = match[1].lower(), text[begin + 1] == "/"
        if name in _SKIPPED and not closing:
            at = _after(text, name, at)
        elif name == "img" and not closing:
            out.append(_image(text[match.end() : stop]))
        elif name in TAGS:
            _tag(name, closing, text[match.end() : stop], out, opened)
    out += [f"</{name}>" for name in reversed(opened)]
    return "".join(out)


def _after(text: str, name: str, at: int) -> int:
    """Where an element ends that is left out with all that is in it."""
    found = re.compile(rf"</{name}\b[^>]*>?", re.IGNORECASE).search(text, at)
    return len(text) if found is None else found.end()


def _text(text: str) -> str:
    return escape(unescape(text))


def _tag(name: str, closing: bool, rest: str, out: list[str], opened: list[str]) -> None:
    if closing:
        if name in opened:
            while True:
                last = opened.pop()
                out.append(f"</{last}>")
                if last == name:
                    return
        return
    if len(opened) >= MAX_DEPTH:
        return
    out.append(f"<{name}{_attributes(rest)}>")
    if name not in _EMPTY:
        opened.append(name)


def _given(rest: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for match in _ATTRIBUTE.finditer(rest):
        value = next((each for each in match.groups()[1:] if each is not None), "")
        found.setdefault(match[1].lower(), unescape(value))
    return found


def _attributes(rest: str) -> str:
    shown = []
    for name, value in _given(rest).items():
        if name in _ATTRIBUTES and _VALUE.fullmatch(value):
            shown.append(f' {name}="{escape(value)}"')
        elif name == "style" and (style := _style(value)):
            shown.append(f' style="{escape(style)}"')
    return "".join(shown)


def _style(text: str) -> str:
    """The declarations that are known to load nothing and to cover nothing."""
    kept = []
    for each in text.split(";"):
        name, _, value = each.partition(":")
        name, value = name.strip().lower(), value.strip()
        if _PROPERTY.fullmatch(name) and _STYLE_VALUE.fullmatch(value):
            kept.append(f"{name}: {value}")
    return "; ".join(kept)


def _image(rest: str) -> str:
    """In place of an image its text."""
    said = _given(rest).get("alt", "").strip()[:100]
    return f"[image: {escape(said)}]" if said else "[image]"
