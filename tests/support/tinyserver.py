"""The scripted server after ReadyForQuery: canned answers to canned statements.

Owns: the extended and the simple query protocol as far as a driver can see them
without anything being run: prepared statements, portals and their row limits,
errors that skip to Sync, the transaction status, cancellation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support import backend
from tests.support.backend import FrontendMessage
from tests.support.session import BackendConnection, ClientClosedError


@dataclass
class Canned:
    """The answer to one statement: what the tiny server says instead of running it.

    Values go out as they are, so they must be in the format that the driver asks
    for. With an `error`, the fields of an ErrorResponse, the statement describes
    itself and then fails. A `gate` is awaited before the rows are sent; a cancel
    request ends the wait with 57014.
    """

    columns: Sequence[tuple[str, int]] = ()
    rows: Sequence[Sequence[bytes | None]] = ()
    tag: str | None = None
    parameters: Sequence[int] = ()
    error: Mapping[str, str] | None = None
    gate: asyncio.Event | None = None

    @property
    def command_tag(self) -> str:
        """The tag of CommandComplete."""
        return self.tag if self.tag is not None else f"SELECT {len(self.rows)}"


# Statements that every session may send, and the status that they leave.
_TRANSACTION_WORDS = {
    "BEGIN": b"T",
    "START": b"T",
    "COMMIT": b"I",
    "END": b"I",
    "ROLLBACK": b"I",
}


async def serve_statements(conn: BackendConnection) -> None:
    """Answer the canned statements of the server until the driver leaves."""
    await _TinyServer(conn).run()


@dataclass
class _TinyServer:
    """The state of one session: statements, portals, transaction status."""

    conn: BackendConnection
    status: bytes = b"I"
    is_skipping: bool = False
    prepared: dict[str, str] = field(default_factory=dict)
    portals: dict[str, list[Any]] = field(default_factory=dict)
    n_sent: dict[str, int] = field(default_factory=dict)

    async def run(self) -> None:
        try:
            while True:
                got = await self.conn.receive()
                if got.name == "Terminate":
                    return
                if self.is_skipping and got.name != "Sync":
                    continue
                await _ANSWERS[got.name](self, got)
        except ClientClosedError:
            return

    def canned(self, query: str) -> Canned | None:
        """Return the answer to a statement; transaction words always have one."""
        sql = query.strip().rstrip(";")
        known = self.conn.server.statements.get(sql)
        if known is not None:
            return known
        word = sql.split(" ")[0].upper()
        if word in _TRANSACTION_WORDS:
            return Canned(tag=word)
        return None

    def fail(self, **fields: str) -> None:
        text = fields.pop("message", "scripted error")
        self.conn.send(backend.error_response(text, **fields))
        if self.status == b"T":
            self.status = b"E"

    def missing(self, query: str) -> None:
        self.fail(code="42601", message=f"no canned answer to {query!r}")

    async def parse(self, got: FrontendMessage) -> None:
        if self.canned(got["query"]) is None and got["query"].strip():
            self.is_skipping = True
            self.missing(got["query"])
            return
        self.prepared[got["statement"]] = got["query"]
        self.conn.send(backend.parse_complete())

    async def describe(self, got: FrontendMessage) -> None:
        if got["kind"] == "S":
            query, formats = self.prepared.get(got["name"]), [0]
        else:
            query, formats = self.portals.get(got["name"], (None, [0]))
        if query is None:
            self.is_skipping = True
            self.fail(code="26000", message=f"{got['name']!r} does not exist")
            return
        canned = self.canned(query) or Canned()
        if got["kind"] == "S":
            self.conn.send(backend.parameter_description(canned.parameters))
        self.conn.send(_described(canned, formats))

    async def bind(self, got: FrontendMessage) -> None:
        query = self.prepared.get(got["statement"])
        if query is None:
            self.is_skipping = True
            self.fail(code="26000", message=f"{got['statement']!r} does not exist")
            return
        self.portals[got["portal"]] = [query, got["result_formats"]]
        self.n_sent[got["portal"]] = 0
        self.conn.send(backend.bind_complete())

    async def execute(self, got: FrontendMessage) -> None:
        query, _ = self.portals.get(got["portal"], (None, None))
        if query is None:
            self.is_skipping = True
            self.fail(code="34000", message=f"{got['portal']!r} does not exist")
            return
        if not query.strip():
            self.conn.send(backend.empty_query_response())
            return
        canned = self.canned(query) or Canned()
        if not await self.may_go_on(canned):
            self.is_skipping = True
            return
        start = self.n_sent[got["portal"]]
        end = start + got["limit"] if got["limit"] > 0 else len(canned.rows)
        rows = canned.rows[start:end]
        self.n_sent[got["portal"]] = start + len(rows)
        self.conn.send(b"".join(map(backend.data_row, rows)))
        if 0 < got["limit"] <= len(rows):
            self.conn.send(backend.portal_suspended())
        else:
            self.complete(query, canned)

    async def query(self, got: FrontendMessage) -> None:
        if not got["query"].strip():
            self.conn.send(backend.empty_query_response())
        for query in filter(str.strip, got["query"].split(";")):
            canned = self.canned(query)
            if canned is None:
                self.missing(query)
                break
            if not await self.may_go_on(canned):
                break
            if canned.columns:
                self.conn.send(_described(canned, [0]))
            self.conn.send(b"".join(map(backend.data_row, canned.rows)))
            self.complete(query, canned)
        self.ready()

    async def close(self, got: FrontendMessage) -> None:
        (self.prepared if got["kind"] == "S" else self.portals).pop(got["name"], None)
        self.conn.send(backend.close_complete())

    async def sync(self, got: FrontendMessage) -> None:
        self.is_skipping = False
        if self.status == b"I":
            self.portals.clear()
        self.ready()

    async def flush(self, got: FrontendMessage) -> None:
        pass

    async def may_go_on(self, canned: Canned) -> bool:
        """Wait at the gate; False when the statement ends with an error."""
        if canned.gate is not None and await self.is_cancelled(canned.gate):
            self.fail(code="57014", message="canceling statement due to user request")
            return False
        if canned.error is not None:
            self.fail(**canned.error)
            return False
        return True

    async def is_cancelled(self, gate: asyncio.Event) -> bool:
        """Whether a cancel request comes before the gate opens."""
        cancelled = self.conn.cancelled
        waits = [asyncio.ensure_future(event.wait()) for event in (gate, cancelled)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        return not gate.is_set()

    def ready(self) -> None:
        # a cancel request that finds nothing to cancel is forgotten
        self.conn.cancelled.clear()
        self.conn.send(backend.ready_for_query(self.status))

    def complete(self, query: str, canned: Canned) -> None:
        word = query.split()[0].upper()
        self.status = _TRANSACTION_WORDS.get(word, self.status)
        self.conn.send(backend.command_complete(canned.command_tag))


def _described(canned: Canned, formats: Sequence[int]) -> bytes:
    if not canned.columns:
        return backend.no_data()
    if len(formats) != len(canned.columns):
        formats = (list(formats) or [0])[:1] * len(canned.columns)
    columns = zip(canned.columns, formats, strict=True)
    return backend.row_description([(*column, fmt) for column, fmt in columns])


_ANSWERS: dict[str, Callable[[_TinyServer, FrontendMessage], Awaitable[None]]] = {
    "Bind": _TinyServer.bind,
    "Close": _TinyServer.close,
    "Describe": _TinyServer.describe,
    "Execute": _TinyServer.execute,
    "Flush": _TinyServer.flush,
    "Parse": _TinyServer.parse,
    "Query": _TinyServer.query,
    "Sync": _TinyServer.sync,
}
