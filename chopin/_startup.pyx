# cython: language_level=3, nonecheck=True
"""How a session begins and how it ends.

Owns: `StartupOp`, from StartupMessage to the first ReadyForQuery, the messages that
answer an authentication request, and Terminate.
Layer L3. Imports L0 - L3.

Rules
- What the server asks for is handed out one request at a time and answered from
  outside: passwords may have to be waited for, and hashed in a thread.
- Until the session is open, frames are limited to what a startup needs, all together.
- Message layouts: PostgreSQL documentation, "Message Formats", "Start-up".
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t

from chopin._buffers cimport WriteBuffer
from chopin._protocol cimport Op, Session
from chopin._waiter cimport Waiter
from chopin._wire cimport (
    MSG_AUTHENTICATION,
    MSG_BACKEND_KEY_DATA,
    MSG_NEGOTIATE_PROTOCOL_VERSION,
    OUT_PASSWORD,
    OUT_TERMINATE,
    Cursor,
    cursor_left,
    cursor_over,
    put_uint32,
    take_bytes,
    take_int32,
)

from chopin.exceptions import ProtocolError


cdef class StartupOp(Op):
    """From StartupMessage to the first ReadyForQuery.

    What the server asks for in between is given out by `next_request`, one at a time.
    """

    def next_request(self):
        """An awaitable of the next (code, data) of an Authentication message.

        None when the session is ready. Code 0 is AuthenticationOk.
        """
        cdef Waiter waiter = Waiter(self.loop)
        self.asked = waiter
        self.answer()
        return waiter

    cdef int answer(self) except -1:
        cdef Waiter asked = self.asked
        if asked is None:
            return 0
        if self.requests:
            self.asked = None
            asked.resolve(self.requests.pop(0))
        elif self.ready:
            self.asked = None
            asked.resolve(None)
        elif self.outcome != 0:
            self.asked = None
            asked.fail(self.error or self.value)
        return 0

    cdef int settle(self) except -1:
        return self.answer()

    cdef int on_step(
        self, char step, unsigned char kind, const unsigned char *data, Py_ssize_t size
    ) except -1:
        cdef Cursor c = cursor_over(data, size)
        cdef int32_t code
        if kind == MSG_AUTHENTICATION:
            code = take_int32(&c)
            if c.failed:
                raise ProtocolError("Authentication message without a code")
            self.requests.append((code, rest_of(&c)))
            return self.answer()
        if kind == MSG_BACKEND_KEY_DATA:
            self.session.backend_pid = take_int32(&c)
            key = rest_of(&c)
            if not 4 <= len(key) <= 256 or (self.minor_version < 2 and len(key) != 4):
                raise ProtocolError(f"BackendKeyData with a key of {len(key)} bytes")
            self.session.cancel_key = key
            return 0
        if kind == MSG_NEGOTIATE_PROTOCOL_VERSION:
            return self.negotiate(&c)
        raise ProtocolError(f"unexpected message {chr(kind)!r} during startup")

    cdef int negotiate(self, Cursor *c) except -1:
        """NegotiateProtocolVersion: int32 version, int32 count of refused options."""
        cdef int32_t version = take_int32(c)
        cdef int32_t refused = take_int32(c)
        cdef int minor = version & 0xFFFF
        if (
            c.failed
            or refused
            or version >> 16 not in (0, 3)
            or minor > self.minor_version
        ):
            raise ProtocolError("NegotiateProtocolVersion does not fit what was asked")
        self.minor_version = minor
        return 0

    cdef int on_error(self, object error) except -1:
        self.error = error
        self.fail(error)
        return 0

    cdef int on_ready(self) except -1:
        self.ready = True
        self.session.opened()
        self.resolve(None)
        return self.answer()


cdef bytes rest_of(Cursor *c):
    cdef Py_ssize_t n = cursor_left(c)
    cdef const unsigned char *data = take_bytes(c, n)
    return PyBytes_FromStringAndSize(<const char *>data, n)


def start_startup(Session session, dict parameters, int minor_version=0):
    """Send StartupMessage: int32 length, int32 version 3.x, string pairs, a zero."""
    cdef WriteBuffer out = session.out
    cdef StartupOp op = StartupOp.__new__(StartupOp)
    cdef Py_ssize_t field = out.length
    out.put_int32(0)
    out.put_int32(3 << 16 | minor_version)
    try:
        for name, value in parameters.items():
            out.put_cstring(name, "a startup parameter's name")
            out.put_cstring(value, f"the startup parameter {name}")
    except BaseException:
        out.length = field
        raise
    out.put_byte(0)
    put_uint32(out.data + field, <unsigned int>(out.length - field))
    op.loop = session.loop
    op.requests = []
    op.minor_version = minor_version
    op.program = b"~"
    op.step = PyBytes_AS_STRING(op.program)
    session.submit(op)
    return op


def send_password(Session session, bytes data):
    """PasswordMessage, SASLInitialResponse or SASLResponse with the body `data`."""
    session.out.begin_message(OUT_PASSWORD)
    session.out.put_raw(PyBytes_AS_STRING(data), len(data))
    session.out.end_message()
    session.flush_now()


def send_terminate(Session session):
    """Say goodbye; the server closes the connection."""
    session.out.begin_message(OUT_TERMINATE)
    session.out.end_message()
    session.flush_now()
