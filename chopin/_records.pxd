# cython: language_level=3
"""Making rows: the way to _record.c for other modules. See _records.pyx."""

from cpython.object cimport PyObject, PyTypeObject

cdef extern from "_record.h":
    void record_track(object record)

cdef extern from *:
    """
    #define SET_RECORD_ITEM(record, i, value) (RECORD_ITEM(record, i) = (value))
    #define RECORD_ITEMS(record) (&RECORD_ITEM(record, 0))
    """
    # Takes over the reference to `value`.
    void SET_RECORD_ITEM(object record, Py_ssize_t i, PyObject *value)
    PyObject **RECORD_ITEMS(object record)

cdef object Record

# What the rows of one statement, or the values of one composite type, share.
cdef object new_names(tuple names)

# Every item is NULL; the caller fills all of them, and tracks the row if need be.
cdef object new_record(PyTypeObject *type, object names, Py_ssize_t size)
