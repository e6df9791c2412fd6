# cython: language_level=3
"""Instances of Python's classes, made in C without their constructors.

Header only: everything here is inlined into the module that cimports it.
Layer L0. Imports nothing.

Rules
- A constructor checks and converts what is already right when it comes from a decoder,
  at ten to twenty times the price of the object; who skips it fills every slot.
- An instance whose slots can end no cycle may be taken off the garbage collector's
  list, once, as soon as it is made.
"""

from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_SET_ITEM

cdef extern from *:
    """
    #ifndef CHOPIN_INSTANCES_H
    #define CHOPIN_INSTANCES_H
    static inline PyObject *chopin_new_object(PyObject *type) {
        return ((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, 0);
    }
    static inline PyObject *chopin_new_tuple(PyObject *type, Py_ssize_t size) {
        return ((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, size);
    }
    /* Store into a slot of an object, as object.__setattr__ does after its look-up. */
    static inline int chopin_set_slot(PyObject *slot, PyObject *o, PyObject *value) {
        return Py_TYPE(slot)->tp_descr_set(slot, o, value);
    }
    /* What is in a slot, as object.__getattribute__ finds it after its look-up. */
    static inline PyObject *chopin_get_slot(PyObject *slot, PyObject *o) {
        return Py_TYPE(slot)->tp_descr_get(slot, o, (PyObject *)Py_TYPE(o));
    }
    static inline void chopin_untrack(PyObject *o) {
        PyObject_GC_UnTrack(o);
    }
    #endif
    """
    # An empty object of a class with slots, and of a class that is a tuple.
    object new_object "chopin_new_object"(object type)
    object new_tuple "chopin_new_tuple"(object type, Py_ssize_t size)
    int set_slot "chopin_set_slot"(object slot, object o, object value) except -1
    object get_slot "chopin_get_slot"(object slot, object o)
    void untrack "chopin_untrack"(object o) noexcept


cdef inline void fill(object made, Py_ssize_t i, object item) noexcept:
    """Put an item into a new tuple, at a place that is still empty."""
    Py_INCREF(item)
    PyTuple_SET_ITEM(made, i, item)
