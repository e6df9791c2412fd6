# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False
"""Codecs of arrays, in binary form and, over a text codec, in text form.

Owns: `array_of`, which makes the codec of an array type from that of its element.
Layer L2. Imports L0, L1 and `_codecbase`.

Rules
- The element's codec decides the format: PostgreSQL's binary form of an array holds
  binary elements only, so an array of a text-format type travels as an array literal.
- Decoding: nothing is allocated before the header has been checked against the bytes
  that are there. Lower bounds are dropped; an array is a list, of lists when it has
  more than one dimension.
- Encoding: any sized iterable is an array, but not str, bytes and mappings. Inside of
  one, lists and other sized iterables are dimensions; tuples, rows and mappings are
  elements, since they are how a composite value or a range is written. Where the
  elements are lists themselves (`Codec.lists`), their own dimension is not the array's.
- Sequences are copied to a tuple before they are walked: an element's encoder may run
  Python code, and no code may change what is being walked.

Source: PostgreSQL docs "Arrays"; arrayfuncs.c:array_send.
"""

from collections.abc import Mapping

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.list cimport (
    PyList_CheckExact, PyList_GET_SIZE, PyList_New, PyList_SET_ITEM,
)
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport (
    PyTuple_Check, PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE,
)
from cpython.unicode cimport PyUnicode_Check
from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint32_t
from libc.string cimport memchr

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport (
    LISTS, LISTS_OF_NUMBERS, Codec, bad_size, bad_value, encode_fn, field_fn, new_codec,
    new_none, propagate,
)
from chopin._codecs_bounds cimport bounds_literal, put_bounds
from chopin._wire cimport (
    FORMAT_BINARY, FORMAT_TEXT, Cursor, cursor_left, cursor_over, get_int32,
    put_uint32, take_byte, take_int32, take_uint32,
)

from chopin._codecbase import ElementError
from chopin.codecs import Array
from chopin.types import BitString, Path

cdef extern from *:
    """
    #define CHOPIN_HAS_ITERATOR(object) (Py_TYPE(object)->tp_iter != NULL)
    """
    # Takes over the reference to `item`.
    void SET_LIST_ITEM "PyList_SET_ITEM"(
        list made, Py_ssize_t i, PyObject *item
    ) noexcept
    bint has_iterator "CHOPIN_HAS_ITERATOR"(object item) noexcept
    void PyObject_GC_Track(object op) noexcept
    void PyObject_GC_UnTrack(object op) noexcept

cdef enum:
    MAX_DIMENSIONS = 6      # MAXDIM of the server

# Never a dimension although they have a length and an iterator.
cdef tuple WHOLE = (str, bytes, bytearray, memoryview, tuple, BitString, Path)
cdef str RAGGED = "non-homogeneous array: sub-arrays must have the same length"


cdef Codec array_of(Codec element, uint32_t oid, str name):
    """The codec of the array type `oid` over `element`."""
    cdef Codec codec
    if element.format == FORMAT_TEXT:
        codec = new_codec(
            oid, name, "array", FORMAT_TEXT, False, decode_array_text, encode_array_text
        )
    else:
        codec = new_codec(
            oid, name, "array", FORMAT_BINARY, False, decode_array, encode_array
        )
    codec.element = element
    return codec


# Arrays, binary: decoding.

cdef object decode_array(Codec codec, const unsigned char *data, Py_ssize_t size):
    """int32 dimensions, int32 flags (1: has NULLs), uint32 element OID; per dimension
    int32 length and int32 lower bound; per element int32 size, or -1 for NULL, and its
    bytes. All BE; zero dimensions are the empty array.

    DataError: more than 6 dimensions, an empty or negative one, more elements than
    bytes for them, an element past the end, bytes left over, another element type.
    """
    cdef Cursor c = cursor_over(data, size)
    cdef int32_t n_dims = take_int32(&c)
    cdef uint32_t flags = take_uint32(&c)
    cdef uint32_t oid = take_uint32(&c)
    cdef int32_t lengths[MAX_DIMENSIONS]
    cdef int64_t total = 1
    cdef int i
    if c.failed:
        bad_size(codec, size, "12 or more")
    if not 0 <= n_dims <= MAX_DIMENSIONS:
        bad_value(codec, f"it has {n_dims} dimensions, of 0 to {MAX_DIMENSIONS}")
    if flags > 1:
        bad_value(codec, f"its flags are {flags}, of 0 and 1")
    if oid != codec.element.oid:
        bad_value(
            codec, f"its elements have type OID {oid}, {codec.element.oid} expected"
        )
    if cursor_left(&c) < 8 * n_dims:
        bad_size(codec, size, f"{12 + 8 * n_dims} or more")
    for i in range(n_dims):
        lengths[i] = take_int32(&c)
        take_int32(&c)
    for i in range(n_dims):
        if lengths[i] <= 0 or lengths[i] > cursor_left(&c) / 4 / total:
            bad_value(codec, f"a dimension of length {lengths[i]} is out of range")
        total *= lengths[i]
    result = [] if n_dims == 0 else read_dimension(codec, &c, lengths, n_dims)
    if c.at != c.end:
        bad_value(codec, f"{cursor_left(&c)} bytes are left over")
    return result


cdef list read_dimension(Codec codec, Cursor *c, int32_t *lengths, int n_dims):
    """The list of the outermost of `n_dims` dimensions, of which there is one.

    Until it is full the collector does not know it, so that no code of a decoder can
    find a list with holes through `gc`.
    """
    cdef Py_ssize_t i
    cdef list result = PyList_New(lengths[0])
    cdef object item
    PyObject_GC_UnTrack(result)
    if n_dims == 1:
        read_items(codec, c, result)
    else:
        for i in range(lengths[0]):
            item = read_dimension(codec, c, lengths + 1, n_dims - 1)
            Py_INCREF(item)
            PyList_SET_ITEM(result, i, item)
    PyObject_GC_Track(result)
    return result


cdef int read_items(Codec codec, Cursor *c, list result) except -1:
    """Fill the list of the innermost dimension."""
    cdef Codec element = codec.element
    # the list takes over the decoder's own reference, so none is counted here
    cdef field_fn decode = <field_fn><void *>element.decode
    cdef const unsigned char *at = c.at
    cdef Py_ssize_t size, i
    cdef PyObject *item = NULL
    for i in range(PyList_GET_SIZE(result)):
        if c.end - at < 4:
            bad_value(codec, "an element is missing")
        size = get_int32(at)
        at += 4
        if size == -1:
            item = new_none()
        elif size < 0 or size > c.end - at:
            bad_value(codec, f"an element of {size} bytes is out of range")
        else:
            item = decode(<PyObject *>element, at, size)
            if item is NULL:
                propagate()
            at += size
        SET_LIST_ITEM(result, i, item)
    c.at = at
    return 0


# Arrays: what is a dimension, and how long it is.

cdef struct Shape:
    int n_dims
    int32_t lengths[MAX_DIMENSIONS]


cdef bint is_sized_iterable(object value) except -1:
    kind = type(value)
    return hasattr(kind, "__iter__") and hasattr(kind, "__len__")


cdef inline bint is_dimension(Codec element, object item) except -1:
    """Whether an item of an array is an array itself, not an element."""
    if element.lists:
        return holds_lists(element, item)
    return is_list(item)


cdef bint holds_lists(Codec element, object item) except -1:
    """`is_dimension` where a list may be an element.

    One of a multirange holds ranges: it is a dimension when it holds lists. One of a
    vector holds numbers, and is not empty. Lists over arrays (domains over array types)
    are all elements.
    """
    cdef bint is_vector = element.lists == LISTS_OF_NUMBERS
    if element.lists == LISTS or not is_list(item):
        return False
    for first in item:
        if is_vector:
            return first is None or has_iterator(first)
        return is_list(first)
    return is_vector


cdef inline bint is_list(object item) except -1:
    """Whether an object is a list, or an iterable that is taken for one."""
    if PyList_CheckExact(item):
        return True
    if not has_iterator(item) or PyUnicode_Check(item) or PyTuple_Check(item):
        return False
    # what has keys is a mapping or a row
    return (
        is_sized_iterable(item)
        and not isinstance(item, WHOLE)
        and not hasattr(type(item), "keys")
    )


cdef tuple outer_items(object value):
    """The items of an argument; TypeError when it is no array."""
    if PyTuple_CheckExact(value) or PyList_CheckExact(value):
        return tuple(value)
    if not is_sized_iterable(value) or isinstance(
        value, (str, bytes, bytearray, memoryview, Mapping)
    ):
        raise TypeError(
            f"a sized iterable container expected (got type '{type(value).__name__}')"
        )
    return tuple(value)


cdef Shape shape_of(Codec element, tuple items) except *:
    """Dimensions and lengths, as the first items have them; ValueError past six."""
    cdef Shape shape
    shape.n_dims = 0
    while True:
        if shape.n_dims == MAX_DIMENSIONS:
            raise ValueError(
                f"number of array dimensions ({MAX_DIMENSIONS + 1}) exceed the maximum "
                f"expected ({MAX_DIMENSIONS})"
            )
        if len(items) > INT32_MAX:
            raise ValueError(f"an array of {len(items)} elements is too large")
        shape.lengths[shape.n_dims] = <int32_t>len(items)
        shape.n_dims += 1
        if not items or not is_dimension(element, items[0]):
            return shape
        items = tuple(items[0])


cdef bint is_empty(Shape *shape) noexcept:
    # only the last dimension can have no items: its items would be the next one
    return shape.lengths[shape.n_dims - 1] == 0


# Arrays: encoding.

cdef int encode_array(Codec codec, WriteBuffer out, object value) except -1:
    """The layout of `decode_array`, with lower bounds of 1 unless it is an `Array`.

    TypeError: no sized iterable. ValueError: more than six dimensions. ElementError:
    an element that its codec refuses, a sub-array of another length than the first.
    """
    cdef tuple items = outer_items(value)
    cdef Shape shape = shape_of(codec.element, items)
    cdef Py_ssize_t start = out.begin_field()
    cdef Py_ssize_t flags
    cdef int i
    out.put_int32(shape.n_dims)
    flags = out.length
    out.put_int32(0)
    out.put_int32(<int32_t>codec.element.oid)
    for i in range(shape.n_dims):
        out.put_int32(shape.lengths[i])
        out.put_int32(1)
    if write_dimension(codec, out, None, items, &shape, 0):
        put_uint32(out.data + flags, 1)
    if is_empty(&shape):
        put_uint32(out.data + start + 4, 0)
        out.length = start + 16
    elif type(value) is Array:
        put_bounds(out.data + start + 16, shape.n_dims, shape.lengths, value)
    out.end_field(start)
    return 0


cdef int write_dimension(
    Codec codec, WriteBuffer out, WriteBuffer scratch, tuple items, Shape *shape,
    int depth,
) except -1:
    """Write the items at `depth`, in text form when there is `scratch`.

    Returns whether there was a NULL. ElementError says where an item is refused.
    """
    cdef bint has_null = False
    cdef bint is_last = depth + 1 == shape.n_dims
    cdef Codec element = codec.element
    cdef encode_fn encode = element.encode
    cdef char delimiter = element.delimiter
    cdef Py_ssize_t i = 0
    cdef object item = None
    cdef tuple inner
    if scratch is not None:
        out.put_byte(c"{")
    try:
        for i in range(PyTuple_GET_SIZE(items)):
            item = <object>PyTuple_GET_ITEM(items, i)
            if scratch is not None and i:
                out.put_byte(delimiter)
            if is_dimension(element, item) == is_last:
                # a codec of the user's may take a list for one element
                if not is_last or element.py_encode is None:
                    raise ValueError(RAGGED)
            if not is_last:
                inner = tuple(item)
                if PyTuple_GET_SIZE(inner) != shape.lengths[depth + 1]:
                    raise ValueError(RAGGED)
                if write_dimension(codec, out, scratch, inner, shape, depth + 1):
                    has_null = True
            elif item is None:
                has_null = True
                write_null(out, scratch)
            elif scratch is None:
                encode(element, out, item)
            else:
                scratch.length = 0
                encode(element, scratch, item)
                put_quoted(out, scratch)
    except ElementError as error:
        raise ElementError(f"[{i}]{error.path}", error.value, error.reason) from error
    except (TypeError, ValueError, OverflowError) as error:
        raise ElementError(f"[{i}]", item, str(error)) from error
    if scratch is not None:
        out.put_byte(c"}")
    return has_null


cdef inline int write_null(WriteBuffer out, WriteBuffer scratch) except -1:
    if scratch is None:
        return out.put_int32(-1)
    return out.put_raw(b"NULL", 4)


cdef int put_quoted(WriteBuffer out, WriteBuffer scratch) except -1:
    """Copy the field in `scratch` between double quotes, escaped by backslashes.

    Arrays and ranges read this alike, and quoting what need not be is harmless.
    """
    cdef Py_ssize_t size = scratch.length - 4
    cdef const char *data = scratch.data + 4
    cdef char *at
    cdef Py_ssize_t i
    if get_int32(scratch.data) < 0:     # a custom codec made a NULL of the value
        return write_null(out, scratch)
    out.reserve(2 * size + 2)
    at = out.data + out.length
    at[0] = c'"'
    at += 1
    for i in range(size):
        if data[i] == c'"' or data[i] == c"\\":
            at[0] = c"\\"
            at += 1
        at[0] = data[i]
        at += 1
    at[0] = c'"'
    out.length = at + 1 - out.data
    return 0


# Arrays, text.

cdef object decode_array_text(Codec codec, const unsigned char *data, Py_ssize_t size):
    """An array literal: ``{a,"b,c",NULL,{...}}``, perhaps after ``[0:1]=``.

    DataError: no array literal, more than 6 dimensions.
    Source: PostgreSQL docs "Arrays", "Array Input and Output Syntax".
    """
    cdef Cursor c = cursor_over(data, size)
    cdef const void *equals
    if size and data[0] == c"[":
        equals = memchr(data, c"=", size)
        if equals is NULL or not are_bounds(data, equals):
            bad_value(codec, "its bounds are malformed")
        c.at = <const unsigned char *>equals + 1
    if take_byte(&c) != c"{":
        bad_value(codec, "it does not begin with a brace")
    result = read_braces(codec, &c, WriteBuffer(), 1)
    if c.at != c.end:
        bad_value(codec, f"{cursor_left(&c)} bytes are left over")
    return result


cdef bint are_bounds(const unsigned char *at, const void *end) noexcept:
    while at < <const unsigned char *>end:
        if memchr(b"[]:+-0123456789", at[0], 15) is NULL:
            return False
        at += 1
    return True


cdef inline unsigned char next_text(Cursor *c) noexcept:
    """The next byte that is no white space, not taken; 0 at the end."""
    while c.at < c.end and memchr(b" \t\n\r\v\f", c.at[0], 6) is not NULL:
        c.at += 1
    return c.at[0] if c.at < c.end else 0


cdef list read_braces(Codec codec, Cursor *c, WriteBuffer scratch, int depth):
    """The list after an opening brace, and the closing one."""
    cdef unsigned char delimiter = codec.element.delimiter
    cdef unsigned char byte = next_text(c)
    cdef list result = []
    if depth > MAX_DIMENSIONS:
        bad_value(codec, f"it has more than {MAX_DIMENSIONS} dimensions")
    if byte == c"}":
        c.at += 1
        return result
    while True:
        if byte == c"{":
            c.at += 1
            result.append(read_braces(codec, c, scratch, depth + 1))
        elif byte == c'"':
            result.append(read_quoted(codec, c, scratch))
        else:
            result.append(read_bare(codec, c, scratch, delimiter))
        byte = next_text(c)
        if byte != delimiter and byte != c"}":
            bad_value(codec, "a delimiter or a closing brace is missing")
        c.at += 1
        if byte == c"}":
            return result
        byte = next_text(c)


cdef object read_quoted(Codec codec, Cursor *c, WriteBuffer scratch):
    """The element between double quotes, in which a backslash escapes what follows."""
    cdef const unsigned char *start
    c.at += 1
    start = c.at
    scratch.length = 0
    while c.at < c.end and c.at[0] != c'"':
        if c.at[0] == c"\\":
            scratch.put_raw(start, c.at - start)
            c.at += 1
            start = c.at            # the escaped byte is copied with what follows it
        c.at += 1
    if c.at >= c.end:
        bad_value(codec, "a closing quote is missing")
    c.at += 1
    return decode_part(codec, scratch, start, c.at - 1 - start)


cdef object read_bare(Codec codec, Cursor *c, WriteBuffer scratch, char delimiter):
    """The element up to a delimiter or brace; white space at its end is not its."""
    cdef const unsigned char *start = c.at
    cdef const unsigned char *first = start
    cdef const unsigned char *last = start      # one past the last byte of the element
    scratch.length = 0
    while c.at < c.end and c.at[0] != delimiter and c.at[0] != c"}":
        if c.at[0] == c'"' or c.at[0] == c"{":
            bad_value(codec, "a quote or brace is within an element")
        if c.at[0] == c"\\":
            scratch.put_raw(start, c.at - start)
            c.at += 1
            start = c.at
            last = c.at + 1
        elif memchr(b" \t\n\r\v\f", c.at[0], 6) is NULL:
            last = c.at + 1
        c.at += 1
    if last > c.end or last == first:
        bad_value(codec, "an element is missing")
    if last - first == 4 and bytes(first[:4]).upper() == b"NULL":
        return None
    return decode_part(codec, scratch, start, last - start)


cdef inline object decode_part(
    Codec codec, WriteBuffer scratch, const unsigned char *rest, Py_ssize_t size
):
    """Decode what is in `scratch` and the `size` bytes after it."""
    cdef Codec element = codec.element
    if scratch.length == 0:
        return element.decode(element, rest, size)
    scratch.put_raw(rest, size)
    return element.decode(element, <unsigned char *>scratch.data, scratch.length)


cdef int encode_array_text(Codec codec, WriteBuffer out, object value) except -1:
    """An array literal with every element quoted; raises as `encode_array` does.

    Source: PostgreSQL docs "Arrays", "Array Input and Output Syntax".
    """
    cdef tuple items = outer_items(value)
    cdef Shape shape = shape_of(codec.element, items)
    cdef Py_ssize_t start = out.begin_field()
    cdef bytes literal
    if type(value) is Array and not is_empty(&shape):
        literal = bounds_literal(shape.n_dims, shape.lengths, value)
        out.put_raw(PyBytes_AS_STRING(literal), len(literal))
    write_dimension(codec, out, WriteBuffer(), items, &shape, 0)
    if is_empty(&shape):
        out.length = start + 4
        out.put_raw(b"{}", 2)
    out.end_field(start)
    return 0
