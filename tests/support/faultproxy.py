"""A proxy that breaks connections: at a given byte, in a given way.

Owns: `Faults`, what is done to one direction of a connection; `FaultProxy`, which does
it to every connection that is made through it, and can hold cancel requests back.
Rules:

- It knows nothing of messages but how a CancelRequest begins.
- What it does depends on numbers of bytes and on events, never on the clock.
- Everything that it has opened is closed by `stop`, whatever state it is in.

Source: PostgreSQL documentation, "Message Formats": CancelRequest.
"""

import asyncio
import contextlib
import dataclasses
import socket
import struct
from urllib.parse import urlsplit

CANCEL_REQUEST = 80877102
#: What can happen to a direction: both sides are closed; both are reset; nothing is
#: passed on any more; the receiver sees the end of the stream, the other way goes on.
ACTIONS = ("drop", "reset", "stall", "half-close")
CHUNK_BYTES = 65536
PATIENCE_S = 30  # a test that waits for what never comes fails instead of hanging


@dataclasses.dataclass
class Faults:
    """What is done to the bytes of one direction.

    Attributes:
        after: pass so many bytes on, then do `action`; None: never.
        action: one of `ACTIONS`.
        at_a_time: bytes that are written at once.
        corrupt: position of a byte all of whose bits are inverted; None: of none.
    """

    after: int | None = None
    action: str = "drop"
    at_a_time: int = CHUNK_BYTES
    corrupt: int | None = None


class FaultProxy:
    """A TCP proxy in front of a server.

    Args:
        dsn: of the server, with host and port.
        to_client, to_server: what is done to connections made from now on; may be
            replaced at any time.

    Attributes:
        dsn: how to connect through it.
        passed: bytes passed on to clients by the connection made last.
        cancels: how many cancel requests have come.
        ended_cancels: how many the server has been given, and has hung up on.
        may_cancel: cancel requests wait for this event; it is set at first.
    """

    def __init__(self, dsn, *, to_client=None, to_server=None):
        self._server_dsn = urlsplit(dsn)
        self.to_client = to_client or Faults()
        self.to_server = to_server or Faults()
        self.passed = 0
        self.cancels = self.ended_cancels = 0
        self.may_cancel = asyncio.Event()
        self.may_cancel.set()
        self._seen_cancel = asyncio.Condition()
        self._stopping = asyncio.Event()
        self._tasks = set()
        self._writers = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        user = self._server_dsn.netloc.rpartition("@")[0]
        place = f"{user}@127.0.0.1:{port}"
        self.dsn = self._server_dsn._replace(netloc=place).geturl()
        return self

    async def __aexit__(self, *exc_info):
        await self.stop()

    async def stop(self):
        """Close the proxy and every connection through it."""
        for _ in range(5):
            # Who was accepted just now has no transport yet, and asyncio 3.11 loses the
            # socket when the server is closed in between.
            await asyncio.sleep(0)
        self._server.close()
        self._stopping.set()
        self.may_cancel.set()
        self.break_all("drop")
        await asyncio.gather(*self._tasks)
        for writer in self._writers:
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def break_all(self, action):
        """Drop or reset all connections that are open."""
        for writer in self._writers:
            _end(writer, is_reset=action == "reset")

    async def until_cancels(self, count):
        """Wait until so many cancel requests have come."""
        async with asyncio.timeout(PATIENCE_S), self._seen_cancel:
            await self._seen_cancel.wait_for(lambda: self.cancels >= count)

    async def until_cancels_ended(self, count):
        """Wait until so many cancel requests have done what they could."""
        async with asyncio.timeout(PATIENCE_S), self._seen_cancel:
            await self._seen_cancel.wait_for(lambda: self.ended_cancels >= count)

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        self._writers.append(writer)
        _send_at_once(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._link(reader, writer)
        finally:
            _end(writer)
            self._tasks.discard(task)

    async def _link(self, reader, writer):
        head = await reader.readexactly(8)
        is_cancel = struct.unpack("!ii", head)[1] == CANCEL_REQUEST
        if is_cancel:
            async with self._seen_cancel:
                self.cancels += 1
                self._seen_cancel.notify_all()
            await self.may_cancel.wait()
        where = self._server_dsn
        server_reader, server_writer = await asyncio.open_connection(
            where.hostname, where.port
        )
        self._writers.append(server_writer)
        _send_at_once(server_writer)
        to_client, to_server = self.to_client, self.to_server
        if is_cancel:
            to_client = to_server = Faults()
        else:
            self.passed = 0
        try:
            await asyncio.gather(
                self._pump(reader, server_writer, writer, to_server, head),
                self._pump(
                    server_reader, writer, server_writer, to_client, is_reply=True
                ),
            )
        finally:
            _end(server_writer)
            if is_cancel:
                async with self._seen_cancel:
                    self.ended_cancels += 1
                    self._seen_cancel.notify_all()

    async def _pump(
        self, reader, writer, other_writer, faults, data=b"", *, is_reply=False
    ):
        """Pass one direction on until its end, or the fault's.

        Args:
            writer: where it goes; `other_writer` leads back to where it comes from.
            data: what was read of it already.
            is_reply: whether it is counted in `passed`.
        """
        done = 0
        with contextlib.suppress(OSError):
            while data := data or await reader.read(CHUNK_BYTES):
                if faults.after is not None and done >= faults.after:
                    break
                size = faults.at_a_time
                if faults.after is not None:
                    size = min(size, faults.after - done)
                part, data = data[:size], data[size:]
                if faults.corrupt is not None:
                    part = _corrupted(part, faults.corrupt - done)
                writer.write(part)
                await writer.drain()
                done += len(part)
                if is_reply:
                    self.passed = done
                if data:
                    await asyncio.sleep(0)
                if done == faults.after:
                    break
        if done != faults.after:
            _end(writer)
        elif faults.action == "stall":
            await self._stopping.wait()
        elif faults.action == "half-close":
            if writer.can_write_eof():
                writer.write_eof()
            while await reader.read(CHUNK_BYTES):
                pass
        else:
            for end in (writer, other_writer):
                _end(end, is_reset=faults.action == "reset")


def _send_at_once(writer):
    """Every write is a packet of its own."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _corrupted(part, position):
    if not 0 <= position < len(part):
        return part
    return part[:position] + bytes([part[position] ^ 0xFF]) + part[position + 1 :]


def _end(writer, *, is_reset=False):
    """Close a connection, with FIN or with RST."""
    if writer.transport.is_closing():
        return
    if is_reset:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()
