"""Sockets of our own, in place of the event loop's transports.

What asyncio's and uvloop's transports do for everybody costs more than all the rest of a short
session, and under TLS a quarter of a megabyte for each that is idle. Here a socket is read when
it can be, written to at once, and TLS is OpenSSL's own, straight on the socket. Where the loop
can't watch sockets (Windows) its own transports do.
"""
