"""Checks of POP3 servers: any server, by the network alone.

It is a client of its own, of blocking sockets and the standard library, and imports nothing of
the server.
"""
