"""What crosses the wire: a proxy that counts round trips and bytes.

Owns: the counting pass, which is apart from the timed one.
Rules:
- A round trip is a turn: the client sends after it has been sent something, or begins.
- Replies are held back for some milliseconds, as by a network. So whatever a client
  sends without waiting has been sent before the reply is there, and is one turn.
- The proxy has a thread with a loop of its own: candidates may block theirs.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

CHUNK = 1 << 18
DELAY = 0.003


@dataclass
class Traffic:
    """Round trips, and bytes in both directions."""

    turns: float = 0
    sent: float = 0
    received: float = 0

    def per(self, operations: int) -> "Traffic":
        """The part of one operation."""
        return Traffic(
            self.turns / operations,
            self.sent / operations,
            self.received / operations,
        )


class CountingProxy:
    """Passes bytes on to a server and counts; `port` is where it listens.

    `address` is a host and port, or the path of a Unix socket. Replies are held back
    by `delay` seconds; without, what is counted are not round trips.
    """

    def __init__(self, address: tuple[str, int] | str, delay: float = DELAY) -> None:
        self._address = address
        self.delay = delay
        self._open_ones: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.traffic = Traffic()
        self.port = 0

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._address, str):
            return await asyncio.open_unix_connection(self._address, limit=CHUNK)
        return await asyncio.open_connection(*self._address, limit=CHUNK)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open_ones[task] = writer
        writers = [writer]
        try:
            from_server, to_server = await self._open()
            writers.append(to_server)
            await self._exchange(reader, to_server, from_server, writer)
        except OSError:
            pass  # Whoever goes away takes the other one along.
        finally:
            for one in writers:
                one.close()
                with contextlib.suppress(OSError):
                    await one.wait_closed()
            del self._open_ones[task]

    async def _exchange(
        self,
        from_client: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
        from_server: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
    ) -> None:
        is_clients_turn = True

        async def forth() -> None:
            nonlocal is_clients_turn
            while data := await from_client.read(CHUNK):
                self.traffic.turns += is_clients_turn
                self.traffic.sent += len(data)
                is_clients_turn = False
                to_server.write(data)
                await to_server.drain()

        async def back() -> None:
            nonlocal is_clients_turn
            while data := await from_server.read(CHUNK):
                await asyncio.sleep(self.delay)
                self.traffic.received += len(data)
                is_clients_turn = True
                to_client.write(data)
                await to_client.drain()

        ways = [asyncio.ensure_future(forth()), asyncio.ensure_future(back())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def serve(self, is_ready: threading.Event, end: asyncio.Event) -> None:
        """Listen until the end."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=CHUNK)
        self.port = server.sockets[0].getsockname()[1]
        is_ready.set()
        await end.wait()
        server.close()
        # Those that have been accepted begin.
        await asyncio.sleep(0)
        while self._open_ones:
            task, writer = next(iter(self._open_ones.items()))
            writer.transport.abort()
            await asyncio.wait([task])


@contextlib.contextmanager
def counting_proxy(
    address: tuple[str, int] | str, delay: float = DELAY
) -> Iterator[CountingProxy]:
    """A proxy in a thread of its own, until the end of the block."""
    proxy = CountingProxy(address, delay)
    is_ready = threading.Event()
    end = asyncio.Event()
    loop = asyncio.new_event_loop()

    def run() -> None:
        try:
            loop.run_until_complete(proxy.serve(is_ready, end))
        finally:
            is_ready.set()
            loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    is_ready.wait()
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()


def through(dsn: str, port: int) -> str:
    """The DSN with the proxy in the server's place."""
    parts = urlsplit(dsn)
    user = parts.netloc.rpartition("@")[0]
    place = f"{user}@127.0.0.1:{port}" if user else f"127.0.0.1:{port}"
    pairs = parse_qsl(parts.query)
    query = urlencode([pair for pair in pairs if pair[0] not in ("host", "port")])
    return urlunsplit(parts._replace(netloc=place, query=query))
