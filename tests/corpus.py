"""The messages of the contract for stores, for all tests."""

from restante.testing.corpus import NASTY, wire_form

__all__ = ["NASTY", "wire_form"]
