"""A server without a socket: canned answers on an event loop whose clock stands still.

Owns: `ScriptedLoop`, on which `chopin.connect` and `chopin.create_pool` reach a
`Script` wherever they connect to; `Answer`, what it says to one statement.
Rules:
- Everything above the socket is real: transports, tasks and timers are asyncio's.
- Equal bytes get equal answers, which are made once and kept: what is counted while
  they are sent again is the driver's work, and as little as can be of the script's.
- Time stands still (`stop_time`): nothing here depends on how fast the machine is.

Source: PostgreSQL documentation, "Message Flow" and "Message Formats".
"""

import asyncio
import itertools
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.limit import int4, message

NOW = 1000.0
WELCOME = (
    message(b"R", int4(0))
    + message(b"S", b"client_encoding\0UTF8\0")
    + message(b"S", b"server_version\x0018.0\0")
    + message(b"K", int4(4321) + b"\1\2\3\4")
)
# What BEGIN and its kin leave behind.
STATUS_AFTER = {"BEGIN": b"T", "COMMIT": b"I", "ROLLBACK": b"I"}


def stop_time() -> None:
    """Let time stand still for everybody who asks `time.monotonic`, from now on.

    To be called before chopin and asyncio's users take the function for themselves.
    """
    time.monotonic = itertools.repeat(NOW).__next__


def data_row(values: Sequence[bytes]) -> bytes:
    """A DataRow of these values."""
    fields = b"".join(int4(len(value)) + value for value in values)
    return message(b"D", struct.pack("!h", len(values)) + fields)


@dataclass(frozen=True)
class Answer:
    """What is said to one statement: its types, and its rows as they travel."""

    parameters: Sequence[int] = ()
    columns: Sequence[int] = ()
    rows: Sequence[Sequence[bytes]] = ()
    tag: str = ""

    def described(self) -> bytes:
        """ParameterDescription, and RowDescription or NoData."""
        oids = b"".join(struct.pack("!I", oid) for oid in self.parameters)
        parameters = struct.pack("!h", len(self.parameters)) + oids
        if not self.columns:
            return message(b"t", parameters) + message(b"n", b"")
        columns = b"".join(
            b"column_%d\0" % number + struct.pack("!ihIhih", 0, 0, oid, -1, -1, 0)
            for number, oid in enumerate(self.columns)
        )
        columns = struct.pack("!h", len(self.columns)) + columns
        return message(b"t", parameters) + message(b"T", columns)

    def executed(self) -> bytes:
        """All rows and CommandComplete."""
        tag = self.tag or f"SELECT {len(self.rows)}"
        rows = b"".join(map(data_row, self.rows))
        return rows + message(b"C", tag.encode() + b"\0")


class Script:
    """What the server knows: an `Answer` for each statement.

    Attributes:
        binds: the bodies of the Bind messages that it has seen, if it is to keep them.
    """

    def __init__(self, answers: dict[str, Answer]) -> None:
        self._answers = answers
        self._memory: dict[tuple[bytes, bytes], tuple[bytes, bytes]] = {}
        self._prepared: dict[bytes, str] = {}
        self.binds: list[bytes] = []

    def answer(self, status: bytes, data: bytes) -> tuple[bytes, bytes]:
        """The new transaction status, and what is said to what the driver has sent."""
        key = status, data
        found = self._memory.get(key)
        if found is None:
            found = self._memory[key] = self._read(status, data)
        return found

    def _read(self, status: bytes, data: bytes) -> tuple[bytes, bytes]:
        if data[:1] == b"\0":  # StartupMessage, which has no type
            return b"I", WELCOME + message(b"Z", b"I")
        said = b""
        bound = ""
        start = 0
        while start < len(data):
            kind = data[start : start + 1]
            (length,) = struct.unpack_from("!i", data, start + 1)
            body = data[start + 5 : start + 1 + length]
            start += 1 + length
            match kind:
                case b"P":
                    name, text, _ = body.split(b"\0", 2)
                    self._prepared[name] = text.decode()
                    said += message(b"1", b"")
                case b"D":
                    said += self._answers[self._prepared[body[1:-1]]].described()
                case b"B":
                    bound = self._prepared[body.split(b"\0", 2)[1]]
                    self.binds.append(body)
                    said += message(b"2", b"")
                case b"E":
                    said += self._answer_to(bound).executed()
                    status = STATUS_AFTER.get(bound.split()[0], status)
                case b"S":
                    said += message(b"Z", status)
                case b"Q":
                    for sql in filter(str.strip, body[:-1].decode().split(";")):
                        said += self._answer_to(sql).executed()
                        status = STATUS_AFTER.get(sql.split()[0], status)
                    said += message(b"Z", status)
                case b"C":
                    said += message(b"3", b"")
        return status, said

    def _answer_to(self, sql: str) -> Answer:
        return self._answers.get(sql) or Answer(tag=sql.split()[0])


def parameters_of(bind: bytes) -> list[bytes]:
    """The values of a Bind message's body, all of which are there and in binary."""
    _, _, rest = bind.split(b"\0", 2)
    (count,) = struct.unpack_from("!h", rest)
    start = 2 + 2 * count
    (count,) = struct.unpack_from("!h", rest, start)
    start += 2
    values = []
    for _ in range(count):
        (length,) = struct.unpack_from("!i", rest, start)
        values.append(rest[start + 4 : start + 4 + length])
        start += 4 + length
    return values


class ScriptedTransport(asyncio.Transport):
    """Hands what is written to the script, and what it says to the protocol."""

    def __init__(self, loop: asyncio.AbstractEventLoop, script: Script, sock: Any):
        super().__init__({"socket": sock})
        self._call_soon = loop.call_soon
        self._answer = script.answer
        self._status = b"I"
        self._sock = sock

    def set_protocol(self, protocol: Any) -> None:
        """Begin."""
        self._protocol = protocol
        self._feed = protocol.feed
        protocol.connection_made(self)

    def write(self, data: Any) -> None:
        """Answer in the loop's next turn, as a socket would at the earliest."""
        self._status, said = self._answer(self._status, data)
        if said:
            self._call_soon(self._feed, said)

    def close(self) -> None:
        """End the connection."""
        self._sock.close()
        self._call_soon(self._protocol.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        """Whether it is closed."""
        return bool(self._sock.fileno() < 0)


class ScriptedLoop(asyncio.SelectorEventLoop):
    """An event loop on which everything connects to `script`, which may be replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.script = Script({})

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """There is nobody to connect to."""

    async def create_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], Any], *, sock: Any, **options: Any
    ) -> tuple[Any, Any]:
        """A transport that leads to the script."""
        transport = ScriptedTransport(self, self.script, sock)
        protocol = protocol_factory()
        transport.set_protocol(protocol)
        return transport, protocol
