"""Codecs of arrays and ranges, binary and text: bytes, shapes, hostile input."""

from __future__ import annotations

import array
import collections
import ctypes
import datetime
import gc
import importlib
import re
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chopin._codecbase import ElementError
from chopin._codecs import CodecMap, decode_value, encode_value
from chopin.exceptions import DataError
from chopin.types import BitString, Path, Range

INT4, TEXT = 23, 25
BOOLS, INT4S, TEXTS, FLOAT8S, DATES, JSONBS = 1000, 1007, 1009, 1022, 1182, 3807
INT4RANGE, INT4RANGES, DATERANGE, MONEYS = 3904, 3905, 3912, 791
NEW, NEW_ARRAY, BOX, BOXES = 70_000, 70_001, 603, 1020

NULL = struct.pack("!i", -1)
RAGGED = "non-homogeneous array"


def field(data: bytes) -> bytes:
    return struct.pack("!i", len(data)) + data


def int4(*values: int) -> bytes:
    return b"".join(field(struct.pack("!i", value)) for value in values)


def header(
    lengths: list[int], oid: int = INT4, flags: int = 0, lower: int = 1
) -> bytes:
    dimensions = b"".join(struct.pack("!ii", n, lower) for n in lengths)
    return struct.pack("!iiI", len(lengths), flags, oid) + dimensions


class Pair(NamedTuple):
    """A tuple by another name."""

    a: int
    b: int


class Sized:
    """An iterable with a length and nothing else."""

    def __init__(self, *items: object) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[object]:
        return iter(self.items)


# Both directions: type, value, bytes.
PAIRS: list[tuple[int, Any, bytes]] = [
    (INT4S, [], header([])),
    (INT4S, [1, -2, 2**31 - 1], header([3]) + int4(1, -2, 2**31 - 1)),
    (INT4S, [[1, 2], [3, 4]], header([2, 2]) + int4(1, 2, 3, 4)),
    (INT4S, [[[1], [2]]], header([1, 2, 1]) + int4(1, 2)),
    (INT4S, [[[[[[7]]]]]], header([1] * 6) + int4(7)),
    (INT4S, [None, 1], header([2], flags=1) + NULL + int4(1)),
    (INT4S, [[1], [None]], header([2, 1], flags=1) + int4(1) + NULL),
    (
        TEXTS,
        ["", "é", None],
        header([3], TEXT, 1) + field(b"") + field("é".encode()) + NULL,
    ),
    (FLOAT8S, [0.5], header([1], 701) + field(struct.pack("!d", 0.5))),
    (BOOLS, [True, False], header([2], 16) + field(b"\1") + field(b"\0")),
    (JSONBS, ["{}"], header([1], 3802) + field(b"\1{}")),
    (
        DATES,
        [datetime.date.max, "10000-01-01"],
        header([2], 1082) + int4(2**31 - 1, 2921940),
    ),
    (INT4RANGE, Range(1, 5), b"\x02" + int4(1, 5)),
    (INT4RANGE, Range(1, 5, lower_inc=False, upper_inc=True), b"\x04" + int4(1, 5)),
    (INT4RANGE, Range(1, 5, upper_inc=True), b"\x06" + int4(1, 5)),
    (INT4RANGE, Range(1, None), b"\x12" + int4(1)),
    (INT4RANGE, Range(None, 5), b"\x08" + int4(5)),
    (INT4RANGE, Range(None, 5, upper_inc=True), b"\x0c" + int4(5)),
    (INT4RANGE, Range(), b"\x18"),
    (INT4RANGE, Range(empty=True), b"\x01"),
    (
        DATERANGE,
        Range(datetime.date.min, "10000-01-01"),
        b"\x02" + int4(-(2**31), 2921940),
    ),
    (
        INT4RANGES,
        [Range(1, 5), None, Range(empty=True)],
        header([3], INT4RANGE, 1) + field(b"\x02" + int4(1, 5)) + NULL + field(b"\x01"),
    ),
]


@pytest.mark.parametrize(("oid", "value", "data"), PAIRS)
def test_value_and_bytes(oid: int, value: object, data: bytes) -> None:
    """A value is sent as the bytes from which the same value is received."""
    assert encode_value(oid, value) == data
    assert decode_value(oid, data) == value


@pytest.mark.parametrize(("oid", "value", "data"), PAIRS)
def test_truncated_and_extended(oid: int, value: object, data: bytes) -> None:
    """Fewer bytes or more are an error of the data, wherever they end."""
    for n in range(len(data)):
        with pytest.raises(DataError):
            decode_value(oid, data[:n])
    with pytest.raises(DataError, match="left over"):
        decode_value(oid, data + b"\0")


def test_lower_bounds_are_dropped() -> None:
    """An array that begins at another index is the same list."""
    data = header([1, 2], lower=-2) + int4(1, 2)
    assert decode_value(INT4S, data) == [[1, 2]]


# Sent, but received as lists.
ONE_WAY: list[tuple[int, Any, bytes]] = [
    (INT4S, (1, 2), header([2]) + int4(1, 2)),
    (INT4S, Pair(1, 2), header([2]) + int4(1, 2)),
    (INT4S, {7}, header([1]) + int4(7)),
    (INT4S, {7: 8}.keys(), header([1]) + int4(7)),
    (INT4S, {7: 8}.values(), header([1]) + int4(8)),
    (INT4S, range(2), header([2]) + int4(0, 1)),
    (INT4S, collections.deque([1]), header([1]) + int4(1)),
    (INT4S, array.array("i", [1, 2]), header([2]) + int4(1, 2)),
    (INT4S, Sized(1, 2), header([2]) + int4(1, 2)),
    (INT4S, ([1, 2], [3, 4]), header([2, 2]) + int4(1, 2, 3, 4)),
    (INT4S, [range(2), {5}, []][:1], header([1, 2]) + int4(0, 1)),
    (INT4S, [Sized(1), [2], {3}], header([3, 1]) + int4(1, 2, 3)),
    (INT4S, [True], header([1]) + int4(1)),
    (INT4S, [[]], header([])),
    (INT4S, [[], []], header([])),
    (INT4S, [[[]], [[]]], header([])),
    (INT4S, [range(0)], header([])),
    (FLOAT8S, [1], header([1], 701) + field(struct.pack("!d", 1))),
    (INT4RANGE, (), b"\x01"),
    (INT4RANGE, [], b"\x01"),
    (INT4RANGE, (1,), b"\x12" + int4(1)),
    (INT4RANGE, [1, 5], b"\x06" + int4(1, 5)),
    (INT4RANGE, (1, 5), b"\x06" + int4(1, 5)),
    (INT4RANGE, (None, 5), b"\x0c" + int4(5)),
    (INT4RANGE, (None, None), b"\x18"),
    (INT4RANGE, (None,), b"\x18"),
    (INT4RANGES, [(1, 5)], header([1], INT4RANGE) + field(b"\x06" + int4(1, 5))),
    (INT4RANGES, [[(1,)]], header([1, 1], INT4RANGE) + field(b"\x12" + int4(1))),
]


@pytest.mark.parametrize(("oid", "value", "data"), ONE_WAY)
def test_value_to_bytes(oid: int, value: object, data: bytes) -> None:
    """Every sized iterable is an array, tuples inside of it are elements."""
    assert encode_value(oid, value) == data


class Keyed(Sized):
    """Like a row or a mapping: it has keys."""

    def keys(self) -> tuple[object, ...]:
        """The items, as if they were names."""
        return self.items


@pytest.mark.parametrize(
    "value",
    [(1, 2), {1: 2}, Keyed(1), b"a", bytearray(b"a"), BitString("1"), Path((0, 0))],
)
def test_elements_with_a_length(value: object) -> None:
    """A composite, a mapping, a bit string, a path is an element, no dimension."""
    seen = []

    def encoder(element: object) -> str:
        seen.append(element)
        return "x"

    codecs = CodecMap()
    codecs.register(
        NEW, "new", "public", encoder=encoder, decoder=str, array_oid=NEW_ARRAY
    )
    assert encode_value(codecs.lookup(NEW_ARRAY), [value]) == b'{"x"}'
    assert seen == [value]


# Refused: type, value, error, reason.
REFUSED: list[tuple[int, Any, type[Exception], str]] = [
    (oid, value, TypeError, f"a sized iterable container expected (got type '{kind}')")
    for oid, value, kind in [
        (INT4S, 5, "int"),
        (INT4S, "ab", "str"),
        (INT4S, b"ab", "bytes"),
        (INT4S, bytearray(b"ab"), "bytearray"),
        (INT4S, memoryview(b"ab"), "memoryview"),
        (INT4S, {1: 2}, "dict"),
        (INT4S, collections.ChainMap({1: 2}), "ChainMap"),
        (INT4S, (x for x in [1]), "generator"),
        (TEXTS, "ab", "str"),
    ]
] + [
    (
        INT4S,
        [[[[[[[1]]]]]]],
        ValueError,
        "number of array dimensions (7) exceed the maximum expected (6)",
    ),
    (
        INT4RANGE,
        "[1,2)",
        TypeError,
        "list, tuple or Range object expected (got type <class 'str'>)",
    ),
    (
        INT4RANGE,
        {1, 2},
        TypeError,
        "list, tuple or Range object expected (got type <class 'set'>)",
    ),
    (INT4RANGE, (1, 2, 3), ValueError, "expected 0, 1 or 2 elements in range (got 3)"),
]


@pytest.mark.parametrize(("oid", "value", "error", "reason"), REFUSED)
def test_refused(oid: int, value: object, error: type[Exception], reason: str) -> None:
    """An argument that is no array or range is refused in asyncpg's words."""
    with pytest.raises(error, match=re.escape(reason)):
        encode_value(oid, value)


def test_endless_nesting_is_refused() -> None:
    """A list that holds itself has too many dimensions."""
    value: list[object] = []
    value.append(value)
    with pytest.raises(ValueError, match="exceed the maximum"):
        encode_value(INT4S, value)


NOT_INT = "'str' object cannot be interpreted as an integer"

# Refused within: type, value, path, element, reason.
ELEMENTS: list[tuple[int, Any, str, Any, str]] = [
    (INT4S, [1, 2, "a"], "[2]", "a", NOT_INT),
    (INT4S, [[1, 2], [3, "a"]], "[1][1]", "a", NOT_INT),
    (INT4S, [[[1]], [["a"]]], "[1][0][0]", "a", NOT_INT),
    (INT4S, [2**31], "[0]", 2**31, "value out of int32 range"),
    (
        INT4S,
        [(1, 2)],
        "[0]",
        (1, 2),
        "'tuple' object cannot be interpreted as an integer",
    ),
    (
        INT4S,
        [{1: 2}],
        "[0]",
        {1: 2},
        "'dict' object cannot be interpreted as an integer",
    ),
    (TEXTS, ["a", 1], "[1]", 1, "expected str, got int"),
    (INT4S, [[1, 2], [3]], "[1]", [3], RAGGED),
    (INT4S, [[1, 2], 3], "[1]", 3, RAGGED),
    (INT4S, [1, [2]], "[1]", [2], RAGGED),
    (INT4S, [[1], None], "[1]", None, RAGGED),
    (INT4S, [None, [1]], "[1]", [1], RAGGED),
    (INT4S, [[1, 2], (3, 4)], "[1]", (3, 4), RAGGED),
    (INT4S, [[], [1]], "[1]", [1], RAGGED),
    (INT4S, [[1], []], "[1]", [], RAGGED),
    (INT4S, [[[1]], [[2, 3]]], "[1][0]", [2, 3], RAGGED),
    (INT4S, [[[1]], [2]], "[1][0]", 2, RAGGED),
    (INT4RANGE, ("a", 1), ".lower", "a", NOT_INT),
    (INT4RANGE, Range(1, "a"), ".upper", "a", NOT_INT),
    (INT4RANGES, [(1, 2), (3, "a")], "[1].upper", "a", NOT_INT),
    (INT4RANGES, [[(1, 2, 3)]], "[0][0]", (1, 2, 3), "expected 0, 1 or 2 elements"),
]


@pytest.mark.parametrize(("oid", "value", "path", "element", "reason"), ELEMENTS)
def test_element_refused(
    oid: int, value: object, path: str, element: object, reason: str
) -> None:
    """An element that is refused is named by its place."""
    with pytest.raises(ElementError) as caught:
        encode_value(oid, value)
    assert (caught.value.path, caught.value.value) == (path, element)
    assert caught.value.reason.startswith(reason)


def test_items_that_change_while_they_are_encoded() -> None:
    """An element's own code may clear the list that is being encoded."""
    items: list[object] = []

    class Clears:
        def __index__(self) -> int:
            items.clear()
            return 7

    items += [Clears(), 8, 9]
    assert encode_value(INT4S, items) == header([3]) + int4(7, 8, 9)


HOSTILE = [
    header([-1]),
    header([0]),
    header([1, 0]) + int4(1),
    header([1, -1]) + int4(1),
    header([2**31 - 1]),
    header([2**31 - 1] * 6),
    header([2**16, 2**16]) + int4(1),
    header([2**16] * 4) + int4(1),
    header([1] * 7) + int4(1),
    header([3]) + int4(1, 2),
    header([1]) + struct.pack("!i", -2) + bytes(8),
    header([1]) + struct.pack("!i", -(2**31)) + bytes(8),
    header([1]) + struct.pack("!i", 5) + bytes(4),
    header([1]) + struct.pack("!i", 2**31 - 1) + bytes(4),
    header([2]) + struct.pack("!i", 8) + bytes(8),
    header([1]) + field(b"\0\0\0"),
    header([1], oid=TEXT) + int4(1),
    header([1], oid=0) + int4(1),
    header([1], flags=2) + int4(1),
    header([1], flags=-1) + int4(1),
    header([]) + int4(1),
    struct.pack("!iiI", -1, 0, INT4),
    struct.pack("!iiI", 7, 0, INT4) + bytes(56),
    struct.pack("!iiI", 2**31 - 1, 0, INT4) + bytes(56),
    struct.pack("!iiI", 1, 0, INT4),
]


@pytest.mark.parametrize("data", HOSTILE)
def test_hostile_array(data: bytes) -> None:
    """A header that does not fit its bytes is an error of the data."""
    with pytest.raises(DataError, match="cannot decode a value of type int4"):
        decode_value(INT4S, data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x20" + int4(1, 2),
        b"\x80" + int4(1, 2),
        b"\x02" + int4(1),
        b"\x02" + NULL + int4(1),
        b"\x02" + struct.pack("!i", -2) + int4(1),
        b"\x02" + int4(1) + struct.pack("!i", 5) + bytes(4),
        b"\x01" + int4(1),
        b"\x18" + int4(1),
        b"\x12" + field(b"\0"),
    ],
)
def test_hostile_range(data: bytes) -> None:
    """Unknown flags, a missing or NULL bound, bytes left over: errors of the data."""
    with pytest.raises(DataError, match="cannot decode a value of type int4"):
        decode_value(INT4RANGE, data)


@given(
    st.sampled_from([INT4S, TEXTS, INT4RANGE, INT4RANGES, MONEYS]),
    st.binary(max_size=60)
    | st.builds(
        lambda *parts: b"".join(parts),
        st.builds(header, st.lists(st.integers(-1, 4), max_size=7)),
        st.binary(max_size=40),
    ),
)
def test_any_bytes(oid: int, data: bytes) -> None:
    """Bytes make a value that encodes again, or a DataError: nothing else."""
    try:
        value = decode_value(oid, data)
    except DataError:
        return
    try:
        again = encode_value(oid, value)
    except ElementError as error:
        # an array literal may be ragged; PostgreSQL never writes one
        assert oid == MONEYS
        assert error.reason.startswith(RAGGED)
    else:
        assert decode_value(oid, again) == value


def nested(elements: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """Lists of elements with one to four dimensions, none of them empty."""

    def build(lengths: list[int]) -> st.SearchStrategy[list[Any]]:
        strategy = elements
        for n in reversed(lengths):
            strategy = st.lists(strategy, min_size=n, max_size=n)
        return strategy

    return st.lists(st.integers(1, 3), min_size=1, max_size=4).flatmap(build)


INT4_VALUES = st.integers(-(2**31), 2**31 - 1)
TEXT_VALUES = st.text(st.characters(exclude_characters="\0", codec="utf-8"))


@given(nested(INT4_VALUES | st.none()))
def test_any_int4_array(value: list[Any]) -> None:
    """Every array of integers comes back."""
    assert decode_value(INT4S, encode_value(INT4S, value)) == value


@given(nested(TEXT_VALUES | st.none()))
def test_any_text_array(value: list[Any]) -> None:
    """Every array of strings comes back, in binary form and as an array literal."""
    assert decode_value(TEXTS, encode_value(TEXTS, value)) == value
    assert decode_value(MONEYS, encode_value(MONEYS, value)) == value


RANGES = st.builds(
    Range,
    INT4_VALUES | st.none(),
    INT4_VALUES | st.none(),
    lower_inc=st.booleans(),
    upper_inc=st.booleans(),
    empty=st.booleans(),
)


@given(RANGES)
def test_any_range(value: Range[int]) -> None:
    """Every range comes back."""
    assert decode_value(INT4RANGE, encode_value(INT4RANGE, value)) == value


# Array literals, by the rules of "Array Input and Output Syntax".
LITERALS: list[tuple[bytes, Any]] = [
    (b"{}", []),
    (b"{ }", []),
    (b"{a}", ["a"]),
    (b"{a,b c,d}", ["a", "b c", "d"]),
    (b"{ a , b }", ["a", "b"]),
    (b'{NULL,null,"NULL"}', [None, None, "NULL"]),
    (b"{NULLS,NUL}", ["NULLS", "NUL"]),
    (b'{"",","}', ["", ","]),
    (b'{"a\\"b","c\\\\d","\\e"}', ['a"b', "c\\d", "e"]),
    (b'{"\\"","\\\\"}', ['"', "\\"]),
    (b"{a\\,b,\\ c\\ }", ["a,b", " c "]),
    (b"{\\NULL,\\\\}", ["NULL", "\\"]),
    (b'{"{","}"}', ["{", "}"]),
    (b"{{a,b},{c,NULL}}", [["a", "b"], ["c", None]]),
    (b"{{{{{{a}}}}}}", [[[[[["a"]]]]]]),
    (b"[0:1]={a,b}", ["a", "b"]),
    (b"[-2:-1][+3:3]={{a},{b}}", [["a"], ["b"]]),
    ('{é,"ü"}'.encode(), ["é", "ü"]),
    (b"{a;b}", ["a;b"]),
]


@pytest.mark.parametrize(("data", "value"), LITERALS)
def test_array_literal(data: bytes, value: list[Any]) -> None:
    """An array of a text-format type is read from an array literal."""
    assert decode_value(MONEYS, data) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"a",
        b"{",
        b"{a",
        b"{a,",
        b"{a,}",
        b"{,a}",
        b"{a,,b}",
        b"{a}b",
        b"{a}{b}",
        b"{a}}",
        b'{"a}',
        b'{"a\\',
        b'{"a\\"}',
        b'{"a"b}',
        b'{a"b"}',
        b"{a{b}}",
        b"{a\\",
        b"{\\",
        b"{{a}b}",
        b"[0:1]{a,b}",
        b"[0:1",
        b"[0:x]={a}",
        b"[0:1]=",
        b"{{{{{{{a}}}}}}}",
        b"{" * 100_000,
    ],
)
def test_hostile_array_literal(data: bytes) -> None:
    """A malformed array literal is an error of the data."""
    with pytest.raises(
        DataError, match=re.escape("cannot decode a value of type money[]")
    ):
        decode_value(MONEYS, data)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ([], b"{}"),
        ([[], []], b"{}"),
        (["a", None, ""], b'{"a",NULL,""}'),
        ([["a,"], ["{}"]], b'{{"a,"},{"{}"}}'),
        (['"\\', "NULL"], b'{"\\"\\\\","NULL"}'),
    ],
)
def test_value_to_array_literal(value: list[Any], data: bytes) -> None:
    """Every element is quoted, since only NULL without quotes is NULL."""
    assert encode_value(MONEYS, value) == data


def test_element_of_array_literal_refused() -> None:
    """Elements in text form are refused as those in binary form are."""
    with pytest.raises(ElementError, match="expected str, got int") as caught:
        encode_value(MONEYS, [["a"], [5]])
    assert caught.value.path == "[1][0]"
    with pytest.raises(ElementError, match=RAGGED):
        encode_value(MONEYS, [["a"], "b"])


def test_array_over_a_codec_of_python_functions() -> None:
    """A text codec of the user's makes the arrays of its type literals."""
    codecs = CodecMap()
    codecs.register(
        NEW,
        "new",
        "public",
        encoder="<{}>".format,
        decoder=lambda text: text[1:-1],
        array_oid=NEW_ARRAY,
    )
    codec = codecs.lookup(NEW_ARRAY)
    assert encode_value(codec, [1, None, ","]) == b'{"<1>",NULL,"<,>"}'
    assert decode_value(codec, b'{<1>,NULL,"<,>"}') == ["1", None, ","]


def test_array_of_box_has_semicolons() -> None:
    """box is the type whose array literals part elements by semicolons."""
    codecs = CodecMap()
    codecs.register(BOX, "box", "pg_catalog", encoder=str, decoder=str, array_oid=BOXES)
    codec = codecs.lookup(BOXES)
    assert decode_value(codec, b"{(1,1),(0,0);(2,2),(0,0)}") == [
        "(1,1),(0,0)",
        "(2,2),(0,0)",
    ]
    assert encode_value(codec, ["(1,1),(0,0)", "x"]) == b'{"(1,1),(0,0)";"x"}'


def test_decoder_errors_go_through() -> None:
    """An exception of the user's decoder is not hidden, and half a list is dropped."""
    codecs = CodecMap()
    codecs.register(
        INT4, "int4", "pg_catalog", encoder=str, decoder=int, format="binary"
    )
    codec = codecs.lookup(INT4S)
    with pytest.raises(ValueError, match="invalid literal"):
        decode_value(codec, header([2]) + field(b"1") + field(b"x"))
    assert decode_value(codec, header([2]) + field(b"1") + field(b"2")) == [1, 2]


def test_decoder_cannot_see_half_a_list() -> None:
    """The list that is being filled cannot be found; afterwards it is collected."""
    seen: list[object] = []

    def decoder(data: bytes) -> bytes:
        lists = (o for o in gc.get_objects() if type(o) is list and len(o) == 777)
        seen.extend(o for o in lists if o[-1] is None)
        return data

    codecs = CodecMap()
    codecs.register(
        INT4, "int4", "pg_catalog", encoder=bytes, decoder=decoder, format="binary"
    )
    data = header([777]) + field(b"x") + NULL * 776
    value = decode_value(codecs.lookup(INT4S), data)
    assert (seen, value[:2], gc.is_tracked(value)) == ([], [b"x", None], True)


def c_function(module: str, name: str) -> Callable[[object, int, str], Any]:
    """A function that a module shows to compiled modules only."""
    capsule = ctypes.py_object(
        importlib.import_module(f"chopin.{module}").__pyx_capi__[name]
    )
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype = ctypes.c_char_p
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    address = api.PyCapsule_GetPointer(
        capsule, ctypes.c_char_p(api.PyCapsule_GetName(capsule))
    )
    kind = ctypes.PYFUNCTYPE(
        ctypes.py_object, ctypes.py_object, ctypes.c_uint32, ctypes.py_object
    )
    return kind(address)


@pytest.fixture(scope="module")
def text_range() -> Any:
    """The codec of a range type whose bounds are in text format."""
    range_of = c_function("_codecs_range", "range_of")
    return range_of(CodecMap().lookup(790), NEW, "moneyrange")


def test_codecs_say_what_they_are(text_range: Any) -> None:
    """Format, kind and element of a nested codec follow from its element."""
    lookup = CodecMap().lookup
    got = [
        (codec.kind, codec.format, codec.atomic, codec.element.name)
        for codec in (lookup(INT4S), lookup(INT4RANGES), lookup(MONEYS), text_range)
    ]
    assert got == [
        ("array", 1, False, "int4"),
        ("array", 1, False, "int4range"),
        ("array", 0, False, "money"),
        ("range", 0, False, "money"),
    ]


# Range literals, by the rules of "Range Input/Output".
@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"empty", Range(empty=True)),
        (b"EMPTY", Range(empty=True)),
        (b"[a,b)", Range("a", "b")),
        (b"(a,b]", Range("a", "b", lower_inc=False, upper_inc=True)),
        (b"[a,]", Range("a", None)),
        (b"(,b)", Range(None, "b")),
        (b"(,)", Range()),
        (b'["",")"]', Range("", ")", upper_inc=True)),
        (b'["a""b","c\\"d")', Range('a"b', 'c"d')),
        (b'[a\\,b,"\\\\")', Range("a,b", "\\")),
        (b'[a"b,"c,d)', Range("ab,c", "d")),
        (b"[ a,b )", Range(" a", "b ")),
    ],
)
def test_range_literal(text_range: Any, data: bytes, value: Range[str]) -> None:
    """A range of a text-format type is read from a range literal."""
    assert decode_value(text_range, data) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"a",
        b"[",
        b"[a",
        b"[a,",
        b"[a,b",
        b"[a)",
        b"[a,b,c)",
        b"[a,b)x",
        b"[(,b)",
        b'["a,b)',
        b'["a\\',
        b"[a,\\",
        b"emptyx",
        b'[a"',
    ],
)
def test_hostile_range_literal(text_range: Any, data: bytes) -> None:
    """A malformed range literal is an error of the data."""
    with pytest.raises(DataError, match="cannot decode a value of type moneyrange"):
        decode_value(text_range, data)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (Range("a", "b"), b'["a","b")'),
        (("a",), b'["a",)'),
        (("a", 'b"\\'), b'["a","b\\"\\\\"]'),
        (Range(None, "b", upper_inc=True), b'(,"b"]'),
        ((None, None), b"(,)"),
        ((), b"empty"),
    ],
)
def test_value_to_range_literal(text_range: Any, value: object, data: bytes) -> None:
    """Bounds are quoted, so that none of them reads as nothing."""
    assert encode_value(text_range, value) == data


def test_bound_of_range_literal_refused(text_range: Any) -> None:
    """Bounds in text form are refused as those in binary form are."""
    with pytest.raises(ElementError, match="expected str, got int") as caught:
        encode_value(text_range, ("a", 5))
    assert caught.value.path == ".upper"


@given(value=st.builds(Range, TEXT_VALUES | st.none(), TEXT_VALUES | st.none()))
def test_any_range_literal(text_range: Any, value: Range[str]) -> None:
    """Every range of strings comes back."""
    assert decode_value(text_range, encode_value(text_range, value)) == value
