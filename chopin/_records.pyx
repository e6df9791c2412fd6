# cython: language_level=3
"""Making rows: the type `Record` for everything that is compiled.

Owns: the module into which _record.c is linked, and how a pickled row comes back.
Layer L2. Imports nothing but _record.c.

Rules
- Rows of results (`_rows`) and values of composite types (`_codecs_composite`) are made
  here, so that there is one type of both.
"""

from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF

cdef extern from "_record.h":
    int record_setup(object restore) except -1
    object record_names_new(tuple names)
    object record_new(PyTypeObject *type, object names, Py_ssize_t size)
    PyTypeObject Record_Type


def restore_record(cls, tuple names, tuple values):
    """Make a row again from what pickle kept of it."""
    cdef Py_ssize_t i
    if len(names) != len(values):
        raise ValueError("a record needs as many values as names")
    record = record_new(<PyTypeObject *>cls, record_names_new(names), len(values))
    for i in range(len(values)):
        value = values[i]
        Py_INCREF(value)
        SET_RECORD_ITEM(record, i, <PyObject *>value)
    record_track(record)
    return record


record_setup(restore_record)
Record = <object>(<PyObject *>&Record_Type)
globals()["Record"] = Record


cdef object new_names(tuple names):
    return record_names_new(names)


cdef object new_record(PyTypeObject *type, object names, Py_ssize_t size):
    return record_new(type, names, size)
