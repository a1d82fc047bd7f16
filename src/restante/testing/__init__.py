"""The test kit: POP3 servers that fail on purpose, and checks for all servers.

What `__all__` lists is public; all else in this package may change.
"""

__all__: list[str] = []
