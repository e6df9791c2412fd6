# cython: language_level=3
"""The wire's words: big-endian reads and writes, a checked cursor, message names.

Header only: everything here is inlined into the module that cimports it.
Layer L0. Imports nothing.

Rules
- A raw pointer read is allowed only after its size was checked; everything else goes
  through `Cursor`, whose first failed read sticks: later reads return 0 or NULL, and
  the caller checks `failed` once, before it uses what it has read.
- Message and field names are those of PostgreSQL's documentation, chapter
  "Message Formats".
"""

from libc.stdint cimport int16_t, int32_t, int64_t, uint16_t, uint32_t, uint64_t

cdef extern from *:
    """
    #ifndef CHOPIN_WIRE_H
    #define CHOPIN_WIRE_H
    #include <stdint.h>
    #include <string.h>
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    #define CHOPIN_BE16(x) (x)
    #define CHOPIN_BE32(x) (x)
    #define CHOPIN_BE64(x) (x)
    #elif defined(_MSC_VER)
    #include <stdlib.h>
    #define CHOPIN_BE16(x) _byteswap_ushort(x)
    #define CHOPIN_BE32(x) _byteswap_ulong(x)
    #define CHOPIN_BE64(x) _byteswap_uint64(x)
    #else
    #define CHOPIN_BE16(x) __builtin_bswap16(x)
    #define CHOPIN_BE32(x) __builtin_bswap32(x)
    #define CHOPIN_BE64(x) __builtin_bswap64(x)
    #endif
    static inline uint16_t chopin_get16(const void *p) {
        uint16_t v; memcpy(&v, p, 2); return CHOPIN_BE16(v);
    }
    static inline uint32_t chopin_get32(const void *p) {
        uint32_t v; memcpy(&v, p, 4); return CHOPIN_BE32(v);
    }
    static inline uint64_t chopin_get64(const void *p) {
        uint64_t v; memcpy(&v, p, 8); return CHOPIN_BE64(v);
    }
    static inline void chopin_put16(void *p, uint16_t v) {
        v = CHOPIN_BE16(v); memcpy(p, &v, 2);
    }
    static inline void chopin_put32(void *p, uint32_t v) {
        v = CHOPIN_BE32(v); memcpy(p, &v, 4);
    }
    static inline void chopin_put64(void *p, uint64_t v) {
        v = CHOPIN_BE64(v); memcpy(p, &v, 8);
    }
    static inline double chopin_double(uint64_t v) {
        double d; memcpy(&d, &v, 8); return d;
    }
    static inline uint64_t chopin_bits(double d) {
        uint64_t v; memcpy(&v, &d, 8); return v;
    }
    static inline float chopin_float(uint32_t v) {
        float f; memcpy(&f, &v, 4); return f;
    }
    static inline uint32_t chopin_float_bits(float f) {
        uint32_t v; memcpy(&v, &f, 4); return v;
    }
    #endif
    """
    uint16_t get_uint16 "chopin_get16"(const void *p) noexcept nogil
    uint32_t get_uint32 "chopin_get32"(const void *p) noexcept nogil
    uint64_t get_uint64 "chopin_get64"(const void *p) noexcept nogil
    void put_uint16 "chopin_put16"(void *p, uint16_t v) noexcept nogil
    void put_uint32 "chopin_put32"(void *p, uint32_t v) noexcept nogil
    void put_uint64 "chopin_put64"(void *p, uint64_t v) noexcept nogil
    double double_of_bits "chopin_double"(uint64_t v) noexcept nogil
    uint64_t bits_of_double "chopin_bits"(double d) noexcept nogil
    float float_of_bits "chopin_float"(uint32_t v) noexcept nogil
    uint32_t bits_of_float "chopin_float_bits"(float f) noexcept nogil


cdef inline int16_t get_int16(const void *p) noexcept nogil:
    return <int16_t>get_uint16(p)


cdef inline int32_t get_int32(const void *p) noexcept nogil:
    return <int32_t>get_uint32(p)


cdef inline int64_t get_int64(const void *p) noexcept nogil:
    return <int64_t>get_uint64(p)


cdef struct Cursor:
    const unsigned char *at      # next byte to read
    const unsigned char *end     # one past the last
    bint failed                  # a read went past the end; sticks


cdef inline Cursor cursor_over(
    const unsigned char *data, Py_ssize_t size
) noexcept nogil:
    cdef Cursor c
    c.at = data
    c.end = data + size
    c.failed = False
    return c


cdef inline Py_ssize_t cursor_left(Cursor *c) noexcept nogil:
    return c.end - c.at


cdef inline const unsigned char *take_bytes(Cursor *c, Py_ssize_t n) noexcept nogil:
    """The next `n` bytes, or NULL: when fewer are left or `n` is negative."""
    cdef const unsigned char *p = c.at
    if n < 0 or n > c.end - p:
        c.failed = True
        c.at = c.end
        return NULL
    c.at = p + n
    return p


cdef inline uint16_t take_uint16(Cursor *c) noexcept nogil:
    cdef const unsigned char *p = take_bytes(c, 2)
    return 0 if p is NULL else get_uint16(p)


cdef inline int32_t take_int32(Cursor *c) noexcept nogil:
    cdef const unsigned char *p = take_bytes(c, 4)
    return 0 if p is NULL else get_int32(p)


cdef inline uint32_t take_uint32(Cursor *c) noexcept nogil:
    return <uint32_t>take_int32(c)


cdef inline int64_t take_int64(Cursor *c) noexcept nogil:
    cdef const unsigned char *p = take_bytes(c, 8)
    return 0 if p is NULL else get_int64(p)


cdef inline unsigned char take_byte(Cursor *c) noexcept nogil:
    cdef const unsigned char *p = take_bytes(c, 1)
    return 0 if p is NULL else p[0]


cdef inline const char *take_string(Cursor *c, Py_ssize_t *size) noexcept nogil:
    """A zero-terminated string: its start, and its length without the zero.

    NULL when no zero is left in the message.
    """
    cdef const unsigned char *p = c.at
    cdef const unsigned char *q = p
    while q < c.end:
        if q[0] == 0:
            size[0] = q - p
            c.at = q + 1
            return <const char *>p
        q += 1
    c.failed = True
    c.at = c.end
    size[0] = 0
    return NULL


# Messages of the backend (the server).
cdef enum:
    MSG_AUTHENTICATION = <int>c"R"
    MSG_BACKEND_KEY_DATA = <int>c"K"
    MSG_BIND_COMPLETE = <int>c"2"
    MSG_CLOSE_COMPLETE = <int>c"3"
    MSG_COMMAND_COMPLETE = <int>c"C"
    MSG_COPY_BOTH_RESPONSE = <int>c"W"
    MSG_COPY_DATA = <int>c"d"
    MSG_COPY_DONE = <int>c"c"
    MSG_COPY_IN_RESPONSE = <int>c"G"
    MSG_COPY_OUT_RESPONSE = <int>c"H"
    MSG_DATA_ROW = <int>c"D"
    MSG_EMPTY_QUERY_RESPONSE = <int>c"I"
    MSG_ERROR_RESPONSE = <int>c"E"
    MSG_NEGOTIATE_PROTOCOL_VERSION = <int>c"v"
    MSG_NO_DATA = <int>c"n"
    MSG_NOTICE_RESPONSE = <int>c"N"
    MSG_NOTIFICATION_RESPONSE = <int>c"A"
    MSG_PARAMETER_DESCRIPTION = <int>c"t"
    MSG_PARAMETER_STATUS = <int>c"S"
    MSG_PARSE_COMPLETE = <int>c"1"
    MSG_PORTAL_SUSPENDED = <int>c"s"
    MSG_READY_FOR_QUERY = <int>c"Z"
    MSG_ROW_DESCRIPTION = <int>c"T"

# Messages of the frontend (us).
cdef enum:
    OUT_BIND = <int>c"B"
    OUT_CLOSE = <int>c"C"
    OUT_COPY_FAIL = <int>c"f"
    OUT_DESCRIBE = <int>c"D"
    OUT_EXECUTE = <int>c"E"
    OUT_PARSE = <int>c"P"
    OUT_PASSWORD = <int>c"p"
    OUT_QUERY = <int>c"Q"
    OUT_SYNC = <int>c"S"
    OUT_TERMINATE = <int>c"X"

# Format codes of parameters and columns.
cdef enum:
    FORMAT_TEXT = 0
    FORMAT_BINARY = 1

# ReadyForQuery's transaction status; UNKNOWN until the first one has arrived.
cdef enum:
    TXN_UNKNOWN = 0
    TXN_IDLE = <int>c"I"
    TXN_BLOCK = <int>c"T"
    TXN_FAILED = <int>c"E"
