# cython: language_level=3
"""The table: every type that is known beforehand, and the scopes that override it.

Owns: the rows (OID, name, decode, encode, format), the arrays and ranges that follow
from them, `CodecMap`, and the trampolines to codecs that are written in Python.
Layer L2. Imports L0, L1 and the codec families.

Rules
- A new type is one row here and two functions in a family; its array follows by itself.
- The table never changes after the import. What a user registers lies in a `CodecMap`,
  which asks its parent (connection, pool, table) for what it does not have itself.
- A change replaces the dict of its scope, so that a reader of another thread sees the
  old scope or the new one. `version` tells a plan that it was made before a change.
- Every OID has a codec: what nobody knows travels as text and is a `str` in Python.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport Codec, decode_fn, encode_fn, new_codec
from chopin._codecs_bits cimport (
    decode_bits,
    decode_int2vector,
    decode_macaddr,
    decode_macaddr8,
    decode_oidvector,
    decode_snapshot,
    decode_tid,
    encode_bits,
    encode_int2vector,
    encode_macaddr,
    encode_macaddr8,
    encode_oidvector,
    encode_snapshot,
    encode_tid,
)
from chopin._codecs_contrib cimport contrib_codec
from chopin._codecs_extra cimport (
    decode_cidr,
    decode_inet,
    decode_numeric,
    encode_cidr,
    encode_inet,
    encode_numeric,
)
from chopin._codecs_geo cimport (
    decode_box,
    decode_circle,
    decode_line,
    decode_lseg,
    decode_path,
    decode_point,
    decode_polygon,
    encode_circle,
    encode_line,
    encode_path,
    encode_point,
    encode_polygon,
    encode_two_points,
)
from chopin._codecs_nested cimport array_of, range_of
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
    decode_date_tuple,
    decode_interval,
    decode_interval_tuple,
    decode_time,
    decode_time_tuple,
    decode_timestamp,
    decode_timestamp_tuple,
    decode_timestamptz,
    decode_timestamptz_tuple,
    decode_timetz,
    decode_timetz_tuple,
    encode_date,
    encode_date_tuple,
    encode_interval,
    encode_interval_tuple,
    encode_time,
    encode_time_tuple,
    encode_timestamp,
    encode_timestamp_tuple,
    encode_timestamptz,
    encode_timestamptz_tuple,
    encode_timetz,
    encode_timetz_tuple,
)
from chopin._oids cimport *
from chopin._wire cimport FORMAT_BINARY, FORMAT_TEXT, get_int32

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
    Row(OID_MACADDR8, OID_MACADDR8_ARRAY, "macaddr8",
        decode_macaddr8, encode_macaddr8, FORMAT_BINARY, True),
    Row(OID_BIT, OID_BIT_ARRAY, "bit",
        decode_bits, encode_bits, FORMAT_BINARY, True),
    Row(OID_VARBIT, OID_VARBIT_ARRAY, "varbit",
        decode_bits, encode_bits, FORMAT_BINARY, True),
    Row(OID_TID, OID_TID_ARRAY, "tid",
        decode_tid, encode_tid, FORMAT_BINARY, True),
    Row(OID_TXID_SNAPSHOT, OID_TXID_SNAPSHOT_ARRAY, "txid_snapshot",
        decode_snapshot, encode_snapshot, FORMAT_BINARY, True),
    Row(OID_PG_SNAPSHOT, OID_PG_SNAPSHOT_ARRAY, "pg_snapshot",
        decode_snapshot, encode_snapshot, FORMAT_BINARY, True),
    Row(OID_INT2VECTOR, OID_INT2VECTOR_ARRAY, "int2vector",
        decode_int2vector, encode_int2vector, FORMAT_BINARY, False),
    Row(OID_OIDVECTOR, OID_OIDVECTOR_ARRAY, "oidvector",
        decode_oidvector, encode_oidvector, FORMAT_BINARY, False),
    Row(OID_POINT, OID_POINT_ARRAY, "point",
        decode_point, encode_point, FORMAT_BINARY, True),
    Row(OID_LINE, OID_LINE_ARRAY, "line",
        decode_line, encode_line, FORMAT_BINARY, True),
    Row(OID_LSEG, OID_LSEG_ARRAY, "lseg",
        decode_lseg, encode_two_points, FORMAT_BINARY, True),
    Row(OID_BOX, OID_BOX_ARRAY, "box",
        decode_box, encode_two_points, FORMAT_BINARY, True),
    Row(OID_PATH, OID_PATH_ARRAY, "path",
        decode_path, encode_path, FORMAT_BINARY, True),
    Row(OID_POLYGON, OID_POLYGON_ARRAY, "polygon",
        decode_polygon, encode_polygon, FORMAT_BINARY, True),
    Row(OID_CIRCLE, OID_CIRCLE_ARRAY, "circle",
        decode_circle, encode_circle, FORMAT_BINARY, True),
    Row(OID_CSTRING, OID_CSTRING_ARRAY, "cstring",
        decode_text, encode_text, FORMAT_BINARY, True),
    Row(OID_UNKNOWN, 0, "unknown",
        decode_text, encode_text, FORMAT_BINARY, True),
    Row(OID_VOID, 0, "void",
        decode_void, encode_void, FORMAT_BINARY, True),
    Row(0, 0, NULL, NULL, NULL, FORMAT_BINARY, False),
]


cdef struct TextRow:
    uint32_t oid
    uint32_t array_oid       # 0: the type has no array
    const char *name


# Types that are a str both ways: without a binary form (aclitem, gtsvector), with one
# that the server sends but does not read, or with one that says less than the text (a
# regclass is a number there, money a number without its currency).
cdef TextRow *TEXTS = [
    TextRow(OID_MONEY, OID_MONEY_ARRAY, "money"),
    TextRow(OID_TSVECTOR, OID_TSVECTOR_ARRAY, "tsvector"),
    TextRow(OID_TSQUERY, OID_TSQUERY_ARRAY, "tsquery"),
    TextRow(OID_GTSVECTOR, OID_GTSVECTOR_ARRAY, "gtsvector"),
    TextRow(OID_ACLITEM, OID_ACLITEM_ARRAY, "aclitem"),
    TextRow(OID_REGPROC, OID_REGPROC_ARRAY, "regproc"),
    TextRow(OID_REGPROCEDURE, OID_REGPROCEDURE_ARRAY, "regprocedure"),
    TextRow(OID_REGOPER, OID_REGOPER_ARRAY, "regoper"),
    TextRow(OID_REGOPERATOR, OID_REGOPERATOR_ARRAY, "regoperator"),
    TextRow(OID_REGCLASS, OID_REGCLASS_ARRAY, "regclass"),
    TextRow(OID_REGTYPE, OID_REGTYPE_ARRAY, "regtype"),
    TextRow(OID_REGROLE, OID_REGROLE_ARRAY, "regrole"),
    TextRow(OID_REGNAMESPACE, OID_REGNAMESPACE_ARRAY, "regnamespace"),
    TextRow(OID_REGCONFIG, OID_REGCONFIG_ARRAY, "regconfig"),
    TextRow(OID_REGDICTIONARY, OID_REGDICTIONARY_ARRAY, "regdictionary"),
    TextRow(OID_REGCOLLATION, OID_REGCOLLATION_ARRAY, "regcollation"),
    TextRow(OID_PG_NODE_TREE, 0, "pg_node_tree"),
    TextRow(OID_PG_NDISTINCT, 0, "pg_ndistinct"),
    TextRow(OID_PG_DEPENDENCIES, 0, "pg_dependencies"),
    TextRow(OID_PG_MCV_LIST, 0, "pg_mcv_list"),
    TextRow(OID_PG_BRIN_BLOOM_SUMMARY, 0, "pg_brin_bloom_summary"),
    TextRow(OID_PG_BRIN_MINMAX_MULTI_SUMMARY, 0, "pg_brin_minmax_multi_summary"),
    TextRow(OID_ANYARRAY, 0, "anyarray"),
    TextRow(0, 0, NULL),
]


cdef struct RangeRow:
    uint32_t oid
    uint32_t array_oid
    const char *name
    uint32_t bound_oid


cdef RangeRow *RANGES = [
    RangeRow(OID_INT4RANGE, OID_INT4RANGE_ARRAY, "int4range", OID_INT4),
    RangeRow(OID_INT8RANGE, OID_INT8RANGE_ARRAY, "int8range", OID_INT8),
    RangeRow(OID_NUMRANGE, OID_NUMRANGE_ARRAY, "numrange", OID_NUMERIC),
    RangeRow(OID_TSRANGE, OID_TSRANGE_ARRAY, "tsrange", OID_TIMESTAMP),
    RangeRow(OID_TSTZRANGE, OID_TSTZRANGE_ARRAY, "tstzrange", OID_TIMESTAMPTZ),
    RangeRow(OID_DATERANGE, OID_DATERANGE_ARRAY, "daterange", OID_DATE),
    RangeRow(0, 0, NULL, 0),
]


cdef struct TupleRow:
    uint32_t oid
    decode_fn decode
    encode_fn encode


# The types that a custom codec may exchange as a tuple of the fields on the wire.
cdef TupleRow *TUPLES = [
    TupleRow(OID_DATE, decode_date_tuple, encode_date_tuple),
    TupleRow(OID_TIME, decode_time_tuple, encode_time_tuple),
    TupleRow(OID_TIMETZ, decode_timetz_tuple, encode_timetz_tuple),
    TupleRow(OID_TIMESTAMP, decode_timestamp_tuple, encode_timestamp_tuple),
    TupleRow(OID_TIMESTAMPTZ, decode_timestamptz_tuple, encode_timestamptz_tuple),
    TupleRow(OID_INTERVAL, decode_interval_tuple, encode_interval_tuple),
    TupleRow(0, NULL, NULL),
]


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


cdef Codec text_codec(uint32_t oid, str name):
    """The codec of a type whose text goes both ways as it is."""
    return new_codec(oid, name, "scalar", FORMAT_TEXT, True, decode_text, encode_text)


cdef int add_to_table(Codec codec, uint32_t array_oid) except -1:
    """A type of the table, and its array."""
    TABLE[codec.oid] = codec
    if array_oid:
        TABLE[array_oid] = array_of(codec, array_oid, codec.name + "[]")
        ARRAYS[codec.oid] = array_oid
    return 0


cdef int fill_table() except -1:
    """Codecs of all rows, of the ranges, and of the arrays of both."""
    cdef Row *row = TYPES
    cdef TextRow *text = TEXTS
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
    while text.oid:
        add_to_table(text_codec(text.oid, text.name.decode()), text.array_oid)
        text += 1
    while over.oid:
        add_to_table(
            range_of(TABLE[over.bound_oid], over.oid, over.name.decode()),
            over.array_oid,
        )
        over += 1
    NAMES.update({codec.name: codec for codec in TABLE.values()})
    NAMES.update({name: TABLE[oid] for name, oid in SQL_NAMES.items()})
    return 0


cdef Codec unknown_codec(uint32_t oid):
    """The codec of a type that nobody knows: `str`, in text format."""
    return text_codec(oid, "unknown")


cdef object decode_via_python(Codec codec, const unsigned char *data, Py_ssize_t size):
    """What the user's decoder makes of the exchanged value; its errors go through.

    `codec.element` says what is exchanged: str, bytes or a tuple.
    """
    return codec.py_decode(codec.element.decode(codec.element, data, size))


cdef int encode_via_python(Codec codec, WriteBuffer out, object value) except -1:
    """What the user's encoder returns, as `codec.element` writes it.

    Any exception of the encoder becomes the reason: TypeError, ValueError and
    OverflowError as they are, another one as the cause of a ValueError.
    """
    try:
        value = codec.py_encode(value)
    except (TypeError, ValueError, OverflowError):
        raise
    except Exception as error:
        raise ValueError(str(error) or type(error).__name__) from error
    return codec.element.encode(codec.element, out, value)


cdef Codec exchange_codec(uint32_t oid, str name, str format):
    """How a value of a custom codec goes between the wire and the user's functions."""
    cdef TupleRow *row = TUPLES
    if format == "text":
        return text_codec(oid, name)
    if format == "binary":
        return new_codec(
            oid, name, "scalar", FORMAT_BINARY, True, decode_bytea, encode_bytea
        )
    if format != "tuple":
        raise InterfaceError(
            f"invalid `format` argument, expected 'text', 'binary' or 'tuple', "
            f"got {format!r}"
        )
    while row.oid:
        if row.oid == oid:
            return new_codec(
                oid, name, "scalar", FORMAT_BINARY, True, row.decode, row.encode
            )
        row += 1
    raise InterfaceError(f"{name} type does not support the 'tuple' exchange format")


cdef Codec renamed(Codec codec, uint32_t oid, str name, str schema, str kind):
    """A copy of a codec under another OID and name."""
    cdef Codec copy = new_codec(
        oid, name, kind, codec.format, codec.atomic, codec.decode, codec.encode
    )
    copy.schema = schema
    copy.element = codec.element
    copy.py_decode = codec.py_decode
    copy.py_encode = codec.py_encode
    return copy


cdef class CodecMap:
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
        self.own = {}
        self.fallbacks = {}
        self.changes = 0

    cdef Codec find(self, uint32_t oid):
        """The codec of a type, or None when nobody knows it."""
        cdef CodecMap scope = self
        while scope is not None:
            codec = scope.own.get(oid)
            if codec is not None:
                return codec
            scope = scope.parent
        return TABLE.get(oid)

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
        cdef Codec exchange = exchange_codec(oid, name, format)
        cdef Codec codec = new_codec(
            oid, name, kind, exchange.format, False,
            decode_via_python, encode_via_python,
        )
        for function, what in ((encoder, "encoder"), (decoder, "decoder")):
            if not callable(function):
                raise InterfaceError(f"the argument {what} must be callable")
        codec.schema = schema
        codec.element = exchange
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

    def register_range(
        self, uint32_t oid, str name, str schema, uint32_t bound_oid,
        uint32_t array_oid=0,
    ):
        """Let a type travel as a range over another one.

        Args:
            oid: the type's OID.
            name: the type's name.
            schema: the type's schema.
            bound_oid: the OID of the type of its bounds.
            array_oid: the OID of the type's array, 0 for none.

        Example:
            >>> codecs = CodecMap()
            >>> codecs.register_range(70_000, "span", "public", 20)
            >>> codecs.lookup(70_000).kind
            'range'
        """
        cdef Codec codec = range_of(self.get(bound_oid), oid, name)
        codec.schema = schema
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
        cdef Codec array
        cdef dict changed = {codec.oid: codec}
        array_oid = array_oid or ARRAYS.get(codec.oid, 0)
        if array_oid:
            array = array_of(codec, array_oid, codec.name + "[]")
            array.schema = codec.schema
            changed[array_oid] = array
        self.replace(changed, ())

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
        cdef Codec codec = self.own.get(oid)
        if codec is None:
            return
        self.replace({}, (oid, *[
            other for other in self.own if (<Codec>self.own[other]).element is codec
        ]))


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
