"""Codecs of composite types, records and multiranges: bytes, shapes, hostile input."""

from __future__ import annotations

import gc
import struct
from collections import OrderedDict
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chopin._catalog import CatalogType
from chopin._codecbase import ElementError
from chopin._codecs import CodecMap, decode_value, encode_value
from chopin._rows import Record
from chopin.exceptions import (
    DataError,
    OutdatedSchemaCacheError,
    UnsupportedClientFeatureError,
)
from chopin.types import Range

INT4, TEXT, NUMERIC, RECORD, RECORDS, REGCLASS, JSON = (
    23,
    25,
    1700,
    2249,
    2287,
    2205,
    114,
)
INT4RANGE, INT4MULTIRANGE, INT4MULTIRANGES = 3904, 4451, 6150
MONEY, MONEY_ARRAY = 790, 791
PAIR, PAIRS, OUTER, MOOD, MOODS, SMALL, SPAN, SPANS, INTS, INTS_ARRAY = range(
    70_000, 70_010
)
NULL = struct.pack("!i", -1)

TYPES = [
    CatalogType(PAIR, "pair", "s", "c", 0, PAIRS, ",", ("a", "b"), (INT4, TEXT)),
    CatalogType(MOOD, "mood", "s", "e", 0, MOODS),
    CatalogType(SMALL, "small", "s", "d", INT4),
    CatalogType(SPAN, "span", "s", "r", SMALL),
    CatalogType(SPANS, "spans", "s", "m", SPAN),
    CatalogType(INTS, "ints", "s", "d", 1007, INTS_ARRAY),
    CatalogType(
        OUTER, "outer", "s", "c", 0, 0, ",", ("p", "q", "m", "r"),
        (PAIR, PAIRS, MOODS, SPANS),
    ),
]  # fmt: skip


@pytest.fixture
def codecs() -> CodecMap:
    """A scope that has learnt some types."""
    codecs = CodecMap()
    codecs.learn(TYPES)
    return codecs


def field(data: bytes) -> bytes:
    return struct.pack("!i", len(data)) + data


def int4(value: int) -> bytes:
    return field(struct.pack("!i", value))


def row(*parts: tuple[int, bytes]) -> bytes:
    """A composite value: OID and field of each attribute."""
    return struct.pack("!i", len(parts)) + b"".join(
        struct.pack("!I", oid) + data for oid, data in parts
    )


def pair(a: int | None, b: str | None) -> bytes:
    return row(
        (INT4, NULL if a is None else int4(a)),
        (TEXT, NULL if b is None else field(b.encode())),
    )


def array(oid: int, *items: bytes) -> bytes:
    return struct.pack("!iiIii", 1, 0, oid, len(items), 1) + b"".join(items)


def ranges(*bounds: tuple[int, int]) -> bytes:
    return struct.pack("!i", len(bounds)) + b"".join(
        field(b"\x02" + int4(lower) + int4(upper)) for lower, upper in bounds
    )


PAIRS_OF: list[tuple[int, Any, bytes]] = [
    (PAIR, (1, "x"), pair(1, "x")),
    (PAIR, (None, None), pair(None, None)),
    (PAIRS, [(1, "x"), (2, "")], array(PAIR, field(pair(1, "x")), field(pair(2, "")))),
    (INT4MULTIRANGE, [], ranges()),
    (INT4MULTIRANGE, [Range(1, 3), Range(5, 9)], ranges((1, 3), (5, 9))),
    (SPANS, [Range(1, 3)], ranges((1, 3))),
    (
        INT4MULTIRANGES,
        [[Range(1, 3)], []],
        array(INT4MULTIRANGE, field(ranges((1, 3))), field(ranges())),
    ),
    (MOODS, ["calm"], array(MOOD, field(b"calm"))),
    (
        INTS_ARRAY,
        [[1], [2]],
        array(INTS, field(array(INT4, int4(1))), field(array(INT4, int4(2)))),
    ),
    (
        OUTER,
        ((1, "x"), [(2, "y")], ["calm"], [Range(1, 2)]),
        row(
            (PAIR, field(pair(1, "x"))),
            (PAIRS, field(array(PAIR, field(pair(2, "y"))))),
            (MOODS, field(array(MOOD, field(b"calm")))),
            (SPANS, field(ranges((1, 2)))),
        ),
    ),
]


@pytest.mark.parametrize(("oid", "value", "data"), PAIRS_OF)
def test_value_and_bytes(codecs: CodecMap, oid: int, value: Any, data: bytes) -> None:
    """A value is sent as the bytes from which the same value is received."""
    codec = codecs.lookup(oid)
    assert encode_value(codec, value) == data
    assert decode_value(codec, data) == value


@pytest.mark.parametrize(("oid", "value", "data"), PAIRS_OF)
def test_truncated_and_extended(
    codecs: CodecMap, oid: int, value: Any, data: bytes
) -> None:
    """Fewer bytes or more are an error of the data, wherever they end."""
    codec = codecs.lookup(oid)
    for n in range(len(data)):
        with pytest.raises(DataError):
            decode_value(codec, data[:n])
    with pytest.raises(DataError, match="left over"):
        decode_value(codec, data + b"\0")


@pytest.mark.parametrize(
    "oid", [PAIR, PAIRS, OUTER, SPANS, RECORD, RECORDS, INTS_ARRAY]
)
@given(
    data=st.lists(
        st.binary(max_size=12)
        | st.sampled_from([struct.pack("!i", n) for n in (-2, -1, 0, 1, 2, 8, 2**30)])
        | st.sampled_from([t.oid.to_bytes(4, "big") for t in TYPES])
        | st.sampled_from([o.to_bytes(4, "big") for o in (INT4, TEXT, RECORD, RECORDS)])
    ).map(b"".join)
)
def test_any_bytes(oid: int, data: bytes) -> None:
    """Bytes of any kind are a value or an error of the data."""
    codecs = CodecMap()
    codecs.learn(TYPES)
    codec = codecs.lookup(oid)
    try:
        value = decode_value(codec, data)
    except (DataError, OutdatedSchemaCacheError):
        return
    if oid not in (RECORD, RECORDS):
        assert decode_value(codec, encode_value(codec, value)) == value


@given(
    st.sampled_from(PAIRS_OF),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4),
)
def test_flipped_bytes(example: tuple[int, Any, bytes], changes: Any) -> None:
    """A value some bytes of which are others is a value or an error of the data."""
    oid, _, data = example
    codecs = CodecMap()
    codecs.learn(TYPES)
    changed = bytearray(data)
    for at, byte in changes:
        changed[at % len(changed)] = byte
    try:
        decode_value(codecs.lookup(oid), bytes(changed))
    except (DataError, OutdatedSchemaCacheError):
        pass


def test_names(codecs: CodecMap) -> None:
    """A composite value is a record with the names of its attributes."""
    value = decode_value(codecs.lookup(PAIR), pair(1, "x"))
    assert type(value) is Record
    assert dict(value) == {"a": 1, "b": "x"}
    assert repr(value) == "<Record a=1 b='x'>"
    codec = codecs.lookup(PAIR)
    assert (codec.name, codec.schema, codec.kind) == ("pair", "s", "composite")


def test_only_records_of_containers_are_tracked(codecs: CodecMap) -> None:
    """A record of plain values is nothing for the garbage collector."""
    plain = decode_value(codecs.lookup(PAIR), pair(1, "x"))
    data = encode_value(codecs.lookup(OUTER), (None, [], [], []))
    nested = decode_value(codecs.lookup(OUTER), data)
    assert (gc.is_tracked(plain), gc.is_tracked(nested)) == (False, True)


def test_altered_type(codecs: CodecMap) -> None:
    """Another number or another type of attributes is said to be an alteration."""
    codec = codecs.lookup(PAIR)
    with pytest.raises(OutdatedSchemaCacheError) as caught:
        decode_value(codec, row((INT4, NULL)))
    assert caught.value.args[0] == (
        "unexpected number of attributes of composite type: 1, expected 2"
    )
    assert (caught.value.schema_name, caught.value.data_type_name) == ("s", "pair")
    with pytest.raises(OutdatedSchemaCacheError, match="attribute 1: 23") as caught:
        decode_value(codec, row((INT4, NULL), (INT4, NULL)))
    assert caught.value.position == 1


class Items:
    """An iterable with a length and nothing else."""

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Any:
        return iter((1, "x"))


@pytest.mark.parametrize(
    ("value", "a", "b"),
    [
        ([1, "x"], 1, "x"),
        (Items(), 1, "x"),
        ({"a": 1, "b": "x"}, 1, "x"),
        (OrderedDict(b="x"), None, "x"),
        ({}, None, None),
    ],
)
def test_arguments(codecs: CodecMap, value: Any, a: Any, b: Any) -> None:
    """Sequences have all attributes, mappings those that they name."""
    assert encode_value(codecs.lookup(PAIR), value) == pair(a, b)


def test_records_are_arguments(codecs: CodecMap) -> None:
    """What was received can be sent."""
    value = decode_value(codecs.lookup(PAIR), pair(1, "x"))
    assert encode_value(codecs.lookup(PAIR), value) == pair(1, "x")
    assert encode_value(codecs.lookup(PAIRS), [value]) == array(
        PAIR, field(pair(1, "x"))
    )


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ((1,), "composite type pair has 2 attributes, 1 was passed"),
        ((1, "x", 2), "composite type pair has 2 attributes, 3 were passed"),
        ({"c": 1}, "'c' is not a valid element of composite type pair"),
        ("ab", "a tuple, a mapping or a record expected (got type 'str')"),
        (5, "a tuple, a mapping or a record expected (got type 'int')"),
    ],
)
def test_refused(codecs: CodecMap, value: Any, reason: str) -> None:
    """What does not fit the attributes is refused with the reason."""
    with pytest.raises((TypeError, ValueError)) as caught:
        encode_value(codecs.lookup(PAIR), value)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("oid", "value", "path"),
    [
        (PAIR, (1, 2), ".b"),
        (PAIRS, [(1, "x"), ("y", "x")], "[1].a"),
        (OUTER, {"q": [{"b": 5}]}, ".q[0].b"),
        (OUTER, {"r": [(1, 2), (1, "x")]}, ".r[1].upper"),
        (INT4MULTIRANGE, [None], "[0]"),
        (INT4MULTIRANGES, [[(1, "x")]], "[0][0].upper"),
    ],
)
def test_refused_part(codecs: CodecMap, oid: int, value: Any, path: str) -> None:
    """A part that is refused is named by where it is."""
    with pytest.raises(ElementError) as caught:
        encode_value(codecs.lookup(oid), value)
    assert caught.value.path == path


@pytest.mark.parametrize("value", ["ab", b"", {"a": 1}, 5, Range(1, 2)])
def test_no_multirange(value: Any) -> None:
    """A multirange is an iterable, but no string, no mapping and no range."""
    with pytest.raises(TypeError, match="expected a sequence"):
        encode_value(INT4MULTIRANGE, value)


def test_any_iterable_is_a_multirange() -> None:
    """It may be consumed by reading it."""
    data = ranges((1, 3), (5, 9))
    parts = [Range(1, 3), Range(5, 9)]
    for value in tuple(parts), iter(parts), dict.fromkeys(parts).keys():
        assert encode_value(INT4MULTIRANGE, value) == data


@pytest.mark.parametrize(
    ("value", "n_dims"),
    [([[], []], 1), ([[[]]], 2), ([[[Range(1, 2)], []]], 2), ([None, []], 1)],
)
def test_dimensions_of_multiranges(value: Any, n_dims: int) -> None:
    """In an array of multiranges lists of ranges are elements."""
    data = encode_value(INT4MULTIRANGES, value)
    assert struct.unpack_from("!i", data) == (n_dims,)
    assert decode_value(INT4MULTIRANGES, data) == value


def test_record(codecs: CodecMap) -> None:
    """A record is a tuple of values of the types that it names."""
    data = row((INT4, int4(5)), (PAIR, field(pair(1, "x"))), (RECORD, field(row())))
    value = decode_value(codecs.lookup(RECORD), data)
    assert (type(value), value) == (tuple, (5, (1, "x"), ()))
    assert not codecs.wants


def test_unknown_type_in_a_record(codecs: CodecMap) -> None:
    """What nobody knows is bytes, and is asked for."""
    data = row((99_999, field(b"ab")), (INT4, NULL))
    assert decode_value(codecs.lookup(RECORD), data) == (b"ab", None)
    assert codecs.wants
    assert codecs.take_wanted() == [99_999]
    assert not codecs.wants


def test_text_codecs_in_a_record() -> None:
    """In a record everything is binary: codecs for text are left out."""
    codecs = CodecMap()
    codecs.register(INT4, "int4", "pg_catalog", encoder=str, decoder=str)
    codecs.register(JSON, "json", "pg_catalog", encoder=str, decoder=len)
    data = row(
        (INT4, int4(5)), (REGCLASS, field(b"\0\0\x04\xeb")), (JSON, field(b"[1]")),
        (99_999, NULL),
    )  # fmt: skip
    assert decode_value(codecs.lookup(RECORD), data) == (5, 1259, 3, None)


def test_records_in_records() -> None:
    """Records that are deeper in each other than anybody nests them are refused."""
    data = row()
    for _ in range(20):
        data = row((RECORD, field(data)))
    value = decode_value(RECORD, data)
    for _ in range(20):
        (value,) = value
    assert value == ()
    deep = bytearray()
    for size in range(12 * 200_000, 0, -12):
        deep += struct.pack("!iIi", 1, RECORD, size - 8)
    deep += row()
    with pytest.raises(DataError):
        decode_value(RECORD, bytes(deep))
    assert decode_value(RECORD, row()) == ()


def test_record_is_no_argument() -> None:
    """The server does not read records."""
    with pytest.raises(UnsupportedClientFeatureError, match="anonymous composite"):
        encode_value(RECORD, (1, 2))


def test_attribute_without_a_binary_form(codecs: CodecMap) -> None:
    """A composite type with such an attribute is text, and so is its array."""
    codecs.register(NUMERIC, "numeric", "pg_catalog", encoder=str, decoder=Decimal)
    codecs.learn(
        [CatalogType(80_000, "sum", "s", "c", 0, 80_001, ",", ("n",), (NUMERIC,))]
    )
    codec = codecs.lookup(80_000)
    assert (codec.format, codec.kind, codec.name) == (0, "composite", "sum")
    assert decode_value(codec, b"(1.5)") == "(1.5)"
    assert decode_value(codecs.lookup(80_001), b'{"(1.5)"}') == ["(1.5)"]
    codecs.unregister(NUMERIC)
    assert codecs.lookup(80_000).format == 1


def test_codecs_of_parts(codecs: CodecMap) -> None:
    """A codec of the user's is in force wherever its type is a part."""
    scope = CodecMap(codecs)
    before = scope.lookup(OUTER)
    assert codecs.lookup(OUTER) is before
    scope.register(MOOD, "mood", "s", encoder=str.lower, decoder=str.upper)
    scope.register(
        INT4, "int4", "pg_catalog", format="binary",
        encoder=lambda v: v.to_bytes(4, "big"), decoder=lambda d: -int.from_bytes(d),
    )  # fmt: skip
    data = encode_value(scope.lookup(OUTER), ((1, "x"), [], ["CALM"], [(1, 2)]))
    value = decode_value(scope.lookup(OUTER), data)
    assert value == ((-1, "x"), [], ["CALM"], [Range(-1, -2, upper_inc=True)])
    assert decode_value(scope.lookup(1007), array(INT4, int4(5))) == [-5]
    assert codecs.lookup(OUTER) is before
    scope.unregister(MOOD)
    scope.unregister(INT4)
    assert scope.lookup(OUTER) is codecs.lookup(OUTER)


def test_codec_of_a_composite_type(codecs: CodecMap) -> None:
    """It exchanges records and tuples, also when the type is altered later."""
    codecs.register(
        PAIR, "pair", "s", "composite", format="tuple",
        encoder=lambda v: (v.real, str(v.imag)),
        decoder=lambda r: complex(r["a"], float(r["b"])),
    )  # fmt: skip
    data = encode_value(codecs.lookup(PAIRS), [1 + 2j])
    assert data == array(PAIR, field(pair(1, "2.0"))) or data
    assert decode_value(codecs.lookup(PAIR), pair(1, "2")) == 1 + 2j
    altered = TYPES[0]._replace(names=("b", "a"), parts=(TEXT, INT4))
    codecs.learn([altered])
    data = row((TEXT, field(b"3")), (INT4, int4(4)))
    assert decode_value(codecs.lookup(PAIR), data) == 4 + 3j


def test_types_that_contain_themselves() -> None:
    """What cannot be ends somewhere."""
    codecs = CodecMap()
    codecs.learn([CatalogType(80_000, "a", "s", "c", 0, 0, ",", ("a",), (80_000,))])
    assert codecs.lookup(80_000).format == 0


def test_learnt_by_one_known_to_all() -> None:
    """What a session learns, all sessions of the pool know, and see the change."""
    pool = CodecMap()
    one, other = CodecMap(pool), CodecMap(pool)
    before = other.version
    assert not other.known(PAIR)
    one.learn(TYPES)
    assert other.known(PAIR)
    assert other.version > before
    assert other.lookup(PAIR) is one.lookup(PAIR)
    other.outdated()
    assert set(one.take_wanted()) >= {t.oid for t in TYPES}


MONEY_SPAN, MONEY_SPANS = 80_002, 80_003


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{}", []),
        ("{[a,b)}", [Range("a", "b")]),
        (
            '{["a",b),("c,]}",]}',
            [Range("a", "b"), Range("c,]}", None, lower_inc=False)],
        ),
        ("{(,)}", [Range(lower_inc=False)]),
    ],
)
def test_multirange_literal(text: str, value: Any) -> None:
    """Over bounds in text form a multirange is a literal."""
    codecs = CodecMap()
    codecs.learn(
        [
            CatalogType(MONEY_SPAN, "span", "s", "r", 70_100),
            CatalogType(MONEY_SPANS, "spans", "s", "m", MONEY_SPAN),
        ]
    )
    codec = codecs.lookup(MONEY_SPANS)
    assert codec.format == 0
    assert decode_value(codec, text.encode()) == value
    assert decode_value(codec, encode_value(codec, value)) == value
    for n in range(len(text)):
        with pytest.raises(DataError):
            decode_value(codec, text[:n].encode())
    with pytest.raises(DataError):
        decode_value(codec, text.encode() + b"x")
