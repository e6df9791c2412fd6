# cython: language_level=3
"""Values as the simple protocol has them: everything is text.

Owns: `TextCodecs`, a view of a codec table in which every type is read from text, and
the readers of the built-in types whose codecs are binary.
Layer L2. Imports L0 - L2.

Rules
- A reader gives what the binary codec of the type gives. What it cannot read, because
  Python's class cannot hold it or DateStyle or IntervalStyle have another form, stays
  the text that it is: never a failed result, and never a guess.
- Arrays, ranges and multiranges are those of the text readers of what they contain;
  composite types and the types without a reader are text.

Source: PostgreSQL documentation, "Data Types", "Date/Time Output".
"""

from libc.stdint cimport uint32_t

from chopin._codecbase cimport Codec, new_codec
from chopin._codecs cimport CodecMap, layout_of, over
from chopin._codecs_bounds cimport bounded, decode_bounded
from chopin._codecs_classes cimport is_enum_codec
from chopin._codecs_custom cimport renamed
from chopin._codecs_json cimport json_in_text
from chopin._codecs_scalar cimport decode_jsonb, decode_text, encode_text
from chopin._oids cimport (
    OID_BOOL,
    OID_BYTEA,
    OID_CHAR,
    OID_CID,
    OID_CIDR,
    OID_DATE,
    OID_FLOAT4,
    OID_FLOAT8,
    OID_INET,
    OID_INT2,
    OID_INT2VECTOR,
    OID_INT4,
    OID_INT8,
    OID_INTERVAL,
    OID_NUMERIC,
    OID_OID,
    OID_OIDVECTOR,
    OID_PG_LSN,
    OID_TIME,
    OID_TIMESTAMP,
    OID_TIMESTAMPTZ,
    OID_TIMETZ,
    OID_UUID,
    OID_VOID,
    OID_XID,
    OID_XID8,
)
from chopin._wire cimport FORMAT_TEXT

import re
import struct
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from ipaddress import ip_address, ip_interface, ip_network
from uuid import UUID

cdef object parse_interval = re.compile(
    r"(?:([-+]?\d+) years? ?)?(?:([-+]?\d+) mons? ?)?(?:([-+]?\d+) days? ?)?"
    r"(?:([-+]?)(\d+):(\d\d):(\d\d)(?:\.(\d{1,6}))?)?"
).fullmatch


cdef object read_bool(str text):
    return {"t": True, "f": False}[text]


cdef object read_float4(str text):
    return struct.unpack("f", struct.pack("f", float(text)))[0]


cdef object read_bytea(str text):
    """bytea_output hex, which is the default."""
    if not text.startswith("\\x"):
        raise ValueError("not in hex")
    return bytes.fromhex(text[2:])


cdef object read_char(str text):
    """The type "char": one byte, in octal if it is not ASCII."""
    if text.startswith("\\") and len(text) == 4:
        return bytes([int(text[1:], 8)])
    return text.encode("utf-8") or b"\0"


cdef object read_vector(str text):
    """int2vector and oidvector: numbers with spaces between."""
    return [int(word) for word in text.split()]


cdef object read_lsn(str text):
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


cdef object read_inet(str text):
    return ip_interface(text) if "/" in text else ip_address(text)


cdef object read_date(str text):
    if text == "infinity":
        return date.max
    if text == "-infinity":
        return date.min
    return date.fromisoformat(text)


cdef object read_time(str text):
    if text.startswith("24:"):  # from Python 3.14 on this would be 00:00
        raise ValueError("the end of the day")
    return time.fromisoformat(text)


cdef object read_timestamp(str text):
    if text == "infinity":
        return datetime.max
    if text == "-infinity":
        return datetime.min
    return datetime.fromisoformat(text)


cdef object read_timestamptz(str text):
    value = read_timestamp(text)
    if text.endswith("infinity"):
        return value
    if value.tzinfo is None:
        raise ValueError("a moment without a zone")
    return value.astimezone(timezone.utc)


cdef object read_interval(str text):
    """IntervalStyle postgres: a year has 365 days, a month that is left over 30."""
    found = parse_interval(text)
    if found is None or not text:
        raise ValueError("another IntervalStyle")
    years, months, days, sign, hours, minutes, seconds, fraction = found.groups("0")
    span = timedelta(
        hours=int(hours), minutes=int(minutes), seconds=int(seconds),
        microseconds=int(fraction.ljust(6, "0")),
    )
    whole = timedelta(days=int(years) * 365 + int(months) * 30 + int(days))
    return whole - span if sign == "-" else whole + span


# What a reader raises for a text that it cannot read.
cdef tuple UNREADABLE = (ValueError, ArithmeticError, KeyError)

cdef dict READERS = {
    OID_BOOL: read_bool,
    OID_BYTEA: read_bytea,
    OID_CHAR: read_char,
    OID_CIDR: ip_network,
    OID_DATE: read_date,
    OID_FLOAT4: read_float4,
    OID_FLOAT8: float,
    OID_INET: read_inet,
    OID_INT2VECTOR: read_vector,
    OID_INTERVAL: read_interval,
    OID_NUMERIC: Decimal,
    OID_OIDVECTOR: read_vector,
    OID_PG_LSN: read_lsn,
    OID_TIME: read_time,
    OID_TIMESTAMP: read_timestamp,
    OID_TIMESTAMPTZ: read_timestamptz,
    OID_TIMETZ: read_time,
    OID_UUID: UUID,
    OID_VOID: lambda text: None,
    **dict.fromkeys(
        [OID_INT2, OID_INT4, OID_INT8, OID_OID, OID_XID, OID_CID, OID_XID8], int
    ),
}


cdef object decode_by_reader(Codec codec, const unsigned char *data, Py_ssize_t size):
    text = decode_text(codec, data, size)
    try:
        return codec.py_decode(text)
    except UNREADABLE:
        return text


cdef object decode_by_user(Codec codec, const unsigned char *data, Py_ssize_t size):
    return codec.py_decode(decode_text(codec, data, size))


cdef Codec nested(CodecMap readers, Codec codec):
    """The codec of an array or range over the reader of what it contains."""
    return over(codec, readers.get(codec.element.oid))


cdef class TextCodecs(CodecMap):
    """The codecs of a table as they are where all values come as text."""

    cdef Codec get(self, uint32_t oid):
        """The codec that reads a type's text."""
        cdef Codec codec = self.parent.get(oid)
        cdef Codec made
        if codec.format == FORMAT_TEXT:
            return codec
        if codec.decode == decode_bounded:
            return bounded(nested(self, <Codec>codec.detail))
        if codec.element is not None and layout_of(codec):
            return nested(self, codec)
        made = json_in_text(codec)
        if made is None and is_enum_codec(codec):
            made = renamed(codec, oid, codec.name, codec.schema, codec.kind)
            made.format = FORMAT_TEXT
        if made is not None:
            made.delimiter = codec.delimiter
            return made     # its text is what it reads
        made = new_codec(
            oid, codec.name, codec.kind, FORMAT_TEXT, codec.atomic, decode_text,
            encode_text,
        )
        made.delimiter = codec.delimiter
        if codec.py_decode is None:
            made.py_decode = READERS.get(codec.base)
            if made.py_decode is not None:
                made.decode = decode_by_reader
        elif codec.element is not None and (
            codec.element.decode == decode_text or codec.element.decode == decode_jsonb
        ):
            # the user's, who exchanges text
            made.py_decode = codec.py_decode
            made.decode = decode_by_user
        return made
