# cython: language_level=3
"""Memory of a session: what was read and what is to be written. See _buffers.pyx."""

from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t
from libc.string cimport memcpy

from chopin._wire cimport get_int32, put_uint16, put_uint32, put_uint64


cdef class WriteBuffer:
    cdef char *data
    cdef Py_ssize_t length       # bytes written
    cdef Py_ssize_t capacity
    cdef Py_ssize_t message      # where the current message begins

    cdef int _grow(self, Py_ssize_t n) except -1
    cdef int put_object(self, object value) except -1
    cdef int put_cstring(self, str value, str what) except -1
    cdef int end_message(self) except -1
    cdef bytes take(self)

    cdef inline int reserve(self, Py_ssize_t n) except -1:
        """Make room for `n` more bytes."""
        if n > self.capacity - self.length:
            self._grow(n)
        return 0

    cdef inline int put_byte(self, char value) except -1:
        self.reserve(1)
        self.data[self.length] = value
        self.length += 1
        return 0

    cdef inline int put_int16(self, uint16_t value) except -1:
        self.reserve(2)
        put_uint16(self.data + self.length, value)
        self.length += 2
        return 0

    cdef inline int put_int32(self, int32_t value) except -1:
        self.reserve(4)
        put_uint32(self.data + self.length, <uint32_t>value)
        self.length += 4
        return 0

    cdef inline int put_int64(self, int64_t value) except -1:
        self.reserve(8)
        put_uint64(self.data + self.length, <unsigned long long>value)
        self.length += 8
        return 0

    cdef inline int put_raw(self, const void *data, Py_ssize_t size) except -1:
        """Copy `size` bytes, without a length."""
        self.reserve(size)
        memcpy(self.data + self.length, data, size)
        self.length += size
        return 0

    cdef inline int put_field(self, const void *data, Py_ssize_t size) except -1:
        """A parameter value: int32 length, then the bytes."""
        self.reserve(size + 4)
        put_uint32(self.data + self.length, <uint32_t>size)
        memcpy(self.data + self.length + 4, data, size)
        self.length += size + 4
        return 0

    cdef inline Py_ssize_t begin_field(self) except -1:
        """Room for an int32 length that `end_field` fills in; returns its position."""
        self.reserve(4)
        self.length += 4
        return self.length - 4

    cdef inline void end_field(self, Py_ssize_t position) noexcept:
        """Write the length of what came after `begin_field` (`position`)."""
        put_uint32(
            self.data + position, <uint32_t>(self.length - position - 4)
        )

    cdef inline int begin_message(self, char kind) except -1:
        """Type byte and room for the length, which `end_message` fills in."""
        self.message = self.length
        self.reserve(5)
        self.data[self.length] = kind
        self.length += 5
        return 0


cdef class ReadBuffer:
    cdef object block            # bytearray; replaced, never resized
    cdef object view             # memoryview of the whole block
    cdef unsigned char *data     # the block's bytes
    cdef Py_ssize_t start        # first byte not yet consumed
    cdef Py_ssize_t end          # one past the last byte received
    cdef Py_ssize_t capacity
    cdef Py_ssize_t wanted       # size of the frame at `start`, 0 when unknown
    cdef bint full               # the last read filled all the room

    cdef int _allocate(self, Py_ssize_t capacity) except -1
    cdef object room(self)
    cdef int shrink(self) except -1
    cdef int received(self, Py_ssize_t n) except -1

    cdef inline Py_ssize_t next_frame(
        self, unsigned char kind, const unsigned char **body
    ) noexcept:
        """Consume the next frame if it is complete and of this kind.

        Returns the size of its body, or -1 and leaves everything to whoever looks at
        frames of all kinds, which finds out what is wrong with it, if anything.
        """
        cdef const unsigned char *frame = self.data + self.start
        cdef Py_ssize_t have = self.end - self.start
        cdef int32_t length
        if have < 5 or frame[0] != kind:
            return -1
        length = get_int32(frame + 1)
        if length < 4 or length >= have:
            return -1
        self.start += <Py_ssize_t>length + 1
        body[0] = frame + 5
        return length - 4
