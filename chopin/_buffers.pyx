# cython: language_level=3
"""Memory of a session: what has been read and what is to be written.

Owns: `ReadBuffer`, one contiguous block in which every frame lies whole, and
`WriteBuffer`, a growing block in which messages are built and from which they are
handed over as `bytes`.
Layer L1. Imports L0.

Rules
- Event loops keep the read buffer exported while they report what has arrived, so the
  block is moved or replaced only in `room`, which is called to ask for memory.
- Event loops keep views of bytes that are not sent yet, so what is handed over is
  copied out as `bytes` and never touched again.
- No message may be longer than the server would take (1 GiB): the buffer refuses before
  a byte of it leaves, so no 32-bit length can wrap.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.buffer cimport (
    PyBUF_SIMPLE,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.string cimport memcpy, memmove

from chopin._wire cimport put_uint32

cdef Py_ssize_t MESSAGE_LIMIT = 0x3FFFFFFF  # the server's limit: PQ_LARGE_MESSAGE_LIMIT
cdef Py_ssize_t WRITE_START = 1024
cdef Py_ssize_t WRITE_KEEP = 64 * 1024      # a larger block is given back after use
cdef Py_ssize_t READ_START = 2 * 1024       # idle pools have many that never need more
cdef Py_ssize_t READ_AGAIN = 16 * 1024      # where a larger block was given back
cdef Py_ssize_t READ_KEEP = 64 * 1024
cdef Py_ssize_t READ_MOST = 256 * 1024      # a read larger than this gains nothing


cdef class WriteBuffer:
    """Messages under construction."""

    def __cinit__(self):
        self.data = <char *>PyMem_Malloc(WRITE_START)
        if self.data is NULL:
            raise MemoryError
        self.capacity = WRITE_START
        self.length = 0
        self.message = 0

    def __dealloc__(self):
        PyMem_Free(self.data)

    cdef int _grow(self, Py_ssize_t n) except -1:
        """Make room for `n` more bytes; ValueError past the limit of one message."""
        cdef Py_ssize_t need
        cdef char *data
        if n < 0 or n > MESSAGE_LIMIT - (self.length - self.message):
            raise ValueError(
                "the message exceeds 1 GiB, the most that PostgreSQL accepts: "
                "send the value in parts, by COPY or as a large object"
            )
        need = self.length + n
        need = max(need + 64, self.capacity * 2)
        data = <char *>PyMem_Realloc(self.data, need)
        if data is NULL:
            raise MemoryError
        self.data = data
        self.capacity = need
        return 0

    cdef int put_object(self, object value) except -1:
        """A parameter value from any object with a contiguous buffer."""
        cdef Py_buffer view
        PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
        try:
            if view.len > MESSAGE_LIMIT:
                self._grow(view.len)
            self.put_field(view.buf, view.len)
        finally:
            PyBuffer_Release(&view)
        return 0

    cdef int put_cstring(self, str value, str what) except -1:
        """A zero-terminated string; ValueError when it holds a zero itself.

        A zero inside would end the string early and let its rest be read as the next
        fields of the message.
        """
        cdef bytes encoded = value.encode("utf-8")
        if b"\0" in encoded:
            raise ValueError(f"{what} must not contain a zero character")
        self.put_raw(<const char *>encoded, len(encoded) + 1)
        return 0

    cdef int end_message(self) except -1:
        """Fill in the length of the message begun last (int32 BE, itself included)."""
        cdef Py_ssize_t size = self.length - self.message - 1
        if size > MESSAGE_LIMIT:
            self._grow(0)
        put_uint32(self.data + self.message + 1, <unsigned int>size)
        self.message = self.length
        return 0

    cdef bytes take(self):
        """Hand over everything written; the buffer is empty afterwards."""
        cdef bytes out = PyBytes_FromStringAndSize(self.data, self.length)
        cdef char *data
        self.length = 0
        self.message = 0
        if self.capacity > WRITE_KEEP:
            data = <char *>PyMem_Realloc(self.data, WRITE_START)
            if data is not NULL:
                self.data = data
                self.capacity = WRITE_START
        return out


cdef class ReadBuffer:
    """Bytes received and not yet consumed, always contiguous."""

    def __cinit__(self):
        self.start = 0
        self.end = 0
        self.wanted = 0
        self.full = False
        self._allocate(READ_START)

    cdef int _allocate(self, Py_ssize_t capacity) except -1:
        """A new block, with the unconsumed bytes at its beginning."""
        cdef Py_ssize_t kept = self.end - self.start
        cdef object block = bytearray(capacity)
        cdef unsigned char *data = <unsigned char *>PyByteArray_AS_STRING(block)
        if kept:
            memcpy(data, self.data + self.start, kept)
        self.block = block
        self.view = memoryview(block)
        self.data = data
        self.capacity = capacity
        self.start = 0
        self.end = kept
        return 0

    cdef object room(self):
        """Writable memory for the next read: a memoryview, never empty.

        Grows to the frame that is under way, and doubles up to 256 KiB while reads
        fill it.
        """
        cdef Py_ssize_t kept = self.end - self.start
        cdef Py_ssize_t capacity = self.capacity
        if kept == 0:
            self.start = self.end = 0
        if self.wanted > capacity:
            # believe what has come, not what is announced
            if kept * 2 >= capacity:
                capacity = min(self.wanted, capacity * 2)
        elif self.full and capacity < READ_MOST:
            capacity = min(capacity * 2, READ_MOST)
        self.full = False
        if capacity != self.capacity:
            self._allocate(capacity)
        elif self.end == self.capacity or (
            self.wanted and self.start + self.wanted > self.capacity
        ):
            memmove(self.data, self.data + self.start, kept)
            self.start = 0
            self.end = kept
        if self.end == 0:
            return self.view
        return self.view[self.end:]

    cdef int shrink(self) except -1:
        """Give a large block back; called when nothing is expected any more.

        Views that an event loop still holds keep the old block alive.
        """
        if self.capacity > READ_KEEP and self.start == self.end:
            self._allocate(READ_AGAIN)
        return 0

    cdef int received(self, Py_ssize_t n) except -1:
        """The event loop has put `n` bytes into what `room` gave."""
        if n < 0 or n > self.capacity - self.end:
            raise ValueError(f"received({n}) is outside of the room that was given")
        self.end += n
        self.full = self.end == self.capacity
        return 0
