# cython: language_level=3
"""What users say of types in advance, and what it means for a type when it is met.

Owns: `Registry`, which makes codecs of `codecs=` and `json=`, and the table of codecs
that have a name.
Layer L2. Imports L0, L1, `codecs`, the table and the codec families.

Rules
- Nothing is asked of a server: a type of the table is known by its name at once, any
  other one when the catalog has told of it. So a registry knows no OIDs of users' types
  and never changes; the scopes of all connections, in all threads, may share it.
- What does not fit to the kind of a type is an error of whoever uses that type, on
  every use, and disturbs nobody else: a codec that refuses.

| said                          | for types                                           |
| ----------------------------- | --------------------------------------------------- |
| `Enum` class                  | enums, and what is text                             |
| other class, callable         | composite types                                     |
| `JSON`                        | json, jsonb, and what is text                       |
| `TypeCodec`, "value"          | all                                                 |
| `TypeCodec`, "text", "binary" | base types, enums, domains                          |
| `TypeCodec`, "tuple"          | composite types, dates and times                    |
| name of an array's codec      | arrays                                              |
| name of a codec               | base types, enums, domains                          |
"""

import enum
from collections.abc import Mapping

from libc.stdint cimport uint32_t

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport Codec, new_codec
from chopin._codecs_bounds cimport bounded
from chopin._codecs_classes cimport class_codec, enum_codec
from chopin._codecs_contrib cimport contrib_codec
from chopin._codecs_custom cimport custom_codec, renamed
from chopin._codecs_json cimport json_codec
from chopin._codecs_nested cimport decode_array, decode_array_text
from chopin._codecs_table cimport NAMES
from chopin._wire cimport FORMAT_BINARY

from chopin.codecs import JSON, TypeCodec, read_json
from chopin.exceptions import InterfaceError

cdef str BOUNDED = "array.bounded"
cdef str CATALOG = "pg_catalog."
cdef frozenset SCALARS = frozenset({"scalar", "domain", "pseudo"})


cdef class Registry:
    """What is said of types before they are met.

    Args:
        codecs: by the name of a type, alone or behind its schema: see `CodecSpec`.
        json: of json and jsonb; see `JSONOption`. `codecs` goes before it.

    Raises:
        InterfaceError: a name or what is said of it cannot be meant.

    Example:
        >>> registry = Registry({"mood": Mood, "app.price": Price}, True)
        >>> pool = CodecMap(None, registry)
    """

    def __init__(self, codecs=None, json=None):
        self.by_oid = {}
        self.by_name = {}
        way = read_json(json)
        if way is not None:
            for name in ("json", "jsonb"):
                self.by_oid[(<Codec>NAMES[name]).oid] = (name, way)
        if codecs is None:
            return
        if not isinstance(codecs, Mapping):
            raise InterfaceError(
                "codecs is expected to be a mapping from names of types, got "
                f"{type(codecs).__name__}"
            )
        for key, spec in codecs.items():
            check_entry(key, spec)
            codec = builtin_type(key)
            if codec is None:
                self.by_name[key] = spec
            else:
                self.by_oid[(<Codec>codec).oid] = (key, spec)

    cdef tuple find(self, uint32_t oid, object fact):
        if fact is None:
            return self.by_oid.get(oid)
        for key in (f"{fact.schema}.{fact.name}", fact.name):
            if key in self.by_name:
                return key, self.by_name[key]
        return None

    cdef Codec choose(self, tuple said, Codec known, object fact, dict facts):
        cdef Codec codec
        key, spec = said
        try:
            codec = chosen(spec, known, labels_of(fact, facts))
        except (TypeError, InterfaceError) as error:
            return refusing(known, f"codecs[{key!r}]: {error}")
        if codec is None:
            return refusing(
                known,
                f"codecs[{key!r}] is {words_of(spec)}, which is not for "
                f"{known.schema}.{known.name}, {article(known, fact)}",
            )
        codec.delimiter = known.delimiter
        return codec


cdef int check_entry(object key, object spec) except -1:
    """InterfaceError unless `key` may be the name of a type, and `spec` a codec."""
    if not isinstance(key, str) or not key:
        raise InterfaceError(
            f"codecs is expected to have names of types as keys, got {key!r}"
        )
    if isinstance(spec, str):
        if spec != BOUNDED and spec not in NAMES and contrib_codec(spec) is None:
            raise InterfaceError(f"codecs[{key!r}]: there is no codec named {spec!r}")
    elif not isinstance(spec, (TypeCodec, JSON)) and not callable(spec):
        raise InterfaceError(
            f"codecs[{key!r}] is expected to be the name of a codec, an Enum, a class "
            f"or function, chopin.TypeCodec or chopin.JSON, got {spec!r}"
        )
    return 0


cdef Codec builtin_type(str key):
    """The codec of the table for that type, None when it is not a built-in one."""
    cdef str name = key.removeprefix(CATALOG)
    cdef Codec codec = NAMES.get(name)
    if codec is None and name.endswith("[]"):
        codec = NAMES.get(name[:-2])
        codec = None if codec is None else NAMES.get(codec.name + "[]")
    return codec


cdef tuple labels_of(object fact, dict facts):
    """The labels of an enum, or of one under domains."""
    while fact is not None and fact.kind == "d":
        fact = facts.get(fact.under)
    return fact.names if fact is not None and fact.kind == "e" else ()


cdef Codec chosen(object spec, Codec known, tuple labels):
    """The codec that `spec` means for the type of `known`; None when it is not for it.

    InterfaceError, TypeError: it is for such types, but not in this form.
    """
    if isinstance(spec, str):
        return named(spec, known)
    if isinstance(spec, JSON):
        return json_codec(known, spec)
    if isinstance(spec, TypeCodec):
        return by_functions(spec, known)
    if isinstance(spec, type) and issubclass(spec, enum.Enum):
        return enum_codec(known, spec, labels)
    return class_codec(known, spec)


cdef Codec named(str name, Codec known):
    """A codec that has a name of its own."""
    if name == BOUNDED:
        is_array = known.decode == decode_array or known.decode == decode_array_text
        return bounded(known) if is_array else None
    if known.kind not in SCALARS:
        return None
    codec = NAMES.get(name)
    return renamed(
        contrib_codec(name) if codec is None else codec,
        known.oid, known.name, known.schema, known.kind,
    )


cdef Codec by_functions(object spec, Codec known):
    """A codec of two functions of the user's."""
    cdef Codec codec
    if spec.format in ("text", "binary") and known.kind not in SCALARS:
        return None
    codec = custom_codec(known, known.oid, known.name, known.kind, spec.format)
    codec.schema = known.schema
    codec.py_encode = spec.encoder
    codec.py_decode = spec.decoder
    return codec


cdef str words_of(object spec):
    """What a user has said of a type, for messages."""
    if isinstance(spec, TypeCodec):
        return f"a TypeCodec of format {spec.format!r}"
    if isinstance(spec, JSON):
        return "JSON"
    if isinstance(spec, str):
        return f"the codec {spec!r}"
    if isinstance(spec, type):
        kind = "Enum" if issubclass(spec, enum.Enum) else "class"
        return f"the {kind} {spec.__qualname__}"
    return f"the function {getattr(spec, '__qualname__', repr(spec))}"


cdef str article(Codec known, object fact):
    """The kind of a type, for messages."""
    if fact is not None and fact.kind == "e":
        return "an enum"
    if fact is not None and fact.kind == "c" and known.kind == "composite" and (
        known.format != FORMAT_BINARY
    ):
        return "a composite type with an attribute that has no binary form here"
    return {
        "scalar": "a base type", "composite": "a composite type", "domain": "a domain",
        "range": "a range", "multirange": "a multirange", "array": "an array",
    }.get(known.kind, f"a {known.kind} type")


# What does not fit.

cdef Codec refusing(Codec known, str reason):
    """A codec that lets no value pass, in either direction."""
    cdef Codec codec = new_codec(
        known.oid, known.name, known.kind, FORMAT_BINARY, True, refuse_to_decode,
        refuse_to_encode,
    )
    codec.schema = known.schema
    codec.detail = reason
    return codec


cdef object refuse_to_decode(Codec codec, const unsigned char *data, Py_ssize_t size):
    """InterfaceError: what the user has said of the type is not for it."""
    raise InterfaceError(codec.detail)


cdef int refuse_to_encode(Codec codec, WriteBuffer out, object value) except -1:
    """InterfaceError: what the user has said of the type is not for it."""
    raise InterfaceError(codec.detail)
