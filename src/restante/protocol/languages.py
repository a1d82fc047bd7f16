"""The languages that LANG offers (RFC 6856 §3).

The English text of a reply is its key, so a text without a translation is still said.
"""

from __future__ import annotations

from restante.protocol.texts import de, fr, ja, ru

LANGUAGES: dict[str, str] = {
    "en": "English",
    "de": "Deutsch",
    "fr": "Français",
    "ru": "Русский",
    "ja": "日本語",
    # What is spoken before LANG (RFC 2277 §4.5): English in ASCII.
    "i-default": "Default language",
}
"""Tag and name, in the language itself."""

DEFAULT_LANGUAGE = "en"

TEXTS: dict[str, dict[str, str]] = {
    "de": de.TEXTS,
    "fr": fr.TEXTS,
    "ru": ru.TEXTS,
    "ja": ja.TEXTS,
}
"""By tag: the texts of replies, by their English."""


def find_language(wanted: str) -> str | None:
    """The tag of the language that serves `wanted` (RFC 4647 look-up: `de-AT` finds `de`)."""
    tag = wanted.lower()
    while tag:
        if tag in LANGUAGES:
            return tag
        tag = tag.rpartition("-")[0]
    return None


def translate(text: str, language: str) -> str:
    """`text` in `language`; as it is where there is no translation."""
    return TEXTS.get(language, {}).get(text, text)
