/* Record: one row, laid out like a tuple, with its column names beside it.
 *
 * Owns: the type `Record` that users get, and `RecordNames`, what the rows of a statement
 * share. In C because Cython has no variable-sized extension types.
 * Layer L2. Compiled into _records.
 *
 * Rules
 * - One allocation a row: the values lie inside of it, the names are a shared pointer.
 * - A row is immutable. Only `record_new`'s caller fills it, before anyone else sees it.
 * - A row whose values cannot be part of a cycle is never tracked by the garbage
 *   collector: large results would otherwise be walked again and again.
 * - It is not a subclass of tuple on purpose: `in` tests keys, dict(record) works, and
 *   encoders of JSON (FastAPI's, for one) that treat tuples as arrays see a mapping.
 */
#include "_record.h"

#ifdef Py_GIL_DISABLED
#define FREELIST_SIZES 0
#else
#define FREELIST_SIZES 24 /* rows of up to 23 columns are kept for reuse */
#endif
#define FREELIST_DEPTH 256 /* of each size: covers a page of rows, at most 1.4 MiB */

#if FREELIST_SIZES
static RecordObject *freelist[FREELIST_SIZES];
static int freelist_depth[FREELIST_SIZES];
#endif

static PyObject *restore_record;

/* ---- RecordNames ------------------------------------------------------------------ */

PyObject *record_names_new(PyObject *names) {
    RecordNames *self = PyObject_New(RecordNames, &RecordNames_Type);
    if (self == NULL) {
        return NULL;
    }
    self->names = Py_NewRef(names);
    self->index = PyDict_New();
    if (self->index == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); i++) {
        PyObject *position = PyLong_FromSsize_t(i);
        int rc = position == NULL
                     ? -1
                     : PyDict_SetItem(self->index, PyTuple_GET_ITEM(names, i), position);
        Py_XDECREF(position);
        if (rc < 0) {
            Py_DECREF(self);
            return NULL;
        }
    }
    return (PyObject *)self;
}

static void names_dealloc(RecordNames *self) {
    Py_XDECREF(self->names);
    Py_XDECREF(self->index);
    PyObject_Free(self);
}

PyTypeObject RecordNames_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "chopin._rows.RecordNames",
    .tp_basicsize = sizeof(RecordNames),
    .tp_dealloc = (destructor)names_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_doc = "Column names shared by the rows of one statement.",
};

/* ---- Record: life ----------------------------------------------------------------- */

PyObject *record_new(PyTypeObject *type, PyObject *names, Py_ssize_t size) {
    RecordObject *self;
    if (type != &Record_Type) {
        /* zeroed; tracked by tp_alloc, but nobody may find it before it is full */
        self = (RecordObject *)type->tp_alloc(type, size);
        if (self == NULL) {
            return NULL;
        }
        PyObject_GC_UnTrack(self);
        self->names = (RecordNames *)Py_NewRef(names);
        return (PyObject *)self;
    }
#if FREELIST_SIZES
    if (size < FREELIST_SIZES && freelist[size] != NULL) {
        self = freelist[size];
        freelist[size] = (RecordObject *)self->names; /* the list's link */
        freelist_depth[size]--;
        _Py_NewReference((PyObject *)self);
    } else
#endif
    {
        self = PyObject_GC_NewVar(RecordObject, &Record_Type, size);
        if (self == NULL) {
            return NULL;
        }
    }
    self->names = (RecordNames *)Py_NewRef(names);
    memset(self->items, 0, sizeof(PyObject *) * (size_t)size);
    return (PyObject *)self;
}

static void record_dealloc(RecordObject *self) {
    Py_ssize_t size = Py_SIZE(self);
    PyObject_GC_UnTrack(self);
    for (Py_ssize_t i = 0; i < size; i++) {
        Py_XDECREF(self->items[i]);
    }
    Py_XDECREF(self->names);
#if FREELIST_SIZES
    if (Py_IS_TYPE(self, &Record_Type) && size < FREELIST_SIZES &&
        freelist_depth[size] < FREELIST_DEPTH) {
        self->names = (RecordNames *)freelist[size];
        freelist[size] = self;
        freelist_depth[size]++;
        return;
    }
#endif
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static int record_traverse(RecordObject *self, visitproc visit, void *arg) {
    for (Py_ssize_t i = 0; i < Py_SIZE(self); i++) {
        Py_VISIT(self->items[i]);
    }
    return 0;
}

static PyObject *record_tp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyErr_Format(PyExc_TypeError,
                 "%.100s cannot be instantiated: rows are made by queries",
                 type->tp_name);
    return NULL;
}

/* ---- Record: values --------------------------------------------------------------- */

static PyObject *record_slice(RecordObject *self, Py_ssize_t start, Py_ssize_t step,
                              Py_ssize_t length) {
    PyObject *out = PyTuple_New(length);
    if (out == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < length; i++) {
        PyTuple_SET_ITEM(out, i, Py_NewRef(self->items[start + i * step]));
    }
    return out;
}

static PyObject *record_tuple(RecordObject *self) {
    return record_slice(self, 0, 1, Py_SIZE(self));
}

static Py_ssize_t record_length(RecordObject *self) { return Py_SIZE(self); }

static PyObject *record_item(RecordObject *self, Py_ssize_t i) {
    if (i < 0 || i >= Py_SIZE(self)) {
        PyErr_SetString(PyExc_IndexError, "record index out of range");
        return NULL;
    }
    return Py_NewRef(self->items[i]);
}

/* Borrowed position of a column, or NULL; an error is set only if lookup itself failed. */
static PyObject *record_position(RecordObject *self, PyObject *name) {
    return PyDict_GetItemWithError(self->names->index, name);
}

static PyObject *record_subscript(RecordObject *self, PyObject *key) {
    if (PyUnicode_CheckExact(key)) {
        /* first, and without the index protocol: the common case */
    } else if (PyIndex_Check(key)) {
        Py_ssize_t i = PyNumber_AsSsize_t(key, PyExc_IndexError);
        if (i == -1 && PyErr_Occurred()) {
            return NULL;
        }
        return record_item(self, i < 0 ? i + Py_SIZE(self) : i);
    } else if (PySlice_Check(key)) {
        Py_ssize_t start, stop, step, length;
        if (PySlice_Unpack(key, &start, &stop, &step) < 0) {
            return NULL;
        }
        length = PySlice_AdjustIndices(Py_SIZE(self), &start, &stop, step);
        return record_slice(self, start, step, length);
    }
    PyObject *position = record_position(self, key);
    if (position == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_SetObject(PyExc_KeyError, key);
        }
        return NULL;
    }
    return Py_NewRef(self->items[PyLong_AsSsize_t(position)]);
}

static int record_contains(RecordObject *self, PyObject *name) {
    return PyDict_Contains(self->names->index, name);
}

static PyObject *record_iter(RecordObject *self) {
    PyObject *values = record_tuple(self);
    if (values == NULL) {
        return NULL;
    }
    PyObject *it = PyObject_GetIter(values);
    Py_DECREF(values);
    return it;
}

static PyObject *record_keys(RecordObject *self, PyObject *ignored) {
    return PyObject_GetIter(self->names->names);
}

static PyObject *record_values(RecordObject *self, PyObject *ignored) {
    return record_iter(self);
}

static PyObject *record_items(RecordObject *self, PyObject *ignored) {
    Py_ssize_t size = Py_SIZE(self);
    PyObject *pairs = PyTuple_New(size);
    if (pairs == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < size; i++) {
        PyObject *pair =
            PyTuple_Pack(2, PyTuple_GET_ITEM(self->names->names, i), self->items[i]);
        if (pair == NULL) {
            Py_DECREF(pairs);
            return NULL;
        }
        PyTuple_SET_ITEM(pairs, i, pair);
    }
    PyObject *it = PyObject_GetIter(pairs);
    Py_DECREF(pairs);
    return it;
}

static PyObject *record_get(RecordObject *self, PyObject *const *args, Py_ssize_t nargs) {
    if (nargs < 1 || nargs > 2) {
        PyErr_Format(PyExc_TypeError, "get() takes a key and a default, %zd given",
                     nargs);
        return NULL;
    }
    PyObject *position = record_position(self, args[0]);
    if (position != NULL) {
        return Py_NewRef(self->items[PyLong_AsSsize_t(position)]);
    }
    if (PyErr_Occurred()) {
        return NULL;
    }
    return Py_NewRef(nargs == 2 ? args[1] : Py_None);
}

static PyObject *record_reduce(RecordObject *self, PyObject *ignored) {
    PyObject *values = record_tuple(self);
    if (values == NULL) {
        return NULL;
    }
    return Py_BuildValue("O(OON)", restore_record, Py_TYPE(self), self->names->names,
                         values);
}

/* ---- Record: comparison, hash, repr ----------------------------------------------- */

static PyObject *as_tuple(PyObject *value) {
    if (PyObject_TypeCheck(value, &Record_Type)) {
        return record_tuple((RecordObject *)value);
    }
    if (PyTuple_Check(value)) {
        return Py_NewRef(value);
    }
    return NULL;
}

static PyObject *record_richcompare(PyObject *left, PyObject *right, int op) {
    PyObject *a = as_tuple(left);
    PyObject *b = a == NULL ? NULL : as_tuple(right);
    PyObject *result = NULL;
    if (a != NULL && b != NULL) {
        result = PyObject_RichCompare(a, b, op);
    } else if (!PyErr_Occurred()) {
        result = Py_NewRef(Py_NotImplemented);
    }
    Py_XDECREF(a);
    Py_XDECREF(b);
    return result;
}

static Py_hash_t record_hash(RecordObject *self) {
    PyObject *values = record_tuple(self);
    if (values == NULL) {
        return -1;
    }
    Py_hash_t hash = PyObject_Hash(values);
    Py_DECREF(values);
    return hash;
}

static PyObject *record_repr(RecordObject *self) {
    PyObject *parts = PyList_New(0);
    PyObject *separator = NULL, *joined = NULL, *out = NULL;
    if (parts == NULL) {
        return NULL;
    }
    int entered = Py_ReprEnter((PyObject *)self);
    if (entered != 0) {
        Py_DECREF(parts);
        return entered > 0 ? PyUnicode_FromString("<Record ...>") : NULL;
    }
    for (Py_ssize_t i = 0; i < Py_SIZE(self); i++) {
        PyObject *part = PyUnicode_FromFormat(
            "%U=%R", PyTuple_GET_ITEM(self->names->names, i), self->items[i]);
        if (part == NULL || PyList_Append(parts, part) < 0) {
            Py_XDECREF(part);
            goto done;
        }
        Py_DECREF(part);
    }
    separator = PyUnicode_FromString(" ");
    joined = separator == NULL ? NULL : PyUnicode_Join(separator, parts);
    if (joined != NULL) {
        const char *dot = strrchr(Py_TYPE(self)->tp_name, '.');
        const char *name = dot == NULL ? Py_TYPE(self)->tp_name : dot + 1;
        out = PyUnicode_FromFormat(Py_SIZE(self) ? "<%s %U>" : "<%s%U>", name, joined);
    }
done:
    Py_ReprLeave((PyObject *)self);
    Py_DECREF(parts);
    Py_XDECREF(separator);
    Py_XDECREF(joined);
    return out;
}

/* ---- the type --------------------------------------------------------------------- */

static PyMethodDef record_methods[] = {
    {"keys", (PyCFunction)record_keys, METH_NOARGS, "An iterator over the column names."},
    {"values", (PyCFunction)record_values, METH_NOARGS, "An iterator over the values."},
    {"items", (PyCFunction)record_items, METH_NOARGS,
     "An iterator over (name, value) pairs."},
    {"get", (PyCFunction)(void (*)(void))record_get, METH_FASTCALL,
     "get(name, default=None): the value of a column, or the default."},
    {"__reduce__", (PyCFunction)record_reduce, METH_NOARGS, "For pickle and copy."},
    {NULL},
};

static PySequenceMethods record_as_sequence = {
    .sq_length = (lenfunc)record_length,
    .sq_item = (ssizeargfunc)record_item,
    .sq_contains = (objobjproc)record_contains,
};

static PyMappingMethods record_as_mapping = {
    .mp_length = (lenfunc)record_length,
    .mp_subscript = (binaryfunc)record_subscript,
};

PyDoc_STRVAR(record_doc,
             "One row of a result.\n\n"
             "Values by position (row[0], row[-1], row[1:3] -> tuple), by name\n"
             "(row['id']), by iteration (values, in order); keys(), values(), items(),\n"
             "get(); `in` tests names; equal to the tuple of its values, and hashed\n"
             "like it. Of equal column names the last one is found by name. Can be\n"
             "pickled and copied.");

PyTypeObject Record_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "chopin.Record",
    .tp_basicsize = sizeof(RecordObject) - sizeof(PyObject *),
    .tp_itemsize = sizeof(PyObject *),
    .tp_dealloc = (destructor)record_dealloc,
    .tp_repr = (reprfunc)record_repr,
    .tp_as_sequence = &record_as_sequence,
    .tp_as_mapping = &record_as_mapping,
    .tp_hash = (hashfunc)record_hash,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC |
                Py_TPFLAGS_SEQUENCE,
    .tp_doc = record_doc,
    .tp_traverse = (traverseproc)record_traverse,
    .tp_richcompare = record_richcompare,
    .tp_iter = (getiterfunc)record_iter,
    .tp_methods = record_methods,
    .tp_new = record_tp_new,
    .tp_free = PyObject_GC_Del,
};

int record_setup(PyObject *restore) {
    Py_XSETREF(restore_record, Py_NewRef(restore));
    if (PyType_Ready(&RecordNames_Type) < 0) {
        return -1;
    }
    return PyType_Ready(&Record_Type);
}
