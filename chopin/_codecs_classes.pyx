# cython: language_level=3
"""Values of classes of the user's: members for labels, objects for composite values.

Owns: `enum_codec` and `class_codec`.
Layer L2. Imports L0, L1, `_codecbase`, the codecs of text, composite types and users.

Rules
- Which member stands for which label is decided once: a label is looked up in one dict,
  no Python code runs for it.
- How a class is called for a composite value is decided once for each type. The
  attributes that come first and in the order of its parameters are passed by position,
  which is the fastest, all others by name; no value can get to a wrong parameter.
- An object is written by its attributes of the names that the type has.

Source: PostgreSQL docs, "Enumerated Types", "Composite Types".
"""

import inspect
from collections.abc import Mapping

from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_Check

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport Codec, bad_value
from chopin._codecs_composite cimport (
    attributes_of,
    decode_composite,
    names_of,
)
from chopin._codecs_custom cimport renamed
from chopin._codecs_scalar cimport decode_text, encode_text

cdef extern from "Python.h":
    object PyObject_Vectorcall(
        object function, PyObject **values, size_t n_positional, PyObject *names
    )

cdef extern from *:
    """
    #include "_record.h"
    #define CHOPIN_RECORD_ITEMS(record) (((RecordObject *)(record))->items)
    """
    PyObject **record_items "CHOPIN_RECORD_ITEMS"(object record) noexcept


# Enums.

cdef class Members:
    """The members of an `Enum` and the labels of an enum; the `detail` of a codec."""

    cdef object cls
    cdef dict by_label      # label -> member
    cdef dict labels        # name of a member -> label


cdef Codec enum_codec(Codec known, object cls, tuple labels):
    cdef Members members = Members.__new__(Members)
    cdef Codec codec
    if known.decode != decode_text:
        return None
    names = dict(cls.__members__)
    values = {each.value: each for each in cls if isinstance(each.value, str)}
    members.cls = cls
    members.by_label = names | values
    members.labels = labels_of(cls, members.by_label, values, labels)
    codec = renamed(known, known.oid, known.name, known.schema, known.kind)
    codec.atomic = False
    codec.detail = members
    codec.decode = decode_enum
    codec.encode = encode_enum
    return codec


cdef dict labels_of(cls, dict by_label, dict values, tuple labels):
    """The label of each member, by its name.

    What is no label of the type as far as is known may be one soon (ALTER TYPE ... ADD
    VALUE): it is the value of the member if those of the others are labels, else its
    name.
    """
    known = {by_label[label].name: label for label in labels if label in by_label}
    by_name = len(values) < len(cls) or any(
        label not in values for label in known.values()
    )
    return {
        each.name: known.get(each.name, each.name if by_name else each.value)
        for each in cls
    }


cdef bint is_enum_codec(Codec codec) noexcept:
    return codec.decode == decode_enum


cdef object decode_enum(Codec codec, const unsigned char *data, Py_ssize_t size):
    """The label, in UTF-8; DataError: no member stands for it. Source: `enum_send`."""
    cdef Members members = <Members>codec.detail
    cdef PyObject *member
    label = decode_text(codec, data, size)
    member = PyDict_GetItem(members.by_label, label)
    if member is NULL:
        return bad_value(
            codec, f"no member of {members.cls.__name__} has the label {label!r}"
        )
    return <object>member


cdef int encode_enum(Codec codec, WriteBuffer out, object value) except -1:
    """The label of a member; a `str` as it is, which the server checks.

    TypeError: the value is neither. Source: server function `enum_recv`.
    """
    cdef Members members = <Members>codec.detail
    if type(value) is members.cls:
        return encode_text(codec, out, members.labels[value._name_])
    if PyUnicode_Check(value):
        return encode_text(codec, out, value)
    raise TypeError(
        f"expected {members.cls.__name__} or str, got {type(value).__name__}"
    )


# Composite types.

cdef class Maker:
    """How a class is called; the `detail` of a codec, whose `element` makes records."""

    cdef object factory
    cdef tuple names                # of the attributes
    cdef size_t n_positional
    cdef tuple keywords             # names of those that are passed by name, or None
    cdef bint is_class


cdef Codec class_codec(Codec known, object factory):
    cdef Maker maker = Maker.__new__(Maker)
    cdef Codec codec
    if known.decode != decode_composite:
        return None
    maker.factory = factory
    maker.is_class = isinstance(factory, type)
    maker.names = names_of(known)
    maker.n_positional = count_positional(factory, maker.names)
    maker.keywords = maker.names[maker.n_positional:] or None
    codec = renamed(known, known.oid, known.name, known.schema, known.kind)
    codec.atomic = False
    codec.element = known
    codec.detail = maker
    codec.decode = decode_object
    codec.encode = encode_object
    return codec


cdef size_t count_positional(object factory, tuple names) except? 0:
    """How many of the attributes are passed by position, the first ones.

    TypeError: the others cannot be passed by name, or something is missing.
    """
    cdef size_t n = 0
    what = getattr(factory, "__name__", repr(factory))
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return 0            # dict, say: it takes what it is given
    by_name = {each.name for each in parameters if each.kind in BY_NAME}
    kinds = {each.kind for each in parameters}
    if not by_name and inspect.Parameter.VAR_POSITIONAL in kinds and (
        inspect.Parameter.VAR_KEYWORD not in kinds
    ):
        return len(names)   # of *args alone
    for each, name in zip(parameters, names):
        if each.name != name or each.kind not in BY_POSITION:
            break
        n += 1
    for name in names[n:]:
        if name not in by_name and inspect.Parameter.VAR_KEYWORD not in kinds:
            raise TypeError(f"{what} has no parameter for the attribute {name!r}")
    for each in parameters:
        if each.name not in names and each.default is each.empty and (
            each.kind not in VARIABLE
        ):
            raise TypeError(f"the type has no attribute for {what}'s {each.name!r}")
    return n


cdef tuple BY_POSITION = (
    inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD,
)
cdef tuple BY_NAME = (
    inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY,
)
cdef tuple VARIABLE = (
    inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD,
)


cdef object decode_object(Codec codec, const unsigned char *data, Py_ssize_t size):
    """What the factory returns for the attributes; errors as of `decode_composite`.

    Its own errors go through.
    """
    cdef Maker maker = <Maker>codec.detail
    cdef Codec plain = codec.element
    record = plain.decode(plain, data, size)
    return PyObject_Vectorcall(
        maker.factory, record_items(record), maker.n_positional,
        <PyObject *>maker.keywords if maker.keywords is not None else NULL,
    )


cdef int encode_object(Codec codec, WriteBuffer out, object value) except -1:
    """An object of the class by its attributes; else as the codec of records does."""
    cdef Maker maker = <Maker>codec.detail
    cdef Codec plain = codec.element
    if (
        maker.is_class
        and isinstance(value, maker.factory)
        and not isinstance(value, Mapping)
    ):
        value = attributes_of(plain, value)
    return plain.encode(plain, out, value)
