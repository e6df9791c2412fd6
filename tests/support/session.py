"""One accepted connection of the scripted server: bytes, TLS and messages.

Rules:

- The socket is driven by hand and TLS runs over memory, so that a script decides
  which bytes leave together: one `send` is one segment.
- Every message of the driver is recorded, also those that nobody expected.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from tests.support import backend
from tests.support.backend import FrontendMessage

if TYPE_CHECKING:
    from tests.support.postmaster import Postmaster

Hook = Callable[["BackendConnection"], Awaitable[None]]


class SessionEndedError(Exception):
    """The session is over and nothing is wrong with the script."""


class ClientClosedError(AssertionError):
    """The driver closed the connection where the script wanted a message."""


class BackendConnection:
    """One accepted connection, as a script sees it."""

    def __init__(self, server: Postmaster, sock: socket.socket, pid: int) -> None:
        self.server = server
        self.pid = pid
        #: the cancel key; 4 bytes with protocol 3.0
        self.key = os.urandom(4)
        #: every message of the driver, in order, from the first byte on
        self.messages: list[FrontendMessage] = []
        #: the StartupMessage, once it is there
        self.startup: FrontendMessage | None = None
        #: the TLS session, or None
        self.tls: ssl.SSLObject | None = None
        #: set when a CancelRequest with the right key has come
        self.cancelled = asyncio.Event()
        #: set when the script has ended, well or not
        self.finished = asyncio.Event()
        self._socket = sock
        self._buffer = bytearray()
        self._from_client = ssl.MemoryBIO()
        self._to_client = ssl.MemoryBIO()
        self._unsent = bytearray()
        self._is_flushing = False
        self._loop = asyncio.get_running_loop()

    @property
    def is_closed(self) -> bool:
        """Whether this side has closed."""
        return self._socket.fileno() < 0

    # bytes

    def send(self, data: bytes) -> None:
        """Send bytes as one segment, before anything else happens.

        The kernel's buffer takes what a script says in one go; what it does not
        take is kept and sent by the next `flush`, `receive` or `expect`.
        """
        if self.tls is not None:
            self.tls.write(data)
            data = self._to_client.read()
        self._send_raw(data)

    def _send_raw(self, data: bytes) -> None:
        if self._unsent or self._is_flushing:
            self._unsent += data
            return
        try:
            n_sent = self._socket.send(data)
        except BlockingIOError:
            n_sent = 0
        except (BrokenPipeError, ConnectionResetError):
            # The driver has gone; whether that is right is for the script to say,
            # which learns of it from the next read.
            return
        self._unsent += data[n_sent:]

    async def flush(self) -> None:
        """Wait until the kernel has taken everything."""
        while self._unsent:
            data = bytes(self._unsent)
            self._unsent.clear()
            self._is_flushing = True
            try:
                await self._loop.sock_sendall(self._socket, data)
            except (BrokenPipeError, ConnectionResetError):
                self._unsent.clear()
            finally:
                self._is_flushing = False

    async def dribble(self, data: bytes) -> None:
        """Send byte by byte, one segment each."""
        for i in range(len(data)):
            self.send(data[i : i + 1])
            await self.flush()
            await asyncio.sleep(0)

    async def peek(self) -> bytes:
        """Return the next byte and leave it there."""
        byte = await self.read(1)
        self._buffer[:0] = byte
        return byte

    async def read(self, n: int) -> bytes:
        """Read `n` bytes.

        Raises:
            ClientClosedError: the driver closed before.
        """
        await self.flush()
        while len(self._buffer) < n:
            self._buffer += await self._read_some()
        data = bytes(self._buffer[:n])
        del self._buffer[:n]
        return data

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Do the server's half of the handshake."""
        await self.flush()
        self._from_client.write(bytes(self._buffer))
        self._buffer.clear()
        tls = context.wrap_bio(self._from_client, self._to_client, server_side=True)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._send_pending()
                self._from_client.write(await self._read_socket())
            except ssl.SSLError:
                self._send_pending()
                raise
        self._send_pending()
        self.tls = tls

    async def close(self) -> None:
        """Send what is left and close, as a server that has said all it wants."""
        await self.flush()
        self._socket.close()

    def abort(self) -> None:
        """Reset the connection: the driver sees ECONNRESET."""
        if not self.is_closed and self._socket.family != socket.AF_UNIX:
            linger = struct.pack("ii", 1, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._socket.close()

    # messages

    async def receive(self) -> FrontendMessage:
        """Read and record the next message."""
        kind = await self.read(1)
        return await self._receive_rest(kind, None)

    async def expect(self, *names: str) -> FrontendMessage:
        """Read one message for each name; return the last.

        Raises:
            AssertionError: another message came, or none.
        """
        assert names, "expect what?"
        for name in names:
            try:
                got = await self.receive()
            except ClientClosedError:
                raise ClientClosedError(f"client closed, expected {name}") from None
            assert got.name == name, f"expected {name}, got {got.name} {got.fields}"
        return got

    async def expect_response(self, name: str) -> FrontendMessage:
        """Read an answer to an authentication request, which share a letter."""
        kind = await self.read(1)
        assert kind == b"p", f"expected {name}, got a message {kind!r}"
        return await self._receive_rest(kind, name)

    async def expect_closed(self) -> None:
        """Wait for Terminate, or for the end without it; nothing else may come."""
        try:
            got = await self.receive()
        except ClientClosedError:
            return
        assert got.name == "Terminate", f"expected no more, got {got.name}"

    async def receive_startup(self) -> FrontendMessage:
        """Read and record a message without a letter."""
        length = struct.unpack("!i", await self.read(4))[0]
        got = backend.parse_startup(await self.read(length - 4))
        self.messages.append(got)
        if got.name == "StartupMessage":
            self.startup = got
        return got

    def names(self) -> list[str]:
        """Return the names of all messages so far."""
        return [message.name for message in self.messages]

    def ready(self) -> None:
        """Send what follows a successful authentication, up to ReadyForQuery."""
        parts = [
            backend.parameter_status(*item) for item in self.server.parameters.items()
        ]
        parts.append(backend.backend_key_data(self.pid, self.key))
        parts.append(backend.ready_for_query())
        self.send(b"".join(parts))

    async def _receive_rest(self, kind: bytes, response: str | None) -> FrontendMessage:
        length = struct.unpack("!i", await self.read(4))[0]
        payload = await self.read(length - 4)
        got = backend.parse_frontend(kind, payload, response=response)
        self.messages.append(got)
        return got

    # below

    async def _read_some(self) -> bytes:
        if self.tls is None:
            return await self._read_socket()
        while True:
            try:
                data = self.tls.read(65536)
            except ssl.SSLWantReadError:
                self._send_pending()
                self._from_client.write(await self._read_socket())
                continue
            except ssl.SSLZeroReturnError:
                data = b""
            if not data:
                raise ClientClosedError("client closed the TLS session")
            return data

    async def _read_socket(self) -> bytes:
        await self.flush()
        try:
            data = await self._loop.sock_recv(self._socket, 65536)
        except ConnectionResetError:
            data = b""
        if not data:
            raise ClientClosedError("client closed the connection")
        return data

    def _send_pending(self) -> None:
        if self._to_client.pending:
            self._send_raw(self._to_client.read())
