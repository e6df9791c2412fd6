# cython: language_level=3
"""Codecs whose values are made by functions of the user's, and copies of codecs.

Owns: the trampolines to Python functions, what they exchange with them (text, bytes,
tuples), copies under another name, and the codec of types that nobody knows.
Layer L2. Imports L0, L1 and the codec families of text, bytes and time.

Source: PostgreSQL docs, "Formats and Format Codes".
"""

from libc.stdint cimport uint32_t

from chopin._buffers cimport WriteBuffer
from chopin._codecbase cimport Codec, decode_fn, encode_fn, new_codec
from chopin._codecs_scalar cimport (
    decode_bytea,
    decode_jsonb,
    decode_text,
    encode_bytea,
    encode_text,
)
from chopin._codecs_time cimport (
    decode_date_tuple,
    decode_interval_tuple,
    decode_time_tuple,
    decode_timestamp_tuple,
    decode_timestamptz_tuple,
    decode_timetz_tuple,
    encode_date_tuple,
    encode_interval_tuple,
    encode_time_tuple,
    encode_timestamp_tuple,
    encode_timestamptz_tuple,
    encode_timetz_tuple,
)
from chopin._oids cimport (
    OID_DATE,
    OID_INTERVAL,
    OID_TIME,
    OID_TIMESTAMP,
    OID_TIMESTAMPTZ,
    OID_TIMETZ,
)
from chopin._wire cimport FORMAT_BINARY, FORMAT_TEXT

from chopin.exceptions import InterfaceError


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


cdef Codec unknown_codec(uint32_t oid):
    """The codec of a type that nobody knows: `str`, in text format."""
    return new_codec(
        oid, "unknown", "scalar", FORMAT_TEXT, True, decode_text, encode_text
    )


cdef Codec renamed(Codec codec, uint32_t oid, str name, str schema, str kind):
    """A copy of a codec under another OID and name."""
    cdef Codec copy = new_codec(
        oid, name, kind, codec.format, codec.atomic, codec.decode, codec.encode
    )
    copy.base = codec.base
    copy.schema = schema
    copy.element = codec.element
    copy.detail = codec.detail
    copy.lists = codec.lists
    copy.py_decode = codec.py_decode
    copy.py_encode = codec.py_encode
    return copy


cdef object decode_via_python(Codec codec, const unsigned char *data, Py_ssize_t size):
    """What the user's decoder makes of the exchanged value; its errors go through.

    `codec.element` says what is exchanged: str, bytes or a tuple.
    """
    return codec.py_decode(codec.element.decode(codec.element, data, size))


cdef int encode_via_python(Codec codec, WriteBuffer out, object value) except -1:
    """What the user's encoder returns, as `codec.element` writes it."""
    return codec.element.encode(
        codec.element, out, call_encoder(codec.py_encode, value)
    )


cdef object call_encoder(object function, object value):
    """What a function of the user's makes of an argument.

    Any exception of it becomes the reason: TypeError, ValueError and OverflowError as
    they are, another one as the cause of a ValueError.
    """
    try:
        return function(value)
    except (TypeError, ValueError, OverflowError):
        raise
    except Exception as error:
        raise ValueError(str(error) or type(error).__name__) from error


cdef Codec custom_codec(Codec known, uint32_t oid, str name, str kind, str format):
    """A codec for functions of the user's, which the caller puts in.

    `known` is the codec that the type has otherwise, None for none. InterfaceError: the
    format is not known, or the type does not have it.
    """
    cdef Codec exchange = exchange_codec(known, oid, name, kind, format)
    cdef Codec codec = new_codec(
        oid, name, kind, exchange.format, False, decode_via_python, encode_via_python
    )
    codec.element = exchange
    return codec


cdef Codec exchange_codec(Codec known, uint32_t oid, str name, str kind, str format):
    """How a value of a custom codec goes between the wire and the user's functions.

    Where the binary form of a type is its text, text travels in it: so it fits into
    composite types and records.
    """
    cdef TupleRow *row = TUPLES
    if format == "text":
        if known is not None and known.format == FORMAT_BINARY and (
            known.decode == decode_text or known.decode == decode_jsonb
        ):
            return known
        return new_codec(
            oid, name, "scalar", FORMAT_TEXT, True, decode_text, encode_text
        )
    if format == "binary":
        return new_codec(
            oid, name, "scalar", FORMAT_BINARY, True, decode_bytea, encode_bytea
        )
    if format == "value" and known is not None:
        return known        # a Record of a composite type, and so on
    if format != "tuple":
        raise InterfaceError(
            f"invalid `format` argument, expected 'text', 'binary' or 'tuple', "
            f"got {format!r}"
        )
    if kind == "composite" and known is not None:
        return known        # a Record; made anew when the type has been altered
    while row.oid:
        if row.oid == oid:
            return new_codec(
                oid, name, "scalar", FORMAT_BINARY, True, row.decode, row.encode
            )
        row += 1
    raise InterfaceError(f"{name} type does not support the 'tuple' exchange format")
