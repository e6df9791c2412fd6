"""Bulk data by COPY, and rows one by one, beside the server's limit.

Owns: loading rows by COPY, from an iterable and one by one; reading a table row by row,
by COPY and by a query. The limits send and drain the same bytes raw.
Rules:
- A driver without the operation does what its users do instead; see ``candidates``.
- Each row that is read is looked at: what counts is rows in the hands of the user.
"""

import itertools
import struct
from collections.abc import Callable
from typing import Any

from bench.limit import RawConnection, float8, int4, message, reply_end
from bench.rows import ROW_SIZES, new_rows
from bench.workloads import Items, Seat, Sizes, Workload

LOAD_SIZES = Sizes(5000, 100_000, 500_000)
TABLE = "bulk"
COLUMNS = ("id", "name", "ratio")
TYPES = ("int4", "text", "float8")
HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
STORED = "SELECT count(*), sum(id), sum(ratio), sum(length(name)) FROM bulk"
SELECT = "SELECT id, name, ratio FROM facts"


async def run_copy_in(seat: Seat, items: Items) -> None:
    await seat.session.copy_in(TABLE, COLUMNS, TYPES, items)


async def run_copy_in_records(seat: Seat, items: Items) -> None:
    await seat.session.copy_in_records(TABLE, COLUMNS, TYPES, items)


async def run_copy_out(seat: Seat, items: Items) -> Any:
    return await seat.session.copy_out(SELECT, TYPES)


async def run_stream(seat: Seat, items: Items) -> Any:
    return await seat.session.stream(SELECT)


async def run_fetch(seat: Seat, items: Items) -> Any:
    rows = await seat.session.fetch(SELECT)
    count = 0
    for row in rows:  # noqa: B007
        count += 1
    return count, tuple(row)


def query(text: str) -> bytes:
    """A Query message."""
    return message(b"Q", text.encode() + b"\x00")


def limit_of_copy_in(raw: RawConnection, items: Items) -> Callable[[], None]:
    """The raw exchange that stores the same rows, encoded beforehand."""
    rows = [
        b"\x00\x03"
        + b"".join(
            struct.pack("!i", len(field)) + field
            for field in (int4(key), name.encode(), float8(ratio))
        )
        for key, name, ratio in items
    ]
    data = [HEADER, *rows, b"\xff\xff"]
    chunks = [
        message(b"d", b"".join(data[begin : begin + 1500]))
        for begin in range(0, len(data), 1500)
    ]
    command = f"COPY {TABLE} ({', '.join(COLUMNS)}) FROM STDIN (FORMAT binary)"
    payload = query(command) + b"".join(chunks) + message(b"c", b"")
    end = reply_end(f"COPY {len(items)}")
    return lambda: raw.exchange(payload, end)


def limit_of_copy_out(raw: RawConnection, items: Items) -> Callable[[], None]:
    """The raw exchange that brings the same rows, and decodes nothing."""
    payload = query(f"COPY ({SELECT}) TO STDOUT (FORMAT binary)")
    end = reply_end(f"COPY {len(items)}")
    return lambda: raw.exchange(payload, end)


COPIES = [
    *(
        Workload(
            name,
            "copy",
            "rows/s",
            LOAD_SIZES,
            new_rows,
            run,
            warm=LOAD_SIZES.full,
            slices=1,
            before="TRUNCATE bulk",
            state=STORED,
            limit=limit_of_copy_in,
        )
        for name, run in (
            ("copy_in", run_copy_in),
            ("copy_in_records", run_copy_in_records),
        )
    ),
    *(
        Workload(
            name,
            "copy",
            "rows/s",
            ROW_SIZES,
            itertools.count,
            run,
            warm=ROW_SIZES.full,
            slices=1,
            limit=limit_of_copy_out,
        )
        for name, run in (
            ("copy_out", run_copy_out),
            ("stream", run_stream),
            ("fetch_all", run_fetch),
        )
    ),
]
