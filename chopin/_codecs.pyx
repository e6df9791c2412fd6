# cython: language_level=3
"""The table: every type that is known beforehand, and the scopes that override it.

Owns: the rows (OID, name, decode, encode, format), the arrays, ranges and multiranges
that follow from them, and `CodecMap`.
Layer L2. Imports L0, L1, `_catalog` and the codec families, `_codecs_custom` being one.

Rules
- A new type is one row here and two functions in a family; its array follows by itself.
- The table never changes after the import. What a user registers lies in a `CodecMap`,
  which asks its parent (connection, pool, table) for what it does not have itself.
- What the catalog says of other types lies in the outermost scope, for all below it.
  Codecs of nested types are made of it on demand, by the scope that overrides one.
- A change replaces the dict of its scope, so that a reader of another thread sees the
  old scope or the new one. `version` tells a plan that it was made before a change.
- Every OID has a codec: what nobody knows travels as text and is a `str` in Python.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport LISTS, Codec, decode_fn, encode_fn, new_codec
from chopin._codecs_composite cimport Scope, composite_of, record_of
from chopin._codecs_extra cimport (
    decode_cidr,
    decode_inet,
    decode_macaddr,
    decode_numeric,
    decode_point,
    encode_cidr,
    encode_inet,
    encode_macaddr,
    encode_numeric,
    encode_point,
)
from chopin._codecs_custom cimport custom_codec, renamed, unknown_codec
from chopin._codecs_nested cimport array_of
from chopin._codecs_range cimport multirange_of, range_of
from chopin._codecs_scalar cimport (
    decode_bool,
    decode_bytea,
    decode_char,
    decode_float4,
    decode_float8,
    decode_int2,
    decode_int4,
    decode_int8,
    decode_jsonb,
    decode_text,
    decode_uint4,
    decode_uint8,
    decode_uuid,
    decode_void,
    encode_bool,
    encode_bytea,
    encode_char,
    encode_float4,
    encode_float8,
    encode_int2,
    encode_int4,
    encode_int8,
    encode_jsonb,
    encode_text,
    encode_uint4,
    encode_uint8,
    encode_uuid,
    encode_void,
)
from chopin._codecs_time cimport (
    decode_date,
    decode_interval,
    decode_time,
    decode_timestamp,
    decode_timestamptz,
    decode_timetz,
    encode_date,
    encode_interval,
    encode_time,
    encode_timestamp,
    encode_timestamptz,
    encode_timetz,
)
from chopin._oids cimport *
from chopin._wire cimport FORMAT_BINARY, FORMAT_TEXT, get_int32

from chopin._catalog import CatalogType
from chopin.exceptions import InterfaceError


cdef struct Row:
    uint32_t oid
    uint32_t array_oid       # 0: the type has no array
    const char *name
    decode_fn decode
    encode_fn encode
    int format
    bint atomic              # its values refer to nothing the GC must follow


# Source: PostgreSQL docs, "Data Types"; the server's pg_type.dat. OID 0 ends a table.
cdef Row *TYPES = [
    Row(OID_BOOL, OID_BOOL_ARRAY, "bool",
        decode_bool, encode_bool, FORMAT_BINARY, True),
    Row(OID_BYTEA, OID_BYTEA_ARRAY, "bytea",
        decode_bytea, encode_bytea, FORMAT_BINARY, True),
    Row(OID_CHAR, OID_CHAR_ARRAY, "char",
        decode_char, encode_char, FORMAT_BINARY, True),
    Row(OID_NAME, OID_NAME_ARRAY, "name",
        decode_text, encode_text, FORMAT_BINARY, True),
    Row(OID_INT8, OID_INT8_ARRAY, "int8",
        decode_int8, encode_int8, FORMAT_BINARY, True),
    Row(OID_INT2, OID_INT2_ARRAY, "int2",
        decode_int2, encode_int2, FORMAT_BINARY, True),
    Row(OID_INT4, OID_INT4_ARRAY, "int4",
        decode_int4, encode_int4, FORMAT_BINARY, True),
    Row(OID_TEXT, OID_TEXT_ARRAY, "text",
        decode_text, encode_text, FORMAT_BINARY, True),
    Row(OID_OID, OID_OID_ARRAY, "oid",
        decode_uint4, encode_uint4, FORMAT_BINARY, True),
    Row(OID_XID, OID_XID_ARRAY, "xid",
        decode_uint4, encode_uint4, FORMAT_BINARY, True),
    Row(OID_CID, OID_CID_ARRAY, "cid",
        decode_uint4, encode_uint4, FORMAT_BINARY, True),
    Row(OID_XID8, OID_XID8_ARRAY, "xid8",
        decode_uint8, encode_uint8, FORMAT_BINARY, True),
    Row(OID_PG_LSN, OID_PG_LSN_ARRAY, "pg_lsn",
        decode_uint8, encode_uint8, FORMAT_BINARY, True),
    Row(OID_FLOAT4, OID_FLOAT4_ARRAY, "float4",
        decode_float4, encode_float4, FORMAT_BINARY, True),
    Row(OID_FLOAT8, OID_FLOAT8_ARRAY, "float8",
        decode_float8, encode_float8, FORMAT_BINARY, True),
    Row(OID_NUMERIC, OID_NUMERIC_ARRAY, "numeric",
        decode_numeric, encode_numeric, FORMAT_BINARY, True),
    Row(OID_BPCHAR, OID_BPCHAR_ARRAY, "bpchar",
        decode_text, encode_text, FORMAT_BINARY, True),
    Row(OID_VARCHAR, OID_VARCHAR_ARRAY, "varchar",
        decode_text, encode_text, FORMAT_BINARY, True),
    Row(OID_XML, OID_XML_ARRAY, "xml",
        decode_text, encode_text, FORMAT_BINARY, True),
    Row(OID_REFCURSOR, OID_REFCURSOR_ARRAY, "refcursor",
        decode_text, encode_text, FORMAT_BINARY, True),
    Row(OID_JSON, OID_JSON_ARRAY, "json",
        decode_text, encode_text, FORMAT_BINARY, True),
    Row(OID_JSONB, OID_JSONB_ARRAY, "jsonb",
        decode_jsonb, encode_jsonb, FORMAT_BINARY, True),
    Row(OID_JSONPATH, OID_JSONPATH_ARRAY, "jsonpath",
        decode_jsonb, encode_jsonb, FORMAT_BINARY, True),
    Row(OID_UUID, OID_UUID_ARRAY, "uuid",
        decode_uuid, encode_uuid, FORMAT_BINARY, True),
    Row(OID_DATE, OID_DATE_ARRAY, "date",
        decode_date, encode_date, FORMAT_BINARY, True),
    Row(OID_TIME, OID_TIME_ARRAY, "time",
        decode_time, encode_time, FORMAT_BINARY, True),
    Row(OID_TIMETZ, OID_TIMETZ_ARRAY, "timetz",
        decode_timetz, encode_timetz, FORMAT_BINARY, True),
    Row(OID_TIMESTAMP, OID_TIMESTAMP_ARRAY, "timestamp",
        decode_timestamp, encode_timestamp, FORMAT_BINARY, True),
    Row(OID_TIMESTAMPTZ, OID_TIMESTAMPTZ_ARRAY, "timestamptz",
        decode_timestamptz, encode_timestamptz, FORMAT_BINARY, True),
    Row(OID_INTERVAL, OID_INTERVAL_ARRAY, "interval",
        decode_interval, encode_interval, FORMAT_BINARY, True),
    Row(OID_INET, OID_INET_ARRAY, "inet",
        decode_inet, encode_inet, FORMAT_BINARY, False),
    Row(OID_CIDR, OID_CIDR_ARRAY, "cidr",
        decode_cidr, encode_cidr, FORMAT_BINARY, False),
    Row(OID_MACADDR, OID_MACADDR_ARRAY, "macaddr",
        decode_macaddr, encode_macaddr, FORMAT_BINARY, True),
    Row(OID_POINT, OID_POINT_ARRAY, "point",
        decode_point, encode_point, FORMAT_BINARY, True),
    Row(OID_CSTRING, OID_CSTRING_ARRAY, "cstring",
        decode_text, encode_text, FORMAT_BINARY, True),
    Row(OID_UNKNOWN, 0, "unknown",
        decode_text, encode_text, FORMAT_BINARY, True),
    Row(OID_VOID, 0, "void",
        decode_void, encode_void, FORMAT_BINARY, True),
    Row(OID_MONEY, OID_MONEY_ARRAY, "money",
        decode_text, encode_text, FORMAT_TEXT, True),
    Row(OID_MACADDR8, OID_MACADDR8_ARRAY, "macaddr8",
        decode_text, encode_text, FORMAT_TEXT, True),
    Row(OID_TSVECTOR, OID_TSVECTOR_ARRAY, "tsvector",
        decode_text, encode_text, FORMAT_TEXT, True),
    Row(OID_TSQUERY, OID_TSQUERY_ARRAY, "tsquery",
        decode_text, encode_text, FORMAT_TEXT, True),
    Row(OID_ACLITEM, OID_ACLITEM_ARRAY, "aclitem",
        decode_text, encode_text, FORMAT_TEXT, True),
    Row(OID_REGPROC, OID_REGPROC_ARRAY, "regproc",
        decode_text, encode_text, FORMAT_TEXT, True),
    Row(OID_REGPROCEDURE, OID_REGPROCEDURE_ARRAY, "regprocedure",
        decode_text, encode_text, FORMAT_TEXT, True),
    Row(OID_REGOPER, OID_REGOPER_ARRAY, "regoper",
        decode_text, encode_text, FORMAT_TEXT, True),
    Row(OID_REGOPERATOR, OID_REGOPERATOR_ARRAY, "regoperator",
        decode_text, encode_text, FORMAT_TEXT, True),
    Row(OID_REGCLASS, OID_REGCLASS_ARRAY, "regclass",
        decode_text, encode_text, FORMAT_TEXT, True),
    Row(OID_REGTYPE, OID_REGTYPE_ARRAY, "regtype",
        decode_text, encode_text, FORMAT_TEXT, True),
    Row(OID_REGROLE, OID_REGROLE_ARRAY, "regrole",
        decode_text, encode_text, FORMAT_TEXT, True),
    Row(OID_REGNAMESPACE, OID_REGNAMESPACE_ARRAY, "regnamespace",
        decode_text, encode_text, FORMAT_TEXT, True),
    Row(OID_REGCONFIG, OID_REGCONFIG_ARRAY, "regconfig",
        decode_text, encode_text, FORMAT_TEXT, True),
    Row(OID_REGDICTIONARY, OID_REGDICTIONARY_ARRAY, "regdictionary",
        decode_text, encode_text, FORMAT_TEXT, True),
    Row(OID_REGCOLLATION, OID_REGCOLLATION_ARRAY, "regcollation",
        decode_text, encode_text, FORMAT_TEXT, True),
    Row(0, 0, NULL, NULL, NULL, FORMAT_BINARY, False),
]


cdef struct RangeRow:
    uint32_t oid
    uint32_t array_oid
    const char *name
    uint32_t bound_oid
    uint32_t multirange_oid
    uint32_t multirange_array_oid


cdef RangeRow *RANGES = [
    RangeRow(OID_INT4RANGE, OID_INT4RANGE_ARRAY, "int4range", OID_INT4,
             OID_INT4MULTIRANGE, OID_INT4MULTIRANGE_ARRAY),
    RangeRow(OID_INT8RANGE, OID_INT8RANGE_ARRAY, "int8range", OID_INT8,
             OID_INT8MULTIRANGE, OID_INT8MULTIRANGE_ARRAY),
    RangeRow(OID_NUMRANGE, OID_NUMRANGE_ARRAY, "numrange", OID_NUMERIC,
             OID_NUMMULTIRANGE, OID_NUMMULTIRANGE_ARRAY),
    RangeRow(OID_TSRANGE, OID_TSRANGE_ARRAY, "tsrange", OID_TIMESTAMP,
             OID_TSMULTIRANGE, OID_TSMULTIRANGE_ARRAY),
    RangeRow(OID_TSTZRANGE, OID_TSTZRANGE_ARRAY, "tstzrange", OID_TIMESTAMPTZ,
             OID_TSTZMULTIRANGE, OID_TSTZMULTIRANGE_ARRAY),
    RangeRow(OID_DATERANGE, OID_DATERANGE_ARRAY, "daterange", OID_DATE,
             OID_DATEMULTIRANGE, OID_DATEMULTIRANGE_ARRAY),
    RangeRow(0, 0, NULL, 0, 0, 0),
]


cdef enum:
    MAX_DEPTH = 200     # of types in types: far more than anybody nests

cdef dict TABLE = {}         # oid -> Codec
cdef dict ARRAYS = {}        # oid of an element -> oid of its array
cdef dict NAMES = {}         # name -> Codec

# What SQL calls some types beside the name that pg_type has. `char` is blank-padded
# text as in SQL, and the type of one byte has its quotes.
# Source: PostgreSQL docs, "Data Types", Aliases.
cdef dict SQL_NAMES = {
    '"char"': OID_CHAR,
    "bigint": OID_INT8,
    "boolean": OID_BOOL,
    "char": OID_BPCHAR,
    "character": OID_BPCHAR,
    "character varying": OID_VARCHAR,
    "decimal": OID_NUMERIC,
    "double precision": OID_FLOAT8,
    "int": OID_INT4,
    "integer": OID_INT4,
    "real": OID_FLOAT4,
    "smallint": OID_INT2,
    "time with time zone": OID_TIMETZ,
    "time with timezone": OID_TIMETZ,
    "time without time zone": OID_TIME,
    "time without timezone": OID_TIME,
    "timestamp with time zone": OID_TIMESTAMPTZ,
    "timestamp with timezone": OID_TIMESTAMPTZ,
    "timestamp without time zone": OID_TIMESTAMP,
    "timestamp without timezone": OID_TIMESTAMP,
}


cdef int add_to_table(Codec codec, uint32_t array_oid) except -1:
    """A type of the table, and its array."""
    TABLE[codec.oid] = codec
    if array_oid:
        TABLE[array_oid] = array_of(codec, array_oid, codec.name + "[]")
        ARRAYS[codec.oid] = array_oid
    return 0


cdef int fill_table() except -1:
    """Codecs of all rows, of ranges, multiranges and records, and of their arrays."""
    cdef Row *row = TYPES
    cdef RangeRow *over = RANGES
    while row.oid:
        add_to_table(
            new_codec(
                row.oid, row.name.decode(), "scalar", row.format, row.atomic,
                row.decode, row.encode,
            ),
            row.array_oid,
        )
        row += 1
    while over.oid:
        add_to_table(
            range_of(TABLE[over.bound_oid], over.oid, over.name.decode()),
            over.array_oid,
        )
        name = over.name.decode().replace("range", "multirange")
        add_to_table(
            multirange_of(TABLE[over.oid], over.multirange_oid, name),
            over.multirange_array_oid,
        )
        over += 1
    add_to_table(record_of(OID_RECORD, "record", CodecMap()), OID_RECORD_ARRAY)
    NAMES.update({codec.name: codec for codec in TABLE.values()})
    NAMES.update({name: TABLE[oid] for name, oid in SQL_NAMES.items()})
    return 0


cdef Codec over(Codec codec, Codec element):
    """The nested type of `codec` over another codec of its element, bound or range."""
    cdef Codec made
    if codec.kind == "range":
        made = range_of(element, codec.oid, codec.name)
    elif codec.kind == "multirange":
        made = multirange_of(element, codec.oid, codec.name)
    else:
        made = array_of(element, codec.oid, codec.name)
    made.schema = codec.schema
    return made


cdef class CodecMap(Scope):
    """A scope of codecs: those registered here, those of the parent, the table.

    Args:
        parent: the scope to ask next, None for the table alone.

    Example:
        >>> pool = CodecMap()
        >>> connection = CodecMap(pool)
        >>> connection.lookup(23).name
        'int4'

    Source: PostgreSQL docs, "Data Types".
    """

    def __cinit__(self, CodecMap parent=None):
        self.parent = parent
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
        while scope.parent is not None and not scope.own:
            scope = scope.parent        # which makes it for all that override nothing
        version = scope.current_version()
        if scope.derived_at != version:
            scope.derived = {}
            scope.derived_at = version
        codec = scope.derived.get(oid)
        if codec is None:
            codec = scope.derive(oid, 0)
            if codec is not None:
                scope.derived[oid] = codec
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
            return self.refitted(codec, depth)
        fact = self.root.facts.get(oid)
        if fact is None or depth > MAX_DEPTH:
            return None
        if fact.kind == "a" and self.derive(fact.under, depth + 1) is None:
            return None         # it came with a codec of the user's, who took it back
        return self.build(fact, depth)

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

    def known(self, uint32_t oid):
        """Whether a type has a codec of its own, here, in a parent or in the table.

        Args:
            oid: the type's OID.

        Example:
            >>> CodecMap().known(23), CodecMap().known(4_000_000)
            (True, False)
        """
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
        cdef dict facts = dict(root.facts)
        for fact in types:
            facts[fact.oid] = fact
            if fact.array_oid:
                facts[fact.array_oid] = CatalogType(
                    fact.array_oid, fact.name + "[]", fact.schema, "a", fact.oid
                )
        root.facts = facts
        root.changes += 1

    @property
    def wants(self):
        """Whether there are types to ask the catalog for, see `take_wanted`."""
        return bool(self.root.wanted)

    def want(self, oids):
        """Ask for these types before the next statement.

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

    def first_record(self):
        """Whether it is the first time that somebody asks this: records have come."""
        first, self.root.has_records = not self.root.has_records, True
        return first

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
                ``"tuple"``: the fields of a date or time type, as the server counts.
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
        self.install(renamed(builtin, oid, name, schema, kind), array_oid)

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


cdef Codec codec_of(object codec_or_oid):
    """A codec as it is, or that of the table for an OID."""
    if isinstance(codec_or_oid, Codec):
        return codec_or_oid
    return TABLE.get(codec_or_oid) or unknown_codec(codec_or_oid)


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


fill_table()
