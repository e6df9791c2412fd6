# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False
"""Codecs of ranges and multiranges, in binary form and, over a text codec, as text.

Owns: `range_of`, which makes the codec of a range type from the codec of its bounds,
and `multirange_of`, which makes that of a multirange type from the codec of its ranges.
Layer L2. Imports L0, L1, `_codecbase` and the quoting of `_codecs_nested`.

Rules
- The bound's codec decides the format, as an array's element does.
- A multirange is a list of `Range`; what the server merges and orders is left to it.

Source: PostgreSQL docs "Range Types"; rangetypes.c:range_send,
multirangetypes.c:multirange_send.
"""

from collections.abc import Mapping

from libc.stdint cimport INT32_MAX, int32_t, uint32_t
from libc.string cimport memchr

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport (
    LISTS_OF_SCALARS, Codec, bad_size, bad_value, new_codec,
)
from chopin._codecs_nested cimport put_quoted
from chopin._wire cimport (
    FORMAT_BINARY, FORMAT_TEXT, Cursor, cursor_left, cursor_over, take_byte, take_bytes,
    take_int32,
)

from chopin._codecbase import ElementError
from chopin.types import Range

cdef enum:                  # flags of a range: RANGE_EMPTY and following
    EMPTY = 0x01
    LOWER_INC = 0x02
    UPPER_INC = 0x04
    LOWER_INF = 0x08
    UPPER_INF = 0x10


cdef Codec range_of(Codec bound, uint32_t oid, str name):
    """The codec of the range type `oid` with bounds of `bound`."""
    cdef Codec codec
    if bound.format == FORMAT_TEXT:
        codec = new_codec(
            oid, name, "range", FORMAT_TEXT, False, decode_range_text, encode_range_text
        )
    else:
        codec = new_codec(
            oid, name, "range", FORMAT_BINARY, False, decode_range, encode_range
        )
    codec.element = bound
    return codec


cdef Codec multirange_of(Codec ranges, uint32_t oid, str name):
    """The codec of the multirange type `oid` over the range type of `ranges`."""
    cdef Codec codec
    if ranges.format == FORMAT_TEXT:
        codec = new_codec(
            oid, name, "multirange", FORMAT_TEXT, False,
            decode_multirange_text, encode_multirange_text,
        )
    else:
        codec = new_codec(
            oid, name, "multirange", FORMAT_BINARY, False,
            decode_multirange, encode_multirange,
        )
    codec.element = ranges
    codec.lists = LISTS_OF_SCALARS
    return codec


# Ranges.

cdef object decode_range(Codec codec, const unsigned char *data, Py_ssize_t size):
    """uint8 flags (1 empty, 2 and 4 lower and upper inclusive, 8 and 16 infinite), then
    each finite bound: int32 BE size and its bytes. A Range.

    DataError: unknown flags, a bound past the end or NULL, bytes left over.
    Source: PostgreSQL docs "Range Types"; rangetypes.c:range_send.
    """
    cdef Cursor c = cursor_over(data, size)
    cdef unsigned char flags = take_byte(&c)
    cdef object lower = None
    cdef object upper = None
    if c.failed:
        bad_size(codec, size, "1 or more")
    if flags > 0x1F:
        bad_value(codec, f"its flags {flags:#04x} are unknown")
    if not flags & (EMPTY | LOWER_INF):
        lower = read_bound(codec, &c)
    if not flags & (EMPTY | UPPER_INF):
        upper = read_bound(codec, &c)
    if c.at != c.end:
        bad_value(codec, f"{cursor_left(&c)} bytes are left over")
    return new_range(flags, lower, upper)


cdef object read_bound(Codec codec, Cursor *c):
    cdef int32_t size = take_int32(c)
    cdef const unsigned char *data = take_bytes(c, size)
    if c.failed:
        bad_value(codec, "a bound is missing or out of range")
    return codec.element.decode(codec.element, data, size)


cdef object new_range(int flags, object lower, object upper):
    if flags == LOWER_INC:
        return Range(lower, upper)      # what the server makes of discrete ranges
    if flags & EMPTY:
        return Range(empty=True)
    return Range(
        lower, upper,
        lower_inc=flags & LOWER_INC != 0, upper_inc=flags & UPPER_INC != 0,
    )


cdef tuple parts_of_range(object value):
    """Flags, lower and upper bound of a range argument, see `encode_range`."""
    cdef int flags = 0
    if isinstance(value, Range):
        if value.isempty:
            return (EMPTY, None, None)
        lower, upper = value.lower, value.upper
        flags = (LOWER_INC if value.lower_inc else 0) | (
            UPPER_INC if value.upper_inc else 0
        )
    elif not isinstance(value, (tuple, list)):
        raise TypeError(
            f"list, tuple or Range object expected (got type {type(value)})"
        )
    elif len(value) == 0:
        return (EMPTY, None, None)
    elif len(value) > 2:
        raise ValueError(f"expected 0, 1 or 2 elements in range (got {len(value)})")
    else:
        lower, upper = value if len(value) == 2 else (value[0], None)
        flags = LOWER_INC | UPPER_INC
    if lower is None:
        flags = flags & ~LOWER_INC | LOWER_INF
    if upper is None:
        flags = flags & ~UPPER_INC | UPPER_INF
    return (flags, lower, upper)


cdef int write_bound(
    Codec bound, WriteBuffer out, object value, str path
) except -1:
    """Write a finite bound; ElementError with `path` when its codec refuses it."""
    try:
        bound.encode(bound, out, value)
    except ElementError as error:
        raise ElementError(path + error.path, error.value, error.reason) from error
    except (TypeError, ValueError, OverflowError) as error:
        raise ElementError(path, value, str(error)) from error
    return 0


cdef int encode_range(Codec codec, WriteBuffer out, object value) except -1:
    """The layout of `decode_range`, from a Range or a tuple or list.

    ``(a, b)`` is inclusive at both ends, ``(a,)`` has no upper bound, ``()`` is empty,
    None is no bound. TypeError, ValueError: anything else. ElementError: a bound.
    Source: PostgreSQL docs "Range Types"; rangetypes.c:range_recv.
    """
    flags, lower, upper = parts_of_range(value)
    cdef Py_ssize_t start = out.begin_field()
    out.put_byte(flags)
    if lower is not None:
        write_bound(codec.element, out, lower, ".lower")
    if upper is not None:
        write_bound(codec.element, out, upper, ".upper")
    out.end_field(start)
    return 0


cdef object decode_range_text(Codec codec, const unsigned char *data, Py_ssize_t size):
    """A range literal: ``empty``, ``[a,b)``, ``("a,b",]``.

    DataError: no range literal.
    Source: PostgreSQL docs "Range Types", "Range Input/Output".
    """
    cdef Cursor c = cursor_over(data, size)
    if size == 5 and bytes(data[:5]).lower() == b"empty":
        return Range(empty=True)
    result = read_text_range(codec, &c)
    if c.at != c.end:
        bad_value(codec, f"{cursor_left(&c)} bytes are left over")
    return result


cdef object read_text_range(Codec codec, Cursor *c):
    """The range that begins here with a bracket or parenthesis."""
    cdef WriteBuffer scratch
    cdef unsigned char byte
    cdef int flags = 0
    byte = take_byte(c)
    if byte == c"[":
        flags |= LOWER_INC
    elif byte != c"(":
        bad_value(codec, "it does not begin with a bracket or parenthesis")
    scratch = WriteBuffer()
    lower = read_text_bound(codec, c, scratch)
    if take_byte(c) != c",":
        bad_value(codec, "the comma between its bounds is missing")
    upper = read_text_bound(codec, c, scratch)
    byte = take_byte(c)
    if byte == c"]":
        flags |= UPPER_INC
    elif byte != c")":
        bad_value(codec, "it does not end with a bracket or parenthesis")
    return new_range(flags, lower, upper)


cdef object read_text_bound(Codec codec, Cursor *c, WriteBuffer scratch):
    """The bound up to a comma, bracket or parenthesis; None when there is nothing.

    Quotes may begin and end within it; a quote inside of quotes is written twice, and
    a backslash escapes what follows.
    """
    cdef const unsigned char *start = c.at
    cdef bint is_quoted = False
    scratch.length = 0
    while c.at < c.end:
        if not is_quoted and memchr(b",()[]", c.at[0], 5) is not NULL:
            break
        if c.at[0] == c"\\":
            c.at += 1
            if c.at == c.end:
                break
            scratch.put_byte(c.at[0])
        elif c.at[0] != c'"':
            scratch.put_byte(c.at[0])
        elif is_quoted and c.end - c.at > 1 and c.at[1] == c'"':
            c.at += 1
            scratch.put_byte(c'"')
        else:
            is_quoted = not is_quoted
        c.at += 1
    if c.at == c.end:
        bad_value(codec, "a quote or the end of a bound is missing")
    if c.at == start:
        return None
    return codec.element.decode(
        codec.element, <unsigned char *>scratch.data, scratch.length
    )


cdef int encode_range_text(Codec codec, WriteBuffer out, object value) except -1:
    """A range literal with quoted bounds, from what `encode_range` takes.

    Source: PostgreSQL docs "Range Types", "Range Input/Output".
    """
    cdef int flags
    cdef WriteBuffer scratch = WriteBuffer()
    cdef Py_ssize_t start = out.begin_field()
    flags, lower, upper = parts_of_range(value)
    if flags & EMPTY:
        out.put_raw(b"empty", 5)
    else:
        out.put_byte(c"[" if flags & LOWER_INC else c"(")
        if lower is not None:
            write_bound(codec.element, scratch, lower, ".lower")
            put_quoted(out, scratch)
        out.put_byte(c",")
        if upper is not None:
            scratch.length = 0
            write_bound(codec.element, scratch, upper, ".upper")
            put_quoted(out, scratch)
        out.put_byte(c"]" if flags & UPPER_INC else c")")
    out.end_field(start)
    return 0


# Multiranges.

cdef object decode_multirange(Codec codec, const unsigned char *data, Py_ssize_t size):
    """int32 BE count; per range int32 BE size and its bytes. A list of Range.

    DataError: more ranges than bytes for them, one past the end or NULL, bytes left
    over.
    Source: multirangetypes.c:multirange_send.
    """
    cdef Cursor c = cursor_over(data, size)
    cdef int32_t count = take_int32(&c)
    cdef Codec element = codec.element
    cdef list result = []
    cdef const unsigned char *item
    cdef int32_t length
    if c.failed:
        bad_size(codec, size, "4 or more")
    if count < 0 or count > cursor_left(&c) / 5:
        bad_value(codec, f"{count} ranges are out of range")
    for _ in range(count):
        length = take_int32(&c)
        item = take_bytes(&c, length)
        if c.failed:
            bad_value(codec, "a range is missing or out of range")
        result.append(element.decode(element, item, length))
    if c.at != c.end:
        bad_value(codec, f"{cursor_left(&c)} bytes are left over")
    return result


cdef tuple ranges_of(object value):
    """The ranges of an argument; TypeError when it is no iterable of them."""
    if isinstance(value, (str, bytes, bytearray, memoryview, Mapping, Range)) or (
        not hasattr(type(value), "__iter__")
    ):
        raise TypeError(f"expected a sequence (got type {type(value).__name__!r})")
    return tuple(value)


cdef int encode_multirange(Codec codec, WriteBuffer out, object value) except -1:
    """The layout of `decode_multirange`, from any iterable of ranges.

    TypeError: no iterable. ElementError: an item that is no range, or its bound.
    Source: multirangetypes.c:multirange_recv.
    """
    cdef tuple items = ranges_of(value)
    cdef Py_ssize_t start = out.begin_field()
    if len(items) > INT32_MAX:
        raise ValueError(f"a multirange of {len(items)} ranges is too large")
    out.put_int32(<int32_t>len(items))
    for i in range(len(items)):
        write_bound(codec.element, out, items[i], f"[{i}]")
    out.end_field(start)
    return 0


cdef object decode_multirange_text(
    Codec codec, const unsigned char *data, Py_ssize_t size
):
    """A multirange literal: ``{}``, ``{[a,b),["c d",)}``.

    DataError: no multirange literal.
    Source: PostgreSQL docs "Range Types", "Range Input/Output".
    """
    cdef Cursor c = cursor_over(data, size)
    cdef list result = []
    cdef unsigned char byte = take_byte(&c)
    if byte != c"{":
        bad_value(codec, "it does not begin with a brace")
    if c.at < c.end and c.at[0] == c"}":
        byte = take_byte(&c)
    while byte != c"}":
        result.append(read_text_range(codec.element, &c))
        byte = take_byte(&c)
        if byte != c"," and byte != c"}":
            bad_value(codec, "a comma or the closing brace is missing")
    if c.at != c.end:
        bad_value(codec, f"{cursor_left(&c)} bytes are left over")
    return result


cdef int encode_multirange_text(Codec codec, WriteBuffer out, object value) except -1:
    """A multirange literal, from what `encode_multirange` takes."""
    cdef WriteBuffer scratch = WriteBuffer()
    cdef tuple items = ranges_of(value)
    cdef Py_ssize_t start = out.begin_field()
    out.put_byte(c"{")
    for i in range(len(items)):
        if i:
            out.put_byte(c",")
        scratch.length = 0
        write_bound(codec.element, scratch, items[i], f"[{i}]")
        out.put_raw(scratch.data + 4, scratch.length - 4)
    out.put_byte(c"}")
    out.end_field(start)
    return 0
