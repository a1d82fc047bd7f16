"""Restante: a POP3 server for Python."""

__version__ = "0.1.0"
