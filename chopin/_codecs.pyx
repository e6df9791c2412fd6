# cython: language_level=3
"""The scopes of codecs: what a connection and a pool have beside the table.

Owns: `CodecMap`, and the anonymous record, whose codec knows its scope.
Layer L2. Imports L0, L1, `_catalog`, `_codecs_table`, `_codecs_registry` and the nested
families.

Rules
- What a user registers lies in a `CodecMap`, which asks its parent (connection, pool,
  table) for what it does not have itself.
- What a user says in advance is in the `Registry` of the outermost scope: it is what
  the table or the catalog says of a type, in the form that he wants.
- What the catalog says of other types lies in the outermost scope, for all below it.
  Codecs of nested types are made of it on demand, by the scope that overrides one.
- A change replaces the dict of its scope, so that a reader of another thread sees the
  old scope or the new one. `version` tells a plan that it was made before a change.
- Every OID has a codec: what nobody knows travels as text and is a `str` in Python.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport LISTS, Codec
from chopin._codecs_bounds cimport decode_bounded
from chopin._codecs_classes cimport decode_object
from chopin._codecs_composite cimport (
    Scope,
    codecs_of,
    composite_of,
    decode_composite,
    record_of,
)
from chopin._codecs_contrib cimport contrib_codec
from chopin._codecs_custom cimport (
    custom_codec,
    decode_via_python,
    renamed,
    unknown_codec,
)
from chopin._codecs_nested cimport array_of, decode_array, decode_array_text
from chopin._codecs_range cimport (
    decode_multirange,
    decode_multirange_text,
    decode_range,
    decode_range_text,
    multirange_of,
    range_of,
)
from chopin._codecs_registry cimport Registry
from chopin._codecs_table cimport ARRAYS, NAMES, TABLE, add_to_table
from chopin._oids cimport *
from chopin._wire cimport FORMAT_BINARY, FORMAT_TEXT, get_int32

from chopin._catalog import CatalogType
from chopin.exceptions import InterfaceError


cdef enum:
    MAX_DEPTH = 200     # of types in types: far more than anybody nests

cdef str layout_of(Codec codec):
    if codec.decode == decode_array or codec.decode == decode_array_text:
        return "array"
    if codec.decode == decode_range or codec.decode == decode_range_text:
        return "range"
    if codec.decode == decode_multirange or codec.decode == decode_multirange_text:
        return "multirange"
    return "composite" if codec.decode == decode_composite else ""


cdef Codec over(Codec codec, Codec element):
    """The nested type of `codec` over another codec of its element, bound or range."""
    cdef Codec made
    cdef str layout = layout_of(codec)
    if layout == "range":
        made = range_of(element, codec.oid, codec.name)
    elif layout == "multirange":
        made = multirange_of(element, codec.oid, codec.name)
    else:
        made = array_of(element, codec.oid, codec.name)
    made.schema = codec.schema
    return made


cdef class CodecMap(Scope):
    """A scope of codecs: those registered here, those of the parent, the table.

    Args:
        parent: the scope to ask next, None for the table alone.
        registry: of the outermost scope: what a user says of types in advance.

    Example:
        >>> pool = CodecMap()
        >>> connection = CodecMap(pool)
        >>> connection.lookup(23).name
        'int4'

    Source: PostgreSQL docs, "Data Types".
    """

    def __cinit__(self, CodecMap parent=None, Registry registry=None):
        self.parent = parent
        self.registry = registry
        self.root = self if parent is None else parent.root
        self.own = {}
        self.facts = {}
        self.derived = {}
        self.fallbacks = {}
        self.changes = 0
        self.wanted = set()

    cdef Codec find(self, uint32_t oid):
        """The codec of a type, or None when nobody knows it."""
        cdef CodecMap scope = self
        cdef uint64_t version
        cdef dict derived
        while scope.parent is not None and not scope.own:
            scope = scope.parent        # which makes it for all that override nothing
        version = scope.current_version()
        if scope.derived_at != version:
            scope.derived = {}
            scope.derived_at = version
        derived = scope.derived     # another one, if something changes meanwhile
        codec = derived.get(oid)
        if codec is None:
            codec = scope.derive(oid, 0)
            if codec is not None:
                derived[oid] = codec
        return codec

    cdef Codec derive(self, uint32_t oid, int depth):
        """Make or look up the codec of a type as this scope has it, or None."""
        cdef CodecMap scope = self
        cdef Codec codec
        while scope is not None:
            codec = scope.own.get(oid)
            if codec is not None:
                return self.complete(codec)
            scope = scope.parent
        codec = TABLE.get(oid)
        if codec is not None:
            if codec.oid == OID_RECORD:
                return record_of(oid, codec.name, self)
            return self.chosen(self.refitted(codec, depth), None, depth)
        fact = self.root.facts.get(oid)
        if fact is None or depth > MAX_DEPTH:
            return None
        if fact.kind == "a" and self.derive(fact.under, depth + 1) is None:
            return None         # it came with a codec of the user's, who took it back
        return self.chosen(self.build(fact, depth), fact, depth)

    cdef Codec chosen(self, Codec codec, fact, int depth):
        """The codec of a type in the form that the registry wants, if it says any.

        What it says of a domain counts in place of what it says of the type under it.
        """
        cdef Registry registry = self.root.registry
        cdef tuple said = None if registry is None else registry.find(codec.oid, fact)
        if said is None:
            return codec
        if fact is not None and fact.kind == "d":
            codec = self.build_over(fact, self.under_domain(fact, depth))
        return registry.choose(said, codec, fact, self.root.facts)

    cdef Codec under_domain(self, fact, int depth):
        """The codec of what is under a domain, as if nothing were said of it."""
        cdef dict facts = self.root.facts
        cdef Codec codec
        under = facts.get(fact.under)
        while under is not None and under.kind == "d":
            fact, under = under, facts.get(under.under)
        if under is not None:
            return self.build(under, depth)
        codec = TABLE.get(fact.under)
        if codec is None:
            return unknown_codec(fact.under)
        return self.refitted(codec, depth)

    cdef Codec refitted(self, Codec codec, int depth):
        """A codec of the table, over what this scope has for its element."""
        cdef Codec element
        if codec.element is None:
            return codec
        element = self.derive(codec.element.oid, depth + 1)
        return codec if element is codec.element else over(codec, element)

    cdef Codec complete(self, Codec codec):
        """A codec of the user's; over a composite type, whose attributes may change."""
        cdef Codec made
        if codec.kind != "composite" or codec.py_decode is None:
            return codec
        made = renamed(codec, codec.oid, codec.name, codec.schema, codec.kind)
        fact = self.root.facts.get(codec.oid)
        if fact is None:
            return codec
        made.element = self.build(fact, 0)
        made.format = made.element.format
        return made

    cdef Codec part(self, uint32_t oid, int depth):
        """The codec of what a type consists of; of text when it cannot be known.

        Types cannot contain themselves. What has been learnt at several times could
        say so all the same, hence the limit.
        """
        codec = self.derive(oid, depth + 1)
        return unknown_codec(oid) if codec is None else codec

    cdef Codec build(self, fact, int depth):
        """The codec of a type as the catalog describes it."""
        cdef str kind = fact.kind
        cdef Codec codec
        if kind == "e":
            codec = TABLE[OID_TEXT]
        elif kind == "c":
            parts = tuple([self.part(oid, depth) for oid in fact.parts])
            for each in parts:
                if (<Codec>each).format == FORMAT_TEXT:
                    break       # there is no binary form of all of it
            else:
                return composite_of(fact.oid, fact.name, fact.schema, fact.names, parts)
            codec = unknown_codec(fact.oid)
        elif fact.under:
            return self.build_over(fact, self.part(fact.under, depth))
        else:
            codec = unknown_codec(fact.oid)
        codec = renamed(codec, fact.oid, fact.name, fact.schema, fact.word)
        codec.delimiter = ord(fact.delimiter)
        return codec

    cdef Codec build_over(self, fact, Codec under):
        """The codec of an array, domain, range or multirange type."""
        cdef str kind = fact.kind
        cdef Codec codec
        if kind == "a":
            codec = array_of(under, fact.oid, under.name + "[]")
        elif kind == "r":
            codec = range_of(under, fact.oid, fact.name)
        elif kind == "m":
            codec = multirange_of(under, fact.oid, fact.name)
        else:
            codec = renamed(under, fact.oid, fact.name, fact.schema, fact.word)
            if under.kind == "array":
                codec.lists = LISTS
        codec.schema = fact.schema
        codec.delimiter = ord(fact.delimiter)
        return codec

    cdef Codec binary_codec(self, uint32_t oid):
        """The codec for a type in a record, which is binary whatever it holds."""
        cdef Codec codec = self.find(oid)
        if codec is None:
            self.want((oid,))
            return None
        if codec.format == FORMAT_TEXT:
            codec = TABLE.get(oid)      # a codec of the user's for text: not this time
        if codec is None or codec.format == FORMAT_BINARY:
            return codec
        return TABLE[OID_OID] if codec.name.startswith("reg") else None

    cdef Codec get(self, uint32_t oid):
        """The codec of a type, that of text format when nobody knows the type."""
        cdef Codec codec = self.find(oid)
        if codec is None:
            codec = self.fallbacks.get(oid)
        if codec is None:
            codec = self.fallbacks[oid] = unknown_codec(oid)
        return codec

    cdef uint64_t current_version(self) noexcept:
        """The number of changes of this scope and of all its parents."""
        cdef uint64_t total = 0
        cdef CodecMap scope = self
        while scope is not None:
            total += scope.changes
            scope = scope.parent
        return total

    cdef int replace(self, dict changed, tuple removed) except -1:
        """Put codecs into this scope and take others out, seen at once by readers."""
        cdef dict own = self.own | changed
        for oid in removed:
            own.pop(oid, None)
        self.own = own
        self.changes += 1
        return 0

    @property
    def version(self):
        """A number that grows with every change of this scope or of a parent."""
        return self.current_version()

    def lookup(self, uint32_t oid):
        """The codec of a type: `Codec`, in text format when nobody knows the type.

        Args:
            oid: the type's OID.

        Example:
            >>> CodecMap().lookup(1007).name
            'int4[]'
        """
        return self.get(oid)

    cpdef bint known(self, uint32_t oid) except -1:
        """Whether a type has a codec of its own, here, in a parent or in the table.

        Anonymous records may hold any type, so they are known when `learn` says so.

        Args:
            oid: the type's OID.

        Example:
            >>> CodecMap().known(23), CodecMap().known(4_000_000)
            (True, False)
        """
        if oid == OID_RECORD or oid == OID_RECORD_ARRAY:
            return OID_RECORD in self.root.facts
        return self.find(oid) is not None

    def learn(self, types):
        """Take in what the catalog says of types; it is for all scopes of the root.

        Args:
            types: `CatalogType` of each; the arrays of them come by themselves.

        Example:
            >>> codecs = CodecMap()
            >>> codecs.learn([CatalogType(70_000, "mood", "public", "e", 0, 70_001)])
            >>> codecs.lookup(70_001).name
            'mood[]'
        """
        cdef CodecMap root = self.root
        cdef dict learnt = {}
        for fact in types:
            learnt[fact.oid] = fact
            if fact.array_oid:
                learnt[fact.array_oid] = CatalogType(
                    fact.array_oid, fact.name + "[]", fact.schema, "a", fact.oid
                )
        root.facts = root.facts | learnt    # at once: other threads learn as well
        root.wanted = root.wanted.difference(learnt)
        root.changes += 1

    @property
    def wants(self):
        """Whether there are types to ask the catalog for, see `take_wanted`."""
        return bool(self.root.wanted)

    def want(self, oids):
        """Ask for these types before the next statement, unless learnt by then.

        Args:
            oids: those of the types.

        Example:
            >>> codecs = CodecMap()
            >>> codecs.want([70_000])
            >>> codecs.take_wanted(), codecs.wants
            ([70000], False)
        """
        self.root.wanted = self.root.wanted.union(oids)

    def outdated(self):
        """Say that what is known of types may no longer be true: ask for them again."""
        self.want(self.root.facts)

    def take_wanted(self):
        """The OIDs of the types to be asked for, which are asked for once."""
        wanted, self.root.wanted = self.root.wanted, set()
        return sorted(wanted)

    def register(
        self, uint32_t oid, str name, str schema, str kind="scalar", *,
        object encoder, object decoder, str format="text", uint32_t array_oid=0,
    ):
        """Let Python functions encode and decode the values of a type.

        Args:
            oid: the type's OID.
            name: the type's name.
            schema: the type's schema.
            kind: scalar, composite, ..., as `get_parameters()` reports it.
            encoder: is called with the argument, returns what `format` says.
            decoder: is called with what `format` says, returns the value.
            format: what the functions exchange. ``"text"``: `str`, ``"binary"``: bytes,
                ``"tuple"``: the fields of a date or time type, as the server counts,
                ``"value"``: what the type is without the codec.
            array_oid: the OID of the type's array, which is overridden too; the table's
                when 0.

        Raises:
            InterfaceError: the format is not known, or the type has no tuple format.

        Example:
            >>> import json
            >>> codecs = CodecMap()
            >>> codecs.register(
            ...     114, "json", "pg_catalog", encoder=json.dumps, decoder=json.loads
            ... )
            >>> decode_value(codecs.lookup(114), b"[1, 2]")
            [1, 2]

        Source: PostgreSQL docs, "Formats and Format Codes".
        """
        cdef Codec known = TABLE.get(oid)
        fact = self.root.facts.get(oid)
        for function, what in ((encoder, "encoder"), (decoder, "decoder")):
            if not callable(function):
                raise InterfaceError(f"the argument {what} must be callable")
        if known is None and fact is not None:
            known = self.build(fact, 0)
        codec = custom_codec(known, oid, name, kind, format)
        codec.schema = schema
        codec.py_encode = encoder
        codec.py_decode = decoder
        if fact is not None:
            codec.delimiter = ord(fact.delimiter)
        self.install(codec, array_oid)

    def register_alias(
        self, uint32_t oid, str name, str schema, Codec builtin not None,
        str kind="scalar", uint32_t array_oid=0,
    ):
        """Let a type travel as another one: a domain, an enum, a type of an extension.

        Args:
            oid: the type's OID.
            name: the type's name.
            schema: the type's schema.
            builtin: the codec whose functions and format are used.
            kind: as `get_parameters()` reports it.
            array_oid: the OID of the type's array, 0 for none.

        Example:
            >>> codecs = CodecMap()
            >>> codecs.register_alias(70_000, "mood", "public", codecs.lookup(25))
            >>> codecs.lookup(70_000).name
            'mood'
        """
        cdef Codec codec = renamed(builtin, oid, name, schema, kind)
        fact = self.root.facts.get(oid)
        if fact is not None:
            codec.delimiter = ord(fact.delimiter)
        self.install(codec, array_oid)

    def install(self, Codec codec not None, uint32_t array_oid=0):
        """Put a codec that was made elsewhere into this scope.

        Args:
            codec: the codec, which says its OID itself.
            array_oid: the OID of the type's array, which is overridden too; the table's
                when 0.

        Example:
            >>> codecs = CodecMap()
            >>> codecs.install(CodecMap().lookup(23))
            >>> codecs.version
            1
        """
        array_oid = array_oid or ARRAYS.get(codec.oid, 0)
        if array_oid and array_oid not in TABLE and array_oid not in self.root.facts:
            self.learn([
                CatalogType(array_oid, codec.name, codec.schema, "a", codec.oid)
            ])
        self.replace({codec.oid: codec}, ())

    def unregister(self, uint32_t oid):
        """Forget what was registered here for a type and for its array.

        Args:
            oid: the type's OID; nothing happens when this scope has no codec of it.

        Example:
            >>> codecs = CodecMap()
            >>> codecs.register(
            ...     25, "text", "pg_catalog", encoder=str, decoder=str.upper
            ... )
            >>> codecs.unregister(25)
            >>> decode_value(codecs.lookup(25), b"abc")
            'abc'
        """
        if oid in self.own:
            self.replace({}, (oid,))


def scope_of(codecs, json):
    """A scope for what a user says of types in advance; None when he says nothing.

    Args:
        codecs: see `Registry`.
        json: see `Registry`.

    Example:
        >>> decode_value(scope_of(None, True).lookup(114), b"[1, 2]")
        [1, 2]
    """
    if codecs is None and json is None:
        return None
    return CodecMap(None, Registry(codecs, json))


def builtin_named(str name not None):
    """The codec of a built-in type by its name.

    Args:
        name: as pg_type has it, or as SQL spells it; an array has ``[]`` behind it.

    Returns:
        The `Codec` of the table, None when the table has no such type.

    Example:
        >>> builtin_named("double precision").name, builtin_named("mood")
        ('float8', None)

    Source: PostgreSQL docs, "Data Types".
    """
    return NAMES.get(name)


def contrib_named(str name not None):
    """A codec for a type of an extension, by the codec's own name.

    Args:
        name: ``"pg_contrib.hstore"`` say; see `_codecs_contrib`.

    Returns:
        A `Codec` to make an alias of, None when there is none of that name.

    Raises:
        InterfaceError: it makes numpy's arrays, and there is no numpy.

    Example:
        >>> decode_value(contrib_named("pg_contrib.hstore"), bytes(4))
        {}
    """
    return contrib_codec(name)


cdef Codec codec_of(object codec_or_oid):
    """A codec as it is, or that of the table for an OID."""
    if isinstance(codec_or_oid, Codec):
        return codec_or_oid
    return TABLE.get(codec_or_oid) or unknown_codec(codec_or_oid)


def parts_of(Codec codec not None):
    """What the bytes consist of that a codec writes, whoever has made them.

    Args:
        codec: of binary format.

    Returns:
        "array", "range", "multirange" or "composite", and the codecs of what is in
        them; "" and the codec of the table for what has no parts, none if nobody knows
        what the bytes are.

    Example:
        >>> parts_of(CodecMap().lookup(1007))
        ('array', (<Codec int4 oid=23>,))
    """
    cdef str layout
    while not layout_of(codec):
        if codec.decode == decode_via_python or codec.decode == decode_object:
            codec = codec.element
        elif codec.decode == decode_bounded:
            codec = <Codec>codec.detail
        else:
            break
    layout = layout_of(codec)
    if layout == "composite":
        return layout, codecs_of(codec)
    if layout:
        return layout, (codec.element,)
    return layout, (TABLE[codec.base],) if codec.base in TABLE else ()


def decode_value(object codec_or_oid, bytes data not None):
    """Decode the bytes of one value, without a server.

    Args:
        codec_or_oid: a `Codec`, or the OID of a built-in type.
        data: the bytes of the field, without their length.

    Returns:
        The Python value.

    Raises:
        DataError: the bytes are no value of the type.

    Example:
        >>> decode_value(23, bytes([0, 0, 1, 0]))
        256

    Source: PostgreSQL docs, "Formats and Format Codes".
    """
    cdef Codec codec = codec_of(codec_or_oid)
    return codec.decode(
        codec, <const unsigned char *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)
    )


def encode_value(object codec_or_oid, object value):
    """Encode one value, without a server.

    Args:
        codec_or_oid: a `Codec`, or the OID of a built-in type.
        value: the value; None is not one, since NULL has no bytes.

    Returns:
        The bytes of the field, without their length.

    Raises:
        TypeError, ValueError, OverflowError: with the reason in words.

    Example:
        >>> encode_value(21, 258)
        b'\\x01\\x02'

    Source: PostgreSQL docs, "Formats and Format Codes".
    """
    cdef Codec codec = codec_of(codec_or_oid)
    cdef WriteBuffer out = WriteBuffer()
    codec.encode(codec, out, value)
    if out.length < 4 or get_int32(out.data) != out.length - 4:
        raise ValueError(f"the encoder of {codec.name} wrote a wrong length")
    return out.take()[4:]


add_to_table(record_of(OID_RECORD, "record", CodecMap()), OID_RECORD_ARRAY)
