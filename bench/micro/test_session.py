"""A query through buffers and protocol: from the call to the rows, no socket between.

The figures are for the whole of it: encoding Bind and Execute, framing the reply,
decoding its rows. The session is the tests' own, with a fake loop and clock.
"""

import pytest

from tests.support import backend
from tests.support.fakes import READY, open_session
from tests.support.script import done, prepared, query, row


def reply(count):
    """What the server says to a query with so many rows."""
    rows = b"".join(row(number, b"some text") for number in range(count))
    return backend.bind_complete() + rows + done(count) + READY


@pytest.fixture
def session():
    """A session with one cached statement."""
    session = open_session()
    prepared(session)
    session.written.clear()
    return session


@pytest.mark.parametrize("count", [1, 100, 10_000])
def test_fetch(benchmark, session, count):
    """So many rows of int4 and text."""
    benchmark.group = "fetch"
    start, data = query(), reply(count)

    def fetch():
        operation = start(session, {})
        session.feed(data)
        session.loop.run()
        session.written.clear()
        return operation.result()

    assert len(benchmark(fetch)) == count


@pytest.mark.parametrize("count", [1, 20])
def test_pipelined(benchmark, session, count):
    """So many queries at once, and their replies in one read."""
    benchmark.group = "pipelined"
    start, data = query(), reply(1) * count

    def fetch_all():
        operations = [start(session, {}) for _ in range(count)]
        session.feed(data)
        session.loop.run()
        session.written.clear()
        return [operation.result() for operation in operations]

    assert len(benchmark(fetch_all)) == count


@pytest.mark.parametrize("size", [64, 4096, 65_536])
def test_small_reads(benchmark, session, size):
    """A hundred rows, of which each read brings only a part."""
    benchmark.group = "reads"
    start, data = query(), reply(100)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]

    def fetch():
        operation = start(session, {})
        for piece in pieces:
            session.feed(piece)
        session.loop.run()
        session.written.clear()
        return operation.result()

    assert len(benchmark(fetch)) == 100
