# cython: language_level=3
"""Plans of rows that are no records. See _shapes.pyx."""

from cpython.object cimport PyObject

from chopin._rows cimport Description, RowPlan


cdef class ShapedPlan(RowPlan):
    cdef int *places                     # column -> where its value goes

    cdef int fit_columns(self, RowPlan columns, object shape, fit) except -1
    cdef int put_values(
        self, const unsigned char *data, Py_ssize_t size, PyObject **items
    ) except -1


cdef class TuplePlan(ShapedPlan):
    cdef object tuple_type               # tuple, or a NamedTuple


cdef class DictPlan(ShapedPlan):
    cdef tuple dict_keys
    cdef dict template                   # all keys, without values
    cdef object make                     # None, or called with the dict
    cdef object target                   # None, or what it is called with beside that


cdef class CallPlan(ShapedPlan):
    cdef object make                     # called with the values
    cdef object target                   # None, or the class whose __init__ `make` is
    cdef tuple keywords                  # names of the last values, or None
    cdef Py_ssize_t n_arguments          # those without a name, and the new object


cdef class FieldsPlan(ShapedPlan):
    cdef object target                   # the class of the objects
    cdef tuple attributes                # of each column


cdef RowPlan plan_in_shape(
    dict plans, Description description, RowPlan rows, object shape
)
