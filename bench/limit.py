"""What the server can do at most: prepared bytes sent raw, replies only drained.

Owns: a blocking socket with just enough of the protocol to send what is encoded
beforehand and to see the end of the reply.
Rules:
- Nothing is encoded and nothing is decoded while the clock runs: the payload is made
  before, and of the replies only the last bytes are looked at.
- It sends while it drains, because a server whose replies are not read stops reading.
- Trust authentication and plain TCP or Unix sockets only; it is no driver.

Source: PostgreSQL documentation, "Message Formats" and "Message Flow".
"""

import select
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

SEND_CHUNK = 1 << 20
RECEIVE_CHUNK = 1 << 18
PROTOCOL_3_0 = 196608
READY = b"Z\x00\x00\x00\x05I"
SYNC = b"S\x00\x00\x00\x04"
EXECUTE = b"E\x00\x00\x00\x09\x00\x00\x00\x00\x00"


class LimitError(Exception):
    """The server answered something else than the benchmark counts on."""


def message(kind: bytes, body: bytes) -> bytes:
    """Frame one message: type byte, length including itself, body."""
    return kind + struct.pack("!i", len(body) + 4) + body


def parse(query: str) -> bytes:
    """A Parse message for the unnamed statement, without parameter types."""
    return message(b"P", b"\x00" + query.encode() + b"\x00\x00\x00")


def bind(values: Iterable[bytes]) -> bytes:
    """A Bind of the unnamed statement, all parameters and all results in binary."""
    fields = list(values)
    body = [b"\x00\x00\x00\x01\x00\x01", struct.pack("!h", len(fields))]
    body += [struct.pack("!i", len(field)) + field for field in fields]
    return message(b"B", b"".join(body) + b"\x00\x01\x00\x01")


def int4(value: int) -> bytes:
    """The binary form of an int4."""
    return struct.pack("!i", value)


def float8(value: float) -> bytes:
    """The binary form of a float8."""
    return struct.pack("!d", value)


def reply_end(tag: str) -> bytes:
    """The last bytes of a reply: CommandComplete with this tag, ReadyForQuery idle."""
    return message(b"C", tag.encode() + b"\x00") + READY


class RawConnection:
    """A connection that sends bytes as they are and drains the answer.

    Example: ``RawConnection(("127.0.0.1", 5432), {"user": "postgres"})``; an address
    that is a string is the path of a Unix socket.
    """

    def __init__(
        self, address: tuple[str, int] | str, parameters: dict[str, str]
    ) -> None:
        if isinstance(address, str):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(address)
        else:
            self._socket = socket.create_connection(address, timeout=10)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._buffer = bytearray(RECEIVE_CHUNK)
        self._prepared = ""
        pairs = "".join(f"{key}\x00{value}\x00" for key, value in parameters.items())
        body = struct.pack("!i", PROTOCOL_3_0) + pairs.encode() + b"\x00"
        try:
            self.exchange(struct.pack("!i", len(body) + 4) + body, READY)
        except BaseException:
            self._socket.close()
            raise

    def exchange(self, payload: bytes, end: bytes) -> None:
        """Send the payload and drain the reply, whose last bytes must be `end`.

        Raises LimitError when the reply ends otherwise.
        """
        connection = self._socket
        view = memoryview(payload)
        received = memoryview(self._buffer)
        keep = len(end)
        last = b""
        sent = connection.send(view[:SEND_CHUNK])
        while True:
            writers = [connection] if sent < len(view) else []
            readable, writable, _ = select.select([connection], writers, [], 30)
            if not readable and not writable:
                raise LimitError("the server has not answered for 30 seconds")
            if writable:
                sent += connection.send(view[sent : sent + SEND_CHUNK])
            if not readable:
                continue
            count = connection.recv_into(received)
            if not count:
                raise LimitError(f"the server closed the connection: {last!r}")
            last = (last + bytes(received[max(0, count - keep) : count]))[-keep:]
            if sent == len(view) and last.endswith(READY):
                if last != end:
                    raise LimitError(f"unexpected end of the reply: {last!r}")
                return

    def prepare(self, query: str) -> None:
        """Prepare the unnamed statement, if it is not this one already.

        It keeps its plan, which may take the server longer than many executions.
        """
        if query == self._prepared:
            return
        self.exchange(parse(query) + SYNC, b"1\x00\x00\x00\x04" + READY)
        self._prepared = query

    def close(self) -> None:
        """Say goodbye and close the socket."""
        with self._socket as connection:
            connection.send(message(b"X", b""))


# From what a workload works on, the exchange that shows the limit.
Limit = Callable[[RawConnection, Sequence[Any]], Callable[[], None]]


def serial_limit(
    query: str, fields: Callable[[Any], Iterable[bytes]], tag: str
) -> Limit:
    """A raw round trip for each item: what server, kernel and socket take.

    `fields` gives the parameters of an item; every reply must end with `tag`.
    """

    def limit(raw: RawConnection, items: Sequence[Any]) -> Callable[[], None]:
        raw.prepare(query)
        payloads = [bind(fields(item)) + EXECUTE + SYNC for item in items]
        end = reply_end(tag)

        def exchanges() -> None:
            for payload in payloads:
                raw.exchange(payload, end)

        return exchanges

    return limit
