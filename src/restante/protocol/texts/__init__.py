"""The texts of replies in other languages: one module a language, keyed by the English text."""
