# cython: language_level=3
"""The table: every type that is known beforehand.

Owns: the rows (OID, name, decode, encode, format), and the arrays, ranges and
multiranges that follow from them.
Layer L2. Imports L0, L1 and the codec families.

Rules
- A new type is one row here and two functions in a family; its array follows by itself.
- The table never changes after the import.
"""

from libc.stdint cimport uint32_t

from chopin._buffers cimport WriteBuffer  # no-cython-lint: in the signatures
from chopin._codecbase cimport (
    LISTS_OF_NUMBERS, Codec, decode_fn, encode_fn, new_codec,
)
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
from chopin._wire cimport FORMAT_BINARY, FORMAT_TEXT


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


cdef dict TABLE = {}         # oid -> Codec
cdef dict ARRAYS = {}        # oid of an element -> oid of its array
cdef dict NAMES = {}         # name -> Codec

# What SQL calls some types beside the name that pg_type has. `char` is blank-padded
# text as in SQL, and the type of one byte has its quotes.
# Source: PostgreSQL docs, "Data Types", Aliases.
cdef dict SQL_NAMES = {
    '"char"': OID_CHAR,
    "bigint": OID_INT8,
    "bit varying": OID_VARBIT,
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
        NAMES[TABLE[array_oid].name] = TABLE[array_oid]
    NAMES[codec.name] = codec
    return 0


cdef int fill_table() except -1:
    """Codecs of all rows, of ranges and multiranges, and of their arrays."""
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
    for oid in (OID_INT2VECTOR, OID_OIDVECTOR):
        (<Codec>TABLE[oid]).lists = LISTS_OF_NUMBERS
    while text.oid:
        add_to_table(text_codec(text.oid, text.name.decode()), text.array_oid)
        text += 1
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
    NAMES.update({name: TABLE[oid] for name, oid in SQL_NAMES.items()})
    return 0


fill_table()
