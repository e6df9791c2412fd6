"""The memory of a session: frames of any size, views that stay valid, and its end."""

import mmap

import pytest

from tests.support import backend as b
from tests.support.fakes import READY, open_session
from tests.support.script import done, prepared, query, row

KIB = 1024


def executing():
    session = open_session()
    prepared(session)
    op = query()(session, {})
    session.feed(b.bind_complete())
    return session, op


def put(session, data):
    """One read, of as much as fits; returns what is left."""
    view = session.get_buffer(-1)
    n = min(len(view), len(data))
    view[:n] = data[:n]
    session.buffer_updated(n)
    return data[n:]


def test_room_is_never_empty():
    """Whatever has been read before, and however little."""
    session, _ = executing()
    for data in (b"D", b"\0\0", b"\1", b"\0" * 100):
        assert len(session.get_buffer(-1)) > 0
        put(session, data)
    assert len(session.get_buffer(-1)) > 0


def test_room_for_a_frame_that_is_under_way():
    """Memory grows with what has come, never with what is only announced."""
    session, op = executing()
    data = row(1, b"x" * (5 << 20))
    rest = put(session, data[:5])
    assert rest == b""
    came = 5
    while came < len(data):
        room = len(session.get_buffer(-1))
        assert room <= max(16 * 1024, came * 4)
        part = data[came : came + room]
        assert put(session, part) == b""
        came += len(part)
    session.feed(done(1) + READY)
    assert len(op.result()[0][1]) == 5 << 20


def test_a_new_session_takes_little():
    """A connection that has opened and asked for small rows holds no more than that."""
    session, op = executing()
    session.feed(row(1) + done(1) + READY)
    assert op.result() == [(1, "x")]
    assert len(session.get_buffer(-1)) <= 2 * KIB


def test_reads_grow_while_they_are_filled():
    """Up to 256 KiB, no further."""
    session, _ = executing()
    data = row(1) * 100_000
    sizes = []
    while data:
        sizes.append(len(session.get_buffer(-1)))
        data = put(session, data)
    assert 200 * KIB < max(sizes) <= 256 * KIB
    assert sizes[0] < 64 * KIB


def test_block_is_given_back_when_nothing_is_expected():
    """A session that waits in a pool holds little."""
    session, _ = executing()
    session.feed(row(1) * 100_000)
    assert len(session.get_buffer(-1)) > 64 * KIB
    session.feed(done(1) + READY)
    assert len(session.get_buffer(-1)) <= 64 * KIB


def test_block_stays_where_it_is_while_a_read_is_taken_in():
    """Event loops keep a view of it; what they hold must not be moved or freed."""
    session, op = executing()
    held = []
    data = row(7, b"y" * 50_000) * 50 + done(50) + READY
    while data:
        view = session.get_buffer(-1)
        held.append(view)
        n = min(len(view), len(data), 7000)
        view[:n] = data[:n]
        session.buffer_updated(n)
        assert bytes(view[:n]) == data[:n], "the view was moved under the loop's hands"
        data = data[n:]
    assert op.result() == [(7, "y" * 50_000)] * 50


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 4096, 16384, 100_000])
def test_reads_of_any_size(size):
    """Frames end where they end, not where reads do."""
    session, op = executing()
    rows = [row(n, b"z" * (n % 97)) for n in range(300)]
    data = b"".join(rows) + done(300) + READY
    for at in range(0, len(data), size):
        session.feed(data[at : at + size])
    assert [tuple(got) for got in op.result()] == [
        (n, "z" * (n % 97)) for n in range(300)
    ]


@pytest.mark.parametrize("n", [-1, 10**9])
def test_more_than_the_room_was_not_received(n):
    """A loop that says so is wrong, and nothing is read past the block."""
    session, _ = executing()
    session.get_buffer(-1)
    with pytest.raises(ValueError, match="received"):
        session.buffer_updated(n)


def test_nothing_received():
    """A read of no bytes changes nothing."""
    session, op = executing()
    session.buffer_updated(0)
    session.feed(row(1) + done(1) + READY)
    assert op.result() == [(1, "x")]


def test_written_bytes_are_handed_over():
    """Every write is a bytes object of its own, which nobody touches again."""
    session, _ = executing()
    kept = []
    session.connected(lambda data: kept.append((data, bytes(data))))
    for value in range(50):
        query(0, value)(session, {})
        session.loop.run()
    assert len(kept) == 50
    assert all(type(data) is bytes and data == copy for data, copy in kept)


@pytest.mark.parametrize("size", [0, 1, 1000, 1023, 1024, 1025, 65536, 3_000_000])
def test_message_of_any_size(size):
    """The length of a message is that of its body, whatever has to grow."""
    session = open_session()
    prepared(session, parameters=(17,))
    session.written.clear()
    with mmap.mmap(-1, size + 1) as memory, memoryview(memory)[:size] as value:
        query(0, value)(session, {})
    bind = session.sent()[0]
    assert bind["parameters"] == [bytes(size)]


@pytest.mark.parametrize(
    "value", [b"abc", bytearray(b"abc"), memoryview(b"xabcx")[1:4], memoryview(b"abc")]
)
def test_any_object_with_a_buffer(value):
    """bytea takes what has a contiguous buffer."""
    session = open_session()
    prepared(session, parameters=(17,))
    session.written.clear()
    query(0, value)(session, {})
    assert session.sent()[0]["parameters"] == [b"abc"]


def test_paused_transport_blocks_and_goes_on():
    """While the peer does not read, nothing new is sent."""
    session = open_session()
    session.pause_writing()
    assert session.gate.blocked
    writable, turn = session.gate.wait_writable(), session.gate.wait_unblocked()
    session.loop.run()
    assert not writable.done()
    assert not turn.done()
    session.resume_writing()
    assert not session.gate.blocked
    assert writable.done()
    assert turn.done()
    assert session.gate.wait_writable().done()


def test_end_of_a_paused_session_wakes_who_waits():
    """Nobody is left waiting for room that will never come."""
    session = open_session()
    session.pause_writing()
    waiting = [session.gate.wait_writable(), session.gate.wait_unblocked()]
    session.lost(None)
    assert all(waiter.done() for waiter in waiting)
