# cython: language_level=3
"""Codecs of point, line, lseg, box, path, polygon and circle.

Owns: the decode and encode functions of these types.
Layer L2. Imports L0, L1 and `_codecs_scalar`.

Rules
- A value is one of the classes of `chopin.types`; an argument is one of them, or the
  same numbers in sequences: a box is two points, a point is two numbers.
- Coordinates are float8 and travel bit by bit, NaN and the infinities too.
- What is a value of the type but not of the server (a line with A = B = 0, a circle of
  negative radius) is left to the server, which says so.

Source: PostgreSQL docs, "Geometric Types"; server file `geo_ops.c`.
"""

from cpython.float cimport PyFloat_FromDouble
from cpython.tuple cimport (
    PyTuple_Check,
    PyTuple_GET_ITEM,
    PyTuple_GET_SIZE,
    PyTuple_New,
)
from libc.stdint cimport INT32_MAX, int32_t

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport Codec, bad_size, bad_value
from chopin._codecs_scalar cimport double_of
from chopin._instances cimport fill, new_object, new_tuple, set_slot, untrack
from chopin._wire cimport (
    bits_of_double,
    double_of_bits,
    get_int32,
    get_uint64,
    put_uint64,
)

from chopin import types
from chopin._codecbase import ElementError

cdef extern from "Python.h":
    bint PySequence_Check(object value)

cdef object Box = types.Box
cdef object Circle = types.Circle
cdef object Line = types.Line
cdef object LineSegment = types.LineSegment
cdef object Path = types.Path
cdef object Point = types.Point
cdef object Polygon = types.Polygon
cdef object PATH_POINTS = types.Path.__dict__["_points"]
cdef object PATH_IS_CLOSED = types.Path.__dict__["_is_closed"]


# Decoding. The tuples are filled without their constructors; floats and points end no
# cycle, so everything here is taken off the garbage collector's list.

cdef object floats_at(object kind, const unsigned char *data, Py_ssize_t n):
    """A tuple of class `kind` over `n` float8."""
    cdef Py_ssize_t i
    made = new_tuple(kind, n)
    untrack(made)
    for i in range(n):
        fill(made, i, PyFloat_FromDouble(double_of_bits(get_uint64(data + 8 * i))))
    return made


cdef object two_points_at(object kind, const unsigned char *data):
    """A tuple of class `kind` over two points."""
    made = new_tuple(kind, 2)
    untrack(made)
    fill(made, 0, floats_at(Point, data, 2))
    fill(made, 1, floats_at(Point, data + 16, 2))
    return made


cdef object decode_point(Codec codec, const unsigned char *data, Py_ssize_t size):
    """Two float8, x and y, as `Point`. Source: server function `point_send`."""
    if size != 16:
        return bad_size(codec, size, "16")
    return floats_at(Point, data, 2)


cdef object decode_line(Codec codec, const unsigned char *data, Py_ssize_t size):
    """Three float8, A, B and C, as `Line`. Source: server function `line_send`."""
    if size != 24:
        return bad_size(codec, size, "24")
    return floats_at(Line, data, 3)


cdef object decode_lseg(Codec codec, const unsigned char *data, Py_ssize_t size):
    """Two points, as `LineSegment`. Source: server function `lseg_send`."""
    if size != 32:
        return bad_size(codec, size, "32")
    return two_points_at(LineSegment, data)


cdef object decode_box(Codec codec, const unsigned char *data, Py_ssize_t size):
    """Two points, upper right and lower left, as `Box`. Source: `box_send`."""
    if size != 32:
        return bad_size(codec, size, "32")
    return two_points_at(Box, data)


cdef object decode_circle(Codec codec, const unsigned char *data, Py_ssize_t size):
    """A point and a float8, as `Circle`. Source: server function `circle_send`."""
    if size != 24:
        return bad_size(codec, size, "24")
    made = new_tuple(Circle, 2)
    untrack(made)
    fill(made, 0, floats_at(Point, data, 2))
    fill(made, 1, PyFloat_FromDouble(double_of_bits(get_uint64(data + 16))))
    return made


cdef object joined_points(
    Codec codec, object kind, bint is_closed, const unsigned char *data,
    Py_ssize_t size,
):
    """A path or polygon of what is left: int32 number of points, the points."""
    cdef Py_ssize_t n, i
    if size < 4:
        return bad_size(codec, size, "4 or more behind what comes before the points")
    n = get_int32(data)
    if n < 1 or size != 4 + 16 * n:
        return bad_value(codec, f"{n} points do not take {size - 4} bytes")
    points = PyTuple_New(n)
    untrack(points)
    for i in range(n):
        fill(points, i, floats_at(Point, data + 4 + 16 * i, 2))
    made = new_object(kind)
    untrack(made)
    set_slot(PATH_POINTS, made, points)
    set_slot(PATH_IS_CLOSED, made, is_closed)
    return made


cdef object decode_path(Codec codec, const unsigned char *data, Py_ssize_t size):
    """A byte (1: closed), int32 number of points, points, as `Path`.

    Source: server function `path_send`.
    """
    if size < 1:
        return bad_size(codec, size, "21 or more")
    if data[0] > 1:
        return bad_value(codec, f"the first byte is {data[0]}, neither 0 nor 1")
    return joined_points(codec, Path, data[0] == 1, data + 1, size - 1)


cdef object decode_polygon(Codec codec, const unsigned char *data, Py_ssize_t size):
    """int32 number of points, points, as `Polygon`. Source: server's `poly_send`."""
    return joined_points(codec, Polygon, True, data, size)


# Encoding.

cdef object sequence_of(object value, Py_ssize_t n, str what):
    """A sequence of `n` items; TypeError when it is none, ValueError when it has more
    or less of them."""
    if not PySequence_Check(value):
        raise TypeError(f"{what} is required (got {type(value).__name__})")
    if len(value) != n:
        raise ValueError(f"{what} is required (got {len(value)} values)")
    return value


cdef int put_double(WriteBuffer out, object value) except -1:
    """A float8 without its length."""
    cdef double number = double_of(value)
    out.reserve(8)
    put_uint64(out.data + out.length, bits_of_double(number))
    out.length += 8
    return 0


cdef int put_point(WriteBuffer out, object value) except -1:
    """Two float8 without their length, from a `Point` or a sequence of two numbers."""
    cdef double x, y
    if PyTuple_Check(value) and PyTuple_GET_SIZE(value) == 2:
        x = double_of(<object>PyTuple_GET_ITEM(value, 0))
        y = double_of(<object>PyTuple_GET_ITEM(value, 1))
    else:
        value = sequence_of(value, 2, "a pair of numbers")
        x = double_of(value[0])
        y = double_of(value[1])
    out.reserve(16)
    put_uint64(out.data + out.length, bits_of_double(x))
    put_uint64(out.data + out.length + 8, bits_of_double(y))
    out.length += 16
    return 0


cdef int put_points(WriteBuffer out, tuple points) except -1:
    """All the points; ElementError says which of them is none."""
    cdef Py_ssize_t i
    for i in range(PyTuple_GET_SIZE(points)):
        item = points[i]
        try:
            put_point(out, item)
        except (TypeError, ValueError, OverflowError) as error:
            raise ElementError(f"[{i}]", item, str(error)) from error
    return 0


cdef int encode_point(Codec codec, WriteBuffer out, object value) except -1:
    """Two float8 from a `Point` or any sequence of two numbers.

    TypeError for anything else, ValueError for another length. Source: server function
    `point_recv`.
    """
    out.put_int32(16)
    return put_point(out, value)


cdef int encode_line(Codec codec, WriteBuffer out, object value) except -1:
    """Three float8 from a `Line` or any sequence of three numbers; see `encode_point`.

    Source: server function `line_recv`.
    """
    value = sequence_of(value, 3, "a sequence of three numbers")
    out.put_int32(24)
    for i in range(3):
        put_double(out, value[i])
    return 0


cdef int encode_two_points(Codec codec, WriteBuffer out, object value) except -1:
    """lseg, and box: two points; see `encode_point`.

    The server sorts the corners of a box. Source: `lseg_recv`, `box_recv`.
    """
    value = sequence_of(value, 2, "a pair of points")
    out.put_int32(32)
    return put_points(out, (value[0], value[1]))


cdef int encode_circle(Codec codec, WriteBuffer out, object value) except -1:
    """A point and a float8 from a `Circle` or `((x, y), radius)`.

    Source: server function `circle_recv`.
    """
    value = sequence_of(value, 2, "a pair of a point and a radius")
    out.put_int32(24)
    put_points(out, (value[0],))
    return put_double(out, value[1])


cdef tuple points_of(object value):
    """All points of a path or polygon; ValueError when there are none."""
    if isinstance(value, (str, bytes)):
        raise TypeError(f"points are required (got {type(value).__name__})")
    points = tuple(value)
    if not points:
        raise ValueError("at least one point is required")
    if len(points) > INT32_MAX // 16:
        raise ValueError(f"{len(points)} points are too many")
    return points


cdef int encode_path(Codec codec, WriteBuffer out, object value) except -1:
    """A path from a `Path` or an iterable of points: a tuple is closed, others open.

    Layout as in `decode_path`. TypeError, ValueError; ElementError for a point.
    Source: server function `path_recv`.
    """
    cdef tuple points = points_of(value)
    cdef bint is_closed = getattr(value, "is_closed", PyTuple_Check(value))
    out.put_int32(<int32_t>(5 + 16 * len(points)))
    out.put_byte(is_closed)
    out.put_int32(<int32_t>len(points))
    return put_points(out, points)


cdef int encode_polygon(Codec codec, WriteBuffer out, object value) except -1:
    """A polygon from a `Polygon`, a `Path` or an iterable of points.

    Layout as in `decode_polygon`. TypeError, ValueError; ElementError for a point.
    Source: server function `poly_recv`.
    """
    cdef tuple points = points_of(value)
    out.put_int32(<int32_t>(4 + 16 * len(points)))
    out.put_int32(<int32_t>len(points))
    return put_points(out, points)
