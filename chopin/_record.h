/* Record: one row, laid out like a tuple, with its column names beside it.
 *
 * Layer L2. Used by _records.pyx and its callers; see _record.c for the rules.
 */
#ifndef CHOPIN_RECORD_H
#define CHOPIN_RECORD_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Column names, shared by all rows of a statement. */
typedef struct {
    PyObject_HEAD
    PyObject *names; /* tuple of str, in order */
    PyObject *index; /* dict: name -> position, the last of equal names */
} RecordNames;

typedef struct {
    PyObject_VAR_HEAD
    RecordNames *names;
    PyObject *items[1];
} RecordObject;

extern PyTypeObject Record_Type;
extern PyTypeObject RecordNames_Type;

/* Prepare both types; `restore` is what unpickling calls: restore(cls, names, values). */
int record_setup(PyObject *restore);

/* New reference; `names` is a tuple of str. */
PyObject *record_names_new(PyObject *names);

/* A row of `type` (Record_Type or a subclass) with every item NULL, not tracked by the
 * garbage collector. The caller fills all items, and tracks one of a subclass. */
PyObject *record_new(PyTypeObject *type, PyObject *names, Py_ssize_t size);

/* Let the collector see a row made by record_new; needed when an item is a container. */
static inline void record_track(PyObject *record) {
    if (!PyObject_GC_IsTracked(record)) {
        PyObject_GC_Track(record);
    }
}

#define RECORD_ITEM(record, i) (((RecordObject *)(record))->items[i])

#endif
