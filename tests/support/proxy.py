"""A proxy between a connection and a real server, to see what goes over the wire.

Owns: `Wire`, which records the client's messages, counts round trips, and can withhold
the server's replies; `recorded`, a connection through it.
Rules:

- TCP without TLS: what is encrypted cannot be read.
- The start of the session is not recorded: the first message is what the client sends
  after the first ReadyForQuery.
- Waiting is done on events, never by the clock: with the replies withheld, what was
  sent was sent without them.
"""

import asyncio
import contextlib
import struct
from urllib.parse import urlsplit

QUERY, SYNC, FLUSH, TERMINATE = "Q", "S", "H", "X"
READY = "Z"
PATIENCE_S = 10  # a test that waits for what never comes fails instead of hanging


class Frames:
    """Cuts a stream of bytes into messages."""

    def __init__(self, *, has_startup):
        self._rest = b""
        self._has_startup = has_startup

    def feed(self, data):
        """The messages that are complete now, as (type, content)."""
        self._rest += data
        messages = []
        while True:
            head = 0 if self._has_startup else 1
            if len(self._rest) < head + 4:
                return messages
            (size,) = struct.unpack_from("!i", self._rest, head)
            if len(self._rest) < head + size:
                return messages
            kind = self._rest[:head].decode("ascii")
            messages.append((kind, self._rest[head + 4 : head + size]))
            self._rest = self._rest[head + size :]
            self._has_startup = False


class Wire:
    """What one session's client has sent.

    Attributes:
        messages: The client's messages as (type, content), in order.
        round_trips: The types of the messages sent at once, a string for each time
            that the client had everything it had asked for and sent again.
    """

    def __init__(self, host, port):
        self._address = (host, port)
        self._writers = []
        self._tasks = []
        self._unanswered = 0
        self._has_flushed = False
        self._is_settled = True
        self._is_open = False
        self._passing = asyncio.Event()
        self._passing.set()
        self._sent = asyncio.Condition()
        self._replacement = (b"\0", b"\0")
        self.messages = []
        self.round_trips = []

    async def start(self, listener=None):
        """Listen, on a Unix socket if one is given; returns the port."""
        if listener is not None:
            self._server = await asyncio.start_unix_server(self._serve, sock=listener)
            return None
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    async def stop(self):
        """Close the session, if it is open, and the proxy."""
        self._passing.set()
        self._server.close()
        for writer in self._writers:
            writer.close()
        for writer in self._writers:
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        await asyncio.gather(*self._tasks)

    def clear(self):
        """Forget what was sent so far."""
        self.messages.clear()
        self.round_trips.clear()

    def replace(self, old, new):
        """From now on send `new` to the server where the client sent `old`."""
        if len(old) != len(new):
            raise ValueError("the length of a message must not change")
        self._replacement = (old, new)

    @property
    def kinds(self):
        """The types of the messages sent, in order: "BES"."""
        return "".join(kind for kind, _ in self.messages)

    @contextlib.contextmanager
    def withheld(self):
        """Keep the server's replies back inside of the block."""
        self._passing.clear()
        try:
            yield
        finally:
            self._passing.set()

    async def until_sent(self, kind, count):
        """Wait until `count` messages of `kind` were sent since `clear`."""
        async with asyncio.timeout(PATIENCE_S), self._sent:
            await self._sent.wait_for(lambda: self.kinds.count(kind) >= count)

    async def _serve(self, reader, writer):
        self._tasks.append(asyncio.current_task())
        self._writers.append(writer)
        server_reader, server_writer = await asyncio.open_connection(*self._address)
        self._writers.append(server_writer)
        await asyncio.gather(
            self._pump(
                reader, server_writer, Frames(has_startup=True), self._on_client
            ),
            self._pump(
                server_reader, writer, Frames(has_startup=False), self._on_server
            ),
        )

    async def _pump(self, reader, writer, frames, on_message):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if on_message == self._on_server:
                    await self._passing.wait()
                for kind, content in frames.feed(data):
                    on_message(kind, content)
                if on_message == self._on_client:
                    data = data.replace(*self._replacement)
                writer.write(data)
                async with self._sent:
                    self._sent.notify_all()
        writer.close()

    def _on_client(self, kind, content):
        if not (self._is_open and kind) or kind == TERMINATE:
            return
        if self._is_settled:
            self.round_trips.append("")
        self.round_trips[-1] += kind
        self.messages.append((kind, content))
        self._unanswered += kind in (QUERY, SYNC)
        self._has_flushed = kind == FLUSH
        self._is_settled = False

    def _on_server(self, kind, content):
        if kind == READY:
            self._unanswered -= self._is_open
            self._is_open = True
            self._is_settled = not self._unanswered
        elif self._has_flushed:
            self._is_settled = True


@contextlib.asynccontextmanager
async def recorded(connect, dsn, **options):
    """A connection of `connect` through a `Wire`: ``(connection, wire)``."""
    parts = urlsplit(dsn)
    wire = Wire(parts.hostname, parts.port)
    port = await wire.start()
    try:
        place = f"{parts.username}@127.0.0.1:{port}"
        dsn = parts._replace(netloc=place).geturl()
        connection = await connect(dsn, ssl="disable", **options)
        yield connection, wire
        await connection.close()
    finally:
        await wire.stop()
