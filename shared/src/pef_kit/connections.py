"""Connections of a service that keep nothing of what they received.

An event loop reads into a buffer of its own and keeps the bytes there until others come; what a guest stored
would lie in it for as long as nobody calls. So a connection brings its own buffer, and zeroes what was read
once the parser has seen it.

Source: asyncio, "Buffered streaming protocols"; uvicorn, `Config.http`.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

READ_AT_ONCE: Final = 256 << 10
"""Bytes that are read at once."""

_received = bytearray(READ_AT_ONCE)
_zeroes = bytes(READ_AT_ONCE)


class ForgetfulConnection(asyncio.BufferedProtocol):
    """uvicorn's connection, on a buffer that is zeroed after each read.

    All connections share the buffer: between `get_buffer` and `buffer_updated` the loop does nothing else.
    """

    def __init__(self, **options: Any) -> None:
        self._connection = HttpToolsProtocol(**options)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Return where to read to."""
        return _received

    def buffer_updated(self, nbytes: int) -> None:
        """Have what was read parsed, and zero it."""
        with memoryview(_received)[:nbytes] as received:
            try:
                self._connection.data_received(received)  # type: ignore[arg-type] # the parser copies
            finally:
                received[:] = _zeroes[:nbytes]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._connection.connection_made(transport)  # type: ignore[arg-type] # it is a transport of TCP

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._connection.connection_lost(exc)

    def eof_received(self) -> None:
        """Note that the client sends no more."""
        self._connection.eof_received()

    def pause_writing(self) -> None:
        """Note that the client does not keep up."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Note that the client keeps up again."""
        self._connection.resume_writing()
