"""The PostgreSQL frontend/backend protocol, 3.0 to 3.2, without I/O: bytes in, values out.

Nothing here awaits, opens, logs or looks at a clock. `downstream` is the side that faces clients (we are the server),
`upstream` the side that faces servers (we are the client).
"""
