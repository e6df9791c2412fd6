# cython: language_level=3
"""Plans: how the parameters and the rows of one statement travel. See _rows.pyx."""

from cpython.object cimport PyObject
from libc.stdint cimport int32_t, uint32_t

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport Codec, field_fn, new_none
from chopin._codecs cimport CodecMap
from chopin._wire cimport get_int32, get_uint16


cdef class Column:
    cdef readonly str name
    cdef readonly uint32_t table_oid
    cdef readonly int attribute_number
    cdef readonly uint32_t type_oid
    cdef readonly int type_size
    cdef readonly int type_modifier


cdef class Description:
    cdef readonly bytes raw_parameters   # body of ParameterDescription
    cdef readonly bytes raw_columns      # body of RowDescription, None for NoData
    cdef readonly tuple parameter_oids
    cdef readonly tuple columns


cdef struct Field:
    field_fn decode
    PyObject *codec


cdef class RowPlan:
    cdef readonly tuple codecs
    cdef readonly bytes formats          # Bind's section of result format codes
    cdef readonly object shape           # what the rows are: a subclass of Record
    cdef object names                    # RecordNames
    cdef tuple keys
    cdef Field *fields
    cdef int size
    cdef bint tracked

    cdef int take_columns(self, RowPlan other) except -1
    cdef object decode_row(self, const unsigned char *data, Py_ssize_t size)
    cdef object decode_one(self, const unsigned char *data, Py_ssize_t size, int column)
    cdef object _explain(self, int column)
    cdef object wrong_count(self, const unsigned char *data, Py_ssize_t size)


cdef int add_note(object error, str text) except -1


cdef object field_outside(int column)


cdef object bytes_left()


cdef inline int decode_fields(
    RowPlan plan, const unsigned char *data, Py_ssize_t size,
    PyObject **items, const int *places,
) except -1:
    """Put the values of a DataRow's body into `items`, which are all NULL before.

    Layout: int16 count of fields; per field int32 length, -1 for NULL, and as many
    bytes. Column i goes to items[places[i]], to items[i] without `places`. Each item
    is a reference that the owner of `items` drops, also when this raises: ProtocolError
    when the body does not agree with the description or with the message, whatever a
    decoder raises otherwise.
    Source: PostgreSQL documentation, "Message Formats", DataRow.

    It is here so that each module has one of its own in its one place: a call for each
    row would cost the plan of records 4 %.
    """
    cdef const unsigned char *end = data + size
    cdef Field *field = plan.fields
    cdef PyObject *value
    cdef int32_t length
    cdef int i
    if size < 2 or get_uint16(data) != plan.size:
        raise plan.wrong_count(data, size)
    data += 2
    for i in range(plan.size):
        if end - data < 4:
            raise field_outside(i)
        length = get_int32(data)
        data += 4
        if length < 0:
            if length != -1:
                raise field_outside(i)
            value = new_none()
        else:
            if length > end - data:
                raise field_outside(i)
            value = field[i].decode(field[i].codec, data, length)
            if value is NULL:
                plan._explain(i)
            data += length
        items[i if places is NULL else places[i]] = value
    if data != end:
        raise bytes_left()
    return 0


cdef class ParamPlan:
    cdef readonly tuple codecs
    cdef readonly bytes formats          # Bind's sections: format codes, value count
    cdef int size

    cdef int check_count(self, Py_ssize_t count) except -1
    cdef int encode(self, WriteBuffer out, tuple args, Py_ssize_t element) except -1


cdef Description parse_description(bytes parameters, bytes columns)
cdef tuple parse_columns(bytes data)


cdef object argument_error(str text)


cdef object refused_at(str where, object arg, object error)
