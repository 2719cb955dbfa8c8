"""Byte streams over TCP, UNIX sockets and TLS, behind one type: `transport.Transport`."""
