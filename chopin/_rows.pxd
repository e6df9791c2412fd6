# cython: language_level=3
"""Plans: how the parameters and the rows of one statement travel. See _rows.pyx."""

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport Codec, field_fn
from chopin._codecs cimport CodecMap


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
    cdef readonly object record_class
    cdef object names                    # RecordNames
    cdef tuple keys
    cdef Field *fields
    cdef int size
    cdef bint tracked

    cdef object decode_row(self, const unsigned char *data, Py_ssize_t size)
    cdef object decode_one(self, const unsigned char *data, Py_ssize_t size, int column)
    cdef object _explain(self, int column)
    cdef object wrong_count(self, const unsigned char *data, Py_ssize_t size)


cdef class ParamPlan:
    cdef readonly tuple codecs
    cdef readonly bytes formats          # Bind's sections: format codes, value count
    cdef int size

    cdef int check_count(self, Py_ssize_t count) except -1
    cdef int encode(self, WriteBuffer out, tuple args, Py_ssize_t element) except -1


cdef Description parse_description(bytes parameters, bytes columns)


cdef object argument_error(str text)
