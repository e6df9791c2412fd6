"""Where bytes of COPY go to and come from: files, functions, buffers.

Owns: `sink`, a coroutine function for whatever may be an output, and `chunks`, an
iterator over whatever may be a source.
Layer L5. Imports nothing of ours.

Rules
- Files are opened, read, written and closed by the loop's executor, a chunk at a time:
  a disk that is slow blocks nobody else. One whose methods are coroutine functions has
  its own way to do that.
- What was opened here is closed here; what somebody else has opened stays open.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import IO, Any, cast

_READ = 256 * 1024

Data = bytes | bytearray | memoryview

Write = Callable[[bytes], Awaitable[Any]]


def _path_of(thing: Any) -> Any:
    if isinstance(thing, bytes):
        return None  # data, and not the name of a file
    try:
        return os.fspath(thing)
    except TypeError:
        return None


@contextlib.asynccontextmanager
async def _opened(path: Any, mode: str) -> AsyncIterator[IO[bytes]]:
    file = await asyncio.to_thread(open, path, mode)
    try:
        yield file
    finally:
        await asyncio.to_thread(file.close)


@contextlib.asynccontextmanager
async def sink(output: Any) -> AsyncIterator[Write]:
    """A coroutine function that writes bytes to a path, a file or a function.

    Raises:
        TypeError: it is nothing that can be written to.
    """
    path = _path_of(output)
    if path is not None:
        async with _opened(path, "wb") as file:
            yield _writer(file)
    elif hasattr(output, "write"):
        yield _writer(output)
    elif callable(output):
        yield output
    else:
        raise TypeError(
            "output is expected to be a file-like object, a path-like object or a "
            f"coroutine function, not {type(output).__name__}"
        )


def _writer(file: Any) -> Write:
    if inspect.iscoroutinefunction(file.write):
        return cast("Write", file.write)
    if isinstance(file, io.RawIOBase):
        return lambda data: asyncio.to_thread(_write_all, file, data)
    return lambda data: asyncio.to_thread(file.write, data)


def _write_all(file: io.RawIOBase, data: bytes) -> None:
    """Write to a file without a buffer, which may take a part at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[_some(file, file.write(rest)) :]


def _some(file: Any, result: Any) -> Any:
    """What a file has read, or how much it has written: None is not the end of it."""
    if result is None and isinstance(file, io.IOBase):
        raise BlockingIOError(f"{file!r} does not wait: it is open without blocking")
    return result


async def chunks(source: Any) -> AsyncGenerator[Any, None]:
    """Bytes from a path, a file, an asynchronous iterable or a buffer.

    Raises:
        TypeError: it is none of these, or does not bring bytes.
    """
    path = _path_of(source)
    if path is not None:
        async with _opened(path, "rb") as file:
            async for chunk in _read(file):
                yield chunk
    elif hasattr(source, "read"):
        async for chunk in _read(source):
            yield chunk
    elif hasattr(source, "__aiter__"):
        async for chunk in source:
            yield chunk
    else:
        yield source


async def _read(file: Any) -> AsyncIterator[bytes]:
    is_async = inspect.iscoroutinefunction(file.read)
    while chunk := _some(
        file,
        await (file.read(_READ) if is_async else asyncio.to_thread(file.read, _READ)),
    ):
        yield chunk
