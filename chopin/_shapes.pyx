# cython: language_level=3, nonecheck=True
"""Rows in other shapes than `Record`, made from the values of a row at once.

Owns: `row_shape`, which reads the arguments `record_class` and `into`, and the plans
that make tuples, dicts and objects. Which column goes where is decided by _fitting.
Layer L2. Imports L0, L2.

Rules
- What a shape needs is known before a row comes: a statement keeps the plan, and a row
  is one tuple, one dict or one call. The plan of records knows nothing of it.
- Values that are not handed over yet lie in a tuple, so that whatever a decoder or the
  user's code raises, nothing is lost.
- A statement keeps the plans of few shapes: a function that is made anew for every call
  is a new shape each time.
"""

from cpython.dict cimport PyDict_Copy, PyDict_SetItem
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject, PyObject_GenericSetAttr, PyTypeObject

from chopin._rows cimport Description, RowPlan, decode_fields

from types import FunctionType

from chopin._fitting import COLLECTIONS, check_shape
from chopin._fitting import fit as fit_shape
from chopin._records import Record
from chopin._rows import check_record_class
from chopin.exceptions import InterfaceError

cdef extern from *:
    """
    /* A tuple of `size` NULLs, which the collector does not see: nobody may find it. */
    static inline PyObject *chopin_new_tuple(PyTypeObject *type, Py_ssize_t size) {
        PyObject *values;
        if (type == &PyTuple_Type) {
            values = PyTuple_New(size);
            if (values != NULL && size > 0) {
                PyObject_GC_UnTrack(values);
            }
            return values;
        }
        values = type->tp_alloc(type, size);
        if (values != NULL) {
            PyObject_GC_UnTrack(values);
        }
    #if PY_VERSION_HEX >= 0x030E0000
        if (values != NULL) {
            ((PyTupleObject *)values)->ob_hash = -1; /* not known yet */
        }
    #endif
        return values;
    }
    static inline PyObject *chopin_new_object(PyTypeObject *type, PyObject *no_args) {
        return type->tp_new(type, no_args, NULL);
    }
    #define chopin_items(values) (((PyTupleObject *)(values))->ob_item)
    """
    object new_tuple "chopin_new_tuple"(PyTypeObject *type, Py_ssize_t size)
    PyObject *new_object "chopin_new_object"(
        PyTypeObject *type, object no_args
    ) except NULL
    PyObject **items_of "chopin_items"(object values)
    PyTypeObject PyTuple_Type
    object PyObject_Vectorcall(
        object function, PyObject **args, size_t nargs, PyObject *keywords
    )
    size_t OFFSET "PY_VECTORCALL_ARGUMENTS_OFFSET"
    void PyObject_GC_Track(object value)

cdef int MAX_PLANS = 16  # of other shapes, for each statement


def row_shape(record_class, into):
    """What a call hands on to say what its rows are to be; None: nothing special.

    Args:
        record_class: a subclass of `Record`, or None.
        into: a shape, or None.

    Raises:
        InterfaceError: both are given, or `record_class` is no class of records.
        TypeError: `into` is nothing that a row can become.
    """
    if into is None:
        return None if record_class is None else check_record_class(record_class)
    if record_class is not None:
        raise InterfaceError("record_class and into cannot be specified together")
    if isinstance(into, type) and issubclass(into, Record):
        return check_record_class(into)
    if not isinstance(into, (type, FunctionType)) or into in COLLECTIONS:
        check_shape(into)
    return into


cdef RowPlan plan_in_shape(
    dict plans, Description description, RowPlan rows, object shape
):
    """The plan of a statement for a shape: from `plans`, or made and kept there.

    `rows` is the statement's own plan. Raises InterfaceError when the columns
    do not fit the shape.
    """
    cdef RowPlan plan = plans.get(shape)
    if plan is not None:
        return plan
    if isinstance(shape, type) and issubclass(shape, Record):
        plan = RowPlan.__new__(RowPlan)
        plan.take_columns(rows)
        plan.shape = shape
        plan.tracked = True
    elif description.raw_columns is None:
        return rows  # there will be none
    else:
        fitted = fit_shape(shape, rows.keys)
        plan = PLANS[fitted.kind](rows, shape, fitted)
    if len(plans) >= MAX_PLANS:
        del plans[next(iter(plans))]
    plans[shape] = plan
    return plan


cdef class ShapedPlan(RowPlan):
    """How DataRow messages of one statement become rows of one shape."""

    def __init__(self, RowPlan columns, shape, fit):
        self.fit_columns(columns, shape, fit)

    def __dealloc__(self):
        PyMem_Free(self.places)

    cdef int fit_columns(self, RowPlan columns, object shape, fit) except -1:
        cdef int i
        self.take_columns(columns)
        self.shape = shape
        self.tracked = not all([codec.atomic for codec in self.codecs])
        self.places = <int *>PyMem_Malloc(max(self.size, 1) * sizeof(int))
        if self.places is NULL:
            raise MemoryError
        for i in range(self.size):
            self.places[i] = fit.places[i]
        return 0

    cdef int put_values(
        self, const unsigned char *data, Py_ssize_t size, PyObject **items
    ) except -1:
        """The values of a DataRow's body, each in its place; see `decode_fields`."""
        return decode_fields(self, data, size, items, self.places)


cdef class TuplePlan(ShapedPlan):
    """Rows are tuples: plain ones, or of a NamedTuple whose fields are all there."""

    def __init__(self, RowPlan columns, shape, fit):
        self.fit_columns(columns, shape, fit)
        self.tuple_type = fit.make
        self.tracked = self.tracked or self.tuple_type is not tuple

    cdef object decode_row(self, const unsigned char *data, Py_ssize_t size):
        row = new_tuple(<PyTypeObject *>self.tuple_type, self.size)
        self.put_values(data, size, items_of(row))
        if self.tracked and self.size:
            PyObject_GC_Track(row)
        return row


cdef class DictPlan(ShapedPlan):
    """Rows are dicts, or what a function makes of a dict.

    A dict is a copy of one that has all the keys: it need not grow.
    """

    def __init__(self, RowPlan columns, shape, fit):
        self.fit_columns(columns, shape, fit)
        self.dict_keys = fit.names
        self.template = dict.fromkeys(fit.names)
        self.make = fit.make
        self.target = fit.target

    cdef object decode_row(self, const unsigned char *data, Py_ssize_t size):
        cdef int i
        cdef dict row = PyDict_Copy(self.template)
        values = new_tuple(&PyTuple_Type, self.size)
        self.put_values(data, size, items_of(values))
        for i in range(self.size):
            PyDict_SetItem(row, self.dict_keys[i], <object>items_of(values)[i])
        if self.make is None:
            return row
        return self.make(row) if self.target is None else self.make(row, self.target)


cdef class CallPlan(ShapedPlan):
    """Rows are what a class or a function makes of the values.

    The first item of `values` is the new object where `make` is an __init__, which is
    half the work of calling the class; else it is what the called one may overwrite.
    """

    def __init__(self, RowPlan columns, shape, fit):
        self.fit_columns(columns, shape, fit)
        self.make = fit.make
        self.target = fit.target
        self.keywords = fit.names or None
        self.n_arguments = self.size - len(fit.names)

    cdef object decode_row(self, const unsigned char *data, Py_ssize_t size):
        cdef PyObject *keywords = NULL
        cdef PyObject **items
        values = new_tuple(&PyTuple_Type, self.size + 1)
        items = items_of(values)
        self.put_values(data, size, items + 1)
        if self.keywords is not None:
            keywords = <PyObject *>self.keywords
        if self.target is None:
            return PyObject_Vectorcall(
                self.make, items + 1, <size_t>self.n_arguments | OFFSET, keywords
            )
        items[0] = new_object(<PyTypeObject *>self.target, ())
        made = PyObject_Vectorcall(
            self.make, items, <size_t>self.n_arguments + 1, keywords
        )
        if made is not None:
            raise TypeError("__init__() should return None")
        return <object>items[0]


cdef class FieldsPlan(ShapedPlan):
    """Rows are objects whose constructor only sets one attribute for each column.

    Which it need not be called for: that of a frozen dataclass sets each through a
    function.
    """

    def __init__(self, RowPlan columns, shape, fit):
        self.fit_columns(columns, shape, fit)
        self.target = fit.target
        self.attributes = fit.names

    cdef object decode_row(self, const unsigned char *data, Py_ssize_t size):
        cdef int i
        values = new_tuple(&PyTuple_Type, self.size + 1)
        self.put_values(data, size, items_of(values) + 1)
        items_of(values)[0] = new_object(<PyTypeObject *>self.target, ())
        row = <object>items_of(values)[0]
        for i in range(self.size):
            PyObject_GenericSetAttr(
                row, self.attributes[i], <object>items_of(values)[i + 1]
            )
        return row


PLANS = {"tuple": TuplePlan, "dict": DictPlan, "call": CallPlan, "fields": FieldsPlan}
