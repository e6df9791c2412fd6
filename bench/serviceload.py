"""HTTP requests from many connections, one behind the other on each, and their times.

Owns: `load`, which keeps so many connections busy for so many seconds, and `get`.
Rules:
- Connections are open before the clock starts, and kept alive.
- Every answer must have status 200; every so often the body is given to `check`,
  which raises where it is not what was asked for.
- It understands what a benchmark's services send, and is no HTTP client.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.words import BenchError

CHECK_EVERY = 25
END = b"\r\n\r\n"
LENGTH = b"content-length: "
STATUS = b"HTTP/1.1 200"
TIMEOUT = 60.0

Check = Callable[[bytes], None]
clock = time.perf_counter


def request(path: str) -> bytes:
    """What is sent."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def whole_body(data: bytes) -> bytes | None:
    """The body of an answer, or None where it is not there yet.

    Raises BenchError unless it is an answer with status 200 and a length.
    """
    end = data.find(END)
    if end < 0:
        return None
    head = data[:end].lower()
    start = head.find(LENGTH)
    if not data.startswith(STATUS) or start < 0:
        raise BenchError(f"the service answers {data[:300]!r}")
    length = int(head[start + len(LENGTH) :].split(b"\r\n", 1)[0])
    body = data[end + len(END) :]
    if len(body) > length:
        raise BenchError("the service has sent more than it was asked for")
    return body if len(body) == length else None


class Caller(asyncio.Protocol):
    """One connection: asks again as soon as it has been answered."""

    def __init__(self, text: bytes, check: Check) -> None:
        self._text = text
        self._check = check
        self._data = b""
        self._asked = 0.0
        self.is_stopping = False
        self.latencies: list[float] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        """Wait for `ask`."""
        self.transport = transport

    def ask(self) -> None:
        """Send a request."""
        self._asked = clock()
        self.transport.write(self._text)

    def data_received(self, data: bytes) -> None:
        """See whether the answer is complete; then ask again, or end."""
        self._data += data
        try:
            body = whole_body(self._data)
            if body is None:
                return
            self.latencies.append(clock() - self._asked)
            if len(self.latencies) % CHECK_EVERY == 1:
                self._check(body)
        except Exception as error:
            self._end(error)
            return
        self._data = b""
        if self.is_stopping:
            self._end(None)
        else:
            self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """Too early, unless it has ended."""
        self._end(BenchError(f"the service has closed the connection: {exc}"))

    def _end(self, error: Exception | None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)


@dataclass(frozen=True)
class Load:
    """What has come of it: seconds that it took, and those of each request."""

    seconds: float
    latencies: list[float]


async def load(
    port: int, path: str, connections: int, seconds: float, check: Check
) -> Load:
    """Keep so many connections busy for so many seconds.

    Raises whatever `check` raises, and BenchError for answers that are none.
    """
    loop = asyncio.get_running_loop()
    callers: list[Caller] = []
    text = request(path)
    try:
        for _ in range(connections):
            _, caller = await loop.create_connection(
                lambda: Caller(text, check), "127.0.0.1", port
            )
            callers.append(caller)
        started = clock()
        for caller in callers:
            caller.ask()
        ends = asyncio.gather(*(caller.ended for caller in callers))
        await asyncio.wait([ends], timeout=seconds)
        for caller in callers:
            caller.is_stopping = True
        async with asyncio.timeout(TIMEOUT):
            await ends
        took = clock() - started
    finally:
        for caller in callers:
            caller.transport.abort()
            if caller.ended.done():
                caller.ended.exception()
            else:
                caller.ended.cancel()
    return Load(took, [one for caller in callers for one in caller.latencies])


async def get(port: int, path: str) -> bytes:
    """One request, and the body of its answer."""
    bodies: list[bytes] = []
    await load(port, path, 1, 0.0, bodies.append)
    return bodies[0]
