"""Names for the protocol's numbers (PostgreSQL manual, chapters "Message Formats" and "Message Flow")."""

from __future__ import annotations

import struct
from typing import Final

INT32: Final = struct.Struct("!i")
UINT32: Final = struct.Struct("!I")
INT16: Final = struct.Struct("!h")

PROTOCOL_3_0: Final = 3 << 16
PROTOCOL_3_2: Final = (3 << 16) | 2
CANCEL_REQUEST: Final = (1234 << 16) | 5678
SSL_REQUEST: Final = (1234 << 16) | 5679
GSSENC_REQUEST: Final = (1234 << 16) | 5680

MAX_STARTUP_BYTES: Final = 10_000
"""What PostgreSQL itself allows a startup packet (MAX_STARTUP_PACKET_LENGTH)."""

MAX_MESSAGE_BYTES: Final = 0x3FFFFFFF
"""The longest message that PostgreSQL accepts (PQ_LARGE_MESSAGE_LIMIT)."""

# Messages of a client. Several letters mean something else when a server sends them.
BIND: Final = ord("B")
CLOSE: Final = ord("C")
COPY_DATA: Final = ord("d")
COPY_DONE: Final = ord("c")
COPY_FAIL: Final = ord("f")
DESCRIBE: Final = ord("D")
EXECUTE: Final = ord("E")
FLUSH: Final = ord("H")
FUNCTION_CALL: Final = ord("F")
PARSE: Final = ord("P")
PASSWORD: Final = ord("p")
QUERY: Final = ord("Q")
SYNC: Final = ord("S")
TERMINATE: Final = ord("X")

# Messages of a server.
AUTHENTICATION: Final = ord("R")
BACKEND_KEY_DATA: Final = ord("K")
COPY_BOTH_RESPONSE: Final = ord("W")
COPY_IN_RESPONSE: Final = ord("G")
DATA_ROW: Final = ord("D")
ERROR_RESPONSE: Final = ord("E")
NEGOTIATE_PROTOCOL_VERSION: Final = ord("v")
NOTICE_RESPONSE: Final = ord("N")
NOTIFICATION_RESPONSE: Final = ord("A")
PARAMETER_STATUS: Final = ord("S")
READY_FOR_QUERY: Final = ord("Z")

# The transaction status that ReadyForQuery carries.
IDLE: Final = ord("I")
IN_TRANSACTION: Final = ord("T")
FAILED: Final = ord("E")

# Authentication requests.
AUTH_OK: Final = 0
AUTH_CLEARTEXT: Final = 3
AUTH_MD5: Final = 5
AUTH_SASL: Final = 10
AUTH_SASL_CONTINUE: Final = 11
AUTH_SASL_FINAL: Final = 12
